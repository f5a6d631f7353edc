"""A store of the runs of many machines: what `memsample push` writes, read by DuckDB, Arrow and Spark; what is refused, and
what is found when a store loses a bit.

MEMSAMPLE names the program, built with the feature `lab`.
"""

import datetime
import filecmp
import json
import os
import shutil
import subprocess
import time
import urllib.parse
from pathlib import Path

import duckdb
import pyarrow.dataset
import pyarrow.fs
from lab_runs import MEMSAMPLE, SECRET, listed, memsample


def same_tree(left, right):
    compared = filecmp.dircmp(left, right)
    assert not (compared.left_only or compared.right_only or compared.funny_files), compared.report()
    for name in compared.common_files:
        assert (left / name).read_bytes() == (right / name).read_bytes(), left / name
    for name in compared.common_dirs:
        same_tree(left / name, right / name)


def empty_directories_left_out(path, copy):
    """A copy without empty directories, which an object store cannot hold."""
    shutil.copytree(path, copy)
    for directory, _, _ in os.walk(copy, topdown=False):
        if not os.listdir(directory):
            os.rmdir(directory)
    return copy


def test_what_was_pushed_comes_back(runs, store, tmp_path):
    address, environment = store
    memsample("push", *runs, address, environment=environment)
    again = memsample("push", *runs, address, "--json", environment=environment)
    assert [row["was_there"] for row in json.loads(again.stdout)] == [True] * 3
    rows = listed(address, environment)
    assert sorted(row["kind"] for row in rows) == ["recording", "run", "run"]
    assert {row["release"] for row in rows} == {"1.0", "1.1", None}
    assert [row["outcome"] for row in rows if row["kind"] == "run"] == ["failed"] * 2
    for phase in ["as pushed", "compacted"]:
        for row, run in zip(sorted(rows, key=lambda row: row["run"]), runs, strict=True):
            out = tmp_path / phase
            pulled = memsample("pull", address, row["run"], "--out", out, environment=environment)
            pulled = Path(pulled.stdout.strip())
            expected = empty_directories_left_out(run, tmp_path / f"{phase} expected" / run.name)
            if phase == "as pushed":
                same_tree(expected, pulled)
            recording = pulled / "recording" if row["kind"] == "run" else pulled
            original = run / "recording" if row["kind"] == "run" else run
            for table in ["samples", "processes", "ticks", "system"]:
                counts = [
                    duckdb.sql(f"SELECT * FROM read_parquet('{at}/{table}*.parquet') ORDER BY ALL").fetchall()
                    for at in [recording, original]
                ]
                assert counts[0] == counts[1], (phase, table)
            memsample("peaks", recording)
        tomorrow = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=1)
        memsample("compact", address, "--before", tomorrow, environment=environment)
    assert "all as they were pushed" in memsample("verify", address, environment=environment).stdout
    # A compacted run is the same run to who pushes it again.
    assert "was there" in memsample("push", runs[1], address, environment=environment).stdout
    run = next(row["run"] for row in rows if row["release"] == "1.0")
    memsample("prune", address, "--run", run, environment=environment)
    memsample("prune", address, "--keep", "1d", environment=environment)
    assert run not in [row["run"] for row in listed(address, environment)]
    assert "all as they were pushed" in memsample("verify", address, environment=environment).stdout
    memsample("prune", address, "--keep", "1ms", "--keep-releases", environment=environment)
    assert [row["release"] for row in listed(address, environment)] == ["1.1"]
    memsample("prune", address, "--keep", "1ms", environment=environment)
    assert listed(address, environment) == []


def test_a_large_file_goes_in_parts(runs, store, tmp_path):
    address, environment = store
    large = tmp_path / "large"
    shutil.copytree(runs[1], large)
    (large / "tests" / "dump").write_bytes(os.urandom((20 << 20) + 1))
    memsample("push", large, address, environment=environment)
    assert "all as they were pushed" in memsample("verify", address, environment=environment).stdout
    memsample("pull", address, "large", "--out", tmp_path / "out", environment=environment)
    pulled = tmp_path / "out" / "large" / "tests" / "dump"
    assert pulled.read_bytes() == (large / "tests" / "dump").read_bytes()


