"""The code of docs/python.md and of the README of the package runs, and its table names what there is."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib as mpl
import pytest
from conftest import memsample as program

import memsample

PACKAGE = Path(__file__).parent.parent
DOCUMENT = PACKAGE.parents[1] / "docs" / "python.md"
BLOCKS = [
    block
    for path in (DOCUMENT, PACKAGE / "README.md", PACKAGE / "src/memsample/__init__.py")
    for block in re.findall(r"^```python\n(.*?)^```$", path.read_text(), re.DOTALL | re.MULTILINE)
]

mpl.use("agg")


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_the_code_runs(
    block: str,
    recorded: Path,
    ran: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for directory, path in (("recordings", recorded), ("runs", ran)):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "nightly").symlink_to(path.resolve())
    if "lab/" in block:
        program("push", ran, tmp_path / "lab")
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "block", "exec"), {})
    shown = capsys.readouterr().out
    assert "print" not in block or shown
    if "lab/" in block:
        tests = memsample.open_run(ran).tests
        assert all(test.name[:8] in shown for test in tests)
        largest = max(a.memory.rss_peak_bytes or 0 for test in tests for a in test.attempts if a.memory)
        assert str(largest) in shown


def test_the_table_is_whole() -> None:
    text = DOCUMENT.read_text()
    for owner in (memsample.Recording, memsample.Recordings, memsample.Run, memsample.Runs):
        for name in vars(owner):
            if not name.startswith("_") and name not in ("tables", "skipped"):
                assert f".{name}" in text, name
    named = set(re.findall(r"`\.([a-z_]+)", text)) - {"skipped", "failed"}
    owners = (memsample.Recording, memsample.Run)
    assert named == {name for name in named if any(hasattr(owner, name) for owner in owners)}
    for name in memsample.__all__:
        if name.endswith("Error") and name != "MemsampleError":
            assert f"`{name}`" in text, name
