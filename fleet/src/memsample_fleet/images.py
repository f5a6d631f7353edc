"""Images: files of a directory, each known by its SHA-256, that count once they are complete."""

import fnmatch
import hashlib
import re
import stat
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

_UNFINISHED = (".part", ".partial", ".tmp", ".temp", ".crdownload", ".download", ".filepart", ".aria2", ".swp", "~")
"""Ends of the names of files that somebody is still writing."""
_SIGNATURES = (".asc", ".sig", ".sign", ".signature", ".minisig", ".p7s")
_TRANSFERS = (".zsync", ".torrent", ".metalink", ".meta4")
_CHECKSUMS = re.compile(
    r"""(?x) .* [.] (?: md5 | sha(?:1|224|256|384|512) )                            # image.img.sha256
        | (?: .* [-._] )? (?: md5 | sha(?:1|224|256|384|512)? | b2 ) sums? (?: [.] (?: txt | gpg ) )?   # SHA256SUMS
        | (?: .* [-._] )? checksums? (?: [.] (?: txt | gpg ) )?                     # Touch-40-CHECKSUM"""
)


def may_be_image(name: str) -> bool:
    """Whether a file of this name may be an image: it is none if it is hidden or unfinished, or tells of others as
    checksums, signatures and instructions for a transfer do."""
    name = name.lower()
    if name.startswith(".") or name.endswith((*_UNFINISHED, *_SIGNATURES, *_TRANSFERS)):
        return False
    return _CHECKSUMS.fullmatch(name) is None


@dataclass(frozen=True)
class Source:
    """A directory that is watched for images."""

    directory: Path
    match: str = "*"
    """Pattern of their names, as of a shell."""
    settle: timedelta = timedelta(seconds=10)
    """An image without a file `.sha256` beside it is complete when it has not changed for so long."""


@dataclass(frozen=True)
class File:
    """A file as it was seen; one that is written to is another one."""

    name: str
    bytes: int
    modified_ns: int


@dataclass(frozen=True)
class Image:
    """A complete image."""

    path: Path
    sha256: str
    file: File


@dataclass(frozen=True)
class Look:
    """What a directory had at one time."""

    files: tuple[File, ...] = ()
    """All files that may be images, also those that are being written."""
    images: tuple[Image, ...] = ()
    """Complete images, the oldest first."""
    trouble: tuple[str, ...] = ()
    """What keeps files from being images, for people."""
    readable: bool = True
    """The directory could be read."""


@dataclass
class _Seen:
    file: File
    since: float
    looks: int = 0
    sha256: str | None = None


@dataclass
class Watch:
    """Looks at a source again and again; each state of a file is read once."""

    source: Source
    _seen: dict[Path, _Seen] = field(default_factory=dict)

    def look(self) -> Look:
        """Look now; reads what is new, which takes as long as the disk takes."""
        try:
            paths = sorted(self.source.directory.iterdir())
        except OSError as error:
            return Look(trouble=(f"cannot read {self.source.directory}: {error.strerror}",), readable=False)
        files: list[File] = []
        images: list[Image] = []
        trouble: list[str] = []
        now = time.monotonic()
        there: dict[Path, _Seen] = {}
        for path in paths:
            if (file := self._file(path)) is None:
                continue
            files.append(file)
            before = self._seen.get(path)
            seen = there[path] = before if before is not None and before.file == file else _Seen(file, now)
            seen.looks += 1
            try:
                if self._complete(path, seen, now, trouble):
                    assert seen.sha256 is not None
                    images.append(Image(path, seen.sha256, file))
            except OSError as error:
                trouble.append(f"cannot read {path}: {error.strerror}")
        self._seen = there
        images.sort(key=lambda image: (image.file.modified_ns, image.file.name))
        return Look(tuple(files), tuple(images), tuple(trouble))

    def _file(self, path: Path) -> File | None:
        name = path.name
        if not may_be_image(name) or not fnmatch.fnmatchcase(name, self.source.match):
            return None
        try:
            found = path.stat()
        except OSError:
            return None
        return File(name, found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) and found.st_size else None

    def _complete(self, path: Path, seen: _Seen, now: float, trouble: list[str]) -> bool:
        settled = now - seen.since >= self.source.settle.total_seconds()
        wanted = beside(path)
        # A file that grows is not read anew at each look.
        if seen.sha256 is None and (settled or (wanted is not None and seen.looks > 1)):
            sha256 = sha256_of(path)
            if self._file(path) != seen.file:
                return False
            seen.sha256 = sha256
        if seen.sha256 is None or wanted is None:
            return seen.sha256 is not None and settled
        if seen.sha256 == wanted:
            return True
        if settled:
            trouble.append(
                f"{path} is damaged: its SHA-256 is {seen.sha256}, and {path.name}.sha256 says {wanted or 'none'}"
            )
        return False


def beside(path: Path) -> str | None:
    """Return the SHA-256 that a file `.sha256` beside an image names, empty if it names none; None without one."""
    try:
        words = path.with_name(path.name + ".sha256").read_bytes()[:4096].decode(errors="replace").split()
    except FileNotFoundError:
        return None
    return words[0].lower() if words and re.fullmatch(r"[0-9a-fA-F]{64}", words[0]) else ""


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Watcher:
    """Watches sources in a thread of its own, so that large images keep nobody waiting."""

    def __init__(self, sources: Iterable[Source], every_s: float = 1.0) -> None:
        """Begin to watch."""
        self._watches = {source: Watch(source) for source in sources}
        self._looks: dict[Source, Look] = {}
        self._every_s = every_s
        if self._watches:
            threading.Thread(target=self._watch, name="images", daemon=True).start()

    def latest(self, source: Source) -> Look | None:
        """Return the latest look at a source; None before the first has ended."""
        return self._looks.get(source)

    def _watch(self) -> None:
        while True:
            for source, watch in self._watches.items():
                self._looks[source] = watch.look()
            time.sleep(self._every_s)
