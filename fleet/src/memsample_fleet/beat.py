"""The beat: begins releases when they are due, judges them, and calls their hooks.

What was begun is a row of the database, one for each release and time: a beat that is started anew, or a second one,
begins nothing twice, and what was due meanwhile is begun late or told as missed.
"""

import collections
import contextlib
import os
import signal
import subprocess
import threading
import time
from datetime import datetime, timedelta
from typing import Any

import psycopg

from memsample_fleet import archive, broker, claims, jobs, submit, text
from memsample_fleet.config import Config
from memsample_fleet.database import Connection, connect, reason
from memsample_fleet.errors import FleetError
from memsample_fleet.execution import environment
from memsample_fleet.releases import Release

_TICK_S = 0.5
_OUTPUT_KEPT = 2000


class Beat:
    """Begins and judges releases until it is stopped."""

    def __init__(self, config: Config, releases: list[Release]) -> None:
        """Prepare."""
        self._config = config
        self._releases = {release.name: release for release in releases}
        self._app = broker.application(config)
        self._connection: Connection | None = None

    def keep(self) -> None:
        """Go on for ever; a database or a broker that is away is waited for."""
        told = ""
        while True:
            try:
                self._connection = self._connection or connect(self._config)
                self.tick(self._connection)
                told = ""
            except (psycopg.Error, FleetError, *broker.Unreachable) as error:
                if (why := reason(error)) != told:
                    text.err(f"beat: {why}")
                    told = why
                if self._connection is not None:
                    self._connection.close()
                self._connection = None
            time.sleep(_TICK_S)

    def tick(self, connection: Connection) -> None:
        """Begin what is due, submit what of it is not yet, and judge what has ended."""
        for release in self._releases.values():
            self._begin(connection, release)
        self._submit(connection)
        self._judge(connection)
        self._promote(connection)

    def _begin(self, connection: Connection, release: Release) -> None:
        connection.execute("INSERT INTO schedules (name) VALUES (%s) ON CONFLICT DO NOTHING", [release.name])
        row = connection.execute(
            """SELECT clock_timestamp() AS now, coalesce(
                   (SELECT max(due_at) FROM releases WHERE name = %s), (SELECT since FROM schedules WHERE name = %s)
               ) AS after""",
            [release.name, release.name],
        ).fetchone()
        assert row is not None
        now: datetime = row["now"]
        # What is older than that is missed one and all, and told once.
        after = max(row["after"], now - max(release.late, timedelta(days=1)))
        for due in release.between(after, now):
            late = now - due > release.late
            made = connection.execute(
                """INSERT INTO releases (name, due_at, give_up_at, parts, verdict, ended_at, message)
                   VALUES (%s, %s, clock_timestamp() + %s, %s, %s, %s, %s)
                   ON CONFLICT DO NOTHING RETURNING 1 AS made""",
                [
                    release.name,
                    due,
                    release.patience,
                    len(release.parts),
                    "missed" if late else None,
                    now if late else None,
                    f"found {text.duration((now - due).total_seconds())} late" if late else None,
                ],
            ).fetchone()
            if made is not None:
                text.err(f"{release.name} of {due:%Y-%m-%d %H:%M:%S}: {'missed' if late else 'begun'}")

    def _submit(self, connection: Connection) -> None:
        for row in connection.execute(
            """SELECT release_id, name, due_at, parts FROM releases
               WHERE verdict IS NULL AND parts > (SELECT count(*) FROM jobs WHERE jobs.release_id = releases.release_id)
               ORDER BY due_at"""
        ).fetchall():
            release = self._releases.get(row["name"])
            if release is None or len(release.parts) != row["parts"]:
                continue
            made = []
            for number, part in enumerate(release.parts):
                try:
                    wanted = jobs.Wanted(
                        submit.name_of(part.suite), part.on, part.repeat, release.priority,
                        ("--label", f"release={release.name}-{row['due_at']:%Y%m%dT%H%M%SZ}"),
                        part_of=(row["release_id"], number),
                    )  # fmt: skip
                    made.append(jobs.insert(connection, archive.pack(part.suite), wanted))
                except psycopg.errors.UniqueViolation:
                    # Another beat was faster, or this one before it was started anew.
                    continue
                except FleetError as error:
                    _end(connection, row["release_id"], "failed", f"{part.suite}: {error}")
                    break
            if made:
                with broker.Publisher(self._app) as publisher:
                    submit.publish(connection, publisher, *made)

    def _judge(self, connection: Connection) -> None:
        for row in connection.execute(
            "SELECT *, clock_timestamp() > give_up_at AS over FROM releases WHERE verdict IS NULL ORDER BY due_at"
        ).fetchall():
            runs = connection.execute(
                f"SELECT * FROM ({jobs.RUNS} WHERE j.release_id = %s) AS all_runs ORDER BY run_id", [row["release_id"]]
            ).fetchall()
            told = {run["job_id"] for run in runs}
            open_runs = [run for run in runs if run["state"] != "ended"]
            if len(told) == row["parts"] and not open_runs:
                bad = [f"{run['run_id']} {run['outcome']}" for run in runs if run["exit_code"] != 0]
                _end(connection, row["release_id"], "failed" if bad else "passed", ", ".join(bad) or None)
            elif row["over"]:
                # First the verdict: what is cancelled by it must not be judged.
                missing = [
                    f"{run['run_id']} {run['state']} for {' '.join(run['labels']) or 'any worker'}" for run in open_runs
                ]
                if _end(connection, row["release_id"], "incomplete", ", ".join(missing) or "not all was submitted"):
                    for job_id in told:
                        claims.cancel(connection, job_id)

    def _promote(self, connection: Connection) -> None:
        for name, release in self._releases.items():
            if not release.hook:
                continue
            for row in connection.execute(
                """UPDATE releases SET hook_begun_at = clock_timestamp()
                   WHERE name = %s AND verdict = 'passed' AND hook_begun_at IS NULL RETURNING *""",
                [name],
            ).fetchall():
                threading.Thread(target=self._call, args=[release, row], daemon=True).start()

    def _call(self, release: Release, row: dict[str, Any]) -> None:
        """Call a hook, once: if the beat is killed meanwhile, its end is not known and told as such."""
        code, said = _hook(release, row)
        text.err(f"{release.name} of {row['due_at']:%Y-%m-%d %H:%M:%S}: hook ended with exit code {code}")
        for _ in range(60):
            try:
                with connect(self._config, check=False) as connection:
                    connection.execute(
                        "UPDATE releases SET hook_exit = %s, hook_said = %s WHERE release_id = %s",
                        [code, said, row["release_id"]],
                    )
                return
            except (FleetError, psycopg.Error):
                time.sleep(1)