PEAKS = """
SELECT release, test, max(rss_peak_bytes) AS peak, count(*) AS attempts
FROM {tests} GROUP BY ALL ORDER BY ALL
"""


def of_results(runs):
    """The same from results.json."""
    rows = []
    for run in runs:
        if not (run / "results.json").exists():
            continue
        results = json.loads((run / "results.json").read_text())
        for test in results["tests"]:
            peaks = [attempt["memory"]["rss_peak_bytes"] for attempt in test["attempts"]]
            rows.append((results["labels"]["release"], test["name"], max(peaks), len(peaks)))
    return sorted(rows)


def test_one_glob_reads_a_lab(runs, store, s3):
    address, environment = store
    memsample("push", "--project", "p", *runs, address, environment=environment)
    tomorrow = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=1)
    for _ in range(2):
        if address.startswith("file://"):
            root = Path(urllib.parse.urlparse(address).path)
            tests = f"read_parquet('{root}/tables/tests/**/*.parquet', hive_partitioning=true)"
            samples = duckdb.sql(
                f"SELECT project, suite, count(*) FROM read_parquet('{root}/tables/samples/**/*.parquet', "
                "hive_partitioning=true) GROUP BY ALL ORDER BY ALL"
            ).fetchall()
            assert [row[:2] for row in samples] == [("p", "_none"), ("p", "nightly ü/=1")]
            runs_table = f"read_parquet('{root}/tables/runs/**/*.parquet', hive_partitioning=true)"
            joined = duckdb.sql(
                f"SELECT r.release, sum(t.cpu_ns) FROM {tests} t JOIN {runs_table} r USING (run_id) GROUP BY ALL"
            ).fetchall()
            assert len(joined) == 2
            manifests = duckdb.sql(f"SELECT run FROM read_json('{root}/manifests/**/*.json')").fetchall()
            assert len(manifests) == 3
        else:
            bucket = urllib.parse.urlparse(address).netloc
            filesystem = pyarrow.fs.S3FileSystem(
                access_key="key",
                secret_key=SECRET,
                endpoint_override=environment["AWS_ENDPOINT_URL"],
                region="us-east-1",
            )
            arrow_tests = pyarrow.dataset.dataset(
                f"{bucket}/memory/tables/tests", filesystem=filesystem, partitioning=None
            ).to_table()
            assert arrow_tests.num_rows > 0
            tests = "arrow_tests"
        assert duckdb.sql(PEAKS.format(tests=tests)).fetchall() == of_results(runs)
        memsample("compact", address, "--before", tomorrow, environment=environment)


def test_spark_reads_a_lab(runs, tmp_path):
    from pyspark.sql import SparkSession

    memsample("push", *runs, tmp_path / "lab")
    spark = (
        SparkSession.builder.master("local[1]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.sql.shuffle.partitions", "1")
        .config("spark.sql.warehouse.dir", str(tmp_path / "warehouse"))
        .getOrCreate()
    )
    try:
        tests = spark.read.parquet(str(tmp_path / "lab/tables/tests"))
        assert {"project", "suite", "date", "host", "run"} <= set(tests.columns)
        tests.createOrReplaceTempView("tests")
        rows = [tuple(row) for row in spark.sql(PEAKS.format(tests="tests")).collect()]
        assert rows == of_results(runs)
        samples = spark.read.parquet(str(tmp_path / "lab/tables/samples"))
        root = tmp_path / "lab/tables/samples"
        counted = duckdb.sql(f"SELECT count(*), sum(rss_bytes) FROM read_parquet('{root}/**/*.parquet')").fetchall()
        counted = counted[0]
        assert tuple(samples.selectExpr("count(*)", "sum(rss_bytes)").collect()[0]) == counted
    finally:
        spark.stop()


