"""The life of a claim: renewed by a thread, watched by a clock that the database cannot stop."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable

import psycopg

from memsample_fleet import claims
from memsample_fleet.config import Config
from memsample_fleet.database import Connection, connect
from memsample_fleet.errors import FleetError

POLL_S = 0.5
"""How often the wish to cancel is looked for."""


def now_s() -> float:
    """Return seconds of a clock that nobody sets, and that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Heartbeat:
    """Renews a claim until it is stopped. Read `lost` and `cancelled`; both are up to date within a second."""

    def __init__(
        self, config: Config, claim: claims.Claim, claimed_at: float, tell: Callable[[Connection], None]
    ) -> None:
        """Begin; `claimed_at` is `now_s` before the claim was asked for. `tell` writes what is new of the run; if it
        fails, it is called again with another connection."""
        self._config, self._claim = config, claim
        self._renewed_at, self._tell = claimed_at, tell
        self._taken = False
        self.cancelled = False
        self._stop = threading.Event()
        self._connection: Connection | None = None
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> bool:
        """Another worker has the claim, or could have it soon.

        The lease began after the renewal was asked for, so that this is true before the database says so; the
        fifth that is left is for the end of the run. Clocks are compared with themselves only.
        """
        return self._taken or now_s() - self._renewed_at > 0.8 * self._config.lease_s

    def _beat(self) -> None:
        renew_every = self._config.lease_s / 6
        renew_at = now_s() + renew_every
        while not self._stop.wait(POLL_S):
            asked = now_s()
            try:
                if self._connection is None:
                    self._connection = connect(self._config, check=False, timeout_s=3)
                    renew_at = asked
                if asked >= renew_at:
                    renewed = claims.renew(self._connection, self._claim.claim_id)
                    if not renewed.held:
                        self._taken = True
                        return
                    self._renewed_at = asked
                    self.cancelled = self.cancelled or renewed.cancelled
                    renew_at = asked + renew_every
                elif claims.is_cancelled(self._connection, self._claim.job_id):
                    self.cancelled = True
                self._tell(self._connection)
            except (psycopg.Error, FleetError, OSError):
                self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.close()

    def stop(self) -> None:
        """End the thread, also one that waits for an answer of the database."""
        self._stop.set()
        self._thread.join(2)
        if self._thread.is_alive() and self._connection is not None:
            with contextlib.suppress(Exception):
                end = socket.socket(fileno=self._connection.fileno())
                try:
                    end.shutdown(socket.SHUT_RDWR)
                finally:
                    end.detach()
            self._thread.join(2)
        if not self._thread.is_alive():
            self._disconnect()
