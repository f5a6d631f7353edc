"""What the package says of a recording is what the program, and DuckDB by the queries of the documents, say."""

from __future__ import annotations

import re
import shutil
from dataclasses import fields
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import memsample

DOCS = Path(__file__).parents[3] / "docs"
COMPARED = [
    "lower_bytes", "lower_source", "processes", "sampled_at", "rss_bytes", "anon_bytes", "file_bytes",
    "shmem_bytes", "swap_bytes",
]  # fmt: skip


@pytest.fixture(scope="session", params=["recorded", "ran", "imported", "brief"])
def recording(request: pytest.FixtureRequest) -> memsample.Recording:
    path: Path = request.getfixturevalue(request.param)
    return memsample.open(path)


# The program notes that an import has no tests, and of which tests there is no PSS.
@pytest.mark.filterwarnings("ignore::memsample.NoteWarning")
@pytest.mark.parametrize("by", ["role", "test"])
def test_lower_bounds_are_those_of_the_program(recording: memsample.Recording, by: str) -> None:
    ours = recording.roles() if by == "role" else [peak for peak in recording.tests() if peak.note is None]
    theirs = [peak for peak in recording.peaks(by, top=1_000_000) if peak.covers in (None, "own_processes")]
    assert by == "test" or len(theirs) > 3
    assert [peak.name for peak in ours] == [peak.name for peak in theirs]
    for our, their in zip(ours, theirs, strict=True):
        for name in COMPARED:
            if hasattr(their, name):
                assert getattr(our, name) == getattr(their, name), (our, their)


def test_a_run_has_tests_with_processes_of_their_own(ran: Path) -> None:
    tests = memsample.open(ran).tests()
    assert {test.name for test in tests} == {"holds", "brief", "fails", "flaky", "$cost_ of <b>x</b>"}
    holds = next(test for test in tests if test.name == "holds")
    assert holds.lower_bytes is not None
    assert holds.lower_bytes >= 60 << 20


def test_what_was_only_marked_is_named_without_numbers(copied: Path) -> None:
    marks = pq.read_table(copied / "marks.parquet")
    marked = pa.Table.from_pylist([marks.to_pylist()[0] | {"test": "marked"}], marks.schema)
    pq.write_table(marked, copied / "marks.parquet")
    test = memsample.open(copied).tests()[-1]
    assert (test.name, test.lower_bytes) == ("marked", None)
    assert "peaks('test')" in str(test.note)


def test_roles_that_were_never_sampled_are_those_of_the_program(brief: Path) -> None:
    recording = memsample.open(brief)
    theirs = {peak.name: peak for peak in recording.peaks("role", top=1_000_000)}
    never_sampled = [peak for peak in recording.roles() if peak.processes == 0]
    # A tick may hit one of the ten.
    assert sum(peak.name.startswith("brief") for peak in never_sampled) > 5
    for peak in never_sampled:
        their = theirs[peak.name]
        assert (peak.lower_bytes, peak.lower_source) == (their.lower_bytes, their.lower_source)
        assert peak.lower_source == "exit_record"
        assert (peak.sampled_at, peak.rss_bytes, their.rss_bytes) == (None, None, None)


def test_what_was_never_measured_is_not_zero(copied: Path) -> None:
    """Of one role nothing is known; of another only that a process of it had no memory when it ended."""
    path = copied / "processes.parquet"
    table = pq.read_table(path)
    first = table.slice(0, 1).to_pylist()[0]
    of_samples = ("first_ts", "rss_max_bytes", "rss_max_ts", "rss_mean_bytes", "hwm_max_bytes")
    unseen = first | {"samples": 0} | dict.fromkeys(of_samples)
    more = [
        unseen | {"process": 1_000_001, "role": "unseen", "test": "unseen", "exit_hwm_bytes": None},
        unseen | {"process": 1_000_002, "role": "empty", "exit_hwm_bytes": 0},
    ]
    schema = pa.schema([field.with_nullable(True) for field in table.schema])
    pq.write_table(pa.concat_tables([table.cast(schema), pa.Table.from_pylist(more, schema)]), path)
    recording = memsample.open(copied)
    *known, empty, unknown = recording.roles()
    assert all(peak.lower_bytes for peak in known)
    assert (empty.name, empty.lower_bytes, empty.lower_source, empty.note) == ("empty", 0, "exit_record", None)
    for peak in (unknown, {test.name: test for test in recording.tests()}["unseen"]):
        assert (peak.name, peak.lower_bytes, peak.lower_source) == ("unseen", None, None)
        assert (peak.images, peak.processes, peak.sampled_at, peak.rss_bytes) == (1, 0, None, None)
        assert peak.note is not None
        assert "never measured" in peak.note


