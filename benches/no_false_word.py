#!/usr/bin/env python3
"""Says whether `memsample run` says a false word of a budget, on a busy machine.

Ten programs whose memory is known fork, execute programs and end in ways that a sampler does not see; each is attempted
a hundred times beside four busy loops. A word is false if a budget is `kept` that was exceeded in truth, or `exceeded`
that was kept, or if the bounds of the peak do not hold the truth.

    benches/no_false_word.py [--attempts 100] [--loops 4] [--memsample target/release/memsample] [PROGRAM...]

Prints a table, and exits with 1 if there was a false word. It needs Python and what `memsample run` needs; for the
programs to be seen whole it runs as root.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
from collections import Counter

MIB = 1 << 20
HOLD = "import os, sys, time\ndef hold(mib, s):\n    b = bytearray(mib << 20)\n    for i in range(0, len(b), 4096): b[i] = 1\n    time.sleep(s)\n"

# Name: the program, its budget of RSS in MiB, and the least and the largest peak that it can have in truth. What has
# forked and not yet run a program has the memory of its parent, which counts once.
PROGRAMS = {
    "double fork": (
        "r, w = os.pipe()\nif os.fork() == 0:\n    os.setsid()\n    if os.fork(): os._exit(0)\n    hold(200, .4)\n"
        "    os.write(w, b'x'); os._exit(0)\nos.wait(); os.close(w); os.read(r, 1)",
        50, 200, 250,
    ),
    "chain of 200": (
        "r, w = os.pipe()\nif os.fork() == 0:\n    for i in range(200):\n        if os.fork(): os._exit(0)\n"
        "    hold(200, .4); os.write(w, b'x'); os._exit(0)\nos.wait(); os.close(w); os.read(r, 1)",
        50, 200, 2300,
    ),
    "orphan of a shell": (
        "if len(sys.argv) > 1: hold(150, .4)\nelse:\n    import subprocess\n"
        "    subprocess.run(['/bin/sh', '-c', f'(\"{sys.executable}\" -S \"{sys.argv[0]}\" child &)'])\n    time.sleep(.8)",
        50, 150, 200,
    ),
    "replaced by a program": (
        "b = bytearray(b'x' * (40 << 20))\nos.execv(sys.executable, [sys.executable, '-S', '-c', 'pass'])",
        30, 80, 100,
    ),
    "spawner": (
        "import subprocess\nb = bytearray(300 << 20)\nfor i in range(0, len(b), 4096): b[i] = 1\n"
        "for i in range(10): subprocess.run(['/bin/true']); time.sleep(.05)",
        450, 300, 340,
    ),
    "late exec": (
        "b = bytearray(60 << 20)\nfor i in range(0, len(b), 4096): b[i] = 1\n"
        "if os.fork() == 0:\n    time.sleep(.4); os.execv('/bin/true', ['true'])\nos.wait()",
        100, 60, 95,
    ),
    "brief": (
        "if os.fork() == 0:\n    b = bytearray(100 << 20)\n    for i in range(0, len(b), 4096): b[i] = 1\n    os._exit(0)\n"
        "os.wait(); time.sleep(.2)",
        50, 100, 130,
    ),
    "eight at once": (
        "for i in range(8):\n    if os.fork() == 0:\n        hold(20, .6); os._exit(0)\nfor i in range(8): os.wait()",
        100, 100, 260,
    ),
    "small": ("hold(5, .1)", 60, 5, 40),
    "exec of an exec": (
        "if len(sys.argv) > 1: hold(80, .3)\nelse: os.execv('/bin/sh', ['sh', '-c', "
        "f'exec /bin/sh -c \"exec {sys.executable} -S {sys.argv[0]} child\"'])",
        40, 80, 110,
    ),
}


def run(arguments, directory):
    suite = ['name = "no false word"\n']
    for name in arguments.programs or PROGRAMS:
        program, limit, _, _ = PROGRAMS[name]
        path = directory / (name.replace(" ", "-") + ".py")
        path.write_text(HOLD + program + "\n")
        suite.append(
            f'[[test]]\nname = "{name}"\ncommand = ["{sys.executable}", "-S", "{path}"]\n'
            f'repeat = {arguments.attempts}\nbudget = {{ rss_peak = "{limit}MiB" }}\n'
        )
    (directory / "suite.toml").write_text("".join(suite))
    out = directory / "out"
    loops = [subprocess.Popen(["/bin/sh", "-c", "while :; do :; done"]) for _ in range(arguments.loops)]
    try:
        command = [arguments.memsample, "run", directory / "suite.toml", "--out", out, "--jobs", "1"]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
    (results,) = out.glob("*/results.json")
    return json.loads(results.read_text())["tests"]


def false_word(attempt, least, most, limit):
    """Returns what is wrong with what is said of an attempt; `None` where nothing is."""
    memory = attempt["memory"] or {}
    lower, upper = memory.get("rss_peak_bytes"), memory.get("rss_peak_bytes_upper")
    verdicts = [budget["verdict"] for budget in attempt["budgets"]]
    if "kept" in verdicts and least > limit:
        return "kept"
    if "exceeded" in verdicts and most < limit:
        return "exceeded"
    if lower is not None and lower > most * MIB:
        return f"lower bound {lower / MIB:.1f} MiB"
    if upper is not None and upper < least * MIB:
        return f"upper bound {upper / MIB:.1f} MiB"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--attempts", type=int, default=100)
    parser.add_argument("--loops", type=int, default=4)
    parser.add_argument("--memsample", default="target/release/memsample")
    parser.add_argument("programs", nargs="*", metavar="PROGRAM")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        tests = run(arguments, pathlib.Path(directory))
    bad = 0
    print(f"{'program':24} {'attempts':>8} {'kept':>6} {'exceeded':>9} {'cannot tell':>12} {'false':>6}")
    for name in arguments.programs or PROGRAMS:
        _, limit, least, most = PROGRAMS[name]
        own = [attempt for test in tests if test["name"] == name for attempt in test["attempts"]]
        words = Counter(budget["verdict"] for attempt in own for budget in attempt["budgets"])
        false = [word for word in (false_word(attempt, least, most, limit) for attempt in own) if word]
        bad += len(false)
        print(
            f"{name:24} {len(own):8} {words['kept']:6} {words['exceeded']:9} {words['cannot_tell']:12} {len(false):6}"
            + ("  " + ", ".join(f"{word} x{count}" for word, count in Counter(false).items()) if false else "")
        )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
