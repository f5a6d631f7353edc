"""What each test used, from the Parquet files of a recording."""

import bisect
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import pyarrow.parquet

# The name of a mark is this and the process id of the worker.
MARK_PREFIX = "pytest worker "


@dataclass
class TestUsage:
    """Null is what was not sampled."""

    test: str
    worker_pid: int
    samples: int
    rss_peak_bytes: Optional[int]
    rss_growth_bytes: Optional[int]


def _rows(recording, table, columns):
    for path in sorted(Path(recording).glob(f"{table}.parquet")) + sorted(Path(recording).glob(f"{table}-*.parquet")):
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches(columns=columns):
            yield from zip(*(batch.column(name).to_pylist() for name in columns))


def _windows(recording):
    """Yields test, pid of the worker, begin and end of each test."""
    began = {}
    for ts, kind, name, test in _rows(recording, "marks", ["ts", "kind", "name", "test"]):
        if test is None or not name.startswith(MARK_PREFIX):
            continue
        if kind == "begin":
            began[name, test] = ts
        elif kind == "end" and (name, test) in began:
            yield test, int(name[len(MARK_PREFIX):]), began.pop((name, test)), ts


def usage_by_test(recording):
    """Returns the usage of every test that was marked, in the order in which they ended."""
    windows = list(_windows(recording))
    workers = {pid for _, pid, _, _ in windows}
    # A process belongs to the worker that it descends from. A pid may be given again, so the parent is
    # looked for among those that lived when the child was first seen.
    images = defaultdict(list)
    parents = {}
    columns = ["process", "pid", "ppid", "first_ts", "last_ts"]
    for process, pid, ppid, first, last in _rows(recording, "processes", columns):
        images[pid].append((first, last, process))
        parents[process] = (pid, ppid, first)

    def worker_of(process):
        pid, ppid, first = parents[process]
        for _ in range(256):
            if pid in workers:
                return pid
            alive = [image for since, until, image in images[ppid] if since <= first <= until]
            if not alive:
                return ppid if ppid in workers else None
            pid, ppid, first = parents[alive[-1]]
        return None

    worker = {process: worker_of(process) for process in parents}
    tree, alone = defaultdict(lambda: defaultdict(int)), defaultdict(dict)
    for ts, process, pid, rss in _rows(recording, "samples", ["ts", "process", "pid", "rss_bytes"]):
        owner = worker.get(process)
        if owner is not None:
            tree[owner][ts] += rss
            if pid == owner:
                alone[owner][ts] = rss
    instants = {pid: sorted(sums) for pid, sums in tree.items()}
    usages = []
    for test, pid, begin, end in windows:
        times = instants.get(pid, [])
        first, behind = bisect.bisect_left(times, begin), bisect.bisect_right(times, end)
        sampled = times[first:behind]
        before = [ts for ts in times[:first] if ts in alone[pid]][-1:]
        last = [ts for ts in sampled if ts in alone[pid]][-1:]
        growth = alone[pid][last[0]] - alone[pid][before[0]] if before and last else None
        peak = max((tree[pid][ts] for ts in sampled), default=None)
        usages.append(TestUsage(test, pid, len(sampled), peak, growth))
    return usages
