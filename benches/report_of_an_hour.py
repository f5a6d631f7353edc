#!/usr/bin/env python3
"""Writes a recording of an hour at 10 Hz with 300 processes, and measures `memsample report` and `memsample peaks --by role` on it.

10.8 million samples, in the format of a recording that MEMSAMPLE makes for it; its tests have no results, so that the
report computes their peaks, and a third of the processes, each of one test, lives before and after it, too. The
processes walk at random, at a tenth of the ticks; one has a spike of a single tick, which must be the peak of its role
in the report. With node and the packages of memsampled/report/tests/browser, Chromium opens the report and zooms.

    benches/report_of_an_hour.py MEMSAMPLE [HOURS [PROCESSES [TESTS]]]

It needs numpy and pyarrow: .venv/bin/python has them after `make notebook`.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

BROWSER = pathlib.Path(__file__).parent.parent / "memsampled/report/tests/browser"
TICK_MS = 100
PAGE = 4096
ROLES = 60
# What is written at once: ten minutes, as the recorder does.
GROUP = 6000
SPIKE_BYTES = 250_000 * PAGE
RUNS = 5


class Recording:
    """Writes tables with the schemas of another recording; what is not given is null, or zero where it may not be."""

    def __init__(self, model, directory):
        self.directory = directory
        self.manifest = json.loads((model / "recording.json").read_text())
        tables = ["samples", "processes", "exits", "ticks", "system", "cgroups", "marks"]
        self.schemas = {name: pq.read_schema(sorted(model.glob(f"{name}*.parquet"))[0]) for name in tables}

    def table(self, name, rows, /, **columns):
        columns["recording"] = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), [self.manifest["id"]])
        arrays = []
        for field in self.schemas[name]:
            column = columns.get(field.name)
            if column is not None:
                column = column if isinstance(column, pa.Array) else pa.array(column)
            elif field.nullable:
                column = pa.nulls(rows, field.type)
            elif pa.types.is_string(field.type):
                column = pa.array([""] * rows)
            else:
                column = pa.array(np.zeros(rows, np.int64))
            arrays.append(column.cast(field.type))
        return pa.Table.from_arrays(arrays, schema=self.schemas[name])

    def write(self, name, rows, /, **columns):
        pq.write_table(self.table(name, rows, **columns), self.directory / f"{name}.parquet", compression="zstd")


def names(prefix, count, repeat):
    """Returns `count` names, each `repeat` times."""
    indices = np.repeat(np.arange(count, dtype=np.int32), repeat)
    return pa.DictionaryArray.from_arrays(pa.array(indices), pa.array([f"{prefix}{index}" for index in range(count)]))


def write_samples(recording, begin_ms, ticks, processes):
    """Writes the samples, and returns the largest and the mean resident set of each process."""
    random = np.random.default_rng(1)
    schema = recording.schemas["samples"]
    texts = [name for name in schema.names if name in ("comm", "role", "recording", "test", "cgroup")]
    numbers = {name: "DELTA_BINARY_PACKED" for name in schema.names if name not in texts and schema.field(name).type != pa.float64()}
    last = random.integers(256, 40_000, processes)
    largest, sums = np.zeros(processes, np.int64), np.zeros(processes, np.int64)
    path = recording.directory / "samples.parquet"
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=texts, column_encoding=numbers) as writer:
        for first in range(0, ticks, GROUP):
            count = min(GROUP, ticks - first)
            steps = random.integers(-30, 31, (processes, count)) * (random.random((processes, count)) < 0.1)
            pages = np.maximum(last[:, None] + np.cumsum(steps, 1), 100)
            last = pages[:, -1].copy()
            if first == 0:
                pages[5, count // 2] += SPIKE_BYTES // PAGE
            rss = pages * PAGE
            largest, sums = np.maximum(largest, rss.max(1)), sums + rss.sum(1)
            keys = np.repeat(np.arange(1, processes + 1), count)
            rss = rss.ravel()
            roles = np.repeat(np.arange(processes, dtype=np.int32) % ROLES, count)
            writer.write_table(
                recording.table(
                    "samples",
                    count * processes,
                    ts=np.tile(begin_ms + (first + np.arange(count)) * TICK_MS, processes),
                    process=keys,
                    pid=keys + 100,
                    comm=names("c", processes, count),
                    role=pa.DictionaryArray.from_arrays(pa.array(roles), pa.array([f"role {index}" for index in range(ROLES)])),
                    rss_bytes=rss,
                    vsize_bytes=rss * 3,
                    shared_bytes=rss // 4,
                    anon_bytes=rss - rss // 4,
                    swap_bytes=np.zeros_like(rss),
                ),
                row_group_size=count * processes,
            )
    return largest, sums // ticks


def write_recording(model, directory, hours, processes, tests):
    recording = Recording(model, directory)
    begin_ms = int(time.time() * 1000) // TICK_MS * TICK_MS
    ticks = int(hours * 36_000)
    ts = begin_ms + np.arange(ticks) * TICK_MS
    largest, mean = write_samples(recording, begin_ms, ticks, processes)
    keys = np.arange(1, processes + 1)
    of_test = [f"test {index % tests}" if tests and index % 3 == 0 else None for index in range(processes)]
    recording.write(
        "processes",
        processes,
        process=keys,
        pid=keys + 100,
        start_ns=np.full(processes, 10**9),
        ppid=np.ones(processes, np.int64),
        comm=[f"c{index}" for index in range(processes)],
        role=[f"role {index % ROLES}" for index in range(processes)],
        test=pa.array(of_test, pa.string()),
        first_ts=np.full(processes, ts[0]),
        last_ts=np.full(processes, ts[-1]),
        samples=np.full(processes, ticks),
        rss_max_bytes=largest,
        rss_max_ts=np.full(processes, ts[0]),
        rss_mean_bytes=mean,
        hwm_max_bytes=largest,
    )
    planned = np.arange(ticks) * TICK_MS * 10**6
    recording.write("ticks", ticks, ts=ts, planned_ns=planned, began_ns=planned, processes_read=np.full(ticks, processes))
    random = np.random.default_rng(2)
    available = (20 << 30) - np.abs(np.cumsum(random.integers(-10, 11, ticks))) * (1 << 20)
    recording.write(
        "system",
        ticks,
        ts=ts,
        mem_total_bytes=np.full(ticks, 24 << 30),
        mem_available_bytes=available,
        swap_total_bytes=np.zeros(ticks, np.int64),
        swap_free_bytes=np.zeros(ticks, np.int64),
        psi_some_us=np.cumsum(random.integers(0, 3000, ticks)),
        oom_kill=np.zeros(ticks, np.int64),
    )
    seconds = ts[::10]
    recording.write(
        "cgroups",
        len(seconds),
        ts=seconds,
        cgroup=["/a"] * len(seconds),
        cgroup_processes=np.ones(len(seconds), np.int64),
        cgroup_current_bytes=np.full(len(seconds), 5 << 30),
        cgroup_limit_bytes=np.full(len(seconds), 8 << 30),
    )
    spans = [(index * ticks // tests, (index + 1) * ticks // tests - 2) for index in range(tests)]
    marks = [(first, "begin", index) for index, (first, _) in enumerate(spans)]
    marks = sorted(marks + [(last, "end", index) for index, (_, last) in enumerate(spans)])
    recording.write(
        "marks",
        len(marks),
        ts=np.array([begin_ms + tick * TICK_MS for tick, _, _ in marks], np.int64),
        boot_ns=np.array([tick * TICK_MS * 10**6 for tick, _, _ in marks], np.int64),
        kind=pa.array([kind for _, kind, _ in marks], pa.string()),
        name=pa.array(["attempt 1.1"] * len(marks), pa.string()),
        test=pa.array([f"test {index}" for _, _, index in marks], pa.string()),
    )
    recording.write("exits", 0)
    manifest = recording.manifest
    manifest["totals"].update(samples=ticks * processes, processes=processes, ticks=ticks, late=0, missed=0)
    manifest.update(interval_ms=TICK_MS, clock={"boot_ns": 0, "utc_ns": begin_ms * 10**6})
    (directory / "recording.json").write_text(json.dumps(manifest))
    return ticks * processes, int(largest[5])


# What forks a program gives it its own peak to begin with: this process is large, and the one in between is small.
MEASURE = """
import json, os, resource, subprocess, sys, time
begun = time.monotonic()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([time.monotonic() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024]))
"""


def measured(command):
    """Runs a command; returns its seconds, its CPU seconds and its peak RSS in bytes."""
    ended = subprocess.run([sys.executable, "-S", "-c", MEASURE, *command], check=True, capture_output=True, text=True)
    return json.loads(ended.stdout)


def main():
    program = str(pathlib.Path(sys.argv[1]).absolute())
    given = [float(number) for number in sys.argv[2:]]
    hours, processes, tests = given + [1.0, 300, 50][len(given) :]
    processes, tests = int(processes), int(tests)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        recorded = [program, "record", "--name", "model", "--", "sleep", "1"]
        subprocess.run(recorded, check=True, capture_output=True, cwd=scratch)
        (scratch / "long").mkdir()
        model = (scratch / "recordings/latest").resolve()
        samples, spike = write_recording(model, scratch / "long", hours, processes, tests)
        report = scratch / "report.html"
        command = [program, "report", str(scratch / "long"), "-o", str(report)]
        runs = [measured(command) for _ in range(RUNS)]
        seconds, cpu, rss = (statistics.median(column) for column in zip(*runs))
        assert f'value="{spike}"' in report.read_text(), "the spike of one tick is in the report"
        print(f"| recording | samples | seconds | CPU seconds | peak RSS | file | load |\n|---|--:|--:|--:|--:|--:|--:|")
        size = report.stat().st_size / 1e6
        print(
            f"| {hours:g} h at 10 Hz, {processes} processes, {tests} tests | {samples} | {seconds:.2f} | {cpu:.2f} | "
            f"{rss / 2**20:.0f} MiB | {size:.2f} MB | {os.getloadavg()[0]:.1f} |"
        )
        runs = [measured([program, "peaks", str(scratch / "long"), "--by", "role"]) for _ in range(RUNS)]
        seconds, cpu, rss = (statistics.median(column) for column in zip(*runs))
        print(f"\npeaks by role: {seconds:.2f} s, {cpu:.2f} s of CPU, peak RSS {rss / 2**20:.0f} MiB")
        if (BROWSER / "node_modules").is_dir():
            opened = subprocess.run(["node", BROWSER / "open.mjs", report], capture_output=True, text=True, check=True)
            views = json.loads(opened.stdout)["scripts"]
            frames = sorted(view["framesPerSecond"] for view in views)
            opens = sorted(view["milliseconds"] for view in views)
            print(f"\nChromium without a GPU: open after {opens[len(opens) // 2]} ms, {frames[len(frames) // 2]} frames a second while zooming (median of {len(views)}: {frames})")


if __name__ == "__main__":
    main()
