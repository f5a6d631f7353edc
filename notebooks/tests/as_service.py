"""Starts a program as systemd starts the service of a unit, as far as the kernel alone can do it: its filter of system calls
and of address families, its capabilities, its niceness, its place before the OOM killer, no new privileges, and no memory that
is written and executed.

Usage: as_service.py UNIT PROGRAM ARGUMENT… The sets of system calls are those of `systemd-analyze syscall-filter`.
"""

import contextlib
import ctypes
import os
import re
import resource
import struct
import subprocess
import sys
from pathlib import Path

NUMBERS = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
# <linux/filter.h>, <linux/seccomp.h>, <linux/prctl.h>, <asm/socket.h>
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050000
NUMBER, FIRST_ARGUMENT = 0, 16
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, PR_SET_MDWE, FILTER = 22, 38, 65, 2
EPERM, EAFNOSUPPORT = 1, 97
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def values(unit, key):
    return re.findall(rf"^{key}=(.*)$", unit, re.MULTILINE)


def calls_of(name):
    """The system calls of a set, and of the sets in it."""
    if not name.startswith("@"):
        return {name}
    told = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True)
    lines = [line.strip() for line in told.stdout.splitlines()[1:]]
    names = [line for line in lines if line and not line.startswith("#")]
    return set().union(*map(calls_of, names))


def allowed(unit):
    calls = set()
    for line in values(unit, "SystemCallFilter"):
        named = set().union(*map(calls_of, line.lstrip("~").split()))
        calls = calls - named if line.startswith("~") else calls | named
    return calls


def seccomp(unit):
    """The filter, as the kernel wants it."""
    numbers = {name: int(number) for name, number in re.findall(r"__NR_(\w+) (\d+)", NUMBERS.read_text())}
    calls = allowed(unit)
    assert {"read", "openat"} <= calls and "mount" not in calls
    step = struct.Struct("=HBBI").pack
    families = [FAMILIES[name] for line in values(unit, "RestrictAddressFamilies") for name in line.split()]
    code = [step(LOAD, 0, 0, NUMBER)]
    if families:
        code += [step(EQUAL, 0, len(families) * 2 + 2, numbers["socket"]), step(LOAD, 0, 0, FIRST_ARGUMENT)]
        for family in families:
            code += [step(EQUAL, 0, 1, family), step(RETURN, 0, 0, ALLOW)]
        code.append(step(RETURN, 0, 0, REFUSE | EAFNOSUPPORT))
    for number in sorted(numbers[name] for name in calls if name in numbers):
        code += [step(EQUAL, 0, 1, number), step(RETURN, 0, 0, ALLOW)]
    return [*code, step(RETURN, 0, 0, REFUSE | EPERM)]


def main():
    unit = Path(sys.argv[1]).read_text()
    assert values(unit, "SystemCallErrorNumber") == ["EPERM"]
    code = seccomp(unit)
    if not os.environ.get("BOUNDED"):
        # What takes a capability, and some of it root may not have in a container.
        for attempt in [
            lambda: Path("/proc/self/oom_score_adj").write_text(values(unit, "OOMScoreAdjust")[0]),
            lambda: os.nice(int(values(unit, "Nice")[0])),
        ]:
            with contextlib.suppress(PermissionError):
                attempt()
        files = int(values(unit, "LimitNOFILE")[0])
        most = min(files, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        names = values(unit, "CapabilityBoundingSet")[0].split()
        kept = ",".join("+" + name.removeprefix("CAP_").lower() for name in names)
        # The rest of this program then runs with them alone.
        again = ["setpriv", f"--bounding-set=-all,{kept}", sys.executable, *sys.argv]
        os.execvpe("setpriv", again, {**os.environ, "BOUNDED": "yes"})
    kernel = ctypes.CDLL(None, use_errno=True)
    assert kernel.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    # Since Linux 6.3.
    kernel.prctl(PR_SET_MDWE, 1, 0, 0, 0)
    program = Program(len(code), b"".join(code))
    assert kernel.prctl(PR_SET_SECCOMP, FILTER, ctypes.byref(program), 0, 0) == 0, os.strerror(ctypes.get_errno())
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
