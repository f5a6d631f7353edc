"""The Celery task that runs a suite."""

import contextlib
import logging
import os
import queue
import signal
import threading
import time
from typing import Any

import psycopg
from celery import Celery, Task
from celery.exceptions import Reject

from memsample_fleet import broker, claims, jobs
from memsample_fleet.config import Config
from memsample_fleet.database import Connection, connect, reason
from memsample_fleet.device_care import Care, DeviceFailedError, Wanted
from memsample_fleet.errors import FleetError, UnfitWorkerError
from memsample_fleet.execution import AttemptFailedError, ClaimLostError, Execution, OnDevice, check_fit
from memsample_fleet.heartbeat import Heartbeat, now_s

log = logging.getLogger("memsample_fleet")

_NOT_RUN = "not run: "
_GIVEN_BACK = "given back: "
_LOST = "lost: "
_LEFT = "left: "
_NO_VERDICT = (_GIVEN_BACK, _LOST, _LEFT)

_DATABASE_PATIENCE_S = 300.0
"""How long a message waits for the database before it is put back."""
_RESULT_PATIENCE_S = 900.0
"""How long a result waits for the database before it is given up, and the run executed again."""


def register(app: Celery, config: Config, care: Care | None = None) -> Any:
    """Make the task of an application; with a device, suites are executed there."""

    @app.task(name=broker.TASK, bind=True)  # type: ignore[untyped-decorator]
    def run_suite(task: Task, /, run_id: str, version: int = 1, **_: object) -> str:
        return run(task, config, run_id, version, care)

    return run_suite


def run(task: Any, config: Config, run_id: str, version: int, care: Care | None = None) -> str:
    """Claim a run, execute it and write its result; returns what was done, for people."""
    try:
        check_fit(config)
    except UnfitWorkerError as error:
        _leave(config, str(error), run_id)
        raise Reject(str(error), requeue=True) from None
    connection = _patient(config)
    try:
        if version > broker.TASK_VERSION:
            note = f"its message has version {version}, and worker {config.name} knows {broker.TASK_VERSION}: update it"
            connection.execute("UPDATE runs SET note = %s WHERE run_id = %s AND NOT ended", [note, run_id])
            return note
        with contextlib.nullcontext() if care is None else care.alone():
            told = ""
            for wanted in (*jobs.more_urgent(connection, run_id, config.name, config.labels), run_id):
                told = _run(task, config, connection, wanted, run_id, care)
                if not told.startswith(_NOT_RUN):
                    break
            return told
    finally:
        connection.close()


def _run(task: Any, config: Config, connection: Connection, run_id: str, message: str, care: Care | None) -> str:
    """Claim and execute a run; `message` is the run whose message it was."""
    if care is None:
        return _claim(task, config, connection, run_id, message, None)
    return _on_device(task, config, connection, run_id, message, care)


def _on_device(task: Any, config: Config, connection: Connection, run_id: str, message: str, care: Care) -> str:
    """Prepare the device for a run, and claim and execute it there."""
    try:
        if (why := _prepare(connection, run_id, care)) is not None:
            return f"{_NOT_RUN}{why}"
    except DeviceFailedError as error:
        note = f"{care.device.name} was put aside: {error}"
        connection.execute("UPDATE runs SET note = %s WHERE run_id = %s AND NOT ended", [note, run_id])
        _leave(config, f"put aside: {error}")
        raise Reject(note, requeue=True) from None
    device = care.device
    assert care.lock is not None
    stop_s = device.stop_for.total_seconds()
    told = _claim(task, config, connection, run_id, message, OnDevice(device.name, device.options, care.lock, stop_s))
    for prefix in _NO_VERDICT:
        if told.startswith(prefix):
            # What goes on there, if anything, is not known: it is recovered before it is used again.
            why = told.removeprefix(prefix)
            with _patient(config, _RESULT_PATIENCE_S) as later:
                care.put_aside(later, why)
            _leave(config, f"put aside: {why}")
    return told


def _prepare(connection: Connection, run_id: str, care: Care) -> str | None:
    """Let the device have the image that a run needs, and pass its health check; returns why the run is left."""
    row = connection.execute(
        "SELECT image, image_sha256 FROM runs JOIN jobs USING (job_id) WHERE run_id = %s AND NOT ended", [run_id]
    ).fetchone()
    if row is None:
        return None
    device, now = care.device, care.row(connection)
    if now["state"] != "ready":
        # While the device was waited for.
        raise DeviceFailedError(now["why"] or now["state"])
    if row["image_sha256"] in (None, now["image_sha256"]):
        care.check(connection)
        return None
    path = care.images().get(row["image_sha256"])
    if "provision" not in device.hooks:
        note = f"{device.name} cannot be provisioned with {row['image']}: it has no hook `provision`"
    elif row["image_sha256"] == now["failed_sha256"]:
        note = f"{device.name} could not be provisioned with {row['image']}: memsample-fleet devices"
    elif path is None:
        note = f"{device.name} waits for {row['image']}: it is not where the worker of {device.name} looks for images"
    else:
        care.provision(connection, Wanted(row["image_sha256"], path))
        return None
    # The message is left: the run is published again while it waits, and another device may have it.
    connection.execute("UPDATE runs SET note = %s WHERE run_id = %s AND NOT ended", [note, run_id])
    return note


def _claim(
    task: Any, config: Config, connection: Connection, run_id: str, message: str, on_device: OnDevice | None
) -> str:
    asked = now_s()
    claim = claims.claim(connection, run_id, config.name, config.lease_s)
    if isinstance(claim, claims.Refused):
        return f"{_NOT_RUN}{claim.why}"
    if run_id != message:
        log.info("%s is more urgent than %s", run_id, message)
        jobs.need_message(connection, message)
    return _execute(task, config, connection, claim, asked, on_device)


def _execute(
    task: Any, config: Config, connection: Connection, claim: claims.Claim, asked: float, on_device: OnDevice | None
) -> str:
    with Events(task) as events:
        ended = 0

        def on_test(test: dict[str, Any]) -> None:
            nonlocal ended
            ended += 1
            events.send(run_id=claim.run_id, attempt=claim.attempt, tests_ended=ended, **test)

        events.send(run_id=claim.run_id, attempt=claim.attempt, tests_ended=0)
        execution = Execution(config, claim, on_test, on_device)
        heart = Heartbeat(config, claim, asked, execution.tell)
        try:
            result: claims.Result | str
            try:
                result = execution.execute(connection, heart)
            except ClaimLostError as error:
                return f"{_LOST}{execution.left or error}"
            except (AttemptFailedError, psycopg.Error) as error:
                result = reason(error)
            except Exception as error:
                log.exception("%s", claim.run_id)
                result = f"{type(error).__name__}: {error}"
            told = _conclude(config, connection, claim, result, execution)
            return told if execution.left is None else f"{_LEFT}{execution.left}"
        finally:
            heart.stop()


def _conclude(
    config: Config, connection: Connection, claim: claims.Claim, result: claims.Result | str, execution: Execution
) -> str:
    """Write a result, or why there is none, however long the database is away; the heartbeat goes on meanwhile."""
    patience = time.monotonic() + _RESULT_PATIENCE_S
    while True:
        try:
            if connection.closed:
                connection = connect(config, check=False)
            execution.tell(connection)
            if isinstance(result, str):
                kept = claims.give_back(connection, claim, result)
                return f"{_GIVEN_BACK}{result}" if kept else f"{_LOST}another claim took over"
            kept = claims.finish(connection, claim, result)
            return result.outcome if kept else "another claim took over: the result is thrown away"
        except (psycopg.Error, FleetError) as error:
            if time.monotonic() > patience:
                raise
            log.warning("%s: the result waits for the database: %s", claim.run_id, reason(error))
            with contextlib.suppress(Exception):
                connection.close()
            time.sleep(1)


def _patient(config: Config, patience_s: float = _DATABASE_PATIENCE_S) -> Connection:
    patience, wait = time.monotonic() + patience_s, 0.5
    while True:
        try:
            return connect(config)
        except FleetError as error:
            if time.monotonic() > patience:
                raise Reject(str(error), requeue=True) from None
            log.warning("%s", error)
            time.sleep(wait)
            wait = min(wait * 2, 10)


def _leave(config: Config, why: str, not_run: str | None = None) -> None:
    """End this worker: it cannot do its work, and must not take that of others. The run whose message it took waits
    for another one, and says so."""
    log.error("this worker ends: %s", why)
    with contextlib.suppress(FleetError, psycopg.Error), connect(config, check=False) as connection:
        connection.execute("UPDATE workers SET note = %s WHERE worker = %s", [why, config.name])
        note = f"{config.name} has ended: {why}"
        connection.execute("UPDATE runs SET note = %s WHERE run_id = %s AND NOT ended", [note, not_run])
    os.kill(os.getppid(), signal.SIGTERM)
    # Until it takes no more messages.
    time.sleep(1)


class Events:
    """Events `task-progress` for `celery events` and Flower. They never keep a run waiting: a broker that is away
    loses them."""

    def __init__(self, task: Any) -> None:
        """Send events of a task."""
        self._task, self._queue = task, queue.Queue[dict[str, Any] | None](1000)
        self._thread = threading.Thread(target=self._send, name="events", daemon=True)

    def send(self, **fields: Any) -> None:
        """Send an event soon, unless too many wait."""
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(fields)

    def _send(self) -> None:
        while (fields := self._queue.get()) is not None:
            with contextlib.suppress(Exception):
                self._task.send_event("task-progress", retry=False, **fields)

    def __enter__(self) -> "Events":
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Wait a moment for those that are not sent."""
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)
        self._thread.join(0.5)
