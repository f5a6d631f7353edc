"""Opens the Parquet files of a table, lazily and as one, whatever versions of memsample wrote them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from .errors import DamagedError, QueryError, of_system
from .table_columns import known_columns


def absolute(path: Path) -> Path:
    """Returns a path that is also for Arrow what it is for the system, and after a change of the directory.

    To Arrow `s3:x` and `~` are other places. Raises UnicodeEncodeError for a name that it cannot read.
    """
    whole = Path(os.path.abspath(path))
    str(whole).encode()
    return whole


def table_files(directory: Path, table: str) -> list[Path]:
    """Returns the files of a table: a large one continues in `TABLE-0002.parquet` and so on.

    Raises DamagedError where something else than a file is in its place.
    """
    # As in the file names that the recorder gives.
    files = [directory / f"{table}.parquet"]
    try:
        while files[-1].exists():
            files.append(directory / f"{table}-{len(files) + 1:04}.parquet")
        del files[-1]
        for path in files:
            # What is read might be waited for for ever.
            if not path.is_file():
                raise DamagedError(f"`{path}` is no regular file")
    except OSError as error:
        raise of_system(directory, error) from error
    return files


@contextlib.contextmanager
def reading(what: object) -> Iterator[None]:
    """Turns what Arrow says of a damaged file into a DamagedError that names what was read."""
    try:
        yield
    except PermissionError as error:
        raise of_system(what, error) from error
    except (pa.ArrowException, OSError) as error:
        raise DamagedError(f"`{what}` is damaged or cannot be read: {first_line(error)}") from error


def dataset_of(table: str, files: Sequence[Path]) -> ds.Dataset:
    """Returns a lazy dataset of files with the columns of all; a column that a file lacks is null there.

    Reads the footer of each file. Raises DamagedError, also where a file is not of this table.
    """
    schemas: dict[pa.Schema, None] = {}
    for path in files:
        with reading(path):
            metadata = pq.read_metadata(path)
        schema = known_columns(path, table, metadata)
        # What is never null in the files of one version is null where those of another lack it.
        schemas[pa.schema([field.with_nullable(True) for field in schema])] = None
    with reading(files[0]):
        unified = pa.unify_schemas(list(schemas)) if len(schemas) > 1 else next(iter(schemas))
        return ds.dataset([str(path) for path in files], format="parquet", schema=unified)


def read_rows(
    dataset: ds.Dataset, what: str, columns: Sequence[str] | None = None, where: ds.Expression | None = None
) -> pa.Table:
    """Reads columns of a table, and the rows that `where` keeps.

    Raises QueryError where the filter does not fit the table, and DamagedError.
    """
    try:
        scanner = dataset.scanner(columns=None if columns is None else list(columns), filter=where)
    except (pa.ArrowException, OSError) as error:
        if where is None:
            raise DamagedError(f"`{what}` is damaged or cannot be read: {first_line(error)}") from error
        raise QueryError(f"the filter does not fit `{what}`: {first_line(error)}") from error
    with reading(what):
        return scanner.to_table()


def first_line(error: Exception) -> str:
    """Returns what an error says first, or what it is."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
