"""A device of another architecture: its programs are run by qemu, in namespaces of its own."""

import subprocess
from pathlib import Path

from device import Device

QEMU = "/usr/bin/qemu-aarch64-static"

_BINFMT = "/proc/sys/fs/binfmt_misc"
_PROGRAMS = (
    r":aarch64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
    r":\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
    f":{QEMU}:F"
)
"""What the kernel is told: ELF programs for aarch64 are run by qemu, which stays open."""
_PREPARE = f"""
set -e
echo unshared
read -r mapped
mount -t binfmt_misc none {_BINFMT}
printf %s "$1" >{_BINFMT}/register
mount -t tmpfs none "$2"
shift 2
exec "$@" </dev/null
"""


class ForeignDevice(Device):
    """An aarch64 device. `hidden` is a directory of which it has another one, which is empty.

    Its shell and tools are those of this machine, and only `uname -m` says otherwise; what is sent is what it would be.
    Linux 6.7 and later have a table of foreign programs for each user namespace, so that this machine keeps its own.
    """

    def __init__(self, directory: Path, hidden: Path) -> None:
        self._hidden = hidden
        tools = directory / "tools"
        tools.mkdir(parents=True)
        uname = tools / "uname"
        uname.write_text('#!/bin/sh\ncase $1 in -m) echo aarch64 ;; *) exec /bin/uname "$@" ;; esac\n')
        uname.chmod(0o755)
        super().__init__(directory, f'ForceCommand PATH={tools}:$PATH exec sh -c "$SSH_ORIGINAL_COMMAND"')

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        assert Path(QEMU).exists(), "install qemu-user-static: .ci/install"
        words = ["unshare", "--user", "--mount", "sh", "-c", _PREPARE, "sh", _PROGRAMS, str(self._hidden), *command]
        started = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert started.stdin is not None
        assert started.stdout is not None
        assert started.stdout.readline() == b"unshared\n"
        # Everybody is there who is here: sshd becomes other users.
        for kind in ("uid_map", "gid_map"):
            Path(f"/proc/{started.pid}/{kind}").write_text("0 0 4294967295")
        started.stdin.write(b"mapped\n")
        started.stdin.close()
        return started
