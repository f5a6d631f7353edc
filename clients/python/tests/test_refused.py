"""What cannot be read, or was not measured, is said; nothing is answered in its place."""

from __future__ import annotations

import gc
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import memsample


def test_a_recording_that_grows(growing: Path) -> None:
    with pytest.raises(memsample.UnclosedRecordingError, match=r"still being written.*live=True"):
        memsample.open(growing)
    live = memsample.open(growing, live=True)
    assert live.info.state == "recording"
    assert live.info.end is None
    # The copy does not change while it is read.
    counts = {live.samples.count_rows() for _ in range(3)}
    assert len(counts) == 1


def test_the_copy_of_a_recording_is_removed_with_it(
    growing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    live = memsample.open(growing, live=True)
    samples = live.samples
    assert list(tmp_path.glob("*/samples.parquet"))
    del live
    gc.collect()
    assert samples.to_table().num_rows == samples.count_rows() > 0
    # What is lazy keeps the copy.
    assert memsample.open(growing, live=True).samples.to_table().num_rows > 0
    assert memsample.open(growing, live=True).scan_polars("samples").collect().height > 0
    assert memsample.open(growing, live=True).sql("SELECT count(*) FROM samples").fetchall()[0][0] > 0
    del samples
    gc.collect()
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("error")
def test_peaks_of_a_recording_that_grows_are_not_final(growing: Path, recorded: Path) -> None:
    live = memsample.open(growing, live=True)
    with pytest.warns(memsample.NoteWarning, match=r"cat.*: still being written.*no peak is final.*as of 20.* UTC"):
        roles = live.roles()
    with pytest.warns(memsample.NoteWarning, match="still being written"):
        tests = live.tests()
    with pytest.warns(memsample.NoteWarning, match="still being written"):
        peaks = live.peaks("role")
    assert roles
    assert peaks
    for note in [peak.note for peak in (*roles, *tests)] + [peak.note for peak in peaks]:
        assert note is not None
        assert "still being written" in note
    # Of a closed one nothing is noted, and nothing is warned of.
    closed = memsample.open(recorded)
    assert {peak.note for peak in closed.roles()} == {peak.note for peak in closed.peaks("role")} == {None}


def test_a_recording_whose_recorder_died(died: Path) -> None:
    with pytest.raises(memsample.UnclosedRecordingError, match="memsample recover"):
        memsample.open(died)
    with pytest.raises(memsample.UnclosedRecordingError, match="memsample recover"):
        memsample.open(died, live=True)


def test_places_that_are_no_recording(tmp_path: Path, imported: Path, recorded: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "note.txt").write_text("no recording")
    for path, words in {
        empty: "empty directory",
        tmp_path: "has no recording.json",
        tmp_path / "nowhere": "does not exist",
        tmp_path / "note.txt": "is a file",
        imported.parent / "night.1.tar": "smemcap.*memsample import",
        recorded.parent: "open_many",
    }.items():
        with pytest.raises(memsample.NotARecordingError, match=words):
            memsample.open(path)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"format": 3, "memsample": "0.9"}, memsample.UnsupportedFormatError, "format 3.*0.9.*upgrade"),
        ({"format": 1}, memsample.UnsupportedFormatError, "record again"),
        ({"format": True}, memsample.DamagedError, "`format`"),
        ({"started": "yesterday"}, memsample.DamagedError, "`started`"),
        ({"settings": []}, memsample.DamagedError, "`settings`"),
        ({"totals": {"late": -0.5}}, memsample.DamagedError, "`late`"),
        ({"totals": {"late": 1 << 63}}, memsample.DamagedError, "`late`"),
        ({"settings": {"interval_ms": 0}}, memsample.DamagedError, "`interval_ms`"),
        ({"settings": {"interval_ms": 1 << 50}}, memsample.DamagedError, "`interval_ms`"),
        ({"end": {"write_failed": "x"}}, None, ""),
    ],
)
def test_another_manifest(copied: Path, change: dict[str, object], error: type[Exception] | None, words: str) -> None:
    path = copied / "recording.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    if error is None:
        assert memsample.open(copied).info.end == "write_failed"
        return
    with pytest.raises(error, match=words):
        memsample.open(copied)


