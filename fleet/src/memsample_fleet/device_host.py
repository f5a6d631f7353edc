"""The worker that serves devices: for each a worker of its name while it is ready, its images, and its recovery."""

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg

from memsample_fleet import text, whole_file
from memsample_fleet.config import Config
from memsample_fleet.database import Connection, connect, reason
from memsample_fleet.device_care import IMAGES, Care, DeviceFailedError, Wanted, own_directory
from memsample_fleet.devices import Device
from memsample_fleet.errors import FleetError
from memsample_fleet.execution import remove_left
from memsample_fleet.images import Watcher

_TICK_S = 0.5
_SEEN_EVERY_S = 5.0
_ANEW_AFTER_S = 5.0
"""A worker that ended by itself is started anew after so long."""


def serve(config: Config, file: Path, devices: list[Device], log_level: str) -> int:
    """Serve devices until SIGTERM, which lets the runs that go on end."""
    config.program()
    connect(config).close()
    state = config.state_dir
    state.mkdir(parents=True, exist_ok=True)
    refusal = f"another worker serves devices from {state}: give this one a `state`"
    with whole_file.alone(state / "devices.lock", refusal):
        stop, asked = threading.Event(), list[int]()
        for number in (signal.SIGTERM, signal.SIGINT):
            # Not `stop.set`: where this thread is interrupted while it holds the lock of the event, as at each end of a
            # `stop.wait`, that would wait for the lock for ever.
            signal.signal(number, lambda number, _: asked.append(number))
        watcher = Watcher(device.images for device in devices if device.images is not None)
        served = [_Served(config, file, device, watcher, log_level, stop) for device in devices]
        for each in served:
            each.thread.start()
        told = ""
        while not asked:
            time.sleep(_TICK_S)
            told = _write_images(state, devices, watcher, told)
        stop.set()
        for each in served:
            each.thread.join()
    return 0


def _write_images(state: Path, devices: list[Device], watcher: Watcher, told: str) -> str:
    """Tell the workers of the devices where images are; returns what is written."""
    listed: dict[str, dict[str, str]] = {}
    trouble: list[str] = []
    for device in devices:
        look = None if device.images is None else watcher.latest(device.images)
        if look is not None:
            listed[device.kind] = {image.sha256: str(image.path) for image in look.images}
            trouble += look.trouble
    now = json.dumps([listed, sorted(set(trouble))])
    if now != told:
        for line in sorted(set(trouble)):
            text.err(line)
        whole_file.replace(state / IMAGES, json.dumps(listed))
    return now


