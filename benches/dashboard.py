"""What the dashboard of a large store costs: making its index, its pages, and many readers at once.

Usage: benches/dashboard.py MEMSAMPLE [RUNS [PICTURES]]. MEMSAMPLE is a release build with the feature `lab`. Needs the
packages of notebooks/requirements.txt. The store is made up: RUNS runs (10,000) of 100 tests, ten runs to a release,
with honest manifests; peaks have a noise of 2 %, and every tenth test grows by 10 % in the middle.

With a directory for PICTURES, each page is opened in Chromium too, at three widths, and its picture is taken; `npm ci`
in memsampled/report/tests/browser installs what drives it. For the page that compares two releases, twenty true runs of
100 tests are pushed then.
"""

import concurrent.futures
import datetime
import hashlib
import http.client
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path

import pyarrow
import pyarrow.parquet
from lab import clone, first_run

TESTS = 100
RUNS_OF_RELEASE = 10
MIB = 1 << 20
READERS = 200
BROWSER = Path(__file__).parents[1] / "memsampled/report/tests/browser"
BEGIN = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def written(path, table):
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(table, path, compression="zstd")
    return path.read_bytes()


def make_run(work):
    """One run of the store."""
    root, number, runs = work
    noise = random.Random(number)
    release = f"1.{number // RUNS_OF_RELEASE}"
    host = f"host-{number % 40:02}"
    started = BEGIN + datetime.timedelta(minutes=30 * number)
    run = f"nightly-{started:%Y%m%dT%H%M%SZ}-{number:012x}"
    place = f"project=kernel/suite=nightly/date={started:%Y-%m-%d}/host={host}/run={run}"
    is_late = number > runs // 2
    peaks = []
    for test in range(TESTS):
        base = (20 + test) * MIB * (1.1 if is_late and test % 10 == 0 else 1.0)
        peaks.append(int(base * noise.gauss(1, 0.02)))
    outcomes = ["failed" if noise.random() < 0.0005 else "passed" for _ in range(TESTS)]
    names = [f"test_{test:03}_of_something" for test in range(TESTS)]
    ones = pyarrow.array([1] * TESTS, pyarrow.int32())
    keys = {"run_id": [run] * TESTS, "host_name": [host] * TESTS, "release": [release] * TESTS}
    common = {"suite": ["nightly"] * TESTS, "test": names, "repetition": ones, "attempt": ones}
    tests = pyarrow.table(
        {
            **keys,
            **common,
            "outcome": outcomes,
            "duration_ns": pyarrow.array([noise.randrange(10**9) for _ in range(TESTS)], pyarrow.int64()),
            "rss_peak_bytes": pyarrow.array(peaks, pyarrow.int64()),
            "rss_peak_bytes_upper": pyarrow.array([peak + MIB for peak in peaks], pyarrow.int64()),
            "pss_peak_bytes": pyarrow.array([None] * TESTS, pyarrow.int64()),
            "anon_peak_bytes": pyarrow.array([peak // 2 for peak in peaks], pyarrow.int64()),
            "group_peak_bytes": pyarrow.array([None] * TESTS, pyarrow.int64()),
        }
    )
    roles = pyarrow.table(
        {
            **keys,
            **common,
            "role": ["sh"] * TESTS,
            "rss_peak_bytes": pyarrow.array([4 * MIB] * TESTS, pyarrow.int64()),
            "rss_peak_bytes_upper": pyarrow.array([5 * MIB] * TESTS, pyarrow.int64()),
            "processes": pyarrow.array([1] * TESTS, pyarrow.int64()),
        }
    )
    files = []
    for name, table in [("tests", tests), ("test_roles", roles)]:
        place_of = f"tables/{name}/{place}/{name}.parquet"
        data = written(root / place_of, table)
        digest = hashlib.sha256(data).hexdigest()
        files.append({"path": None, "object": place_of, "bytes": len(data), "sha256": digest, "table": name})
    failed = outcomes.count("failed")
    manifest = {
        "format": 1,
        "memsample": "0.1.0",
        "kind": "run",
        "run": run,
        "name": "nightly",
        "project": "kernel",
        "suite": "nightly",
        "date": f"{started:%Y-%m-%d}",
        "host": host,
        "release": release,
        "labels": {"release": release},
        "commit": f"{number // RUNS_OF_RELEASE:040x}",
        "kernel": "6.18.0",
        "memory_bytes": 1 << 34,
        "cpus": 8,
        "started": started.isoformat(),
        "duration_ns": 10**11,
        "outcome": "failed" if failed else "passed",
        "counts": {"passed": TESTS - failed, **({"failed": failed} if failed else {})},
        "recordings": [],
        "pushed": started.isoformat(),
        "files": files,
    }
    path = root / f"manifests/{place}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(manifest))


def get(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    began = time.perf_counter()
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    seconds = time.perf_counter() - began
    connection.close()
    assert answer.status == 200, (path, answer.status, body[:300])
    return seconds, body


def memory(pid, field):
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(field)) / 1024


def many(port, paths):
    """Median and 95th percentile of many readers, each of whom asks for every page once, in milliseconds."""
    seconds = []
    together = threading.Barrier(READERS)

    def reader(number):
        own = random.Random(number).sample(paths, len(paths))
        together.wait()
        return [get(port, path)[0] for path in own]

    with concurrent.futures.ThreadPoolExecutor(READERS) as readers:
        for some in readers.map(reader, range(READERS)):
            seconds += some
    seconds.sort()
    return 1000 * statistics.median(seconds), 1000 * seconds[int(len(seconds) * 0.95)]


def browse(base, pictures, paths):
    """Opens pages in Chromium, each in three windows, and prints until when they are complete."""
    pictures.mkdir(exist_ok=True)
    paths = [path.removeprefix("/") for path in paths if not path.startswith("/api") and "atom" not in path]
    ended = subprocess.run(
        ["node", BROWSER / "pages.mjs", base, pictures, *paths], capture_output=True, text=True, check=True
    )
    seen = json.loads(ended.stdout)
    slowest = max(seen, key=lambda page: page["milliseconds"])
    median = statistics.median(page["milliseconds"] for page in seen)
    print(
        f"{len(paths)} pages in Chromium: complete after {median:.0f} ms at the median, {slowest['milliseconds']} ms at most ({slowest['path']})"
    )
    wrong = [page for page in seen if page["console"] or page["foreign"] or page["found"] or page["wide"]]
    assert not wrong, [(page["path"], page["view"], page["console"], page["found"], page["wide"]) for page in wrong]


def main():
    memsample, runs = Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    work = Path(tempfile.mkdtemp())
    store = work / "lab"
    began = time.perf_counter()
    with concurrent.futures.ProcessPoolExecutor() as makers:
        list(makers.map(make_run, [(store, number, runs) for number in range(runs)], chunksize=50))
    print(f"{runs} runs of {TESTS} tests, made in {time.perf_counter() - began:.0f} s")
    port = 18099
    command = [memsample, "serve", "--runs", store, "--listen", f"127.0.0.1:{port}", "--index", work / "index"]
    began = time.perf_counter()
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:

        def status():
            while True:
                try:
                    return json.loads(get(port, "/api/v1/status")[1])
                except OSError:
                    assert server.poll() is None

        def wait_for(runs):
            while (found := status())["runs"] != runs or not found["index"]["compared"]:
                time.sleep(0.02)

        wait_for(runs)
        seconds = time.perf_counter() - began
        size = (work / "index").stat().st_size / MIB
        print(
            f"index made in {seconds:.1f} s, {size:.0f} MiB; peak RSS of the server {memory(server.pid, 'VmHWM'):.0f} MiB"
        )
        while status()["unexamined"]:
            time.sleep(0.02)
        seconds = time.perf_counter() - began
        worse = json.loads(get(port, "/api/v1/worse")[1])
        print(f"what got worse known {seconds:.1f} s after the begin: {len(worse)} notices on the first page")
        name = urllib.parse.quote("test_010_of_something")
        test = f"project=kernel&suite=nightly&test={name}"
        pages = {
            "releases": "/",
            "runs": "/runs",
            "runs of a host": "/runs?host=host-07",
            "runs with a label": "/runs?label=release%3D1.5",
            "suite": "/suite?project=kernel&suite=nightly",
            f"trend over {runs // RUNS_OF_RELEASE} releases": f"/test?{test}",
            "the same as JSON": f"/api/v1/test?{test}",
            "trend of a role": f"/test?{test}&role=sh",
            "what got worse": "/worse",
            "feed": "/feed.atom",
            "search": "/api/v1/search?q=042",
            "search of two letters": "/api/v1/search?q=ho",
        }
        for title, path in pages.items():
            times = [1000 * get(port, path)[0] for _ in range(7)]
            size = len(get(port, path)[1]) / 1024
            print(f"{title}: first {times[0]:.1f} ms, median {statistics.median(times):.1f} ms, {size:.0f} KiB")
        changes = json.loads(get(port, f"/api/v1/test?{test}")[1])["changes"]
        print(f"changes found in a test that grew by 10 %: {[round(it['change_percent'], 1) for it in changes]}")
        if len(sys.argv) > 3:
            first = first_run(memsample, work)
            for number in range(2 * RUNS_OF_RELEASE):
                clone(first, work / "runs" / f"run-{number:02}", f"1.{number % 2}")
            subprocess.run([memsample, "push", *(work / "runs").iterdir(), store], check=True, capture_output=True)
            wait_for(runs + 2 * RUNS_OF_RELEASE)
            runs += 2 * RUNS_OF_RELEASE
            browse(
                f"http://127.0.0.1:{port}/",
                Path(sys.argv[3]),
                [
                    *pages.values(),
                    "/hosts",
                    "/suites",
                    "/live",
                    "/fleet",
                    f"/run?id={json.loads(get(port, '/api/v1/runs')[1])[0]['run']}",
                    "/compare?project=default&base=1.0&head=1.1",
                    "/comparison?project=default&base=1.0&head=1.1",
                ],
            )
        median, worst = many(port, ["/", "/runs", f"/test?{test}", "/suites", "/api/v1/search?q=042"])
        print(f"{READERS} readers at once: median {median:.0f} ms, 95th percentile {worst:.0f} ms")
        # As a push does it: the manifest, then the news.
        make_run((store, runs, runs))
        manifest = max(store.glob("manifests/**/*.json"), key=lambda path: path.stat().st_mtime_ns)
        (store / "news").mkdir(exist_ok=True)
        news = f"{int(time.time() * 1000):012x}"
        began = time.perf_counter()
        (store / f"news/{news[:8]}-{news[8:]}-7000-8000-000000000000").write_text(str(manifest.relative_to(store)))
        wait_for(runs + 1)
        print(f"an added run was visible after {time.perf_counter() - began:.2f} s")
        print(
            f"RSS of the server at the end {memory(server.pid, 'VmRSS'):.0f} MiB, peak {memory(server.pid, 'VmHWM'):.0f} MiB"
        )
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
