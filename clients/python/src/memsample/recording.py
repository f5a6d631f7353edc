"""One recording: what was recorded, its tables, and answers computed from them."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
import time
import warnings
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from . import peaks as _peaks
from . import program as _program
from . import pss as _pss
from . import sums as _sums
from .errors import NotARecordingError, NoteWarning, NotRecordedError, UnclosedRecordingError, accessing, of_system
from .info import RecordingInfo, info_of
from .json_file import read_fields
from .parquet_files import absolute, table_files
from .table_set import RECORDING_TABLES, TableSet

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_NOT_FINAL = "still being written, so that no peak is final: this is its state"


class Recording(TableSet):
    """One recording, opened by `memsample.open`."""

    def __init__(self, info: RecordingInfo, directory: Path, *, is_copy: bool = False) -> None:
        """Takes what `open_recording` has found. A copy is removed when it is not used any more."""
        self._info = info
        self._directory = directory
        if is_copy:
            weakref.finalize(self, shutil.rmtree, directory, ignore_errors=True)

    def __repr__(self) -> str:
        """Says what was recorded when, in one line."""
        info = self._info
        return (
            f"<Recording {info.name}: {info.totals.samples} samples of {info.totals.processes} process images "
            f"in {info.totals.ticks} ticks from {info.started:%Y-%m-%d %H:%M:%S} UTC, {info.state}>"
        )

    @property
    def info(self) -> RecordingInfo:
        """What was recorded, where, when and how, and what was lost (`recording.json`)."""
        return self._info

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of the tables of a recording."""
        return RECORDING_TABLES

    def _title(self) -> str:
        return f"recording {self._info.name}"

    def _files(self, table: str) -> tuple[list[Path], dict[str, str]]:
        settings = self._info.settings
        if table == "exits" and not settings.exits:
            why = "it is an import" if self._info.imported else "no right to ask, or within a container"
            return [], {str(self._info.path): f"the kernel was not asked for exits ({why})"}
        if table == "cgroups" and settings.cgroup_interval_ms is None:
            return [], {str(self._info.path): "control groups were not read"}
        files = table_files(self._directory, table)
        return files, {} if files else {str(self._info.path): "its file is missing"}

    def _recordings_table(self) -> pa.Table:
        return recordings_table([self._info])

    def roles(self) -> list[_peaks.LargestSum]:
        """Returns for each role the largest resident set of all its processes together, largest first, in bytes.

        A role is what a process does: a script, a crate that is compiled, a program. The numbers are lower
        bounds, the same as `lower_bytes` of `memsample peaks --by role`; `peaks("role")` has the upper ones.
        While the recording is being written they are not final: a NoteWarning and `note` say so.
        """
        images = _peaks.images_of(self.processes)
        return self._noted(_peaks.largest_sums(self._info.id, self.samples, images, "role"))

    def tests(self) -> list[_peaks.LargestSum]:
        """Returns for each test the largest resident set of all its processes together, largest first, in bytes.

        A test that ran several times has one row, the largest of its attempts; `memsample.open_run` has each.
        A test that was only marked has a row without numbers, last, whose `note` says how to get them.
        While the recording is being written they are not final, as those of `roles`.
        """
        images = _peaks.images_of(self.processes)
        found = _peaks.largest_sums(self._info.id, self.samples, images, "test")
        known = {peak.name for peak in found}
        marks = self.to_arrow("marks", ["test"], pc.field("kind") == "begin")["test"]
        marked = sorted({name for name in marks.to_pylist() if name is not None} - known)
        return self._noted(found + [_peaks.of_marks_alone(self._info.id, name) for name in marked])

    def peaks(self, by: str = "process", top: int = 20) -> list[_program.Peak]:
        """Returns the `top` largest peaks of processes, roles or tests with lower and upper bound, in bytes.

        Runs the program `memsample peaks`, which alone computes upper bounds. `by` is `process`, `role` or `test`.
        What the program notes is a NoteWarning. While the recording is being written no peak is final, as `note`
        says, and the program reads the files as they are now, not the copy that the tables and `roles` are of.
        """
        return _program.peaks(self._info.path, by, top)

    def sums(self, by: str | Sequence[str] = "machine") -> pa.Table:
        """Adds up `rss_bytes`, `anon_bytes` and `swap_bytes` of each group at each tick.

        `by` is `machine`, `role`, `test`, `comm` or `process`, or several of these. Of a test those processes
        count that `memsample peaks` counts. Pages that processes share count once for each of them. A sum is
        null where it lacks a process. A tick at which a group has no process has no row.
        """
        keys = _sums.keys_of(by)
        return self._identified(_sums.tick_sums(self.samples, keys, tests=self._process_tests(keys)))

    def resample(self, every: str = "1s", by: str | Sequence[str] = "process") -> pa.Table:
        """Returns a row for each group and span of time such as `1s`, which keeps the peaks.

        `ts` is the begin of the span; `rss_max_bytes`, `rss_min_bytes` and `rss_mean_bytes` are the largest,
        smallest and mean of its ticks, and `ticks` is how many there were. Those of `anon` and `swap` are of
        `anon_ticks` and `swap_ticks` of them, at which they are known of all processes: at 0 they are null, and
        where they are fewer than `ticks` they may lack the largest. Sums of a group are added up tick by tick
        first, so that its largest is one that was: the sum of the largest values of processes would be too
        large. `by` is as in `sums`.
        """
        keys = _sums.keys_of(by)
        every_ms = _sums.milliseconds_of(every)
        return self._identified(_sums.resampled(self.samples, every_ms, keys, self._process_tests(keys)))

    def pss(self, process: int | None = None, role: str | None = None) -> pa.Table:
        """Returns a row for each sample with the last known PSS and USS of its process, and their age.

        Reading PSS costs sixty times as much as RSS, so `pss_bytes` is null at most ticks. `pss_last_bytes` and
        `uss_last_bytes` are the values read last, `pss_age_ms` how long ago that was, in milliseconds; all are
        null before the first reading. Source: `smaps_rollup`. `process` or `role` limits what is read.
        Raises NotRecordedError where PSS was not read at all.
        """
        settings = self._info.settings
        if settings.pss_interval_ms is None and not settings.pss_budget:
            raise NotRecordedError(f"{self._title()} has no PSS: it was recorded without")
        where = None
        if process is not None:
            where = pc.field("process") == process
        if role is not None:
            of_role = pc.field("role") == role
            where = of_role if where is None else where & of_role
        return _pss.carried_forward(self.samples, where)

    def pss_sums(self, by: str | Sequence[str] = "machine") -> pa.Table:
        """Adds up the last known PSS and USS of each group at each tick, in bytes.

        `unknown_processes` is how many processes were not read since they began, `unknown_rss_bytes` their
        resident set: the true PSS may be up to that much larger, and otherwise as processes changed since they
        were read. `oldest_ms` is the age of the oldest value. A sum of which nothing is known is null. `by` is as
        in `sums`; tests are those of `samples.test`.
        """
        keys = _sums.keys_of(by)
        if "comm" in keys:
            raise NotRecordedError("PSS is not summed by comm: use machine, process, role or test")
        carried = self.pss()
        if "test" in keys:
            carried = carried.filter(pc.is_valid(carried["test"]))
        return self._identified(_pss.pss_sums(carried, keys))

    def plot(self, by: str = "role", top: int = 8, ax: Axes | None = None) -> Axes:
        """Draws the resident memory over time, stacked by role, test or comm, with tests and OOM kills.

        Of each span of a picture the tick is shown at which all together were largest, so no peak is lost.
        The `top` groups with the largest peaks have a colour, the others are one. Needs the extra `plot`.
        """
        from . import plots

        return plots.stacked(self, by, top, ax)

    def plot_process(self, process: int, ax: Axes | None = None) -> Axes:
        """Draws one process image over time: its kinds of memory, its high-water mark and PSS where it was read.

        `process` is the key of `processes`. Needs the extra `plot`.
        """
        from . import plots

        return plots.one_process(self, process, ax)

    def plot_pss(self, by: str = "role", top: int = 8, ax: Axes | None = None) -> Axes:
        """Draws the last known PSS over time, stacked, with the resident memory of what is not known on top.

        Needs the extra `plot`.
        """
        from . import plots

        return plots.stacked_pss(self, by, top, ax)

    def _process_tests(self, keys: Sequence[str]) -> pa.Table | None:
        return _peaks.process_tests(_peaks.images_of(self.processes)) if "test" in keys else None

    def _noted(self, peaks: list[_peaks.LargestSum]) -> list[_peaks.LargestSum]:
        """Says of peaks that they are not final, where the recording is a copy of one that is being written."""
        if self._info.state != "recording":
            return peaks
        note = _NOT_FINAL
        if self._info.last_tick is not None:
            note += f" as of {self._info.last_tick:%Y-%m-%d %H:%M:%S} UTC"
        warnings.warn(f"{self._title()}: {note}", NoteWarning, stacklevel=3)
        return [replace(peak, note=note if peak.note is None else f"{note}; {peak.note}") for peak in peaks]

    def _identified(self, table: pa.Table) -> pa.Table:
        ids = pa.repeat(pa.scalar(self._info.id), len(table))
        return table.add_column(0, "recording", ids)


