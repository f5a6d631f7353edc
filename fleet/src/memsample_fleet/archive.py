"""Suites as archives that are named by their content.

An archive is a gzip'ed tar file of the directory of a suite, the same for the same content: names are
sorted, and times, owners and all rights but to execute are left out.
"""

import gzip
import hashlib
import io
import os
import shutil
import stat
import tarfile
import tempfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from memsample_fleet.errors import FleetError, InvalidSuiteError

LIMIT = 64 << 20
"""The most bytes of an archive."""
UNPACKED_LIMIT = 1 << 30
"""The most bytes that an archive may unpack to."""
MEMBERS_LIMIT = 50_000
"""The most files and directories of an archive."""

_LEFT_OUT = {".git", ".hg", ".svn"}
_SECRET = "fleet.toml"
"""Name of a file with the passwords of the broker and the database, which is read where it lies."""


@dataclass(frozen=True)
class Archive:
    """A suite as it is sent."""

    data: bytes
    sha256: str
    suite: str
    """Path of the suite in the archive: a file, or `.` for a directory in UTAH's format."""
    names: tuple[str, ...]
    """Paths of its files, but for those that were put beside the suite."""
    left_out: tuple[str, ...] = ()
    """What is in the directory and was not packed, but for `.git` and the like; directories end with `/`."""


def pack(
    suite: Path,
    beside: Mapping[str, bytes] = MappingProxyType({}),
    hidden: bool = False,
    secret: Collection[Path] = (),
) -> Archive:
    """Pack the directory of a suite file, or a suite that is a directory, and files `beside` it, by name.

    `.git`, `.hg`, `.svn` and the directory `runs` beside the suite, where `memsample run` writes, are left out; so are
    `secret` files, and what is hidden unless it is asked for: keys and passwords are found there.
    """
    if suite.is_dir():
        root, inside = suite, "suite.toml" if (suite / "suite.toml").is_file() else "."
    elif suite.is_file():
        root, inside = suite.parent, suite.name
    else:
        raise InvalidSuiteError(f"there is no suite {suite}")
    root = root.resolve()
    _check_root(root)
    left_out = _LeftOut(root, hidden, [file.resolve() for file in secret], root / inside)
    members = []
    for path in left_out.walk():
        members.append(path)
        if len(members) > MEMBERS_LIMIT:
            raise InvalidSuiteError(f"{root} has more than {MEMBERS_LIMIT} files, and no suite may")
    members.sort(key=lambda path: path.relative_to(root).as_posix())
    sizes = {path: path.lstat().st_size for path in members if stat.S_ISREG(path.lstat().st_mode)}
    if sum(sizes.values()) > UNPACKED_LIMIT:
        raise InvalidSuiteError(_too_large(root, sizes, f"{sum(sizes.values()) / 2**20:.0f} MiB", UNPACKED_LIMIT))
    buffer = io.BytesIO()

    def check_packed() -> None:
        if buffer.tell() > LIMIT:
            raise InvalidSuiteError(_too_large(root, sizes, f"more than {LIMIT >> 20} MiB packed", LIMIT))

    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=6, mtime=0, filename="") as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in members:
            if path.relative_to(root).as_posix() not in beside:
                _add(tar, root, path)
            # At once: to pack the rest takes long, and is in vain.
            check_packed()
        for name, content in sorted(beside.items()):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    check_packed()
    data = buffer.getvalue()
    names = tuple(path.relative_to(root).as_posix() for path in members if path in sizes)
    return Archive(data, hashlib.sha256(data).hexdigest(), inside, names, tuple(sorted(left_out.names)))


def _check_root(root: Path) -> None:
    """Refuse directories in which a suite is beside all kinds of things, and those that anybody may write to."""
    why = ""
    if root in (Path("/"), Path.home().resolve()):
        why = f"all of {root} would be sent"
    elif (mode := root.stat().st_mode) & stat.S_ISVTX and mode & stat.S_IWOTH:
        why = f"all of {root} would be sent, whoever put it there"
    if why:
        raise InvalidSuiteError(f"{why}: put the suite into a directory of its own")


class _LeftOut:
    """Walks through the directory of a suite, and knows what it has left out."""

    def __init__(self, root: Path, hidden: bool, secret: Collection[Path], suite: Path) -> None:
        self.names: list[str] = []
        self._root, self._hidden, self._secret, self._suite = root, hidden, secret, suite

    def walk(self) -> Iterator[Path]:
        for directory, directories, files in os.walk(self._root):
            here = Path(directory)
            never = _LEFT_OUT | ({"runs"} if here == self._root else set())
            directories[:] = [name for name in directories if name not in never and self._goes(here / name, "/")]
            for name in directories:
                yield here / name
            for name in files:
                if self._goes(here / name):
                    yield here / name

    def _goes(self, path: Path, end: str = "") -> bool:
        secret = path.name == _SECRET or path in self._secret
        if path == self._suite or not (secret or (path.name.startswith(".") and not self._hidden)):
            return True
        self.names.append(path.relative_to(self._root).as_posix() + end)
        return False


