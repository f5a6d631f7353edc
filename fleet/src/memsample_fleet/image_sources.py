"""Where a mirror finds images: a list of checksums or of addresses over HTTP, a directory, a prefix of S3."""

import contextlib
import email.utils
import fnmatch
import http.client
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from memsample_fleet import images, s3
from memsample_fleet.errors import FleetError

_TIMEOUT_S = 30.0
_CHECKSUM_MOST = 4096
"""The most bytes that are read of a file with a checksum."""
_LIST_MOST = 4 << 20
"""The most bytes of a list."""
_ENTRIES_MOST = 2000


class UnavailableError(FleetError):
    """An image or a source that cannot be had now; the others can."""


@dataclass(frozen=True)
class Body:
    """The bytes of an image, as one connection brings them."""

    read: Callable[[int], bytes]
    """Reads some bytes, at most so many; none at the end."""
    begins_at: int
    total: int | None
    """Bytes of the whole image, as the source says."""


@dataclass(frozen=True)
class Entry:
    """An image that a source has."""

    name: str
    sha256: str
    place: str
    """Where it is, for people."""
    modified: float
    """When it was changed, in seconds since 1970; 0 if the source does not say."""
    opens: Callable[[int], Iterator[Body]]

    @property
    def order(self) -> tuple[tuple[int, str], ...]:
        """Its place among images of the same time: as their numbers say."""
        return tuple((int(number or 0), word) for number, word in re.findall(r"(\d+)|(\D+)", self.name))

    def open(self, offset: int) -> AbstractContextManager[Body]:
        """Begin to read it at an offset."""
        return contextlib.contextmanager(self.opens)(offset)


@dataclass(frozen=True)
class Found:
    """What sources have."""

    entries: list[Entry]
    wrong: list[str]
    """What is wrong with others, for people."""
    complete: bool = True
    """Every source answered."""


Listing = Callable[[], Found]


def listing(places: list[str], match: str) -> Listing:
    """Return what lists the images of places: URLs, directories, files with URLs."""
    kinds = [_kind(place, match) for place in places]

    def all_of_them() -> Found:
        entries: dict[str, Entry] = {}
        wrong: list[str] = []
        complete = True
        for kind in kinds:
            try:
                found = kind()
            except FleetError as error:
                wrong.append(str(error))
                complete = False
                continue
            wrong += found.wrong
            complete = complete and found.complete
            for entry in found.entries:
                if (other := entries.setdefault(entry.name, entry)) is not entry:
                    wrong.append(f"{entry.place} has the name of {other.place}: it is left out")
        return Found(list(entries.values()), wrong, complete)

    return all_of_them


def _kind(place: str, match: str) -> Listing:
    # When each image was changed is asked for once.
    times: dict[tuple[str, str], float] = {}
    if place.startswith(("http://", "https://")):
        if urllib.parse.urlsplit(place).path.endswith("SHA256SUMS"):
            return lambda: _of_checksums(place, match, times)
        return lambda: _of_urls([(place, "")], match, times)
    if place.startswith("s3://"):
        bucket = s3.Bucket(place)
        return lambda: _of_s3(bucket, match)
    path = Path(place)
    if path.is_dir():
        watch = images.Watch(images.Source(path, match, timedelta(seconds=2)))
        return lambda: _of_directory(watch)
    if path.is_file():
        return lambda: _of_urls(_urls_of(path), match, times)
    raise FleetError(
        f"`{place}` is no source of images: name a URL of a file SHA256SUMS or of an image, s3://BUCKET/PREFIX, a "
        "directory, or a file with URLs"
    )


def _sound(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+~=@:-]{0,199}", name) is not None


def _is_beside(name: str) -> bool:
    """Whether it tells of images or is unfinished, so that nobody asked for it; a hidden name is told."""
    return not name.startswith(".") and not images.may_be_image(name)


