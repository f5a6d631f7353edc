"""Jobs: submitting them, publishing their runs, and what became of them."""

import getpass
import platform
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memsample_fleet import labels as label_names
from memsample_fleet.archive import Archive
from memsample_fleet.database import Connection
from memsample_fleet.errors import FleetError

if TYPE_CHECKING:
    # Celery is a third of the time that a command takes which only asks the database.
    from memsample_fleet.broker import Publisher

HIGHEST_PRIORITY = 9
"""Of jobs, and of their messages."""

_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"

MOST_RUNS = 1000
"""The most runs of one job."""


@dataclass(frozen=True)
class Wanted:
    """What is asked for."""

    suite: str
    """Name for people, of which the id of the job is made."""
    labels: tuple[str, ...] = ()
    repeat: int = 1
    priority: int = 4
    options: tuple[str, ...] = ()
    """Further options of `memsample run`."""
    most_attempts: int = 3
    part_of: tuple[int, int] | None = None
    """The release that it is part of, and which part."""
    image: tuple[str, str] | None = None
    """SHA-256 and file name of the image that a device must have."""


def insert(connection: Connection, archive: Archive, wanted: Wanted) -> str:
    """Write a job and its runs; returns its id. It is published by `publish`, or else by a worker."""
    if not 1 <= wanted.repeat <= MOST_RUNS:
        raise FleetError(f"a job may have 1 to {MOST_RUNS} runs, not {wanted.repeat}")
    if not 0 <= wanted.priority <= HIGHEST_PRIORITY:
        raise FleetError(f"a priority is 0 (last) to {HIGHEST_PRIORITY} (first), not {wanted.priority}")
    labels = label_names.normalize(wanted.labels)
    stem = re.sub(r"[^a-z0-9]+", "-", wanted.suite.lower()).strip("-")[:40] or "suite"
    job_id = f"{stem}-{''.join(secrets.choice(_ALPHABET) for _ in range(8))}"
    # Sent only if the database does not have it, or has it damaged: all jobs of this content would be refused for ever.
    if not connection.execute(
        "SELECT FROM archives WHERE sha256 = %s AND encode(sha256(data), 'hex') = sha256", [archive.sha256]
    ).fetchone():
        connection.execute(
            """INSERT INTO archives (sha256, data) VALUES (%s, %b)
               ON CONFLICT (sha256) DO UPDATE SET data = excluded.data""",
            [archive.sha256, archive.data],
        )
    connection.execute(
        """WITH job AS (
               INSERT INTO jobs (job_id, suite, sha256, suite_path, labels, queue, priority, options, most_attempts,
                                 submitted_by, release_id, part, image_sha256, image)
               VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING job_id)
           INSERT INTO runs (run_id, job_id, number)
           SELECT job_id || '.' || number, job_id, number FROM job, generate_series(1, %s) AS number""",
        [
            job_id,
            wanted.suite,
            archive.sha256,
            archive.suite,
            list(labels),
            label_names.queue_of(labels),
            wanted.priority,
            list(wanted.options),
            wanted.most_attempts,
            f"{_user()}@{platform.node()}",
            *(wanted.part_of or (None, None)),
            *(wanted.image or (None, None)),
            wanted.repeat,
        ],
    )
    return job_id


def publish(connection: Connection, publisher: "Publisher", *job_ids: str) -> None:
    """Publish the runs of jobs that were just inserted: first the first run of each, and so on."""
    _publish(connection, publisher, "AND job_id = ANY(%s)", [list(job_ids)], interleaved=True)


def publish_due(connection: Connection, publisher: "Publisher") -> int:
    """Publish the runs that no message is known of: their claim ended without a result, or who submitted them was
    lost in between, or a more urgent run was taken instead. They have waited, and so come before their equals. Returns
    how many."""
    return _publish(
        connection,
        publisher,
        f"""AND {_UNCLAIMED}
           AND (attempts > 0 OR submitted_at < clock_timestamp() - interval '10 s')""",
        [],
        before_equals=True,
    )


def _publish(
    connection: Connection,
    publisher: "Publisher",
    which: str,
    values: list[Any],
    interleaved: bool = False,
    before_equals: bool = False,
) -> int:
    with connection.transaction():
        # Nothing is marked as published if the broker does not confirm all of them.
        rows = connection.execute(
            f"""UPDATE runs SET published_at = clock_timestamp() FROM jobs j
                WHERE run_id IN (SELECT run_id FROM runs JOIN jobs USING (job_id)
                                 WHERE NOT ended AND published_at IS NULL {which}
                                 ORDER BY submitted_at, number LIMIT {MOST_RUNS} FOR UPDATE OF runs SKIP LOCKED)
                  AND j.job_id = runs.job_id
                RETURNING run_id, number, queue, priority, submitted_at""",
            values,
        ).fetchall()
        for row in sorted(rows, key=lambda row: (interleaved * row["number"], row["submitted_at"], row["number"])):
            publisher.publish(row["run_id"], row["queue"], row["priority"] + before_equals)
    return len(rows)


