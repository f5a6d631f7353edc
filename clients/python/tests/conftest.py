"""Recordings and a run that the real program makes for these tests; MEMSAMPLE names the program."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

PROGRAM = os.environ["MEMSAMPLE"]

# Two roles with children of their own; memory that comes and goes, some of it shared after a fork.
LOAD = """
import os, time
kept = bytearray(20 << 20)
child = os.fork()
if child == 0:
    more = bytearray(10 << 20)
    time.sleep(0.8)
    os._exit(0)
for _ in range(4):
    spike = bytearray(15 << 20)
    time.sleep(0.1)
    del spike
    time.sleep(0.1)
os.waitpid(child, 0)
"""

SUITE = """
name = "small"

[[test]]
name = "holds"
shell = "(head -c 60m /dev/zero; sleep 0.5) | tail -c 60m | wc -c"
repeat = 2

[[test]]
name = "brief"
shell = "for i in 1 2 3; do dd if=/dev/zero of=/dev/null bs=40M count=1 status=none; done"

[[test]]
name = "fails"
shell = "sleep 0.3; exit 3"
retries = 1

[[test]]
name = "flaky"
shell = "test -e DIRECTORY/tried || { touch DIRECTORY/tried; exit 1; }"
retries = 1

[[test]]
name = "$cost_ of <b>x</b>"
command = ["sleep", "0.3"]
"""


def memsample(*arguments: str | Path, code: int = 0) -> str:
    """Runs the program, which must end with this exit code."""
    ended = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == code, ended.stderr
    return ended.stdout


def wait_for(happened: Callable[[], bool]) -> None:
    """Waits until something has happened, for a minute at most."""
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline, "it did not happen within a minute"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed recording of the machine, with a command and a test that is only marked."""
    out = tmp_path_factory.mktemp("recordings")
    load = [sys.executable, "-c", LOAD]
    memsample("record", "--interval", "20ms", "--out", out, "--name", "load", "--", *load)
    return out / "load"


@pytest.fixture(scope="session")
def brief(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed recording at so long an interval that most of its processes were never sampled."""
    out = tmp_path_factory.mktemp("brief")
    names = [f"brief{number}" for number in range(10)]
    for name in names:
        (out / name).symlink_to("/bin/true")
    script = 'for each; do "$0/$each"; done; sleep 1; head -c 30m /dev/zero | tail -c 30m | wc -c'
    command = ["sh", "-c", script, str(out), *names]
    memsample("record", "--interval", "500ms", "--out", out, "--name", "brief", "--", *command)
    return out / "brief"


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a suite of which one test fails twice, and another is run twice."""
    directory = tmp_path_factory.mktemp("runs")
    suite = directory / "small.toml"
    suite.write_text(SUITE.replace("DIRECTORY", str(directory)))
    memsample("run", suite, "--out", directory, "--name", "small", code=10)
    return directory / "small"


@pytest.fixture(scope="session")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made of captures as smemcap writes them; beside it `night.1.tar`."""
    out = tmp_path_factory.mktemp("imported")
    captures = [out / f"night.{number}.tar" for number in (1, 2)]
    for number, path in enumerate(captures):
        names = ["meminfo", "version"]
        for pid in filter(str.isdigit, os.listdir("/proc")):
            names += [f"{pid}/{name}" for name in ("smaps", "cmdline", "stat")]
        with tarfile.open(path, "w") as tar:
            for name in names:
                try:
                    contents = Path("/proc", name).read_bytes()
                except OSError:
                    continue  # it has ended
                entry = tarfile.TarInfo(name)
                entry.size, entry.mtime = len(contents), 1_700_000_000 + 60 * number
                tar.addfile(entry, io.BytesIO(contents))
    memsample("import", "--out", out, "--name", "night", *captures)
    return out / "night"


@pytest.fixture(scope="session")
def growing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A recording that is still being written."""
    out = tmp_path_factory.mktemp("growing")
    recorder = subprocess.Popen(
        [PROGRAM, "record", "--interval", "20ms", "--out", out, "--name", "cat", "--", "cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    samples = out / "cat" / "samples.parquet"
    wait_for(lambda: samples.exists() and pq.read_metadata(samples).num_rows > 0)
    yield out / "cat"
    recorder.communicate()


@pytest.fixture(scope="session")
def died(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording whose recorder was killed."""
    out = tmp_path_factory.mktemp("died")
    recorder = subprocess.Popen(
        [PROGRAM, "record", "--out", out, "--name", "died"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    wait_for((out / "died" / "marks.parquet").exists)
    recorder.send_signal(signal.SIGKILL)
    recorder.communicate()
    return out / "died"


@pytest.fixture
def copied(recorded: Path, tmp_path: Path) -> Path:
    """A copy of the closed recording, to be damaged."""
    return Path(shutil.copytree(recorded.resolve(), tmp_path / "copied"))
