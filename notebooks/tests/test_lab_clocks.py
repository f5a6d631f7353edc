"""Clocks that are wrong, where a run was recorded and where a store is pruned: nothing is removed before its time or kept
for ever.

MEMSAMPLE names the program, built with the feature `lab`.
"""

import datetime
import json
import os
import shutil
import subprocess

import pytest
from lab_runs import MEMSAMPLE, listed, memsample


def with_times(manifest, **times):
    """Changes what a manifest says of time, and leaves it where it is by the clock of the store."""
    content = json.loads(manifest.read_text())
    content.update(times)
    manifest.write_text(json.dumps(content))


@pytest.mark.parametrize("clock", ["1970-01-01T00:00:03Z", "2036-01-01T00:00:00Z", "an hour behind", "an hour ahead"])
def test_a_wrong_clock_removes_and_keeps_nothing(runs, tmp_path, clock):
    """Of a run that has just arrived, and of one that arrived a hundred days ago."""
    lab = tmp_path / "lab"
    memsample("push", *runs[1:], lab)
    now = datetime.datetime.now(datetime.UTC)
    hour = datetime.timedelta(hours=1)
    clock = {"an hour behind": now - hour, "an hour ahead": now + hour}.get(clock, clock)
    clock = clock if isinstance(clock, str) else clock.isoformat()
    new, old = sorted(lab.glob("manifests/**/*.json"))
    for manifest in [new, old]:
        with_times(manifest, started=clock, pushed=clock)
    long_ago = (now - datetime.timedelta(days=100)).timestamp()
    os.utime(old, (long_ago, long_ago))
    for options in [["--dry-run"], []]:
        result = memsample("prune", lab, "--keep", "90d", *options)
        assert old.stem.removeprefix("run=") in result.stdout + result.stderr
        assert new.stem.removeprefix("run=") not in result.stdout + result.stderr
    assert new.exists() and not old.exists()


def test_a_clock_that_is_ahead_where_it_is_pruned_removes_nothing(runs, s3):
    """The store says how late it is, and not the machine that prunes."""
    environment, client = s3
    client.create_bucket(Bucket="ahead")
    memsample("push", *runs[1:], "s3://ahead/lab", environment=environment)
    faketime = shutil.which("faketime")
    assert faketime, "install faketime"
    ahead = subprocess.run(
        [faketime, "-f", "+4000d", MEMSAMPLE, "prune", "s3://ahead/lab", "--keep", "90d"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert len(listed("s3://ahead/lab", environment)) == 2, ahead.stdout + ahead.stderr
