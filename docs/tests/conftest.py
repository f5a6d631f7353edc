"""Where a visitor is put."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest


@pytest.fixture
def place():
    """A directory that every user may enter."""
    place = Path(tempfile.mkdtemp(prefix="visitor-"))
    os.chmod(place, 0o755)
    yield place
    shutil.rmtree(place)
