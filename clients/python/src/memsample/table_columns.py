"""The columns that every file of a table has, so that what is no file of it is not read as one."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from .errors import DamagedError

_TEXT = pa.string()
_INSTANT = pa.timestamp("ms", "UTC")
_INTEGER = pa.int64()

NEVER_NULL: dict[str, dict[str, pa.DataType]] = {
    "samples": {
        "recording": _TEXT, "ts": _INSTANT, "process": _INTEGER, "pid": pa.int32(), "comm": _TEXT, "role": _TEXT,
        "rss_bytes": _INTEGER,
    },
    "processes": {
        "recording": _TEXT, "process": _INTEGER, "pid": pa.int32(), "start_ns": _INTEGER, "exec": pa.int32(),
        "ppid": pa.int32(), "comm": _TEXT, "role": _TEXT, "samples": _INTEGER,
    },
    "exits": {"recording": _TEXT, "ts": _INSTANT, "pid": pa.int32()},
    "ticks": {
        "recording": _TEXT, "ts": _INSTANT, "processes_read": pa.int32(), "missed": pa.int32(), "dropped": pa.int32(),
    },
    "system": {"recording": _TEXT, "ts": _INSTANT},
    "cgroups": {"recording": _TEXT, "ts": _INSTANT},
    "marks": {"recording": _TEXT, "ts": _INSTANT, "kind": _TEXT, "name": _TEXT},
    "tests": {
        "suite": _TEXT, "test": _TEXT, "repetition": pa.int32(), "attempt": pa.int32(), "outcome": _TEXT,
    },
    "test_roles": {
        "suite": _TEXT, "test": _TEXT, "repetition": pa.int32(), "attempt": pa.int32(), "role": _TEXT,
        "rss_peak_bytes": _INTEGER,
    },
}  # fmt: skip
"""By table, columns that are never null: those by which it is known, and those that this package computes with."""

MAY_BE_NULL: dict[str, dict[str, pa.DataType]] = {
    "samples": {
        "test": _TEXT, "anon_bytes": _INTEGER, "file_bytes": _INTEGER, "shmem_bytes": _INTEGER,
        "swap_bytes": _INTEGER, "hwm_bytes": _INTEGER, "pss_bytes": _INTEGER, "uss_bytes": _INTEGER,
    },
    "processes": {
        "test": _TEXT, "rss_max_bytes": _INTEGER, "hwm_max_bytes": _INTEGER, "exit_hwm_bytes": _INTEGER,
    },
    "marks": {"test": _TEXT},
}  # fmt: skip
"""By table, the other columns that this package computes with; null where an older version did not write them."""


def known_columns(path: Path, table: str, metadata: pq.FileMetaData) -> pa.Schema:
    """Returns the columns of a file, and those that an older version did not write.

    Raises DamagedError where a column is missing that is never null, is null, or has another type.
    """
    schema = metadata.schema.to_arrow_schema()
    never_null = NEVER_NULL.get(table, {})
    for name, wanted in (never_null | MAY_BE_NULL.get(table, {})).items():
        place = schema.get_field_index(name)
        if place < 0 and name not in never_null:
            schema = schema.append(pa.field(name, wanted))
            continue
        if place < 0:
            raise DamagedError(f"`{path}` is no table `{table}` of a recording or a run: it has no column `{name}`")
        found = schema.field(place).type
        # Other programs that rewrite a table keep its texts in another way.
        if found != wanted and not (wanted == _TEXT and _is_text(found)):
            raise DamagedError(f"`{path}` is no table `{table}` of memsample: `{name}` is {found}, not {wanted}")
    # All columns are flat, so that they have the places of the schema.
    for name in never_null:
        place = schema.get_field_index(name)
        for group in range(metadata.num_row_groups):
            statistics = metadata.row_group(group).column(place).statistics
            if statistics is not None and statistics.has_null_count and statistics.null_count > 0:
                raise DamagedError(f"`{path}` is damaged: `{name}` is null in {statistics.null_count} rows")
    return schema


def _is_text(found: pa.DataType) -> bool:
    return bool(
        pa.types.is_large_string(found)
        or pa.types.is_string_view(found)
        or (pa.types.is_dictionary(found) and _is_text(found.value_type))
        or found == _TEXT
    )