@pytest.mark.parametrize("contents", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b"null"])
def test_a_damaged_manifest(copied: Path, contents: bytes) -> None:
    (copied / "recording.json").write_bytes(contents)
    with pytest.raises(memsample.DamagedError, match=r"recording\.json"):
        memsample.open(copied)


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:100], lambda data: data[:-9] + b"?" * 9])
def test_a_damaged_table(copied: Path, damage: Callable[[bytes], bytes]) -> None:
    path = copied / "samples.parquet"
    path.write_bytes(damage(path.read_bytes()))
    recording = memsample.open(copied)
    for asked in (lambda: recording.samples, recording.roles, recording.sums, recording.pss):
        with pytest.raises(memsample.DamagedError, match="samples"):
            asked()
    path.unlink()
    with pytest.raises(memsample.NotRecordedError, match="its file is missing"):
        recording.roles()


@pytest.mark.parametrize("name", ["recording.json", "samples.parquet"])
def test_a_pipe_is_not_waited_for(copied: Path, name: str) -> None:
    (copied / name).unlink()
    os.mkfifo(copied / name)
    with pytest.raises(memsample.DamagedError, match=f"{name}` is no regular file"):
        memsample.open(copied).roles()


def test_a_process_without_a_row_is_no_answer(copied: Path) -> None:
    table = pq.read_table(copied / "processes.parquet")
    pq.write_table(table.slice(0, 1), copied / "processes.parquet")
    with pytest.raises(memsample.DamagedError, match="no row of `processes` has"):
        memsample.open(copied).roles()


def test_damage_within_a_table_is_no_answer(copied: Path) -> None:
    path = copied / "samples.parquet"
    data = bytearray(path.read_bytes())
    metadata = pq.read_metadata(path)
    for place in range(metadata.num_columns):
        column = metadata.row_group(0).column(place)
        if column.path_in_schema == "rss_bytes":
            start = column.data_page_offset
            data[start : start + column.total_compressed_size] = bytes(column.total_compressed_size)
    path.write_bytes(data)
    recording = memsample.open(copied)
    for asked in (recording.roles, recording.sums, recording.resample, lambda: recording.to_arrow("samples")):
        with pytest.raises(memsample.DamagedError):
            asked()


def test_what_an_import_lacks(imported: Path) -> None:
    recording = memsample.open(imported)
    with pytest.raises(memsample.NotRecordedError, match="not asked for exits"):
        _ = recording.exits
    with pytest.raises(memsample.NotRecordedError, match="not asked for exits"):
        recording.sql("SELECT count(*) FROM exits")
    with pytest.raises(memsample.NotRecordedError, match="control groups were not read"):
        recording.to_pandas("cgroups")
    assert recording.roles()
    assert recording.pss_sums().num_rows == 2


def test_pss_that_was_not_read(copied: Path) -> None:
    path = copied / "recording.json"
    manifest = json.loads(path.read_text())
    manifest["settings"] |= {"pss_budget": None, "pss_interval_ms": None}
    path.write_text(json.dumps(manifest))
    with pytest.raises(memsample.NotRecordedError, match="no PSS"):
        memsample.open(copied).pss_sums()


@pytest.mark.parametrize("name", ["a\0b", "a" * 5000, "loop/x", "loop"])
def test_paths_that_are_none(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for opened in (memsample.open, memsample.open_run, memsample.open_many, memsample.open_runs):
        with pytest.raises(memsample.MemsampleError):
            opened(tmp_path / name)
    with pytest.raises(memsample.SeveralFailedError, match="1 of 1 cannot be opened"):
        memsample.open_many(tmp_path / name)


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A directory that all may read; this process has no rights of its own until the test ends."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    user = os.geteuid()
    yield directory
    os.seteuid(user)
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o700)
    shutil.rmtree(directory)