def recordings_table(infos: Sequence[RecordingInfo]) -> pa.Table:
    """Returns a row for each recording: what it is, and what it lost."""
    return pa.table(
        {
            "recording": pa.array([info.id for info in infos], pa.string()),
            "name": pa.array([info.name for info in infos], pa.string()),
            "path": pa.array([str(info.path) for info in infos], pa.string()),
            "started": pa.array([info.started for info in infos], pa.timestamp("us", "UTC")),
            "state": pa.array([info.state for info in infos], pa.string()),
            "end_reason": pa.array([info.end for info in infos], pa.string()),
            "hostname": pa.array([info.machine.hostname for info in infos], pa.string()),
            "kernel": pa.array([info.machine.kernel for info in infos], pa.string()),
            "interval_ms": pa.array([info.settings.interval_ms for info in infos], pa.int64()),
            "late": pa.array([info.totals.late for info in infos], pa.int64()),
            "missed": pa.array([info.totals.missed for info in infos], pa.int64()),
            "dropped": pa.array([info.totals.dropped for info in infos], pa.int64()),
        }
    )


def open_recording(path: str | os.PathLike[str], *, live: bool = False) -> Recording:
    """Opens a recording: its directory, or that of a run that has one.

    One that is still being written is refused, since its files change while they are read; with `live` a copy
    of what has been written so far is opened, at most thirty seconds old.

    Raises NotARecordingError, UnclosedRecordingError, UnsupportedFormatError, NoAccessError or DamagedError.
    """
    with accessing(Path(path)):
        return _opened(absolute(_directory_of(Path(path))), live)


