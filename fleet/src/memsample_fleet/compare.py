"""A staged comparison in the fleet: both suites in turns on one worker, more repeats of suspects, and a verdict.

Memory differs between machines, so that all runs of a comparison are those of one worker. What is worse or suspect
is said by `memsample compare`, and by nothing here.
"""

import contextlib
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memsample_fleet import archive, broker, jobs, labels, submit, suite, text, toml_file
from memsample_fleet import wait as waiting
from memsample_fleet.config import Config
from memsample_fleet.database import connect
from memsample_fleet.errors import FleetError
from memsample_fleet.execution import environment

STAGES = 3
"""The most looks: after the third, `memsample compare` leaves nothing suspect."""

SUSPECTS = ".memsample-fleet-suspects.json"
"""Name of the file beside a suite that says what is run again."""


@dataclass(frozen=True)
class Asked:
    """What is to be compared, and how."""

    base: Path
    head: Path
    labels: tuple[str, ...]
    repeat: int = 5
    priority: int = 4
    options: tuple[str, ...] = ()
    """Further options of `memsample run`."""
    json: bool = False
    html: Path | None = None
    hidden: bool = False
    """Send what is hidden."""
    unchecked: bool = False
    """Send suites that the memsample of this machine has not read."""


class Comparison:
    """A comparison that goes on. Its jobs are cancelled if it is interrupted."""

    def __init__(self, config: Config, asked: Asked, directory: Path) -> None:
        """Prepare; runs are brought into the directory."""
        self._config, self._asked, self._directory = config, asked, directory
        self._program = config.program()
        self._runs: dict[str, list[Path]] = {"base": [], "head": []}
        self._going_on: list[str] = []

    def run(self) -> int:
        """Run all stages; returns the exit code of the last `memsample compare`: 0, 20 (worse) or 21 (suspect)."""
        _check_names(self._asked.base, self._asked.head)
        packed = self._pack({})
        for each in packed.values():
            for line in suite.remarks(each):
                text.err(line)
        worker = self._choose()
        suspects = self._directory / "suspects.json"
        for stage in range(1, STAGES + 1):
            if stage > 1:
                packed = self._pack({SUSPECTS: suspects.read_bytes()})
            self._stage(stage, worker, packed)
            final = self._compare(["--suspects", str(suspects)])
            if final.returncode != 21 or stage == STAGES:
                break
            text.err(f"look {stage}: some tests are suspect, and are run again")
        if final.returncode not in (0, 20, 21):
            raise FleetError(f"memsample compare failed: {final.stderr.strip().removeprefix('error: ')}")
        html = [] if self._asked.html is None else ["--html", str(self._asked.html)]
        shown = self._compare([*(["--json"] if self._asked.json else []), *html]) if html or self._asked.json else final
        text.out(shown.stdout.rstrip("\n"))
        if shown.stderr.strip():
            text.err(shown.stderr.rstrip("\n"))
        return final.returncode

    def cancel(self) -> None:
        """Cancel what goes on."""
        for job_id in self._going_on:
            waiting.cancel(self._config, job_id)

    def _choose(self) -> str:
        """Return the worker: an idle one if there is one."""
        with connect(self._config) as connection:
            there = [row for row in jobs.workers(connection) if row["state"] in ("idle", "busy")]
        fit = [row for row in there if labels.matches(self._asked.labels, row["worker"], row["labels"])]
        if not fit:
            raise FleetError("no worker that is there has the labels: see memsample-fleet workers")
        return str(min(fit, key=lambda row: (row["state"] != "idle", row["worker"]))["worker"])

    def _pack(self, beside: dict[str, bytes]) -> dict[str, archive.Archive]:
        asked = self._asked
        return {
            side: suite.pack(self._config, path, asked.options, beside, asked.hidden, not asked.unchecked)
            for side, path in (("base", asked.base), ("head", asked.head))
        }

    def _stage(self, stage: int, worker: str, packed: dict[str, archive.Archive]) -> None:
        """Run both suites; after the first look only what is suspect, once more."""
        options = [*self._asked.options, *(("--suspects", SUSPECTS) if stage > 1 else ())]
        repeat = self._asked.repeat if stage == 1 else 1
        with connect(self._config) as connection, broker.Publisher(broker.application(self._config)) as publisher:
            made = {}
            for side, path in (("base", self._asked.base), ("head", self._asked.head)):
                wanted = jobs.Wanted(
                    f"{side}-{submit.name_of(path)}",
                    (f"@{worker}",),
                    repeat,
                    self._asked.priority,
                    tuple([*options, "--label", f"fleet_side={side}"]),
                )
                made[side] = jobs.insert(connection, packed[side], wanted)
                self._going_on.append(made[side])
            submit.publish(connection, publisher, *made.values())
        text.err(f"look {stage}: {made['base']} and {made['head']} in turns on {worker}")
        runs = waiting.wait(self._config, *made.values())
        for side, job_id in made.items():
            self._fetch(side, [run for run in runs if run["job_id"] == job_id])
        self._going_on.clear()

    def _fetch(self, side: str, runs: list[dict[str, Any]]) -> None:
        for run in runs:
            if run["outcome"] not in ("passed", "failed"):
                raise FleetError(f"{run['run_id']} was {run['outcome']}, and cannot be compared: {run['message']}")
            if run["stored_as"] is None:
                raise FleetError(f"{run['run_id']} is in no store: its worker needs a `store` that is read here")
            self._runs[side].append(bring(self._program, run, self._directory))

    def _compare(self, options: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        return verdicts(self._program, self._runs, options)


def _check_names(base: Path, head: Path) -> None:
    """Refuse suites that have no test in common, since a test is named after its suite, before they are run."""
    names = []
    for path in (base, head):
        # What is wrong with it is said by `memsample run`.
        with contextlib.suppress(FleetError):
            names.append(toml_file.read(path)[1].get("name"))
    if len(names) == 2 and None not in names and names[0] != names[1]:
        raise FleetError(
            f"{base} and {head} are no versions of one suite: their `name` is `{names[0]}` and `{names[1]}`"
        )


def bring(program: str, run: dict[str, Any], directory: Path) -> Path:
    """Bring a run from its store below a directory; returns where it is."""
    pulled = subprocess.run(
        [program, "pull", str(run["store"]), str(run["stored_as"]), "--out", str(directory)],
        env=environment(), capture_output=True, text=True,
    )  # fmt: skip
    if pulled.returncode != 0:
        raise FleetError(f"cannot bring {run['stored_as']} here: {pulled.stderr.strip().removeprefix('error: ')}")
    return directory / str(run["stored_as"]).rsplit("-", 1)[0]


def verdicts(program: str, runs: dict[str, list[Path]], options: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    """Let `memsample compare` compare runs of `base` and `head`."""
    sides = [part for side, paths in runs.items() for part in (f"--{side}", *map(str, paths))]
    return subprocess.run([program, "compare", *sides, *options], env=environment(), capture_output=True, text=True)


def compare(config: Config, asked: Asked) -> int:
    """Compare two suites; returns the exit code."""
    with tempfile.TemporaryDirectory(prefix="memsample-fleet-") as directory:
        comparison = Comparison(config, asked, Path(directory))
        try:
            return comparison.run()
        except BaseException:
            comparison.cancel()
            raise
