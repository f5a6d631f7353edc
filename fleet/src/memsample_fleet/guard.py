"""The parent of `memsample`, which ends it when the worker ends, however the worker ends.

Run as `python -I -S guard.py FD[,LOCK,SECONDS] PROGRAM ARGUMENT...`: FD is the reading end of a pipe whose other end
the worker holds. A byte `t` asks for an end in order: SIGTERM and, for what does not obey, another SIGTERM at once
and SIGKILL later. `k`, or the end of the pipe, is SIGKILL: the worker is dead or has lost its claim, and nothing of
the run may be pushed. `memsample` leaves no process when it is killed. A parent-death signal alone would not do: it
is cleared where the program has capabilities of its own. This file imports little, so that it starts within
milliseconds.

With a LOCK, a descriptor that is held to the end, the program runs a suite on a device, and killed it would leave it
there. Each order is one SIGTERM then: the program tells the device as soon as it can be reached, for as long as its
`--stop-for` says, while nobody waits for it and the lock keeps the device from being used. SECONDS later is SIGKILL.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys
import time

_PR_SET_PDEATHSIG = 1
_AT_ONCE_S = 0.25
"""From the first SIGTERM, in which a suite stops in order, to the second, which stops its tests at once."""
_KILL_S = 60.0
"""From the first SIGTERM to SIGKILL: room to write and push what there is."""


def main(arguments: list[str]) -> int:
    """Run a program until it ends or is to end; returns its exit code, or 128 and the signal that ended it."""
    pipe, *on_device = (int(number) for number in arguments[0].split(","))
    command = arguments[1:]
    if on_device:
        os.set_inheritable(on_device[0], False)
    # The worker sends what is to happen through the pipe; a Ctrl-C in its terminal is none of ours.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.set_inheritable(pipe, False)
    guard = os.getpid()
    child = os.fork()
    if child == 0:
        _become(command, guard)
    with contextlib.suppress(OSError):
        os.setpgid(child, child)
    handle = os.pidfd_open(child)
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    poll.register(pipe, select.POLLIN | select.POLLHUP)
    due: list[tuple[float, int]] = []
    stopping = False
    while True:
        wait = max(0.0, due[0][0] - time.monotonic()) * 1000 if due else None
        ready = [descriptor for descriptor, _ in poll.poll(wait)]
        if handle in ready:
            break
        if pipe in ready:
            order = os.read(pipe, 1)
            now = time.monotonic()
            if on_device:
                if order != b"t":
                    poll.unregister(pipe)
                # Once: a second SIGTERM gives up, and leaves the run on the device.
                if not stopping:
                    due = [(now, signal.SIGTERM), (now + on_device[1], signal.SIGKILL)]
                stopping = True
            elif order == b"t" and not due:
                due = [(now, signal.SIGTERM), (now + _AT_ONCE_S, signal.SIGTERM), (now + _KILL_S, signal.SIGKILL)]
            elif order != b"t":
                poll.unregister(pipe)
                due = [(0.0, signal.SIGKILL)]
        while due and due[0][0] <= time.monotonic():
            number = due.pop(0)[1]
            _send(child, number)
    # What a killed `memsample` could have left in its group: before it is reaped, so that the group is still its own.
    _send(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _become(command: list[str], guard: int) -> None:
    try:
        os.setpgid(0, 0)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard:
            os._exit(127)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.execv(command[0], command)
    except OSError as error:
        os.write(2, f"error: cannot execute {command[0]}: {error.strerror}\n".encode())
    os._exit(127)


def _send(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if number == signal.SIGKILL:
            os.killpg(group, number)
        else:
            os.kill(group, number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
