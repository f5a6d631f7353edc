"""PSS at every tick: the value that was read last, with its age, since reading it at every tick costs too much."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from .parquet_files import read_rows

_READ = ("recording", "ts", "process", "pid", "role", "test", "rss_bytes", "pss_bytes", "uss_bytes")


def carried_forward(samples: ds.Dataset, where: ds.Expression | None) -> pa.Table:
    """Returns the samples with `pss_last_bytes` and `uss_last_bytes`, and how old they are in `pss_age_ms`."""
    table = read_rows(samples, "samples", _READ, where)
    # Texts of which there are few take a tenth of the memory as a dictionary.
    for name in ("recording", "role", "test"):
        place = table.column_names.index(name)
        table = table.set_column(place, name, pc.dictionary_encode(table[name]))
    table = table.sort_by([("process", "ascending"), ("ts", "ascending")]).combine_chunks()
    row = pa.array(range(len(table)), pa.int64())
    read = pc.is_valid(table["pss_bytes"])
    last = pc.fill_null_forward(pc.if_else(read, row, pa.scalar(None, pa.int64())))
    # What was read of the process before in the table says nothing of this one.
    same = pc.fill_null(pc.equal(table["process"].take(last), table["process"]), False)
    last = pc.if_else(same, last, pa.scalar(None, pa.int64()))
    instants = table["ts"].cast(pa.int64())
    return (
        table.append_column("pss_last_bytes", table["pss_bytes"].take(last))
        .append_column("uss_last_bytes", table["uss_bytes"].take(last))
        .append_column("pss_age_ms", pc.subtract(instants, instants.take(last)))
    )


def pss_sums(carried: pa.Table, keys: Sequence[str]) -> pa.Table:
    """Adds up what [`carried_forward`] returns, for each group at each tick, and counts what is not known."""
    known = pc.is_valid(carried["pss_last_bytes"])
    table = carried.append_column("unknown", pc.if_else(known, 0, 1))
    table = table.append_column("unknown_rss_bytes", pc.if_else(known, 0, table["rss_bytes"]))
    for key in keys:
        if pa.types.is_dictionary(table.schema.field(key).type):
            place = table.column_names.index(key)
            table = table.set_column(place, key, table[key].cast(pa.string()))
    some = pc.ScalarAggregateOptions(min_count=1)
    grouped = table.group_by(["ts", *keys]).aggregate(
        [
            ("process", "count"),
            ("pss_last_bytes", "sum", some),
            ("uss_last_bytes", "sum", some),
            ("pss_age_ms", "max"),
            ("unknown", "sum"),
            ("unknown_rss_bytes", "sum"),
        ]
    )
    names = {
        "process_count": "processes",
        "pss_last_bytes_sum": "pss_bytes",
        "uss_last_bytes_sum": "uss_bytes",
        "pss_age_ms_max": "oldest_ms",
        "unknown_sum": "unknown_processes",
        "unknown_rss_bytes_sum": "unknown_rss_bytes",
    }
    arrays = {key: grouped[key] for key in ("ts", *keys)} | {new: grouped[old] for old, new in names.items()}
    return pa.table(arrays).sort_by([(name, "ascending") for name in ("ts", *keys)])
