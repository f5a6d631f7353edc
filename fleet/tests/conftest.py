"""What the tests stand on."""

import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import Lab
from servers import Postgres, Rabbit

# Of tests in the background of a script SIGINT is ignored, and so it would be by the commands that they interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_number = itertools.count(1)


@pytest.fixture(scope="session")
def short_directory() -> Iterator[Path]:
    """Near the root: the path of a socket is at most 107 bytes; everybody may enter it."""
    directory = Path(tempfile.mkdtemp(prefix="fleet-", dir="/tmp"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(short_directory: Path) -> Iterator[Postgres]:
    server = Postgres(short_directory / "postgres")
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def rabbit(short_directory: Path) -> Iterator[Rabbit]:
    server = Rabbit(short_directory / "rabbit")
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def database(postgres: Postgres) -> str:
    """The URL of an empty database."""
    return postgres.new_database(f"test{next(_number)}")


@pytest.fixture(scope="session")
def memsample() -> str:
    program = os.environ.get("MEMSAMPLE") or shutil.which("memsample")
    assert program, "set MEMSAMPLE to the program"
    return program


@pytest.fixture
def lab(tmp_path: Path, rabbit: Rabbit, database: str, memsample: str) -> Iterator[Lab]:
    """A fleet of its own: a database, a store, and queues that are empty."""
    made = Lab(tmp_path, rabbit.url, database, memsample)
    try:
        yield made
    finally:
        queues = made.close()
        rabbit.delete_queues(queues)