def test_what_this_user_may_not_read(unprivileged: Path, recorded: Path, ran: Path) -> None:
    for name in ("whole", "directory", "manifest", "table"):
        shutil.copytree(recorded.resolve(), unprivileged / name)
    shutil.copytree(ran, unprivileged / "run")
    (unprivileged / "hidden" / "within").mkdir(parents=True)
    for name in ("directory", "manifest/recording.json", "table/samples.parquet", "run/recording", "hidden"):
        (unprivileged / name).chmod(0)
    if os.geteuid() == 0:
        os.seteuid(65534)
    for name in ("directory", "manifest", "hidden/within", "run"):
        with pytest.raises(memsample.NoAccessError, match="ask its owner"):
            memsample.open(unprivileged / name)
    table = memsample.open(unprivileged / "table")
    for asked in (table.roles, table.sums, lambda: table.sql("FROM samples"), lambda: table.scan_polars("samples")):
        with pytest.raises(memsample.NoAccessError, match=r"samples\.parquet"):
            asked()
    # The results can be read where the recordings cannot.
    run = memsample.open_run(unprivileged / "run")
    assert run.sql("SELECT count(*) FROM tests").fetchall()[0][0] > 0
    with pytest.raises(memsample.NoAccessError):
        run.sql("FROM recordings")
    # What a pattern may not look into is not passed over.
    with pytest.raises(memsample.NoAccessError):
        raise memsample.open_many(unprivileged / "*", skip_failed=True).skipped[unprivileged / "directory"]
    for pattern, hidden in (
        ("*/w*", "hidden"),
        ("*/within", "hidden"),
        ("hidden/*", "hidden"),
        ("hid*/within/*", "hidden"),
    ):
        with pytest.raises(memsample.SeveralFailedError) as raised:
            memsample.open_many(unprivileged / pattern)
        assert isinstance(raised.value.failed[unprivileged / hidden], memsample.NoAccessError)


@pytest.mark.parametrize("table", ["samples", "processes"])
def test_a_table_of_something_else(copied: Path, table: str) -> None:
    """Nothing is answered from a Parquet file that has another table, other types, or nulls where none can be."""
    path = copied / f"{table}.parquet"
    whole = pq.read_table(path)
    loose = whole.cast(pa.schema([field.with_nullable(True) for field in whole.schema]))
    place = whole.column_names.index("pid")
    texts, nulls = whole["pid"].cast(pa.string()), pa.nulls(len(whole), pa.int32())
    for other in (
        pa.table({"a": [1, 2]}),
        whole.drop_columns(["role"]),
        loose.set_column(place, "pid", texts),
        loose.set_column(place, "pid", nulls),
    ):
        pq.write_table(other, path)
        recording = memsample.open(copied)
        with pytest.raises(memsample.DamagedError, match=rf"{table}\.parquet"):
            recording.tests()
        for reads in (recording.table, recording.to_pandas, recording.scan_polars, recording.sql):
            with pytest.raises(memsample.DamagedError, match=rf"{table}\.parquet"):
                reads(f"FROM {table}" if reads == recording.sql else table)
    # As other programs write it again: all may be null, and is not.
    for name in ("role", "comm"):
        loose = loose.set_column(loose.column_names.index(name), name, loose[name].cast(pa.large_string()))
    pq.write_table(loose, path)
    assert memsample.open(copied).roles()


def test_a_column_that_an_older_version_did_not_write_is_null(copied: Path) -> None:
    path = copied / "samples.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["swap_bytes", "uss_bytes"]), path)
    recording = memsample.open(copied)
    assert {peak.swap_bytes for peak in recording.roles()} == {None}
    assert recording.roles()[0].anon_bytes is not None
    assert recording.pss()["uss_last_bytes"].null_count == recording.samples.count_rows()
    assert recording.scan_polars("samples").collect()["swap_bytes"].null_count() == recording.samples.count_rows()