def _opened(directory: Path, live: bool) -> Recording:
    info = _read_info(directory)
    if info.state != "recording":
        return Recording(info, directory)
    if not _is_written(directory):
        raise UnclosedRecordingError(
            f"`{directory}` was not closed: its recorder died or another user has it; put it together with "
            f"`memsample recover {directory}`"
        )
    if not live:
        raise UnclosedRecordingError(
            f"`{directory}` is still being written: wait for its end, or open a copy of what there is with live=True"
        )
    return _copied(directory)


def _directory_of(path: Path) -> Path:
    if (path / "recording.json").exists():
        return path
    if path.is_file():
        if path.name == "recording.json":
            return path.parent
        if _is_capture(path):
            raise NotARecordingError(
                f"`{path}` is a tar, such as smemcap writes: make a recording of it with `memsample import {path}`"
            )
        raise NotARecordingError(f"`{path}` is a file: give the directory of the recording")
    if not path.exists():
        raise NotARecordingError(f"`{path}` does not exist")
    if (path / "results.json").exists() or (path / "progress.jsonl").exists():
        # A pattern would leave out what may not be read.
        parts = sorted(part for part in path.glob("recording*") if (part / "recording.json").exists())
        if len(parts) == 1:
            return parts[0]
        raise NotARecordingError(
            f"`{path}` is a run with {len(parts)} recordings: open it with memsample.open_run, or one of "
            + (", ".join(part.name for part in parts) or "none, since it was not recorded")
        )
    if not any(path.iterdir()):
        raise NotARecordingError(f"`{path}` is an empty directory, not a recording")
    within = next(path.glob("*/recording.json"), None)
    hint = f"; memsample.open_many('{path}/*') opens those in it" if within else ""
    raise NotARecordingError(f"`{path}` is not a recording: it has no recording.json{hint}")


def _is_capture(path: Path) -> bool:
    try:
        return tarfile.is_tarfile(path)
    except OSError:
        return False


def _read_info(directory: Path) -> RecordingInfo:
    try:
        return info_of(directory, read_fields(directory / "recording.json"))
    except FileNotFoundError:
        raise NotARecordingError(f"`{directory}` is not a recording: it has no recording.json") from None


def _is_written(directory: Path) -> bool:
    """Returns whether a recorder holds the lock of its journal."""
    try:
        import fcntl
    except ImportError:
        return False  # not Linux: no recorder runs here
    try:
        descriptor = os.open(directory / "journal" / "lock", os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def _copied(directory: Path) -> Recording:
    """Copies the Parquet files as they are now, until all are of one state.

    Each is replaced as a whole while it is recorded, one after another, so that a copy may be made in between.
    """
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        info = _read_info(directory)
        try:
            recording = Recording(info, Path(tempfile.mkdtemp(prefix="memsample-")), is_copy=True)
            for path in sorted(directory.glob("*.parquet")):
                shutil.copyfile(path, recording._directory / path.name)
        except OSError as error:
            raise of_system(directory, error) from error
        recording._info = _read_info(directory)
        if recording.info.state != "recording":
            return Recording(recording.info, directory)  # it was closed meanwhile
        if _fits_together(recording):
            return recording
        # The first files appear a second after the start.
        time.sleep(0.1)
    raise UnclosedRecordingError(f"`{directory}` is still being written, and its tables do not fit together yet")


def _fits_together(recording: Recording) -> bool:
    """Returns whether the last tick of the samples is in `ticks`, and their processes in `processes`."""
    try:
        last = recording.sums("machine")["ts"]
        ticks = recording.to_arrow("ticks", ["ts", "processes_read", "dropped"])
        sampled = pc.unique(recording.to_arrow("samples", ["process"])["process"])
        known = recording.to_arrow("processes", ["process"])["process"]
        recording.files("marks")
    except NotRecordedError:
        return False
    # The last tick may have no sample: where what is recorded has no process now, or samples were dropped.
    written = pc.and_(pc.greater(ticks["processes_read"], 0), pc.equal(pc.fill_null(ticks["dropped"], 0), 0))
    expected = pc.max(ticks.filter(written)["ts"]).as_py()
    sampled_until, until = pc.max(last).as_py(), pc.max(ticks["ts"]).as_py()
    if expected is not None and (sampled_until is None or sampled_until < expected):
        return False
    whole = sampled_until is None or (until is not None and sampled_until <= until)
    return whole and bool(pc.all(pc.is_in(sampled, known), min_count=0).as_py())
