"""Reads the results of all runs of a store, to which `memsample push` brings them: a directory, or a bucket.

A store of runs that nobody has compacted has thousands of small files. Each is read by one request, many at a time.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import os
import re
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .errors import DamagedError, MemsampleError, NoAccessError, NotARecordingError, NotRecordedError, missing_extra
from .parquet_files import first_line

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore

STORE_TABLES = ("tests", "test_roles", "runs")
"""The tables of a store that have a row for each attempt of a test, for each role of it, and for each run."""

REQUESTS_AT_ONCE = 64
"""An answer takes tens of milliseconds, mostly of waiting. More at once than this read a thousand files no faster."""
WHOLE_BYTES = 4 << 20
"""A larger file is read in pieces: only the columns that are wanted."""
LOOKS = 10
"""How often it begins anew where a file that it listed is not there."""
OF_MANY = "_many"
"""The host of a file that has the rows of many runs, after a compaction."""


@dataclass(frozen=True)
class _File:
    """A file of a table, and the partition that its path names."""

    path: str
    size_bytes: int
    keys: dict[str, str]

    @classmethod
    def of(cls, path: str, size_bytes: int) -> _File:
        parts = (part.partition("=") for part in path.split("/"))
        return cls(path, size_bytes, {key: urllib.parse.unquote(value) for key, sign, value in parts if sign})

    @property
    def is_of_many(self) -> bool:
        return self.keys.get("host") == OF_MANY


class _Pieces(io.RawIOBase):
    """A file of a store, of which only what is asked for is fetched."""

    def __init__(self, store: ObjectStore, file: _File) -> None:
        super().__init__()
        self._store = store
        self._file = file
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._file.size_bytes}[whence]
        self._position = base + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        import obstore

        left = max(self._file.size_bytes - self._position, 0)
        length = left if size is None or size < 0 else min(size, left)
        if not length:
            return b""
        piece = obstore.get_range(self._store, self._file.path, start=self._position, length=length).to_bytes()
        self._position += len(piece)
        return piece


def read_store(
    address: str | os.PathLike[str],
    table: str = "tests",
    columns: Sequence[str] | None = None,
    *,
    project: str | None = None,
    suite: str | None = None,
    since: datetime.date | str | None = None,
    until: datetime.date | str | None = None,
) -> pa.Table:
    """Returns a table of the results of all runs of a store, in memory: `tests`, `test_roles` or `runs`.

    `address` is a directory, `file:///dir`, `s3://bucket/prefix` or `gs://bucket/prefix`; credentials are those of
    `memsample push`. `project`, `suite`, and the days `since` and `until` on which runs began (UTC, both included)
    limit what is read. A run whose push has not ended, or which is being removed, has no row; each other one has its
    rows once, compacted or not. The keys `project`, `suite` and `date` are columns; a column that a run lacks is null.

    Needs the extra `store`. Raises NotARecordingError where there is no store, NotRecordedError where no run is
    left, NoAccessError for wrong credentials, and DamagedError for a file that cannot be read.
    """
    if table not in STORE_TABLES:
        raise MemsampleError(f"there is no table `{table}` of results; the tables are {', '.join(STORE_TABLES)}")
    first, last = _day(since), _day(until)

    def is_wanted(keys: dict[str, str]) -> bool:
        day = keys.get("date", "")
        of_it = project in (None, keys.get("project")) and suite in (None, keys.get("suite"))
        return of_it and (first is None or day >= first) and (last is None or day <= last)

    store = _opened(address)
    with _asking(address), ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        for look in range(1, LOOKS + 1):
            try:
                rows = _rows(store, table, columns, is_wanted, pool)
                break
            except FileNotFoundError as error:
                # A compaction has removed it since it was listed; its rows stand in another file.
                if look == LOOKS:
                    told = f"`{os.fspath(address)}` lists files that are not there ({first_line(error)})"
                    raise DamagedError(told) from error
    if rows is None:
        raise NotRecordedError(f"`{os.fspath(address)}` has no run with a table `{table}` that fits what was asked for")
    missing = [name for name in columns or () if name not in rows.column_names]
    if missing:
        raise MemsampleError(f"the table `{table}` has no column `{missing[0]}`")
    return rows if columns is None else rows.select(list(columns))


def _rows(
    store: ObjectStore,
    table: str,
    columns: Sequence[str] | None,
    is_wanted: Callable[[dict[str, str]], bool],
    pool: ThreadPoolExecutor,
) -> pa.Table | None:
    """Returns the rows of a table that its files have now; None where there is no file."""
    # At once: a run whose manifest is written in between has rows, or none, as if it were read a moment earlier.
    manifests = pool.submit(lambda: [file.keys.get("run", "") for file in _listed(store, "manifests")])
    listed = list(_listed(store, f"tables/{table}"))
    complete = {run.removesuffix(".json") for run in manifests.result()}
    if not complete:
        raise NotARecordingError("no runs are here: `memsample push` has not brought any")
    files = [
        file
        for file in listed
        if file.path.endswith(".parquet")
        and is_wanted(file.keys)
        and (file.is_of_many or file.keys.get("run") in complete)
    ]
    if not files:
        return None
    wanted = None if columns is None else list(dict.fromkeys(["run_id", *columns]))
    tables = list(pool.map(lambda file: _table_of(store, file, wanted), files))
    return pa.concat_tables(_once(files, tables, complete), promote_options="default")


@contextlib.contextmanager
def _asking(address: str | os.PathLike[str]) -> Iterator[None]:
    """Turns what a store answers into an error that says what to do."""
    from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError

    shown = f"`{os.fspath(address)}`"
    try:
        yield
    except NotARecordingError as error:
        raise NotARecordingError(f"{shown}: {error}") from None
    except (PermissionDeniedError, UnauthenticatedError, PermissionError) as error:
        raise _no_access(shown, error) from error
    except (BaseError, FileNotFoundError) as error:
        # Of a listing it has no class of its own.
        status = re.search(r"status code: (\d+)", str(error))
        if status and status[1] in ("401", "403"):
            raise _no_access(shown, error) from error
        if isinstance(error, NotFoundError | FileNotFoundError) or (status and status[1] == "404"):
            raise NotARecordingError(f"{shown} is not there ({first_line(error)})") from error
        raise MemsampleError(f"{shown} cannot be read: {first_line(error)}") from error


def _no_access(shown: str, error: Exception) -> NoAccessError:
    return NoAccessError(
        f"{shown} may not be read with these credentials: set those that `memsample list` uses ({first_line(error)})"
    )


def _day(day: datetime.date | str | None) -> str | None:
    """Returns a day as partitions name it."""
    if day is None:
        return None
    if isinstance(day, str):
        try:
            day = datetime.date.fromisoformat(day)
        except ValueError as error:
            raise MemsampleError(f"`{day}` is no day such as 2026-11-30") from error
    return day.strftime("%Y-%m-%d")


def _opened(address: str | os.PathLike[str]) -> ObjectStore:
    try:
        from obstore.store import LocalStore, from_url
    except ImportError as error:
        raise missing_extra("store", error) from error
    text = os.fspath(address)
    scheme, sign, _ = text.partition("://")
    if not sign or scheme == "file":
        directory = Path(urllib.parse.unquote(urllib.parse.urlsplit(text).path) if sign else text)
        if not directory.is_dir():
            raise NotARecordingError(f"`{text}` is no directory")
        return LocalStore(directory.absolute())
    if scheme not in ("s3", "gs"):
        raise MemsampleError(f"`{text}` is no address of a store: use a directory, file:///dir, s3://… or gs://…")
    endpoint = urllib.parse.urlsplit(os.environ.get("AWS_ENDPOINT_URL" if scheme == "s3" else "GOOGLE_BASE_URL", ""))
    # Nothing is encrypted on the way to this machine itself.
    client: ClientConfig | None = (
        {"allow_http": True} if endpoint.hostname in ("localhost", "127.0.0.1", "::1") else None
    )
    with _asking(address):
        return from_url(text, client_options=client)


def _listed(store: ObjectStore, prefix: str) -> Iterator[_File]:
    import obstore

    for part in obstore.list(store, prefix, chunk_size=1000):
        for found in part:
            yield _File.of(found["path"], found["size"])


def _table_of(store: ObjectStore, file: _File, columns: Sequence[str] | None) -> pa.Table:
    """Reads a file, and adds the keys of its partition."""
    import obstore

    if file.size_bytes <= WHOLE_BYTES:
        source = pa.BufferReader(pa.py_buffer(obstore.get(store, file.path).bytes()))
    else:
        source = pa.PythonFile(_Pieces(store, file), mode="r")
    try:
        parquet = pq.ParquetFile(source, pre_buffer=True)
        have = parquet.schema_arrow.names
        rows = parquet.read(None if columns is None else [name for name in columns if name in have])
    except pa.ArrowException as error:
        raise DamagedError(f"`{file.path}` is damaged or cannot be read: {first_line(error)}") from error
    for key in ("project", "suite", "date"):
        if key in file.keys and (columns is None or key in columns) and key not in rows.column_names:
            value = pa.scalar(file.keys[key])
            rows = rows.append_column(key, pa.repeat(value.cast(pa.date32()) if key == "date" else value, len(rows)))
    return rows


def _once(files: Sequence[_File], tables: Sequence[pa.Table], complete: set[str]) -> list[pa.Table]:
    """Leaves out runs without a manifest, and what a compaction has put into a large file and not yet removed."""
    compacted: set[str] = set()
    kept = []
    for file, rows in zip(files, tables, strict=True):
        if file.is_of_many:
            rows = rows.filter(pc.is_in(rows["run_id"], pa.array(sorted(complete), pa.string())))
            compacted.update(pc.unique(rows["run_id"]).to_pylist())
            kept.append(rows)
    small = (rows for file, rows in zip(files, tables, strict=True) if not file.is_of_many)
    kept += (rows for rows in small if not len(rows) or rows["run_id"][0].as_py() not in compacted)
    return kept
