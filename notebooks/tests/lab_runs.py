"""Runs that the real program makes for the tests of a store, and what it and the daemon answer.

MEMSAMPLE names the program, built with the feature `lab`; the daemon is beside it.
"""

import http.client
import itertools
import json
import os
import socket
import subprocess
from pathlib import Path

MEMSAMPLE = os.environ["MEMSAMPLE"]
DAEMON = str(Path(MEMSAMPLE).with_name("memsampled"))
SECRET = "not-to-be-printed"
# Another one each time, also where a process of these tests ended and another began.
PORTS = itertools.cycle([*range(os.getpid() % 1000, 1000), *range(os.getpid() % 1000)])

SUITE = """
name = "nightly ü/=1"

[defaults]
sandbox = "none"

[[test]]
name = "holds"
shell = "(head -c 30m /dev/zero; sleep 0.3) | tail -c 30m | wc -c"
repeat = 2

[[test]]
name = "<b>fails</b>"
shell = "echo artifact > $MEMSAMPLE_ARTIFACTS/a; exit 3"
"""


def memsample(*arguments, environment=None, code=0):
    result = subprocess.run(
        [MEMSAMPLE, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        timeout=600,
    )
    assert result.returncode == code, (result.returncode, result.stdout, result.stderr)
    assert SECRET not in result.stdout + result.stderr
    return result


def make_runs(place):
    """Two runs of a suite, of two releases, and a recording."""
    (place / "suite.toml").write_text(SUITE)
    for release in ["1.0", "1.1"]:
        options = ["--out", place, "--name", f"run-{release}", "--label", f"release={release}"]
        memsample("run", place / "suite.toml", *options, code=10)
    memsample("record", "--duration", "300ms", "--out", place, "--name", "plain")
    return sorted(path for path in place.iterdir() if path.is_dir() and not path.is_symlink())


def free_port():
    """A port for a server that a program binds later. No connection gets it meanwhile, as it would one that the kernel chose,
    and no other process of these tests."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    for port in PORTS:
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", 20_000 + 1000 * (worker % 12) + port))
            except OSError:
                continue
            return listener.getsockname()[1]


def listed(address, environment, **options):
    """What `memsample list` says of a store."""
    return json.loads(memsample("list", address, "--json", environment=environment, **options).stdout)


def request(daemon_socket, method, path, body=None):
    """What the daemon answers on its socket."""
    connection = http.client.HTTPConnection("daemon")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(daemon_socket))
    connection.request(method, path, body and json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.read().decode()
