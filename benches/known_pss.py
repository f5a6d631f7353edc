#!/usr/bin/env python3
"""Compares the PSS peak that `memsample run` tells of tests with what it must be, on a busy machine.

100 tests of 0.5 to 5 s. Each maps memory of a known size and holds it: alone, shared with forked children, or private in
children of different sizes. Four busy loops run beside them. The truth of a test is its own sum of PSS, read by the test itself
from smaps_rollup of all its processes while it holds the memory.

    benches/known_pss.py MEMSAMPLE [TESTS]
"""

import json
import pathlib
import subprocess
import sys
import tempfile

PROGRAM = r"""
import mmap, os, signal, sys, time
kind, mib, seconds, truth = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]

def hold(mib):
    memory = mmap.mmap(-1, mib << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for page in range(0, mib << 20, 4096):
        memory[page] = 1
    return memory

def fork(work):
    ready, said = os.pipe()
    pid = os.fork()
    if pid == 0:
        kept = work()
        os.write(said, b'x')
        time.sleep(60)
        os._exit(0)
    os.read(ready, 1)
    os.close(ready); os.close(said)
    return pid

begun = time.monotonic()
children = []
if kind == 'private':
    kept = hold(mib)
elif kind == 'shared':
    kept = hold(mib)
    children = [fork(lambda: None) for _ in range(3)]
else:
    children = [fork(lambda n=n: hold(mib * n // 10)) for n in (1, 2, 3, 4)]

def pss(pid):
    for line in open(f'/proc/{pid}/smaps_rollup'):
        if line.startswith('Pss:'):
            return int(line.split()[1]) * 1024

time.sleep(max(0, seconds * 0.8 - (time.monotonic() - begun)))
open(truth, 'w').write(str(sum(pss(pid) for pid in ['self', *children])))
time.sleep(max(0, seconds - (time.monotonic() - begun)))
for child in children:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""

SIZES_MIB = (10, 20, 40, 80, 100, 150, 200, 300)
KINDS = ("private", "shared", "children")


def main():
    memsample, tests = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 100
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        program = directory / "program.py"
        program.write_text(PROGRAM)
        lines = ['name = "known_pss"']
        for test in range(tests):
            kind, mib = KINDS[test % 3], SIZES_MIB[test % len(SIZES_MIB)]
            seconds = 0.5 + 4.5 * (test * 37 % 100) / 99
            command = [sys.executable, "-S", str(program), kind, str(mib), f"{seconds:.2f}", str(directory / f"truth-{test}")]
            lines += ["[[test]]", f'name = "{kind}-{mib}-{test}"', f"command = {json.dumps(command)}"]
        (directory / "suite.toml").write_text("\n".join(lines))
        busy = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(4)]
        try:
            command = [memsample, "run", str(directory / "suite.toml"), "--out", str(directory / "results")]
            run = subprocess.run(command, capture_output=True, text=True)
        finally:
            for loop in busy:
                loop.kill()
                loop.wait()
        if run.returncode != 0:
            sys.exit(f"the run failed with {run.returncode}:\n{run.stdout}\n{run.stderr}")
        found = list((directory / "results").rglob("results.json"))
        results = json.loads(found[0].read_text())
        told, exact, errors = 0, 0, []
        for test, result in enumerate(results["tests"]):
            memory = result["attempts"][-1]["memory"]
            truth, bytes = int((directory / f"truth-{test}").read_text()), memory["pss_peak_bytes"]
            if bytes is None:
                print(f"{result['name']}: -: {memory['pss_missing']}; {memory['samples']} samples")
                continue
            told += 1
            error = bytes / truth - 1
            errors.append(abs(error))
            exact += abs(error) <= 0.05
            if abs(error) > 0.05:
                print(f"{result['name']}: {bytes / 2**20:.1f} MiB told, {truth / 2**20:.1f} MiB true; {memory}")
        print(f"{told} of {tests} have a PSS, {exact} within 5 % of the truth; largest error {100 * max(errors, default=0):.1f} %")
        recorders = [json.loads(path.read_text())["recorder"] for path in (directory / "results").rglob("recording.json")]
        print(f"the recorder took {[round(recorder['cpu_seconds'], 2) for recorder in recorders]} s of CPU")


main()
