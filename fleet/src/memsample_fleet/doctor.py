"""What is right and wrong with a fleet."""

import math
import platform
import re
import shutil
import subprocess
import time
import urllib.parse
from dataclasses import dataclass
from typing import Any

import amqp.exceptions
import psycopg

import memsample_fleet
from memsample_fleet import broker, jobs, labels, text
from memsample_fleet.config import Config
from memsample_fleet.database import Connection, connect, reason
from memsample_fleet.errors import FleetError

CLOCK_BAD_S = 2.0
"""A clock that is this far off makes times in recordings misleading; claims do not depend on it."""

_ENOUGH_MS = 24 * 3600 * 1000


@dataclass(frozen=True)
class Check:
    """One finding."""

    name: str
    verdict: str
    """`ok`, `note` or `bad`."""
    found: str


def check(config: Config) -> list[Check]:
    """Check all that can be reached; what cannot is a finding too."""
    found = [Check("configuration", "ok", config.source or "from the environment")]
    try:
        connection = connect(config)
    except (FleetError, psycopg.Error) as error:
        found.append(Check("database", "bad", reason(error)))
        return found + _broker(config, [])
    with connection:
        queues = [
            row["queue"]
            for row in connection.execute(
                "SELECT DISTINCT queue FROM runs JOIN jobs USING (job_id) WHERE NOT ended ORDER BY 1 LIMIT 100"
            ).fetchall()
        ]
        return [*found, *_database(connection), *_broker(config, queues), *_workers(connection), *_jobs(connection)]


def _database(connection: Connection) -> list[Check]:
    before = time.time()
    row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8 AS now").fetchone()
    after = time.time()
    assert row is not None
    version = connection.info.server_version
    found = [Check("database", "ok", f"PostgreSQL {version // 10000}.{version % 10000}")]
    off, error = (before + after) / 2 - row["now"], (after - before) / 2
    found.append(_clock("clock here", off, error))
    return found


def _clock(name: str, off_s: float, error_s: float) -> Check:
    far = abs(off_s) - error_s > CLOCK_BAD_S
    # The error rounded up: it is never nothing.
    told = (
        f"{round(off_s, 3) + 0.0:+.3f} s from the database's, to within {math.ceil(error_s * 1000 + 0.5) / 1000:.3f} s"
    )
    return Check(name, "bad" if far else "ok", told + (": set it, by NTP" if far else ""))


def _broker(config: Config, queues: list[str]) -> list[Check]:
    try:
        app = broker.application(config)
        opened = broker.connection(app)
    except FleetError as error:
        return [Check("broker", "bad", str(error))]
    try:
        told = opened.connection.server_properties
        product, version = str(told.get("product", "?")), str(told.get("version", "?"))
        right = product == "RabbitMQ"
        found = [Check("broker", "ok" if right else "bad", f"{product} {version}")]
        found.append(consumer_timeout(version, config.broker))
        bad = [name for name in (labels.PREFIX, *queues) if not _as_declared(opened, name)]
        if bad:
            told = "is declared otherwise, perhaps by another version: let it run empty, and delete it"
            found += [Check("queue", "bad", f"{name} {told}") for name in bad]
        else:
            found.append(Check("queues", "ok", "classic, durable, with priorities"))
        return found
    finally:
        opened.release()


def _as_declared(opened: Any, name: str) -> bool:
    channel = opened.channel()
    try:
        channel.queue_declare(name, passive=True)
    except amqp.exceptions.NotFound:
        return True
    try:
        broker.queue(name)(channel).declare()
        channel.close()
    except amqp.exceptions.PreconditionFailed:
        return False
    return True


