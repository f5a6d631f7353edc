"""Suites travel by content, and nothing leaves its directory."""

import gzip
import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest

from memsample_fleet import archive
from memsample_fleet.errors import InvalidSuiteError


def tree(root: Path) -> Path:
    root.mkdir(parents=True)
    (root / "suite.toml").write_text('name = "tree"\n')
    (root / "bin").mkdir()
    (root / "bin" / "tool").write_text("#!/bin/sh\n")
    (root / "bin" / "tool").chmod(0o750)
    (root / "empty").mkdir()
    (root / "link").symlink_to("bin/tool")
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("secret")
    (root / "runs").mkdir()
    (root / "runs" / "old").write_text("old")
    return root


def test_the_same_content_is_the_same_archive_whatever_its_times_and_place(tmp_path: Path) -> None:
    one, two = tree(tmp_path / "one"), tree(tmp_path / "elsewhere" / "two")
    os.utime(two / "suite.toml", (1, 1))
    (two / "suite.toml").chmod(0o600)
    assert archive.pack(one / "suite.toml") == archive.pack(two / "suite.toml")
    (two / "suite.toml").write_text('name = "other"\n')
    assert archive.pack(one / "suite.toml").sha256 != archive.pack(two / "suite.toml").sha256


def test_what_is_unpacked_is_what_was_packed_without_versions_and_runs(tmp_path: Path) -> None:
    packed = archive.pack(tree(tmp_path / "one") / "suite.toml")
    archive.verify(packed.data, packed.sha256)
    into = tmp_path / "work" / "out"
    archive.unpack(packed.data, packed.sha256, into)
    assert (packed.suite, len(packed.names)) == ("suite.toml", 2)
    assert sorted(path.relative_to(into).as_posix() for path in into.rglob("*")) == [
        "bin", "bin/tool", "empty", "link", "suite.toml",
    ]  # fmt: skip
    assert os.access(into / "bin" / "tool", os.X_OK)
    assert (into / "link").readlink() == Path("bin/tool")
    assert archive.pack(into / "suite.toml").sha256 == packed.sha256
    assert not list(into.parent.glob(".unpack-*"))


def test_a_directory_in_utahs_format_is_a_suite(tmp_path: Path) -> None:
    (tmp_path / "utah").mkdir()
    (tmp_path / "utah" / "master.run").write_text("testsuites: []\n")
    assert archive.pack(tmp_path / "utah").suite == "."


def unpack(data: bytes, into: Path) -> None:
    archive.unpack(data, hashlib.sha256(data).hexdigest(), into)


def packed(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    "members",
    [
        [(member("/etc/evil"), b"x")],
        [(member("../evil"), b"x")],
        [(member("a/../../evil"), b"x")],
        [(member("link", tarfile.SYMTYPE, "/etc/passwd"), b"")],
        [(member("link", tarfile.SYMTYPE, "../evil"), b"")],
        [(member("a/link", tarfile.SYMTYPE, "../../evil"), b"")],
        [(member("a/up", tarfile.SYMTYPE, ".."), b""), (member("b", tarfile.SYMTYPE, "a/up/../evil"), b"")],
        [(member("hard", tarfile.LNKTYPE, "/etc/passwd"), b"")],
        [(member("device", tarfile.CHRTYPE), b"")],
        [(member("fifo", tarfile.FIFOTYPE), b"")],
        [(member("a"), b"x"), (member("a/b"), b"x")],
        [(member("a"), b"x"), (member("a"), b"y")],
        [(member("link", tarfile.SYMTYPE, "a"), b""), (member("link"), b"y")],
    ],
)  # fmt: skip
def test_a_member_that_would_escape_or_hide_another_is_refused(
    tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]]
) -> None:
    into = tmp_path / "here" / "out"
    with pytest.raises(InvalidSuiteError):
        unpack(packed(*members), into)
    assert not into.exists()
    assert [path.name for path in tmp_path.rglob("*")] == ["here"]