def _add(entries: list[Entry], wrong: list[str], match: str, entry: Entry, why: str = "") -> None:
    if not fnmatch.fnmatchcase(entry.name, match):
        return
    if not _sound(entry.name):
        why = "its name is none for a file: write letters, digits and `_.+~=@:-`"
    elif not images.may_be_image(entry.name):
        why = "by its name it is no image: checksums, signatures and what is unfinished end so"
    elif not re.fullmatch(r"[0-9a-f]{64}", entry.sha256):
        why = why or "it has no SHA-256"
    if why:
        wrong.append(f"{entry.place} is left out: {why}")
    else:
        entries.append(entry)


def _of_checksums(url: str, match: str, times: dict[tuple[str, str], float]) -> Found:
    entries: list[Entry] = []
    wrong: list[str] = []
    for line in _text(url).splitlines():
        if not (found := re.fullmatch(r"([0-9a-fA-F]{64}) [ *]?(?:\./)?(\S.*)", line.strip())):
            if line.strip() and not line.startswith("#"):
                wrong.append(f"{shown(url)}: a line is none of a checksum and a name: {line[:80]!r}")
            continue
        sha256, name = found.group(1).lower(), found.group(2)
        if _is_beside(name) or not fnmatch.fnmatchcase(name, match) or len(entries) >= _ENTRIES_MOST:
            continue
        _add(
            entries, wrong, match, _http_entry(urllib.parse.urljoin(url, urllib.parse.quote(name)), name, sha256, times)
        )
    return Found(entries, wrong)


def _of_urls(urls: list[tuple[str, str]], match: str, times: dict[tuple[str, str], float]) -> Found:
    entries: list[Entry] = []
    wrong: list[str] = []
    for url, given in urls[:_ENTRIES_MOST]:
        name = urllib.parse.unquote(urllib.parse.urlsplit(url).path.rsplit("/", 1)[-1])
        sha256, why = given.lower(), ""
        if not sha256:
            parts = urllib.parse.urlsplit(url)
            beside = parts._replace(path=parts.path + ".sha256").geturl()
            try:
                sha256 = (_text(beside).split() or [""])[0].lower()
            except UnavailableError as error:
                why = f"it has no SHA-256: {error}"
        _add(entries, wrong, match, _http_entry(url, name, sha256, times), why)
    return Found(entries, wrong)


def _urls_of(file: Path) -> list[tuple[str, str]]:
    urls = []
    try:
        lines = file.read_text(errors="replace").splitlines()
    except OSError as error:
        raise UnavailableError(f"cannot read {file}: {error.strerror}") from None
    for number, line in enumerate(lines, 1):
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        if len(words) > 2 or not words[0].startswith(("http://", "https://")):
            raise UnavailableError(f"{file}:{number}: write a URL, and behind it its SHA-256 unless URL.sha256 has it")
        urls.append((words[0], words[1] if len(words) == 2 else ""))
    return urls


def _http_entry(url: str, name: str, sha256: str, times: dict[tuple[str, str], float]) -> Entry:
    if (url, sha256) not in times:
        # One that is not there is told when it is fetched.
        with contextlib.suppress(FleetError, OSError, http.client.HTTPException), _request(url, {}, "HEAD") as answer:
            times[url, sha256] = _time(answer.headers.get("Last-Modified"))
    modified = times.get((url, sha256), 0.0)
    return Entry(name, sha256, shown(url), modified, lambda offset: _http_body(url, offset))


def _time(header: str | None) -> float:
    try:
        return email.utils.parsedate_to_datetime(header).timestamp() if header else 0.0
    except ValueError:
        return 0.0


def _http_body(url: str, offset: int) -> Iterator[Body]:
    asked = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
    try:
        answer = _request(url, asked)
    except _NoRangeError as error:
        # There is no more of it, or less than before.
        if error.total == offset:
            yield Body(lambda _: b"", offset, offset)
            return
        answer = _request(url, {"Accept-Encoding": "identity"})
    with answer:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if answer.status == 206 and found:
            total = None if found.group(2) == "*" else int(found.group(2))
            yield Body(answer.read1, int(found.group(1)), total)
        else:
            length = answer.headers.get("Content-Length", "")
            yield Body(answer.read1, 0, int(length) if length.isdigit() else None)


