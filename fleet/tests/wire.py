"""A network between a worker and its broker or database, which can be cut: what is sent then waits for ever."""

import contextlib
import select
import socket
import threading


class Wire:
    """Forwards a port of loopback to another. Cut, it accepts what comes and passes nothing on, as a lost route."""

    def __init__(self, port: int, address: str = "127.0.0.1") -> None:
        self._to = port
        self._listener = socket.create_server((address, 0), backlog=64)
        self.port = int(self._listener.getsockname()[1])
        self._whole, self._over = threading.Event(), threading.Event()
        self._whole.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._whole.clear()

    def mend(self) -> None:
        self._whole.set()

    def close(self) -> None:
        self._over.set()
        self._whole.set()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._forward, args=[near], daemon=True).start()

    def _forward(self, near: socket.socket) -> None:
        self._whole.wait()
        try:
            far = socket.create_connection(("127.0.0.1", self._to))
        except OSError:
            near.close()
            return
        with near, far, contextlib.suppress(OSError):
            while not self._over.is_set():
                for source in select.select([near, far], [], [], 0.2)[0]:
                    self._whole.wait()
                    data = source.recv(65536)
                    if not data:
                        return
                    (far if source is near else near).sendall(data)


class Wires:
    """What a `Network` is, for who may not make one: ports of loopback by wires that can be cut."""

    within: tuple[str, ...] = ()
    address = "127.0.0.1"

    def __init__(self, *ports: int) -> None:
        self._wires = [Wire(port) for port in ports]

    @property
    def ports(self) -> list[int]:
        return [wire.port for wire in self._wires]

    def cut(self) -> None:
        for wire in self._wires:
            wire.cut()

    def mend(self) -> None:
        for wire in self._wires:
            wire.mend()

    def close(self) -> None:
        for wire in self._wires:
            wire.close()
