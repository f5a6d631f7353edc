"""`releases.toml`: what is released when, and by which suites on which labels it is judged."""

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from celery.schedules import ParseException, crontab

from memsample_fleet import hook, labels, toml_file
from memsample_fleet.errors import FleetError
from memsample_fleet.images import Source
from memsample_fleet.jobs import HIGHEST_PRIORITY, MOST_RUNS


@dataclass(frozen=True)
class Part:
    """One suite of a release."""

    suite: Path
    on: tuple[str, ...]
    repeat: int
    hidden: bool = False
    """What is hidden in its directory is sent, too."""


@dataclass(frozen=True)
class Release:
    """What is released, and when: each `every`, or by a line of cron, in UTC; or with each new image."""

    name: str
    every: timedelta | None
    cron: str | None
    on_image: Source | None
    parts: tuple[Part, ...]
    patience: timedelta
    """After it, what has not ended is cancelled and told."""
    late: timedelta
    """A release whose time is longer ago is missed, and not run any more."""
    hook: tuple[str, ...]
    hook_timeout: timedelta
    priority: int
    compare: str | None
    """How it is compared with the last one that passed: `once`, or `again` for what is suspect; or not at all."""
    compare_options: tuple[str, ...]
    """Further options of `memsample compare`."""
    directory: Path
    """That of the file: where the hook is run."""

    def between(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Yield the times of this release after one instant until another one, which is included."""
        if self.every is not None:
            every = self.every.total_seconds()
            number = int(after.timestamp() // every) + 1
            while (instant := number * every) <= until.timestamp():
                yield datetime.fromtimestamp(instant, UTC)
                number += 1
            return
        if self.cron is None:
            return
        parsed = crontab.from_string(self.cron)
        minute = after.replace(second=0, microsecond=0) + timedelta(minutes=1)
        while minute <= until:
            if _falls_on(parsed, minute):
                yield minute
            minute += timedelta(minutes=1)


def _falls_on(parsed: Any, minute: datetime) -> bool:
    if minute.minute not in parsed.minute or minute.hour not in parsed.hour:
        return False
    in_week, in_month = minute.isoweekday() % 7 in parsed.day_of_week, minute.day in parsed.day_of_month
    # As cron does it: of two days that are both restricted, either will do.
    both = len(parsed.day_of_week) < 7 and len(parsed.day_of_month) < 31
    day = in_week or in_month if both else in_week and in_month
    return day and minute.month in parsed.month_of_year


def read(file: Path) -> list[Release]:
    """Read a file; each mistake is told with file, line and key, all at once."""
    text, table = toml_file.read(file)
    reader = _Reader(file, text)
    releases = reader.releases(table)
    if reader.mistakes:
        raise FleetError("\n".join(reader.mistakes))
    return releases


class _Reader:
    def __init__(self, file: Path, text: str) -> None:
        self.file, self.lines, self.mistakes = file, text.splitlines(), list[str]()

    def releases(self, table: dict[str, Any]) -> list[Release]:
        for key in set(table) - {"release"}:
            self.wrong(0, None, key, "is not known; there is only [[release]]")
        listed = table.get("release", [])
        if not isinstance(listed, list) or not listed or not all(isinstance(entry, dict) for entry in listed):
            self.wrong(0, None, "release", "is needed: write a table [[release]] for each")
            return []
        releases = [self.release(number, entry) for number, entry in enumerate(listed)]
        seen: set[str] = set()
        for number, release in enumerate(releases):
            if release is not None and release.name in seen:
                self.wrong(number, None, "name", f"`{release.name}` is given to two releases")
            elif release is not None:
                seen.add(release.name)
        return [release for release in releases if release is not None]

    def release(self, number: int, entry: dict[str, Any]) -> Release | None:
        before = len(self.mistakes)
        known = ("name", "every", "cron", "on_image", "patience", "late", "hook", "hook_timeout", "priority", "compare",
                 "compare_options", "run")  # fmt: skip
        for key in entry:
            if key not in known:
                self.wrong(number, None, key, f"is not known; the keys are {', '.join(known)}")

        def take(key: str, what: Callable[[Any], Any], default: Any) -> Any:
            if key not in entry:
                return default
            try:
                return what(entry[key])
            except (ValueError, TypeError, FleetError) as error:
                self.wrong(number, None, key, str(error))
                return default

        if "name" not in entry:
            self.wrong(number, None, "release", "needs a `name`")
        timed = ("every" in entry) + ("cron" in entry)
        if timed == 2 or not (timed or "on_image" in entry):
            said = 'needs either `every`, such as "3h", or `cron`, such as "0 2 * * *"; or `on_image`'
            self.wrong(number, None, "release", said)
        if "compare_options" in entry and "compare" not in entry:
            self.wrong(number, None, "compare_options", "says nothing without `compare`")
        if entry.get("compare") == "again" and "on_image" in entry:
            said = 'cannot be "again" with `on_image`: the image before is on no machine any more; write "once"'
            self.wrong(number, None, "compare", said)
        runs = entry.get("run", [])
        if not isinstance(runs, list) or not runs or not all(isinstance(run, dict) for run in runs):
            self.wrong(number, None, "release", "needs a table [[release.run]] for each suite")
            runs = []
        made = Release(
            take("name", _name, ""),
            take("every", _every, None),
            take("cron", _cron, None),
            take("on_image", lambda given: source(given, self.file.resolve().parent), None),
            tuple(part for index, run in enumerate(runs) if (part := self.part(number, index, run)) is not None),
            take("patience", duration, timedelta(hours=3)),
            take("late", duration, timedelta(minutes=10)),
            take("hook", lambda given: hook.checked(words(given), self.file.resolve().parent), ()),
            take("hook_timeout", duration, timedelta(minutes=10)),
            take("priority", lambda given: _whole(given, 0, HIGHEST_PRIORITY), 6),
            take("compare", _compare, None),
            take("compare_options", _compare_options, ()),
            self.file.resolve().parent,
        )
        return made if len(self.mistakes) == before else None

    def part(self, number: int, index: int, run: dict[str, Any]) -> Part | None:
        before = len(self.mistakes)
        for key in set(run) - {"suite", "on", "repeat", "hidden"}:
            self.wrong(number, index, key, "is not known; the keys are suite, on, repeat, hidden")
        suite = run.get("suite")
        path = self.file.parent / suite if isinstance(suite, str) else None
        if path is None or not path.exists():
            self.wrong(number, index, "suite", "must name a suite that exists, relative to this file")
        on: tuple[str, ...] = ()
        repeat = 1
        try:
            on = labels.normalize(words(run.get("on", [])))
        except (FleetError, ValueError) as error:
            self.wrong(number, index, "on", str(error))
        try:
            repeat = _whole(run.get("repeat", 1), 1, MOST_RUNS)
        except ValueError as error:
            self.wrong(number, index, "repeat", str(error))
        if not isinstance(hidden := run.get("hidden", False), bool):
            self.wrong(number, index, "hidden", "must be true or false")
        return Part(path, on, repeat, hidden) if path is not None and len(self.mistakes) == before else None

    def wrong(self, number: int, index: int | None, key: str, what: str) -> None:
        line = self.line(number, index, key)
        self.mistakes.append(f"{self.file}:{line}: `{key}` {what}" if key else f"{self.file}:{line}: {what}")

    def line(self, number: int, index: int | None, key: str) -> int:
        """Return the line of a key in a table; that of the table where the key is missing."""
        release, run, table = -1, -1, 1
        for count, line in enumerate(self.lines, 1):
            if re.match(r"\s*\[\[\s*release\s*\]\]", line):
                release, run = release + 1, -1
            elif re.match(r"\s*\[\[\s*release\s*\.\s*run\s*\]\]", line):
                run += 1
            elif release != -1 or key == "release":
                if (release, run) == (number, -1 if index is None else index) and _is_key(line, key):
                    return count
                continue
            elif _is_key(line, key):
                return count
            if (release, run) == (number, -1 if index is None else index):
                table = count
        return table


def _is_key(line: str, key: str) -> bool:
    return re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line) is not None


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def duration(text: Any) -> timedelta:
    """Read a length of time with its unit, such as `90s` or `1h30m`."""
    if isinstance(text, str) and re.fullmatch(r"(\d+[smhd])+", text):
        return timedelta(seconds=sum(int(n) * _UNITS[unit] for n, unit in re.findall(r"(\d+)([smhd])", text)))
    raise ValueError('must be a length of time with its unit, such as "90s" or "1h30m"')


def source(given: Any, beneath: Path) -> Source:
    """Read a table that names a directory of images, relative to another one."""
    known = {"directory", "match", "settle"}
    if not isinstance(given, dict) or not set(given) <= known or not isinstance(given.get("directory"), str):
        raise ValueError(
            'must be a table such as { directory = "/srv/images", match = "*.img", settle = "10s" }, of which '
            "`directory` is needed"
        )
    match = given.get("match", "*")
    if not isinstance(match, str) or not match or "/" in match:
        raise ValueError('needs as `match` a pattern of names, such as "touch-*.img"')
    return Source(beneath / given["directory"], match, duration(given.get("settle", "10s")))


def _compare(given: Any) -> str:
    if given in ("once", "again"):
        return str(given)
    raise ValueError('must be "once", or "again" if what is suspect is to be run again')


_NOT_TO_COMPARE = ("--base", "--head", "--suspects", "--html", "--json", "--markdown", "--help", "-h")


def _compare_options(given: Any) -> tuple[str, ...]:
    return options(given, _NOT_TO_COMPARE)


def _every(text: Any) -> timedelta:
    every = duration(text)
    if not timedelta(seconds=1) <= every <= timedelta(days=366):
        raise ValueError("must be 1s to 366d")
    return every


def _cron(text: Any) -> str:
    needed = 'must be a line of cron in UTC: minute, hour, day, month, day of the week; such as "0 */3 * * *"'
    if not isinstance(text, str) or len(fields := text.split()) != 5:
        raise ValueError(needed)
    # Sunday is 0 and 7 to cron, and 0 to Celery.
    line = " ".join([*fields[:4], re.sub(r"\b7\b", "0", fields[4])])
    try:
        crontab.from_string(line)
    except (ParseException, ValueError) as error:
        raise ValueError(f"{needed}. {error}") from None
    return line


def _name(text: Any) -> str:
    if isinstance(text, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}", text):
        return text
    raise ValueError("must be 1 to 60 letters, digits, `_`, `.` and `-`")


def words(given: Any) -> tuple[str, ...]:
    """Read a list of words."""
    if isinstance(given, list) and all(isinstance(word, str) for word in given):
        return tuple(given)
    raise ValueError('must be a list of words, each in quotes, such as ["one", "two"]')


def options(given: Any, others: Collection[str], whose: str = "") -> tuple[str, ...]:
    """Read a list of options, in which `others` cannot be."""
    found = words(given)
    for word in found:
        if word.split("=")[0] in others:
            raise ValueError(f"cannot have `{word}`{whose}")
    return found


def _whole(given: Any, least: int, most: int) -> int:
    if isinstance(given, int) and not isinstance(given, bool) and least <= given <= most:
        return given
    raise ValueError(f"must be a whole number from {least} to {most}")
