"""A network of its own for a worker, by a namespace of the kernel: its cable can be pulled."""

import os
import shutil
import subprocess

from wire import Wire


def possible() -> bool:
    """Whether this user may make one here."""
    if shutil.which("ip") is None or os.getuid() != 0:
        return False
    name = f"fleet-try-{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode != 0:
        return False
    return subprocess.run(["ip", "netns", "del", name], capture_output=True).returncode == 0


class Network:
    """A namespace whose only way out is a cable to this one; ports of loopback here are reached through it."""

    def __init__(self, *ports: int) -> None:
        pid = os.getpid()
        self.name, self._here, self._there = f"fleet-{pid}", f"fh{pid}", f"ft{pid}"
        # Of the addresses for tests of networks (RFC 2544), two for each process.
        net = f"198.18.{pid // 64 % 256}.{pid % 64 * 4}".rsplit(".", 1)
        self.address, self.there = (f"{net[0]}.{int(net[1]) + end}" for end in (1, 2))
        self._wires: list[Wire] = []
        try:
            self._ip("netns", "add", self.name)
            self._ip("link", "add", self._here, "type", "veth", "peer", "name", self._there, "netns", self.name)
            self._ip("address", "add", f"{self.address}/30", "dev", self._here)
            self._ip("-n", self.name, "address", "add", f"{self.there}/30", "dev", self._there)
            self._ip("-n", self.name, "link", "set", "lo", "up")
            self._ip("-n", self.name, "link", "set", self._there, "up")
            self.mend()
            self._wires = [Wire(port, self.address) for port in ports]
        except BaseException:
            self.close()
            raise

    @property
    def within(self) -> list[str]:
        """The words before a command that runs there."""
        return ["ip", "netns", "exec", self.name]

    @property
    def ports(self) -> list[int]:
        """Where the ports are reached at the address."""
        return [wire.port for wire in self._wires]

    def cut(self) -> None:
        self._ip("link", "set", self._here, "down")

    def mend(self) -> None:
        self._ip("link", "set", self._here, "up")

    def reaches_us(self) -> bool:
        """Whether what is sent there arrives here."""
        port = self.ports[0]
        script = f"exec 3<>/dev/tcp/{self.address}/{port}"
        return subprocess.run([*self.within, "timeout", "2", "bash", "-c", script], capture_output=True).returncode == 0

    def close(self) -> None:
        for wire in self._wires:
            wire.close()
        # Its end of the cable goes with it.
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", self._here], capture_output=True, check=False)

    def _ip(self, *words: str) -> None:
        done = subprocess.run(["ip", *words], capture_output=True, text=True)
        assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
