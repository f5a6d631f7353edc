"""A server of S3 that goes away in the middle of a push of the daemon, and comes back: its port refuses meanwhile, and each
connection is cut.

MEMSAMPLE names the program, built with the feature `lab`; the daemon is beside it. Slow: half a minute for each test.
"""

import json
import os
import subprocess
import threading
import time

import pytest
from lab_runs import DAEMON, SECRET, free_port, listed, memsample, request
from s3_proxy import Proxy

AWAY_SECONDS = 20


class ServerThatGoes:
    """Passes requests on to a server of S3 until it is to go: within the request of that number it cuts all connections, and
    its port refuses until it is back."""

    def __init__(self, target, goes_at):
        self.target, self.goes_at = target, goes_at
        self.requests, self.is_gone, self.lock = 0, threading.Event(), threading.Lock()
        # Nobody else gets it while the server is away.
        self.port = free_port()
        self.proxy = Proxy(target, self.behave, self.port)

    def behave(self, handler):
        with self.lock:
            self.requests += 1
            if self.requests == self.goes_at:
                # The socket that listens goes first: nobody connects again.
                handler.server.socket.close()
                self.is_gone.set()
        if self.is_gone.is_set():
            raise ConnectionResetError
        return False

    def come_back(self):
        self.proxy.shutdown()
        self.goes_at = None
        self.is_gone.clear()
        self.proxy = Proxy(self.target, self.behave, self.port)


@pytest.fixture
def server_of_s3(request):
    return request.getfixturevalue("s3")


# The listing of manifests, a file, and one of the last requests.
@pytest.mark.parametrize("goes_at", [1, 5, 16])
def test_slow_a_server_that_is_away_for_a_while_has_the_session_in_the_end(goes_at, server_of_s3, tmp_path):
    direct, client = server_of_s3
    name = f"away-{goes_at}"
    client.create_bucket(Bucket=name)
    address = f"s3://{name}/lab"
    server = ServerThatGoes(direct["AWS_ENDPOINT_URL"], goes_at)
    environment = {**os.environ, **direct, "AWS_ENDPOINT_URL": server.proxy.address}
    socket, log = tmp_path / "s", tmp_path / "log"
    command = [DAEMON, "--socket", socket, "--recordings", tmp_path / "recordings", "--push", address]
    with open(log, "w") as file:
        daemon = subprocess.Popen(command, env=environment, stderr=file)

    def metrics():
        assert daemon.poll() is None, log.read_text()
        return request(socket, "GET", "/metrics").splitlines()

    try:
        while not socket.exists():
            assert daemon.poll() is None, log.read_text()
            time.sleep(0.05)
        session = json.loads(request(socket, "POST", "/v1/sessions", {"interval": "50ms"}))["id"]
        request(socket, "POST", f"/v1/sessions/{session}/stop")
        assert server.is_gone.wait(300)
        back = time.monotonic() + AWAY_SECONDS
        while time.monotonic() < back:
            # Nobody sees it, it waits, and the daemon records as if nothing were.
            assert listed(address, direct) == []
            assert "memsampled_pushes_waiting 1" in metrics()
        other = json.loads(request(socket, "POST", "/v1/sessions", {"interval": "50ms"}))["id"]
        request(socket, "POST", f"/v1/sessions/{other}/stop")
        server.come_back()
        end = time.monotonic() + 300
        while "memsampled_pushes_waiting 0" not in metrics():
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        rows = listed(address, direct)
        assert sorted(row["run"].rsplit("-", 1)[0] for row in rows) == sorted([session, other])
        assert "all as they were pushed" in memsample("verify", address, environment=direct).stdout
    finally:
        daemon.terminate()
        assert daemon.wait(timeout=120) == 0, log.read_text()
        server.proxy.shutdown()
        server.proxy.server_close()
    assert SECRET not in log.read_text()
    # What came of it is told, and not each request that was repeated.
    assert f"pushed `{session}`" in log.read_text() and "backing off" not in log.read_text()
