"""Objects beneath a prefix of S3, and of what speaks its protocol, by the crate that `memsample push` has, too.

It is told by the same variables: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT
and so on. Without credentials, requests are not signed.
"""

import os
import re
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from memsample_fleet.errors import FleetError

if TYPE_CHECKING:
    from obstore.store import S3Store

_CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                "AWS_CONTAINER_CREDENTIALS_FULL_URI")  # fmt: skip
_CHUNK = 1 << 16
_SILENT_FOR = timedelta(seconds=30)
_LONGEST = timedelta(days=7)
"""A bound for a whole answer, which may be an image of many GiB; without one it would be 30 s."""


class NoObjectsError(FleetError):
    """The server refuses, or has no such thing."""


@dataclass(frozen=True)
class Object:
    """An object of a bucket."""

    key: str
    modified: float
    """Seconds since the epoch."""
    bytes: int


class Bucket:
    """A prefix of a bucket."""

    def __init__(self, url: str, environment: Mapping[str, str] = os.environ) -> None:
        """Read `s3://BUCKET/PREFIX`."""
        parts = urllib.parse.urlsplit(url)
        if not parts.netloc:
            raise FleetError(f"`{url}` names no bucket: write s3://BUCKET/PREFIX")
        try:
            import obstore
        except ImportError:
            raise FleetError("s3:// needs the package obstore: install memsample-fleet[s3]") from None
        self.name, self._prefix, self._obstore = parts.netloc, parts.path.strip("/"), obstore
        self._store = self._open(environment)

    def _open(self, environment: Mapping[str, str]) -> "S3Store":
        unsigned = not any(environment.get(name) for name in _CREDENTIALS)
        endpoint = environment.get("AWS_ENDPOINT") or environment.get("AWS_ENDPOINT_URL") or ""
        # The package panics where this is no URL.
        if endpoint and not re.fullmatch(r"https?://[^\s/]+(/\S*)?", endpoint):
            raise FleetError(f"AWS_ENDPOINT is `{endpoint}`: write a URL such as https://s3.example")
        try:
            return self._obstore.store.S3Store(
                self.name,
                skip_signature=unsigned,
                client_options={
                    "allow_http": endpoint.startswith("http://"),
                    "read_timeout": _SILENT_FOR,
                    "timeout": _LONGEST,
                },
                # Who calls tries again, and goes on at the last byte.
                retry_config={"max_retries": 1, "retry_timeout": _SILENT_FOR},
            )
        except (ValueError, self._obstore.exceptions.BaseError) as error:
            raise FleetError(f"cannot use s3://{self.name}: {_told(error)}") from None

    def objects(self) -> list[Object]:
        """Return the objects beneath the prefix, but for those of deeper ones."""
        try:
            listed = self._obstore.list_with_delimiter(self._store, self._prefix or None)["objects"]
        except (OSError, self._obstore.exceptions.BaseError) as error:
            raise NoObjectsError(f"cannot list s3://{self.name}/{self._prefix}: {_told(error)}") from None
        # Some servers keep an object of the name of the prefix itself.
        return [
            Object(each["path"], each["last_modified"].timestamp(), each["size"])
            for each in listed if each["path"] != self._prefix
        ]  # fmt: skip

    def read(self, wanted: Object, offset: int) -> Callable[[int], bytes]:
        """Return what reads an object from an offset on: some bytes, at most so many, and none at its end.

        Raises `OSError` where another try may help.
        """
        try:
            got = self._obstore.get(self._store, wanted.key, options={"range": {"offset": offset}} if offset else {})
        except (OSError, self._obstore.exceptions.BaseError) as error:
            told = _told(error)
            if re.search(r"server says (?!408|429)4", told):
                raise NoObjectsError(f"cannot fetch s3://{self.name}/{wanted.key}: {told}") from None
            raise OSError(told) from None
        stream, rest = iter(got.stream(_CHUNK)), b""

        def read(most: int) -> bytes:
            nonlocal rest
            try:
                rest = rest or bytes(next(stream, b""))
            except self._obstore.exceptions.BaseError as error:
                raise OSError(_told(error)) from None
            chunk, rest = rest[:most], rest[most:]
            return chunk

        return read


def _told(error: BaseException) -> str:
    """Return what went wrong, without the answer of the server and what a debugger needs."""
    said = str(error)
    if status := re.search(r"status code: (\d+[^:\n]*)", said):
        return f"the server says {status.group(1).strip()}"
    cause = re.findall(r'"([^"]+)"', said.partition("Debug source")[2])
    first = said.splitlines()[0].rpartition(" - ")[2] if said else type(error).__name__
    return f"{first} ({cause[-1]})" if cause else first