class _Served:
    """One device, in a thread of its own: hooks take long."""

    def __init__(
        self, config: Config, file: Path, device: Device, watcher: Watcher, log_level: str, stop: threading.Event
    ) -> None:
        self._config, self._file, self._device = config, file, device
        self._watcher, self._log_level, self._stop = watcher, log_level, stop
        self._care = Care(config.state_dir, device)
        self._worker: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._begun = self._was_ready = False
        self._look_at = self._start_at = 0.0
        self.thread = threading.Thread(target=self._serve, name=device.name, daemon=True)

    def _serve(self) -> None:
        seen = threading.Thread(target=self._keep_seen, daemon=True)
        told = ""
        while not self._stop.is_set():
            try:
                self._connection = self._connection or connect(self._config, check=False)
                if not self._begun:
                    self._begin(self._connection)
                    self._begun = True
                    seen.start()
                self._tick(self._connection)
                told = ""
            except (psycopg.Error, FleetError, OSError) as error:
                if (why := reason(error)) != told:
                    text.err(f"{self._device.name}: {why}")
                    told = why
                if self._connection is not None:
                    with contextlib.suppress(Exception):
                        self._connection.close()
                self._connection = None
            self._stop.wait(_TICK_S)
        self._end_worker()
        self._wait_for_what_is_left()

    def _begin(self, connection: Connection) -> None:
        device = self._device
        connection.execute(
            """INSERT INTO devices (device, host, kind, address, labels, state) VALUES (%s, %s, %s, %s, %s, 'checking')
               ON CONFLICT (device) DO UPDATE SET host = excluded.host, kind = excluded.kind,
                   address = excluded.address, labels = excluded.labels, seen_at = clock_timestamp(),
                   -- One that is put aside stays so until it is recovered.
                   state = CASE WHEN devices.state IN ('aside', 'recovering') THEN 'aside' ELSE 'checking' END,
                   since = clock_timestamp()""",
            [device.name, self._config.name, device.kind, device.address, list(device.labels)],
        )

    def _keep_seen(self) -> None:
        """Say that the device is served, also while a hook takes long."""
        while not self._stop.wait(_SEEN_EVERY_S):
            with contextlib.suppress(psycopg.Error, FleetError), connect(self._config, check=False) as connection:
                connection.execute(
                    "UPDATE devices SET seen_at = clock_timestamp() WHERE device = %s", [self._device.name]
                )

    def _tick(self, connection: Connection) -> None:
        state = self._care.row(connection)["state"]
        running = self._worker is not None and self._worker.poll() is None
        if state == "aside" and self._was_ready:
            self._look_at = time.monotonic() + self._device.retry.total_seconds()
            text.err(f"{self._device.name}: put aside; looked at again in {self._retry()}")
        self._was_ready = state == "ready"
        if state != "ready" and not running:
            self._bring_back(connection, state)
        elif state == "ready" and not running:
            if time.monotonic() >= self._start_at:
                self._start_worker()
        elif state == "ready":
            self._provision(connection)

    def _bring_back(self, connection: Connection, state: str) -> None:
        """Check a device at first, and recover one that was put aside, again and again."""
        if time.monotonic() < self._look_at:
            return
        name = self._device.name
        with self._care.alone(wait=False) as mine:
            if not mine:
                return
            remove_left(own_directory(self._config.state_dir, name))
            try:
                if state == "aside":
                    self._care.recover(connection)
                else:
                    self._care.check(connection)
                    self._care.set_state(connection, "ready")
            except DeviceFailedError as error:
                self._look_at = time.monotonic() + self._device.retry.total_seconds()
                text.err(f"{name}: put aside: {error}; looked at again in {self._retry()}")
                return
        text.err(f"{name}: ready")
        self._look_at = self._start_at = 0.0

    def _retry(self) -> str:
        return text.duration(self._device.retry.total_seconds())

    def _provision(self, connection: Connection) -> None:
        """Provision an idle device once with the newest image of its kind."""
        device = self._device
        look = None if device.images is None else self._watcher.latest(device.images)
        if look is None or not look.images:
            return
        newest, row = look.images[-1], self._care.row(connection)
        if newest.sha256 in (row["image_sha256"], row["failed_sha256"], *row["provisioned"]):
            return
        if row["image_sha256"] is not None and self._is_needed(connection, row["image_sha256"]):
            return
        with self._care.alone(wait=False) as mine:
            if not mine:
                return
            text.err(f"{device.name}: provisioned with {newest.path.name}")
            try:
                self._care.provision(connection, Wanted(newest.sha256, newest.path))
            except DeviceFailedError as error:
                text.err(f"{device.name}: put aside: {error}")
                self._end_worker()
                return
        text.err(f"{device.name}: ready with {newest.path.name}")

    def _is_needed(self, connection: Connection, sha256: str) -> bool:
        """Whether runs wait for a device with this image: the next one then comes behind them."""
        row = connection.execute(
            """SELECT EXISTS (SELECT FROM runs JOIN jobs USING (job_id)
                              WHERE NOT ended AND image_sha256 = %s AND (labels <@ %s OR labels = %s)) AS there""",
            [sha256, list(self._device.labels), [f"@{self._device.name}"]],
        ).fetchone()
        return row is not None and bool(row["there"])

    def _start_worker(self) -> None:
        self._start_at = time.monotonic() + _ANEW_AFTER_S
        words = [*(["--config", self._config.source] if self._config.source else []), "worker"]
        words += ["--devices", str(self._file), "--device", self._device.name, "--log-level", self._log_level]
        self._worker = subprocess.Popen([sys.executable, "-m", "memsample_fleet.cli", *words])

    def _end_worker(self) -> None:
        """Let its worker end, with the run that goes on."""
        if self._worker is not None:
            if self._worker.poll() is None:
                self._worker.terminate()
            self._worker.wait()

    def _wait_for_what_is_left(self) -> None:
        """Wait until nothing that was begun here goes on there: whoever ends this program's group would leave it."""
        told = False
        while True:
            with self._care.alone(wait=False) as mine:
                if mine:
                    return
            if not told:
                text.err(f"{self._device.name}: what runs there is being stopped, for up to {self._stop_for()}")
                told = True
            time.sleep(_TICK_S)

    def _stop_for(self) -> str:
        return text.duration(self._device.stop_for.total_seconds())
