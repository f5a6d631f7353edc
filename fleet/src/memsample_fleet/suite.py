"""A suite on the machine of who submits it: read as one, and then packed, so that no other directory is sent."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from memsample_fleet import archive, text, toml_file
from memsample_fleet.config import Config
from memsample_fleet.errors import FleetError, InvalidSuiteError
from memsample_fleet.execution import environment

_REFUSED = (2, 12, 13)
"""Exit codes of `memsample run` that are about the words and the suite, and not about this machine."""
_LIST_S = 30.0
_LARGEST = 4 << 20
"""The most bytes of a suite file, as `memsample` has it."""
_UTAH = ("master.run", "tslist.run", "tslist.auto")
_NAMED_MOST = 5


def pack(
    config: Config,
    path: Path,
    options: Sequence[str] = (),
    beside: Mapping[str, bytes] = MappingProxyType({}),
    hidden: bool = False,
    checked: bool = True,
) -> archive.Archive:
    """Read a suite, and pack its directory and files `beside` it, by name; `options` are those of `memsample run`.

    `memsample` reads the suite if this machine has it. What is not `checked` by it is held to being TOML with tests.
    """
    if not path.is_dir() and not path.is_file():
        raise InvalidSuiteError(f"{path} is no file and no directory" if path.exists() else f"there is no suite {path}")
    file = path / "suite.toml" if path.is_dir() else path
    if file.is_file():
        if file.stat().st_size > _LARGEST or not (checked and _listed(config, file, options)):
            _check(file)
    elif not any((path / name).is_file() for name in _UTAH):
        raise InvalidSuiteError(f"{path} is no suite: it has neither suite.toml nor {', '.join(_UTAH)}")
    # The commands of a directory in UTAH's format would be executed to read it.
    return archive.pack(path, beside, hidden, [Path(config.source)] if config.source else [])


def remarks(packed: archive.Archive) -> list[str]:
    """Say what was left out."""
    names = packed.left_out
    if not names:
        return []
    more = f" and {len(names) - _NAMED_MOST} more" if len(names) > _NAMED_MOST else ""
    hidden = any(name.rstrip("/").rpartition("/")[2].startswith(".") for name in names)
    hint = "; --hidden sends what is hidden" if hidden else ""
    return [f"note: left out: {', '.join(names[:_NAMED_MOST])}{more}{hint}"]


def _listed(config: Config, file: Path, options: Sequence[str]) -> bool:
    """Let `memsample` read a suite; False if this machine has none that can."""
    try:
        told = subprocess.run(
            [config.program(), "run", "--list", file, *options],
            capture_output=True, text=True, errors="replace", timeout=_LIST_S, stdin=subprocess.DEVNULL,
            env=environment(),
        )  # fmt: skip
    except (FleetError, OSError, subprocess.TimeoutExpired):
        return False
    if told.returncode in _REFUSED:
        raise InvalidSuiteError(_said(file, told.stderr), told.returncode)
    return told.returncode == 0


def _said(file: Path, stderr: str) -> str:
    said = text.safe_lines(stderr).removeprefix("error: ") + "\nnothing was sent"
    try:
        _check(file)
    except InvalidSuiteError:
        return said
    return f"{said}; if a later memsample of the workers knows this, --unchecked sends it as it is"


def _check(file: Path) -> None:
    if (size := file.stat().st_size) > _LARGEST:
        raise InvalidSuiteError(f"{file} is no suite: it has {text.size(size)}")
    try:
        _, table = toml_file.read(file)
    except FleetError as error:
        raise InvalidSuiteError(f"this is no suite: {error}") from None
    tests = table.get("test")
    if not isinstance(tests, list) or not tests or not all(isinstance(test, dict) for test in tests):
        raise InvalidSuiteError(f"{file} is no suite: it has no [[test]]")