def test_a_null_that_no_statistics_tell(copied: Path) -> None:
    path = copied / "samples.parquet"
    table = pq.read_table(path)
    place = table.column_names.index("rss_bytes")
    table = table.set_column(place, "rss_bytes", pa.nulls(len(table), pa.int64()))
    pq.write_table(table, path, write_statistics=False)
    for asked in (memsample.open(copied).roles, memsample.open(copied).sums):
        with pytest.raises(memsample.DamagedError, match="null"):
            asked()


def test_a_mistake_is_not_taken_for_damage(recorded: Path) -> None:
    recording = memsample.open(recorded)
    for query in ("SELEC", "SELECT nothing FROM samples", "FROM nowhere", "SELECT ?", "", "FROM read_parquet('/x')"):
        with pytest.raises(memsample.QueryError):
            recording.sql(query)
    with pytest.raises(memsample.QueryError, match="the filter does not fit"):
        recording.to_arrow("samples", where=pc.field("nothing") > 1)
    with pytest.raises(memsample.QueryError, match="the filter does not fit"):
        recording.pss("sh")  # type: ignore[arg-type]
    with pytest.raises(memsample.MemsampleError, match="give 1 or more"):
        recording.plot(top=0)
    assert recording.to_arrow("samples", "rss_bytes").column_names == ["rss_bytes"]


def test_results_of_which_the_recording_is_gone(ran: Path, tmp_path: Path) -> None:
    """Recordings are removed before results are."""
    shutil.copytree(ran, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "recording")
    runs = memsample.open_runs(tmp_path / "*")
    for asked, error in ((runs, memsample.NotRecordedError), (runs[0], memsample.NotARecordingError)):
        assert asked.sql("SELECT count(DISTINCT test) FROM tests").fetchall() == [(len(memsample.open_run(ran).tests),)]
        with pytest.raises(memsample.NotARecordingError, match="does not exist"):
            asked.sql("SELECT * FROM recordings")
        with pytest.raises(error, match="does not exist"):
            asked.table("samples")


def test_some_runs_of_which_the_recording_is_gone(ran: Path, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        shutil.copytree(ran, tmp_path / name)
    shutil.rmtree(tmp_path / "b" / "recording")
    runs = memsample.open_runs(tmp_path / "*")
    with pytest.warns(memsample.NotRecordedWarning, match=r"1 runs have no table `samples`.*/b.*does not exist"):
        assert runs.samples.count_rows() == 2 * memsample.open_run(ran).samples.count_rows()
    with pytest.warns(memsample.NotRecordedWarning, match=r"recordings of 1 runs are gone.*/b/"):
        assert runs.sql("SELECT count(*) FROM recordings").fetchall() == [(2,)]


def test_a_test_that_is_not_in_the_run(ran: Path) -> None:
    with pytest.raises(memsample.NotInRunError, match="no test `nothing`; there are holds, ") as raised:
        memsample.open_run(ran).test("nothing")
    assert isinstance(raised.value, KeyError)
    assert str(raised.value).startswith("no test")


@pytest.mark.parametrize("every", ["", "0s", "1", "-1s", "1.5s", "1 week", "s", "9" * 30 + "h"])
def test_spans_that_are_none(recorded: Path, every: str) -> None:
    with pytest.raises(memsample.MemsampleError, match="100ms, 1s, 5m or 1h"):
        memsample.open(recorded).resample(every)


@pytest.mark.parametrize("by", ["pid", (), ("role", "user")])
def test_groups_that_are_none(recorded: Path, by: str | tuple[str, ...]) -> None:
    with pytest.raises(memsample.MemsampleError, match="machine, process, role, test, comm"):
        memsample.open(recorded).sums(by)


def test_the_program_that_is_missing(recorded: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MEMSAMPLE")
    monkeypatch.setenv("PATH", str(tmp_path))
    recording = memsample.open(recorded)
    with pytest.raises(memsample.ProgramError, match="install it"):
        recording.peaks()
    assert recording.roles()