_UNCLAIMED = """NOT ended
    AND NOT EXISTS (SELECT FROM claims c WHERE c.run_id = runs.run_id AND c.ended_at IS NULL)"""

_MORE_URGENT_MOST = 10


def more_urgent(connection: Connection, run_id: str, worker: str, labels: Sequence[str]) -> list[str]:
    """Return the runs that wait for a worker such as this and are more urgent than a run, the most urgent first.

    A broker orders the messages of one queue only, and a worker takes many.
    """
    rows = connection.execute(
        f"""SELECT run_id FROM runs JOIN jobs USING (job_id)
            WHERE {_UNCLAIMED} AND cancelled_at IS NULL AND attempts < most_attempts
              AND (labels <@ %s OR labels = %s)
              AND priority > (SELECT priority FROM runs JOIN jobs USING (job_id) WHERE run_id = %s)
            ORDER BY priority DESC, submitted_at, number LIMIT {_MORE_URGENT_MOST}""",
        [list(labels), [f"@{worker}"], run_id],
    ).fetchall()
    return [row["run_id"] for row in rows]


def need_message(connection: Connection, run_id: str) -> None:
    """Say that the message of a run was used for another one: a worker publishes it again, if it still waits."""
    connection.execute(f"UPDATE runs SET published_at = NULL WHERE run_id = %s AND {_UNCLAIMED}", [run_id])


def is_due(connection: Connection, after_s: float) -> bool:
    """Whether a run waits that has no message, or has had one for longer than `after_s` seconds."""
    row = connection.execute(
        f"""SELECT EXISTS (SELECT FROM runs WHERE {_UNCLAIMED} AND
                (published_at IS NULL OR published_at < clock_timestamp() - %s * interval '1 s')) AS due""",
        [after_s],
    ).fetchone()
    return row is not None and bool(row["due"])


def publish_missing(connection: Connection, publisher: "Publisher", after_s: float) -> int:
    """Find runs whose message the broker has lost: they wait, and their queue has been seen empty. They become due."""
    waiting = f"published_at < clock_timestamp() - %s * interval '1 s' AND {_UNCLAIMED}"
    found = 0
    for row in connection.execute(
        f"SELECT DISTINCT queue FROM runs JOIN jobs USING (job_id) WHERE {waiting}",
        [after_s],
    ).fetchall():
        if not publisher.waiting(row["queue"]):
            found += connection.execute(
                f"""UPDATE runs SET published_at = NULL FROM jobs j
                    WHERE j.job_id = runs.job_id AND j.queue = %s AND {waiting}""",
                [row["queue"], after_s],
            ).rowcount
    return found


RUNS = """
SELECT r.run_id, r.job_id, r.number, r.attempts, r.tests, r.tests_ended, r.note, j.suite, j.labels, j.priority,
       j.submitted_at, j.submitted_by, j.most_attempts, x.outcome, x.exit_code, x.message, x.counts, x.not_passed,
       x.stored_as, x.store, x.memsample_version, x.finished_at,
       coalesce(x.worker, c.worker) AS worker, coalesce(x.attempt, r.attempts) AS attempt,
       coalesce(x.started_at, c.claimed_at) AS started_at,
       extract(epoch FROM coalesce(x.finished_at, clock_timestamp()) - coalesce(x.started_at, c.claimed_at))::float8
           AS duration_s,
       extract(epoch FROM clock_timestamp() - j.submitted_at)::float8 AS age_s,
       CASE WHEN r.ended THEN 'ended'
            WHEN c.claim_id IS NOT NULL AND c.expires_at <= clock_timestamp() THEN 'silent'
            WHEN c.claim_id IS NOT NULL AND j.cancelled_at IS NOT NULL THEN 'cancelling'
            WHEN c.claim_id IS NOT NULL THEN 'running'
            ELSE 'waiting' END AS state
FROM runs r JOIN jobs j USING (job_id) LEFT JOIN results x USING (run_id)
     LEFT JOIN claims c ON c.run_id = r.run_id AND c.ended_at IS NULL
"""
"""Every run with its state: `waiting`, `running`, `cancelling`, `silent` (its worker gives no sign of life) or
`ended`."""


def runs(connection: Connection, job_ids: Iterable[str]) -> list[dict[str, Any]]:
    """Return the runs of jobs, in order; an id that does not exist is an error."""
    wanted = list(job_ids)
    rows = connection.execute(
        RUNS + " WHERE r.job_id = ANY(%s) OR r.run_id = ANY(%s) ORDER BY j.submitted_at, r.job_id, r.number",
        [wanted, wanted],
    ).fetchall()
    there = {row["job_id"] for row in rows} | {row["run_id"] for row in rows}
    for job_id in wanted:
        if job_id not in there:
            raise FleetError(f"there is no job or run `{job_id}`: see memsample-fleet status")
    return rows


_WORST_FIRST = (1, 4, 5, 2, 12, 13, 11, 10)


