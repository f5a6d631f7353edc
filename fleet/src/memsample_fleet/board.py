"""The board: what the fleet does now, as a file that `memsample serve --fleet FILE` shows."""

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

from memsample_fleet import jobs, labels, text
from memsample_fleet.config import Config
from memsample_fleet.database import Connection, connect, reason
from memsample_fleet.errors import FleetError

FORMAT = 1
"""Version of the file."""

_JOBS_MOST = 100
_RUNNING_MOST = 2000


def read(connection: Connection) -> dict[str, Any]:
    """Return what the fleet does, of one instant."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        now = connection.execute("SELECT clock_timestamp() AS at").fetchone()
        assert now is not None
        workers = jobs.workers(connection)
        queues = connection.execute(
            f"""SELECT labels, count(*) FILTER (WHERE state = 'waiting') AS waiting,
                       count(*) FILTER (WHERE state <> 'waiting') AS running
                FROM ({jobs.RUNS} WHERE NOT r.ended) AS open_runs GROUP BY labels ORDER BY labels"""
        ).fetchall()
        running = connection.execute(
            f"""SELECT run_id, suite, worker, attempt, tests, tests_ended, duration_s, state
                FROM ({jobs.RUNS} WHERE NOT r.ended AND c.claim_id IS NOT NULL) AS running
                ORDER BY started_at LIMIT {_RUNNING_MOST}"""
        ).fetchall()
        latest = jobs.latest(connection, _JOBS_MOST)
    there = [row for row in workers if row["state"] in ("idle", "busy")]
    for queue in queues:
        queue["workers"] = sum(labels.matches(queue["labels"], row["worker"], row["labels"]) for row in there)
    return {"format": FORMAT, "at": now["at"], "workers": workers, "queues": queues, "running": running, "jobs": latest}


def write(board: dict[str, Any], file: Path) -> None:
    """Put a board into a file, as a whole and readable for all."""
    with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=f".{file.name}-", delete=False) as new:
        try:
            json.dump(board, new, default=text.in_json)
            new.flush()
            os.fchmod(new.fileno(), 0o644)
            os.replace(new.name, file)
        except BaseException:
            os.unlink(new.name)
            raise


def keep(config: Config, file: Path, every_s: float) -> None:
    """Keep a board up to date for ever; while the database is away it grows old, which its readers tell."""
    connection, told = None, ""
    while True:
        try:
            connection = connection or connect(config)
            write(read(connection), file)
            told = ""
        except (psycopg.Error, FleetError) as error:
            if (why := reason(error)) != told:
                text.err(f"the board waits for the database: {why}")
                told = why
            if connection is not None:
                connection.close()
            connection = None
        except OSError as error:
            raise FleetError(f"cannot write {file}: {error.strerror}") from None
        time.sleep(every_s)
