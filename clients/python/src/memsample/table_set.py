"""The tables of one or many recordings: lazy datasets, SQL, and frames of pandas and Polars."""

from __future__ import annotations

import re
import warnings
import weakref
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa
import pyarrow.dataset as ds

from .errors import MemsampleError, NotRecordedError, NotRecordedWarning, QueryError, missing_extra
from .parquet_files import dataset_of, read_rows

if TYPE_CHECKING:
    import duckdb
    import pandas
    import polars

_Lazy = TypeVar("_Lazy")
RECORDING_TABLES = ("samples", "processes", "exits", "ticks", "system", "cgroups", "marks")
"""The tables of a recording: docs/schema.md lists their columns with units and sources."""


class TableSet(ABC):
    """The tables of one or many recordings or runs.

    Bytes are bytes and times nanoseconds unless the name of a column says otherwise; null means "not known",
    never zero. Over several recordings, group and join by `recording` and `process`, never by `pid`.
    """

    _of = "recordings"
    """What there are many of."""
    _connection: duckdb.DuckDBPyConnection | None = None

    @property
    @abstractmethod
    def tables(self) -> tuple[str, ...]:
        """The names of the tables."""

    @abstractmethod
    def _files(self, table: str) -> tuple[list[Path], dict[str, str]]:
        """Returns the files of a table, and by name of the recording why some have none."""

    def _kept_with(self, lazy: _Lazy) -> _Lazy:
        """Returns a result that is read later: as long as it is there, so are the connection and the files."""
        # What is to be called when the result is gone keeps these tables until then.
        weakref.finalize(lazy, id, self).atexit = False
        return lazy

    @abstractmethod
    def _title(self) -> str:
        """Says what this is, for messages."""

    def files(self, table: str) -> list[Path]:
        """Returns the Parquet files of a table.

        Raises NotRecordedError where the table was not recorded: an empty one would say that nothing happened.
        Warns (NotRecordedWarning) where that holds for some of many recordings.
        """
        if table not in self.tables:
            raise MemsampleError(f"there is no table `{table}`; the tables are {', '.join(self.tables)}")
        files, missing = self._files(table)
        if not files:
            reason = next(iter(missing.values()), "it has no such file")
            raise NotRecordedError(f"{self._title()} has no table `{table}`: {reason}")
        if missing:
            name, reason = next(iter(missing.items()))
            warnings.warn(
                f"{len(missing)} {self._of} have no table `{table}` and are left out, such as {name}: {reason}",
                NotRecordedWarning,
                stacklevel=4,
            )
        return files

    def table(self, name: str) -> ds.Dataset:
        """Returns a table as a lazy `pyarrow.dataset.Dataset`: nothing but the footers is read yet."""
        return self._kept_with(dataset_of(name, self.files(name)))

    @property
    def samples(self) -> ds.Dataset:
        """One row for each process at each tick: bytes, from `statm`, `status`, `stat` and `smaps_rollup`."""
        return self.table("samples")

    @property
    def processes(self) -> ds.Dataset:
        """One row for each process image: what ran, its parent, role and test, and its largest values."""
        return self.table("processes")

    @property
    def exits(self) -> ds.Dataset:
        """One row for each exit that the kernel reported (taskstats), with the true peak of the process."""
        return self.table("exits")

    @property
    def ticks(self) -> ds.Dataset:
        """One row for each tick: when it was planned, began and ended, and what was lost."""
        return self.table("ticks")

    @property
    def system(self) -> ds.Dataset:
        """The machine, at most ten times a second: meminfo, pressure, vmstat, swap."""
        return self.table("system")

    @property
    def cgroups(self) -> ds.Dataset:
        """One row for each control group, usually once a second: memory, limits, events, pressure."""
        return self.table("cgroups")

    @property
    def marks(self) -> ds.Dataset:
        """Begins and ends of tests, points, OOM kills, clock steps, suspends."""
        return self.table("marks")

    def to_arrow(
        self, table: str, columns: Sequence[str] | None = None, where: ds.Expression | None = None
    ) -> pa.Table:
        """Reads a table, or some of its columns and the rows that `where` keeps, into memory."""
        dataset = self.table(table)
        columns = [columns] if isinstance(columns, str) else columns
        _known_columns(dataset, table, columns)
        return read_rows(dataset, f"{table} of {self._title()}", columns, where)

    def to_pandas(
        self, table: str, columns: Sequence[str] | None = None, where: ds.Expression | None = None
    ) -> pandas.DataFrame:
        """Reads a table into a pandas frame.

        Integers have pandas' nullable types, so that they stay exact and what is not known is `<NA>`.
        Needs the extra `pandas`.
        """
        return pandas_frame(self.to_arrow(table, columns, where))

    def to_polars(
        self, table: str, columns: Sequence[str] | None = None, where: ds.Expression | None = None
    ) -> polars.DataFrame:
        """Reads a table into a Polars frame. Needs the extra `polars`."""
        frame: polars.DataFrame = _polars().from_arrow(self.to_arrow(table, columns, where))
        return frame

    def scan_polars(self, table: str) -> polars.LazyFrame:
        """Returns a lazy Polars frame, of which `collect` reads what it needs. Needs the extra `polars`."""
        # A column that older files lack is null there.
        schema = _polars().from_arrow(self.table(table).schema.empty_table()).schema
        lazy: polars.LazyFrame = _polars().scan_parquet(
            self.files(table), schema=schema, missing_columns="insert", glob=False, hive_partitioning=False
        )
        return self._kept_with(lazy)

    def sql(self, query: str, parameters: object = None) -> duckdb.DuckDBPyRelation:
        """Runs a query of DuckDB with a view for each table, and `recordings` with a row for each recording.

        Times are in UTC. The result is lazy: `.fetchall()`, `.df()`, `.pl()`, `.arrow()` or `print` reads it, and
        raises the errors of DuckDB. Needs the extra `duckdb`. Raises QueryError.
        """
        connection = self._connected()
        while True:
            try:
                relation = connection.sql(query, params=parameters)
            except Exception as error:
                # A view is made when a query asks for it, since that reads the footers of all files. What was not
                # recorded has none: a count of zero would be wrong.
                missing = re.search(r"Table with name (\w+) does not exist", str(error))
                if missing is None or not self._view(missing[1].lower()):
                    raise QueryError(f"DuckDB does not answer: {str(error).strip()}") from error
                continue
            if relation is None:
                raise QueryError("the query has no result: only SELECT and the like have")
            return self._kept_with(relation)

    def _connected(self) -> duckdb.DuckDBPyConnection:
        if self._connection is None:
            try:
                import duckdb
            except ImportError as error:
                raise missing_extra("duckdb", error) from None
            self._connection = duckdb.connect()
            self._connection.execute("SET TimeZone = 'UTC'")
        return self._connection

    @abstractmethod
    def _recordings_table(self) -> pa.Table:
        """Returns a row for each recording."""

    def _view(self, table: str) -> bool:
        """Makes the view of a table, and returns whether there is such a table and it is new."""
        made: set[str] = self.__dict__.setdefault("_views", set())
        if table in made or table not in (*self.tables, "recordings"):
            return False
        if table == "recordings":
            # Of a run only now, since its recordings may be gone while its results are kept.
            self._connected().register("recordings", self._recordings_table())
        else:
            paths = self.files(table)
            # So that what is wrong with a file is told as it is everywhere.
            dataset_of(table, paths)
            files = ", ".join(_literal(path) for path in paths)
            # What a directory is called, such as `role=x`, is no column.
            options = "union_by_name = true, hive_partitioning = false"
            self._connected().execute(f"CREATE VIEW {table} AS FROM read_parquet([{files}], {options})")
        made.add(table)
        return True


