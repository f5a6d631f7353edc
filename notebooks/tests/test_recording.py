"""Stock readers and the notebook on recordings that the tests make: a closed one, and one that is still being written.

MEMSAMPLE names the program that records.
"""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import duckdb
import pandas
import polars
import pyarrow.parquet
import pytest
from kernels import execute_notebook

MEMSAMPLE = os.environ["MEMSAMPLE"]
NOTEBOOKS = Path(__file__).parent.parent
TABLES = ["samples", "processes", "ticks", "system", "marks"]

# Grows by 4 MiB forty times, so that there is something to see.
GROWN_BYTES = 160 << 20
GROW = "blocks = []\nfor _ in range(40):\n input()\n blocks.append(b'x' * (4 << 20))\ninput()"


def record(out, name, command):
    """Starts a recording of `command`, whose input is a pipe."""
    return subprocess.Popen(
        [MEMSAMPLE, "record", "--interval", "20ms", "--pss-interval", "200ms", "--json", out / f"{name}.json"]
        + ["--out", out, "--name", name, "--", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def wait_until(recorder, happened):
    while not happened():
        assert recorder.poll() is None, "the recorder ended"
        time.sleep(0.05)


def feed(recorder, lines):
    recorder.stdin.write(b"\n" * lines)
    recorder.stdin.flush()


def value(query):
    return duckdb.sql(query).fetchall()[0][0]


@contextlib.contextmanager
def as_of_now(recording):
    """Copies the files as they are now. DuckDB opens a file several times in one query, and a file of a
    recording that is still being written may be replaced meanwhile. A file is opened once to be copied; a link to
    it is refused by the kernel if it is replaced between its lookup and its link."""
    with tempfile.TemporaryDirectory(dir=recording.parent) as now:
        for path in recording.glob("*.parquet"):
            shutil.copyfile(path, Path(now, path.name))
        yield Path(now)


def ticks_in(recording):
    return pyarrow.parquet.read_metadata(recording / "ticks.parquet").num_rows


def grown_bytes(recording):
    """How much the process that grows has grown, as far as the files tell; None before it is in them."""
    with as_of_now(recording) as now:
        return value(f"""
            SELECT max(anon_bytes) - min(anon_bytes) FROM '{now}/samples*.parquet'
            WHERE process IN (SELECT process FROM '{now}/processes*.parquet' WHERE comm LIKE 'python%' AND cmdline LIKE '%blocks%')
        """)


def wait_for_growth(recorder, recording, grown):
    wait_until(recorder, lambda: (grown_bytes(recording) or 0) >= grown)


@pytest.fixture(scope="module")
def closed(tmp_path_factory):
    out = tmp_path_factory.mktemp("closed")
    recording = out / "grow"
    recorder = record(out, "grow", [sys.executable, "-c", GROW])
    wait_until(recorder, (recording / "marks.parquet").exists)
    # It grows once it has been sampled, and on both sides of an update of the files.
    wait_until(recorder, lambda: grown_bytes(recording) is not None)
    feed(recorder, 20)
    wait_for_growth(recorder, recording, GROWN_BYTES // 2)
    feed(recorder, 20)
    wait_for_growth(recorder, recording, GROWN_BYTES)
    recorder.communicate(b"\n")
    # Whichever `cat` noticed first, the signal or the end of its input.
    assert recorder.returncode in (0, 128 + signal.SIGINT)
    return recording


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    out = tmp_path_factory.mktemp("live")
    recording = out / "cat"
    recorder = record(out, "cat", ["cat"])
    wait_until(recorder, (recording / "marks.parquet").exists)
    wait_until(recorder, lambda: ticks_in(recording) > 0)
    yield recording
    assert recorder.poll() is None, f"the recorder ended with {recorder.returncode}"
    recorder.send_signal(signal.SIGINT)
    recorder.communicate()
    # Whichever `cat` noticed first, the signal or the end of its input.
    assert recorder.returncode in (0, 128 + signal.SIGINT)
    assert json.loads((recording / "recording.json").read_text())["state"] == "closed"


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
    with as_of_now(request.getfixturevalue(state)) as recording:
        for table in TABLES:
            path = recording / f"{table}.parquet"
            rows = pyarrow.parquet.read_table(path)
            assert value(f"SELECT count(*) FROM '{path}'") == len(rows)
            frame = polars.read_parquet(path)
            assert len(frame) == len(rows)
            assert len(pandas.read_parquet(path)) == len(rows)
            assert frame.columns == rows.column_names
            for column in rows.column_names:
                assert frame[column].null_count() == rows[column].null_count
    assert state == "live" or len(rows) > 0  # marks: the command


@pytest.mark.parametrize("state", ["closed", "live"])
def test_a_plain_group_by_is_right(state, request):
    # Samples are brought up to date before ticks, so the later ones of either are left out. While a disk stands still samples
    # are dropped, and counted as such.
    with as_of_now(request.getfixturevalue(state)) as recording:
        wrong = value(f"""
            WITH counted AS (SELECT ts, count(*) AS samples FROM '{recording}/samples*.parquet' GROUP BY ts)
            SELECT count(*) FROM '{recording}/ticks*.parquet' AS ticks LEFT JOIN counted USING (ts)
            WHERE samples IS DISTINCT FROM processes_read AND dropped = 0 AND ts <= (SELECT max(ts) FROM counted)
        """)
    assert wrong == 0


def test_what_a_process_allocated_is_what_is_read(closed):
    assert GROWN_BYTES <= grown_bytes(closed) < GROWN_BYTES + (8 << 20)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    suite = NOTEBOOKS.parent / "docs/tests/project/suite.toml"
    subprocess.run([MEMSAMPLE, "run", suite, "--out", out, "--name", "small"], check=True, capture_output=True)
    return out / "small"


# When the ticks happened, largest images, tests if there are any, roles, one process, the machine.
@pytest.mark.parametrize(("kind", "expected"), [("closed", 6), ("imported", 5), ("run", 6)])
def test_the_notebook_runs(kind, expected, request, tmp_path):
    output = tmp_path / "first-look.ipynb"
    recording = str(request.getfixturevalue(kind))
    execute_notebook(NOTEBOOKS / "first-look.ipynb", output, {"recording": recording})
    pictures = output.read_text().count('"image/png"')
    assert pictures == expected


def test_a_table_in_another_compression_is_refused_for_what_it_is(tmp_path):
    subprocess.run([MEMSAMPLE, "record", "--out", tmp_path, "--name", "a", "--", "sleep", "0.3"], check=True)
    recording = (tmp_path / "latest").resolve()
    whole = subprocess.run([MEMSAMPLE, "peaks", recording, "--by", "role", "--json"], capture_output=True, check=True)
    table = pyarrow.parquet.read_table(recording / "samples.parquet")
    pyarrow.parquet.write_table(table, recording / "samples.parquet", compression="snappy")
    ended = subprocess.run([MEMSAMPLE, "peaks", recording], capture_output=True, text=True)
    assert ended.returncode == 1
    assert "cannot be read: it is compressed in a way" in ended.stderr and "damaged" not in ended.stderr
    # Written again as it asks for, it is read, and each time the same is said.
    pyarrow.parquet.write_table(table, recording / "samples.parquet", compression="zstd")
    for _ in range(5):
        again = subprocess.run([MEMSAMPLE, "peaks", recording, "--by", "role", "--json"], capture_output=True)
        assert again.stdout == whole.stdout
