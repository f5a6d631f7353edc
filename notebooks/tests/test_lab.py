"""A store of the runs of many machines: what `memsample push` writes, read by DuckDB, Arrow and Spark; and what becomes of it
when a server refuses, stalls or loses a bit, and when a push is killed.

MEMSAMPLE names the program, built with the feature `lab`. Slow: five minutes, most of it Spark and servers that are given up.
"""

import concurrent.futures
import datetime
import filecmp
import http.client
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from pathlib import Path

import boto3
import duckdb
import pyarrow.dataset
import pyarrow.fs
import pytest
from lab_runs import MEMSAMPLE, SECRET, make_runs, memsample
from moto.server import ThreadedMotoServer

DAEMON = str(Path(MEMSAMPLE).with_name("memsampled"))
@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    return make_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    """A server of S3, and the environment of who uses it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
        "XDG_STATE_HOME": str(tmp_path_factory.mktemp("state")),
    }
    client = boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id="key",
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
    )
    yield environment, client
    server.stop()


@pytest.fixture(params=["directory", "bucket"])
def store(request, tmp_path, s3):
    """An empty store of either kind: its address, and the environment."""
    environment, client = s3
    if request.param == "directory":
        return (tmp_path / "lab").as_uri(), environment
    bucket = f"lab-{abs(hash(request.node.name)) % 10**9}"
    client.create_bucket(Bucket=bucket)
    return f"s3://{bucket}/memory", environment


def listed(address, environment, **options):
    return json.loads(memsample("list", address, "--json", environment=environment, **options).stdout)


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


class Proxy(http.server.ThreadingHTTPServer):
    """Passes requests on to the server of S3, as `behave` lets it."""

    daemon_threads = True

    def __init__(self, target, behave, port=0):
        super().__init__(("127.0.0.1", port), Handler)
        self.target, self.behave = urllib.parse.urlparse(target), behave
        self.written = 0
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.command == "PUT":
            with self.server.lock:
                self.server.written += 1
        if self.server.behave(self):
            return
        connection = http.client.HTTPConnection(self.server.target.netloc, timeout=30)
        connection.request(self.command, self.path, body, dict(self.headers))
        answer = connection.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ["transfer-encoding", "connection", "content-length", "date", "server"]:
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else len(body)
        self.send_header("Content-Length", str(length or 0))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = any


@pytest.fixture
def bucket(request, s3):
    """An empty bucket, whose server behaves as a test wants it: its address, and how to set the behaviour."""
    environment, client = s3
    name = f"odd-{abs(hash(request.node.name)) % 10**9}"
    client.create_bucket(Bucket=name)
    proxies = []

    def through(behave):
        proxy = Proxy(environment["AWS_ENDPOINT_URL"], behave)
        proxies.append(proxy)
        return proxy, {**environment, "AWS_ENDPOINT_URL": proxy.address}

    yield f"s3://{name}/lab", environment, through
    for proxy in proxies:
        proxy.shutdown()


def error_of_s3(handler, status, code):
    body = f"<Error><Code>{code}</Code><Message>Says the test</Message></Error>"
    handler.answer(status, body.encode())
    return True


def test_a_server_that_is_busy_is_asked_again(runs, bucket):
    address, direct, through = bucket
    refused = []

    def behave(handler):
        # Every third request is refused once.
        with handler.server.lock:
            refused.append(handler.path)
            busy = len(refused) % 3 == 0
        return busy and error_of_s3(handler, 503, "SlowDown")

    _, environment = through(behave)
    memsample("push", runs[0], address, environment=environment)
    assert "all as they were pushed" in memsample("verify", address, environment=direct).stdout


def test_a_server_that_refuses_is_quoted(runs, bucket):
    address, direct, through = bucket
    _, environment = through(lambda handler: error_of_s3(handler, 403, "SignatureDoesNotMatch"))
    result = memsample("push", runs[0], address, environment=environment, code=1)
    assert "SignatureDoesNotMatch: Says the test" in result.stderr
    assert "AWS_PROFILE" in result.stderr
    result = memsample("list", "s3://no-such-bucket/lab", environment=direct, code=1)
    assert "NoSuchBucket" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    # What was recorded is kept, and the command says how to push it.
    place = runs[0].parent
    options = ["--duration", "100ms", "--out", place / "more", "--push", address]
    result = memsample("record", *options, environment=environment, code=1)
    assert "nothing is lost, do it later: memsample push" in result.stderr
    assert memsample("record", *options, environment=direct).stderr.count("pushed: ") == 1


@pytest.mark.parametrize("server", ["a port that refuses", "a name that is none"])
def test_a_mistyped_server_is_told_within_seconds(runs, s3, server):
    environment, _ = s3
    with socket.socket() as bound:
        # Bound and not listening: nobody else gets the port meanwhile.
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        url = f"http://127.0.0.1:{port}" if "port" in server else "https://minio.invalid"
        for command in [["list", "s3://lab/m"], ["push", runs[0], "s3://lab/m"]]:
            begin = time.monotonic()
            result = memsample(*command, environment={**environment, "AWS_ENDPOINT_URL": url}, code=1)
            assert time.monotonic() - begin < 30
            assert f"cannot reach {url}: " in result.stderr, result.stderr
            assert len(result.stderr.splitlines()) == 1
    for wrong, why in [("minio.lab:9000", "address of a server"), ("http://minio.lab:9000", "AWS_ALLOW_HTTP")]:
        result = memsample("list", "s3://lab/m", environment={**environment, "AWS_ENDPOINT_URL": wrong}, code=1)
        assert why in result.stderr, result.stderr
    result = memsample("list", "s3://la b/m", environment=environment, code=2)
    assert "the name of a bucket" in result.stderr


def test_a_missing_bucket_and_another_region_are_told_at_once(runs, bucket):
    address, direct, through = bucket
    asked = []

    def other_region(handler):
        asked.append(handler.path)
        if handler.path.startswith("/old"):
            return error_of_s3(handler, 301, "PermanentRedirect")
        return error_of_s3(handler, 400, "AuthorizationHeaderMalformed")

    _, environment = through(other_region)
    for store in [address, "s3://old/lab"]:
        result = memsample("list", store, environment=environment, code=1)
        assert "AWS_REGION" in result.stderr, result.stderr
    assert len(asked) == 2
    for command in [["list"], ["push", runs[0]], ["verify"]]:
        result = memsample(*command, "s3://no-such-bucket/lab", environment=direct, code=1)
        assert "NoSuchBucket" in result.stderr, result.stderr


def test_a_server_that_hangs_is_given_up(bucket):
    address, _, through = bucket
    hanging = threading.Event()
    _, environment = through(lambda handler: hanging.wait(60))
    result = memsample(
        "list", address, environment={**environment, "AWS_READ_TIMEOUT": "200ms", "AWS_TIMEOUT": "1s"}, code=1
    )
    hanging.set()
    assert "cannot list" in result.stderr


def is_part(handler):
    return handler.command == "PUT" and "partNumber=" in handler.path


@pytest.mark.parametrize("meanwhile", ["nothing", "the upload is gone", "a part is gone", "the note is damaged"])
def test_slow_a_push_that_is_killed_within_a_large_file_goes_on_there(runs, s3, bucket, tmp_path, meanwhile):
    address, direct, through = bucket
    large = tmp_path / "large"
    shutil.copytree(runs[1], large)
    (large / "tests" / "dump").write_bytes(os.urandom((48 << 20) + 1))
    state = tmp_path / "state"
    reached, wait, parts = threading.Event(), threading.Event(), []

    def behave(handler):
        if not is_part(handler):
            return False
        with handler.server.lock:
            parts.append(handler.path)
            late = len(parts) > 4
        if late:
            # Four have been answered by then, since so many are sent at once.
            reached.set()
            wait.wait(60)
            return handler.answer(500, b"") is None
        return False

    _, environment = through(behave)
    environment = {**os.environ, **environment, "XDG_STATE_HOME": str(state)}
    push = subprocess.Popen([MEMSAMPLE, "push", large, address], env=environment, stderr=subprocess.PIPE)
    assert reached.wait(60)
    (note,) = (state / "memsample/pushes").iterdir()
    end = time.monotonic() + 60
    while len(note.read_text().splitlines()) < 4:
        assert time.monotonic() < end
        time.sleep(0.01)
    push.send_signal(signal.SIGKILL)
    push.wait()
    wait.set()
    noted = note.read_text().splitlines()
    assert listed(address, direct) == []

    name = address.split("/")[2]
    gone = "none"
    if meanwhile == "the upload is gone":
        upload = s3[1].list_multipart_uploads(Bucket=name)["Uploads"][0]
        gone = upload["UploadId"]
        s3[1].abort_multipart_upload(Bucket=name, Key=upload["Key"], UploadId=gone)
    elif meanwhile == "a part is gone":
        changed = json.loads(noted[1])
        note.write_text("\n".join([noted[0], json.dumps({**changed, "id": "0" * 32}), *noted[2:], ""]))
    elif meanwhile == "the note is damaged":
        note.write_text(noted[0][:-4])
    again = []

    def answers(handler):
        if not is_part(handler):
            return False
        again.append(handler.path)
        # moto ends in an error of its own there.
        return gone in handler.path and error_of_s3(handler, 404, "NoSuchUpload")

    _, environment = through(answers)
    environment = {**environment, "XDG_STATE_HOME": str(state)}
    result = json.loads(memsample("push", large, address, "--json", environment=environment).stdout)[0]
    # Of seven parts, those that are noted are not sent again.
    known = {"nothing": len(noted) - 1}.get(meanwhile, 0)
    if meanwhile == "nothing":
        assert known >= 3 and len(again) == 7 - known, again
        assert result["found_bytes"] >= known * (8 << 20) and result["sent_bytes"] < (7 - known) * (8 << 20) + (4 << 20)
    else:
        assert len(set(again)) >= 7, again
    assert not note.exists()
    assert "all as they were pushed" in memsample("verify", address, environment=direct).stdout
    memsample("pull", address, "large", "--out", tmp_path / "out", environment=direct)
    assert (tmp_path / "out/large/tests/dump").read_bytes() == (large / "tests/dump").read_bytes()
    # The hash is with the object: it is not sent a second time for another run that failed behind it.
    assert json.loads(memsample("push", large, address, "--json", environment=direct).stdout)[0]["was_there"]


@pytest.fixture
def silent():
    """The environment of a server that accepts connections and never says anything."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{listener.getsockname()[1]}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_READ_TIMEOUT": "200ms",
            "AWS_TIMEOUT": "1s",
        }


