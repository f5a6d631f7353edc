"""Requests to S3 and what speaks its protocol, signed by version 4 of AWS's signatures.

Told by the variables that `memsample push` knows: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN,
AWS_REGION and AWS_ENDPOINT. Without a key, requests are not signed.
"""

import hashlib
import hmac
import os
import urllib.parse
import xml.etree.ElementTree
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from memsample_fleet.errors import FleetError

_EMPTY = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True)
class Signed:
    """A request that may be sent now."""

    url: str
    headers: dict[str, str]


@dataclass(frozen=True)
class Object:
    """An object of a bucket."""

    key: str
    modified: float


@dataclass(frozen=True)
class Bucket:
    """A prefix of a bucket."""

    name: str
    prefix: str
    environment: Mapping[str, str]

    @staticmethod
    def of(url: str, environment: Mapping[str, str] = os.environ) -> "Bucket":
        """Read `s3://BUCKET/PREFIX`."""
        parts = urllib.parse.urlsplit(url)
        if not parts.netloc:
            raise FleetError(f"`{url}` names no bucket: write s3://BUCKET/PREFIX")
        prefix = parts.path.lstrip("/")
        return Bucket(parts.netloc, prefix if not prefix or prefix.endswith("/") else f"{prefix}/", environment)

    def signed_list(self, after: str) -> Signed:
        """Return the request for the objects beneath the prefix, after a continuation token."""
        query = {"list-type": "2", "prefix": self.prefix, "delimiter": "/"}
        return self._signed("", query | ({"continuation-token": after} if after else {}))

    def signed_get(self, key: str) -> Signed:
        """Return the request for an object."""
        return self._signed(key, {})

    def _signed(self, key: str, query: dict[str, str]) -> Signed:
        region = self.environment.get("AWS_REGION") or self.environment.get("AWS_DEFAULT_REGION") or "us-east-1"
        endpoint = self.environment.get("AWS_ENDPOINT") or self.environment.get("AWS_ENDPOINT_URL")
        base = f"{endpoint.rstrip('/')}/{self.name}" if endpoint else f"https://{self.name}.s3.{region}.amazonaws.com"
        url = f"{base}/{urllib.parse.quote(key, safe='/-_.~')}"
        return sign(url, query, self.environment, region, datetime.now(UTC))


def sign(
    url: str,
    query: dict[str, str],
    environment: Mapping[str, str],
    region: str,
    now: datetime,
    more: Mapping[str, str] | None = None,
) -> Signed:
    """Sign a GET; `more` are further headers that are signed."""
    encoded = "&".join(
        f"{urllib.parse.quote(name, safe='-_.~')}={urllib.parse.quote(value, safe='-_.~')}"
        for name, value in sorted(query.items())
    )
    parts = urllib.parse.urlsplit(url)
    whole = url + (f"?{encoded}" if encoded else "")
    identity, secret = environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")
    if not identity or not secret:
        return Signed(whole, {})
    stamp, day = f"{now:%Y%m%dT%H%M%SZ}", f"{now:%Y%m%d}"
    headers = {"host": parts.netloc, "x-amz-content-sha256": _EMPTY, "x-amz-date": stamp, **(more or {})}
    if token := environment.get("AWS_SESSION_TOKEN"):
        headers["x-amz-security-token"] = token
    names = ";".join(sorted(headers))
    canonical = "\n".join(
        ["GET", parts.path or "/", encoded, *(f"{name}:{headers[name]}" for name in sorted(headers)), "", names, _EMPTY]
    )
    scope = f"{day}/{region}/s3/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{secret}".encode()
    for word in (day, region, "s3", "aws4_request"):
        key = hmac.new(key, word.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    credential = f"Credential={identity}/{scope},SignedHeaders={names},Signature={signature}"
    del headers["host"]
    return Signed(whole, {**headers, "Authorization": f"AWS4-HMAC-SHA256 {credential}"})


def parse_list(answer: str) -> tuple[list[Object], str]:
    """Return the objects of an answer to a list, and the continuation token if there is more."""
    try:
        root = xml.etree.ElementTree.fromstring(answer)
    except xml.etree.ElementTree.ParseError as error:
        raise FleetError(f"what answers is no S3: {error}") from None
    space = root.tag.removesuffix("ListBucketResult")
    objects = [
        Object(
            each.findtext(f"{space}Key", ""),
            datetime.fromisoformat(each.findtext(f"{space}LastModified", "1970-01-01T00:00:00Z")).timestamp(),
        )
        for each in root.iter(f"{space}Contents")
    ]
    return objects, root.findtext(f"{space}NextContinuationToken", "")
