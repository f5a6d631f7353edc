"""The comparison of a release with the last one of its name that passed, as part of its verdict.

What is worse or suspect is said by `memsample compare`, and by nothing here. What could not be compared is no pass.
"""

import json
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psycopg

from memsample_fleet import archive, broker, jobs, submit, text
from memsample_fleet.compare import SUSPECTS, bring, verdicts
from memsample_fleet.config import Config
from memsample_fleet.database import Connection, connect
from memsample_fleet.errors import FleetError

_AGAIN_AFTER_S = 20.0
"""How long a store that does not answer is left alone."""
_NAMED_MOST = 5


class NotComparableError(FleetError):
    """They cannot be compared, whatever is tried."""


class Judgement:
    """What a comparison came to: a verdict, and what is said of it."""

    def __init__(self, verdict: str, said: str) -> None:
        """Keep them."""
        self.verdict, self.said = verdict, said


class Comparisons:
    """Comparisons, one at a time in a thread of its own, since they bring runs from a store."""

    def __init__(self, config: Config, app: Any) -> None:
        """Prepare."""
        self._config, self._app = config, app
        self._thread: threading.Thread | None = None
        self._ready: dict[int, Judgement] = {}
        self._failed: dict[int, tuple[str, float]] = {}
        self._about: int | None = None

    def judge(self, release: dict[str, Any]) -> Judgement | None:
        """Return the judgement on a release whose runs have passed; None as long as there is none."""
        release_id = release["release_id"]
        if (ready := self._ready.pop(release_id, None)) is not None:
            return ready
        if self._thread is not None and self._thread.is_alive():
            return None
        why, failed_at = self._failed.get(release_id, ("", float("-inf")))
        if release["over"]:
            return Judgement("incomplete", f"not compared: {why or 'there was no time left for it'}")
        if time.monotonic() - failed_at < _AGAIN_AFTER_S:
            return None
        self._thread = threading.Thread(target=self._compare, args=[release], name="comparison", daemon=True)
        self._thread.start()
        return None

    def _compare(self, release: dict[str, Any]) -> None:
        release_id = release["release_id"]
        try:
            with connect(self._config) as connection, tempfile.TemporaryDirectory(prefix="memsample-fleet-") as made:
                judgement = _Comparison(self._config, self._app, connection, release, Path(made)).judgement()
            if judgement is not None:
                self._ready[release_id] = judgement
        except NotComparableError as error:
            self._ready[release_id] = Judgement("incomplete", f"not compared: {error}")
        except (FleetError, psycopg.Error, OSError, *broker.Unreachable) as error:
            why = " ".join(str(error).split())
            if self._failed.get(release_id, ("", 0.0))[0] != why:
                text.err(f"{release['name']}: its comparison is tried again: {why}")
            self._failed[release_id] = (why, time.monotonic())