def test_slow_a_server_that_never_answers_is_given_up(runs, silent, tmp_path):
    """It is asked again for a minute, and not for ever; all at once, since each waits as long."""
    store = "s3://lab/memory"
    commands = [
        ["push", runs[0], store],
        ["list", store],
        ["verify", store],
        ["pull", store, "run", "--out", tmp_path / "out"],
        ["prune", store, "--keep", "1d"],
        ["compact", store],
    ]
    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(len(commands)) as pool:
        given_up = [pool.submit(memsample, *command, environment=silent, code=1) for command in commands]
        said = [it.result().stderr for it in given_up]
    assert time.monotonic() - begin < 110
    for text in said:
        assert text.startswith("error: cannot") and store in text, text
        assert len(text.splitlines()) == 1, text


def test_slow_a_server_that_stays_busy_is_given_up_with_its_answer(bucket):
    address, _, through = bucket
    asked = []

    def behave(handler):
        asked.append(handler.path)
        return error_of_s3(handler, 503, "SlowDown")

    _, environment = through(behave)
    begin = time.monotonic()
    result = memsample("list", address, environment=environment, code=1)
    assert 40 < time.monotonic() - begin < 110
    assert "SlowDown: Says the test" in result.stderr
    # It is left alone in between.
    assert 3 <= len(asked) <= 200


