"""The results of a store have each run once, from a directory and from a bucket, whatever happens to the store."""

from __future__ import annotations

import datetime
import json
import logging
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

import memsample

PROGRAM = os.environ["MEMSAMPLE"]
SUITE = """
name = "stored"
[[test]]
name = "one"
command = ["sleep", "0.2"]
repeat = 2
[[test]]
name = "two"
command = ["sleep", "0.1"]
"""
ORDER = [("run_id", "ascending"), ("test", "ascending"), ("attempt", "ascending")]


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three runs of a suite, of two releases."""
    directory = tmp_path_factory.mktemp("stored")
    (directory / "suite.toml").write_text(SUITE)
    for number in range(3):
        options = ["--out", ".", "--name", f"r{number}", "--label", f"release=1.{number // 2}"]
        memsample_in(directory, "run", "suite.toml", *options)
    return [directory / f"r{number}" for number in range(3)]


def memsample_in(directory: Path, *arguments: str | Path, **variables: str) -> None:
    environment = os.environ | {"XDG_STATE_HOME": str(directory)} | variables
    ended = subprocess.run(
        [PROGRAM, *arguments], cwd=directory, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr


@pytest.fixture
def lab(runs: list[Path], tmp_path: Path) -> Path:
    memsample_in(tmp_path, "push", *runs[:2], "lab", "--project", "a")
    memsample_in(tmp_path, "push", runs[2], "lab", "--project", "b")
    return tmp_path / "lab"


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket of a server of S3, whose variables are set."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    set_variables(monkeypatch, f"http://{host}:{port}")
    boto3.client("s3", endpoint_url=f"http://{host}:{port}").create_bucket(Bucket="lab")
    yield "s3://lab/memory"
    server.stop()


def set_variables(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)


def results_of(run: Path) -> dict[str, Any]:
    results: dict[str, Any] = json.loads((run / "results.json").read_text())
    return results


def ids_by_name(lab: Path) -> dict[str, str]:
    table = memsample.read_store(lab, "runs", ["name", "run_id"])
    return dict(zip(table["name"].to_pylist(), table["run_id"].to_pylist(), strict=True))


def sorted_rows(table: pa.Table) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = table.sort_by(ORDER).to_pylist()
    return rows


def table_files(lab: Path, table: str = "tests") -> list[Path]:
    return sorted(lab.glob(f"tables/{table}/**/*.parquet"))


def test_it_is_what_the_results_of_the_runs_say(lab: Path, runs: list[Path]) -> None:
    tests = memsample.read_store(lab, "tests", ["run_id", "release", "test", "attempt", "rss_peak_bytes"])
    ids = ids_by_name(lab)
    expected = [
        (
            ids[f"r{number}"],
            f"1.{number // 2}",
            test["name"],
            attempt["attempt"],
            attempt["memory"]["rss_peak_bytes"],
        )
        for number, results in enumerate(map(results_of, runs))
        for test in results["tests"]
        for attempt in test["attempts"]
    ]
    assert len(expected) == 9
    assert sorted(tuple(row.values()) for row in tests.to_pylist()) == sorted(expected)
    whole = memsample.read_store(lab.as_uri())
    assert {"project", "suite", "date"} < set(whole.column_names)
    assert whole.drop_columns(["project", "suite", "date"]).equals(
        memsample.read_store(
            lab, columns=[name for name in whole.column_names if name not in ("project", "suite", "date")]
        )
    )
    assert memsample.read_store(lab, "runs").num_rows == 3
    assert memsample.read_store(lab, "test_roles").num_rows >= 6
    glob = f"{lab}/tables/tests/**/*.parquet"
    largest = "SELECT release, test, max(rss_peak_bytes) FROM {} GROUP BY ALL ORDER BY ALL"
    of_table = duckdb.sql(largest.format("tests"))
    of_files = duckdb.sql(largest.format(f"read_parquet('{glob}')"))
    assert of_table
    assert of_files
    assert of_table.fetchall() == of_files.fetchall()


def test_a_compacted_store_has_the_same_rows(lab: Path) -> None:
    before, small = sorted_rows(memsample.read_store(lab)), table_files(lab)
    kept = {path: path.read_bytes() for path in small}
    memsample_in(lab.parent, "compact", "lab", "--before", "2100-01-01")
    assert len(table_files(lab)) == 2
    assert sorted_rows(memsample.read_store(lab)) == before
    # A compaction that is killed leaves files whose rows stand in a large one.
    for path, contents in kept.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents)
    assert sorted_rows(memsample.read_store(lab)) == before


def test_a_run_without_a_manifest_is_not_there(lab: Path) -> None:
    ids = ids_by_name(lab)
    gone = ids["r1"]
    (manifest,) = lab.glob(f"manifests/**/run={gone}.json")
    contents = manifest.read_bytes()
    manifest.unlink()
    assert gone not in memsample.read_store(lab)["run_id"].to_pylist()
    manifest.write_bytes(contents)
    memsample_in(lab.parent, "compact", "lab", "--before", "2100-01-01")
    manifest.unlink()
    assert set(memsample.read_store(lab)["run_id"].to_pylist()) == {ids["r0"], ids["r2"]}


def test_parts_of_it_are_read(lab: Path) -> None:
    assert memsample.read_store(lab, project="a").num_rows == 6
    assert set(memsample.read_store(lab, project="b", suite="stored")["release"].to_pylist()) == {"1.1"}
    (day,) = set(memsample.read_store(lab, project="b")["date"].to_pylist())
    assert isinstance(day, datetime.date)
    assert memsample.read_store(lab, since=day.isoformat(), until="2100-01-01").num_rows >= 3
    nothing: list[dict[str, Any]] = [{"project": "c"}, {"suite": "a"}, {"since": day + datetime.timedelta(2)}]
    for limits in [*nothing, {"until": "2000-01-01"}]:
        with pytest.raises(memsample.NotRecordedError, match="no run"):
            memsample.read_store(lab, **limits)


def test_a_bucket_is_read_as_a_directory_is(
    lab: Path, runs: list[Path], bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(memsample.NotARecordingError, match="has not brought any"):
        memsample.read_store(bucket)
    memsample_in(lab.parent, "push", *runs[:2], bucket, "--project", "a")
    memsample_in(lab.parent, "push", runs[2], bucket, "--project", "b")
    assert sorted_rows(memsample.read_store(bucket)) == sorted_rows(memsample.read_store(lab))
    # A file of any size may be read in pieces.
    monkeypatch.setattr("memsample.store.WHOLE_BYTES", 0)
    assert sorted_rows(memsample.read_store(bucket)) == sorted_rows(memsample.read_store(lab))
    with pytest.raises(memsample.NotARecordingError, match="is not there"):
        memsample.read_store("s3://another/memory")


def test_what_is_removed_while_it_is_read_is_looked_for_again(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import obstore

    before, get, compacted = sorted_rows(memsample.read_store(lab)), obstore.get, threading.Lock()

    def get_after_compaction(store: obstore.store.ObjectStore, path: str) -> object:
        with compacted:
            if len(table_files(lab)) == 3:
                memsample_in(lab.parent, "compact", "lab", "--before", "2100-01-01")
        return get(store, path)

    monkeypatch.setattr(obstore, "get", get_after_compaction)
    assert sorted_rows(memsample.read_store(lab)) == before
    assert len(table_files(lab)) == 2


def test_a_file_that_is_listed_and_never_there_ends_the_reading(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import obstore

    def gone(*_: object) -> object:
        raise FileNotFoundError("tests.parquet")

    monkeypatch.setattr(obstore, "get", gone)
    with pytest.raises(memsample.DamagedError, match="lists files that are not there"):
        memsample.read_store(lab)


def test_what_is_no_store_is_refused(lab: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused: list[tuple[str | Path, type[Exception], str]] = [
        (tmp_path / "none", memsample.NotARecordingError, "no directory"),
        (tmp_path / "empty", memsample.NotARecordingError, "`memsample push`"),
        ("http://lab/memory", memsample.MemsampleError, "no address of a store"),
    ]
    for address, error, told in refused:
        with pytest.raises(error, match=told):
            memsample.read_store(address)
    with pytest.raises(memsample.MemsampleError, match="no column `peak`"):
        memsample.read_store(lab, columns=["test", "peak"])
    with pytest.raises(memsample.MemsampleError, match="no table `samples`"):
        memsample.read_store(lab, "samples")
    with pytest.raises(memsample.MemsampleError, match="no day"):
        memsample.read_store(lab, since="yesterday")
    damaged = table_files(lab)[0]
    damaged.write_bytes(b"PAR1")
    with pytest.raises(memsample.DamagedError, match="is damaged"):
        memsample.read_store(lab)


def test_wrong_credentials_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(403)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        set_variables(monkeypatch, f"http://127.0.0.1:{server.server_address[1]}")
        with pytest.raises(memsample.NoAccessError, match="credentials"):
            memsample.read_store("s3://lab/memory")
        server.shutdown()
