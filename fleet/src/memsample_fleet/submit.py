"""What `submit` adds to a job: the name, checked options, remarks."""

from collections.abc import Sequence
from pathlib import Path

import psycopg

from memsample_fleet import jobs
from memsample_fleet.broker import Publisher, Unreachable
from memsample_fleet.database import Connection, reason
from memsample_fleet.errors import FleetError
from memsample_fleet.labels import matches
from memsample_fleet.text import err

_OURS = ("--out", "--name", "--json", "--push", "--config", "--progress", "--color", "--list", "--dry-run", "--resume",
         "--peaks", "--suspects", "--policy", "--table", "--help", "--version", "-h", "-V", "--on", "--device-program",
         "--reconnect-for", "--stop-for", "--unfollowed-for")  # fmt: skip


def checked(options: Sequence[str]) -> tuple[str, ...]:
    """Return options for `memsample run`, of which those that the worker gives, or that name a file of this machine,
    are an error."""
    for option in options:
        if option.split("=")[0] in _OURS:
            raise FleetError(f"`{option}` cannot be passed to `memsample run` on a worker")
    return tuple(options)


def name_of(path: Path) -> str:
    """Return the name of a job: that of the suite's file, or of its directory if the file is `suite.toml`."""
    if path.is_file() and path.name != "suite.toml":
        return path.stem
    directory = path.parent if path.is_file() else path
    return directory.resolve().name or "suite"


def publish(connection: Connection, publisher: Publisher, *job_ids: str) -> None:
    """Publish jobs that are written; a broker or database that goes away just now is told: a worker publishes them."""
    try:
        jobs.publish(connection, publisher, *job_ids)
    except (*Unreachable, psycopg.Error) as error:
        err(f"note: {reason(error)}; a worker publishes {' and '.join(job_ids)} as soon as it can")


def remarks(connection: Connection, labels: tuple[str, ...]) -> list[str]:
    """Say if no worker that is there has the labels."""
    try:
        workers = [row for row in jobs.workers(connection) if row["state"] not in jobs.NOT_THERE]
    except psycopg.Error:
        return []
    if any(matches(labels, row["worker"], row["labels"]) for row in workers):
        return []
    which = f"with the labels {' '.join(labels)} " if labels else ""
    which = f"of the name {labels[0][1:]} " if labels and labels[0].startswith("@") else which
    return [f"note: no worker {which}is there: the job waits. See memsample-fleet workers"]