def pandas_frame(table: pa.Table) -> pandas.DataFrame:
    """Returns a pandas frame with nullable integers, in which nothing becomes a floating-point number."""
    try:
        import pandas
    except ImportError as error:
        raise missing_extra("pandas", error) from None
    nullable: Mapping[Any, Any] = {
        pa.int64(): pandas.Int64Dtype(),
        pa.int32(): pandas.Int32Dtype(),
        pa.bool_(): pandas.BooleanDtype(),
    }
    frame: pandas.DataFrame = table.to_pandas(types_mapper=nullable.get)
    return frame


def _literal(path: Path) -> str:
    """Returns a path as DuckDB reads it, which takes brackets and stars in it for a pattern."""
    escaped = re.sub(r"[\[*?]", lambda special: f"[{special[0]}]", str(path))
    return "'" + escaped.replace("'", "''") + "'"


def _polars() -> Any:
    try:
        import polars
    except ImportError as error:
        raise missing_extra("polars", error) from None
    return polars


def _known_columns(dataset: ds.Dataset, table: str, columns: Sequence[str] | None) -> None:
    unknown = [name for name in columns or [] if name not in dataset.schema.names]
    if unknown:
        raise MemsampleError(
            f"`{table}` has no column {', '.join(unknown)}; its columns are {', '.join(dataset.schema.names)}"
        )
