"""Reports of runs that the tests make: their numbers against results.json and DuckDB, and what a browser shows of them.

MEMSAMPLE names the program that records.
"""

import json
import os
import re
import subprocess
from pathlib import Path

import duckdb
import pytest

MEMSAMPLE = os.environ["MEMSAMPLE"]
BROWSER = Path(__file__).parent.parent.parent / "memsampled" / "report" / "tests" / "browser"

# The name of the second is markup, and its memory is above its budget; the third is tried twice.
SUITE = """
name = "reported"

[[test]]
name = "grows"
command = ["python3", "-S", "-c", "import time\\na = []\\nfor i in range(20):\\n  a.append(b'x' * (2 << 20))\\n  time.sleep(.05)"]

[[test]]
name = "<img src=x onerror=alert(1)> \\"net\\" & -->"
shell = "(head -c 60m /dev/zero; sleep 1) | tail -c 60m | wc -c"
[[test.budget]]
rss_peak = "40MiB"

[[test]]
name = "fails"
shell = "sleep 0.3; exit 3"
retries = 1
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs")
    suite = directory / "suite.toml"
    suite.write_text(SUITE)
    command = [MEMSAMPLE, "run", suite, "--out", directory / "runs", "--name", "one", "--report"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 10, ended.stderr
    assert "report.html" in ended.stderr
    return directory / "runs" / "one"


def opened(file, pictures):
    """Returns what Chromium shows of a file, as Jenkins serves it and with scripts."""
    command = ["node", BROWSER / "open.mjs", file, pictures]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.fixture(scope="module")
def seen(run, tmp_path_factory):
    return opened(run / "report.html", tmp_path_factory.mktemp("pictures"))


def test_slow_the_numbers_are_those_of_the_results(run, seen):
    results = json.loads((run / "results.json").read_text())
    numbers = seen["jenkins"][0]["numbers"]
    shown = [int(number) for number in numbers["rss_peak_bytes"]]
    expected = [test["memory"]["rss_peak_bytes"] for test in results["tests"]]
    # Once in the table of all tests, and once where each is shown.
    assert shown == expected * 2
    assert [int(number) for number in numbers["pss_peak_bytes"]] == 2 * [
        test["memory"]["pss_peak_bytes"] for test in results["tests"] if test["memory"]["pss_peak_bytes"] is not None
    ]
    attempts = [int(number) for number in numbers["attempt_rss_peak_bytes"]]
    assert attempts == [attempt["memory"]["rss_peak_bytes"] for attempt in results["tests"][2]["attempts"]]


def test_slow_the_numbers_of_the_machine_are_those_of_duckdb(run, seen):
    samples = f"'{run}/recording/samples*.parquet'"
    numbers = seen["jenkins"][0]["numbers"]
    sums = f"SELECT ts, sum(rss_bytes) AS rss FROM {samples} GROUP BY ts"
    peak, at = duckdb.sql(f"SELECT rss, epoch_ms(ts) FROM ({sums}) ORDER BY rss DESC, ts LIMIT 1").fetchall()[0]
    assert {int(number) for number in numbers["machine_peak"]} == {peak}
    # The role at the end: a process that is sampled while it becomes another program has one of its own at that tick.
    roles = f"(SELECT process, role AS last_role FROM '{run}/recording/processes*.parquet')"
    by_role = f"SELECT last_role, ts, sum(rss_bytes) AS rss FROM {samples} JOIN {roles} USING (process) GROUP BY ALL"
    peaks = duckdb.sql(f"SELECT max(rss) AS peak FROM ({by_role}) GROUP BY last_role ORDER BY peak DESC").fetchall()
    assert [int(number) for number in numbers["role_peak"]] == [peak for peak, in peaks[:11]]
    # At the peak of the machine the roles add up to it.
    assert sum(int(number) for number in numbers["role_at_peak"]) == peak
    anon = duckdb.sql(f"SELECT sum(anon_bytes) FROM {samples} WHERE epoch_ms(ts) = {at}").fetchall()[0][0]
    assert sum(int(number) for number in numbers["role_anon_at_peak"]) == anon
    system = f"'{run}/recording/system*.parquet'"
    most = duckdb.sql(f"SELECT max(mem_total_bytes), max(mem_total_bytes - mem_available_bytes) FROM {system}").fetchall()
    assert most == [(int(numbers["machine_limit"][0]), int(numbers["machine_used"][0]))]


def test_slow_as_jenkins_serves_it_it_is_complete_and_without_errors(seen):
    for view in seen["jenkins"]:
        assert view["console"] == [], view
        # Scripts and styles are swallowed by a comment.
        assert (view["scripts"], view["styles"]) == (0, 0)
        # The machine, a picture of each test, and of each of twelve processes.
        assert view["pictures"] >= 1 + 12 and view["areas"] >= 12 + 10 and view["tables"] >= 5, view
        assert "<img src=x onerror=alert(1)>" in view["text"]
        # A link opens what it leads to.
        assert view["linked"] == ["grows"]
        assert view["milliseconds"] < 120_000


def test_slow_where_scripts_run_it_is_interactive_and_accessible(seen):
    for view in seen["scripts"]:
        assert view["console"] == [] and view["violations"] == [], view
        assert view["rules"] > 30
        assert view["told"].startswith("at "), view
        assert view["filtered"] == 0
        # Ten frames in a second of a whole CPU, without a graphics card.
        assert view["millisecondsOfCpuPerFrame"] < 100, view
        # The charts of the tests zoom as that of the machine does.
        assert view["charts"] >= 3 and "resident sets" in view["toldOfTest"], view
        whole, near, again = view["zoomed"]
        assert near < 0.6 * whole and abs(again - whole) < 0.001, view


def test_slow_on_paper_nothing_is_cut_and_nothing_is_closed(seen):
    printed = seen["printed"]
    assert (printed["cut"], printed["unseen"], printed["canvases"]) == ([], [], 0), printed
    assert printed["parts"] > 20


def test_text_and_markdown_say_the_same(run):
    say = lambda how, **environment: subprocess.run(
        [MEMSAMPLE, "report", run, how], capture_output=True, text=True, check=True, env=os.environ | environment
    ).stdout
    text = say("--text", LC_ALL="C.UTF-8")
    assert max(len(line) for line in text.splitlines()) <= 80
    assert re.search(r"^passed +grows +[≥0-9.]+ MiB", text, re.MULTILINE), text
    assert re.search(r"^over budget .*█", text, re.MULTILINE), text
    ascii = say("--text", LC_ALL="C")
    assert ascii.isascii() and re.search(r"^over budget .*#", ascii, re.MULTILINE), ascii
    markdown = say("--markdown")
    assert "&lt;img src=x" in markdown and "<img" not in markdown
    assert markdown.index("| ❌ failed | fails") < markdown.index("| passed | grows")


# The first holds as many MiB as LARGE says, the second always the same; both say so with markup in their names.
COMPARED = """
name = "compared"
[defaults]
sandbox = "none"

