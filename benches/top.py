#!/usr/bin/env python3
"""Measures `memsample top` on a real terminal beside thousands of processes: how long a key takes, and what it costs.

The processes are `sleep`, in a pid namespace of their own, which ends with the benchmark; a busy machine around it is
not seen by the screen. Each key moves the selected row, and counts from its writing to the arrival of the last byte that
draws that row. They come at instants that do not depend on those of the sampling, so that some wait for it.
With DAEMON, `memsampled` samples the same processes meanwhile.

    benches/top.py MEMSAMPLE [PROCESSES [KEYS [DAEMON]]]

It needs root and pyte (`pip install pyte`).
"""

import fcntl
import os
import pathlib
import pty
import random
import select
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time

import pyte

ROWS, COLUMNS = 50, 160
# The lines above the rows, and the one below.
HEAD, FOOT = 4, 1
# Until the trail of each row is whole.
WARM_S = 65
NAMESPACE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
SLEEPERS = 'i=0; while [ $i -lt "$0" ]; do sleep 3600 & i=$((i+1)); done; echo ready; wait'
PATIENCE_S = 60
DEFAULTS = ["5000", "60", ""]


class Screen:
    """`memsample top` on a terminal of its own."""

    def __init__(self, command, directory):
        self.screen = pyte.Screen(COLUMNS, ROWS)
        self.stream = pyte.ByteStream(self.screen)
        self.drawn_at = 0.0
        self.pid, self.end = pty.fork()
        if self.pid == 0:
            os.chdir(directory)
            os.environ.update(TERM="xterm", LC_ALL="C.UTF-8")
            os.execv(command[0], command)
        fcntl.ioctl(self.end, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))

    def read_for(self, seconds):
        """Takes what is drawn in so many seconds, or the first part of it that comes."""
        drawn = b""
        while select.select([self.end], [], [], max(seconds, 0))[0]:
            drawn += os.read(self.end, 1 << 16)
            # The emulator is far slower than a terminal: what it takes is not the screen's.
            self.drawn_at, seconds = time.monotonic(), 0.002
        self.stream.feed(drawn)

    def selected(self):
        """The place of the selected row on the screen; the line of titles is reversed too."""
        for line in range(HEAD, ROWS - FOOT):
            if self.screen.buffer[line][0].reverse:
                return line
        return None

    def wait_until(self, is_true):
        begun = time.monotonic()
        while not is_true():
            if time.monotonic() - begun > PATIENCE_S:
                sys.exit("nothing changes on the screen:\n" + "\n".join(self.screen.display))
            self.read_for(1)
        return self.drawn_at - begun

    def rest(self, seconds):
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.read_for(left)

    def press(self, key):
        os.write(self.end, key)

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_mib(self):
        return int(pathlib.Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def latencies(screen, keys):
    """Returns how long each of some keys took, in milliseconds: down to the middle of the screen, and back."""
    took = []
    for index in range(keys):
        screen.rest(random.uniform(0.05, 0.6))
        down = index // 20 % 2 == 0
        before = screen.selected()
        screen.press(b"j" if down else b"k")
        wanted = before + (1 if down else -1)
        took.append(1000 * screen.wait_until(lambda: screen.selected() == wanted))
    return took


def pages(screen, keys):
    """The same of whole pages: until the first row of the screen is another one."""
    took = []
    for index in range(keys):
        screen.rest(random.uniform(0.05, 0.6))
        first = screen.screen.display[HEAD]
        screen.press(b"\x1b[6~")
        # The selected row goes to the bottom first; the page after that turns.
        took.append(1000 * screen.wait_until(lambda: screen.screen.display[HEAD] != first))
    return took


def told(name, took):
    took = sorted(took)
    print(f"| {name} | {statistics.median(took):.0f} ms | {took[int(len(took) * 0.95)]:.0f} ms | {took[-1]:.0f} ms |")


def measure(program, processes, keys, has_daemon):
    random.seed(1)
    sleepers = subprocess.Popen(["sh", "-c", SLEEPERS, str(processes)], stdout=subprocess.PIPE, text=True)
    assert sleepers.stdout.readline() == "ready\n"
    with tempfile.TemporaryDirectory() as directory:
        daemon = None
        if has_daemon:
            socket = f"{directory}/socket"
            arguments = [f"{program}d", "--socket", socket, "--recordings", f"{directory}/recordings", "--flight-recorder", "5m"]
            daemon = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)
        screen = Screen([program, "top", "--sort", "name"], directory)
        first = screen.wait_until(lambda: screen.selected() is not None)
        screen.rest(WARM_S)
        begun, used = time.monotonic(), screen.cpu_seconds()
        screen.rest(20)
        cpu = 100 * (screen.cpu_seconds() - used) / (time.monotonic() - begun)
        beside = ", memsampled beside it" if has_daemon else ""
        load = os.getloadavg()[0]
        print(f"{processes} processes at 2 Hz{beside}: first screen after {first:.2f} s, {cpu:.1f} % of a CPU, {screen.rss_mib():.0f} MiB (load {load:.1f})\n")
        print("| key | median | 95 % | longest |\n|---|--:|--:|--:|")
        told("one row", latencies(screen, keys))
        screen.press(b"\x1b[6~")
        screen.rest(2)
        if processes > 40 * (keys // 2 + 3):
            told("one page", pages(screen, keys // 2))
        screen.press(b"q")
        assert os.waitstatus_to_exitcode(os.waitpid(screen.pid, 0)[1]) == 0
        if daemon:
            daemon.terminate()
            daemon.wait()
    sleepers.kill()


def main():
    if os.environ.get("MEMSAMPLE_IN_NAMESPACE"):
        program, processes, keys, has_daemon = sys.argv[1:]
        return measure(program, int(processes), int(keys), has_daemon == "1")
    program = str(pathlib.Path(sys.argv[1]).absolute())
    processes, keys, daemon = (sys.argv[2:] + DEFAULTS[len(sys.argv) - 2 :])[:3]
    command = [*NAMESPACE, sys.executable, __file__, program, processes, keys, "1" if daemon else "0"]
    return subprocess.run(command, env={**os.environ, "MEMSAMPLE_IN_NAMESPACE": "1"}).returncode


if __name__ == "__main__":
    sys.exit(main())