class _NoRangeError(Exception):
    def __init__(self, total: int | None) -> None:
        self.total = total


def _request(url: str, headers: dict[str, str], method: str = "GET") -> http.client.HTTPResponse:
    try:
        asked = urllib.request.Request(url, headers=headers, method=method)
        return urllib.request.urlopen(asked, timeout=_TIMEOUT_S)  # type: ignore[no-any-return]
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            found = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
            raise _NoRangeError(int(found.group(1)) if found else None) from None
        if error.code in (408, 429) or error.code >= 500:
            raise OSError(f"the server says {error.code} {error.reason}") from None
        raise UnavailableError(f"cannot fetch {shown(url)}: the server says {error.code} {error.reason}") from None
    except (ValueError, ssl.SSLCertVerificationError) as error:
        raise UnavailableError(f"cannot fetch {shown(url)}: {error}") from None


def _text(url: str) -> str:
    """Return a small text."""
    try:
        with _request(url, {}) as answer:
            content = answer.read(_LIST_MOST + 1)
    except (OSError, http.client.HTTPException, _NoRangeError) as error:
        raise UnavailableError(f"cannot fetch {shown(url)}: {getattr(error, 'reason', '') or error}") from None
    if len(content) > _LIST_MOST:
        raise UnavailableError(f"{shown(url)} is no list: it has more than {_LIST_MOST >> 20} MiB")
    return bytes(content).decode(errors="replace")


def shown(url: str) -> str:
    """Return a URL without a password and what may be one."""
    parts = urllib.parse.urlsplit(url)
    return parts._replace(netloc=parts.netloc.rsplit("@", 1)[-1], query="", fragment="").geturl()


def _of_directory(watch: images.Watch) -> Found:
    look = watch.look()
    if len(look.images) < len(look.files):
        # What is new: whether it is being written is seen at a second look only.
        time.sleep(watch.source.settle.total_seconds())
        look = watch.look()

    def entry(image: images.Image) -> Entry:
        def opens(offset: int) -> Iterator[Body]:
            with image.path.open("rb") as file:
                file.seek(offset)
                yield Body(file.read, offset, image.file.bytes)

        return Entry(image.path.name, image.sha256, str(image.path), image.file.modified_ns / 1e9, opens)

    entries: list[Entry] = []
    wrong = list(look.trouble)
    for image in look.images:
        _add(entries, wrong, "*", entry(image))
    return Found(entries, wrong, look.readable)


def _of_s3(bucket: s3.Bucket, match: str) -> Found:
    entries: list[Entry] = []
    wrong: list[str] = []
    try:
        objects = {each.key: each for each in bucket.objects()}
    except s3.NoObjectsError as error:
        raise UnavailableError(str(error)) from None
    for key, each in objects.items():
        name = key.rsplit("/", 1)[-1]
        if _is_beside(name) or not fnmatch.fnmatchcase(name, match) or len(entries) >= _ENTRIES_MOST:
            continue
        sha256, why = "", f"there is no {name}.sha256 beside it"
        if (beside := objects.get(key + ".sha256")) is not None:
            try:
                sha256 = (bucket.read(beside, 0)(_CHECKSUM_MOST).decode(errors="replace").split() or [""])[0].lower()
                why = ""
            except (OSError, s3.NoObjectsError) as error:
                why = f"{beside.key} cannot be read: {error}"

        def opens(offset: int, each: s3.Object = each) -> Iterator[Body]:
            begins_at = offset if offset <= each.bytes else 0
            try:
                read = bucket.read(each, begins_at) if begins_at < each.bytes else lambda _: b""
            except s3.NoObjectsError as error:
                raise UnavailableError(str(error)) from None
            yield Body(read, begins_at, each.bytes)

        _add(entries, wrong, match, Entry(name, sha256, f"s3://{bucket.name}/{key}", each.modified, opens), why)
    return Found(entries, wrong)
