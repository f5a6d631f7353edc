"""What the client does when the daemon does not answer: against a server that counts what it was sent."""

import contextlib
import os
import socket
import tempfile
import threading

import pytest

from pytest_memsample import daemon
from pytest_memsample.daemon import Daemon, DaemonError

ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


@contextlib.contextmanager
def serving(tmp_path, serve):
    """Serves with `serve(connection, requests)` one connection after the other."""
    requests = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    with listener.accept()[0] as connection:
                        serve(connection, requests)

        threading.Thread(target=accept, daemon=True).start()
        yield Daemon(str(tmp_path / "s")), requests
        listener.shutdown(socket.SHUT_RDWR)


def read(connection, requests):
    """Reads a request, and counts it."""
    request = b""
    while not request.endswith(b"}"):
        piece = connection.recv(4096)
        if not piece:
            return False
        request += piece
    requests.append(request)
    return True


def test_a_mark_is_not_sent_again_when_no_answer_comes(tmp_path, monkeypatch):
    monkeypatch.setattr(daemon, "TIMEOUT_SECONDS", 0.2)

    def silent(connection, requests):
        while read(connection, requests):
            pass

    with serving(tmp_path, silent) as (client, requests):
        with pytest.raises(DaemonError, match="no memsampled answers"):
            client.mark("s", "begin", "x", "x")
        # Connections are served one after the other: when this one was, all that the client sent has been read.
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(str(tmp_path / "s"))
            last.sendall(b"{}")
            last.shutdown(socket.SHUT_WR)
            assert last.recv(1) == b""
        assert len(requests) == 2 and requests[1] == b"{}"


def test_a_mark_is_not_sent_again_when_the_daemon_ends_over_it(tmp_path):
    ending = []

    def end(connection, requests):
        if not ending:
            read(connection, requests)
            connection.sendall(ANSWER)
            ending.append(True)
        read(connection, requests)

    with serving(tmp_path, end) as (client, requests):
        client.mark("s", "begin", "first", "x")
        with pytest.raises(DaemonError):
            client.mark("s", "begin", "second", "x")
        assert len(requests) == 2


def test_a_connection_that_was_closed_while_idle_is_opened_again(tmp_path):
    closed = threading.Semaphore(0)

    def answer_one(connection, requests):
        if read(connection, requests):
            connection.sendall(ANSWER)
            connection.close()
            closed.release()

    with serving(tmp_path, answer_one) as (client, requests):
        for _ in range(20):
            client.mark("s", "point", "x", None)
            closed.acquire()
        assert len(requests) == 20


def test_a_socket_of_somebody_else_is_not_taken_for_a_daemon_that_is_not_there(tmp_path):
    # Not in `tmp_path`, which nobody else may enter.
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listener:
        os.chmod(directory, 0o755)
        path = f"{directory}/s"
        listener.bind(path)
        listener.listen()
        os.chmod(path, 0)
        user, group = os.geteuid(), os.getegid()
        if user == 0:
            os.setegid(65534)
            os.seteuid(65534)
        try:
            with pytest.raises(DaemonError, match="may not use.*join the group of that socket"):
                Daemon(path).start("100ms", {})
        finally:
            os.seteuid(user)
            os.setegid(group)
