"""Pictures of recordings and runs, by matplotlib: each function returns the axes, to be changed further."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from .errors import MemsampleError, NotRecordedError, missing_extra
from .sums import keys_of, largest_in_spans

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .recording import Recording
    from .run import Run

_MIB = float(1 << 20)
# More than a picture has columns of pixels.
_SPANS = 1200
_OTHERS = "others"
# Of Okabe and Ito: told apart without colour vision; the rest is grey.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#8C6BB1", "#4D4D4D")
_GREY = "#BBBBBB"


def time_axis(axes: Axes) -> None:
    """Labels an axis of instants in UTC: times of day with minutes, since `29` alone could be a day or a second."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator()
    formatter = ConciseDateFormatter(locator)
    formatter.formats[5] = "%H:%M:%S.%f"
    formatter.zero_formats[5] = "%H:%M"
    formatter.offset_formats[3:] = ["%Y-%b-%d"] * 3
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(formatter)
    axes.set_xlabel("UTC")


def stacked(recording: Recording, by: str, top: int, ax: Axes | None) -> Axes:
    """Draws resident memory over time, stacked by group."""
    key = _group_of(by)
    sums = _with_every_tick(recording, recording.sums(by), by)
    axes = _axes(ax)
    _stack(axes, _thinned(sums), key, top, _gaps(recording))
    _mark(axes, recording)
    axes.set_title(f"{_name(recording)}: resident memory by {by}\nshared pages count for each process", fontsize=10)
    _finish(axes)
    return axes


def stacked_pss(recording: Recording, by: str, top: int, ax: Axes | None) -> Axes:
    """Draws the last known PSS over time, stacked by group, and what is not known on top."""
    key = _group_of(by)
    sums = recording.pss_sums(by)
    known = sums.append_column("rss_bytes", pc.fill_null(sums["pss_bytes"], 0))
    thinned = _thinned(_with_every_tick(recording, known, by))
    axes = _axes(ax)
    instants, edge = _stack(axes, thinned, key, top, _gaps(recording))
    unknown = thinned.group_by("ts").aggregate([("unknown_rss_bytes", "sum")])
    above = dict(zip(unknown["ts"].to_pylist(), unknown["unknown_rss_bytes_sum"].to_pylist(), strict=True))
    if any(above.values()):
        heights = _held([(above.get(instant) or 0) / _MIB for instant in instants[:-1]])
        upper = [low + more for low, more in zip(edge, heights, strict=True)]
        label = "RSS of what is\nnot known"
        style: dict[str, Any] = {"facecolor": "none", "edgecolor": "#999999", "hatch": "///", "linewidth": 0}
        axes.fill_between(_numbers(instants), edge, upper, label=label, step="post", **style)
    _mark(axes, recording)
    axes.set_title(f"{_name(recording)}: last known PSS by {by}", fontsize=10)
    _finish(axes)
    return axes


def one_process(recording: Recording, process: int, ax: Axes | None) -> Axes:
    """Draws the kinds of memory of one process image."""
    columns = ["ts", "pid", "comm", "rss_bytes", "anon_bytes", "hwm_bytes", "pss_bytes"]
    table = recording.to_arrow("samples", columns, pc.field("process") == process).sort_by("ts")
    if not len(table):
        raise NotRecordedError(f"{recording._title()} has no sample of process {process}: see `processes`")
    axes = _axes(ax)
    instants = table["ts"].to_pylist()
    rss, anon = _mib(table["rss_bytes"]), _mib(table["anon_bytes"])
    axes.fill_between(_numbers(instants), 0, anon, color=_COLOURS[0], alpha=0.7, label="anonymous", linewidth=0)
    axes.fill_between(
        _numbers(instants),
        anon,
        rss,
        color=_COLOURS[4],
        alpha=0.6,
        label="files and\nshared memory",
        linewidth=0,
    )
    for column, style, label in (
        ("hwm_bytes", "k--", "high-water mark"),
        ("pss_bytes", "r.", "PSS, where read"),
    ):
        known = table.filter(pc.is_valid(table[column]))
        if len(known):
            axes.plot(_numbers(known["ts"].to_pylist()), _mib(known[column]), style, linewidth=1, label=label)
    axes.set_title(f"{table['comm'][-1].as_py()} (pid {table['pid'][0].as_py()}) in {_name(recording)}", fontsize=10)
    _finish(axes)
    return axes


