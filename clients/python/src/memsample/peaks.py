"""The largest resident sets of roles and tests, as lower bounds: the definitions are in docs/peaks.md."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from .errors import DamagedError
from .parquet_files import read_rows
from .sums import tick_sums

_PARTS = ("rss_bytes", "anon_bytes", "file_bytes", "shmem_bytes", "swap_bytes")
_IMAGE = (
    "process", "pid", "ppid", "start_ns", "exec", "role", "test", "samples",
    "rss_max_bytes", "hwm_max_bytes", "exit_hwm_bytes", "first_ts", "last_ts", "memory_map",
)  # fmt: skip
# In the order of precision: of equal ones the last counts.
_BOUNDS = (
    ("rss_max_bytes", "sampled"), ("hwm_max_bytes", "high_water_mark"), ("exit_hwm_bytes", "exit_record")
)  # fmt: skip

_NEVER_MEASURED = "never measured: no process of it lived at a tick, and the kernel did not tell its exits"


@dataclass(frozen=True)
class LargestSum:
    """The largest resident set of all processes of a role or of a test together, at one instant, in bytes.

    Shared pages count once for each process, but those of a whole memory map that processes share count once. The
    true peak is not below `lower_bytes`, and may be above it: `Recording.peaks` has the upper bound.
    """

    recording: str
    """Which recording: its `id`."""
    name: str
    """The role, or the test."""
    lower_bytes: int | None
    """The largest sum of samples at one tick, or what a single process is known to have had if that is more.

    None where nothing is known of its processes; `note` says why."""
    lower_source: str | None
    """`sampled` for a sum of samples; of a single process also `high_water_mark` or `exit_record`. None as before."""
    images: int
    """Process images in the whole recording."""
    processes: int
    """Processes at the tick with the largest sum of samples; 0 where none was ever sampled.

    Of those that share a memory map one counts."""
    sampled_at: datetime | None
    """That tick. The parts below are those of this tick; they may be less than `lower_bytes`."""
    rss_bytes: int | None
    """Resident: the sum of the next three."""
    anon_bytes: int | None
    """Anonymous memory: heap and stacks. None where it lacks a process, as the next three."""
    file_bytes: int | None
    """Mapped files."""
    shmem_bytes: int | None
    """Shared memory."""
    swap_bytes: int | None
    """In swap, and so not resident."""
    note: str | None = None
    """What a reader must know."""


def images_of(processes: ds.Dataset) -> list[dict[str, Any]]:
    """Reads what peaks need to know of each process image."""
    # A recording of an older version lacks the last one.
    columns = [name for name in _IMAGE if name != "memory_map" or name in processes.schema.names]
    rows: list[dict[str, Any]] = read_rows(processes, "processes", columns).to_pylist()
    return rows


def images_of_tests(images: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the images of tests, without those that show the memory of their parent.

    After a fork and until its first exec a process shares the pages of its parent: they count once.
    """
    rows = [row for row in images if row["test"] is not None]
    own: dict[tuple[int, int], dict[str, Any]] = {}
    starts: dict[int, list[int]] = {}
    for row in rows:
        key = (row["pid"], row["start_ns"])
        if key not in own:
            own[key] = {"bytes": None, "executed": False}
            starts.setdefault(row["pid"], []).append(row["start_ns"])
        process = own[key]
        known = [row["rss_max_bytes"], row["hwm_max_bytes"], process["bytes"]]
        process["bytes"] = max((value for value in known if value is not None), default=None)
        process["executed"] |= row["exec"] > 0

    def counts(row: dict[str, Any]) -> bool:
        if row["exec"] > 0 or row["samples"] == 0 or not own[row["pid"], row["start_ns"]]["executed"]:
            return True
        before = [start for start in starts.get(row["ppid"], []) if start <= row["start_ns"]]
        if not before:
            return True
        parent = own[row["ppid"], max(before)]["bytes"] or 0
        return bool((row["rss_max_bytes"] or 0) > parent)

    return [row for row in rows if counts(row)]