def _add(tar: tarfile.TarFile, root: Path, path: Path) -> None:
    info = tarfile.TarInfo(path.relative_to(root).as_posix())
    mode = path.lstat().st_mode
    info.mode = 0o755 if stat.S_ISDIR(mode) or mode & stat.S_IXUSR else 0o644
    if stat.S_ISDIR(mode):
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
    elif stat.S_ISLNK(mode):
        info.type, info.mode, info.linkname = tarfile.SYMTYPE, 0o777, os.readlink(path)
        _check_link(info)
        tar.addfile(info)
    elif stat.S_ISREG(mode):
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InvalidSuiteError(f"cannot read {path}: {error.strerror}") from None
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    else:
        raise InvalidSuiteError(f"{path} is no file, directory or symbolic link: it cannot be sent")


def _too_large(root: Path, sizes: dict[Path, int], has: str, limit: int) -> str:
    largest = sorted(sizes.items(), key=lambda entry: -entry[1])[:3]
    names = ", ".join(f"{path.relative_to(root)} ({size / 2**20:.0f} MiB)" for path, size in largest)
    return (
        f"{root} has {has}, and a suite may have {limit >> 20} MiB: put what is large where the workers find it. The "
        f"largest are {names}"
    )


def verify(data: bytes, sha256: str) -> None:
    """Hold an archive to its name."""
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise InvalidSuiteError(f"the archive of the suite is damaged: its SHA-256 is {found}, not {sha256}")


def unpack(data: bytes, sha256: str, into: Path) -> None:
    """Unpack an archive of this name into a directory that does not exist yet; refuse what would leave it.

    Everything or nothing: if it fails, the directory is not there.
    """
    verify(data, sha256)
    into.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".unpack-", dir=into.parent))
    try:
        work.chmod(0o755)
        # As a stream, so that no more is decompressed than the limit allows.
        with tarfile.open(fileobj=io.BytesIO(data), mode="r|gz") as tar:
            _extract(tar, work)
        work.rename(into)
    except (
        tarfile.TarError,
        EOFError,
        zlib.error,
        ValueError,
        FileExistsError,
        NotADirectoryError,
        IsADirectoryError,
    ) as error:
        shutil.rmtree(work, ignore_errors=True)
        raise InvalidSuiteError(f"the archive of the suite cannot be unpacked: {error}") from None
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def _extract(tar: tarfile.TarFile, work: Path) -> None:
    total, links = 0, []
    for count, info in enumerate(tar, 1):
        _check_name(info.name)
        total += info.size
        if count > MEMBERS_LIMIT or total > UNPACKED_LIMIT:
            raise InvalidSuiteError("the archive of the suite is refused: it unpacks to too much")
        target = work / info.name
        if info.isdir():
            target.mkdir(mode=0o755, exist_ok=True, parents=True)
        elif info.isreg():
            target.parent.mkdir(parents=True, exist_ok=True)
            source = tar.extractfile(info)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            with open(os.open(target, flags, 0o755 if info.mode & 0o100 else 0o644), "wb") as file:
                if source is not None:
                    shutil.copyfileobj(source, file)
        elif info.issym():
            _check_link(info)
            links.append((info.linkname, target))
        else:
            raise InvalidSuiteError(f"the archive of the suite is refused: `{info.name}` is no file, directory or link")
    # At the end, so that nothing is written through a link.
    for name, target in links:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(name)


def _check_name(name: str) -> None:
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts:
        raise InvalidSuiteError(f"the archive of the suite is refused: `{name}` leads out of it")


def _check_link(info: tarfile.TarInfo) -> None:
    target = PurePosixPath(info.linkname)
    up = next((count for count, part in enumerate(target.parts) if part != ".."), len(target.parts))
    # Behind another link, `..` leads elsewhere than it seems.
    if target.is_absolute() or ".." in target.parts[up:] or up > len(PurePosixPath(info.name).parent.parts):
        raise InvalidSuiteError(f"`{info.name}` is a link to `{info.linkname}`, out of the suite: it is refused")


class Cache:
    """Archives on this machine, by hash: the newest, in at most so many bytes."""

    def __init__(self, directory: Path, most_bytes: int = 2 << 30) -> None:
        """Keep the archives in a directory, which is made."""
        self.directory, self.most_bytes = directory, most_bytes
        directory.mkdir(parents=True, exist_ok=True)

    def get(self, sha256: str) -> bytes | None:
        """Return an archive; a damaged one is removed and as good as none."""
        path = self.directory / sha256
        try:
            data = path.read_bytes()
            verify(data, sha256)
            os.utime(path)
        except FleetError:
            path.unlink(missing_ok=True)
            return None
        except OSError:
            return None
        return data

    def put(self, sha256: str, data: bytes) -> None:
        """Keep a verified archive, and forget those that were not used for the longest time."""
        with tempfile.NamedTemporaryFile(dir=self.directory, delete=False) as file:
            file.write(data)
        os.replace(file.name, self.directory / sha256)
        kept = 0
        for path in sorted(self.directory.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True):
            kept += path.stat().st_size
            if kept > self.most_bytes and path.name != sha256:
                path.unlink(missing_ok=True)
