"""Claims and results: who executes a run, and that it has one result.

Each function is one transaction. The row of the run is locked first, so that whatever is decided about a run is
decided one after another; the time is the database's, read after the lock was got. A message of the broker only
says that there may be something to do.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from psycopg.types.json import Jsonb

from memsample_fleet.database import Connection


@dataclass(frozen=True)
class Claim:
    """The right of a worker to execute a run until its lease ends, and what there is to execute."""

    claim_id: int
    run_id: str
    job_id: str
    attempt: int
    most_attempts: int
    suite: str
    sha256: str
    suite_path: str
    options: list[str]


@dataclass(frozen=True)
class Refused:
    """Why there is no claim."""

    why: str
    """`unknown`, `ended`, `taken`, `cancelled` or `lost`."""


@dataclass(frozen=True)
class Result:
    """What came of a run."""

    outcome: str
    exit_code: int
    message: str | None = None
    counts: dict[str, int] | None = None
    not_passed: list[dict[str, Any]] = field(default_factory=list)
    stored_as: str | None = None
    store: str | None = None
    memsample_version: str | None = None


def claim(connection: Connection, run_id: str, worker: str, lease_s: float) -> Claim | Refused:
    """Claim a run, unless it has a result, is cancelled, is claimed, or was claimed as often as it may be."""
    with connection.transaction():
        row = connection.execute(
            """SELECT r.*, j.suite, j.sha256, j.suite_path, j.options, j.most_attempts, j.cancelled_at
               FROM runs r JOIN jobs j USING (job_id) WHERE run_id = %s FOR UPDATE OF r""",
            [run_id],
        ).fetchone()
        if row is None:
            return Refused("unknown")
        if row["ended"]:
            return Refused("ended")
        if not _close_expired(connection, run_id):
            return Refused("taken")
        # Read again: it may have been set while the lock was waited for.
        if _cancelled(connection, row["job_id"]):
            _insert(connection, run_id, Result("cancelled", 11, "cancelled before it began"), None, None)
            return Refused("cancelled")
        if row["attempts"] >= row["most_attempts"]:
            _insert(connection, run_id, _lost(connection, run_id), None, None)
            return Refused("lost")
        attempt = row["attempts"] + 1
        connection.execute(
            "UPDATE runs SET attempts = %s, tests = NULL, tests_ended = 0, note = NULL WHERE run_id = %s",
            [attempt, run_id],
        )
        made = connection.execute(
            """INSERT INTO claims (run_id, attempt, worker, lease, claimed_at, expires_at)
               SELECT %s, %s, %s, %s, now, now + %s FROM (SELECT clock_timestamp() AS now) AS clock
               RETURNING claim_id""",
            [run_id, attempt, worker, timedelta(seconds=lease_s), timedelta(seconds=lease_s)],
        ).fetchone()
        assert made is not None
        return Claim(
            made["claim_id"],
            run_id,
            row["job_id"],
            attempt,
            row["most_attempts"],
            row["suite"],
            row["sha256"],
            row["suite_path"],
            row["options"],
        )


@dataclass(frozen=True)
class Renewed:
    """What the database says to a sign of life."""

    held: bool
    """The claim lives on."""
    cancelled: bool
    """The job is to be cancelled."""


def renew(connection: Connection, claim_id: int) -> Renewed:
    """Give a claim its lease anew, also one that has run out and that nobody took over."""
    row = connection.execute(
        """UPDATE claims c SET expires_at = clock_timestamp() + c.lease
           FROM runs r JOIN jobs j USING (job_id)
           WHERE c.claim_id = %s AND c.ended_at IS NULL AND r.run_id = c.run_id
           RETURNING j.cancelled_at IS NOT NULL AS cancelled""",
        [claim_id],
    ).fetchone()
    return Renewed(False, False) if row is None else Renewed(True, bool(row["cancelled"]))


def finish(connection: Connection, claim: Claim, result: Result) -> bool:
    """Insert the result of a run and end the claim; False if another claim took over, or there is a result."""
    with connection.transaction():
        worker = _end(connection, claim, "finished", None)
        if worker is None:
            return False
        return _insert(connection, claim.run_id, result, worker, claim.attempt)


def give_back(connection: Connection, claim: Claim, why: str) -> bool:
    """End a claim without a result: the run is to be published again by `due`; or has no attempt left and is lost."""
    with connection.transaction():
        if _end(connection, claim, "given back", why) is None:
            return False
        connection.execute("UPDATE runs SET published_at = NULL, note = %s WHERE run_id = %s", [why, claim.run_id])
        if claim.attempt >= claim.most_attempts:
            _insert(connection, claim.run_id, _lost(connection, claim.run_id), None, None)
        return True


def cancel(connection: Connection, job_id: str) -> int:
    """Ask for a job to be cancelled. What no worker has claimed ends at once; returns how many runs go on yet."""
    connection.execute(
        "UPDATE jobs SET cancelled_at = coalesce(cancelled_at, clock_timestamp()) WHERE job_id = %s", [job_id]
    )
    going_on = 0
    for run in connection.execute("SELECT run_id FROM runs WHERE job_id = %s AND NOT ended", [job_id]).fetchall():
        with connection.transaction():
            row = connection.execute("SELECT ended FROM runs WHERE run_id = %s FOR UPDATE", [run["run_id"]]).fetchone()
            if row is None or row["ended"]:
                continue
            if _close_expired(connection, run["run_id"]):
                _insert(connection, run["run_id"], Result("cancelled", 11, "cancelled before it began"), None, None)
            else:
                going_on += 1
    return going_on


def expire(connection: Connection) -> int:
    """End the claims whose lease ran out, so that their runs are published again; returns how many."""
    ended = 0
    for row in connection.execute(
        "SELECT run_id FROM claims WHERE ended_at IS NULL AND expires_at <= clock_timestamp() LIMIT 1000"
    ).fetchall():
        with connection.transaction():
            run = connection.execute(
                """SELECT r.*, j.most_attempts FROM runs r JOIN jobs j USING (job_id)
                   WHERE run_id = %s FOR UPDATE OF r SKIP LOCKED""",
                [row["run_id"]],
            ).fetchone()
            if run is None or run["ended"] or not _close_expired(connection, row["run_id"]):
                continue
            ended += 1
            if _cancelled(connection, run["job_id"]):
                result = Result("cancelled", 11, "cancelled, and its worker was lost")
                _insert(connection, row["run_id"], result, None, None)
            elif run["attempts"] >= run["most_attempts"]:
                _insert(connection, row["run_id"], _lost(connection, row["run_id"]), None, None)
    return ended


def _close_expired(connection: Connection, run_id: str) -> bool:
    """End a claim whose lease ran out, with the row of the run locked; False if there is one that lives."""
    expired = connection.execute(
        """UPDATE claims SET ended_at = expires_at, how_ended = 'expired', why = 'its worker gave no sign of life'
           WHERE run_id = %s AND ended_at IS NULL AND expires_at <= clock_timestamp()""",
        [run_id],
    ).rowcount
    if expired:
        connection.execute("UPDATE runs SET published_at = NULL WHERE run_id = %s", [run_id])
        return True
    # A renewal that was waited for is decided now: either it was in time, or it finds the claim ended.
    row = connection.execute(
        "SELECT NOT EXISTS (SELECT FROM claims WHERE run_id = %s AND ended_at IS NULL) AS free", [run_id]
    ).fetchone()
    return row is not None and bool(row["free"])


def _end(connection: Connection, claim: Claim, how: str, why: str | None) -> str | None:
    """End a claim that is open; its worker, or None if it is not open."""
    row = connection.execute("SELECT ended FROM runs WHERE run_id = %s FOR UPDATE", [claim.run_id]).fetchone()
    if row is None or row["ended"]:
        return None
    ended = connection.execute(
        """UPDATE claims SET ended_at = clock_timestamp(), expires_at = greatest(expires_at, clock_timestamp()),
                  how_ended = %s, why = %s
           WHERE claim_id = %s AND ended_at IS NULL RETURNING worker""",
        [how, why, claim.claim_id],
    ).fetchone()
    return None if ended is None else str(ended["worker"])


def _insert(connection: Connection, run_id: str, result: Result, worker: str | None, attempt: int | None) -> bool:
    inserted = connection.execute(
        """INSERT INTO results (run_id, outcome, exit_code, message, worker, attempt, counts, not_passed, stored_as,
                                store, memsample_version, started_at)
           SELECT %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s,
                  (SELECT claimed_at FROM claims WHERE run_id = %s AND attempt = %s)
           ON CONFLICT (run_id) DO NOTHING RETURNING run_id""",
        [
            run_id,
            result.outcome,
            result.exit_code,
            result.message,
            worker,
            attempt,
            None if result.counts is None else Jsonb(result.counts),
            Jsonb(result.not_passed),
            result.stored_as,
            result.store,
            result.memsample_version,
            run_id,
            attempt,
        ],
    ).fetchone()
    connection.execute("UPDATE runs SET ended = true WHERE run_id = %s", [run_id])
    return inserted is not None


def _lost(connection: Connection, run_id: str) -> Result:
    rows = connection.execute(
        "SELECT attempt, worker, how_ended, why FROM claims WHERE run_id = %s ORDER BY attempt", [run_id]
    ).fetchall()
    told = "; ".join(f"{row['attempt']} on {row['worker']}: {row['why'] or row['how_ended']}" for row in rows)
    return Result("lost", 1, f"no attempt came to a result: {told}")


def _cancelled(connection: Connection, job_id: str) -> bool:
    row = connection.execute("SELECT cancelled_at FROM jobs WHERE job_id = %s", [job_id]).fetchone()
    return row is not None and row["cancelled_at"] is not None


def is_cancelled(connection: Connection, job_id: str) -> bool:
    """Whether a job was asked to be cancelled."""
    return _cancelled(connection, job_id)
