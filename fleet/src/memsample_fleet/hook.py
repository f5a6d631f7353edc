"""Commands of the user, bounded in time and output."""

import collections
import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from memsample_fleet import text
from memsample_fleet.execution import environment

_OUTPUT_KEPT = 2000
"""The most bytes of its output that are kept: its end."""


def call(command: Sequence[str], directory: Path, about: dict[str, str], timeout_s: float) -> tuple[int, str]:
    """Execute a command; returns its exit code (128 and the signal that ended it), and the end of its output.

    At its end, or after the timeout, all that it started is killed.
    """
    try:
        process = subprocess.Popen(
            command, cwd=directory, env=environment() | about, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    except OSError as error:
        return 127, f"cannot execute {command[0]}: {error.strerror}"
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
        code = -signal.SIGKILL
    # Whatever it started and left.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    reader.join(5)
    said = bytes(kept).decode(errors="replace").replace("\0", "\ufffd") + late
    return (code if code >= 0 else 128 - code), said
