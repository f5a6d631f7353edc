"""What the dashboard of a directory of many runs costs, which are read where they are.

Usage: benches/in_place.py MEMSAMPLE [RUNS]. MEMSAMPLE is a release build with the feature `lab`. Needs the packages of
notebooks/requirements.txt. The runs (3,000) are copies of one of 100 tests, each with an id of its own, of 50 releases.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dashboard import get, memory
from lab import RELEASES, clone, first_run


def cpu_ticks(server):
    """What a process has used, user and system, in clock ticks."""
    return sum(map(int, Path(f"/proc/{server.pid}/stat").read_text().split()[13:15]))


def main():
    memsample, runs = Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else 3000
    work = Path(tempfile.mkdtemp())
    first = first_run(memsample, work)
    for number in range(runs):
        clone(first, work / "runs" / f"run-{number:05}", f"1.{number % RELEASES}")
    print(f"load {os.getloadavg()[0]:.1f} at the begin; {runs} runs")
    port = 18098
    command = [memsample, "serve", "--runs", work / "runs", "--listen", f"127.0.0.1:{port}", "--index", work / "index"]

    def serve(runs):
        """A server that has the index of so many runs, and the seconds and CPU until then."""
        began = time.perf_counter()
        server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        wait_for(server, runs)
        ticks = cpu_ticks(server)
        return server, time.perf_counter() - began, ticks / os.sysconf("SC_CLK_TCK")

    def wait_for(server, runs):
        while True:
            try:
                status = json.loads(get(port, "/api/v1/status")[1])
            except OSError:
                assert server.poll() is None
                continue
            if status["runs"] == runs and status["index"]["compared"]:
                return
            time.sleep(0.02)

    server, seconds, cpu = serve(runs)
    try:
        print(f"first index {seconds:.1f} s, {cpu:.1f} s of CPU; peak RSS {memory(server.pid, 'VmHWM'):.0f} MiB")
        for title, path in [
            ("releases", "/"),
            ("runs", "/runs"),
            ("a test", "/test?project=default&suite=bench&test=test_7"),
        ]:
            times = [1000 * get(port, path)[0] for _ in range(7)]
            print(f"{title}: first {times[0]:.1f} ms, best {min(times):.1f} ms")
        # As a run ends: the directory is there, and the results come last.
        added = work / "runs" / "added"
        # Files of its own: one more link to a file changes the time of all other runs that have it.
        shutil.copytree(first, work / "own")
        clone(work / "own", work / "added", "2.0")
        (work / "added" / "results.json").rename(work / "results.json")
        (work / "added").rename(added)
        began = time.perf_counter()
        (work / "results.json").rename(added / "results.json")
        wait_for(server, runs + 1)
        print(f"an added run was visible after {time.perf_counter() - began:.2f} s")
        ticks = [cpu_ticks(server)]
        time.sleep(20)
        ticks.append(cpu_ticks(server))
        print(f"at rest {1000 * (ticks[1] - ticks[0]) / os.sysconf('SC_CLK_TCK') / 20:.1f} ms of CPU a second")
        print(f"RSS {memory(server.pid, 'VmRSS'):.0f} MiB, peak {memory(server.pid, 'VmHWM'):.0f} MiB")
    finally:
        server.terminate()
        server.wait()
    server, seconds, cpu = serve(runs + 1)
    print(f"begun again with its index {seconds:.1f} s, {cpu:.1f} s of CPU")
    server.terminate()
    server.wait()
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
