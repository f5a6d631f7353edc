"""The mirror of images, from a server with the faults of real ones."""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from image_server import ImageServer
from servers import eventually, free_port

from memsample_fleet import image_sources
from memsample_fleet.errors import FleetError
from memsample_fleet.images import beside
from memsample_fleet.mirror import Asked, Mirror

DAY = 86_400


@pytest.fixture
def server() -> Iterator[ImageServer]:
    made = ImageServer()
    yield made
    made.close()


def mirrored(into: Path, *places: str, newest: int = 5, match: str = "*", most: int = 1 << 30) -> list[str]:
    asked = Asked(into, newest, most, free_bytes=0, pause_s=0.01)
    return Mirror(asked, image_sources.listing([*places], match)).once()


def names(into: Path) -> list[str]:
    return sorted(path.name for path in into.iterdir() if not path.name.startswith("."))


def parts(into: Path) -> list[Path]:
    return list(into.glob(".*.part"))


def test_the_newest_are_kept_with_their_checksums_and_older_ones_go(tmp_path: Path, server: ImageServer) -> None:
    into = tmp_path / "images"
    for number in range(4):
        server.put(f"v{number}.img", f"image {number}".encode(), modified=1_700_000_000 + number * DAY)
    url = server.list("v0.img", "v1.img", "v2.img", "v3.img")
    assert mirrored(into, url, newest=2) == []
    assert names(into) == ["v2.img", "v2.img.sha256", "v3.img", "v3.img.sha256"]
    assert (into / "v3.img").read_bytes() == b"image 3"
    assert beside(into / "v3.img") == hashlib.sha256(b"image 3").hexdigest()
    assert (into / "v3.img").stat().st_mtime == 1_700_000_000 + 3 * DAY
    subprocess.run(["sha256sum", "--check", "--quiet", "v2.img.sha256"], cwd=into, check=True)
    # What is there and sound is not fetched again; what others put there is left alone.
    (into / "mine.img").write_bytes(b"mine")
    server.asked.clear()
    server.put("v4.img", b"image 4", modified=1_700_000_000 + 4 * DAY)
    url = server.list("v3.img", "v4.img")
    assert mirrored(into, url, newest=2) == []
    assert names(into) == ["mine.img", "v3.img", "v3.img.sha256", "v4.img", "v4.img.sha256"]
    assert [path for path, _ in server.asked] == ["/SHA256SUMS", "/v4.img"]
    # A damaged one is fetched anew, and a name with new content is replaced.
    (into / "v3.img").write_bytes(b"rotten!")
    server.put("v4.img", b"image 4, again", modified=1_700_000_000 + 5 * DAY)
    assert mirrored(into, server.list("v3.img", "v4.img"), newest=2) == []
    assert ((into / "v3.img").read_bytes(), (into / "v4.img").read_bytes()) == (b"image 3", b"image 4, again")
    # A source that is away removes nothing.
    server.files.clear()
    assert "the server says 404" in mirrored(into, url, newest=2)[0]
    assert len(names(into)) == 5


def test_a_source_that_is_away_removes_nothing_of_its_images(tmp_path: Path, server: ImageServer) -> None:
    new, old = server.put("new.img", b"new"), server.put("old.img", b"old", modified=1_600_000_000)
    sources = []
    for name, sha256 in (("new", new), ("old", old)):
        sources.append(tmp_path / name)
        sources[-1].write_text(f"{server.url}/{name}.img {sha256}\n")
    into = tmp_path / "into"
    assert mirrored(into, *map(str, sources), newest=1) == []
    assert names(into) == ["new.img", "new.img.sha256"]
    listing = image_sources.listing([*map(str, sources)], "*")
    sources[0].unlink()
    asked = Asked(into, 1, free_bytes=0, pause_s=0.01)
    assert Mirror(asked, listing).once() == [f"cannot read {sources[0]}: No such file or directory"]
    assert "new.img" in names(into)


