"""A device on loopback, or in a network of its own: a real sshd with keys and a configuration of its own."""

import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from servers import eventually, free_port


class Device:
    """Its directory is `device` below its own."""

    def __init__(
        self, directory: Path, configuration: str = "", host: str = "127.0.0.1", within: Sequence[str] = ()
    ) -> None:
        """Start it; `configuration` are further lines for sshd, and `within` words before its command."""
        self.directory, self.host, self._within = directory, host, within
        (directory / "device").mkdir(parents=True)
        for key in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / key], check=True)
        self.port = free_port()
        (directory / "sshd_config").write_text(
            f"ListenAddress {host}\nPort {self.port}\nHostKey {directory}/host\n"
            f"AuthorizedKeysFile {directory}/user.pub\nStrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin yes\n"
            f"PasswordAuthentication no\nKbdInteractiveAuthentication no\n{configuration}\n"
        )
        known = directory / "known"
        known.write_text(f"[{host}]:{self.port} {(directory / 'host.pub').read_text()}")
        (directory / "config").write_text(
            f"Host *\nIdentityFile {directory}/user\nIdentitiesOnly yes\nUserKnownHostsFile {known}\n"
            "GlobalKnownHostsFile none\nStrictHostKeyChecking yes\n"
        )
        self._sshd: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def address(self) -> str:
        return f"ssh://{self.host}:{self.port}{self.directory}/device"

    @property
    def ssh(self) -> str:
        """What MEMSAMPLE_SSH is to be."""
        return f"ssh -F {self.directory}/config"

    def left(self) -> list[str]:
        """Names of what is on the device."""
        return sorted(path.name for path in (self.directory / "device").iterdir())

    def start(self) -> None:
        # Where sshd goes without privileges.
        Path("/run/sshd").mkdir(parents=True, exist_ok=True)
        command = ["/usr/sbin/sshd", "-D", "-f", f"{self.directory}/sshd_config", "-E", f"{self.directory}/log"]
        self._sshd = self._start(command)
        eventually("sshd listens", self._listens)

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*self._within, *command], stdin=subprocess.DEVNULL)

    def _listens(self) -> bool:
        with socket.socket() as asked:
            return asked.connect_ex((self.host, self.port)) == 0

    def stop(self) -> None:
        """As a device that is switched off: what was connected ends too."""
        if self._sshd is not None:
            children = Path(f"/proc/{self._sshd.pid}/task/{self._sshd.pid}/children").read_text().split()
            self._sshd.kill()
            self._sshd.wait()
            subprocess.run(["kill", "-KILL", *children], check=False, stderr=subprocess.DEVNULL) if children else None
            self._sshd = None

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


def small_program(memsample: str, into: Path) -> Path:
    """The program without what a debugger needs, which would be most of what is sent."""
    made = into / "memsample-for-devices"
    subprocess.run(["strip", "-o", made, memsample], check=True)
    return made
