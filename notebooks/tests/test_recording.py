"""Stock readers and the notebook on recordings that are made here: one that is closed, one that goes on.

MEMSAMPLE names the program that records.
"""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import duckdb
import pandas
import papermill
import polars
import pyarrow.parquet
import pytest

MEMSAMPLE = os.environ["MEMSAMPLE"]
NOTEBOOKS = Path(__file__).parent.parent
TABLES = ["samples", "processes", "ticks", "system", "marks"]

# Grows by 4 MiB forty times, so that there is something to see.
GROWN_BYTES = 160 << 20
GROW = "blocks = []\nfor _ in range(40):\n blocks.append(b'x' * (4 << 20))\n input()"


def record(out, name, command):
    """Starts a recording of `command`, whose input is a pipe."""
    return subprocess.Popen(
        [MEMSAMPLE, "record", "--interval", "20ms", "--pss-interval", "200ms", "--json"]
        + ["--out", out, "--name", name, "--", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def wait_until(recorder, happened):
    while not happened():
        assert recorder.poll() is None, "the recorder ended"


def feed(recorder, lines):
    recorder.stdin.write(b"\n" * lines)
    recorder.stdin.flush()


def value(query):
    return duckdb.sql(query).fetchall()[0][0]


def ticks_in(run):
    return value(f"SELECT count(*) FROM '{run}/ticks*.parquet'")


def grown_bytes(run):
    """How much the process that grows has grown, as far as the files tell."""
    return value(f"""
        SELECT coalesce(max(anon_bytes) - min(anon_bytes), 0) FROM '{run}/samples*.parquet'
        WHERE process IN (SELECT process FROM '{run}/processes*.parquet' WHERE comm LIKE 'python%' AND cmdline LIKE '%blocks%')
    """)


@pytest.fixture(scope="module")
def closed(tmp_path_factory):
    out = tmp_path_factory.mktemp("closed")
    run = out / "grow"
    recorder = record(out, "grow", [sys.executable, "-c", GROW])
    # The files are brought up to date one second after the start, and two seconds later.
    wait_until(recorder, (run / "marks.parquet").exists)
    feed(recorder, 20)
    wait_until(recorder, lambda: ticks_in(run) > 0)
    feed(recorder, 19)
    wait_until(recorder, lambda: grown_bytes(run) >= GROWN_BYTES)
    output, _ = recorder.communicate(b"\n")
    assert recorder.returncode == 0
    assert json.loads(output)["dropped"] == 0
    return run


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    out = tmp_path_factory.mktemp("live")
    run = out / "cat"
    recorder = record(out, "cat", ["cat"])
    wait_until(recorder, (run / "marks.parquet").exists)
    wait_until(recorder, lambda: ticks_in(run) > 0)
    yield run
    recorder.send_signal(signal.SIGINT)
    recorder.communicate()
    assert json.loads((run / "run.json").read_text())["state"] == "closed"


def capture(path):
    """Writes what smemcap writes of this machine, as far as the import reads it."""
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
            entry.size = len(contents)
            entry.mtime = 1_700_000_000 + len(list(path.parent.iterdir()))
            tar.addfile(entry, io.BytesIO(contents))


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    out = tmp_path_factory.mktemp("imported")
    captures = [out / f"night.{number}.tar" for number in (1, 2, 3)]
    for path in captures:
        capture(path)
    subprocess.run([MEMSAMPLE, "import", "--out", out, "--name", "night", *captures], check=True, capture_output=True)
    return out / "night"


@pytest.mark.parametrize("state", ["closed", "live"])
def test_every_reader_reads_the_same(state, request):
    run = request.getfixturevalue(state)
    for table in TABLES:
        # As of one instant: a file is replaced whole while it is being recorded.
        path = run / f"{table}-as-of-now"
        path.hardlink_to(run / f"{table}.parquet")
        rows = pyarrow.parquet.read_table(path)
        assert value(f"SELECT count(*) FROM read_parquet('{path}')") == len(rows)
        frame = polars.read_parquet(path)
        assert len(frame) == len(rows)
        assert len(pandas.read_parquet(path)) == len(rows)
        assert frame.columns == rows.column_names
        for column in rows.column_names:
            assert frame[column].null_count() == rows[column].null_count
        path.unlink()
    assert state == "live" or len(rows) > 0  # marks: the command


@pytest.mark.parametrize("state", ["closed", "live"])
def test_a_plain_group_by_is_right(state, request):
    run = request.getfixturevalue(state)
    # Samples are brought up to date before ticks, so the later ticks are left out.
    wrong = value(f"""
        WITH counted AS (SELECT ts, count(*) AS samples FROM '{run}/samples*.parquet' GROUP BY ts)
        SELECT count(*) FROM '{run}/ticks*.parquet' AS ticks LEFT JOIN counted USING (ts)
        WHERE samples IS DISTINCT FROM processes AND ts <= (SELECT max(ts) FROM counted)
    """)
    assert wrong == 0


def test_what_a_process_allocated_is_what_is_read(closed):
    assert GROWN_BYTES <= grown_bytes(closed) < GROWN_BYTES + (8 << 20)


@pytest.mark.parametrize("kind", ["closed", "imported"])
def test_the_notebook_runs(kind, request, tmp_path):
    output = tmp_path / "first-look.ipynb"
    run = str(request.getfixturevalue(kind))
    papermill.execute_notebook(NOTEBOOKS / "first-look.ipynb", output, {"run": run}, progress_bar=False)
    pictures = output.read_text().count('"image/png"')
    assert pictures == 4