@pytest.mark.parametrize("by", ["machine", "role", "comm", "process"])
def test_sums_are_those_of_duckdb(recording: memsample.Recording, by: str) -> None:
    keys = "" if by == "machine" else f", {by}"
    expected = recording.sql(
        f"SELECT ts{keys}, count(*) AS processes, sum(rss_bytes)::BIGINT AS rss_bytes, "
        "CASE WHEN count(anon_bytes) = count(*) THEN sum(anon_bytes)::BIGINT END AS anon_bytes, "
        f"CASE WHEN count(swap_bytes) = count(*) THEN sum(swap_bytes)::BIGINT END AS swap_bytes "
        f"FROM samples GROUP BY ALL ORDER BY ts{keys}"
    )
    ours = recording.sums(by).select(expected.columns)
    assert ours.num_rows > 1
    assert sorted(map(repr, rows(ours))) == sorted(repr(naive(row)) for row in expected.fetchall())


@pytest.mark.parametrize("every", ["100ms", "1s", "7s", "1h"])
@pytest.mark.parametrize(
    "by", [("machine",), ("role",), ("process",), ("test",), ("test", "role"), ("test", "process"), ("process", "comm")]
)
def test_resampling_keeps_the_peaks_and_the_ticks(
    recording: memsample.Recording, every: str, by: tuple[str, ...]
) -> None:
    sums, spans = recording.sums(by), recording.resample(every, by)
    keys = [key for key in by if key != "machine"]
    before = sums.group_by(keys).aggregate([("rss_bytes", "max"), ("rss_bytes", "min"), ("ts", "count")])
    after = spans.group_by(keys).aggregate([("rss_max_bytes", "max"), ("rss_min_bytes", "min"), ("ticks", "sum")])
    assert sorted(rows(before.select([*keys, "rss_bytes_max", "rss_bytes_min", "ts_count"]))) == sorted(
        rows(after.select([*keys, "rss_max_bytes_max", "rss_min_bytes_min", "ticks_sum"]))
    )
    for column, ticks in (("anon", "anon_ticks"), ("swap", "swap_ticks")):
        known = sums.group_by(keys).aggregate([(f"{column}_bytes", "count")])
        told = spans.group_by(keys).aggregate([(ticks, "sum")])
        assert sorted(rows(known.select([*keys, f"{column}_bytes_count"]))) == sorted(
            rows(told.select([*keys, f"{ticks}_sum"]))
        )
        # What rests on no tick is not known, and only that.
        none = pc.equal(spans[ticks], 0)
        for which in ("max", "min", "mean"):
            assert pc.is_null(spans[f"{column}_{which}_bytes"]).equals(none)
    for column in ("rss", "anon", "swap"):
        low, mean, high = (spans[f"{column}_{which}_bytes"] for which in ("min", "mean", "max"))
        assert pc.all(pc.and_(pc.less_equal(low, mean), pc.less_equal(mean, high)), min_count=0).as_py()


def test_means_say_on_how_many_ticks_they_rest(copied: Path) -> None:
    path = copied / "samples.parquet"
    table = pq.read_table(path)
    instants = table["ts"].to_pylist()
    last = max(instants)
    unread = {"anon_bytes": [instant == last for instant in instants], "swap_bytes": [True] * len(instants)}
    for name, nulls in unread.items():
        place = table.column_names.index(name)
        values = pc.if_else(pa.array(nulls), pa.scalar(None, pa.int64()), table[name])
        table = table.set_column(place, table.schema.field(place), values)
    pq.write_table(table, path)
    recording = memsample.open(copied)
    row = recording.resample("1d", "machine").to_pylist()[-1]
    before = recording.sums("machine").filter(pc.field("ts") >= row["ts"])
    assert (row["anon_ticks"], row["swap_ticks"]) == (row["ticks"] - 1, 0)
    assert row["swap_max_bytes"] is row["swap_min_bytes"] is row["swap_mean_bytes"] is None
    known = before["anon_bytes"].drop_null()
    assert len(known) == len(before) - 1
    assert row["anon_mean_bytes"] == pytest.approx(pc.mean(known).as_py(), abs=1)


def test_a_process_that_does_not_count_for_its_test_is_in_no_row_of_it(ran: Path, tmp_path: Path) -> None:
    """Between its fork and its exec a process shows the memory of its parent."""
    copy = Path(shutil.copytree(ran / "recording", tmp_path / "copy"))
    table = pq.read_table(copy / "processes.parquet")
    of_test = [row for row in table.to_pylist() if row["test"] == "holds" and row["samples"]]
    parent = max(of_test, key=lambda row: row["rss_max_bytes"])
    child = min(of_test, key=lambda row: row["rss_max_bytes"])
    forked = child | {"exec": 0, "ppid": parent["pid"], "start_ns": parent["start_ns"] + 1}
    executed = forked | {"process": 1_000_001, "exec": 1, "samples": 0}
    rest = [row for row in table.to_pylist() if row["process"] != child["process"]]
    pq.write_table(pa.Table.from_pylist([*rest, forked, executed], table.schema), copy / "processes.parquet")
    recording = memsample.open(copy)
    for by in (("test", "process"), ("process", "test")):
        sums, spans = recording.sums(by), recording.resample("1h", by)
        assert parent["process"] in spans["process"].to_pylist()
        assert child["process"] not in sums["process"].to_pylist()
        assert child["process"] not in spans["process"].to_pylist()
        assert None not in spans["test"].to_pylist()


