"""What a device needs before it may run a suite: the image, and a passed health check. What fails puts it aside."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from memsample_fleet import hook, text
from memsample_fleet.config import Config
from memsample_fleet.database import Connection
from memsample_fleet.devices import Device

IMAGES = "images.json"
"""File in the directory of the worker: where the complete images of each kind are, by SHA-256."""


@dataclass(frozen=True)
class Wanted:
    """An image that a device is to have."""

    sha256: str
    path: Path


class DeviceFailedError(Exception):
    """The device was put aside; says why."""


class Care:
    """Looks after a device. Hooks and runs are called one at a time: hold `alone` meanwhile."""

    def __init__(self, state: Path, device: Device) -> None:
        """`state` is the directory of the worker that serves the devices."""
        self.device = device
        self._state = state
        self._lock: int | None = None

    @property
    def lock(self) -> int | None:
        """The descriptor whose lock says that the device is used."""
        return self._lock

    @contextlib.contextmanager
    def alone(self, wait: bool = True) -> Iterator[bool]:
        """Have the device alone; without `wait`, says whether it is so."""
        directory = own_directory(self._state, self.device.name)
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory / "device.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            self._lock = descriptor
            yield True
        finally:
            self._lock = None
            os.close(descriptor)

    def row(self, connection: Connection) -> dict[str, Any]:
        """Return what is known of the device."""
        row = connection.execute("SELECT * FROM devices WHERE device = %s", [self.device.name]).fetchone()
        return row or {"state": "aside", "image_sha256": None, "failed_sha256": None, "provisioned": []}

    def set_state(self, connection: Connection, state: str, why: str | None = None) -> None:
        """Tell what the device does now."""
        connection.execute(
            """UPDATE devices SET state = %s, why = %s, since = clock_timestamp()
               WHERE device = %s AND (state, why) IS DISTINCT FROM (%s, %s)""",
            [state, why, self.device.name, state, why],
        )

    def images(self) -> dict[str, Path]:
        """Return the images of its kind that are here, by SHA-256."""
        try:
            listed = json.loads((self._state / IMAGES).read_text())
        except (OSError, ValueError):
            return {}
        paths = {sha256: Path(path) for sha256, path in listed.get(self.device.kind, {}).items()}
        return {sha256: path for sha256, path in paths.items() if path.is_file()}

    def provision(self, connection: Connection, image: Wanted) -> None:
        """Provision the device and check it; a failure puts it aside, and the image is not tried again by itself."""
        self.set_state(connection, "provisioning", f"with {image.path.name}")
        # From here on what is on it is not known, until it is.
        connection.execute("UPDATE devices SET image = NULL, image_sha256 = NULL WHERE device = %s", [self.device.name])
        try:
            self._call(connection, "provision", image)
            self._call(connection, "health", image)
        except DeviceFailedError:
            connection.execute(
                "UPDATE devices SET failed_sha256 = %s WHERE device = %s", [image.sha256, self.device.name]
            )
            raise
        connection.execute(
            """UPDATE devices SET image = %s, image_sha256 = %s, failed_sha256 = NULL,
                      provisioned = array_append(array_remove(provisioned, %s), %s) WHERE device = %s""",
            [image.path.name, image.sha256, image.sha256, image.sha256, self.device.name],
        )
        self.set_state(connection, "ready")

    def check(self, connection: Connection) -> None:
        """Hold the device to its health check; a failure puts it aside."""
        self._call(connection, "health", None)
        connection.execute("UPDATE devices SET checked_at = clock_timestamp() WHERE device = %s", [self.device.name])

    def recover(self, connection: Connection) -> None:
        """Try to bring back a device that was put aside: by its hook if it has one, and by a passed health check."""
        why = self.row(connection).get("why")
        if "recover" in self.device.hooks:
            self.set_state(connection, "recovering", why)
            self._call(connection, "recover", None)
        self.check(connection)
        self.set_state(connection, "ready")

    def put_aside(self, connection: Connection, why: str) -> None:
        """Let nothing run on the device any more, until it is recovered."""
        why = " ".join(why.split())[:1000]
        self.set_state(connection, "aside", why)
        # For the page of the fleet, which shows workers.
        connection.execute("UPDATE workers SET note = %s WHERE worker = %s", [f"put aside: {why}", self.device.name])

    def _call(self, connection: Connection, name: str, image: Wanted | None) -> None:
        called = self.device.hooks.get(name)
        if called is None:
            return
        about = {"DEVICE": self.device.name, "ADDRESS": self.device.address, "KIND": self.device.kind}
        if image is not None:
            about |= {"IMAGE": str(image.path), "SHA256": image.sha256}
        else:
            row = self.row(connection)
            if row["image_sha256"] is not None:
                path = self.images().get(row["image_sha256"])
                about |= {"IMAGE": str(path or row["image"]), "SHA256": row["image_sha256"]}
        code, said = hook.call(called.command, self.device.directory, about, called.timeout.total_seconds())
        if code != 0:
            last = text.printable(said, 300)
            why = f"{name} ended with exit code {code}" + (f": {last}" if last else "")
            self.put_aside(connection, why)
            raise DeviceFailedError(why)


def own_directory(state: Path, device: str) -> Path:
    """Return the directory of a device in that of the worker that serves it."""
    return state / "devices" / device


def config_of(config: Config, device: Device) -> Config:
    """Return the configuration of the worker that a device is to the fleet."""
    state = own_directory(config.state_dir, device.name)
    return replace(config, name=device.name, labels=device.labels, state=str(state))
