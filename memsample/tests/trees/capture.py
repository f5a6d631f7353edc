#!/usr/bin/env python3
"""Captures the trees that `golden.rs` reads: `idle`, as the kernel printed it, and `broken`, made from it.

    sudo python3 capture.py

It starts itself again in a pid namespace of its own, where it sees only the processes that it starts.
Then the golden rows are written anew, and looked at before they are committed:

    UPDATE_GOLDEN=1 cargo test --package memsample --test golden
"""

import ctypes
import mmap
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
MACHINE = ["loadavg", "meminfo", "vmstat", "pressure/memory"]
PROCESS = ["stat", "statm", "status", "smaps_rollup", "cmdline", "cgroup"]
HOSTILE = [b"a) R (b c", b"new\nline", b"\xff\xfe\x80", b"", b"(((((", b"))) Z 1 1 1 1 "]
PR_SET_NAME = 15
SYS_EXIT = 60
MIB = 1 << 20


def child(work):
    """Forks, does `work`, says so, and waits for the end of the capture."""
    ready_reader, ready_writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        kept = work()  # whose memory shall stay
        os.write(ready_writer, b"x")
        signal.pause()
        del kept
        os._exit(0)
    os.close(ready_writer)
    assert os.read(ready_reader, 1) == b"x"
    os.close(ready_reader)
    return pid


def rename(name):
    buffer = ctypes.create_string_buffer(name)
    ctypes.CDLL(None).prctl(PR_SET_NAME, buffer, 0, 0, 0)


def memory():
    """32 MiB of its own, 8 MiB shared with nobody, 4 MiB of a file."""
    own = mmap.mmap(-1, 32 * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    own.write(b"x" * len(own))
    shared = mmap.mmap(-1, 8 * MIB)
    shared.write(b"x" * len(shared))
    file = tempfile.TemporaryFile(dir="/var/tmp")
    file.write(b"x" * 4 * MIB)
    file.flush()
    mapped = mmap.mmap(file.fileno(), 4 * MIB, prot=mmap.PROT_READ)
    sum(mapped[::4096])
    return own, shared, mapped


def threads():
    for _ in range(8):
        threading.Thread(target=signal.pause, daemon=True).start()


def peak():
    """Had 16 MiB once and has them no more."""
    gone = mmap.mmap(-1, 16 * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    gone.write(b"x" * len(gone))
    gone.close()


def headless():
    """A process whose first thread has ended, and another goes on."""
    pid = os.fork()
    if pid == 0:
        threading.Thread(target=signal.pause).start()
        ctypes.CDLL(None).syscall(SYS_EXIT, 0)
    while not Path(f"/proc/{pid}/statm").read_text().startswith("0 0"):
        pass
    return pid


def zombie():
    pid = os.fork()
    if pid == 0:
        os._exit(3)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid


def deleted():
    """A program whose file is gone."""
    Path("/tmp/job").mkdir(exist_ok=True)
    shutil.copy("/bin/sleep", "/tmp/job/worker")
    pid = subprocess.Popen(["/tmp/job/worker", "1000"]).pid
    shutil.rmtree("/tmp/job")
    return pid


def copy(source, target, names):
    for name in names:
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((source / name).read_bytes())


def copy_process(pid, target):
    source = Path(f"/proc/{pid}")
    target.mkdir(parents=True)
    for name in PROCESS:
        try:
            contents = (source / name).read_bytes()
        except OSError:  # a zombie has no memory map
            contents = b""
        if name == "cgroup":
            contents = b"4:memory:/suite/test-1\n0::/\n"
        (target / name).write_bytes(contents)
    try:
        (target / "exe").symlink_to(os.readlink(source / "exe"))
    except OSError:  # a kernel thread has none
        pass


def capture(target):
    shutil.rmtree(target, ignore_errors=True)
    own_pid = os.getpid()
    subprocess.run("true")  # takes pid 2, which is that of kthreadd elsewhere
    quiet = {"stdin": subprocess.PIPE}
    shell = subprocess.Popen(["/bin/sh", "-c", "read line; exit 0"], **quiet)
    os.posix_spawn("/bin/sleep", ["sleep", "1000"], {})
    spaced = subprocess.Popen(["/bin/sh", "-c", "read line; exit 0", "two words", "", "tab\there"], **quiet)
    deleted()
    first = headless()
    for work in (memory, threads, peak, *(lambda name=name: rename(name) for name in HOSTILE)):
        child(work)
    zombie()
    copy(Path("/proc"), target, MACHINE)
    for entry in sorted(Path("/proc").iterdir()):
        if entry.name.isdigit() and int(entry.name) != own_pid:
            copy_process(int(entry.name), target / entry.name)
    for task in Path(f"/proc/{first}/task").iterdir():
        copy(task, target / str(first) / "task" / task.name, ["stat", "statm", "status"])
    os.kill(-1, signal.SIGKILL)
    shell.wait()
    spaced.wait()


def break_files(whole, target):
    """Writes a process for each file and each way in which that may be broken."""
    shutil.rmtree(target, ignore_errors=True)
    copy(whole, target, MACHINE)
    pattern = max((path for path in whole.iterdir() if path.name.isdigit()), key=resident_pages)
    pid = 100
    for name in ["stat", "statm", "status", "smaps_rollup"]:
        contents = (pattern / name).read_bytes()
        for broken in [
            b"",
            contents[:1],
            contents[: len(contents) // 3],
            contents[:-2],
            contents.replace(b" ", b"\0"),
            contents.replace(b"1", b"99999999999999999999"),
            None,
        ]:
            pid += 1
            process = target / str(pid)
            copy(pattern, process, PROCESS)
            (process / "exe").symlink_to(os.readlink(pattern / "exe"))
            if name != "stat":
                stat = (pattern / "stat").read_bytes()
                (process / "stat").write_bytes(b"%d %s" % (pid, stat.split(b" ", 1)[1]))
            if broken is None:
                (process / name).unlink()
            else:
                (process / name).write_bytes(broken)


def resident_pages(process):
    return int((process / "statm").read_text().split()[1])


if __name__ == "__main__":
    if os.getpid() == 1:
        capture(HERE / "idle")
        break_files(HERE / "idle", HERE / "broken")
    else:
        new_namespace = ["unshare", "--pid", "--fork", "--mount", "--mount-proc"]
        subprocess.run([*new_namespace, "/usr/bin/python3", "-I", "capture.py"], cwd=HERE, check=True)
        copy_process(2, HERE / "idle" / "2")  # kthreadd, which only the first namespace shows
