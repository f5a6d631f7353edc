"""The beat: begins releases when they are due, judges them, and calls their hooks.

What was begun is a row of the database, one for each release and time: a beat that is started anew, or a second one,
begins nothing twice, and what was due meanwhile is begun late or told as missed.
"""

import threading
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from memsample_fleet import archive, broker, claims, hook, jobs, submit, suite, text
from memsample_fleet.config import Config
from memsample_fleet.database import Connection, connect, reason
from memsample_fleet.errors import FleetError
from memsample_fleet.images import Image, Look, Watcher
from memsample_fleet.last_good import Comparisons, label
from memsample_fleet.releases import Part, Release

_TICK_S = 0.5


class Beat:
    """Begins and judges releases until it is stopped."""

    def __init__(self, config: Config, releases: list[Release]) -> None:
        """Prepare."""
        self._config = config
        self._releases = {release.name: release for release in releases}
        self._app = broker.application(config)
        self._connection: Connection | None = None
        self._watcher = Watcher(release.on_image for release in releases if release.on_image is not None)
        self._trouble: dict[str, tuple[str, ...]] = {}
        self._comparisons = Comparisons(config, self._app)

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
            if release.every is not None or release.cron is not None:
                self._begin(connection, release)
            if release.on_image is not None and (look := self._watcher.latest(release.on_image)) is not None:
                self._tell_trouble(release.name, look)
                if look.readable:
                    self._begin_with_images(connection, release, look)
        self._submit(connection)
        self._judge(connection)
        self._promote(connection)

    def _begin(self, connection: Connection, release: Release) -> None:
        connection.execute("INSERT INTO schedules (name) VALUES (%s) ON CONFLICT DO NOTHING", [release.name])
        row = connection.execute(
            """SELECT clock_timestamp() AS now, coalesce(
                   (SELECT max(due_at) FROM releases WHERE name = %s AND image_sha256 IS NULL),
                   (SELECT since FROM schedules WHERE name = %s)
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
                """INSERT INTO releases (name, due_at, give_up_at, parts, verdict, ended_at, message, compare,
                                         compare_options)
                   VALUES (%s, %s, clock_timestamp() + %s, %s, %s, %s, %s, %s, %s)
                   ON CONFLICT DO NOTHING RETURNING 1 AS made""",
                [
                    release.name,
                    due,
                    release.patience,
                    len(release.parts),
                    "missed" if late else None,
                    now if late else None,
                    f"found {text.duration((now - due).total_seconds())} late" if late else None,
                    release.compare,
                    list(release.compare_options),
                ],
            ).fetchone()
            if made is not None:
                text.err(f"{release.name} of {due:%Y-%m-%d %H:%M:%S}: {'missed' if late else 'begun'}")

    def _tell_trouble(self, name: str, look: Look) -> None:
        if self._trouble.get(name, ()) != look.trouble:
            self._trouble[name] = look.trouble
            for line in look.trouble:
                text.err(f"{name}: {line}")

    def _begin_with_images(self, connection: Connection, release: Release, look: Look) -> None:
        files = [[file.name, file.bytes, file.modified_ns] for file in look.files]
        connection.execute(
            """INSERT INTO schedules (name, there) VALUES (%s, %s)
               ON CONFLICT (name) DO UPDATE SET there = excluded.there WHERE schedules.there IS NULL""",
            [release.name, Jsonb(files)],
        )
        row = connection.execute(
            """SELECT there, ARRAY(SELECT sha256 FROM known_images WHERE name = %s) AS known
               FROM schedules WHERE name = %s""",
            [release.name, release.name],
        ).fetchone()
        assert row is not None
        there, known = {tuple(file) for file in row["there"]}, set(row["known"])
        new = [image for image in look.images if image.sha256 not in known]
        # First what was there before, so that a copy of it is none that is new.
        for image in sorted(new, key=lambda image: not _was_there(image, there)):
            with connection.transaction():
                begun = connection.execute(
                    """INSERT INTO known_images (name, sha256) VALUES (%s, %s)
                       ON CONFLICT DO NOTHING RETURNING 1 AS made""",
                    [release.name, image.sha256],
                ).fetchone()
                if begun is None or _was_there(image, there):
                    continue
                # Releases are told apart by their second.
                connection.execute(
                    """INSERT INTO releases (name, due_at, give_up_at, parts, image, image_sha256, compare,
                                             compare_options)
                       SELECT %s, greatest(date_trunc('second', clock_timestamp()), max(due_at) + interval '1 s'),
                              clock_timestamp() + %s, %s, %s, %s, %s, %s FROM releases WHERE name = %s""",
                    [
                        release.name,
                        release.patience,
                        len(release.parts),
                        str(image.path),
                        image.sha256,
                        release.compare,
                        list(release.compare_options),
                        release.name,
                    ],
                )
            text.err(f"{release.name}: begun with {image.path.name} ({image.sha256[:12]})")

    def _submit(self, connection: Connection) -> None:
        for row in connection.execute(
            """SELECT * FROM releases
               WHERE verdict IS NULL AND parts > (SELECT count(*) FROM jobs WHERE jobs.release_id = releases.release_id)
               ORDER BY due_at"""
        ).fetchall():
            release = self._releases.get(row["name"])
            if release is None or len(release.parts) != row["parts"]:
                continue
            made = []
            for number, part in enumerate(release.parts):
                labels = ["--label", f"release={label(release.name, row['due_at'])}"]
                if row["image"] is not None:
                    labels += ["--label", f"image={Path(row['image']).name}"]
                    labels += ["--label", f"image_sha256={row['image_sha256']}"]
                try:
                    wanted = jobs.Wanted(
                        submit.name_of(part.suite), part.on, part.repeat, release.priority,
                        tuple(labels),
                        part_of=(row["release_id"], number),
                        image=None if row["image"] is None else (row["image_sha256"], Path(row["image"]).name),
                    )  # fmt: skip
                    made.append(jobs.insert(connection, self._pack(part), wanted))
                except psycopg.errors.UniqueViolation:
                    # Another beat was faster, or this one before it was started anew.
                    continue
                except FleetError as error:
                    _end(connection, row["release_id"], "failed", f"{part.suite}: {error}")
                    break
            if made:
                with broker.Publisher(self._app) as publisher:
                    submit.publish(connection, publisher, *made)

    def _pack(self, part: Part) -> archive.Archive:
        # The memsample of the workers judges it: that of this machine may be older, and a release would fail by it.
        packed = suite.pack(self._config, part.suite, hidden=part.hidden, checked=False)
        for line in suite.remarks(packed):
            text.err(f"{part.suite}: {line}")
        return packed

    def _judge(self, connection: Connection) -> None:
        for row in connection.execute(
            "SELECT *, clock_timestamp() > give_up_at AS over FROM releases WHERE verdict IS NULL ORDER BY due_at"
        ).fetchall():
            runs = connection.execute(
                f"SELECT * FROM ({jobs.RUNS} WHERE j.release_id = %s) AS all_runs ORDER BY run_id", [row["release_id"]]
            ).fetchall()
            told = {run["job_id"] for run in runs}
            open_runs = [run for run in runs if run["state"] != "ended"]
            if len(told) >= row["parts"] and not open_runs:
                bad = [f"{run['run_id']} {run['outcome']}" for run in runs if run["exit_code"] != 0]
                if bad or row["compare"] is None:
                    _end(connection, row["release_id"], "failed" if bad else "passed", ", ".join(bad) or None)
                elif (judgement := self._comparisons.judge(row)) is not None:
                    _end(connection, row["release_id"], judgement.verdict, judgement.said)
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
        timeout_s = release.hook_timeout.total_seconds()
        code, said = hook.call(release.hook, release.directory, _about(release, row), timeout_s)
        last = f": {text.printable(said, 300)}" if code != 0 and said.strip() else ""
        text.err(f"{release.name} of {row['due_at']:%Y-%m-%d %H:%M:%S}: hook ended with exit code {code}{last}")
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


def _was_there(image: Image, there: set[tuple[Any, ...]]) -> bool:
    return (image.file.name, image.file.bytes, image.file.modified_ns) in there


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


def _about(release: Release, row: dict[str, Any]) -> dict[str, str]:
    """Return what the hook of a release is told."""
    image = {} if row["image"] is None else {"IMAGE": row["image"], "SHA256": row["image_sha256"]}
    return {
        "RELEASE": release.name,
        "RELEASE_DUE": row["due_at"].isoformat(),
        "RELEASE_LABEL": label(release.name, row["due_at"]),
        "VERDICT": row["verdict"],
        **image,
    }