def test_a_connection_that_is_cut_goes_on_at_its_last_byte(tmp_path: Path, server: ImageServer) -> None:
    content = os.urandom(1_000_000)
    server.put("a.img", content, cut_after=130_000)
    assert mirrored(tmp_path, server.list("a.img")) == []
    assert (tmp_path / "a.img").read_bytes() == content
    asked = [wanted for path, wanted in server.asked if path == "/a.img"]
    assert asked == ["", *(f"bytes={offset}-" for offset in range(130_000, 1_000_000, 130_000))]
    assert parts(tmp_path) == []


def test_a_mirror_that_is_killed_goes_on_where_it_was(tmp_path: Path, server: ImageServer) -> None:
    content = os.urandom(3_000_000)
    # Behind the first cut nothing comes any more.
    sha256 = server.put("a.img", content, cut_after=1_000_000, stalls=True)
    url = server.list("a.img")
    command = [sys.executable, "-m", "memsample_fleet.cli", "mirror", url, "--into", str(tmp_path), "--once"]
    mirror = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    part = tmp_path / f".{sha256}.part"
    eventually("a part is there", lambda: part.exists() and part.stat().st_size >= 1_000_000)
    mirror.send_signal(signal.SIGKILL)
    mirror.wait()
    kept = part.stat().st_size
    assert names(tmp_path) == []
    server.asked.clear()
    server.put("a.img", content)
    assert mirrored(tmp_path, url) == []
    assert (tmp_path / "a.img").read_bytes() == content
    assert ("/a.img", f"bytes={kept}-") in server.asked


def test_a_server_without_ranges_is_begun_anew(tmp_path: Path, server: ImageServer) -> None:
    content = os.urandom(300_000)
    sha256 = server.put("a.img", content)
    server.files["/a.img"].ranges = False
    (tmp_path / f".{sha256}.part").write_bytes(content[:100_000])
    assert mirrored(tmp_path, server.list("a.img")) == []
    assert (tmp_path / "a.img").read_bytes() == content


def test_what_is_damaged_or_cut_for_ever_or_too_large_is_told_and_has_no_name(
    tmp_path: Path, server: ImageServer
) -> None:
    good = server.put("good.img", b"good", modified=1_700_000_000)
    for name in ("wrong.img", "short.img", "long.img", "large.img", "gone.img", "cut.img"):
        server.put(name, f"content of {name}".encode() * 100)
    url = server.list("good.img", "wrong.img", "short.img", "long.img", "large.img", "gone.img", "cut.img")
    server.files["/wrong.img"].content = b"other" * 100
    # It tells less than it has, and more.
    server.files["/short.img"].says = 50
    server.files["/long.img"].says = 100_000
    server.files["/large.img"].content *= 100
    server.files["/gone.img"].status = 404
    server.files["/cut.img"].cut_after = 0
    failed = mirrored(tmp_path, url, newest=20, most=50_000)
    assert names(tmp_path) == ["good.img", "good.img.sha256"]
    assert beside(tmp_path / "good.img") == good
    told = {line.split("/")[3].split(" ")[0].rstrip(":"): line for line in failed}
    assert "damaged: its SHA-256 is " in told["wrong.img"]
    assert "damaged: its SHA-256 is " in told["short.img"]
    assert "has more than 48.8 KiB: see --most-bytes" in told["large.img"]
    assert "the server says 404" in told["gone.img"]
    assert "the connection was cut; 0 B of it are kept, and it goes on there" in told["cut.img"]
    assert "long.img" in told
    assert len(failed) == 6
    # A part of a damaged one that was kept costs one more try, and no more.
    server.asked.clear()
    assert mirrored(tmp_path, server.list("good.img")) == []
    assert parts(tmp_path) == []


