"""A file system in user space that answers no write, and a process that waits for one with its memory map locked.

The process replaces a shared mapping that it has written to. The kernel writes the page back first, with the lock of
the memory map held, so that whoever asks for the arguments or the PSS of this process waits as long as the write does.

Usage: unanswered.py DIRECTORY, in namespaces of its own. It prints the pid of that process once it waits, and ends it
when its standard input is closed. Whatever ends this program closes its device, with which the file system is gone and
every write to it has failed: the end of its parent and a time of its own see to that.
"""

import ctypes
import os
import select
import signal
import stat
import struct
import sys

PROT_READ, PROT_WRITE = 1, 2
MAP_SHARED, MAP_PRIVATE, MAP_FIXED, MAP_ANONYMOUS = 1, 2, 0x10, 0x20
PR_SET_PDEATHSIG = 1
MS_NOSUID_NODEV = 6
MNT_FORCE = 1
LOOKUP, FORGET, GETATTR, OPEN, READ, WRITE, RELEASE, FLUSH, INIT = 1, 2, 3, 14, 15, 16, 18, 25, 26
ENOSYS = 38
PAGE = 4096
SECONDS = 300

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]


def die_with_parent() -> None:
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def attributes(inode: int) -> bytes:
    """Returns struct fuse_attr: the root is inode 1, and its only file 2."""
    mode = stat.S_IFDIR | 0o755 if inode == 1 else stat.S_IFREG | 0o666
    return struct.pack("<6Q10I", inode, PAGE, 8, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, PAGE, 0)


ANSWERS = {
    INIT: lambda _: struct.pack("<4I2H2I2H2I", 7, 31, 65536, 0, 0, 0, 65536, 1, 0, 0, 0, 0) + bytes(24),
    LOOKUP: lambda _: struct.pack("<4Q2I", 2, 0, 100, 100, 0, 0) + attributes(2),
    GETATTR: lambda inode: struct.pack("<Q2I", 100, 0, 0) + attributes(inode),
    OPEN: lambda _: struct.pack("<Q2I", 1, 0, 0),
    READ: lambda _: bytes(PAGE),
    RELEASE: lambda _: b"",
    FLUSH: lambda _: b"",
}


def answer(device: int) -> bool:
    """Answers a request that is not a write; says whether it was one."""
    request = os.read(device, 1 << 20)
    _, operation, unique, inode = struct.unpack("<2I2Q", request[:24])
    if operation not in (WRITE, FORGET):
        body = ANSWERS[operation](inode) if operation in ANSWERS else b""
        error = 0 if operation in ANSWERS else -ENOSYS
        os.write(device, struct.pack("<IiQ", 16 + len(body), error, unique) + body)
    return operation == WRITE


def wait_for_write(path: str) -> None:
    """Is what the process does."""
    file = os.open(path, os.O_RDWR)
    at = libc.mmap(None, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)
    ctypes.memset(at, 1, 1)
    libc.mmap(at, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, -1, 0)


def main(directory: str) -> None:
    die_with_parent()
    signal.alarm(SECONDS)
    # Before the device is opened: a copy of it would keep the file system alive, and the process waiting.
    mounted, tell_mounted = os.pipe()
    child = os.fork()
    if child == 0:
        die_with_parent()
        os.close(tell_mounted)
        if os.read(mounted, 1):
            wait_for_write(directory + "/file")
        os._exit(0)
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0"
    if libc.mount(b"memsample-test", directory.encode(), b"fuse", MS_NOSUID_NODEV, options.encode()):
        sys.exit(os.strerror(ctypes.get_errno()))
    os.write(tell_mounted, b"x")
    while True:
        ready, _, _ = select.select([device, sys.stdin], [], [])
        if sys.stdin in ready:
            break
        if answer(device):
            print(child, flush=True)
    os.kill(child, signal.SIGKILL)
    libc.umount2(directory.encode(), MNT_FORCE)
    os.close(device)
    os.waitpid(child, 0)


main(sys.argv[1])
