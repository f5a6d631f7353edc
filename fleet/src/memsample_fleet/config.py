"""The configuration: `fleet.toml`, and the environment over it."""

import os
import platform
import re
import shutil
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from memsample_fleet import labels as label_names
from memsample_fleet import toml_file
from memsample_fleet.errors import FleetError

_ENVIRONMENT = {
    "broker": "MEMSAMPLE_FLEET_BROKER",
    "database": "MEMSAMPLE_FLEET_DATABASE",
    "store": "MEMSAMPLE_FLEET_STORE",
    "memsample": "MEMSAMPLE_FLEET_MEMSAMPLE",
    "name": "MEMSAMPLE_FLEET_NAME",
    "labels": "MEMSAMPLE_FLEET_LABELS",
    "state": "MEMSAMPLE_FLEET_STATE",
    "lease_s": "MEMSAMPLE_FLEET_LEASE_S",
}


@dataclass(frozen=True)
class Config:
    """What `fleet.toml` and the environment say. Its text never shows the broker or the database."""

    broker: str = ""
    """URL of the broker: `amqp://USER:PASSWORD@HOST:5672/VHOST`."""
    database: str = ""
    """URL or connection string of PostgreSQL: `postgresql://USER:PASSWORD@HOST/NAME`."""
    store: str = ""
    """Where a worker pushes runs: see `memsample push`. Empty: runs stay on the worker."""
    memsample: str = "memsample"
    """The program, by name or path."""
    name: str = ""
    """Name of this worker, unique in the fleet. [default: the host name]"""
    labels: tuple[str, ...] = ()
    """Labels of this worker. [default: its architecture and its host name]"""
    state: str = ""
    """Directory of a worker for archives and running suites. [default: ~/.local/state/memsample-fleet]"""
    lease_s: float = 60.0
    """Seconds that a claim lives without a sign of life; of a job as of when its worker claims it."""
    free_bytes: int = 1 << 30
    """A worker with less free disk takes no runs."""
    source: str = ""
    """The file that this was read from; empty if there is none."""

    def __repr__(self) -> str:
        """Leave out the broker and the database, whose URLs have passwords."""
        return f"Config(source={self.source!r}, name={self.name!r}, labels={self.labels!r})"

    @property
    def state_dir(self) -> Path:
        """The directory of a worker."""
        return Path(self.state or "~/.local/state/memsample-fleet").expanduser()

    def program(self) -> str:
        """Return the path of `memsample`; without it an error says how to name it."""
        found = shutil.which(self.memsample)
        if found is None:
            raise FleetError(
                f"there is no program `{self.memsample}`: install memsample, or name it by `memsample` in fleet.toml "
                "or MEMSAMPLE_FLEET_MEMSAMPLE"
            )
        return found


def load(path: str | None = None, environment: Mapping[str, str] = os.environ) -> Config:
    """Read the configuration: `path`, or the first of the usual files that exists, and the environment over it."""
    config = _read(_find(path, environment))
    changes: dict[str, Any] = {}
    for key, variable in _ENVIRONMENT.items():
        if not (text := environment.get(variable, "")):
            continue
        if key == "labels":
            changes[key] = tuple(text.replace(",", " ").split())
        elif key == "lease_s":
            changes[key] = _seconds(text, variable)
        else:
            changes[key] = text
    config = replace(config, **changes)
    host = platform.node().split(".")[0].lower() or "localhost"
    chosen = config.labels or (platform.machine().lower(), host)
    name = label_names.checked_name((config.name or host).lower())
    label_names.queues_of(chosen, name)
    return replace(config, name=name, labels=label_names.normalize(chosen))


def _find(path: str | None, environment: Mapping[str, str]) -> Path | None:
    named = path or environment.get("MEMSAMPLE_FLEET_CONFIG")
    if named:
        if not Path(named).is_file():
            raise FleetError(f"there is no configuration file {named}")
        return Path(named)
    home = Path(environment.get("XDG_CONFIG_HOME") or Path(environment.get("HOME", "/")) / ".config")
    usual = (Path("fleet.toml"), home / "memsample" / "fleet.toml", Path("/etc/memsample/fleet.toml"))
    return next((file for file in usual if file.is_file()), None)


def _read(path: Path | None) -> Config:
    if path is None:
        return Config()
    text, table = toml_file.read(path)
    known = {field.name: field for field in fields(Config) if field.name != "source"}
    values: dict[str, Any] = {}
    mistakes = []
    for key, value in table.items():
        where = f"{path}:{_line(text, key)}: `{key}`"
        try:
            if key not in known:
                raise FleetError(f"{where} is not known; the keys are {', '.join(known)}")
            values[key] = _value(key, value, where)
        except FleetError as error:
            mistakes.append(str(error))
    if mistakes:
        raise FleetError("\n".join(mistakes))
    if "@" in values.get("broker", "") + values.get("database", "") and path.stat().st_mode & stat.S_IROTH:
        print(f"warning: {path} has passwords and everybody may read it: chmod o= {path}", file=sys.stderr)
    return Config(source=str(path), **values)


def _value(key: str, value: Any, where: str) -> Any:
    if key == "labels":
        if not isinstance(value, list) or not all(isinstance(label, str) for label in value):
            raise FleetError(f"{where} must be a list of words")
        return tuple(value)
    if key == "lease_s":
        return _seconds(value, where)
    if key == "free_bytes":
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise FleetError(f"{where} must be a number of bytes")
    elif not isinstance(value, str):
        raise FleetError(f"{where} must be a text in quotes")
    return value


def _seconds(value: object, where: str) -> float:
    try:
        seconds = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else -1.0
    except ValueError:
        seconds = -1.0
    if not 2.0 <= seconds <= 3600.0:
        raise FleetError(f"{where} must be a number of seconds from 2 to 3600")
    return seconds


def _line(text: str, key: str) -> int:
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(rf"\s*[\[\"']*{re.escape(key)}\b", line):
            return number
    return 1