def test_names_and_lines_of_a_list_that_lead_elsewhere_are_left_out_and_told(
    tmp_path: Path, server: ImageServer
) -> None:
    sha256 = server.put("a.img", b"a")
    listed = f"{sha256}  a.img\n{sha256}  ../b.img\n{sha256} */etc/c.img\n{sha256}  .d.img\nnonsense\n# remark\n"
    server.put("SHA256SUMS", listed.encode())
    failed = mirrored(tmp_path / "into", f"{server.url}/SHA256SUMS")
    assert names(tmp_path / "into") == ["a.img", "a.img.sha256"]
    assert names(tmp_path) == ["into"]
    assert len(failed) == 4
    assert sum("its name is none for a file" in line for line in failed) == 3
    assert "a line is none of a checksum and a name: 'nonsense'" in failed[-1]


def test_images_come_from_addresses_a_file_of_them_and_a_directory(tmp_path: Path, server: ImageServer) -> None:
    into = tmp_path / "into"
    a, b = server.put("a.img", b"a"), server.put("b.img", b"b")
    server.put("a.img.sha256", f"{a}  a.img".encode())
    assert mirrored(into, f"{server.url}/a.img") == []
    urls = tmp_path / "urls"
    urls.write_text(f"# mine\n{server.url}/b.img {b}\n{server.url}/none.img\n")
    failed = mirrored(into, f"{server.url}/a.img", str(urls))
    assert failed == [
        f"{server.url}/none.img is left out: it has no SHA-256: cannot fetch {server.url}/none.img.sha256: the server "
        "says 404 Not Found"
    ]
    here = tmp_path / "here"
    here.mkdir()
    (here / "c.img").write_bytes(b"c")
    assert mirrored(into, str(here)) == []
    assert beside(into / "c.img") == hashlib.sha256(b"c").hexdigest()
    assert names(into)[::2] == ["a.img", "b.img", "c.img"]
    urls.write_text("ftp://x\n")
    assert "urls:1: write a URL" in mirrored(into, str(urls))[0]
    with pytest.raises(FleetError, match="`nothing` is no source of images"):
        mirrored(into, "nothing")


BESIDE = (
    "SHA256SUMS", "SHA256SUMS.gpg", "MD5SUMS.txt", "touch-CHECKSUM", "a.img.sha256", "a.img.sha512", "a.img.md5sum",
    "a.img.asc", "a.img.sig", "a.img.zsync", "b.img.part", "b.img.crdownload", "b.img~",
)  # fmt: skip
"""What lies beside images and is none."""


def test_what_lies_beside_images_is_no_image_whatever_the_source_is(tmp_path: Path, server: ImageServer) -> None:
    here, into = tmp_path / "here", tmp_path / "into"
    here.mkdir()
    for name in ("a.img", ".hidden.img", *BESIDE):
        (here / name).write_bytes(b"content")
    sha256 = hashlib.sha256(b"content").hexdigest()
    (here / "a.img.sha256").write_text(f"{sha256}  a.img\n")
    # Names that are like theirs.
    alike = ["md5.img", "touch-b2", "v1-sha1"]
    for name in alike:
        (here / name).write_bytes(name.encode())
    assert mirrored(into, str(here), newest=100) == []
    images = sorted(["a.img", *alike])
    assert names(into) == sorted([*images, *(f"{name}.sha256" for name in images)])
    for name in ("a.img", *BESIDE):
        server.put(name, b"content")
    server.put("SHA256SUMS", "".join(f"{sha256}  {name}\n" for name in ("a.img", *BESIDE)).encode())
    assert mirrored(tmp_path / "listed", f"{server.url}/SHA256SUMS", newest=100) == []
    assert names(tmp_path / "listed") == ["a.img", "a.img.sha256"]
    # One that somebody names is told.
    urls = tmp_path / "urls"
    urls.write_text(f"{server.url}/a.img.asc {sha256}\n")
    told = mirrored(tmp_path / "named", str(urls))
    assert told == [
        f"{server.url}/a.img.asc is left out: by its name it is no image: checksums, signatures and what is unfinished "
        "end so"
    ]


