"""`devices.toml`: devices without a worker of their own, which this machine serves over ssh."""

import os
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from memsample_fleet import hook as commands
from memsample_fleet import labels, toml_file
from memsample_fleet.errors import FleetError
from memsample_fleet.images import Source
from memsample_fleet.releases import duration, options, source, words

HOOKS = {"provision": timedelta(minutes=30), "health": timedelta(minutes=1), "recover": timedelta(minutes=10)}
"""Hooks, and their timeouts where none is given."""


_UNTIL_UNFOLLOWED = timedelta(minutes=5)
"""How much longer than it is tried to connect again a run goes on that nobody follows: a connection that is lost is
noticed after three quarters of a minute."""


@dataclass(frozen=True)
class Hook:
    """A command that is called for a device."""

    command: tuple[str, ...]
    timeout: timedelta


@dataclass(frozen=True)
class Device:
    """A device, which is a worker of its name to the fleet."""

    name: str
    kind: str
    address: str
    """`ssh://[user@]host[:port][/directory]`, as `memsample run --on` takes it."""
    labels: tuple[str, ...]
    """With its kind among them."""
    hooks: dict[str, Hook]
    retry: timedelta
    """How often a device that is put aside is looked at."""
    stop_for: timedelta
    """How long a device that cannot be reached is tried, to end a run on it."""
    run: tuple[str, ...]
    """Further options of `memsample run`."""
    images: Source | None
    """Where the images of its kind are."""
    directory: Path
    """That of the file: where hooks are run."""

    @property
    def options(self) -> tuple[str, ...]:
        """The options of `memsample run` by which a suite runs there."""
        stop_for = f"{self.stop_for.total_seconds():.0f}s"
        return ("--on", self.address, "--stop-for", stop_for, *_unfollowed_for(self.run), *self.run)


def read(file: Path) -> list[Device]:
    """Read a file; each mistake is told with file, line and key, all at once."""
    text, table = toml_file.read(file)
    reader = _Reader(file.resolve(), text)
    found = reader.devices(table)
    if reader.mistakes:
        raise FleetError("\n".join(reader.mistakes))
    return found


_SHARED = {*HOOKS, *(f"{hook}_timeout" for hook in HOOKS), "retry", "run", "stop_for"}
_OF_DEVICE = {"name", "kind", "address", "labels"} | _SHARED
_OF_KIND = {"images"} | _SHARED
_ADDRESS = re.compile(r"ssh://((?:[^-@/\s][^@/\s]*@)?)(\[[0-9A-Fa-f:.]+\]|[^-:/\s@\[\]][^:/\s@\[\]]*)(:\d+)?(/\S*)?")
_NOT_TO_RUN = ("--on", "--out", "--name", "--json", "--push", "--stop-for")