def _end(connection: Connection, release_id: int, verdict: str, message: str | None) -> bool:
    ended = connection.execute(
        """UPDATE releases SET verdict = %s, message = %s, ended_at = clock_timestamp()
           WHERE release_id = %s AND verdict IS NULL RETURNING name, due_at""",
        [verdict, message, release_id],
    ).fetchone()
    if ended is not None:
        because = f": {message}" if message else ""
        text.err(f"{ended['name']} of {ended['due_at']:%Y-%m-%d %H:%M:%S}: {verdict}{because}")
    return ended is not None


def _hook(release: Release, row: dict[str, Any]) -> tuple[int, str]:
    about = {
        "RELEASE": release.name,
        "RELEASE_DUE": row["due_at"].isoformat(),
        "RELEASE_LABEL": f"{release.name}-{row['due_at']:%Y%m%dT%H%M%SZ}",
        "VERDICT": row["verdict"],
    }
    try:
        process = subprocess.Popen(
            release.hook, cwd=release.directory, env=environment() | about, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    except OSError as error:
        return 127, f"cannot execute {release.hook[0]}: {error.strerror}"
    kept: collections.deque[int] = collections.deque(maxlen=_OUTPUT_KEPT)

    def read() -> None:
        assert process.stdout is not None
        while chunk := process.stdout.read1(65536):  # type: ignore[attr-defined]
            kept.extend(chunk[-_OUTPUT_KEPT:])

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    late = ""
    try:
        code = process.wait(release.hook_timeout.total_seconds())
    except subprocess.TimeoutExpired:
        late = f" [killed after {text.duration(release.hook_timeout.total_seconds())}]"
        code = -signal.SIGKILL
    # Whatever it started and left.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    reader.join(5)
    said = bytes(kept).decode(errors="replace").replace("\0", "\ufffd") + late
    return (code if code >= 0 else 128 - code), said