def tests_of_run(run: Run, top: int, ax: Axes | None) -> Axes:
    """Draws the peaks of the attempts of the largest tests, between their bounds."""
    if top < 1:
        raise MemsampleError(f"cannot show the {top} largest: give 1 or more")
    measured = [
        (max(peaks), test)
        for test in run.tests
        if (peaks := [a.memory.rss_peak_bytes for a in test.attempts if a.memory and a.memory.rss_peak_bytes])
    ]
    if not measured:
        raise NotRecordedError(f"no test of {run._title()} has a peak")
    tests = [test for _, test in sorted(measured, key=lambda found: -found[0])[:top]]
    axes = _axes(ax, height=0.4 * len(tests) + 1.3)
    labels: set[str] = set()

    def label(text: str) -> str:
        fresh = text not in labels
        labels.add(text)
        return text if fresh else "_"

    for place, test in enumerate(reversed(tests)):
        attempts = [attempt.memory for attempt in test.attempts if attempt.memory is not None]
        for number, memory in enumerate(attempts):
            if memory.rss_peak_bytes is None:
                continue
            # The attempts of a test lie beside each other.
            y = place + (0.6 * (number + 0.5) / len(attempts) - 0.3)
            low = memory.rss_peak_bytes / _MIB
            if memory.rss_peak_bytes_upper is None:
                axes.plot([low], [y], ">", color=_COLOURS[0], markersize=5, label=label("peak RSS: at least"))
            else:
                high = memory.rss_peak_bytes_upper / _MIB
                axes.plot(
                    [low, high],
                    [y, y],
                    "|-",
                    color=_COLOURS[0],
                    markersize=7,
                    label=label("peak RSS: between"),
                )
            if memory.pss_peak_bytes is not None:
                pss = memory.pss_peak_bytes / _MIB
                axes.plot([pss], [y], ".", color=_COLOURS[5], markersize=6, label=label("peak PSS"))
    good = ("passed", "skipped")
    axes.set_yticks(
        range(len(tests)),
        [_short(t.name) if t.outcome in good else f"{_short(t.name)} ({t.outcome})" for t in reversed(tests)],
    )
    axes.set_ylim(-0.6, len(tests) - 0.4)
    axes.set_xlim(left=0)
    axes.set_xlabel("MiB")
    axes.grid(axis="y", visible=False)
    axes.set_title(f"{run.info.suite}: peaks of {len(tests)} of {len(run.tests)} tests, by attempt", fontsize=10)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return axes


def _group_of(by: str) -> str:
    keys = keys_of(by)
    if by == "process" or len(keys) != 1:
        raise MemsampleError(f"cannot stack by {by}: use role, test or comm, or draw one with plot_process")
    return keys[0]


def _with_every_tick(recording: Recording, sums: pa.Table, by: str) -> pa.Table:
    """Adds a row of nothing for each tick at which no group had a process: there the stack is zero.

    Not of ticks whose samples were read and not written: of these nothing is known."""
    if not len(sums):
        raise NotRecordedError(f"no process of {recording._title()} has a {by}")
    ticks = recording.to_arrow("ticks", ["ts", "dropped"])
    ticks = ticks.filter(pc.equal(pc.fill_null(ticks["dropped"], 0), 0))
    ticks = ticks.filter(pc.invert(pc.is_in(ticks["ts"], pc.unique(sums["ts"]))))
    none = pa.table({"ts": ticks["ts"], "rss_bytes": pa.repeat(pa.scalar(0, pa.int64()), len(ticks))})
    return pa.concat_tables([sums, none], promote_options="default").sort_by("ts")


