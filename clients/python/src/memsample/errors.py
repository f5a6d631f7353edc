"""What can be wrong with a recording or a run: each error is a class, and its message says what to do."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


class MemsampleError(Exception):
    """The base of all errors of this package."""


class NotARecordingError(MemsampleError):
    """The path is not a recording, and not a run."""


class UnclosedRecordingError(MemsampleError):
    """The recording is still being written, or its recorder died and nobody recovered it."""


class UnsupportedFormatError(MemsampleError):
    """The files have a format that this version of the package does not read."""


class DamagedError(MemsampleError):
    """A file of a recording or a run cannot be read or understood."""


class NoAccessError(MemsampleError):
    """This user may not read the file or the directory."""


class QueryError(MemsampleError):
    """A query or a filter cannot be answered: it has a mistake, or names what there is not."""


class NotInRunError(MemsampleError, KeyError):
    """The run has no test of this name."""

    # That of KeyError quotes the message.
    __str__ = Exception.__str__


class NotRecordedError(MemsampleError):
    """What was asked for was not measured, which is not the same as zero."""


class MissingExtraError(MemsampleError):
    """An optional package is not installed."""


class ProgramError(MemsampleError):
    """The program `memsample` is not installed, or could not answer."""


class SeveralFailedError(MemsampleError):
    """Some of the paths could not be opened: `failed` says why, path by path."""

    def __init__(self, failed: dict[Path, MemsampleError], found: int) -> None:
        """Tells the first five of `failed`, of `found` paths."""
        shown = [f"  {error}" for error in list(failed.values())[:5]]
        if len(failed) > len(shown):
            shown.append(f"  and {len(failed) - len(shown)} more: see `failed` of this error")
        super().__init__(
            f"{len(failed)} of {found} cannot be opened; skip_failed=True leaves them out:\n" + "\n".join(shown)
        )
        self.failed = failed


class NotRecordedWarning(UserWarning):
    """Some of many recordings lack what was asked for, and are left out."""


class NoteWarning(UserWarning):
    """What a reader of the numbers must know, such as that the recording is still being written."""


def missing_extra(extra: str, error: ImportError) -> MissingExtraError:
    """Says how to install an extra of this package, of which something could not be imported."""
    return MissingExtraError(f"this needs the extra `{extra}`: pip install 'memsample[{extra}]' ({error})")


@contextlib.contextmanager
def accessing(path: Path) -> Iterator[None]:
    """Turns what the system or Python say of a path that is no place, or may not be read, into a MemsampleError."""
    try:
        yield
    except OSError as error:
        raise of_system(path, error) from error
    except ValueError as error:
        # A null byte.
        raise NotARecordingError(f"`{os.fspath(path)!r}` is no path: {error}") from error


def of_system(path: object, error: OSError) -> MemsampleError:
    """Says of a file or directory why the system did not read it."""
    if isinstance(error, PermissionError):
        return NoAccessError(f"`{path}` may not be read by this user: ask its owner for the right, or read it as them")
    return DamagedError(f"`{path}` cannot be read: {error.strerror or error}")