@pytest.mark.parametrize("data", [b"", b"no archive", gzip.compress(b"no tar", mtime=0), b"\x1f\x8b\x08\x00"])
def test_what_is_no_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(InvalidSuiteError):
        unpack(data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_or_cut_archive_is_refused(tmp_path: Path) -> None:
    whole = archive.pack(tree(tmp_path / "one") / "suite.toml")
    for cut in range(0, len(whole.data), 7):
        with pytest.raises(InvalidSuiteError):
            archive.unpack(whole.data[:cut], whole.sha256, tmp_path / "out")
    with pytest.raises(InvalidSuiteError, match="damaged"):
        archive.verify(whole.data[:-1] + b"x", whole.sha256)


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "UNPACKED_LIMIT", 1000)
    with pytest.raises(InvalidSuiteError, match="too much"):
        unpack(packed((member("bomb"), bytes(2000))), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_suite_that_is_too_large_is_refused_and_the_largest_files_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree(tmp_path / "one")
    (root / "image.bin").write_bytes(os.urandom(3 << 20))
    monkeypatch.setattr(archive, "LIMIT", 2 << 20)
    with pytest.raises(
        InvalidSuiteError, match=r"more than 2 MiB packed, and a suite may have 2 MiB.*image.bin \(3 MiB\)"
    ):
        archive.pack(root / "suite.toml")


def test_a_whole_home_a_socket_and_a_link_out_of_it_are_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tree(tmp_path / "home")))
    with pytest.raises(InvalidSuiteError, match="directory of its own"):
        archive.pack(tmp_path / "home" / "suite.toml")
    outward = tree(tmp_path / "one")
    (outward / "out").symlink_to("/etc/passwd")
    with pytest.raises(InvalidSuiteError, match="out of the suite"):
        archive.pack(outward / "suite.toml")
    os.mkfifo(tree(tmp_path / "two") / "fifo")
    with pytest.raises(InvalidSuiteError, match="fifo"):
        archive.pack(tmp_path / "two" / "suite.toml")
    with pytest.raises(InvalidSuiteError, match="no suite"):
        archive.pack(tmp_path / "nothing")
    everybody = tree(tmp_path / "tmp")
    everybody.chmod(0o1777)
    with pytest.raises(InvalidSuiteError, match="whoever put it there: put the suite into a directory of its own"):
        archive.pack(everybody / "suite.toml")


def test_what_is_hidden_or_has_passwords_is_not_packed_unless_it_is_asked_for(tmp_path: Path) -> None:
    root = tree(tmp_path / "one")
    plain = archive.pack(root / "suite.toml")
    for name in (".env", ".venv/bin/python", "data/.keys/id", "data/fleet.toml", "passwords.toml", ".hg/hgrc"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("secret")
    packed = archive.pack(root / "suite.toml", secret=[root / "passwords.toml"])
    assert packed.names == plain.names
    assert packed.left_out == (".env", ".venv/", "data/.keys/", "data/fleet.toml", "passwords.toml")
    assert b"secret" not in gzip.decompress(packed.data)
    hidden = archive.pack(root / "suite.toml", hidden=True, secret=[root / "passwords.toml"])
    assert set(hidden.names) - set(plain.names) == {".env", ".venv/bin/python", "data/.keys/id"}
    assert hidden.left_out == ("data/fleet.toml", "passwords.toml")
    # What is beside the suite is asked for, whatever its name.
    beside = archive.pack(root / "suite.toml", {".suspects": b"{}"})
    archive.unpack(beside.data, beside.sha256, tmp_path / "unpacked")
    assert (tmp_path / "unpacked" / ".suspects").read_bytes() == b"{}"
    # A suite may be hidden itself.
    (root / ".nightly.toml").write_text("secret")
    assert ".nightly.toml" in archive.pack(root / ".nightly.toml").names


def test_the_cache_keeps_what_was_used_last_and_no_damaged_archive(tmp_path: Path) -> None:
    cache = archive.Cache(tmp_path / "cache", most_bytes=250)
    contents = [bytes([number]) * 100 for number in range(3)]
    names = [hashlib.sha256(content).hexdigest() for content in contents]
    for age, (name, content) in enumerate(zip(names, contents, strict=True)):
        cache.put(name, content)
        if age < 2:
            os.utime(cache.directory / name, (age, age))
    assert [cache.get(name) is not None for name in names] == [False, True, True]
    (cache.directory / names[1]).write_bytes(b"other")
    assert cache.get(names[1]) is None
    assert not (cache.directory / names[1]).exists()