def process_tests(images: Iterable[dict[str, Any]]) -> pa.Table:
    """Returns the processes that count for tests, and the test of each."""
    rows = images_of_tests(images)
    return pa.table(
        {
            "process": pa.array([row["process"] for row in rows], pa.int64()),
            "test": pa.array([row["test"] for row in rows], pa.string()),
        }
    )


def _counted_once(images: Iterable[dict[str, Any]], by: str) -> pc.Expression | None:
    """Returns which samples count, where processes share a memory map.

    It is not those at whose tick an earlier one of them shows the same memory.
    """
    images = list(images)
    map_of = {image["process"]: image.get("memory_map") for image in images}
    sharers: dict[tuple[int, str | None], list[dict[str, Any]]] = {}
    for image in images:
        first, seen = image["process"], set()
        while first not in seen and map_of.get(first) is not None:
            seen.add(first)
            first = map_of[first]
        if image["samples"] > 0:
            sharers.setdefault((first, image[by]), []).append(image)
    left_out = []
    for of_map in sharers.values():
        until = None
        for image in sorted(of_map, key=lambda image: (image["first_ts"], image["process"])):
            if until is not None and until >= image["first_ts"]:
                instant = pa.scalar(until, pa.timestamp("ms", tz="UTC"))
                left_out.append((pc.field("process") == image["process"]) & (pc.field("ts") <= instant))
            until = image["last_ts"] if until is None else max(until, image["last_ts"])
    # Pairs of pairs: a chain of thousands is nested too deeply.
    while len(left_out) > 1:
        pairs = zip(left_out[::2], left_out[1::2], strict=False)
        left_out = [one | other for one, other in pairs] + left_out[len(left_out) // 2 * 2 :]
    return ~left_out[0] if left_out else None


def largest_sums(recording: str, samples: ds.Dataset, images: list[dict[str, Any]], by: str) -> list[LargestSum]:
    """Returns the largest sum of each role or test, largest first."""
    tests = process_tests(images) if by == "test" else None
    if by == "test":
        images = images_of_tests(images)
    sums = tick_sums(samples, [by], _PARTS, tests, _counted_once(images, by))
    sums = sums.sort_by([(by, "ascending"), ("rss_bytes", "descending"), ("ts", "ascending")])
    sampled: dict[str, dict[str, Any]] = {}
    if len(sums):
        # The first row of each group: the key differs from that of the row before.
        names = sums[by].combine_chunks()
        first = pa.concat_arrays([pa.array([True]), pc.not_equal(names[1:], names[:-1])])
        sampled = {row[by]: row for row in sums.filter(first).to_pylist()}
    groups: dict[str, list[dict[str, Any]]] = {}
    for image in images:
        groups.setdefault(image[by], []).append(image)
    unknown = sorted(sampled.keys() - groups.keys())
    if unknown:
        raise DamagedError(f"`samples` has the {by} {unknown[0]!r}, and no row of `processes` has")
    found = [_largest(recording, name, rows, sampled.get(name)) for name, rows in groups.items()]
    # What is not known comes last, after a known zero.
    return sorted(found, key=lambda peak: (peak.lower_bytes is None, -(peak.lower_bytes or 0), peak.name))


def of_marks_alone(recording: str, name: str) -> LargestSum:
    """Says of a test that was only marked that its processes are not told by the tables."""
    note = "only marked: which processes it consists of follows from its marks; `peaks('test')` tells it"
    return LargestSum(recording, name, None, None, 0, 0, None, None, None, None, None, None, note)


def _largest(recording: str, name: str, images: list[dict[str, Any]], sampled: dict[str, Any] | None) -> LargestSum:
    known = [
        (image[column], precision, word)
        for image in images
        for precision, (column, word) in enumerate(_BOUNDS)
        if image[column] is not None
    ]
    lower, _, source = max(known, default=(None, None, None))
    if sampled is not None and (lower is None or sampled["rss_bytes"] >= lower):
        lower, source = sampled["rss_bytes"], "sampled"
    row = sampled or {}
    return LargestSum(
        recording=recording,
        name=name,
        lower_bytes=lower,
        lower_source=source,
        images=len(images),
        processes=row.get("processes", 0),
        sampled_at=row.get("ts"),
        **{part: row.get(part) for part in _PARTS},
        note=_NEVER_MEASURED if lower is None else None,
    )
