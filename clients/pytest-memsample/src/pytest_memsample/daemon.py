"""The part of memsampled's interface that a test run needs: docs/control-api.md."""

import http.client
import json
import os
import socket
import stat
import time
from pathlib import Path

# The daemon answers within milliseconds; a test run must not hang because it does not.
TIMEOUT_SECONDS = 10
# To close a large recording takes longer.
STOP_TIMEOUT_SECONDS = 60
# The daemon closes a connection on which nothing comes for ten seconds.
IDLE_SECONDS = 5
# A session of a pytest that was killed ends then. No single test should take longer.
IDLE = "1h"


class DaemonError(Exception):
    """The daemon cannot be reached, or refused; says what to do."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=TIMEOUT_SECONDS)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def default_socket():
    """Where the daemon listens unless it is told otherwise."""
    if os.geteuid() == 0:
        return "/run/memsampled/memsampled.sock"
    directory = os.environ.get("XDG_RUNTIME_DIR")
    if not directory:
        usual = f"/run/user/{os.geteuid()}"
        directory = usual if _is_private(usual) else f"/tmp/memsampled-{os.geteuid()}"
    return str(Path(directory) / "memsampled.sock")


def _is_private(directory):
    """Whether it is a directory of this user that nobody else may enter."""
    try:
        status = os.lstat(directory)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077


class Daemon:
    """A connection that is kept open, and opened again where it broke."""

    def __init__(self, path):
        self.path = path
        self._connection = _UnixConnection(path)
        self._used = time.monotonic()
        self._pid = os.getpid()

    def start(self, interval, labels, idle=None):
        """Begins a session and returns it. It ends after `idle` without a mark; if that is None, after an hour, or what the daemon allows."""
        asked = {"name": "pytest", "interval": interval, "labels": labels, "limits": {"idle": idle or IDLE}}
        try:
            return self._post("/v1/sessions", asked)
        except DaemonError as error:
            if idle is not None or "limits.idle" not in str(error):
                raise
            # The daemon's own limit is less.
            return self._post("/v1/sessions", asked | {"limits": {}})

    def mark(self, session, kind, name, test):
        """Sets a mark about this process, whose memory the daemon reads before it answers."""
        self._post(f"/v1/sessions/{session}/marks", {"kind": kind, "name": name, "test": test, "pid": os.getpid()})

    def stop(self, session):
        """Ends a session, and returns the path of its closed recording and a summary."""
        return self._post(f"/v1/sessions/{session}/stop", None, STOP_TIMEOUT_SECONDS)

    def _post(self, path, body, timeout=None):
        payload = json.dumps(body) if body is not None else ""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if self._pid != os.getpid():
            # A fork has a connection of its own: the daemon knows a process by who connected.
            self._pid = os.getpid()
            self._connection.close()
        if time.monotonic() - self._used > IDLE_SECONDS:
            self._connection.close()
        is_kept = self._connection.sock is not None
        self._connection.timeout = timeout or TIMEOUT_SECONDS
        if is_kept:
            self._connection.sock.settimeout(self._connection.timeout)
        try:
            try:
                answer, content = self._exchange(path, payload, headers)
            except (BrokenPipeError, ConnectionResetError) as error:
                # A connection that the daemon had closed before it read this, which can be sent again. What
                # it may have read cannot: a mark would be there twice. RemoteDisconnected does not tell.
                if not is_kept or isinstance(error, http.client.RemoteDisconnected):
                    raise
                self._connection.close()
                answer, content = self._exchange(path, payload, headers)
        except PermissionError as error:
            raise DaemonError(f"this user may not use the memsampled at {self.path}: join the group of that socket, or run a daemon of your own") from error
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise DaemonError(f"no memsampled answers at {self.path} ({error}): start it with `memsampled`") from error
        if answer.status >= 400:
            try:
                message = json.loads(content)["message"]
            except (ValueError, KeyError, TypeError):
                message = f"status {answer.status}"
            raise DaemonError(f"memsampled refused: {message}")
        return json.loads(content) if content else None

    def _exchange(self, path, payload, headers):
        self._connection.request("POST", path, payload, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        self._used = time.monotonic()
        return answer, content
