"""A store whose small files are put together while it is served: no row is lost or doubled, every number and page stays,
and whoever ends the server leaves no lock behind.

MEMSAMPLE names the program, built with the feature `lab`.
"""

import datetime
import json
import os
import shutil
import subprocess
import threading
import time
import uuid

import boto3
import duckdb
import pytest
from lab_runs import MEMSAMPLE, make_runs, memsample
from test_dashboard import Server

YESTERDAY = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
# A day that is not over, also if midnight comes while this is tested.
TOMORROW = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return make_runs(tmp_path_factory.mktemp("first"))[1]


def clone(run, copy, started):
    """A copy of a run that is a run of its own, of another time."""
    shutil.copytree(run, copy)
    results = json.loads((copy / "results.json").read_text())
    results["started"] = started.isoformat()
    (copy / "results.json").write_text(json.dumps(results))
    about = copy / "recording" / "recording.json"
    recording = json.loads(about.read_text())
    recording["id"] = str(uuid.uuid4())
    about.write_text(json.dumps(recording))
    return copy


def small_and_large(lab, table):
    # A glob of pathlib fails where a directory goes meanwhile.
    found = [(place, file) for place, _, files in os.walk(lab / "tables" / table) for file in files]
    files = [place for place, file in found if file.endswith(".parquet")]
    large = [place for place in files if "/host=_many/" in place]
    return len(files) - len(large), len(large)


def rows(lab, table):
    glob = f"read_parquet('{lab}/tables/{table}/**/*.parquet', hive_partitioning = false)"
    return duckdb.sql(f"SELECT * FROM {glob} ORDER BY ALL").fetchall()


def locks(lab):
    return [path for path in (lab / "locks").glob("*") if path.is_file()]


def answers(server, runs):
    """What is shown."""
    lists = [server.json("runs"), server.json("releases"), server.json("suites")]
    lists += [[server.json("run", id=run)] for run in runs]
    return lists


def test_days_that_are_over_are_compacted_while_they_are_served(first, tmp_path):
    lab = tmp_path / "lab"
    going_on = clone(first, tmp_path / "going-on", TOMORROW)
    of_yesterday = [clone(first, tmp_path / f"run-{number}", YESTERDAY) for number in range(5)]
    memsample("push", going_on, *of_yesterday, lab)
    tables = sorted(path.name for path in (lab / "tables").iterdir())
    before = {table: rows(lab, table) for table in tables}
    with Server(lab, tmp_path / "index") as server:
        server.wait_for_runs(6)
        runs = sorted(row["run"] for row in server.json("runs"))
        shown = answers(server, runs)
    assert small_and_large(lab, "tests") == (6, 0)
    with Server(lab, tmp_path / "index", "--compact") as server:
        # The day of one run is not over, and it is alone there.
        server.wait(lambda _: small_and_large(lab, "tests") == (1, 1) and not locks(lab))
        server.wait(lambda status: status["index"]["compared"])
        assert answers(server, runs) == shown
        assert "<svg" in server.page("report", id=runs[0])
    assert {table: rows(lab, table) for table in tables} == before
    assert "all as they were pushed" in memsample("verify", lab).stdout
    # Whoever has no index reads the runs out of the large files.
    with Server(lab, tmp_path / "another index") as server:
        server.wait_for_runs(6)
        assert answers(server, runs) == shown


def test_a_hundred_runs_of_a_day_that_goes_on_are_compacted(first, tmp_path):
    lab = tmp_path / "lab"
    runs = [clone(first, tmp_path / f"run-{number}", TOMORROW) for number in range(100)]
    memsample("push", *runs[:99], lab)
    with Server(lab, tmp_path / "index", "--compact") as server:
        server.wait_for_runs(99)
        # The first look was before this, and found too few.
    assert small_and_large(lab, "tests") == (99, 0)
    memsample("push", runs[99], lab)
    before = rows(lab, "tests")
    with Server(lab, tmp_path / "index", "--compact") as server:
        server.wait(lambda _: small_and_large(lab, "tests") == (0, 1) and not locks(lab))
        server.wait_for_runs(100)
    assert rows(lab, "tests") == before
    assert "all as they were pushed" in memsample("verify", lab).stdout


def test_a_server_that_is_ended_while_it_compacts_leaves_no_lock(first, tmp_path):
    lab = tmp_path / "lab"
    runs = [clone(first, tmp_path / f"run-{number}", YESTERDAY) for number in range(30)]
    memsample("push", *runs, lab)
    before = rows(lab, "tests")
    with Server(lab, tmp_path / "index", "--compact") as server:
        server.wait(lambda _: locks(lab) or small_and_large(lab, "tests")[1])
    # It was ended as soon as it had begun: what it had written is complete or gone.
    assert not locks(lab)
    assert rows(lab, "tests") == before
    assert "all as they were pushed" in memsample("verify", lab).stdout
    memsample("compact", lab)
    assert small_and_large(lab, "tests") == (0, 1)
    assert rows(lab, "tests") == before


