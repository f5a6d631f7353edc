"""`memsample run` as a child of the worker: started beneath its guard, followed, and ended."""

import collections
import contextlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from memsample_fleet import guard

LOG_LIMIT = 1 << 20
"""The most characters of the log of an attempt that are kept: its beginning."""

_EXCERPT = re.compile(r"\s*\d*\s*\|")
"""Lines of a file that a mistake is in, and what points at it: nothing when lines are joined."""


class Child:
    """A running program with its output. It ends with this process, and when it is told to."""

    def __init__(
        self,
        command: list[str],
        directory: Path,
        environment: dict[str, str],
        on_device: tuple[int, float] | None = None,
    ) -> None:
        """Start it; the first word of the command is a path. With a device, there is a descriptor that is held until it
        has ended, also if this process ends before, and the seconds that it has to end in order."""
        reading, self._orders = os.pipe()
        passed, told = [reading], str(reading)
        if on_device is not None:
            lock, seconds = on_device
            passed, told = [reading, lock], f"{reading},{lock},{seconds:.0f}"
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", guard.__file__, told, *command],
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=passed,
            )
        except BaseException:
            os.close(self._orders)
            raise
        finally:
            os.close(reading)
        self.stdout = b""
        self._last: collections.deque[str] = collections.deque(maxlen=40)
        self._lock = threading.Lock()
        self._lines: list[str] = []
        self._kept = self._left_out = 0
        self._threads = [
            threading.Thread(target=self._read_stdout, daemon=True),
            threading.Thread(target=self._read_stderr, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _read_stdout(self) -> None:
        assert self._process.stdout is not None
        self.stdout = self._process.stdout.read()

    def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        for raw in self._process.stderr:
            line = raw.decode(errors="replace").replace("\0", "\ufffd").rstrip("\r\n")
            with self._lock:
                if self._kept + len(line) <= LOG_LIMIT:
                    self._lines.append(line)
                    self._kept += len(line) + 1
                else:
                    self._left_out += len(line) + 1
                self._last.append(line)

    def new_lines(self) -> list[str]:
        """Return the lines of stderr since the last call."""
        with self._lock:
            lines, self._lines = self._lines, []
        return lines

    def last_line(self) -> str:
        """Return the last line that it wrote to stderr."""
        with self._lock:
            return self._last[-1] if self._last else ""

    def reason(self) -> str:
        """Return why it failed, as it told: its last line that begins with `error: `, and what follows but for excerpts
        of files; else its last line."""
        with self._lock:
            lines = list(self._last)
        begin = max((number for number, line in enumerate(lines) if line.startswith("error: ")), default=-1)
        lines = [line for line in lines[begin:] if not _EXCERPT.match(line)]
        return " ".join(" ".join(lines).split()).removeprefix("error: ")[:2000]

    def end_in_order(self) -> None:
        """Ask it to end: the tests within two seconds, and then what there is is written and pushed."""
        self._order(b"t")

    def kill(self) -> None:
        """End it at once, without a push."""
        self._order(b"k")

    def _order(self, order: bytes) -> None:
        with contextlib.suppress(BrokenPipeError, ProcessLookupError):
            os.write(self._orders, order)

    def wait(self, timeout_s: float) -> int | None:
        """Wait for its end: its exit code, or None if it goes on."""
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        for thread in self._threads:
            thread.join(5)
        with self._lock:
            if self._left_out:
                self._lines.append(f"[{self._left_out} more characters are left out]")
                self._left_out = 0
        return code

    def leave(self) -> None:
        """Let go of it while it ends in order, which may take long: nothing of it is read any more."""
        self.kill()
        with contextlib.suppress(OSError):
            os.close(self._orders)

    def close(self) -> None:
        """End it if it goes on, and let go of it."""
        self.kill()
        with contextlib.suppress(OSError):
            os.close(self._orders)
        self._process.wait()
        for thread, stream in zip(self._threads, (self._process.stdout, self._process.stderr), strict=True):
            thread.join(5)
            if stream is not None and not thread.is_alive():
                stream.close()


class Progress:
    """Follows `progress.jsonl` of a run: how many tests the suite has, and which ended how."""

    def __init__(self, file: Path) -> None:
        """Follow a file, which need not exist yet."""
        self._file, self._offset, self._rest = file, 0, b""
        self.tests: int | None = None
        self.ended = 0

    def read(self, told: Callable[[dict[str, Any]], None]) -> bool:
        """Read what is new, and tell each end of a test; whether there was something."""
        try:
            with self._file.open("rb") as file:
                file.seek(self._offset)
                new = file.read()
        except OSError:
            return False
        self._offset += len(new)
        *lines, self._rest = (self._rest + new).split(b"\n")
        news = False
        for line in lines:
            try:
                entry = json.loads(line)
                if "Suite" in entry:
                    self.tests = len(entry["Suite"]["tests"])
                elif "Ended" in entry:
                    result = entry["Ended"]["result"]
                    self.ended += 1
                    told({"test": result["test"]["test"], "outcome": _snake(str(result["outcome"]))})
                else:
                    continue
            except (ValueError, KeyError, TypeError):
                continue
            news = True
        return news


def _snake(outcome: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", outcome).lower()
