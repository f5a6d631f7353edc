"""Files that one process at a time writes, as a whole."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from memsample_fleet.errors import FleetError


def replace(file: Path, content: str) -> None:
    """Put a text into a file that no other process writes: a reader sees all of it, or what was there before."""
    new = file.with_name(f"{file.name}.tmp")
    new.write_text(content)
    os.replace(new, file)


@contextmanager
def alone(lock: Path, refusal: str) -> Iterator[None]:
    """Hold a lock that another process cannot hold; that one has it already is an error that says `refusal`."""
    with lock.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FleetError(refusal) from None
        except OSError as error:
            raise FleetError(f"cannot lock {lock}: {error.strerror}") from None
        yield
