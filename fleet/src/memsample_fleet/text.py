"""Tables and lines for people."""

import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Any


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return aligned columns; the last one may be as long as it is."""
    lines = [tuple(head), *(tuple("-" if cell in (None, "") else str(cell) for cell in row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
                     for line in lines)  # fmt: skip


def wrapped(lines: str, indent: int) -> str:
    """Return lines wrapped at the width of the terminal (80 where there is none), behind their last column."""
    width = max(shutil.get_terminal_size().columns, indent + 40)
    return "\n".join(
        textwrap.fill(line, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False,
                      replace_whitespace=False, drop_whitespace=True)
        for line in lines.splitlines()
    )  # fmt: skip


def counted(number: int, what: str) -> str:
    """Return a number of things."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def duration(seconds: float | None) -> str:
    """Return a length of time in two units at most, such as `3.2 s`, `4m10s` or `2h05m`."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{max(seconds, 0):.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours < 48 else f"{hours // 24}d{hours % 24:02}h"


def size(count: float) -> str:
    """Return bytes in binary units."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def printable(said: str, most: int) -> str:
    """Return the end of what a program wrote, on one line and without what a terminal would obey."""
    line = "; ".join(" ".join(line.split()) for line in said.splitlines() if line.strip())
    if len(line) > most:
        line = "... " + line[4 - most :]
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in line)


def safe_lines(said: str) -> str:
    """Return lines without what a terminal would obey."""
    return "\n".join(
        "".join(letter if letter.isprintable() else "\ufffd" for letter in line) for line in said.rstrip().splitlines()
    )


def out(text: str) -> None:
    """Print to stdout."""
    print(text, flush=True)


def err(text: str) -> None:
    """Print to stderr."""
    print(text, file=sys.stderr, flush=True)


def out_json(value: object) -> None:
    """Print one JSON document on one line; times are RFC 3339 in UTC."""
    out(json.dumps(value, default=in_json))


def in_json(value: Any) -> str:
    """Return what JSON has no type for: times, as RFC 3339 in UTC."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"{type(value)} has no JSON")
