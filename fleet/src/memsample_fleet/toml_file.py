"""Files in TOML."""

import tomllib
from pathlib import Path
from typing import Any

from memsample_fleet.errors import FleetError


def read(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the text of a file and what it says; an error names the file."""
    try:
        text = path.read_text()
        return text, tomllib.loads(text)
    except OSError as error:
        raise FleetError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FleetError(f"{path}: {error}") from None