def test_a_lock_of_a_compaction_that_was_killed_is_taken_over(first, tmp_path, bucket):
    """At once on its machine. Elsewhere after a minute, as a copy of its lock shows."""
    address, direct, through = bucket
    runs = [clone(first, tmp_path / f"run-{number}", YESTERDAY) for number in range(5)]
    memsample("push", *runs, address, environment=direct)
    reached, go_on = threading.Event(), threading.Event()

    def behave(handler):
        if handler.command == "PUT" and "/manifests/" in handler.path:
            reached.set()
            go_on.wait(300)
            return handler.answer(500, b"") is None
        return False

    _, environment = through(behave)
    compact = subprocess.Popen(
        [MEMSAMPLE, "compact", address], env={**os.environ, **environment}, stderr=subprocess.DEVNULL
    )
    assert reached.wait(300)
    refused = memsample("compact", address, environment=direct, code=1).stderr
    assert f"process {compact.pid} of `{os.uname().nodename}` prunes or compacts `{address}`" in refused
    lock = s3_object(direct, address, "locks/change")
    compact.kill()
    compact.wait()
    go_on.set()
    memsample("compact", address, environment=direct)
    # The large file of the one that was killed is counted, and harms nobody who goes by manifests.
    assert "all as they were pushed" in memsample("verify", address, environment=direct).stdout
    listed_now = json.loads(memsample("list", address, "--json", environment=direct).stdout)
    assert len(listed_now) == 5

    lab = tmp_path / "lab"
    memsample("push", *runs, lab)
    (lab / "locks").mkdir()
    other = lab / "locks" / "change"
    other.write_text(json.dumps({**lock, "holder": {**lock["holder"], "host": "lab7", "place": "another boot"}}))
    for age, told in [(0, "of `lab7` prunes or compacts"), (10, "if it was killed, in 1m")]:
        os.utime(other, (time.time() - age,) * 2)
        assert told in memsample("compact", lab, code=1).stderr
    assert small_and_large(lab, "tests") == (5, 0)
    os.utime(other, (time.time() - 61,) * 2)
    memsample("compact", lab)
    assert small_and_large(lab, "tests") == (0, 1) and not locks(lab)


def s3_object(environment, address, name):
    """The JSON in an object of a store in a bucket."""
    bucket, prefix = address.removeprefix("s3://").split("/", 1)
    client = boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name=environment["AWS_REGION"],
    )
    return json.loads(client.get_object(Bucket=bucket, Key=f"{prefix}/{name}")["Body"].read())


def test_a_run_has_as_many_bytes_when_it_is_compacted(first, tmp_path):
    lab = tmp_path / "lab"
    memsample("push", *[clone(first, tmp_path / f"run-{number}", YESTERDAY) for number in range(3)], lab)

    def sizes():
        return {row["run"]: row["bytes"] for row in json.loads(memsample("list", lab, "--json").stdout)}

    before = sizes()
    stored = sum(path.stat().st_size for place in ["tables", "files"] for path in (lab / place).rglob("*") if path.is_file())
    assert sum(before.values()) == stored
    memsample("compact", lab)
    assert small_and_large(lab, "tests") == (0, 1)
    assert sizes() == before


def test_a_server_tells_why_it_does_not_compact(first, tmp_path):
    lab = tmp_path / "lab"
    memsample("push", *[clone(first, tmp_path / f"run-{number}", YESTERDAY) for number in range(2)], lab)
    (lab / "locks").mkdir()
    (lab / "locks" / "change").write_text("of somebody")
    with Server(lab, tmp_path / "index", "--compact") as server:
        server.wait_for_runs(2)
    told = server.process.stderr.read()
    assert f"not compacted now: somebody prunes or compacts `file://{lab}`" in told, told
    assert small_and_large(lab, "tests") == (2, 0)


def test_two_servers_compact_one_store(first, tmp_path):
    lab = tmp_path / "lab"
    runs = [clone(first, tmp_path / f"run-{number}", YESTERDAY) for number in range(10)]
    memsample("push", *runs, lab)
    before = rows(lab, "tests")
    with Server(lab, tmp_path / "one", "--compact") as one, Server(lab, tmp_path / "two", "--compact") as two:
        one.wait(lambda _: small_and_large(lab, "tests") == (0, 1) and not locks(lab))
        assert one.wait_for_runs(10)["runs"] == two.wait_for_runs(10)["runs"]
    assert rows(lab, "tests") == before
    assert "all as they were pushed" in memsample("verify", lab).stdout


def test_a_directory_of_runs_is_never_written(first, tmp_path):
    told = memsample("serve", "--runs", first.parent, "--listen", "127.0.0.1:0", "--compact", code=1).stderr
    assert "which is only read" in told