def with_times(manifest, **times):
    """Changes what a manifest says of time, and leaves it where it is by the clock of the store."""
    content = json.loads(manifest.read_text())
    content.update(times)
    manifest.write_text(json.dumps(content))


@pytest.mark.parametrize("clock", ["1970-01-01T00:00:03Z", "2036-01-01T00:00:00Z", "an hour behind", "an hour ahead"])
def test_a_wrong_clock_removes_and_keeps_nothing(runs, tmp_path, clock):
    """Of a run that has just arrived, and of one that arrived a hundred days ago."""
    lab = tmp_path / "lab"
    memsample("push", *runs[1:], lab)
    now = datetime.datetime.now(datetime.UTC)
    hour = datetime.timedelta(hours=1)
    clock = {"an hour behind": now - hour, "an hour ahead": now + hour}.get(clock, clock)
    clock = clock if isinstance(clock, str) else clock.isoformat()
    new, old = sorted(lab.glob("manifests/**/*.json"))
    for manifest in [new, old]:
        with_times(manifest, started=clock, pushed=clock)
    long_ago = (now - datetime.timedelta(days=100)).timestamp()
    os.utime(old, (long_ago, long_ago))
    for options in [["--dry-run"], []]:
        result = memsample("prune", lab, "--keep", "90d", *options)
        assert old.stem.removeprefix("run=") in result.stdout + result.stderr
        assert new.stem.removeprefix("run=") not in result.stdout + result.stderr
    assert new.exists() and not old.exists()