def consumer_timeout(version: str, url: str) -> Check:
    """RabbitMQ tells no client its consumer_timeout; from 3.12 on, our queues have one of their own, and from 4.3 on
    classic queues have none."""
    name = "consumer_timeout"
    try:
        major, minor = (int(part) for part in version.split(".")[:2])
    except ValueError:
        return Check(name, "note", f"not known for version {version}")
    if (major, minor) >= (4, 3):
        return Check(name, "ok", "none: classic queues have none from RabbitMQ 4.3 on")
    if (major, minor) >= (3, 12):
        return Check(name, "ok", "7 days, by an argument of each queue")
    asked = "rabbitmqctl eval 'application:get_env(rabbit, consumer_timeout).'"
    advice = "set consumer_timeout = 604800000 in its rabbitmq.conf"
    milliseconds = _ask_rabbitmqctl(url)
    if milliseconds is None:
        return Check(name, "note", f"not known: RabbitMQ {version} does not tell it. On its machine: {asked}; {advice}")
    if milliseconds < _ENOUGH_MS:
        return Check(
            name,
            "bad",
            f"{text.duration(milliseconds / 1000)}: a run that takes longer ends its worker when it has ended, and its "
            f"message is delivered once more (and not executed); {advice}",
        )
    return Check(name, "ok", text.duration(milliseconds / 1000))


def _ask_rabbitmqctl(url: str) -> float | None:
    """Ask the RabbitMQ of this machine, if it is the one that listens where the URL leads."""
    program, broker_at = shutil.which("rabbitmqctl"), urllib.parse.urlsplit(url)
    if program is None or broker_at.hostname not in ("localhost", "127.0.0.1", "::1", platform.node().lower()):
        return None
    asked = (
        "{application:get_env(rabbit, consumer_timeout), [element(6, L) || L <- rabbit_networking:active_listeners()]}."
    )
    try:
        told = subprocess.run([program, "--quiet", "eval", asked], capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    answer = re.fullmatch(r"\{(?:\{ok,(\w+)\}|undefined),\[([\d,\s]*)\]\}", "".join(told.split()))
    if answer is None or str(broker_at.port or 5672) not in answer.group(2).split(","):
        return None
    timeout = answer.group(1)
    # `undefined` is for ever.
    return float("inf") if timeout in (None, "undefined", "infinity") else float(timeout)


def _workers(connection: Connection) -> list[Check]:
    workers = jobs.workers(connection)
    there = [row for row in workers if row["state"] in ("idle", "busy")]
    newest = max((row["memsample_version"] for row in there), key=_version, default="")
    found = [
        Check("workers", "ok", f"{len(there)} with memsample {newest}")
        if there
        else Check("workers", "bad", "none is there: memsample-fleet worker")
    ]
    for row in workers:
        name = f"worker {row['worker']}"
        if row["state"] == "gone":
            found.append(Check(name, "bad", f"gone: last seen {text.duration(row['seen_s'])} ago"))
        elif row["state"] in ("idle", "busy"):
            found.append(_clock(f"{name}: clock", row["clock_off_s"], row["clock_error_s"]))
            if row["memsample_version"] != newest:
                told = f"memsample {row['memsample_version']}, and others have {newest}: results may differ"
                found.append(Check(name, "bad", told))
            if row["fleet_version"] != memsample_fleet.__version__:
                told = f"memsample-fleet {row['fleet_version']}, and {memsample_fleet.__version__} here"
                found.append(Check(name, "note", told))
        if row["note"] and row["state"] != "idle":
            found.append(Check(name, "bad", row["note"]))
    return found


def _version(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split()[0].split(".") if part.isdigit()) if version else ()


def _jobs(connection: Connection) -> list[Check]:
    there = [row for row in jobs.workers(connection) if row["state"] in ("idle", "busy")]
    found = []
    for row in connection.execute(
        """SELECT labels, count(*) AS count FROM runs JOIN jobs USING (job_id) WHERE NOT ended GROUP BY 1 ORDER BY 1"""
    ).fetchall():
        if not any(labels.matches(row["labels"], worker["worker"], worker["labels"]) for worker in there):
            asked = " ".join(row["labels"]) or "any"
            found.append(Check("runs", "note", f"{row['count']} wait for a worker with the labels {asked}: none has"))
    return found
