"""The mirror: keeps the newest images of a source in a directory, each whole, verified, and with its checksum beside.

What is fetched goes into a file of its own that is named by the checksum, so that it goes on at its last byte after a
cut, also of this program. Only what fits the checksum gets its name, at once.
"""

import errno
import http.client
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from memsample_fleet import text, whole_file
from memsample_fleet.errors import FleetError
from memsample_fleet.image_sources import Entry, Listing, UnavailableError
from memsample_fleet.images import beside, sha256_of

_CHUNK = 1 << 18
_KEPT = ".mirror.json"
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
_FRUITLESS_MOST = 4
"""How many connections may bring nothing, one after another."""


@dataclass(frozen=True)
class Asked:
    """What is to be kept, and where."""

    into: Path
    newest: int = 5
    most_bytes: int = 64 << 30
    """The most bytes of one image."""
    free_bytes: int = 1 << 30
    """What is to stay free on the disk."""
    pause_s: float = 1.0
    """After a connection that brought nothing; doubled each time."""


@dataclass
class Mirror:
    """A directory that is kept; what others put there is left alone."""

    asked: Asked
    listing: Listing
    _verified: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Size and time of what was read and found sound by this process."""

    def keep(self, every: timedelta) -> None:
        """Go on for ever; what fails is told, and tried again the next time."""
        told: list[str] = []
        while True:
            now = self.once()
            for line in now:
                if line not in told:
                    text.err(f"error: {line}")
            told = now
            time.sleep(every.total_seconds())

    def once(self) -> list[str]:
        """Fetch what is missing, and remove what is not among the newest; returns what failed."""
        with _alone(self.asked.into):
            found = self.listing()
            failed = list(found.wrong)
            newest = sorted(found.entries, key=lambda entry: (entry.modified, entry.order), reverse=True)[
                : self.asked.newest
            ]
            there = []
            for entry in sorted(newest, key=lambda entry: (entry.modified, entry.order)):
                try:
                    if not self._is_there(entry):
                        self._fetch(entry)
                    there.append(entry)
                except UnavailableError as error:
                    failed.append(str(error))
                except OSError as error:
                    failed.append(f"cannot keep {entry.name}: {error.strerror or error}")
            # What a source has that is away now is not known: it may be the newest.
            if found.complete:
                self._forget(there, {entry.sha256 for entry in newest})
            return failed

    def _is_there(self, entry: Entry) -> bool:
        path = self.asked.into / entry.name
        if not path.is_file() or beside(path) != entry.sha256:
            return False
        found = path.stat()
        state = (found.st_size, found.st_mtime_ns)
        if self._verified.get(entry.name) != state:
            if sha256_of(path) != entry.sha256:
                text.err(f"{path} is damaged, and is fetched anew")
                return False
            self._verified[entry.name] = state
        return True

    def _fetch(self, entry: Entry) -> None:
        part = self.asked.into / f".{entry.sha256}.part"
        began = time.monotonic()
        # What was kept of it may be of a source that was damaged: it is begun anew once.
        for fresh in (False, True):
            if fresh:
                part.unlink(missing_ok=True)
            kept = part.stat().st_size if part.exists() else 0
            self._fill(entry, part)
            found = sha256_of(part)
            if found == entry.sha256:
                break
            if kept == 0 or fresh:
                part.unlink()
                raise UnavailableError(f"{entry.place} is damaged: its SHA-256 is {found}, not {entry.sha256}")
        self._name(entry, part)
        seconds = max(time.monotonic() - began, 0.001)
        size = (self.asked.into / entry.name).stat().st_size
        text.err(f"{entry.name}: {text.size(size)} in {text.duration(seconds)}, {entry.sha256[:12]}")

    def _fill(self, entry: Entry, part: Path) -> None:
        """Append to a file until the source has no more."""
        fruitless = 0
        while True:
            had = part.stat().st_size if part.exists() else 0
            try:
                if self._append(entry, part, had):
                    return
                why = "the connection was cut"
            except (OSError, http.client.HTTPException) as error:
                if isinstance(error, OSError) and (error.filename is not None or error.errno in _OF_THE_DISK):
                    raise
                why = str(getattr(error, "reason", "") or error) or type(error).__name__
            fruitless = fruitless + 1 if (part.stat().st_size if part.exists() else 0) <= had else 0
            if fruitless == _FRUITLESS_MOST:
                raise UnavailableError(
                    f"cannot fetch {entry.place}: {why}; {text.size(had)} of it are kept, and it goes on there"
                )
            time.sleep(self.asked.pause_s * 2**fruitless)

    def _append(self, entry: Entry, part: Path, had: int) -> bool:
        """Append what one connection brings; whether that is the end of the image, as far as the source says."""
        with entry.open(had) as body, part.open("r+b" if part.exists() else "wb") as file:
            if body.total is not None:
                self._hold_to_limits(entry, body.total, body.total - had)
            if body.begins_at != had:
                # It does not know ranges, or the image became shorter.
                file.truncate(0)
            file.seek(0, os.SEEK_END)
            size = file.tell()
            while chunk := body.read(_CHUNK):
                size += len(chunk)
                self._hold_to_limits(entry, size, len(chunk))
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
            return body.total is None or size >= body.total

    def _hold_to_limits(self, entry: Entry, size: int, more: int) -> None:
        if size > self.asked.most_bytes:
            raise UnavailableError(f"{entry.place} has more than {text.size(self.asked.most_bytes)}: see --most-bytes")
        free = shutil.disk_usage(self.asked.into).free
        if free - more < self.asked.free_bytes:
            raise UnavailableError(
                f"{self.asked.into} has {text.size(free)} free, and {entry.name} needs {text.size(more)} and leaves "
                f"{text.size(self.asked.free_bytes)}: make room, or keep fewer"
            )

    def _name(self, entry: Entry, part: Path) -> None:
        """Give what is whole its name; who watches the directory sees all of it or nothing."""
        path = self.asked.into / entry.name
        checksum = self.asked.into / f".{entry.sha256}.sha256.part"
        checksum.write_text(f"{entry.sha256}  {entry.name}\n")
        part.chmod(0o644)
        if entry.modified:
            os.utime(part, (entry.modified, entry.modified))
        self._note({**self._noted(), entry.name: entry.sha256})
        os.replace(part, path)
        os.replace(checksum, path.with_name(entry.name + ".sha256"))
        directory = os.open(self.asked.into, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        found = path.stat()
        self._verified[entry.name] = (found.st_size, found.st_mtime_ns)

    def _forget(self, there: list[Entry], wanted: set[str]) -> None:
        """Remove older images that are ours, as far as there are newer ones, and beginnings of what nobody wants."""
        noted = self._noted()
        names = {entry.name for entry in there}
        older = [name for name in noted if name not in names and (self.asked.into / name).exists()]
        older.sort(key=lambda name: (self.asked.into / name).stat().st_mtime, reverse=True)
        for name in older[max(self.asked.newest - len(names), 0) :]:
            for path in (self.asked.into / name, self.asked.into / f"{name}.sha256"):
                path.unlink(missing_ok=True)
            self._verified.pop(name, None)
            text.err(f"{name}: removed, since there are {self.asked.newest} newer ones")
        self._note({name: sha256 for name, sha256 in noted.items() if (self.asked.into / name).exists()})
        for part in self.asked.into.glob(".*.part"):
            if part.name[1:65] not in wanted:
                part.unlink(missing_ok=True)

    def _noted(self) -> dict[str, str]:
        """Return the names of what is ours."""
        try:
            noted = json.loads((self.asked.into / _KEPT).read_text())
        except (OSError, ValueError):
            return {}
        return noted if isinstance(noted, dict) else {}

    def _note(self, names: dict[str, str]) -> None:
        whole_file.replace(self.asked.into / _KEPT, json.dumps(names))


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        refusal = f"another mirror keeps {directory}: give this one a directory of its own"
        with whole_file.alone(directory / ".mirror.lock", refusal):
            yield
    except OSError as error:
        raise FleetError(f"cannot write into {directory}: {error.strerror}") from None
