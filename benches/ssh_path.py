"""What it costs to run a suite by `memsample run --on ssh://…` instead of here, and where the time goes.

Usage: benches/ssh_path.py MEMSAMPLE [ROUNDS]. MEMSAMPLE is a release build with the feature `devices`, stripped as it is
installed, which is also sent to the device. Needs root for sshd, which serves loopback with keys of its own, and the
packages of fleet/requirements.txt. A suite of one test that is `true` is run here and there in turns (15 rounds), also
where the login on the device reads this user's ~/.bashrc, as bash does for each call of ssh. Then it is run there as often
through a script in place of ssh, which notes when each step began and ended; that script costs some milliseconds a step.
"""

import os
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "fleet/tests"))
from device import Device

SCRIPTS = Path(__file__).parent.parent / "memsampled/remote/src/scripts"
SUITE = 'name = "overhead"\n[defaults]\nsandbox = "none"\n[[test]]\nname = "true"\ncommand = ["true"]\n'
NOTE = """#!/bin/sh
at=$(mktemp -d {steps}/XXXXXXXXXX)
date +%s%N >$at/begun
printf '%s\\n' "$*" >$at/words
{ssh} "$@"
code=$?
date +%s%N >$at/ended
exit $code
"""


def cpu_of_children():
    """Seconds of CPU of what was waited for, and of what that waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def cpu_of_sshd(pid):
    """Seconds of CPU of sshd and of its connections that have ended, with their shells."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def names_of_steps():
    """The steps, each by its script as it is on a command line."""
    quoted = {path.stem: path.read_text().replace("'", "'\\''") for path in SCRIPTS.glob("*.sh")}
    return sorted(quoted.items(), key=lambda step: -len(step[1]))


def step_of(words, names):
    """Which step a call of ssh is, by its words."""
    if "-O exit" in words:
        return "end the connection"
    name = next((name for name, script in names if script.strip() in words), "?")
    return name if name != "receive" else f"receive {words.rsplit(chr(39), 2)[1]}"


def median(values):
    return f"{statistics.median(values):.2f} s ({min(values):.2f} to {max(values):.2f})"


def main():
    memsample, rounds = Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else 15
    work = Path(tempfile.mkdtemp(prefix="ssh-path-", dir="/tmp"))
    (work / "suite").mkdir()
    (work / "suite/suite.toml").write_text(SUITE)
    # A bash that is not the first one reads no ~/.bashrc.
    device = Device(work / "device", "SetEnv SHLVL=1")
    greeting = Device(work / "greeting")
    sshd = device._sshd.pid
    environment = {**os.environ, "MEMSAMPLE_CONFIG": "", "MEMSAMPLE_SSH": device.ssh}
    print(f"{memsample.stat().st_size >> 20} MiB of program; load {os.getloadavg()[0]:.1f} at the begin")

    def run(*more, ssh=device.ssh):
        """Runs the suite; returns seconds, and seconds of CPU: here and of sshd."""
        began, here, there = time.perf_counter(), cpu_of_children(), cpu_of_sshd(sshd)
        command = [memsample, "run", work / "suite/suite.toml", "--out", work / "runs", *more]
        ended = subprocess.run(command, env={**environment, "MEMSAMPLE_SSH": ssh}, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        seconds = time.perf_counter() - began
        return seconds, cpu_of_children() - here, cpu_of_sshd(sshd) - there

    try:
        run(), run("--on", device.address)
        here, there = [], []
        for _ in range(rounds):
            here.append(run())
            there.append(run("--on", device.address))
        print(f"here: {median([it[0] for it in here])}, {median([it[1] for it in here])} of CPU")
        print(f"there: {median([it[0] for it in there])}, of CPU {median([it[1] for it in there])} here and "
              f"{median([it[2] for it in there])} of sshd and its shells")  # fmt: skip
        print(f"longer there: {median([b[0] - a[0] for a, b in zip(here, there, strict=True)])}; the aim is 3 s")
        slow = [run("--on", greeting.address, ssh=greeting.ssh)[0] for _ in range(rounds)]
        print(f"there, with this user's ~/.bashrc: {median(slow)}")
        assert device.left() == greeting.left() == []
        steps(work, device, run, rounds)
        print(f"load {os.getloadavg()[0]:.1f} at the end")
    finally:
        device.close()
        greeting.close()


def steps(work, device, run, rounds):
    """Prints when each step of a run began and how long it took."""
    script = work / "ssh"
    names = names_of_steps()
    taken = {}
    for number in range(rounds):
        directory = work / f"steps-{number}"
        directory.mkdir()
        script.write_text(NOTE.format(steps=directory, ssh=device.ssh))
        script.chmod(0o755)
        run("--on", device.address, ssh=shlex.quote(str(script)))
        calls = []
        for at in directory.iterdir():
            begun, ended = (int((at / name).read_text()) / 1e9 for name in ("begun", "ended"))
            calls.append((begun, ended, step_of((at / "words").read_text(), names)))
        calls.sort()
        for index, (begun, ended, name) in enumerate(calls):
            taken.setdefault((index, name), []).append((begun - calls[0][0], ended - begun))
    print("\n| step | began after | took |\n|---|---|---|")
    for (_, name), times in sorted(taken.items()):
        began, took = (statistics.median(it[part] for it in times) for part in (0, 1))
        print(f"| {name} | {began:.2f} s | {took:.2f} s |")


if __name__ == "__main__":
    main()