def test_a_flipped_bit_and_a_lost_object_are_found(runs, tmp_path):
    lab = tmp_path / "lab"
    memsample("push", *runs, lab)
    samples = sorted(lab.glob("tables/samples/**/*.parquet"))
    flipped = samples[0].read_bytes()
    samples[0].write_bytes(flipped[:100] + bytes([flipped[100] ^ 1]) + flipped[101:])
    samples[1].unlink()
    result = memsample("verify", lab, code=1)
    assert "its bytes are not those that were pushed" in result.stderr
    assert "is missing" in result.stderr
    assert "2 objects damaged or missing" in result.stdout
    damaged = next(row["run"] for row in listed(lab, {}) if row["run"] in str(samples[0]))
    memsample("pull", lab, damaged, "--out", tmp_path / "out", code=1)
    assert "nothing to put together" in memsample("compact", lab, "--before", "2026-01-01").stdout
    assert list((tmp_path / "out").iterdir()) == []


def test_manifests_that_lie_are_refused(runs, tmp_path):
    lab = tmp_path / "lab"
    memsample("push", *runs, lab)
    manifests = sorted(lab.glob("manifests/**/*.json"))
    honest = json.loads(manifests[0].read_text())
    outside = tmp_path / "outside"
    lies = {
        "later": ({**honest, "format": 99}, "newer than this program reads"),
        "other": ({**honest, "run": "other"}, "manifest of another run"),
        "object": (
            {**honest, "files": [{**honest["files"][0], "object": "../../../etc/passwd"}]},
            "no object of the store",
        ),
    }
    for manifest, message in lies.values():
        manifests[0].write_text(json.dumps(manifest))
        assert message in memsample("verify", lab, code=1).stderr
        assert len(listed(lab, {}, code=1)) == 2
        # Why is said once.
        assert memsample("pull", lab, honest["run"], "--out", tmp_path / "out", code=1).stderr.count(message) == 1
    for path in ["../outside/file", "/etc/x", "a/%2E%2E/b", "a%2Fb"]:
        manifests[0].write_text(json.dumps({**honest, "files": [{**honest["files"][0], "path": path}]}))
        result = memsample("pull", lab, honest["run"], "--out", tmp_path / "out", code=1)
        assert "outside its directory" in result.stderr
    manifests[0].write_text("{")
    assert "is damaged" in memsample("verify", lab, code=1).stderr
    assert not outside.exists()
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_runs_that_have_not_ended_are_refused(runs, tmp_path):
    unfinished = tmp_path / "unfinished"
    shutil.copytree(runs[1], unfinished)
    (unfinished / "results.json").unlink()
    assert "has not ended" in memsample("push", unfinished, tmp_path / "lab", code=1).stderr
    recorder = subprocess.Popen([MEMSAMPLE, "record", "--out", tmp_path, "--name", "now"], stdout=subprocess.DEVNULL)
    try:
        while not list(tmp_path.glob("now*/recording.json")):
            assert recorder.poll() is None
            time.sleep(0.05)
        result = memsample("push", next(tmp_path.glob("now*")), tmp_path / "lab", code=1)
        assert "is still being written" in result.stderr
    finally:
        recorder.terminate()
        recorder.wait()
    later = tmp_path / "later"
    shutil.copytree(runs[1], later)
    results = json.loads((later / "results.json").read_text())
    (later / "results.json").write_text(json.dumps({**results, "format_version": 99}))
    memsample("push", later, tmp_path / "lab", code=1)
    assert not list((tmp_path / "lab").glob("**/*"))


def test_a_link_in_a_run_is_not_followed(runs, tmp_path):
    linked = tmp_path / "linked"
    shutil.copytree(runs[1], linked)
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (linked / "tests" / "link").symlink_to(secret)
    os.mkfifo(linked / "tests" / "pipe")
    result = memsample("push", linked, tmp_path / "lab")
    assert "2 paths" in result.stderr, result.stderr
    assert not [path for path in (tmp_path / "lab").rglob("*") if path.is_file() and b"secret" == path.read_bytes()]
