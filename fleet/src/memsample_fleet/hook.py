"""Commands of the user, bounded in time and output. They end with who called them, however that ends."""

import collections
import contextlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from memsample_fleet import guard, text
from memsample_fleet.execution import environment

_OUTPUT_KEPT = 2000
"""The most bytes of its output that are kept: its end."""


def checked(command: Sequence[str], directory: Path) -> tuple[str, ...]:
    """Return a command whose program is there; raises `ValueError` otherwise."""
    if not command or not command[0]:
        raise ValueError('must be a command as a list of words, such as ["./flash", "--fast"]')
    if _program(command[0], directory) is None:
        where = f" in {directory}" if "/" in command[0] else ""
        raise ValueError(f"names `{command[0]}`, and there is no such program{where} that may be executed")
    return tuple(command)


def _program(name: str, directory: Path) -> str | None:
    return shutil.which(directory / name if "/" in name else name)


def call(command: Sequence[str], directory: Path, about: dict[str, str], timeout_s: float) -> tuple[int, str]:
    """Execute a command; returns its exit code (128 and the signal that ended it), and the end of its output.

    At its end, or after the timeout, all that it started is killed.
    """
    name = command[0]
    program = _program(name, directory)
    if program is None:
        return 127, f"cannot execute {name}: there is no such program that may be executed"
    reading, orders = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__, str(reading), program, *command[1:]],
            cwd=directory, env=environment() | about, pass_fds=[reading],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    except OSError as error:
        os.close(orders)
        return 127, f"cannot execute {name}: {error.strerror}"
    finally:
        os.close(reading)
    kept: collections.deque[int] = collections.deque(maxlen=_OUTPUT_KEPT)

    def read() -> None:
        assert process.stdout is not None
        while chunk := process.stdout.read1(65536):  # type: ignore[attr-defined]
            kept.extend(chunk[-_OUTPUT_KEPT:])

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    late = ""
    try:
        code = process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        late = f" [killed after {text.duration(timeout_s)}]"
        with contextlib.suppress(BrokenPipeError):
            os.write(orders, b"k")
        code = process.wait()
    os.close(orders)
    reader.join(5)
    said = bytes(kept).decode(errors="replace").replace("\0", "\ufffd") + late
    return (code if code >= 0 else 128 - code), said
