"""Many recordings as one set of tables."""

from __future__ import annotations

import glob as globbing
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar, overload

import pyarrow as pa

from . import peaks as _peaks
from .errors import MemsampleError, NotARecordingError, NotRecordedError, SeveralFailedError, accessing, of_system
from .info import RecordingInfo
from .recording import Recording, open_recording, recordings_table
from .table_set import RECORDING_TABLES, TableSet

_Opened = TypeVar("_Opened")
Pattern = str | os.PathLike[str]
"""A path, or a pattern such as `recordings/*`."""


class Recordings(TableSet, Sequence[Recording]):
    """Many recordings, opened by `memsample.open_many`: a sequence of them, and their tables as one.

    Keys of processes are those of one recording: group and join by `recording` and `process`.
    """

    def __init__(self, recordings: Sequence[Recording], skipped: dict[Path, MemsampleError]) -> None:
        """Takes the recordings, and why others were left out."""
        self._recordings = tuple(recordings)
        self.skipped = skipped
        """What was left out by `skip_failed`, and why."""

    def __repr__(self) -> str:
        """Says how many there are."""
        left_out = f", {len(self.skipped)} left out" if self.skipped else ""
        return f"<Recordings: {len(self)}{left_out}>"

    def __len__(self) -> int:
        """Returns how many recordings there are."""
        return len(self._recordings)

    @overload
    def __getitem__(self, index: int) -> Recording: ...
    @overload
    def __getitem__(self, index: slice) -> Recordings: ...
    def __getitem__(self, index: int | slice) -> Recording | Recordings:
        """Returns one recording, or some."""
        if isinstance(index, slice):
            return Recordings(self._recordings[index], self.skipped)
        return self._recordings[index]

    @property
    def info(self) -> list[RecordingInfo]:
        """What was recorded, where and when, of each."""
        return [recording.info for recording in self._recordings]

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of the tables of a recording."""
        return RECORDING_TABLES

    def _title(self) -> str:
        return f"{len(self)} recordings"

    def _files(self, table: str) -> tuple[list[Path], dict[str, str]]:
        files: list[Path] = []
        missing: dict[str, str] = {}
        for recording in self._recordings:
            of_this, missing_of_this = recording._files(table)
            files += of_this
            missing |= missing_of_this
        return files, missing

    def _recordings_table(self) -> pa.Table:
        return recordings_table(self.info)

    def roles(self) -> list[_peaks.LargestSum]:
        """Returns what `Recording.roles` returns, of each recording in turn; `recording` says of which."""
        return [peak for recording in self._recordings for peak in recording.roles()]

    def tests(self) -> list[_peaks.LargestSum]:
        """Returns what `Recording.tests` returns, of each recording in turn; `recording` says of which."""
        return [peak for recording in self._recordings for peak in recording.tests()]

    def sums(self, by: str | Sequence[str] = "machine") -> pa.Table:
        """Returns what `Recording.sums` returns, of each recording in turn."""
        return _concatenated(recording.sums(by) for recording in self._recordings)

    def resample(self, every: str = "1s", by: str | Sequence[str] = "process") -> pa.Table:
        """Returns what `Recording.resample` returns, of each recording in turn."""
        return _concatenated(recording.resample(every, by) for recording in self._recordings)

    def pss_sums(self, by: str | Sequence[str] = "machine") -> pa.Table:
        """Returns what `Recording.pss_sums` returns, of each recording in turn."""
        return _concatenated(recording.pss_sums(by) for recording in self._recordings)


def open_many(*patterns: Pattern, skip_failed: bool = False) -> Recordings:
    """Opens the recordings that patterns such as `recordings/*` name, in the order of their begin.

    A recording that several paths lead to, as `recordings/latest` does, is opened once. What is no directory is
    passed over. Raises SeveralFailedError, which names each that cannot be opened, unless `skip_failed`: then
    `Recordings.skipped` has them. Raises NotARecordingError where nothing is left.
    """
    opened, failed = open_each(patterns, open_recording, "recording.json", skip_failed)
    by_id: dict[str, Recording] = {}
    for recording in opened:
        by_id.setdefault(recording.info.id, recording)
    return Recordings(sorted(by_id.values(), key=lambda recording: recording.info.started), failed)


def open_each(
    patterns: Iterable[Pattern], opened: Callable[[Path], _Opened], file: str, skip_failed: bool
) -> tuple[list[_Opened], dict[Path, MemsampleError]]:
    """Opens what patterns name, each place once; a path that is named without a pattern must be there."""
    paths: dict[Path, Path] = {}
    failed: dict[Path, MemsampleError] = {}
    for pattern in patterns:
        text = os.fspath(pattern)
        # A place of this name is meant by it, as where the paths of `Path.iterdir` are given.
        is_pattern = globbing.has_magic(text) and not os.path.lexists(text)
        for path in map(Path, sorted(globbing.glob(text, recursive=True)) if is_pattern else [text]):
            if path.name == file:
                path = path.parent
            try:
                with accessing(path):
                    if not is_pattern or stat.S_ISDIR(path.stat().st_mode):
                        paths.setdefault(Path(os.path.realpath(path)), path)
            except MemsampleError as error:
                failed[path] = error
        if is_pattern:
            # A pattern finds nothing where it may not look.
            failed |= {path: of_system(path, PermissionError()) for path in _hidden(text)}
    found = len(paths) + len(failed)
    results: list[_Opened] = []
    for resolved, path in paths.items():
        try:
            # A link such as `latest` is named by what it leads to.
            results.append(opened(resolved if os.path.islink(path) else path))
        except MemsampleError as error:
            failed[path] = error
    if failed and not skip_failed:
        raise SeveralFailedError(failed, found)
    if not results:
        shown = ", ".join(f"`{os.fspath(pattern)}`" for pattern in patterns)
        raise NotARecordingError(f"nothing to open matches {shown}")
    return results, failed


def _hidden(pattern: str) -> list[Path]:
    """Returns the directories in which a pattern has to look and this user may not."""
    parts = Path(pattern).parts
    hidden: list[Path] = []
    for place, part in enumerate(parts):
        within = os.path.join("", *parts[:place]) or "."
        if globbing.has_magic(part):
            rights = os.R_OK | os.X_OK
        elif globbing.has_magic(within):
            rights = os.X_OK
        else:
            continue
        found = globbing.glob(within, recursive=True) if globbing.has_magic(within) else [within]
        hidden += [Path(directory) for directory in found if _is_hidden(directory, rights)]
    return hidden


def _is_hidden(directory: str, rights: int) -> bool:
    try:
        is_directory = stat.S_ISDIR(os.stat(directory).st_mode)
    except OSError as error:
        return isinstance(error, PermissionError)
    return is_directory and not os.access(directory, rights, effective_ids=os.access in os.supports_effective_ids)


def _concatenated(tables: Iterable[pa.Table]) -> pa.Table:
    parts = list(tables)
    if not parts:
        raise NotRecordedError("there are no recordings")
    return pa.concat_tables(parts)
