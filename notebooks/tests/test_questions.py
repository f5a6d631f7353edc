"""The notebooks that answer a question, on runs and recordings that the tests make, whose answer is known.

MEMSAMPLE names the program that records.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from kernels import execute_notebook

MEMSAMPLE = os.environ["MEMSAMPLE"]
NOTEBOOKS = Path(__file__).parent.parent

SUITE = """
name = "releases"

[[test]]
name = "steady"
command = ["PYTHON", "-c", "import time; kept = bytearray(40 << 20); time.sleep(0.4)"]

[[test]]
name = "grows by a quarter"
command = ["PYTHON", "-c", "import time; kept = bytearray(GROWS << 20); time.sleep(0.4)"]

[[test]]
name = "fails"
command = ["PYTHON", "-c", "raise SystemExit(3)"]
"""

# One program keeps what it reads, the other gives it back. Before and after both stand still for several spans, as the notebook
# takes them together.
LEAKS = """
import time
time.sleep(2)
kept = []
for _ in range(120):
    kept.append(bytes([1]) * (1 << 20))
    burst = bytes([1]) * (8 << 20)
    del burst
    time.sleep(0.05)
time.sleep(2)
"""
STEADY = LEAKS.replace("kept.append(", "kept[:] = (").replace("(1 << 20))", "(1 << 20)),")


def execute(name, output, **parameters):
    """Executes a notebook, and returns all that it shows as text, and how many pictures."""
    execute_notebook(NOTEBOOKS / name, output, parameters)
    cells = json.loads(output.read_text())["cells"]
    outputs = [shown for cell in cells for shown in cell.get("outputs", [])]
    text = ["".join(shown.get("text", shown.get("data", {}).get("text/plain", ""))) for shown in outputs]
    warned = [line for shown in outputs if shown.get("name") == "stderr" for line in shown["text"]]
    assert not warned, warned
    return "\n".join(text), sum("image/png" in shown.get("data", {}) for shown in outputs)


def run(directory, name, grows, repeat):
    suite = directory / f"{name}.toml"
    suite.write_text(SUITE.replace("GROWS", str(grows)).replace("PYTHON", sys.executable))
    command = [MEMSAMPLE, "run", suite, "--repeat", str(repeat), "--out", directory, "--name", name]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 10, ended.stderr
    return str(directory / name)


@pytest.fixture(scope="module")
def releases(tmp_path_factory):
    directory = tmp_path_factory.mktemp("releases")
    return run(directory, "v1", 40, 5), run(directory, "v2", 50, 5), run(directory, "v1-again", 40, 5)


def test_slow_a_run_is_explored(releases, tmp_path):
    text, pictures = execute("explore-a-run.ipynb", tmp_path / "out.ipynb", run=releases[1])
    assert "suite releases: failed, 3 tests" in text
    assert "largest test: grows by a quarter" in text
    assert pictures == 6


def test_slow_two_releases_are_compared(releases, tmp_path):
    base, head, _ = releases
    text, pictures = execute("compare-releases.ipynb", tmp_path / "out.ipynb", base=[base], head=[head])
    assert "outcome: worse" in text
    assert re.search(r"grows by a quarter +(None|NaN)? *worse", text)
    assert pictures == 3


def test_slow_what_did_not_change_is_said(releases, tmp_path):
    text, pictures = execute("compare-releases.ipynb", tmp_path / "out.ipynb", base=[releases[0]], head=[releases[2]])
    assert "outcome: not_worse" in text
    assert "no test changed" in text
    assert pictures == 2


def test_slow_a_leak_is_hunted(tmp_path):
    programs = {"leaking.py": LEAKS, "steady.py": STEADY}
    for name, source in programs.items():
        (tmp_path / name).write_text(source)
    both = " & ".join(f"{sys.executable} {tmp_path / name}" for name in programs)
    command = [MEMSAMPLE, "record", "--interval", "50ms", "--out", tmp_path, "--name", "leak", "--", "sh", "-c", f"{both}; wait"]
    subprocess.run(command, check=True, capture_output=True)
    text, pictures = execute(
        "hunt-a-leak.ipynb", tmp_path / "out.ipynb", recording=str(tmp_path / "leak"), every="500ms", role="leaking.py"
    )
    rows = dict(re.findall(r"^\d+ +(leaking\.py|steady\.py) +\d+ +.*? +(-?[\d,.]+) +[\d,.]+$", text, re.MULTILINE))
    assert float(rows["leaking.py"]) > 80
    assert "steady.py" not in rows or abs(float(rows["steady.py"])) < 40
    assert "leaking.py: 1 processes at its first tick" in text
    assert pictures == 2
