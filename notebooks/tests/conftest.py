"""What the tests of a store have in common.

What takes long to import is imported where it is used: most tests need none of it.
"""

import os

import pytest

# Beside many others a program or a disk answers late.
os.environ.setdefault("MEMSAMPLE_TEST_PATIENCE_MS", "60000")


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Two runs of a suite and a recording."""
    from lab_runs import make_runs

    return make_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    """A server of S3, and the environment of who uses it."""
    import boto3
    from lab_runs import SECRET
    from moto.server import ThreadedMotoServer

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


@pytest.fixture
def bucket(request, s3):
    """An empty bucket, whose server behaves as a test wants it: its address, and how to set the behaviour."""
    from s3_proxy import Proxy

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
