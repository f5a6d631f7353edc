"""What was cut out of a recording, and what was made anonymous, is read as every other recording, and says no name."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pandas
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import PROGRAM, wait_for
from conftest import memsample as program

import memsample

CANARY = "canary"
USER = 61001
LOAD = """
import os, time
kept = bytearray(30 << 20)
children = [os.fork() for _ in range(1)]
if children[0] == 0:
    more = bytearray(10 << 20)
    time.sleep(2)
    os._exit(0)
time.sleep(3)
"""
SUITE = """
name = "canary-suite"

[[test]]
name = "canary-test"
tags = ["canary-tag"]
cwd = "canary-directory"
env = { CANARY_VARIABLE = "canary-value" }
command = ["./canary-program", "-S", "load.py", "--canary-option=canary-argument", "/home/canary-user/canary-file"]

[[test]]
name = "canary-failure"
shell = "echo canary-output; echo canary-error >&2; exit 3"
"""

Sums = dict[tuple[int, str], int]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a host, in a control group, of programs, users, files and arguments that all have the canary's name."""
    at = tmp_path_factory.mktemp("canary")
    place = at / "canary-directory"
    place.mkdir()
    (place / "canary-program").symlink_to(Path(sys.executable).resolve())
    (place / "load.py").write_text(LOAD)
    (at / "suite.toml").write_text(SUITE)
    run = [PROGRAM, "run", "suite.toml", "--out", ".", "--name", "canary-run", "--label", "canary-label=canary-worth"]
    environment = os.environ | {"CANARY": "canary-environment", "PYTHONHOME": sys.base_prefix}
    # A name of the host of its own, with the rights for it in a namespace of users.
    named = ["unshare", "--uts", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    script = 'hostname canary-host; echo $$ > "$0"; exec "$@"'
    with ControlGroup() as members:
        command = [*named, "sh", "-c", script, str(members), *run]
        ended = subprocess.run(command, cwd=at, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 10, ended.stderr
    return at / "canary-run"


class ControlGroup:
    """A control group with the canary's name, where this user may make one; else its members are nowhere."""

    def __init__(self) -> None:
        tops = (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup"))
        self._path = (
            next((top for top in tops if (top / "cgroup.procs").exists()), tops[0]) / f"canary-group-{os.getpid()}"
        )

    def __enter__(self) -> Path:
        try:
            self._path.mkdir()
        except OSError:
            return Path(os.devnull)
        return self._path / "cgroup.procs"

    def __exit__(self, *_: object) -> None:
        if self._path.is_dir():
            # What is being reaped is still in it.
            wait_for(self._is_removed)

    def _is_removed(self) -> bool:
        try:
            self._path.rmdir()
        except OSError:
            return False
        return True


@pytest.fixture(scope="module")
def anonymous(original: Path) -> Path:
    out = original.parent / "shared"
    program("anonymize", original, "--out", out)
    return out


@pytest.fixture(scope="module")
def cut(original: Path) -> Path:
    out = original.parent / "cut"
    program("cut", original, "--from", "0.3s", "--to", "2.8s", "--out", out)
    return out


@pytest.fixture(scope="module")
def anonymous_cut(cut: Path) -> Path:
    out = cut.parent / "shared-cut"
    program("anonymize", cut, "--out", out)
    return out


def by_package(directory: Path) -> Sums:
    table = memsample.open(directory).sums("role")
    instants = table["ts"].cast(pa.int64()).to_pylist()
    return dict(zip(zip(instants, table["role"].to_pylist(), strict=True), table["rss_bytes"].to_pylist(), strict=True))


def by_duckdb(directory: Path) -> Sums:
    query = f"SELECT epoch_ms(ts), role, sum(rss_bytes)::BIGINT FROM '{directory}/samples.parquet' GROUP BY ALL"
    connection = duckdb.connect()
    return {(row[0], row[1]): row[2] for row in connection.sql(query).fetchall()}


def by_pandas(directory: Path) -> Sums:
    frame = pandas.read_parquet(directory / "samples.parquet", columns=["ts", "role", "rss_bytes"])
    sums = frame.groupby(["ts", "role"], as_index=False)["rss_bytes"].sum()
    instants = [round(ts.timestamp() * 1000) for ts in sums["ts"]]
    return dict(zip(zip(instants, sums["role"], strict=True), map(int, sums["rss_bytes"]), strict=True))


def by_polars(directory: Path) -> Sums:
    frame = polars.scan_parquet(directory / "samples.parquet").group_by("ts", "role").agg(polars.col("rss_bytes").sum())
    rows = frame.with_columns(polars.col("ts").dt.epoch("ms")).collect().rows()
    return {(ts, role): sum_ for ts, role, sum_ in rows}


def by_program(directory: Path) -> Sums:
    sums: Sums = {}
    for row in csv.DictReader(io.StringIO(program("export", directory, "--to", "csv"))):
        instant = pandas.Timestamp(row["ts"]).value // 1_000_000
        key = (instant, row["role"])
        sums[key] = sums.get(key, 0) + int(row["rss_bytes"])
    return sums


def largest_by_last_role(directory: Path) -> dict[str, int]:
    """The largest sum of each role of `processes`.

    A process that is sampled while it becomes another program has a role of its own at that tick.
    """
    samples, processes = f"'{directory}/samples.parquet'", f"'{directory}/processes.parquet'"
    sums = f"""
        SELECT p.role, sum(s.rss_bytes)::BIGINT AS rss FROM {samples} s JOIN {processes} p USING (process)
        GROUP BY p.role, s.ts
    """
    return dict(duckdb.connect().sql(f"SELECT role, max(rss) FROM ({sums}) GROUP BY role").fetchall())


def peaks(directory: Path) -> list[dict[str, Any]]:
    found = json.loads(program("peaks", directory, "--by", "role", "--top", "1000000", "--json"))
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("which", ["cut", "anonymous", "anonymous_cut"])
def test_every_reader_adds_up_the_same(which: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(which)
    directory = path / "recording" if (path / "recording").exists() else path
    expected = by_program(directory)
    assert len(expected) > 10
    readers: tuple[Callable[[Path], Sums], ...] = (by_package, by_duckdb, by_pandas, by_polars)
    for reader in readers:
        assert reader(directory) == expected, reader.__name__
    largest = largest_by_last_role(directory)
    told = {peak["role"]: peak for peak in peaks(directory)}
    ours = {peak.name: peak for peak in memsample.open(directory).roles()}
    assert told.keys() == ours.keys() >= largest.keys()
    for role, sum_ in largest.items():
        assert told[role]["rss_bytes"] == ours[role].rss_bytes == sum_
        assert told[role]["lower_bytes"] == ours[role].lower_bytes
        assert told[role]["lower_bytes"] >= sum_
        assert told[role]["lower_source"] == ours[role].lower_source


def test_a_cut_has_the_sums_of_its_span(original: Path, cut: Path) -> None:
    whole, part = by_program(original / "recording"), by_program(cut)
    instants = {ts for ts, _ in part}
    assert part == {(ts, role): sum_ for (ts, role), sum_ in whole.items() if min(instants) <= ts <= max(instants)}
    assert len(part) < len(whole)


def test_an_anonymous_recording_has_the_numbers_of_the_original(original: Path, anonymous: Path) -> None:
    def numbers(run: Path) -> list[str]:
        # Where several processes had the same peak, `by` is that of any of them.
        return sorted(
            str([value for name, value in peak.items() if name not in ("role", "by", "by_ms")]) for peak in peaks(run)
        )

    assert numbers(original) == numbers(anonymous)
    for table in (path.relative_to(original) for path in original.rglob("*.parquet")):
        before, after = pq.read_table(original / table), pq.read_table(anonymous / table)
        assert before.schema.names == after.schema.names
        for field in before.schema:
            if not pa.types.is_string(field.type) and not field.name.endswith("uid"):
                assert before[field.name].equals(after[field.name]), (table, field.name)
    ours, theirs = memsample.open_run(anonymous), memsample.open_run(original)
    assert [test.outcome for test in ours.tests] == [test.outcome for test in theirs.tests] == ["passed", "failed"]
    assert [test.decided_by.memory for test in ours.tests] == [test.decided_by.memory for test in theirs.tests]


def strings(value: object) -> Iterator[str]:
    """All texts within a value that Parquet or JSON may hold."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, bytes):
        yield value.decode(errors="replace")
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from (str(key), *strings(inner))
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from strings(inner)


def texts(directory: Path) -> Iterator[tuple[str, str]]:
    """What the files below a directory say and where: their names, their bytes, and what is compressed in Parquet."""
    for path in directory.rglob("*"):
        name = str(path.relative_to(directory))
        yield "a name of a file", name
        if path.is_symlink():
            yield f"the target of {name}", os.readlink(path)
        elif path.is_file():
            yield name, path.read_bytes().decode("latin-1")
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            yield f"the metadata of {name}", str(pq.read_metadata(path).metadata)
            for column in table.column_names:
                for value in table[column].to_pylist():
                    for text in strings(value):
                        yield f"`{column}` of {name}", text


def test_no_name_is_left_in_what_is_shared(original: Path, anonymous: Path, anonymous_cut: Path) -> None:
    # The original has them all, so that they would be found.
    said = [text for _, text in texts(original)]
    planted = [
        "canary-suite", "canary-test", "canary-tag", "canary-program", "canary-option",
        "canary-argument", "canary-user", "canary-file", "canary-label", "canary-worth", "canary-host",
        "canary-output", "canary-error",
    ]  # fmt: skip
    for word in planted:
        assert any(word in text for text in said), word
    processes = pq.read_table(original / "recording" / "processes.parquet")
    groups = {group for group in processes["cgroup"].to_pylist() if group}
    # Numbers are no names, and short words are within others.
    words = {word for group in groups for word in group.split("/") if len(word) > 6 and not word.isdigit()}
    if Path("/sys/fs/cgroup/memory").exists() and os.geteuid() == 0:
        assert any(word.startswith("canary-group-") for word in words)
    secrets = {CANARY, *words, os.uname().nodename} - {"vm", "localhost"}
    of_run = {"results.json", "recording.json", "junit.xml"}
    for shared, files in ((anonymous, of_run), (anonymous_cut, {"recording.json"})):
        found = 0
        for where, text in texts(shared):
            found += 1
            for secret in secrets:
                assert secret.lower() not in text.lower(), (secret, where)
        assert found > 100
        # Outputs, artifacts and whatever else the run has are not there.
        kept = {path.name for path in shared.rglob("*") if path.is_file()}
        assert {name for name in kept if not name.endswith(".parquet")} == files


def test_no_user_is_left_in_what_is_shared(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        user: int = os.geteuid()
        command = ["sleep", "0.5"]
    else:
        user = USER
        command = ["setpriv", f"--reuid={USER}", "--clear-groups", "sleep", "0.5"]
    program("record", "--interval", "20ms", "--out", tmp_path, "--name", "of-user", "--", *command)
    program("anonymize", tmp_path / "of-user", "--out", tmp_path / "shared")

    def users(directory: Path) -> set[int]:
        tables = [pq.read_table(path) for path in directory.glob("*.parquet")]
        columns = [table[name] for table in tables for name in table.column_names if name.endswith("uid")]
        return {uid for column in columns for uid in column.to_pylist() if uid is not None}

    assert user in users(tmp_path / "of-user")
    assert {uid for uid in users(tmp_path / "shared") if uid != 0} != set()
    assert all(uid == 0 or uid > 2147483647 for uid in users(tmp_path / "shared"))


def test_readers_do_not_need_the_program(anonymous: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEMSAMPLE")
    monkeypatch.setenv("PATH", "")
    assert shutil.which("memsample") is None
    assert memsample.open_run(anonymous).recordings[0].roles()