def exit_code(codes: Sequence[int]) -> int:
    """Return the exit code of several runs: that of the worst. What kept a run from a verdict is worse than a bad
    verdict."""
    for code in _WORST_FIRST:
        if code in codes:
            return code
    return next((code for code in codes if code != 0), 0)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def latest(connection: Connection, most: int) -> list[dict[str, Any]]:
    """Return the latest jobs, and as many that have not ended, newest first, with their states as words such as
    `3 passed, 1 running`."""
    found = connection.execute(
        """SELECT job_id, suite, labels, priority, submitted_by, submitted_at,
                  extract(epoch FROM clock_timestamp() - submitted_at)::float8 AS age_s
           FROM jobs WHERE job_id IN (
               (SELECT job_id FROM jobs ORDER BY submitted_at DESC LIMIT %(most)s)
               UNION (SELECT DISTINCT job_id FROM runs WHERE NOT ended LIMIT %(most)s))
           ORDER BY submitted_at DESC""",
        {"most": most},
    ).fetchall()
    counted = connection.execute(
        f"""SELECT job_id, coalesce(outcome, state) AS state, count(*) AS count FROM ({RUNS}) AS all_runs
            WHERE job_id = ANY(%s) GROUP BY 1, 2 ORDER BY 3 DESC, 2""",
        [[job["job_id"] for job in found]],
    ).fetchall()
    states: dict[str, list[str]] = {}
    for row in counted:
        states.setdefault(row["job_id"], []).append(f"{row['count']} {row['state']}")
    return [{**job, "state": ", ".join(states.get(job["job_id"], []))} for job in found]


def log_lines(connection: Connection, run_id: str, after: tuple[int, int]) -> list[dict[str, Any]]:
    """Return the lines of a run after a line of an attempt."""
    return connection.execute(
        """SELECT attempt, line, text FROM log_lines WHERE run_id = %s AND (attempt, line) > (%s, %s)
           ORDER BY attempt, line""",
        [run_id, *after],
    ).fetchall()


NOT_THERE = ("gone", "left", "aside", "recovering")
"""States of workers that take no runs, nor will soon."""


def workers(connection: Connection, gone_after_s: float = 30.0) -> list[dict[str, Any]]:
    """Return the workers with their state: `idle`, `busy`, `left` (ended in order) or `gone` (said nothing). A device
    that a worker serves is one too; while it has no worker of its name it is `checking`, `provisioning`,
    `recovering` or `aside`, and what is known of workers only may be None."""
    return connection.execute(
        """SELECT coalesce(w.worker, d.device) AS worker, coalesce(w.host, d.host) AS host, w.boot,
                  coalesce(w.labels, d.labels) AS labels, w.fleet_version, w.memsample_version, w.clock_off_s,
                  w.clock_error_s, w.free_bytes, w.started_at, seen.seen_at, w.left_at,
                  CASE WHEN there THEN w.note WHEN d.state IN ('aside', 'recovering') THEN 'put aside: ' || d.why
                       ELSE w.note END AS note,
                  c.run_id, extract(epoch FROM clock_timestamp() - seen.seen_at)::float8 AS seen_s,
                  CASE WHEN there AND d.state = 'aside' THEN 'aside'
                       WHEN there AND c.run_id IS NOT NULL THEN 'busy'
                       WHEN there THEN 'idle'
                       WHEN is_served AND d.state <> 'ready' THEN d.state
                       WHEN w.left_at IS NOT NULL THEN 'left'
                       ELSE 'gone' END AS state
           FROM workers w FULL JOIN devices d ON d.device = w.worker
                CROSS JOIN LATERAL (SELECT %(gone_after_s)s * interval '1 s' AS gone_after) g
                CROSS JOIN LATERAL (SELECT coalesce(w.left_at IS NULL AND w.seen_at >= clock_timestamp() - gone_after,
                                                    false) AS there,
                                           coalesce(d.seen_at >= clock_timestamp() - gone_after, false) AS is_served,
                                           greatest(w.seen_at, d.seen_at) AS seen_at) AS seen
                LEFT JOIN LATERAL (SELECT run_id FROM claims WHERE worker = w.worker AND ended_at IS NULL
                                   ORDER BY claim_id DESC LIMIT 1) AS c ON true
           WHERE seen.seen_at > clock_timestamp() - interval '30 days' ORDER BY 1""",
        {"gone_after_s": gone_after_s},
    ).fetchall()


def devices(connection: Connection, gone_after_s: float = 30.0) -> list[dict[str, Any]]:
    """Return the devices with their state; `gone` if the worker that serves them said nothing."""
    return connection.execute(
        """SELECT device, kind, address, labels, host, why, image, image_sha256, failed_sha256, checked_at, since,
                  seen_at, extract(epoch FROM clock_timestamp() - since)::float8 AS since_s,
                  CASE WHEN seen_at < clock_timestamp() - %s * interval '1 s' THEN 'gone' ELSE state END AS state
           FROM devices WHERE seen_at > clock_timestamp() - interval '30 days' ORDER BY device""",
        [gone_after_s],
    ).fetchall()