def test_a_password_in_an_address_is_not_told(tmp_path: Path) -> None:
    told = mirrored(tmp_path, "http://me:secret@127.0.0.1:9/SHA256SUMS?token=hidden")
    assert len(told) == 1
    assert "http://127.0.0.1:9/SHA256SUMS" in told[0]
    assert "secret" not in told[0]
    assert "hidden" not in told[0]


def test_two_mirrors_of_a_directory_are_refused(tmp_path: Path, server: ImageServer) -> None:
    url = server.list()
    listing = image_sources.listing([url], "*")
    refused = []

    def second() -> image_sources.Found:
        try:
            mirrored(tmp_path, url)
        except FleetError as error:
            refused.append(str(error))
        return listing()

    Mirror(Asked(tmp_path, free_bytes=0), second).once()
    assert refused == [f"another mirror keeps {tmp_path}: give this one a directory of its own"]


def test_without_the_package_for_s3_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(FleetError, match=r"install memsample-fleet\[s3\]"):
        image_sources.listing(["s3://bucket/touch"], "*")


@pytest.fixture
def bucket() -> Iterator[str]:
    """The URL of a bucket of a server that speaks S3."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    serving = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        with contextlib.suppress(OSError):
            upload(f"{url}/bucket", b"")
            return True
        return False

    try:
        eventually("S3 answers", answers)
        yield f"{url}/bucket"
    finally:
        serving.kill()
        serving.wait()


def upload(url: str, content: bytes) -> None:
    told = {"Content-Type": "application/octet-stream", "x-amz-acl": "public-read"}
    urllib.request.urlopen(urllib.request.Request(url, content, told, method="PUT"), timeout=120).close()


@pytest.mark.slow
def test_images_come_from_a_prefix_of_s3_however_many_objects_it_has(
    tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT", bucket.removesuffix("/bucket"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    content = os.urandom(300_000)
    sha256 = hashlib.sha256(content).hexdigest()
    # An answer has a thousand objects at most, and these are behind them.
    for number in range(1001):
        upload(f"{bucket}/touch/a{number}.txt", b"x")
    upload(f"{bucket}/touch/image%20one.img", content)
    upload(f"{bucket}/touch/image.img", content)
    upload(f"{bucket}/touch/image.img.sha256", f"{sha256}  image.img\n".encode())
    upload(f"{bucket}/touch/none.img", b"none")
    upload(f"{bucket}/touch/none.img.asc", b"signed")
    upload(f"{bucket}/touch/deeper/b.img", b"b")
    upload(f"{bucket}/touching.img", b"c")
    # What some tools make to show an empty directory.
    upload(f"{bucket}/touch/", b"")
    (tmp_path / f".{sha256}.part").write_bytes(content[:100_000])
    failed = mirrored(tmp_path, "s3://bucket/touch", match="*.img*")
    assert names(tmp_path) == ["image.img", "image.img.sha256"]
    assert (tmp_path / "image.img").read_bytes() == content
    assert sorted(line.split(" is left out: ")[0] for line in failed) == [
        "s3://bucket/touch/image one.img", "s3://bucket/touch/none.img"
    ]  # fmt: skip
    assert mirrored(tmp_path, "s3://nothing")[0] == "cannot list s3://nothing/: the server says 404 Not Found"
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(FleetError, match="Missing AccessKeyId"):
        mirrored(tmp_path, "s3://bucket/touch")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert mirrored(tmp_path, "s3://bucket/touch", match="image.img") == []
    monkeypatch.setenv("AWS_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    assert "Connection refused" in mirrored(tmp_path, "s3://bucket/touch")[0]
    monkeypatch.setenv("AWS_ENDPOINT", "nothing at all")
    with pytest.raises(FleetError, match="AWS_ENDPOINT is `nothing at all`"):
        mirrored(tmp_path, "s3://bucket/touch")
