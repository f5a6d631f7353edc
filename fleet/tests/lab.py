"""A fleet of its own for one test, by the command as its users call it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from servers import eventually

from memsample_fleet import labels
from memsample_fleet.config import Config
from memsample_fleet.database import Connection, connect
from memsample_fleet.errors import FleetError

SHELL = "[[test]]\nname = \"{name}\"\nshell = '''{shell}'''\n{more}\n"

_COMMAND = (sys.executable, "-m", "memsample_fleet.cli")
# As `_COMMAND`, with short pauses between the looks for claims that ran out, which tests wait for.
_WORKER = (
    sys.executable,
    "-c",
    "import sys, memsample_fleet.cli, memsample_fleet.worker as worker\n"
    "worker.SWEEP_EVERY_S = 0.75\n"
    "sys.exit(memsample_fleet.cli.main())",
)

STUBBORN = "trap '' TERM INT HUP; setsid sleep 5{0} & sleep 5{0}; sleep 5{0}"
"""A test whose two processes ignore signals; `{0}` is a number by which they are found."""


def arguments_of(pid: int) -> bytes:
    """Return the arguments of a process, each with a null byte behind it; none of one that has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


class Lab:
    """Commands, workers and suites."""

    def __init__(self, directory: Path, broker: str, database: str, memsample: str) -> None:
        self.directory, self.broker, self.database, self.memsample = directory, broker, database, memsample
        self.store = directory / "store"
        self.started: list[subprocess.Popen[str]] = []
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self.connection: Connection = connect(Config(database=database))

    def environment(self, **changes: str) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("MEMSAMPLE_FLEET_")}
        return {
            **kept,
            "MEMSAMPLE_FLEET_BROKER": self.broker,
            "MEMSAMPLE_FLEET_DATABASE": self.database,
            "MEMSAMPLE_FLEET_STORE": str(self.store),
            "MEMSAMPLE_FLEET_MEMSAMPLE": self.memsample,
            # What is looked for in a line is not wrapped.
            "COLUMNS": "300",
            "HOME": str(self.directory / "home"),
            # `end` lets a worker that hangs tell where.
            "PYTHONFAULTHANDLER": "1",
            **changes,
        }

    def start(self, *words: str, **changes: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*_COMMAND, *words],
            env=self.environment(**changes), cwd=self.directory, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.started.append(process)
        return process

    def do(self, *words: str, code: int = 0, **changes: str) -> str:
        """Execute a command, which must end with this exit code; returns its stdout and, behind it, its stderr."""
        process = self.start(*words, **changes)
        out, err = process.communicate(timeout=900)
        assert process.returncode == code, f"{words}: exit code {process.returncode}\n{out}\n{err}"
        return out + err

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self.do(*words, "--json", code=code).splitlines()[0])

    def worker(
        self, name: str, with_labels: str = "", log: str = "INFO", within: Sequence[str] = (), **changes: str
    ) -> subprocess.Popen[bytes]:
        """Start a worker and wait until it takes messages and is seen; `within` are words before its command."""
        output = (self.directory / f"{name}.log").open("ab")
        before = self.worker_log(name).count(" ready.")
        since = self.when_there("SELECT clock_timestamp() AS now")[0]["now"]
        self.workers[name] = subprocess.Popen(
            [*within, *_WORKER, "worker", "--log-level", log],
            env=self.environment(
                MEMSAMPLE_FLEET_NAME=name,
                MEMSAMPLE_FLEET_LABELS=with_labels or name,
                MEMSAMPLE_FLEET_STATE=str(self.directory / f"state-{name}"),
                **changes,
            ),
            cwd=self.directory, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
        output.close()

        def ready() -> bool:
            assert self.workers[name].poll() is None, self.worker_log(name)
            return self.worker_log(name).count(" ready.") > before

        eventually(f"worker {name} is ready", ready)
        seen = "SELECT FROM workers WHERE worker = %s AND seen_at >= %s"
        eventually(f"worker {name} is seen", lambda: self.when_there(seen, name, since))
        return self.workers[name]

    def serve_devices(self, file: Path, **changes: str) -> subprocess.Popen[bytes]:
        """Start a worker that serves the devices of a file; its name is `host`."""
        with (self.directory / "host.log").open("ab") as output:
            self.workers["host"] = subprocess.Popen(
                [*_COMMAND, "worker", "--devices", str(file)],
                env=self.environment(
                    MEMSAMPLE_FLEET_NAME="host", MEMSAMPLE_FLEET_STATE=str(self.directory / "state-host"), **changes
                ),
                cwd=self.directory, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        return self.workers["host"]

    def worker_log(self, name: str) -> str:
        with contextlib.suppress(FileNotFoundError):
            return (self.directory / f"{name}.log").read_text()
        return ""

    def kill(self, name: str) -> None:
        """Kill the worker, and nothing that it started."""
        self.workers[name].send_signal(signal.SIGKILL)
        self.workers[name].wait(300)

    def kill_all(self) -> None:
        for worker in self.workers.values():
            worker.kill()
            worker.wait()

    def end(self, name: str) -> int:
        self.workers[name].send_signal(signal.SIGTERM)
        return self.ended(name)

    def ended(self, name: str) -> int:
        """Wait until a worker that was told to end has ended."""
        worker = self.workers[name]
        try:
            return worker.wait(300)
        except subprocess.TimeoutExpired:
            self._abort(worker.pid)
            pytest.fail(f"{name} does not end:\n{self.worker_log(name)}")

    def _abort(self, pid: int) -> None:
        """Let the processes of a worker write where each of their threads is: the children first, since they end with
        their parent, which meanwhile stands still."""
        if ours := b"memsample_fleet.cli" in arguments_of(pid):
            os.kill(pid, signal.SIGSTOP)
        with contextlib.suppress(OSError):
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                for child in children.read_text().split():
                    self._abort(int(child))
        if ours:
            os.kill(pid, signal.SIGABRT)
            os.kill(pid, signal.SIGCONT)
            eventually(f"{pid} has told", lambda: not arguments_of(pid), 60)

    def suite(self, name: str, *tests: tuple[str, str, str]) -> Path:
        """Write a suite with tests: name, shell line, further lines."""
        directory = self.directory / "suites" / name
        directory.mkdir(parents=True, exist_ok=True)
        text = f'name = "{name}"\n' + "".join(SHELL.format(name=t[0], shell=t[1], more=t[2]) for t in tests)
        (directory / "suite.toml").write_text(text)
        return directory / "suite.toml"

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        return self.connection.execute(query, values).fetchall()

    def when_there(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """As `rows`; a database that is away is waited for."""
        until = time.monotonic() + 300
        while True:
            try:
                if self.connection.closed:
                    self.connection = connect(Config(database=self.database), check=False)
                return self.rows(query, *values)
            except (psycopg.OperationalError, FleetError):
                assert time.monotonic() < until, "the database does not come back"
                self.connection.close()
                time.sleep(0.1)

    def make_older(self) -> None:
        """Let what waits have waited for ten seconds more, from which on its messages are looked for."""
        self.rows("UPDATE jobs SET submitted_at = submitted_at - interval '10 s' RETURNING 1")
        self.rows("UPDATE runs SET published_at = published_at - interval '10 s' RETURNING 1")

    def states(self, job: str) -> list[str]:
        return [run["outcome"] or run["state"] for run in self.json("status", job)]

    def processes(self, marker: str) -> list[int]:
        """Return the processes with this text in their arguments."""
        pids = [int(process.name) for process in Path("/proc").glob("[0-9]*")]
        return [pid for pid in pids if pid != os.getpid() and marker.encode() in arguments_of(pid)]

    def close(self) -> set[str]:
        """End the workers; returns the queues that there may be."""
        self.kill_all()
        # What a test that failed has left.
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.wait()
        workers = self.rows("SELECT labels, worker FROM workers")
        rows = self.rows("SELECT DISTINCT queue FROM jobs")
        self.connection.close()
        taken = {name for row in workers for name in labels.queues_of(row["labels"], row["worker"])}
        return taken | {row["queue"] for row in rows} | {labels.PREFIX}
