"""The code of docs/python.md and of the README of the package runs, and its table names what there is."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib as mpl
import pyarrow as pa
import pytest
from conftest import memsample as program

import memsample
from memsample.table_columns import MAY_BE_NULL, NEVER_NULL

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


def test_the_columns_that_are_checked_are_those_of_the_schema() -> None:
    types = {pa.string(): "STRING", pa.int64(): "INT64", pa.int32(): "INT32", pa.timestamp("ms", "UTC"): "TIMESTAMP"}
    sections = (PACKAGE.parents[1] / "docs" / "schema.md").read_text().split("\n## ")[1:]
    schema = {
        section.split("\n", 1)[0]: {
            cells[0]: (cells[1], cells[2] == "yes")
            for line in section.splitlines()
            if line.startswith("| ") and len(cells := [cell.strip() for cell in line.strip("|").split("|")]) >= 3
        }
        for section in sections
    }
    for may_be_null, tables in ((False, NEVER_NULL), (True, MAY_BE_NULL)):
        for table, columns in tables.items():
            for name, type_ in columns.items():
                written, nullable = schema[table][name]
                assert written.startswith(types[type_]), (table, name, written)
                assert nullable == may_be_null, (table, name)
    assert NEVER_NULL.keys() == set(memsample.Run(None, ()).tables)  # type: ignore[arg-type]


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