def test_a_clock_that_is_ahead_where_it_is_pruned_removes_nothing(runs, s3):
    """The store says how late it is, and not the machine that prunes."""
    environment, client = s3
    client.create_bucket(Bucket="ahead")
    memsample("push", *runs[1:], "s3://ahead/lab", environment=environment)
    faketime = shutil.which("faketime")
    assert faketime, "install faketime"
    ahead = subprocess.run(
        [faketime, "-f", "+4000d", MEMSAMPLE, "prune", "s3://ahead/lab", "--keep", "90d"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert len(listed("s3://ahead/lab", environment)) == 2, ahead.stdout + ahead.stderr


@pytest.mark.parametrize("after", [0, 1, 5, 10, 16])
def test_a_push_that_is_killed_is_never_seen_and_goes_on(runs, bucket, after):
    address, direct, through = bucket
    reached, wait = threading.Event(), threading.Event()

    def behave(handler):
        if handler.command == "PUT" and handler.server.written > after:
            reached.set()
            wait.wait(60)
            return handler.answer(500, b"") is None
        return False

    _, environment = through(behave)
    push = subprocess.Popen(
        [MEMSAMPLE, "push", runs[1], address], env={**os.environ, **environment}, stderr=subprocess.PIPE
    )
    assert reached.wait(60)
    push.send_signal(signal.SIGKILL)
    push.wait()
    wait.set()
    assert listed(address, direct) == []
    result = json.loads(memsample("push", runs[1], address, "--json", environment=direct).stdout)[0]
    assert not result["was_there"]
    assert (result["found_bytes"] > 0) == (after > 0)
    assert len(listed(address, direct)) == 1
    assert "all as they were pushed" in memsample("verify", address, environment=direct).stdout


def test_the_profile_of_a_user_is_read(runs, s3, tmp_path):
    environment, client = s3
    client.create_bucket(Bucket="profiled")
    (tmp_path / "credentials").write_text(f"[lab]\naws_access_key_id = key\naws_secret_access_key = {SECRET}\n")
    (tmp_path / "config").write_text(
        f"[profile lab]\nregion = us-east-1\nendpoint_url = {environment['AWS_ENDPOINT_URL']}\n[profile sso]\nsso_session = x\n"
    )
    without = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    profiled = {
        **without,
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
    }

    def push(profile):
        return subprocess.run(
            [MEMSAMPLE, "push", runs[0], "s3://profiled/lab"],
            env={**profiled, "AWS_PROFILE": profile},
            capture_output=True,
            text=True,
        )

    assert push("lab").returncode == 0
    assert "which is in neither" in push("none").stderr
    assert "`sso_session`, which is not supported" in push("sso").stderr


def test_runs_that_have_not_ended_are_refused(runs, tmp_path):
    unfinished = tmp_path / "unfinished"
    shutil.copytree(runs[1], unfinished)
    (unfinished / "results.json").unlink()
    assert "has not ended" in memsample("push", unfinished, tmp_path / "lab", code=1).stderr
    recorder = subprocess.Popen([MEMSAMPLE, "record", "--out", tmp_path, "--name", "now"], stdout=subprocess.DEVNULL)
    try:
        while not list(tmp_path.glob("now*/recording.json")):
            assert recorder.poll() is None
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


def request(daemon_socket, method, path, body=None):
    connection = http.client.HTTPConnection("daemon")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(daemon_socket))
    connection.request(method, path, body and json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.read().decode()


def test_the_daemon_pushes_when_the_store_is_there_again(bucket, tmp_path):
    address, direct, through = bucket
    down = threading.Event()
    down.set()
    _, environment = through(lambda handler: down.is_set() and error_of_s3(handler, 403, "AccessDenied"))
    command = [DAEMON, "--socket", tmp_path / "s", "--recordings", tmp_path / "recordings", "--push", address]

    def daemon():
        log = open(tmp_path / "log", "w+")
        process = subprocess.Popen(command, env={**os.environ, **environment}, stderr=log)
        while True:
            assert process.poll() is None, (tmp_path / "log").read_text()
            try:
                request(tmp_path / "s", "GET", "/healthz")
                return process
            except OSError:
                pass

    def waiting():
        metrics = request(tmp_path / "s", "GET", "/metrics")
        return next(line for line in metrics.splitlines() if line.startswith("memsampled_pushes_waiting ")).split()[1]

    process = daemon()
    try:
        session = json.loads(request(tmp_path / "s", "POST", "/v1/sessions", {"interval": "50ms"}))["id"]
        request(tmp_path / "s", "POST", f"/v1/sessions/{session}/stop")
        while "is not pushed yet" not in (tmp_path / "log").read_text():
            assert process.poll() is None
        assert waiting() == "1"
    finally:
        process.terminate()
        process.wait()
    assert listed(address, direct) == []
    # What waits outlives the daemon.
    down.clear()
    process = daemon()
    try:
        while not listed(address, direct):
            assert process.poll() is None
        assert [row["run"].startswith(session) for row in listed(address, direct)] == [True]
        while waiting() != "0":
            assert process.poll() is None
    finally:
        process.terminate()
        process.wait()
    assert SECRET not in (tmp_path / "log").read_text()


if __name__ == "__main__":
    sys.exit(pytest.main([__file__, *sys.argv[1:]]))