def test_the_largest_of_a_role_is_one_that_was(recorded: Path) -> None:
    """The sum of the largest values of two processes is larger than what they ever had together."""
    recording = memsample.open(recorded)
    together = pc.max(recording.resample("1h", "machine")["rss_max_bytes"]).as_py()
    apart = pc.sum(recording.resample("1h", "process")["rss_max_bytes"]).as_py()
    assert together < apart


def test_pss_is_carried_forward_as_the_documents_do(recording: memsample.Recording) -> None:
    view, query = re.findall(r"^```sql\n(.*?)^```$", (DOCS / "recording.md").read_text(), re.DOTALL | re.MULTILINE)
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(view.replace("samples*.parquet", str(recording.files("samples")[0])))
    expected = connection.sql(query).fetchall()
    ours = recording.pss_sums().select(["ts", "pss_bytes", "oldest_ms", "unknown_processes", "unknown_rss_bytes"])
    theirs = [
        (row[1].replace(tzinfo=None), row[2] if row[2] is None else int(row[2]),
         None if row[3] is None else round(row[3].total_seconds() * 1000), row[4], int(row[5]))
        for row in expected
    ]  # fmt: skip
    assert rows(ours) == theirs
    assert any(row[1] for row in theirs)


def test_pss_says_how_old_it_is(recorded: Path) -> None:
    recording = memsample.open(recorded)
    table = recording.pss()
    read = pc.is_valid(table["pss_bytes"])
    assert pc.all(pc.equal(table.filter(read)["pss_age_ms"], 0)).as_py()
    carried = table.filter(pc.and_(pc.invert(read), pc.is_valid(table["pss_last_bytes"])))
    assert carried.num_rows > 0
    assert pc.min(carried["pss_age_ms"]).as_py() > 0
    one = recording.pss(process=table["process"][0].as_py())
    assert set(one["process"].to_pylist()) == {table["process"][0].as_py()}


def test_frames_hold_what_the_files_hold(recording: memsample.Recording) -> None:
    for name in ("samples", "processes", "ticks", "system", "marks"):
        table = recording.table(name).to_table()
        pandas, polars = recording.to_pandas(name), recording.to_polars(name)
        assert len(pandas) == len(polars) == table.num_rows
        assert recording.scan_polars(name).collect().equals(polars)
        for column in table.column_names:
            assert polars[column].null_count() == table[column].null_count == int(pandas[column].isna().sum())
            if pa.types.is_integer(table.schema.field(column).type):
                # Nothing becomes a floating-point number, whatever is null.
                assert str(pandas[column].dtype) in ("Int64", "Int32")
                assert pandas[column].dropna().tolist() == table[column].drop_null().to_pylist()


def test_some_columns_and_rows(recorded: Path) -> None:
    recording = memsample.open(recorded)
    frame = recording.to_pandas("samples", ["pid", "rss_bytes"], pc.field("rss_bytes") > 1 << 20)
    assert list(frame.columns) == ["pid", "rss_bytes"]
    assert frame["rss_bytes"].min() > 1 << 20
    with pytest.raises(memsample.MemsampleError, match="no column rss; its columns are recording, ts"):
        recording.to_pandas("samples", ["rss"])
    with pytest.raises(memsample.MemsampleError, match="no table `sample`; the tables are samples"):
        recording.table("sample")


def test_sql_has_a_view_for_each_table(recorded: Path) -> None:
    recording = memsample.open(recorded)
    for name in recording.tables:
        assert recording.sql(f"SELECT count(*) FROM {name}").fetchall()[0][0] == recording.table(name).count_rows()
    assert recording.sql("SELECT name, state FROM recordings").fetchall() == [(recording.info.name, "closed")]
    assert recording.sql("SELECT ? + 1", [2]).fetchall() == [(3,)]
    # Nobody else holds the connection.
    assert memsample.open(recorded).sql("SELECT count(*) FROM samples").fetchall()[0][0] > 0


def test_the_information_is_typed(recorded: Path, imported: Path) -> None:
    info = memsample.open(recorded).info
    assert info.settings.interval_ms == 20
    assert info.command_exit_code == 0
    assert info.totals.ticks == memsample.open(recorded).ticks.count_rows()
    assert all(getattr(info.totals, field.name) is not None for field in fields(info.totals))
    assert not info.imported
    night = memsample.open(imported).info
    assert night.imported
    assert night.machine.cpus is None


def rows(table: pa.Table) -> list[tuple[object, ...]]:
    """The rows, with times without zone."""
    return [naive(tuple(row.values())) for row in table.to_pylist()]


def naive(row: tuple[object, ...]) -> tuple[object, ...]:
    return tuple(value.replace(tzinfo=None) if isinstance(value, datetime) else value for value in row)
