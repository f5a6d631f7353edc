"""What each test used, as `memsample peaks` answers from the recording."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

# The name of a mark is this and the process id of the worker.
MARK_PREFIX = "pytest worker "
# More tests than a recording can have marks of.
EVERY = "1000000000"


class UsageError(Exception):
    """The recording could not be asked; says what to do."""


@dataclass
class TestUsage:
    """What is not known is None, and never 0."""

    test: str
    worker_pid: int
    # Sweeps between the begin and the end of the test.
    samples: int
    # The largest sum over the worker and its descendants, of the samples and of what was read at the marks.
    rss_peak_bytes: Optional[int]
    # Of the worker alone, from the mark at the begin to the mark at the end.
    rss_growth_bytes: Optional[int]


def program():
    """Returns the path of `memsample`: in PATH, or beside the interpreter, where pip installs it."""
    found = shutil.which("memsample") or shutil.which("memsample", path=Path(sys.executable).parent)
    if found is None:
        raise UsageError("`memsample` is not in PATH, and is what computes the numbers of the tests: install it where memsampled is")
    return found


def usage_by_test(recording):
    """Returns the usage of every test that was marked, in the order in which they began."""
    command = [program(), "peaks", recording, "--by", "test", "--top", EVERY, "--json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise UsageError(f"`{command[0]}` cannot be run: {error}") from error
    if done.returncode != 0:
        raise UsageError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
    rows = [row for row in json.loads(done.stdout) if (row["mark"] or "").startswith(MARK_PREFIX)]
    rows.sort(key=lambda row: row["begin"])
    return [
        TestUsage(row["test"], int(row["mark"][len(MARK_PREFIX):]), row["sweeps"], row["lower_bytes"], row["rss_growth_bytes"])
        for row in rows
        if row["covers"] == "marked_process"
    ]
