"""What a person is told when a server of S3 refuses, is busy, hangs or is not there, and how long that takes.

MEMSAMPLE names the program, built with the feature `lab`. Slow: two minutes for servers that are given up.
"""

import concurrent.futures
import os
import socket
import subprocess
import threading
import time

import pytest
from lab_runs import MEMSAMPLE, SECRET, memsample
from s3_proxy import error_of_s3


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
            assert time.monotonic() - begin < 55
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
    assert time.monotonic() - begin < 300
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
    assert 40 < time.monotonic() - begin < 300
    assert "SlowDown: Says the test" in result.stderr
    # It is left alone in between.
    assert 3 <= len(asked) <= 200


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
