"""Pictures show what the tables say, and no more."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.dates import date2num

import memsample

mpl.use("agg")
MIB = 1 << 20


def vertices(axes: Axes) -> dict[str, list[Any]]:
    """The corners of what is filled, by label."""
    return {
        str(collection.get_label()): [point for path in collection.get_paths() for point in np.asarray(path.vertices)]
        for collection in axes.collections
        if isinstance(collection, PolyCollection)
    }


def top_of_stack(axes: Axes) -> float:
    return float(max(y for points in vertices(axes).values() for _, y in points))


def labels(axes: Axes, gaps: bool = False) -> list[str]:
    """The legend, of a picture that can be drawn; without the gaps of a busy machine."""
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]
    shown = axes.get_legend_handles_labels()[1]
    return [label for label in shown if gaps or "missed" not in label]


@pytest.mark.parametrize("kind", ["recorded", "ran", "imported"])
@pytest.mark.parametrize("by", ["role", "comm"])
def test_no_peak_is_lost(request: pytest.FixtureRequest, kind: str, by: str) -> None:
    recording = memsample.open(request.getfixturevalue(kind))
    axes = recording.plot(by, top=3)
    largest = pc.max(recording.sums()["rss_bytes"]).as_py()
    assert top_of_stack(axes) == pytest.approx(largest / MIB)
    first = recording.roles()[0].name if by == "role" else None
    assert len(labels(axes)) == 4
    assert first is None or first[:20] in " ".join(labels(axes))


@pytest.mark.parametrize("kind", ["recorded", "ran"])
def test_times_have_minutes_and_names_lie_above_what_is_drawn(request: pytest.FixtureRequest, kind: str) -> None:
    axes = memsample.open(request.getfixturevalue(kind)).plot()
    labels(axes)
    times = [text for label in axes.get_xticklabels() if (text := label.get_text())]
    assert times
    assert all(re.fullmatch(r"\d\d:\d\d(:\d\d(\.\d+)?)?", text) for text in times), times
    renderer = axes.figure.canvas.get_renderer()  # type: ignore[attr-defined]
    lowest = min(text.get_window_extent(renderer).y0 for text in axes.texts)
    assert axes.transData.inverted().transform((0, lowest))[1] > top_of_stack(axes)


def test_a_stack_of_pss_has_what_is_not_known_on_top(ran: Path) -> None:
    recording = memsample.open(ran)
    sums = recording.pss_sums()
    upper = pc.add(pc.fill_null(sums["pss_bytes"], 0), sums["unknown_rss_bytes"])
    axes = recording.plot_pss()
    assert top_of_stack(axes) <= pc.max(upper).as_py() / MIB + 1e-6
    assert any("not known" in label for label in labels(axes))


def test_between_tests_there_is_nothing(ran: Path) -> None:
    """A test that has ended has no memory at the ticks until the next one begins."""
    axes = memsample.open(ran).plot("test")
    marks = memsample.open(ran).to_arrow("marks").to_pylist()
    end = max(mark["ts"] for mark in marks if mark["kind"] == "end" and mark["test"] == "holds")
    ticks = memsample.open(ran).to_arrow("ticks")["ts"].to_pylist()
    later = min(tick for tick in ticks if tick > end)
    number = float(date2num(later.replace(tzinfo=None)))  # type: ignore[no-untyped-call]
    heights = [y for x, y in vertices(axes)["holds"] if x > number]
    assert heights
    assert not any(heights)


def test_a_gap_is_shown_as_one(copied: Path) -> None:
    for name in ("samples", "ticks"):
        table = pq.read_table(copied / f"{name}.parquet")
        instants = sorted(set(table["ts"].to_pylist()))
        begin, end = instants[len(instants) // 3], instants[2 * len(instants) // 3]
        inside = pc.and_(pc.greater(table["ts"], begin), pc.less(table["ts"], end))
        table = table.filter(pc.invert(inside))
        if name == "ticks":
            missed = pa.array([3 if ts == end else 0 for ts in table["ts"].to_pylist()], pa.int32())
            table = table.set_column(table.column_names.index("missed"), "missed", missed)
        pq.write_table(table, copied / f"{name}.parquet")
    assert any("missed" in label for label in labels(memsample.open(copied).plot(), gaps=True))


def test_samples_that_were_not_written_are_a_gap_and_not_nothing(copied: Path) -> None:
    samples = pq.read_table(copied / "samples.parquet")
    ticks = pq.read_table(copied / "ticks.parquet")
    instants = sorted(ticks["ts"].to_pylist())
    lost = instants[len(instants) // 3 : 2 * len(instants) // 3]
    samples = samples.filter(pc.invert(pc.is_in(samples["ts"], pa.array(lost, samples["ts"].type))))
    pq.write_table(samples, copied / "samples.parquet")
    counts = pa.array([5 if ts in lost else 0 for ts in ticks["ts"].to_pylist()], pa.int32())
    ticks = ticks.set_column(ticks.column_names.index("dropped"), "dropped", counts)
    ticks = ticks.set_column(ticks.column_names.index("missed"), "missed", pa.array([0] * len(ticks), pa.int32()))
    pq.write_table(ticks, copied / "ticks.parquet")
    axes = memsample.open(copied).plot()
    assert any("missed" in label for label in labels(axes, gaps=True))
    bottom = [point for points in vertices(axes).values() for point in points]
    first, last = date2num([lost[1], lost[-2]])  # type: ignore[no-untyped-call]
    within = [y for x, y in bottom if first < x < last]
    assert not [y for y in within if y == 0], within


def test_one_process(recorded: Path) -> None:
    recording = memsample.open(recorded)
    process, largest = recording.sql(
        "SELECT process, max(rss_bytes) FROM samples GROUP BY process ORDER BY 2 DESC LIMIT 1"
    ).fetchall()[0]
    axes = recording.plot_process(process)
    assert top_of_stack(axes) == pytest.approx(largest / MIB)
    with pytest.raises(memsample.NotRecordedError, match="no sample of process 0"):
        recording.plot_process(0)


def test_the_tests_of_a_run(ran: Path) -> None:
    axes = memsample.open_run(ran).plot()
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names[-1] == "holds"  # the largest is above
    assert "fails (failed)" in names
    # What would be mathematics is shown as it is written.
    assert any(name.startswith(r"\$cost") for name in names)
    assert labels(axes)


def test_names_that_are_no_words(copied: Path) -> None:
    table = pq.read_table(copied / "samples.parquet")
    names = ["$a^", "_hidden", "x" * 10_000, "a\nb\x1b[31m", "<b>", r"\frac{"]
    roles = pa.array([names[row % len(names)] for row in range(len(table))], pa.string())
    pq.write_table(table.set_column(table.column_names.index("role"), "role", roles), copied / "samples.parquet")
    assert len(labels(memsample.open(copied).plot())) == len(names)


def test_pictures_that_cannot_be_drawn(recorded: Path, copied: Path) -> None:
    recording = memsample.open(recorded)
    for by in ("machine", "process", "user"):
        with pytest.raises(memsample.MemsampleError):
            recording.plot(by)
    path = copied / "samples.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(0, 0), path)
    with pytest.raises(memsample.NotRecordedError, match="no process"):
        memsample.open(copied).plot()
    manifest = json.loads((copied / "recording.json").read_text())
    assert manifest["state"] == "closed"
