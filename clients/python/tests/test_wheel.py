"""The wheel, installed in an environment of its own, works without its extras and names the one that is missing."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

PACKAGE = Path(__file__).parent.parent

WITHOUT_EXTRAS = """
import sys, memsample
recording = memsample.open(sys.argv[1])
assert recording.roles() and recording.sums().num_rows and recording.pss().num_rows
for extra, asked in {
    "pandas": lambda: recording.to_pandas("ticks"),
    "polars": lambda: recording.to_polars("ticks"),
    "duckdb": lambda: recording.sql("SELECT 1"),
    "plot": recording.plot,
    "store": lambda: memsample.read_store("s3://lab/memory"),
}.items():
    try:
        asked()
    except memsample.MissingExtraError as error:
        assert f"pip install 'memsample[{extra}]'" in str(error), error
    else:
        raise AssertionError(extra)
"""


def pip(python: str | Path, *arguments: str | Path) -> None:
    command = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_slow_the_wheel_is_whole_and_typed(recorded: Path, tmp_path: Path) -> None:
    pip(sys.executable, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, PACKAGE)
    (wheel,) = tmp_path.glob("memsample-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {f"memsample/{path.name}" for path in (PACKAGE / "src/memsample").glob("*.py")}
    assert sources | {"memsample/py.typed"} == {name for name in names if name.startswith("memsample/")}
    fresh = tmp_path / "fresh"
    subprocess.run([sys.executable, "-m", "venv", fresh], check=True)
    pip(fresh / "bin/python", "install", wheel)
    command: list[str | Path] = [fresh / "bin/python", "-I", "-c", WITHOUT_EXTRAS, recorded]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