def _thinned(sums: pa.Table) -> pa.Table:
    """Keeps as many ticks as a picture can show: of each span of time that at which the sum is largest."""
    instants = sums["ts"].cast(pa.int64())
    span = pc.max(instants).as_py() - pc.min(instants).as_py()
    return largest_in_spans(sums, max(1, span // _SPANS))


def _gaps(recording: Recording) -> tuple[set[datetime], timedelta]:
    """Returns when gaps begin that a picture shows, since ticks were missed or their samples were not written; and how
    long the last tick holds."""
    interval = timedelta(milliseconds=recording.info.settings.interval_ms)
    ticks = recording.to_arrow("ticks", ["ts", "missed", "dropped"]).sort_by("ts")
    is_written = pc.equal(pc.fill_null(ticks["dropped"], 0), 0)
    # How many ticks until each were not written: a tick whose number is another one is behind such a tick.
    unwritten = (
        pc.cumulative_sum(pc.invert(is_written).cast(pa.int64())).combine_chunks().filter(is_written.combine_chunks())
    )
    ticks = ticks.filter(is_written)
    instants = ticks["ts"].combine_chunks()
    if len(instants) < 2:
        return set(), interval
    before, after = instants[:-1], instants[1:]
    visible_ms = (instants[-1].as_py() - instants[0].as_py()) / timedelta(milliseconds=300)
    long = pc.greater(pc.subtract(after.cast(pa.int64()), before.cast(pa.int64())), int(visible_ms))
    missed = pc.greater(ticks["missed"].combine_chunks()[1:], 0)
    missed = pc.or_(missed, pc.not_equal(unwritten[1:], unwritten[:-1]))
    begins = {instant + interval for instant in before.filter(pc.and_(long, missed)).to_pylist()}
    return begins, interval


def _stack(
    axes: Axes, sums: pa.Table, key: str, top: int, gaps: tuple[set[datetime], timedelta]
) -> tuple[list[datetime], list[float]]:
    """Draws the stack, the largest group first, and returns its instants and its upper edge."""
    begins, interval = gaps
    ticks = pc.unique(sums["ts"]).to_pylist()
    # A tick holds until the next one, and the last as long as any; within a gap nothing is known.
    instants = sorted({*ticks, *begins})
    places = {instant: place for place, instant in enumerate(instants)}
    empty = [float("nan") if instant in begins else 0.0 for instant in instants]
    heights: dict[str, list[float]] = {}
    for instant, group, value in zip(
        sums["ts"].to_pylist(), sums[key].to_pylist(), sums["rss_bytes"].to_pylist(), strict=True
    ):
        if group is not None:
            heights.setdefault(group, list(empty))[places[instant]] = value / _MIB
    if top < 1:
        raise MemsampleError(f"cannot show the {top} largest: give 1 or more")
    names = sorted(heights, key=lambda name: (-max(filter(math.isfinite, heights[name]), default=0), name))
    shown = names[: min(top, len(_COLOURS))]
    others = [sum(values) for values in zip(*(heights[name] for name in names[len(shown) :]), strict=True)]
    layers = [(_OTHERS, others, _GREY)] if others else []
    layers += [(name, heights[name], colour) for name, colour in zip(shown, _COLOURS, strict=False)]
    instants.append(instants[-1] + interval)
    edge = [0.0] * len(instants)
    for name, values, colour in layers:
        above = [low + value for low, value in zip(edge, _held(values), strict=True)]
        style: dict[str, Any] = {"color": colour, "alpha": 0.85, "linewidth": 0, "step": "post"}
        axes.fill_between(_numbers(instants), edge, above, label=_short(name), **style)
        edge = above
    for number, begin in enumerate(sorted(begins)):
        end = instants[places[begin] + 1]
        left, right = _numbers([begin, end])
        label = "_" if number else "no sample: missed or not written"
        axes.axvspan(left, right, facecolor="none", edgecolor="#D55E00", hatch="xx", linewidth=0, label=label)
    return instants, edge


def _held(values: list[float]) -> list[float]:
    return [*values, values[-1]]


def _mark(axes: Axes, recording: Recording) -> None:
    """Draws the spans of tests, and the kills of the kernel."""
    marks = recording.to_arrow("marks", ["ts", "kind", "name", "test"]).sort_by("ts").to_pylist()
    begun: dict[tuple[str, str], datetime] = {}
    spans: list[tuple[datetime, datetime, str]] = []
    for mark in marks:
        key = (mark["test"] or "", mark["name"])
        if mark["kind"] == "begin" and mark["test"]:
            begun[key] = mark["ts"]
        elif mark["kind"] == "end" and key in begun:
            spans.append((begun.pop(key), mark["ts"], mark["test"]))
    for number, (begin, end, test) in enumerate(sorted(spans)):
        left, right = _numbers([begin, end])
        axes.axvspan(left, right, color="#000000", alpha=0.07 if number % 2 else 0.035, linewidth=0, zorder=0)
        # Names would lie over each other where there are many.
        if len(spans) <= 20:
            place: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "va": "top", "clip_on": True}
            name = _short(test, 20 if len(spans) <= 5 else 14)
            axes.text(left, 0.99, f" {name}", rotation=0 if len(spans) <= 5 else 90, fontsize=8, **place)
    kills = [mark["ts"] for mark in marks if mark["kind"] == "oom_kill"]
    for number, instant in enumerate(kills):
        axes.axvline(_numbers([instant])[0], color="#D00000", linewidth=1, label="_" if number else "OOM kill")


def _axes(ax: Axes | None, height: float = 4) -> Axes:
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise missing_extra("plot", error) from None
    if ax is None:
        _, ax = plt.subplots(figsize=(11, height), layout="constrained")
    ax.grid(alpha=0.3)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _finish(axes: Axes) -> None:
    time_axis(axes)
    axes.set_ylabel("MiB")
    axes.set_ylim(bottom=0)
    axes.margins(x=0.01)
    names = [text for text in axes.texts if text.get_text()]
    if names:
        # The names of tests lie above what is drawn, not upon it.
        space = 0.12 if all(text.get_rotation() == 0 for text in names) else 0.45
        axes.set_ylim(top=axes.get_ylim()[1] * (1 + space))
    handles, labels = axes.get_legend_handles_labels()
    # The legend in the order of the stack, from above.
    axes.legend(handles[::-1], labels[::-1], loc="upper left", bbox_to_anchor=(1, 1), frameon=False)


def _name(recording: Recording) -> str:
    # The recordings of all runs have the same name.
    path = recording.info.path.resolve()
    return _short(path.parent.name if path.name == "recording" else recording.info.name, 60)


def _numbers(instants: list[datetime]) -> Any:
    from matplotlib.dates import date2num

    return date2num([instant.replace(tzinfo=None) for instant in instants])


def _mib(column: pa.ChunkedArray) -> list[float]:
    return [float("nan") if value is None else value / _MIB for value in column.to_pylist()]


def _short(name: str, length: int = 28) -> str:
    # A name may contain what does not print, and what matplotlib takes for mathematics or for a label to hide.
    shown = "".join(character if character.isprintable() else "?" for character in name)
    shown = shown if len(shown) <= length else shown[: length - 1] + "…"
    shown = shown.replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown
