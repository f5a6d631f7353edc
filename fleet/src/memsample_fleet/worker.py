"""A worker: the Celery worker with the queues of its labels, and the thread that keeps the fleet in order."""

import contextlib
import ctypes
import logging
import platform
import re
import shutil
import signal
import subprocess
import threading
import time
import warnings
from pathlib import Path

import psycopg
from celery import Celery, signals
from celery.exceptions import Reject
from celery.platforms import SecurityWarning

import memsample_fleet
from memsample_fleet import broker, claims, jobs, labels, task, text, whole_file
from memsample_fleet.config import Config
from memsample_fleet.database import Connection, connect, reason
from memsample_fleet.device_care import Care
from memsample_fleet.errors import FleetError
from memsample_fleet.execution import check_fit, environment

log = logging.getLogger("memsample_fleet")

_MISSING_AFTER_S = 10.0
"""A run that waits for longer, with nothing in its queue, is published again: the broker has lost its message, or a
busy worker holds it. From RabbitMQ 4 on a worker takes a message of each of its queues, and not one of all."""

SEEN_EVERY_S = 5.0
"""How often a worker says that it is there."""

SWEEP_EVERY_S = 5.0
"""How often one of the workers looks for claims that ran out and runs to publish, or more often if leases are short."""

_PR_SET_PDEATHSIG = 1


def start(config: Config, log_level: str = "INFO", care: Care | None = None) -> int:
    """Check what a worker needs, and be one until SIGTERM: a run that goes on is waited for. With a device, it runs
    suites there."""
    check_fit(config)
    version = memsample_version(config)
    with connect(config) as connection:
        _check_name(connection, config)
    app = broker.application(config)
    broker.connection(app).release()
    # Held until this process ends.
    refusal = f"another worker uses {config.state_dir}: give this one a `state` and a `name` of its own"
    with whole_file.alone(config.state_dir / "lock", refusal):
        shutil.rmtree(config.state_dir / "work", ignore_errors=True)
        task.register(app, config, care)
        keeper = Keeper(app, config, version)
        signals.worker_ready.connect(lambda **_: keeper.start(), weak=False)
        signals.worker_process_init.connect(die_with_parent, weak=False)
        signals.worker_shutdown.connect(lambda **_: keeper.stop(), weak=False)
        arguments = ["worker", "--hostname", f"memsample-fleet@{config.name}", "--loglevel", log_level]
        arguments += ["--pool", "prefork", "--concurrency", "1", "--task-events", "--without-mingle"]
        # Ten thousand workers would send five thousand events a second by default.
        arguments += ["--heartbeat-interval", "10"]
        arguments += ["--without-gossip", "--queues", ",".join(labels.queues_of(config.labels, config.name))]
        # It advises options that this command does not have; docs/fleet.md says who may do what.
        warnings.filterwarnings("ignore", category=SecurityWarning)
        logging.getLogger("celery.app.trace").addFilter(_without_traceback)
        try:
            app.worker_main(arguments)
        except SystemExit as error:
            return error.code if isinstance(error.code, int) else 1
    return 0


def _without_traceback(record: logging.LogRecord) -> bool:
    """A message that is put back is no failure of this program, and says why it is."""
    if record.exc_info and isinstance(record.exc_info[1], Reject):
        record.exc_info = None
    return True


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _check_name(connection: Connection, config: Config) -> None:
    """Refuse the name of a worker of another machine that is there: what is asked of one would run on both."""
    row = connection.execute(
        """SELECT host FROM workers WHERE worker = %s AND boot <> %s AND left_at IS NULL
           AND seen_at > clock_timestamp() - %s * interval '1 s'""",
        [config.name, _boot(), 3 * SEEN_EVERY_S],
    ).fetchone()
    if row is not None:
        raise FleetError(
            f"another worker of the name {config.name} is there, on {row['host']}: set `name`; or, if that machine has "
            f"just been started anew, wait {3 * SEEN_EVERY_S:.0f} s"
        )


def memsample_version(config: Config) -> str:
    """Ask the program for its version, and whether it can push if there is a store."""
    program = config.program()
    try:
        told = subprocess.run(
            [program, "--version"], capture_output=True, text=True, errors="replace", timeout=30, check=True,
            env=environment(),
        )  # fmt: skip
        if config.store:
            subprocess.run([program, "push", "--help"], capture_output=True, timeout=30, check=True, env=environment())
    except subprocess.CalledProcessError as error:
        if "push" in error.cmd:
            raise FleetError(
                f"{program} cannot push runs to {config.store}: install one with the cargo feature `lab`"
            ) from None
        raise FleetError(f"{program} --version ends with exit code {error.returncode}: install it anew") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FleetError(f"cannot execute {program}: {error}") from None
    version = re.fullmatch(r"memsample (\d+\.\S+)\s*", told.stdout)
    if version is None:
        said = text.printable(told.stdout.partition("\n")[0], 60) or "nothing"
        raise FleetError(f"{program} is not memsample: --version says `{said}`; name it by `memsample` in fleet.toml")
    return version.group(1)


def die_with_parent(**_: object) -> None:
    """Let this process die with the one that started it, and not go on as an orphan."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # Programs that it starts get the usual signals.
    signal.set_wakeup_fd(-1)


class Keeper:
    """Says that this worker is there, ends claims that ran out, and publishes runs that no message is known of."""

    def __init__(self, app: Celery, config: Config, version: str) -> None:
        """Prepare."""
        self._app, self._config, self._version = app, config, version
        self._sweep_every_s = min(SWEEP_EVERY_S, config.lease_s / 4)
        self._looked_at = 0.0
        self._stop = threading.Event()
        self._connection: Connection | None = None
        self._publisher: broker.Publisher | None = None
        self._thread = threading.Thread(target=self._keep, name="keeper", daemon=True)
        self._said = False

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and say that this worker left."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(30)
        with contextlib.suppress(FleetError, psycopg.Error), connect(self._config, check=False) as last:
            last.execute("UPDATE workers SET left_at = clock_timestamp() WHERE worker = %s", [self._config.name])

    def _keep(self) -> None:
        seen_at = -SEEN_EVERY_S
        while True:
            try:
                if self._connection is None:
                    self._connection = connect(self._config, check=False, timeout_s=3)
                if time.monotonic() - seen_at >= SEEN_EVERY_S:
                    seen_at = time.monotonic()
                    self._say_here(self._connection)
                self._sweep(self._connection)
            except (psycopg.Error, FleetError, *broker.Unreachable) as error:
                log.warning("keeper: %s", reason(error))
                self._disconnect()
            except Exception:
                log.exception("keeper")
                self._disconnect()
            if self._stop.wait(self._sweep_every_s):
                self._disconnect()
                return

    def _say_here(self, connection: Connection) -> None:
        before, clock = time.monotonic(), time.time()
        row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8 AS now").fetchone()
        took = time.monotonic() - before
        assert row is not None
        connection.execute(
            """INSERT INTO workers (worker, host, boot, labels, fleet_version, memsample_version, clock_off_s,
                                    clock_error_s, free_bytes, started_at, seen_at, left_at, note)
               VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, clock_timestamp(), clock_timestamp(), NULL, NULL)
               ON CONFLICT (worker) DO UPDATE SET host = excluded.host, boot = excluded.boot, labels = excluded.labels,
                   fleet_version = excluded.fleet_version, memsample_version = excluded.memsample_version,
                   clock_off_s = excluded.clock_off_s, clock_error_s = excluded.clock_error_s,
                   free_bytes = excluded.free_bytes, seen_at = excluded.seen_at, left_at = NULL,
                   -- Why it is about to end stays.
                   note = CASE WHEN %s THEN NULL ELSE workers.note END,
                   started_at = CASE WHEN %s THEN excluded.started_at ELSE workers.started_at END""",
            [
                self._config.name,
                platform.node(),
                _boot(),
                list(self._config.labels),
                memsample_fleet.__version__,
                self._version,
                clock + took / 2 - row["now"],
                took / 2,
                shutil.disk_usage(self._config.state_dir).free,
                not self._said,
                not self._said,
            ],
        )
        self._said = True

    def _sweep(self, connection: Connection) -> None:
        won = connection.execute(
            """UPDATE sweeps SET swept_at = clock_timestamp()
               WHERE swept_at < clock_timestamp() - %s * interval '1 s' RETURNING 1 AS won""",
            [self._sweep_every_s * 0.9],
        ).fetchone()
        if won is None:
            return
        if ended := claims.expire(connection):
            log.warning("%d claims ran out: their runs are published again", ended)
        missing_after_s = min(self._config.lease_s / 2, _MISSING_AFTER_S)
        if not jobs.is_due(connection, missing_after_s):
            return
        if self._publisher is None:
            # Meanwhile this worker does not say that it is there.
            self._publisher = broker.Publisher(self._app, timeout_s=10)
        if time.monotonic() - self._looked_at > missing_after_s / 2:
            self._looked_at = time.monotonic()
            if missing := jobs.publish_missing(connection, self._publisher, missing_after_s):
                log.warning("%d messages are lost, or held by a busy worker", missing)
        if published := jobs.publish_due(connection, self._publisher):
            log.warning("%d runs published again", published)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        publisher, self._publisher = self._publisher, None
        for opened in (connection, publisher):
            if opened is not None:
                with contextlib.suppress(Exception):
                    opened.close()
