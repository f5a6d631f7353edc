"""Reads the JSON files of recordings and runs, which others may have damaged."""

from __future__ import annotations

import json
import stat
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .errors import DamagedError, of_system

_MAX_BYTES = 1 << 30
# Tables have integers of 64 bits.
_TOO_LARGE = 1 << 63


class Fields:
    """The keys of a JSON object, of which each has the type that is asked for or is damage."""

    def __init__(self, value: object, where: str) -> None:
        """Takes an object, and what it is called in messages."""
        if not isinstance(value, dict):
            raise DamagedError(f"{where} is damaged: an object is expected, not {type(value).__name__}")
        self.values: dict[str, Any] = value
        self._where = where

    def _typed(self, key: str, types: type | tuple[type, ...], default: object) -> Any:
        value = self.values.get(key, default)
        if value is not default and isinstance(value, bool) and types is not bool:
            raise self._damage(key, value)
        if value is None and default is None:
            return None
        if not isinstance(value, types) or (isinstance(value, int) and abs(value) >= _TOO_LARGE):
            raise self._damage(key, value)
        return value

    def _damage(self, key: str, value: object) -> DamagedError:
        said = "is missing" if value is ... else f"is {str(value)[:40]!r}"
        return DamagedError(f"{self._where} is damaged: `{key}` {said}")

    def text(self, key: str) -> str:
        """Returns a text."""
        return str(self._typed(key, str, ...))

    def text_or_none(self, key: str) -> str | None:
        """Returns a text, or None where there is none."""
        value = self._typed(key, str, None)
        return None if value is None else str(value)

    def integer(self, key: str) -> int:
        """Returns an integer."""
        return int(self._typed(key, int, ...))

    def integer_or_none(self, key: str) -> int | None:
        """Returns an integer, or None where it is not known."""
        value = self._typed(key, int, None)
        return None if value is None else int(value)

    def milliseconds(self, key: str) -> int:
        """Returns a length of time, from a millisecond to thirty years."""
        value = self.integer(key)
        if not 0 < value < 1_000_000_000_000:
            raise self._damage(key, value)
        return value

    def number_or_none(self, key: str) -> float | None:
        """Returns a number, or None where it is not known."""
        value = self._typed(key, (int, float), None)
        return None if value is None else float(value)

    def flag_or_none(self, key: str) -> bool | None:
        """Returns true, false, or None where it is not known."""
        value = self._typed(key, bool, None)
        return None if value is None else bool(value)

    def texts(self, key: str) -> tuple[str, ...]:
        """Returns a list of texts; empty where there is none."""
        values = self._typed(key, list, None) or []
        if not all(isinstance(value, str) for value in values):
            raise self._damage(key, values)
        return tuple(values)

    def labels(self, key: str) -> dict[str, str]:
        """Returns an object of texts; empty where there is none."""
        return {name: str(value) for name, value in (self._typed(key, dict, None) or {}).items()}

    def instant(self, key: str) -> datetime:
        """Returns an instant in UTC, cut to microseconds."""
        value = self.instant_or_none(key)
        if value is None:
            raise self._damage(key, ...)
        return value

    def instant_or_none(self, key: str) -> datetime | None:
        """Returns an instant in UTC, cut to microseconds, or None where it is not known."""
        text = self.text_or_none(key)
        if text is None:
            return None
        # Python before 3.11 reads three or six digits of a second, and no Z.
        whole, _, rest = text.removesuffix("Z").partition(".")
        try:
            instant = datetime.fromisoformat(f"{whole}.{rest[:6]:0<6}")
        except ValueError:
            raise self._damage(key, text) from None
        return instant.replace(tzinfo=timezone.utc)

    def inner(self, key: str) -> Fields:
        """Returns an object within this one."""
        return Fields(self._typed(key, dict, ...), f"{self._where}, `{key}`,")

    def inner_or_none(self, key: str) -> Fields | None:
        """Returns an object within this one, or None where there is none."""
        return None if self.values.get(key) is None else self.inner(key)

    def each(self, key: str) -> list[Fields]:
        """Returns the objects of a list; none where there is no list."""
        values = self._typed(key, list, None) or []
        return [Fields(value, f"{self._where}, `{key}`,") for value in values]


def read_fields(path: Path) -> Fields:
    """Reads a JSON file that holds one object.

    Raises FileNotFoundError, NoAccessError, or DamagedError where it cannot be read or understood.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DamagedError(f"`{path}` is no regular file")
        if status.st_size > _MAX_BYTES:
            raise DamagedError(f"`{path}` is damaged: it has more than {_MAX_BYTES} bytes")
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(path) from None
    except OSError as error:
        raise of_system(path, error) from error
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"`{path}` cannot be read: {error}") from error
    return Fields(value, f"`{path}`")
