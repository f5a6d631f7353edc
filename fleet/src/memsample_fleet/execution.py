"""One execution of a suite on this machine: the archive, `memsample run`, and its result."""

import json
import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from memsample_fleet import archive
from memsample_fleet.child import Child, Progress
from memsample_fleet.claims import Claim, Result
from memsample_fleet.config import Config
from memsample_fleet.database import Connection
from memsample_fleet.errors import FleetError, InvalidSuiteError, UnfitWorkerError

_NOT_PASSED_MOST = 1000
_PUSHES = 3
_NOT_WRITTEN = {
    4: "the disk was full, so that not every test was run",
    5: "the recording or the results could not be written",
}
"""Exit codes of `memsample run` with results that are no verdict."""
_BRING_BACK_S = 60.0
"""How long a cancelled run on a device has for its results to come back; then it is left to its guard."""


LEFT = "left"
"""Directory in that of a worker: a file for each run that was left to its guard, of the name of its directory."""


class AttemptFailedError(FleetError):
    """This attempt has no verdict, for a reason of this machine: another attempt may have one."""


class ClaimLostError(FleetError):
    """The claim is lost: whatever there is of the run is thrown away."""


class Watched(Protocol):
    """What is looked at while a suite is executed."""

    @property
    def lost(self) -> bool:
        """The claim is lost."""

    @property
    def cancelled(self) -> bool:
        """The job is to be cancelled."""


def remove_left(state: Path) -> None:
    """Remove what came back of runs that were left to their guards, which have ended: it counts for nothing."""
    for left in sorted((state / LEFT).glob("*")):
        shutil.rmtree(state / "runs" / left.name, ignore_errors=True)
        left.unlink(missing_ok=True)


def check_fit(config: Config) -> None:
    """Hold this machine to what each run needs: the program, and room."""
    try:
        config.program()
    except FleetError as error:
        raise UnfitWorkerError(str(error)) from None
    try:
        config.state_dir.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(config.state_dir).free
    except OSError as error:
        raise UnfitWorkerError(f"cannot use {config.state_dir}: {error.strerror}") from None
    if free < config.free_bytes:
        raise UnfitWorkerError(
            f"{config.state_dir} has {free / 2**20:.0f} MiB free, and a worker needs {config.free_bytes / 2**20:.0f}: "
            "make room, or change `free_bytes`"
        )


