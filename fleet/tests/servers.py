"""A RabbitMQ and a PostgreSQL of our own: on loopback, on free ports, in a temporary directory, gone at the end."""

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import amqp
import psycopg

_PORTS_OF_EACH = 2000
_PROCESS = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 11
_ports = (
    10_000 + _PROCESS * _PORTS_OF_EACH + number % _PORTS_OF_EACH
    # Another session of tests begins elsewhere.
    for number in itertools.count(os.getpid() * 97)
)


def free_port() -> int:
    """Return a port that is free, and that nobody takes until it is listened on, which may be later by a minute.

    It lies below the ports that the kernel chooses from, and each process of the tests has its own.
    """
    while True:
        port = next(_ports)
        with socket.socket() as tried, contextlib.suppress(OSError):
            tried.bind(("127.0.0.1", port))
            return port


def eventually(what: str, condition: Callable[[], object], timeout_s: float = 300.0) -> None:
    """Wait for what must come, however busy the machine is."""
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, f"{what}: not within {timeout_s} s"
        time.sleep(0.05)


class Rabbit:
    """RabbitMQ; its wrapper in /usr/sbin would switch the user."""

    programs = Path("/usr/lib/rabbitmq/bin")

    def __init__(self, directory: Path, settings: str = "") -> None:
        self.directory = directory
        directory.mkdir()
        self.port, self.dist, self.epmd = free_port(), free_port(), free_port()
        self.password = "broker-secret-7c1"
        configuration = directory / "rabbitmq.conf"
        configuration.write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\nlog.console = false\n"
            f"default_user = fleet\ndefault_pass = {self.password}\n" + settings
        )
        (directory / "plugins").write_text("[].\n")
        # How often a channel looks whether a consumer took too long.
        (directory / "advanced.config").write_text("[{rabbit, [{channel_tick_interval, 1000}]}].\n")
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "RABBITMQ_NODENAME": f"fleet{self.port}@localhost",
            "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_PID_FILE": str(directory / "pid"),
            "RABBITMQ_CONFIG_FILE": str(configuration),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(directory / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
            "RABBITMQ_DIST_PORT": str(self.dist),
            "ERL_EPMD_PORT": str(self.epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }
        self.server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"amqp://fleet:{self.password}@127.0.0.1:{self.port}//"

    def ctl(self, *words: str, check: bool = True) -> str:
        told = subprocess.run(
            [self.programs / "rabbitmqctl", "--quiet", *words],
            env=self.environment, capture_output=True, text=True, timeout=300, check=check,
        )  # fmt: skip
        return told.stdout

    def start(self) -> None:
        self.server = subprocess.Popen(
            [self.programs / "rabbitmq-server"],
            env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        eventually("RabbitMQ listens", self._listens)

    def _listens(self) -> bool:
        assert self.server is not None
        assert self.server.poll() is None, "RabbitMQ ended"
        with socket.socket() as asked:
            return asked.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """Stop in order, with its last messages on disk."""
        if self.server is not None:
            pid = self._pid()
            if pid is not None:
                os.kill(pid, signal.SIGTERM)
            self.server.wait(300)
            self.server = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def open(self) -> amqp.Connection:
        opened = amqp.Connection(f"127.0.0.1:{self.port}", userid="fleet", password=self.password)
        opened.connect()
        return opened

    def delete_queues(self, names: set[str]) -> None:
        """Far faster than rabbitmqctl, which takes seconds."""
        with self.open() as opened:
            for name in names:
                opened.channel().queue_delete(name)

    def _pid(self) -> int | None:
        with contextlib.suppress(OSError, ValueError):
            return int((self.directory / "pid").read_text())
        return None

    def close(self) -> None:
        self.stop()
        # epmd lives on by design: ours is the one that listens on our port.
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, ValueError):
                if (process / "comm").read_text() != "epmd\n":
                    continue
                if f"ERL_EPMD_PORT={self.epmd}\0" in (process / "environ").read_text():
                    os.kill(int(process.name), signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)


class Postgres:
    """PostgreSQL, as an unprivileged user where we are root: initdb refuses root."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.port = directory, free_port()
        self.password = "database-secret-4f2"
        self.programs = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
        directory.mkdir(mode=0o755)
        secret = directory / "password"
        secret.write_text(self.password)
        self.user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
        if self.user:
            shutil.chown(directory, "postgres", "postgres")
            shutil.chown(secret, "postgres", "postgres")
        self._do("initdb", "--auth=scram-sha-256", "--username=fleet", f"--pwfile={secret}", "--encoding=UTF8",
                 "--no-sync")  # fmt: skip

    def _do(self, program: str, *words: str) -> None:
        subprocess.run(
            [*self.user, self.programs / program, *words, "--pgdata", self.directory / "data"],
            cwd=self.directory, check=True, stdout=subprocess.DEVNULL, timeout=300,
        )  # fmt: skip

    @property
    def url(self) -> str:
        return f"postgresql://fleet:{self.password}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        # Without syncs, what the server has written survives its end, and only that of the machine would lose it.
        options = (
            f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories={self.directory} "
            "-c max_connections=200 -c shared_buffers=32MB -c fsync=off"
        )
        log = str(self.directory / "log")
        self._do("pg_ctl", "start", "--wait", "--timeout=300", "--log", log, "--options", options)

    def stop(self) -> None:
        self._do("pg_ctl", "stop", "--wait", "--timeout=300", "--mode=immediate")

    def restart(self) -> None:
        """As after a crash."""
        self.stop()
        self.start()

    def new_database(self, name: str) -> str:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self.url.removesuffix("postgres") + name

    def close(self) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)
