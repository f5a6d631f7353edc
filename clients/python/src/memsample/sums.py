"""Sums of memory over processes, tick by tick, and their largest values in spans of time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.acero as acero
import pyarrow.compute as pc
import pyarrow.dataset as ds

from .errors import DamagedError, MemsampleError
from .parquet_files import reading

SUMMED = ("rss_bytes", "anon_bytes", "swap_bytes")
"""The columns of `samples` that are summed: resident, anonymous and swapped-out memory."""

_GROUPS = {
    "machine": (),
    "process": ("process", "pid", "role"),
    "role": ("role",),
    "test": ("test",),
    "comm": ("comm",),
}
_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}


def keys_of(by: str | Sequence[str]) -> tuple[str, ...]:
    """Returns the columns of `samples` to group by, of words such as `role` or `("test", "role")`."""
    words = (by,) if isinstance(by, str) else tuple(by)
    unknown = [word for word in words if word not in _GROUPS]
    if unknown or not words:
        raise MemsampleError(f"cannot group by {unknown or 'nothing'}: give one or more of {', '.join(_GROUPS)}")
    return tuple(dict.fromkeys(key for word in words for key in _GROUPS[word]))


def milliseconds_of(every: str) -> int:
    """Returns a span of time such as `100ms`, `1s`, `5m` or `1h` in milliseconds."""
    match = re.fullmatch(r"\s*(\d+)\s*(ms|s|min|m|h|d)\s*", every)
    span = int(match[1]) * _UNITS_MS[match[2]] if match else 0
    if not 0 < span < 1 << 53:
        raise MemsampleError(f"`{every}` is no span of time: write it as 100ms, 1s, 5m or 1h")
    return span


def tick_sums(
    samples: ds.Dataset,
    keys: Sequence[str],
    columns: Sequence[str] = SUMMED,
    tests: pa.Table | None = None,
    where: pc.Expression | None = None,
) -> pa.Table:
    """Adds up the samples of each group at each tick, row group by row group.

    `where` keeps some of them by `process` and `ts`.
    Columns: `ts`, the keys, `processes`, and each of `columns`. A sum is null where it lacks a process.
    `tests` has the processes that count and the test of each, needed where a key is `test`.
    """
    by_test = "test" in keys
    read = [key for key in dict.fromkeys(["ts", "process", *keys, *columns]) if not (by_test and key == "test")]
    steps = [acero.Declaration("scan", acero.ScanNodeOptions(samples, columns=read))]
    if where is not None:
        steps.append(acero.Declaration("filter", acero.FilterNodeOptions(where)))
    steps.append(_project(read))
    source = acero.Declaration.from_sequence(steps)
    if by_test:
        assert tests is not None
        others = acero.Declaration("table_source", acero.TableSourceNodeOptions(tests))
        joined = acero.HashJoinNodeOptions(
            "inner", left_keys=["process"], right_keys=["process"], left_output=read, right_output=["test"]
        )
        source = acero.Declaration("hashjoin", joined, inputs=[source, others])
    # A sum that lacks a process is not known.
    whole = pc.ScalarAggregateOptions(skip_nulls=False)
    aggregates: list[Any] = [("process", "hash_count", None, "processes")]
    aggregates += [(column, "hash_sum", whole, column) for column in columns]
    summed = acero.Declaration("aggregate", acero.AggregateNodeOptions(aggregates, keys=["ts", *keys]), inputs=[source])
    with reading("samples"):
        table = summed.to_table()
    # Statistics of the files may be missing, by which nulls are refused earlier.
    if "rss_bytes" in columns and table["rss_bytes"].null_count:
        raise DamagedError("`samples` is damaged: a `rss_bytes` is null")
    table = table.select(["ts", *keys, "processes", *columns])
    return table.sort_by([(name, "ascending") for name in ("ts", *keys)])


def resampled(samples: ds.Dataset, every_ms: int, keys: Sequence[str], tests: pa.Table | None = None) -> pa.Table:
    """Returns a row for each group and span of time, with the largest, smallest and mean sum of its ticks."""
    if "process" in keys and "test" not in keys:
        # A process has one row at each tick: there is nothing to add up, and no processes to leave out.
        source = acero.Declaration("scan", acero.ScanNodeOptions(samples, columns=["ts", *keys, *SUMMED]))
    else:
        sums = tick_sums(samples, keys, tests=tests)
        source = acero.Declaration("table_source", acero.TableSourceNodeOptions(sums))
    instant = pc.field("ts").cast(pa.int64())
    span = pc.multiply(pc.divide(instant, every_ms), every_ms)
    names = ["span", *keys, *SUMMED]
    spans = acero.Declaration(
        "project",
        acero.ProjectNodeOptions([span, *(pc.field(name) for name in names[1:])], names),
        inputs=[source],
    )
    aggregates: list[Any] = []
    for column in SUMMED:
        quantity = column.removesuffix("_bytes")
        # The resident set is known at each tick, the others where they are of all processes.
        aggregates.append((column, "hash_count", None, "ticks" if column == "rss_bytes" else f"{quantity}_ticks"))
        for which in ("max", "min", "mean"):
            aggregates.append((column, f"hash_{which}", None, f"{quantity}_{which}_bytes"))
    grouped = acero.Declaration(
        "aggregate", acero.AggregateNodeOptions(aggregates, keys=["span", *keys]), inputs=[spans]
    )
    with reading("samples"):
        table = grouped.to_table()
    arrays: dict[str, Any] = {"ts": table["span"].cast(pa.timestamp("ms", "UTC"))}
    for name in [*keys, *(aggregate[3] for aggregate in aggregates)]:
        column = table[name]
        arrays[name] = pc.round(column).cast(pa.int64()) if name.endswith("_mean_bytes") else column
    return pa.table(arrays).sort_by([(name, "ascending") for name in ("ts", *keys)])


def largest_in_spans(sums: pa.Table, every_ms: int) -> pa.Table:
    """Keeps of each span of time the tick at which all groups together are largest, with the span in `span`.

    So a stack of groups shows a state that was, and no peak of their sum is lost.
    """
    totals = sums.group_by("ts").aggregate([("rss_bytes", "sum")])
    instant = totals["ts"].cast(pa.int64())
    span = pc.multiply(pc.divide(instant, every_ms), every_ms)
    totals = totals.append_column("span", span)
    totals = totals.sort_by([("span", "ascending"), ("rss_bytes_sum", "descending"), ("ts", "ascending")])
    first = totals.group_by("span", use_threads=False).aggregate([("ts", "first")])
    kept = pa.table({"ts": first["ts_first"], "span": first["span"]})
    return sums.join(kept, "ts", join_type="inner").sort_by("ts")


def _project(names: Sequence[str]) -> acero.Declaration:
    return acero.Declaration("project", acero.ProjectNodeOptions([pc.field(name) for name in names], list(names)))