def environment() -> dict[str, str]:
    """Return the environment for programs of a run: without what the fleet is told by, which has passwords."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("MEMSAMPLE_FLEET_", "CELERY_"))}


@dataclass(frozen=True)
class OnDevice:
    """A device that a suite is executed on."""

    name: str
    options: tuple[str, ...]
    """Those of `memsample run` that name it."""
    lock: int
    """Descriptor that says that it is used; held until nothing of the run goes on."""
    stop_s: float
    """Seconds for which a run that is to end tries to tell the device."""


class Execution:
    """A claimed run on this machine."""

    def __init__(
        self, config: Config, claim: Claim, on_test: Callable[[dict[str, Any]], None], on_device: OnDevice | None = None
    ) -> None:
        """Prepare; `on_test` is told each end of a test."""
        self._config, self._claim, self._on_test = config, claim, on_test
        self._on_device = on_device
        self.name = f"{claim.run_id}-a{claim.attempt}"
        self._work = config.state_dir / "work" / self.name
        self._runs = config.state_dir / "runs"
        self._progress = Progress(self._runs / self.name / "progress.jsonl")
        self._told = (None, 0)
        self._lines: list[str] = []
        self._lines_told = 0
        self._child: Child | None = None
        self.left: str | None = None
        """Why something of it may go on yet, on a device, beneath the guard that holds its lock."""
        self._telling = threading.Lock()

    def tell(self, connection: Connection) -> None:
        """Write the progress and the log as far as they are known into the database."""
        with self._telling:
            self._tell(connection)

    def _tell(self, connection: Connection) -> None:
        if self._child is not None:
            self._lines += self._child.new_lines()
        self._progress.read(self._on_test)
        now = (self._progress.tests, self._progress.ended)
        if now != self._told:
            connection.execute(
                "UPDATE runs SET tests = %s, tests_ended = %s WHERE run_id = %s AND attempts = %s",
                [*now, self._claim.run_id, self._claim.attempt],
            )
            self._told = now  # type: ignore[assignment]
        if self._lines:
            connection.execute(
                """INSERT INTO log_lines (run_id, attempt, line, text)
                   SELECT %s, %s, %s + number, text FROM unnest(%s::text[]) WITH ORDINALITY AS lines (text, number)
                   ON CONFLICT DO NOTHING""",
                [self._claim.run_id, self._claim.attempt, self._lines_told, self._lines],
            )
            self._lines_told += len(self._lines)
            self._lines = []

    def execute(self, connection: Connection, watched: Watched) -> Result:
        """Run the suite to its end, and keep or push what it wrote."""
        try:
            self._unpack(connection)
            # The heartbeat has one; a second for hours would halve the workers of a database.
            connection.close()
            code, told = self._run(watched)
            return self._result(code, told, watched)
        except InvalidSuiteError as error:
            return Result("refused", 12, str(error))
        except OSError as error:
            raise AttemptFailedError(f"{error.strerror or error}: {error.filename or self._work}") from None
        finally:
            if self._child is not None and self.left is None:
                self._child.close()
            shutil.rmtree(self._work, ignore_errors=True)

    def _unpack(self, connection: Connection) -> None:
        cache = archive.Cache(self._config.state_dir / "archives")
        data = cache.get(self._claim.sha256)
        if data is None:
            row = connection.execute("SELECT data FROM archives WHERE sha256 = %s", [self._claim.sha256]).fetchone()
            if row is None:
                raise InvalidSuiteError(f"the database has no archive {self._claim.sha256}")
            data = bytes(row["data"])
            try:
                archive.verify(data, self._claim.sha256)
            except InvalidSuiteError as error:
                raise InvalidSuiteError(f"{error}. So the database has it: submit the suite again") from None
            cache.put(self._claim.sha256, data)
        shutil.rmtree(self._work, ignore_errors=True)
        archive.unpack(data, self._claim.sha256, self._work)

    def command(self) -> list[str]:
        """Return what is executed."""
        claim = self._claim
        labels = {
            "fleet_job": claim.job_id,
            "fleet_run": claim.run_id,
            "fleet_attempt": str(claim.attempt),
            "fleet_worker": self._config.name,
        }
        # From a device it is pushed when it is here: a claim that is lost meanwhile must push nothing.
        store = ["--push", self._config.store] if self._config.store and self._on_device is None else []
        device: tuple[str, ...] = ()
        if self._on_device is not None:
            labels["fleet_device"] = self._on_device.name
            device = self._on_device.options
        named = [part for label in labels.items() for part in ("--label", "=".join(label))]
        fixed = ["--json", "--out", str(self._runs), "--name", self.name, "--progress", "never", "--color", "never"]
        suite = os.path.normpath(self._work / claim.suite_path)
        # Behind the suite, a word among the options is the name of a test.
        return [self._config.program(), "run", *fixed, *named, *store, *device, suite, *claim.options]

    def _run(self, watched: Watched) -> tuple[int, dict[str, Any] | None]:
        self._runs.mkdir(parents=True, exist_ok=True)
        # What an attempt of this number left when its database was restored from a backup, or made anew.
        shutil.rmtree(self._runs / self.name, ignore_errors=True)
        device = self._on_device
        held = None if device is None else (device.lock, device.stop_s + _BRING_BACK_S)
        child = self._child = Child(self.command(), self._work, environment(), held)
        code = self._wait(child, watched, device)
        if code is None:
            return 11, None
        with self._telling:
            self._progress.read(self._on_test)
        try:
            told = json.loads(child.stdout)
        except ValueError:
            told = None
        return code, told if isinstance(told, dict) and "outcome" in told else None

    def _wait(self, child: Child, watched: Watched, device: OnDevice | None = None, ending: bool = False) -> int | None:
        """Wait for its end; None if it was cancelled and a device does not end it in time."""
        give_up: float | None = None
        while (code := child.wait(0.1)) is None:
            if watched.lost and device is not None:
                self._leave(child, "the claim is lost")
                raise ClaimLostError("the claim is lost: the suite is being stopped on the device")
            if give_up is not None and time.monotonic() > give_up:
                self._leave(child, "the run was cancelled")
                return None
            if watched.lost:
                child.kill()
                while child.wait(1) is None:
                    pass
                raise ClaimLostError("the claim is lost: the suite was killed")
            if watched.cancelled and not ending:
                child.end_in_order()
                ending = True
                give_up = None if device is None else time.monotonic() + _BRING_BACK_S
        return code

    def _leave(self, child: Child, why: str) -> None:
        left = self._config.state_dir / LEFT
        left.mkdir(exist_ok=True)
        (left / self.name).touch()
        child.leave()
        self.left = f"{why}, and what runs there is being stopped"

    def _result(self, code: int, told: dict[str, Any] | None, watched: Watched) -> Result:
        assert self._child is not None
        # The user's paths are below the directory of the suite.
        reason = self._child.reason().replace(f"{self._work}/", "")
        if told is None:
            if watched.cancelled:
                return Result(
                    "cancelled", 11, f"cancelled: {self.left}" if self.left else "cancelled before a test ended"
                )
            if code in (2, 12, 13):
                return Result("refused", code, reason or f"memsample run ended with exit code {code}")
            if code < 0:
                raise AttemptFailedError(f"the guard of memsample run was ended by signal {-code}")
            if code > 128:
                raise AttemptFailedError(f"memsample run was ended by signal {code - 128}")
            raise AttemptFailedError(reason or f"memsample run ended with exit code {code} and no results")
        if code in _NOT_WRITTEN:
            # The last that it said is how its push ended.
            raise AttemptFailedError(_NOT_WRITTEN[code])
        outcome, message = str(told["outcome"]), None
        stored_as, failure = self._stored(watched)
        if failure is not None:
            message = f"the results are not in the store: {failure}; they are on {self._config.name} in {told['run']}"
        if code == 1:
            # Of a push that failed and was made up for.
            code = 0 if failure is None and outcome == "passed" else 1
        elif failure is not None and code == 0:
            code = 1
        if watched.cancelled and outcome == "aborted":
            outcome, code = "cancelled", 11
        if stored_as is not None:
            shutil.rmtree(self._runs / self.name, ignore_errors=True)
        not_passed = [
            {"test": test["name"], "outcome": test["outcome"], "message": test.get("message") or test.get("reason")}
            for test in told.get("tests", [])
            if test["outcome"] not in ("passed", "skipped")
        ]
        return Result(
            outcome,
            code,
            message,
            told.get("counts"),
            not_passed[:_NOT_PASSED_MOST],
            stored_as,
            self._config.store if stored_as else f"{self._config.name}:{told['run']}",
            told.get("memsample_version"),
        )

    def _stored(self, watched: Watched) -> tuple[str | None, str | None]:
        """Return the name in the store, after further tries; and why there is none."""
        assert self._child is not None
        if not self._config.store:
            return None, None
        pushed = re.fullmatch(r"pushed: (\S+) to .*", self._child.last_line())
        if pushed:
            return pushed.group(1), None
        for tried in range(_PUSHES):
            if watched.cancelled and tried:
                break
            # The end of a cancelled run may have cut its push short; what runs on a device is pushed here only.
            if tried or (self._on_device is None and not watched.cancelled):
                time.sleep(2.0**tried - 0.5)
                print(f"{self.name}: push again: {self._child.reason()}", file=sys.stderr)
            again = [self._config.program(), "push", str(self._runs / self.name), self._config.store]
            with self._telling:
                self._lines += self._child.new_lines()
                self._child.close()
                self._child = Child(again, self._work, environment())
            code = self._wait(self._child, watched, None, watched.cancelled)
            # `NAME: 85.0 KiB`, or `NAME: was there`.
            told = re.match(r"(\S+): ", self._child.stdout.decode(errors="replace"))
            if code == 0 and told:
                return told.group(1), None
        return None, self._child.reason()