class _Reader:
    def __init__(self, file: Path, text: str) -> None:
        self.file, self.lines, self.mistakes = file, text.splitlines(), list[str]()

    def devices(self, table: dict[str, Any]) -> list[Device]:
        for key in set(table) - {"device", "kind"}:
            self.wrong("", key, "is not known; there are only [[device]] and [kind.NAME]")
        kinds, listed = table.get("kind", {}), table.get("device", [])
        if not isinstance(kinds, dict) or not all(isinstance(kind, dict) for kind in kinds.values()):
            self.wrong("", "kind", "must be tables [kind.NAME]")
            kinds = {}
        if not isinstance(listed, list) or not listed or not all(isinstance(entry, dict) for entry in listed):
            self.wrong("", "device", "is needed: write a table [[device]] for each")
            return []
        shared = {name: self.shared(rf"\[\s*kind\s*\.\s*[\"']?{re.escape(name)}[\"']?\s*\]", kind, _OF_KIND)
                  for name, kind in kinds.items()}  # fmt: skip
        found: dict[str, Device] = {}
        for number, entry in enumerate(listed):
            made = self.device(number, entry, shared)
            if made is not None and found.setdefault(made.name, made) is not made:
                self.wrong(number, "name", f"`{made.name}` is given to two devices")
        return list(found.values())

    def device(self, number: int, entry: dict[str, Any], kinds: dict[str, dict[str, Any]]) -> Device | None:
        before = len(self.mistakes)
        own = self.shared(number, entry, _OF_DEVICE)
        kind = entry.get("kind", "")
        if "kind" in entry and kind not in kinds:
            self.wrong(number, "kind", f"`{kind}` is none: there is no table [kind.{kind}]")
        whole = {**kinds.get(kind, {}), **own}
        name = self.take(number, entry, "name", lambda given: labels.checked_name(_text(given)), None)
        address = self.take(number, entry, "address", _address, None)
        for key in ("name", "address"):
            if key not in entry:
                self.wrong(number, key, "is needed")
        given = self.take(number, entry, "labels", words, ())
        have: tuple[str, ...] = ()
        try:
            have = labels.normalize([*given, *([kind] if kind else [])])
            labels.queues_of(have, "any")
        except FleetError as error:
            self.wrong(number, "labels", str(error))
        if whole.get("images") is not None and "provision" not in whole:
            self.wrong(number, "provision", "is needed by a device whose kind has images")
        if len(self.mistakes) > before:
            return None
        hooks = {
            hook: Hook(whole[hook], whole.get(f"{hook}_timeout", timeout))
            for hook, timeout in HOOKS.items() if whole.get(hook)
        }  # fmt: skip
        hooks.setdefault("health", Hook(_answers(address), HOOKS["health"]))
        retry, stop_for = whole.get("retry", timedelta(minutes=5)), whole.get("stop_for", timedelta(minutes=30))
        return Device(name, kind, address, have, hooks, retry, stop_for, whole.get("run", ()), whole.get("images"),
                      self.file.parent)  # fmt: skip

    def shared(self, place: int | str, entry: dict[str, Any], known: set[str]) -> dict[str, Any]:
        """Read what a device and a kind may both have."""
        for key in sorted(set(entry) - known):
            self.wrong(place, key, f"is not known; the keys are {', '.join(sorted(known))}")
        found: dict[str, Any] = {}
        for key in entry:
            what: Callable[[Any], Any]
            if key in HOOKS:
                what = self.command
            elif key.endswith("_timeout") or key in ("retry", "stop_for"):
                what = _positive
            elif key == "run":
                what = _options
            elif key == "images" and "images" in known:
                what = self.images
            else:
                continue
            found[key] = self.take(place, entry, key, what, None)
        return {key: value for key, value in found.items() if value is not None}

    def command(self, given: Any) -> tuple[str, ...]:
        return commands.checked(words(given), self.file.parent)

    def images(self, given: Any) -> Source:
        return source(given, self.file.parent)

    def take(self, place: int | str, entry: dict[str, Any], key: str, what: Callable[[Any], Any], default: Any) -> Any:
        if key not in entry:
            return default
        try:
            return what(entry[key])
        except (ValueError, FleetError) as error:
            self.wrong(place, key, str(error))
            return default

    def wrong(self, place: int | str, key: str, what: str) -> None:
        self.mistakes.append(f"{self.file}:{self.line(place, key)}: `{key}` {what}")

    def line(self, place: int | str, key: str) -> int:
        """Return the line of a key in a table (the number of a device, or the pattern of a head), or else its own."""
        device, inside, table = -1, place == "", 1
        for count, line in enumerate(self.lines, 1):
            if re.match(r"\s*\[", line):
                device += re.match(r"\s*\[\[\s*device\s*\]\]", line) is not None
                named = isinstance(place, str) and place != "" and re.match(r"\s*" + place, line) is not None
                inside = named or (isinstance(place, int) and device == place and "device" in line)
                table = count if inside else table
            elif inside and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
                return count
        return table


def _text(given: Any) -> str:
    if isinstance(given, str):
        return given
    raise ValueError("must be a text in quotes")


def _address(given: Any) -> str:
    found = _ADDRESS.fullmatch(given) if isinstance(given, str) else None
    if found and 0 < int((found.group(3) or ":22")[1:]) < 65536:
        return found.group()
    raise ValueError('must be an address such as "ssh://root@touch-1" or "ssh://lab@10.0.0.7:2222/data"')


def _answers(address: str) -> tuple[str, ...]:
    """Return the health check of a device that has none: it answers."""
    found = _ADDRESS.fullmatch(address)
    assert found
    ssh = shlex.split(os.environ.get("MEMSAMPLE_SSH", "")) or ["ssh"]
    port = ("-p", found.group(3)[1:]) if found.group(3) else ()
    host = found.group(1) + found.group(2).strip("[]")
    return (*ssh, "-o", "BatchMode=yes", "-o", "ConnectTimeout=15", *port, host, "true")


def _positive(given: Any) -> timedelta:
    found = duration(given)
    if found < timedelta(seconds=1):
        raise ValueError("must be 1s or more")
    return found


def _unfollowed_for(run: Sequence[str]) -> tuple[str, ...]:
    """Let a run that nobody comes back for end by itself, later than the last try to connect again."""
    reconnect_for = timedelta(minutes=10)
    for option, following in zip(run, (*run[1:], ""), strict=False):
        name, equals, value = option.partition("=")
        if name == "--unfollowed-for":
            return ()
        if name == "--reconnect-for":
            try:
                reconnect_for = duration(value if equals else following)
            except ValueError:
                # `memsample` reads more than this, such as `500ms`.
                return ()
    return ("--unfollowed-for", f"{(reconnect_for + _UNTIL_UNFOLLOWED).total_seconds():.0f}s")


def _options(given: Any) -> tuple[str, ...]:
    return options(given, _NOT_TO_RUN, ", which the worker gives")
