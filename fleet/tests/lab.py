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
from servers import eventually

from memsample_fleet import labels
from memsample_fleet.config import Config
from memsample_fleet.database import Connection, connect
from memsample_fleet.errors import FleetError

SHELL = "[[test]]\nname = \"{name}\"\nshell = '''{shell}'''\n{more}\n"

STUBBORN = "trap '' TERM INT HUP; setsid sleep 5{0} & sleep 5{0}; sleep 5{0}"
"""A test whose two processes ignore signals; `{0}` is a number by which they are found."""


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
            "MEMSAMPLE_FLEET_LEASE_S": "3",
            # What is looked for in a line is not wrapped.
            "COLUMNS": "300",
            "HOME": str(self.directory / "home"),
            **changes,
        }

    def start(self, *words: str, **changes: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "memsample_fleet.cli", *words],
            env=self.environment(**changes), cwd=self.directory, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.started.append(process)
        return process

    def do(self, *words: str, code: int = 0, **changes: str) -> str:
        """Execute a command, which must end with this exit code; returns its stdout and, behind it, its stderr."""
        process = self.start(*words, **changes)
        out, err = process.communicate(timeout=120)
        assert process.returncode == code, f"{words}: exit code {process.returncode}\n{out}\n{err}"
        return out + err

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self.do(*words, "--json", code=code).splitlines()[0])

    def worker(
        self, name: str, with_labels: str = "", log: str = "INFO", within: Sequence[str] = (), **changes: str
    ) -> subprocess.Popen[bytes]:
        """Start a worker and wait until it takes messages; `within` are words before its command."""
        output = (self.directory / f"{name}.log").open("ab")
        before = self.worker_log(name).count(" ready.")
        self.workers[name] = subprocess.Popen(
            [*within, sys.executable, "-m", "memsample_fleet.cli", "worker", "--log-level", log],
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
        return self.workers[name]

    def serve_devices(self, file: Path, **changes: str) -> subprocess.Popen[bytes]:
        """Start a worker that serves the devices of a file; its name is `host`."""
        with (self.directory / "host.log").open("ab") as output:
            self.workers["host"] = subprocess.Popen(
                [sys.executable, "-m", "memsample_fleet.cli", "worker", "--devices", str(file)],
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
        self.workers[name].wait(10)

    def kill_all(self) -> None:
        for worker in self.workers.values():
            worker.kill()
            worker.wait()

    def end(self, name: str) -> int:
        self.workers[name].send_signal(signal.SIGTERM)
        return self.workers[name].wait(60)

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
        until = time.monotonic() + 60
        while True:
            try:
                if self.connection.closed:
                    self.connection = connect(Config(database=self.database), check=False)
                return self.rows(query, *values)
            except (psycopg.OperationalError, FleetError):
                assert time.monotonic() < until, "the database does not come back"
                self.connection.close()
                time.sleep(0.1)

    def states(self, job: str) -> list[str]:
        return [run["outcome"] or run["state"] for run in self.json("status", job)]

    def processes(self, marker: str) -> list[int]:
        """Return the processes with this text in their arguments."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if marker.encode() in (process / "cmdline").read_bytes() and int(process.name) != os.getpid():
                    found.append(int(process.name))
        return found

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