class _Comparison:
    def __init__(
        self, config: Config, app: Any, connection: Connection, release: dict[str, Any], directory: Path
    ) -> None:
        self._config, self._app, self._connection = config, app, connection
        self._release, self._directory = release, directory
        self._program = config.program()

    def judgement(self) -> Judgement | None:
        """Compare; None if further runs were submitted."""
        base = self._connection.execute(
            """SELECT release_id, due_at, parts FROM releases
               WHERE name = %s AND verdict = 'passed' AND due_at < %s ORDER BY due_at DESC LIMIT 1""",
            [self._release["name"], self._release["due_at"]],
        ).fetchone()
        if base is None:
            return Judgement("passed", "there is none to compare with")
        base_label = label(self._release["name"], base["due_at"])
        before = self._jobs(base["release_id"], base["parts"])
        mine = self._jobs(self._release["release_id"], None)
        parts = self._release["parts"]
        again_done = any(job["part"] >= parts for job in mine)
        rows: list[tuple[str, dict[str, Any]]] = []
        new, submitted = [], False
        for job in [job for job in mine if job["part"] < parts]:
            base_jobs = [old for old in before if _alike(old, job)]
            if not base_jobs:
                new.append(job["suite"])
                continue
            # Behind the parts come pairs of what was run again: of the base, and of this release.
            offset = parts + 2 * job["part"]
            base_jobs += [other for other in mine if other["part"] == offset]
            heads = [job, *(other for other in mine if other["part"] == offset + 1)]
            compared, suspects = self._look(job["part"], base_jobs, heads)
            rows += [(job["suite"], row) for row in compared["comparisons"]]
            if suspects is not None and self._release["compare"] == "again" and not again_done:
                self._again(job, base_jobs[0], base_label, offset, suspects)
                submitted = True
        if submitted:
            return None
        return _judged(base_label, rows, new)

    def _jobs(self, release_id: int, parts: int | None) -> list[dict[str, Any]]:
        return self._connection.execute(
            """SELECT job_id, suite, labels, part, sha256, suite_path, options, priority FROM jobs
               WHERE release_id = %s AND (%s::integer IS NULL OR part < %s) ORDER BY part""",
            [release_id, parts, parts],
        ).fetchall()

    def _look(
        self, part: int, base: list[dict[str, Any]], head: list[dict[str, Any]]
    ) -> tuple[dict[str, Any], bytes | None]:
        """Return what `memsample compare` says of a part, and its file of suspects if there are some."""
        sides: dict[str, list[Path]] = {}
        for side, side_jobs in (("base", base), ("head", head)):
            directory = self._directory / f"{part}-{side}"
            sides[side] = []
            for run in jobs.runs(self._connection, [job["job_id"] for job in side_jobs]):
                if run["stored_as"] is None:
                    raise NotComparableError(
                        f"{run['run_id']} is in no store: its worker needs a `store` that is read here"
                    )
                sides[side].append(bring(self._program, run, directory))
        suspects = self._directory / f"{part}.json"
        options = ["--json", "--suspects", str(suspects), *self._release["compare_options"]]
        told = verdicts(self._program, sides, options)
        if told.returncode not in (0, 20, 21):
            raise NotComparableError(" ".join(told.stderr.split()).removeprefix("error: ")[:1000])
        compared = json.loads(told.stdout)
        # By its exit code, which heeds `--fail-on`.
        compared["comparisons"] = [
            {**row, "counted": told.returncode == 20 and row["verdict"] == "worse"} for row in compared["comparisons"]
        ]
        return compared, suspects.read_bytes() if told.returncode == 21 else None

    def _again(self, job: dict[str, Any], base: dict[str, Any], base_label: str, offset: int, suspects: bytes) -> None:
        """Submit what is suspect once more, of both sides in turns; another beat may have done so."""
        made = []
        head_label = label(self._release["name"], self._release["due_at"])
        for number, (side, old, which) in enumerate((("base", base, base_label), ("head", job, head_label))):
            wanted = jobs.Wanted(
                f"{side}-{job['suite']}", tuple(job["labels"]), 1, job["priority"],
                ("--suspects", SUSPECTS, "--label", f"release={which}", "--label", f"fleet_side={side}"),
                part_of=(self._release["release_id"], offset + number),
            )  # fmt: skip
            row = self._connection.execute("SELECT data FROM archives WHERE sha256 = %s", [old["sha256"]]).fetchone()
            if row is None:
                raise NotComparableError(f"the suite of {old['job_id']} is not kept any more")
            unpacked = self._directory / f"{offset}-{side}"
            archive.unpack(bytes(row["data"]), old["sha256"], unpacked)
            try:
                packed = archive.pack(unpacked / old["suite_path"], {SUSPECTS: suspects}, hidden=True)
                made.append(jobs.insert(self._connection, packed, wanted))
            except psycopg.errors.UniqueViolation:
                continue
        if made:
            text.err(f"{head_label}: some tests of {job['suite']} are suspect, and are run again")
            with broker.Publisher(self._app) as publisher:
                submit.publish(self._connection, publisher, *made)


def label(name: str, due_at: Any) -> str:
    """Return the label `release` of the runs of a release."""
    return f"{name}-{due_at:%Y%m%dT%H%M%SZ}"


def _alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(one["suite"] == other["suite"] and one["labels"] == other["labels"])


def _judged(base_label: str, rows: list[tuple[str, dict[str, Any]]], new: list[str]) -> Judgement:
    worse = [(suite, row) for suite, row in rows if row["counted"]]
    if worse:
        names = [
            f"{suite}: {row['test']}"
            + ("" if row.get("change_percent") is None else f" {row['change_percent']:+.1f} %")
            for suite, row in worse
        ]
        more = f" and {len(names) - _NAMED_MOST} more" if len(names) > _NAMED_MOST else ""
        return Judgement("failed", f"worse than {base_label}: {', '.join(names[:_NAMED_MOST])}{more}")
    said = [f"compared with {base_label}"]
    for verdict, told in (("suspect", "suspect"), ("cannot_tell", "cannot be told")):
        if count := sum(row["verdict"] == verdict for _, row in rows):
            said.append(f"{count} of {text.counted(len(rows), 'test')} {told}")
    if new:
        said.append(f"nothing there of {', '.join(new)}")
    return Judgement("passed", "; ".join(said))
