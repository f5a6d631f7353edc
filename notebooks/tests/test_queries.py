"""The queries of the documents on a run and on a recording that the tests make, compared with what memsample says.

MEMSAMPLE names the program that records.
"""

import json
import os
import re
import subprocess
from pathlib import Path

import duckdb
import pandas
import polars
import pyarrow.parquet
import pytest

MEMSAMPLE = os.environ["MEMSAMPLE"]
DOCS = Path(__file__).parent.parent.parent / "docs"

# The second lives between ticks, so that no sample shows its largest process; the third is tried twice.
SUITE = """
name = "queries"

[[test]]
name = "holds"
shell = "(head -c 60m /dev/zero; sleep 1) | tail -c 60m | wc -c"

[[test]]
name = "brief"
shell = "for i in 1 2 3; do dd if=/dev/zero of=/dev/null bs=40M count=1 status=none; done"

[[test]]
name = "fails"
shell = "sleep 0.3; exit 3"
retries = 1
"""


def queries(document):
    """Returns the blocks of SQL in a document, in order."""
    return re.findall(r"^```sql\n(.*?)^```$", (DOCS / document).read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of the same suite: their process keys and pids are much the same."""
    directory = tmp_path_factory.mktemp("runs")
    suite = directory / "suite.toml"
    suite.write_text(SUITE)
    for name in ["one", "other"]:
        out = directory / "runs" / name
        ended = subprocess.run([MEMSAMPLE, "run", suite, "--out", out], capture_output=True, text=True)
        assert ended.returncode == 10, ended.stderr
    return [next((directory / "runs" / name).iterdir()) for name in ["one", "other"]]


def results(run):
    return json.loads((run / "results.json").read_text())


def attempts(run):
    for test in results(run)["tests"]:
        for attempt in test["attempts"]:
            yield test["name"], attempt


def recording_id(recording):
    return json.loads((recording / "recording.json").read_text())["id"]


@pytest.fixture
def within(monkeypatch):
    """Returns a connection for queries with relative paths."""

    def connect(directory):
        monkeypatch.chdir(directory)
        return duckdb.connect()

    return connect


def test_the_tables_of_a_run_say_what_its_results_say(runs, within):
    _, table, _ = queries("peaks.md")
    for run in runs:
        rows = within(run).sql(table).fetchall()
        # The attempt that was retried is there twice.
        assert len(rows) == 4
        for name, attempt in attempts(run):
            key = (recording_id(run / "recording"), name, attempt["repetition"], attempt["attempt"])
            [row] = [row for row in rows if row[:4] == key]
            memory = attempt["memory"] or {}
            assert row[4:7] == (attempt["outcome"], memory.get("rss_peak_bytes"), memory.get("rss_peak_bytes_upper"))
            assert row[7] in ["sampled", "high_water_mark", "exit_record"]


def test_every_number_of_the_results_is_in_the_tables(runs):
    for run in runs:
        rows = pyarrow.parquet.read_table(run / "tests.parquet").to_pylist()
        roles = duckdb.sql(f"SELECT * FROM '{run}/test_roles.parquet'").fetchall()
        assert len(roles) == sum(len(attempt["roles"]) for _, attempt in attempts(run))
        for name, attempt in attempts(run):
            key = (name, attempt["repetition"], attempt["attempt"])
            [row] = [row for row in rows if (row["test"], row["repetition"], row["attempt"]) == key]
            for told in [attempt, attempt["memory"], attempt["group"] or {}]:
                numbers = {key: value for key, value in told.items() if isinstance(value, (int, type(None)))}
                for column, value in numbers.items():
                    # What is explained to people, and where files are, stays in the JSON.
                    if column in row:
                        assert row[column] == value, (column, attempt)
            assert {"rss_peak_bytes", "anon_peak_bytes", "cpu_ns", "processes", "samples"} <= row.keys()
            # As root there is a control group, whose columns have the names of its keys.
            group = attempt["group"] or {"group_peak_bytes": None}
            assert group.keys() - {"group_samples"} <= row.keys()
            assert group["group_peak_bytes"] is None or group["group_peak_bytes"] >= (group["group_anon_bytes"] or 0)


def test_the_query_over_samples_gives_the_peak_that_is_reported(runs, within):
    _, _, lower = queries("peaks.md")
    for run in runs:
        rows = within(run).sql(lower).fetchall()
        assert {row[0] for row in rows} == {recording_id(run / "recording")}
        told = {}
        for name, attempt in attempts(run):
            told[name] = max(told.get(name, 0), attempt["memory"]["rss_peak_bytes"])
        assert {test: peak for _, test, peak in rows} == told
        # So large is no sum of samples where all was over between two ticks.
        assert told["brief"] >= 40 << 20


def test_runs_are_not_mixed_up(runs):
    paths = [f"{run}/recording/{{}}*.parquet" for run in runs]
    table = lambda name: f"read_parquet({[path.format(name) for path in paths]})"  # noqa: E731
    # Keys are the same numbers in both, and a join by both columns keeps the rows apart.
    counted, distinct = duckdb.sql(f"""
        SELECT count(*), count(DISTINCT process) FROM {table("processes")}
    """).fetchall()[0]
    assert distinct < counted
    rows = duckdb.sql(f"SELECT count(*) FROM {table('samples')}").fetchall()[0][0]
    joined = f"""
        SELECT samples.*, processes.test AS last_test, processes.role AS last_role
        FROM {table("samples")} AS samples JOIN {table("processes")} AS processes USING (recording, process)
    """
    # What moves into the control group of its test between two ticks has none before.
    fits = "test IS NOT DISTINCT FROM last_test OR test IS NULL"
    counts = f"SELECT count(*), count(*) FILTER (role = last_role), count(*) FILTER ({fits}) FROM ({joined})"
    assert duckdb.sql(counts).fetchall()[0] == (rows, rows, rows)
    last = f"SELECT * FROM ({joined}) QUALIFY ts = max(ts) OVER (PARTITION BY recording, process)"
    wrong = f"SELECT count(*) FILTER (test IS DISTINCT FROM last_test), count(test) FROM ({last})"
    differ, of_tests = duckdb.sql(wrong).fetchall()[0]
    assert differ == 0 and of_tests > 0
    ids = duckdb.sql(f"SELECT DISTINCT recording FROM {table('samples')}").fetchall()
    assert {row[0] for row in ids} == {recording_id(run / "recording") for run in runs}


def test_a_parent_is_a_process_image_of_the_same_recording(runs):
    for run in runs:
        processes = f"'{run}/recording/processes*.parquet'"
        wrong, known, unknown = duckdb.sql(f"""
            SELECT count(*) FILTER (child.parent IS NOT NULL AND parent.pid IS DISTINCT FROM child.ppid),
                   count(child.parent), count(*) FILTER (child.parent IS NULL AND child.test IS NOT NULL)
            FROM {processes} AS child LEFT JOIN {processes} AS parent
            ON child.recording = parent.recording AND child.parent = parent.process
        """).fetchall()[0]
        # Every process of a test was forked by one that the recording has.
        assert (wrong, unknown) == (0, 0)
        assert known > 0


def test_every_table_names_the_recording(runs):
    for run in runs:
        expected = {(recording_id(run / "recording"),)}
        for path in (run / "recording").glob("*.parquet"):
            rows = duckdb.sql(f"SELECT DISTINCT recording FROM '{path}'").fetchall()
            # A table may be empty.
            assert set(rows) <= expected, path
            assert polars.read_parquet_schema(path).names()[0] == "recording"


def test_pss_carried_forward_is_what_the_recorder_knew(runs, within):
    view, sums = queries("recording.md")
    recording = runs[0] / "recording"
    connection = within(recording)
    connection.sql(view)
    sums = f"SELECT epoch_ms(ts), pss_bytes, unknown_processes, unknown_rss_bytes FROM ({sums.rstrip().rstrip(';')})"
    ours = connection.sql(sums).fetchall()
    told = connection.sql("""
        SELECT epoch_ms(ts), pss_known_bytes, pss_unknown_processes, pss_unknown_rss_bytes FROM 'system*.parquet'
        WHERE pss_known_bytes IS NOT NULL ORDER BY ts
    """).fetchall()
    carried = {ts: (pss or 0, *unknown) for ts, pss, *unknown in ours}
    assert len(told) > 1
    for ts, *of_recorder in told:
        assert carried[ts] == tuple(of_recorder)
    # The same with the other readers, as the document says it.
    columns = ["recording", "process", "ts", "pss_bytes"]
    frame = polars.read_parquet("samples*.parquet", columns=columns)
    frame = frame.with_columns(polars.col("ts").dt.epoch("ms"))
    known = frame.with_columns(polars.col("pss_bytes").forward_fill().over("recording", "process", order_by="ts"))
    by_tick = dict(known.group_by("ts").agg(polars.col("pss_bytes").sum()).iter_rows())
    table = pandas.concat(pandas.read_parquet(path, columns=columns) for path in Path().glob("samples*.parquet"))
    table = table.sort_values("ts")
    table["ts"] = table["ts"].astype("int64")
    table["pss_bytes"] = table.groupby(["recording", "process"])["pss_bytes"].ffill()
    in_pandas = table.groupby("ts")["pss_bytes"].sum(min_count=1)
    for ts, (pss, _, _) in carried.items():
        assert by_tick[ts] == pss
        assert (in_pandas[ts] if in_pandas[ts] == in_pandas[ts] else 0) == pss
