"""A store in a bucket of Google: what is pushed comes back, and what a user of Google sets is heeded.

MEMSAMPLE names the program, built with the feature `lab`. The server is google_server.py.
"""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request

import boto3
import pytest
from google_server import Google, error, service_account
from lab_runs import MEMSAMPLE, make_runs, memsample
from moto.server import ThreadedMotoServer


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return make_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def client():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "k", "region_name": "us-east-1"}
    yield boto3.client("s3", endpoint_url=f"http://{host}:{port}", **keys)
    server.stop()


@pytest.fixture
def google(request, client, tmp_path):
    """A server with an empty bucket: the server, the address of the store, and the environment of who uses it."""
    server = Google()
    bucket = f"lab-{abs(hash(request.node.name)) % 10**9}"
    client.create_bucket(Bucket=bucket)
    (tmp_path / "key.json").write_text(json.dumps(server.account))
    environment = {
        "GOOGLE_BASE_URL": f"http://{server.host}",
        "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "key.json"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "HOME": str(tmp_path),
    }
    yield server, f"gs://{bucket}/a lab", environment
    server.stop()


def without_credentials(environment):
    return {name: value for name, value in environment.items() if name != "GOOGLE_APPLICATION_CREDENTIALS"}


def listed(address, environment, *options):
    return json.loads(memsample("list", address, "--json", *options, environment=environment).stdout)


def contents(directory):
    return {
        path.relative_to(directory): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def test_what_was_pushed_comes_back(runs, google, tmp_path):
    server, address, environment = google
    large = tmp_path / "large"
    shutil.copytree(runs[1], large)
    (large / "tests" / "dump").write_bytes(os.urandom((17 << 20) + 1))
    pushed = [large, *runs[:1], *runs[2:]]
    memsample("push", *pushed, address, environment=environment)
    assert sum("partNumber=" in path for _, path in server.requests) == 3
    again = json.loads(memsample("push", *pushed, address, "--json", environment=environment).stdout)
    assert all(it["was_there"] for it in again)
    assert "all as they were pushed" in memsample("verify", address, environment=environment).stdout
    rows = listed(address, environment)
    assert len(rows) == 3
    for row, run in zip(sorted(rows, key=lambda it: it["run"]), sorted(pushed, key=lambda it: it.name), strict=True):
        memsample("pull", address, row["run"], "--out", tmp_path / "out", environment=environment)
        assert contents(tmp_path / "out" / run.name) == contents(run)
    memsample("compact", address, "--before", "2100-01-01", environment=environment)
    assert "all as they were pushed" in memsample("verify", address, environment=environment).stdout
    memsample("prune", address, "--run", rows[0]["run"], environment=environment)
    assert len(listed(address, environment)) == 2


def test_a_dashboard_shows_it(runs, google, tmp_path):
    _, address, environment = google
    memsample("push", *runs, address, environment=environment)
    command = [MEMSAMPLE, "serve", "--runs", address, "--listen", "127.0.0.1:0", "--index", tmp_path / "index"]
    server = subprocess.Popen(command, env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True)
    try:
        for line in server.stderr:
            if "http://127.0.0.1:" in line:
                place = line[line.index("http://") :].split()[0].rstrip("/,;")
                break
        while not (found := json.load(urllib.request.urlopen(f"{place}/api/v1/status")))["index"]["compared"]:
            assert server.poll() is None and not found["index"]["problem"], found
            time.sleep(0.05)
        assert found["runs"] == len(runs)
    finally:
        server.terminate()
        server.communicate()


@pytest.mark.parametrize("told", ["key in a variable", "gcloud", "the account of the machine", "a server of tests"])
def test_credentials_are_found_where_users_have_them(runs, google, tmp_path, told):
    server, address, environment = google
    without = without_credentials(environment)
    if told == "key in a variable":
        without["GOOGLE_SERVICE_ACCOUNT_KEY"] = json.dumps(server.account)
    elif told == "gcloud":
        (tmp_path / "gcloud").mkdir()
        (tmp_path / "gcloud" / "application_default_credentials.json").write_text(json.dumps(server.account))
        without["CLOUDSDK_CONFIG"] = str(tmp_path / "gcloud")
    elif told == "the account of the machine":
        without["GCE_METADATA_HOST"] = server.host
    else:
        server.is_open = True
        del without["GOOGLE_BASE_URL"]
        without["STORAGE_EMULATOR_HOST"] = server.host
    memsample("push", runs[0], address, environment=without)
    assert len(listed(address, without)) == 1
    assert any("computeMetadata" in path for _, path in server.requests) == (told == "the account of the machine")


def test_wrong_credentials_are_refused_and_not_printed(runs, google, tmp_path):
    server, address, environment = google

    def refused(**changes):
        begin = time.monotonic()
        result = memsample("list", address, environment={**without_credentials(environment), **changes}, code=1)
        assert time.monotonic() - begin < 55
        assert len(result.stderr.splitlines()) == 1
        return result.stderr

    stranger, _ = service_account()
    place = tmp_path / "other.json"
    place.write_text(json.dumps({**stranger, "private_key_id": server.account["private_key_id"]}))
    said = refused(GOOGLE_APPLICATION_CREDENTIALS=str(place))
    assert "AuthenticationRequired: Authentication required." in said
    assert "GOOGLE_APPLICATION_CREDENTIALS" in said and "AWS" not in said
    assert "No such file" in refused(GOOGLE_APPLICATION_CREDENTIALS="/nonexistent")
    secret = "not-to-be-printed"
    for text, why in [
        (secret, "are an object of JSON"),
        (json.dumps(secret), "are an object of JSON"),
        (json.dumps({"type": "service_account", "private_key": secret}), "`private_key_id` is missing"),
        (json.dumps({**server.account, "private_key": secret}), "cannot use the store"),
        (json.dumps({"type": "external_account", "credential_source": secret}), "gcloud auth print-access-token"),
        (json.dumps({"type": secret}), "of a kind that is not known"),
    ]:
        place.write_text(text)
        assert why in refused(GOOGLE_APPLICATION_CREDENTIALS=str(place))
    assert "are an object of JSON" in refused(GOOGLE_SERVICE_ACCOUNT_KEY=secret)
    # The machine has no account.
    free = "127.0.0.1:9"
    said = refused(GCE_METADATA_HOST=free, GCE_METADATA_IP=free)
    assert "cannot reach" in said and "GOOGLE_APPLICATION_CREDENTIALS" in said
    server.behave = lambda request: error(403, "AccessDenied", "Says the test")
    assert "AccessDenied: Says the test" in refused(**environment)


def test_what_is_wrong_with_the_server_is_told(runs, google):
    server, address, environment = google
    for command in [["list"], ["push", runs[0]]]:
        result = memsample(*command, "gs://no-such-bucket/lab", environment=environment, code=1)
        assert "NoSuchBucket" in result.stderr, result.stderr
    for url, why in [("storage.lab:80", "address of a server"), ("http://storage.lab", "not encrypted")]:
        result = memsample("list", address, environment={**environment, "GOOGLE_BASE_URL": url}, code=1)
        assert why in result.stderr
    count = []

    def busy(request):
        count.append(request.path)
        return error(503, "ServiceUnavailable", "later") if len(count) % 3 == 0 else None

    server.behave = busy
    memsample("push", runs[0], address, environment=environment)
    server.behave = lambda request: None
    assert "all as they were pushed" in memsample("verify", address, environment=environment).stdout


if __name__ == "__main__":
    sys.exit(pytest.main([__file__, *sys.argv[1:]]))
