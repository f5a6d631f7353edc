"""Many recordings are one set of tables, and none of them is left out without a word."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import memsample


@pytest.fixture
def many(recorded: Path, tmp_path: Path) -> Path:
    """Three recordings of ids of their own, and a link to one of them."""
    for number in range(3):
        copy_as(recorded, tmp_path / f"r{number}", f"0000000{number}-{uuid.uuid4()}")
    (tmp_path / "latest").symlink_to("r1")
    return tmp_path


def copy_as(recorded: Path, to: Path, identity: str) -> None:
    shutil.copytree(recorded.resolve(), to)
    manifest = json.loads((to / "recording.json").read_text()) | {"id": identity, "name": to.name}
    (to / "recording.json").write_text(json.dumps(manifest))
    for path in to.glob("*.parquet"):
        table = pq.read_table(path)
        place = table.column_names.index("recording")
        ids = pa.array([identity] * len(table), pa.string())
        pq.write_table(table.set_column(place, table.schema.field(place), ids), path)


def test_each_is_opened_once(many: Path, recorded: Path) -> None:
    recordings = memsample.open_many(many / "*")
    assert sorted(info.name for info in recordings.info) == ["r0", "r1", "r2"]
    one = memsample.open(recorded)
    assert recordings.samples.count_rows() == 3 * one.samples.count_rows()
    for name in ("samples", "exits", "ticks"):
        counted = recordings.sql(f"SELECT recording, count(*) FROM {name} GROUP BY ALL").fetchall()
        assert dict(counted) == dict.fromkeys((info.id for info in recordings.info), one.table(name).count_rows())
    assert len(recordings.to_polars("processes")) == len(recordings.to_pandas("processes"))
    assert recordings.scan_polars("samples").collect().height == recordings.samples.count_rows()


@pytest.mark.parametrize(
    ("name", "other"), [("a[1]", "a1"), ("b*", "bb"), ("c?", "cc"), ("d{1,2}", "d1"), ("it's", "its"), ("[!x]", "y")]
)
def test_a_name_is_no_pattern(recorded: Path, brief: Path, tmp_path: Path, name: str, other: str) -> None:
    """Nothing is read of another recording, whose name the name of this one would match."""
    shutil.copytree(recorded.resolve(), tmp_path / name)
    shutil.copytree(brief.resolve(), tmp_path / other)
    recording = memsample.open(tmp_path / name)
    expected = recording.samples.count_rows()
    assert expected != memsample.open(tmp_path / other).samples.count_rows()
    assert recording.sql("SELECT count(*) FROM samples").fetchall() == [(expected,)]
    assert recording.scan_polars("samples").collect().height == expected
    assert recording.to_pandas("samples").shape[0] == expected
    assert [one.info.id for one in memsample.open_many(tmp_path / name)] == [recording.info.id]
    assert len(memsample.open_many(*tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    "name", ["s3:x", "file:y", "~", "-x", "a%20b", ".h", "_h", "new\nline", "back\\slash", "role=x"]
)
def test_a_name_is_only_a_name(
    recorded: Path, brief: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Given as it is, from the directory in which it is; what is read later is read from there, too."""
    shutil.copytree(recorded.resolve(), tmp_path / "in" / name)
    # Which `~` could be taken for.
    shutil.copytree(brief.resolve(), tmp_path / "home")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "in")
    recording = memsample.open(name)
    monkeypatch.chdir("/")
    expected = memsample.open(recorded).samples.count_rows()
    assert recording.samples.count_rows() == recording.to_pandas("samples").shape[0] == expected
    assert recording.sql("SELECT count(*) FROM samples").fetchall() == [(expected,)]
    assert recording.scan_polars("samples").collect().height == expected
    assert len(recording.peaks("role", top=3)) == 3
    # The roles at the end: a process that is sampled while it becomes another program has one of its own at that tick.
    roles = {peak.name for peak in recording.roles() if peak.processes}
    last = "SELECT DISTINCT processes.role FROM samples JOIN processes USING (process)"
    assert {row[0] for row in recording.sql(last).fetchall()} == roles
    of_samples = {row[0] for row in recording.sql("SELECT DISTINCT role FROM samples").fetchall()}
    assert set(recording.scan_polars("samples").collect()["role"]) == of_samples
    assert set(recording.to_pandas("samples")["role"]) == of_samples


def test_a_name_that_arrow_cannot_read(recorded: Path, tmp_path: Path) -> None:
    place = tmp_path / os.fsdecode(b"\xff")
    shutil.copytree(recorded.resolve(), place)
    for opened in (memsample.open, memsample.open_many, memsample.open_run):
        with pytest.raises(memsample.MemsampleError, match="utf-8"):
            opened(place)


def test_answers_are_those_of_each(many: Path, recorded: Path) -> None:
    recordings = memsample.open_many(many / "r*")
    one = memsample.open(recorded)
    expected = [(peak.name, peak.lower_bytes) for peak in one.roles()]
    for recording in recordings:
        told = [(peak.name, peak.lower_bytes) for peak in recordings.roles() if peak.recording == recording.info.id]
        assert told == expected
    assert recordings.resample("1s").num_rows == 3 * one.resample("1s").num_rows
    assert recordings.sums("role").num_rows == 3 * one.sums("role").num_rows
    assert recordings[1:].pss_sums().num_rows == 2 * one.pss_sums().num_rows
    with pytest.raises(IndexError):
        recordings[3]


def test_one_that_cannot_be_opened_is_named(many: Path, died: Path) -> None:
    (many / "empty").mkdir()
    (many / "died").symlink_to(died)
    with pytest.raises(memsample.SeveralFailedError, match="2 of 5 cannot be opened; skip_failed=True") as raised:
        memsample.open_many(many / "*")
    assert {path.name for path in raised.value.failed} == {"empty", "died"}
    recordings = memsample.open_many(many / "*", skip_failed=True)
    assert len(recordings) == 3
    assert {path.name for path in recordings.skipped} == {"empty", "died"}
    with pytest.raises(memsample.NotARecordingError, match="nothing to open matches"):
        memsample.open_many(many / "x*")
    with pytest.raises(memsample.SeveralFailedError, match="does not exist"):
        memsample.open_many(many / "x")


def test_a_table_that_some_lack_is_warned_of(many: Path, imported: Path) -> None:
    recordings = memsample.open_many(many / "r*", imported)
    with pytest.warns(memsample.NotRecordedWarning, match="1 recordings have no table `exits`.*import"):
        rows = recordings.exits.count_rows()
    assert rows == 3 * recordings[-1].exits.count_rows()


def test_a_column_that_older_files_lack_is_null(many: Path) -> None:
    path = many / "r0" / "samples.parquet"
    older = pq.read_table(path).drop_columns(["hugetlb_bytes"])
    pq.write_table(older, path)
    recordings = memsample.open_many(many / "r*")
    rows = recordings.samples.count_rows()
    assert recordings.to_arrow("samples", ["hugetlb_bytes"])["hugetlb_bytes"].null_count >= rows // 3
    assert recordings.scan_polars("samples").collect().height == rows
    assert recordings.sql("SELECT count(*) - count(hugetlb_bytes) FROM samples").fetchall()[0][0] >= rows // 3
