"""Files in TOML."""

import re
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
    except UnicodeDecodeError:
        raise FleetError(f"{path}: it is no text in UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        # As all mistakes in files are told: the place comes first.
        told = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", str(error), re.DOTALL)
        where, why = (f":{told[2]}:{told[3]}", told[1]) if told else ("", str(error))
        raise FleetError(f"{path}{where}: not TOML: {why}") from None
