"""A device of this architecture that has a kernel, busybox and nothing else: no C library and no loader."""

import shutil
import subprocess
from pathlib import Path

from device import Device

_PREPARE = 'set -e; mount --rbind /proc "$1/proc"; mount --rbind /dev "$1/dev"; shift; exec "$@"'


class BareDevice(Device):
    """Its root is a directory of its own; what logs in is there, and its suites are in `/data`."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "device"
        super().__init__(
            directory,
            f'ForceCommand PATH=/bin exec {shutil.which("chroot")} {self.root} /bin/sh -c "$SSH_ORIGINAL_COMMAND"',
            within=("unshare", "--mount", "sh", "-c", _PREPARE, "sh", str(self.root)),
        )

    @property
    def address(self) -> str:
        return f"ssh://{self.host}:{self.port}/data"

    def left(self) -> list[str]:
        return sorted(path.name for path in (self.root / "data").iterdir())

    def start(self) -> None:
        busybox = shutil.which("busybox")
        assert busybox, "install busybox-static: .ci/install"
        for name in ("bin", "data", "proc", "dev"):
            (self.root / name).mkdir()
        shutil.copy(busybox, self.root / "bin/busybox")
        for applet in subprocess.run([busybox, "--list"], text=True, capture_output=True, check=True).stdout.split():
            if applet != "busybox":
                (self.root / "bin" / applet).symlink_to("busybox")
        super().start()
