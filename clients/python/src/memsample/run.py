"""A run of a suite by `memsample run`: its results, its recordings, and the tables of both."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

import pyarrow as pa

from .errors import MemsampleError, NotARecordingError, NotInRunError, NotRecordedError, NotRecordedWarning, accessing
from .json_file import read_fields
from .many import Pattern, Recordings, open_each
from .parquet_files import absolute, table_files
from .recording import Recording, open_recording
from .results import RunInfo, Test, results_of
from .table_set import RECORDING_TABLES, TableSet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RUN_TABLES = ("tests", "test_roles")
"""The tables that `memsample run` writes beside `results.json`."""


class Run(TableSet):
    """The results of one run, opened by `memsample.open_run`.

    Its tables are `tests` (a row for each attempt), `test_roles` (one for each role of an attempt), and those of
    its recordings.
    """

    def __init__(self, info: RunInfo, tests: tuple[Test, ...]) -> None:
        """Takes what `open_run` has read."""
        self._info = info
        self._tests = tests
        self._recordings: Recordings | None = None

    def __repr__(self) -> str:
        """Says what was run and how it ended, in one line."""
        started = "" if self._info.started is None else f" on {self._info.started:%Y-%m-%d %H:%M} UTC"
        return f"<Run of {self._info.suite}{started}: {len(self._tests)} tests, {self._info.outcome}>"

    @property
    def info(self) -> RunInfo:
        """Where, when and how the suite was run, and its outcome."""
        return self._info

    @property
    def tests(self) -> tuple[Test, ...]:
        """The tests in the order of the suite, each with its attempts and their memory."""
        return self._tests

    def test(self, name: str) -> Test:
        """Returns the test of a name. Raises NotInRunError, a KeyError, which names the tests that there are."""
        for test in self._tests:
            if test.name == name:
                return test
        known = ", ".join(test.name for test in self._tests) or "none"
        raise NotInRunError(f"no test `{name}`; there are {known}")

    @property
    def recordings(self) -> Recordings:
        """Its recordings: one, and one more for each time that the run was resumed."""
        if self._recordings is None:
            opened: list[Recording] = [open_recording(self._info.path / part) for part in self._info.recordings]
            self._recordings = Recordings(opened, {})
        return self._recordings

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of the tables of a run and of its recordings."""
        return (*RUN_TABLES, *RECORDING_TABLES)

    def _title(self) -> str:
        return f"run `{self._info.path}`"

    def _files(self, table: str) -> tuple[list[Path], dict[str, str]]:
        if table not in RUN_TABLES:
            return self.recordings._files(table)
        files = table_files(self._info.path, table)
        return files, {} if files else {str(self._info.path): f"it has no {table}.parquet"}

    def _recordings_table(self) -> pa.Table:
        return self.recordings._recordings_table()

    def plot(self, top: int = 20, ax: Axes | None = None) -> Axes:
        """Draws the `top` largest tests: the peak of each attempt between its bounds, and PSS where it is known.

        Needs the extra `plot`.
        """
        from . import plots

        return plots.tests_of_run(self, top, ax)


class Runs(TableSet, Sequence[Run]):
    """Many runs, opened by `memsample.open_runs`: a sequence of them, and their tables as one."""

    _of = "runs"

    def __init__(self, runs: Sequence[Run], skipped: dict[Path, MemsampleError]) -> None:
        """Takes the runs, and why others were left out."""
        self._runs = tuple(runs)
        self.skipped = skipped
        """What was left out by `skip_failed`, and why."""

    def __repr__(self) -> str:
        """Says how many there are."""
        left_out = f", {len(self.skipped)} left out" if self.skipped else ""
        return f"<Runs: {len(self)}{left_out}>"

    def __len__(self) -> int:
        """Returns how many runs there are."""
        return len(self._runs)

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> Runs: ...
    def __getitem__(self, index: int | slice) -> Run | Runs:
        """Returns one run, or some."""
        if isinstance(index, slice):
            return Runs(self._runs[index], self.skipped)
        return self._runs[index]

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of the tables of a run and of its recordings."""
        return (*RUN_TABLES, *RECORDING_TABLES)

    def _title(self) -> str:
        return f"{len(self)} runs"

    def _files(self, table: str) -> tuple[list[Path], dict[str, str]]:
        files: list[Path] = []
        missing: dict[str, str] = {}
        for run in self._runs:
            try:
                of_this, missing_of_this = run._files(table)
            except NotARecordingError as error:
                # Recordings are removed before results are.
                of_this, missing_of_this = [], {str(run.info.path): str(error)}
            files += of_this
            missing |= missing_of_this
        return files, missing

    def _recordings_table(self) -> pa.Table:
        tables: list[pa.Table] = []
        gone: list[NotARecordingError] = []
        for run in self._runs:
            try:
                tables.append(run._recordings_table())
            except NotARecordingError as error:
                gone.append(error)
        if not tables:
            raise gone[0] if gone else NotRecordedError("there are no runs")
        if gone:
            warnings.warn(
                f"the recordings of {len(gone)} runs are gone and left out: {gone[0]}", NotRecordedWarning, stacklevel=5
            )
        return pa.concat_tables(tables)


def open_run(path: str | os.PathLike[str]) -> Run:
    """Opens the results of a run: its directory, or its `results.json`.

    Raises NotARecordingError, UnsupportedFormatError or DamagedError.
    """
    directory = Path(path)
    with accessing(directory):
        return _opened_run(absolute(directory))


def _opened_run(directory: Path) -> Run:
    if directory.name == "results.json":
        directory = directory.parent
    try:
        results = read_fields(directory / "results.json")
    except FileNotFoundError:
        if (directory / "progress.jsonl").exists():
            why = f"has no results yet: it is running, or was ended; `memsample run --resume {directory}` completes it"
        elif (directory / "recording.json").exists():
            why = "is a recording: open it with memsample.open"
        else:
            why = "is no run: it has no results.json" if directory.exists() else "does not exist"
        raise NotARecordingError(f"`{directory}` {why}") from None
    return Run(*results_of(directory, results))


def open_runs(*patterns: Pattern, skip_failed: bool = False) -> Runs:
    """Opens the runs that patterns such as `runs/*` name, in the order of their begin; each once.

    Raises as `memsample.open_many` does.
    """
    opened, failed = open_each(patterns, open_run, "results.json", skip_failed)
    # Those without a begin come first: nothing was started.
    opened.sort(key=lambda run: (run.info.started is not None, run.info.started, str(run.info.path)))
    return Runs(opened, failed)