[[test]]
name = "grows <i>"
command = ["python3", "-S", "-c", "import time; a = [b'x' * (1 << 20) for _ in range(LARGE)]; time.sleep(.4)"]

[[test]]
name = "same"
command = ["python3", "-S", "-c", "import time; a = b'x' * (32 << 20); time.sleep(.4)"]
"""


@pytest.fixture(scope="module")
def sides(tmp_path_factory):
    directory = tmp_path_factory.mktemp("sides")
    for name, large in [("base", 40), ("head", 60)]:
        suite = directory / f"{name}.toml"
        suite.write_text(COMPARED.replace("LARGE", str(large)))
        command = [MEMSAMPLE, "run", suite, "--out", directory / "runs", "--name", name, "--repeat", "5"]
        subprocess.run(command, capture_output=True, check=True)
    return directory


def test_slow_a_comparison_shows_the_numbers_of_both_sides_complete_and_accessible(sides, tmp_path):
    html = sides / "compare.html"
    command = [MEMSAMPLE, "compare", "--base", "runs/base", "--head", "runs/head", "--html", html, "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=sides)
    assert ended.returncode == 20, ended.stderr
    comparison = json.loads(ended.stdout)
    seen = opened(html, tmp_path)
    for view in seen["jenkins"]:
        assert view["console"] == [] and (view["scripts"], view["styles"]) == (0, 0), view
        # Of each test both sides over each other, and the repeats.
        assert view["tables"] >= 2 and "grows <i>" in view["text"] and view["linked"] == ["grows <i>"], view
        assert view["pictures"] >= 2 and view["areas"] >= 2
    numbers = seen["jenkins"][0]["numbers"]
    for side in ["base", "head"]:
        assert [int(it) for it in numbers[f"{side}_bytes"]] == [it[f"{side}_bytes"] for it in comparison["comparisons"]]
        results = json.loads((sides / "runs" / side / "results.json").read_text())
        peaks = {
            test["name"]: sorted(attempt["memory"]["rss_peak_bytes"] for attempt in test["attempts"])
            for test in results["tests"]
        }
        expected = [peak for it in comparison["comparisons"] for peak in peaks[it["test"]]]
        shown = [int(it) for it in numbers[f"{side}_repeat"]]
        assert sorted(shown[:5]) + sorted(shown[5:]) == expected
    for view in seen["scripts"]:
        assert view["console"] == [] and view["violations"] == [] and view["rules"] > 30, view
        assert view["charts"] == 2 and view["toldOfTest"].startswith("at ") and "head" in view["toldOfTest"], view
        whole, near, again = view["zoomed"]
        assert near < 0.6 * whole and abs(again - whole) < 0.001, view
        assert view["filtered"] == 0
