"""Comparisons in the fleet."""

import json
import os
import signal
from pathlib import Path

import pytest
from lab import Lab
from servers import eventually

from memsample_fleet import jobs

USES = "import time\nx = bytearray({0} << 20)\ntime.sleep(0.15)\n"


def uses(lab: Lab, name: str, sizes: dict[str, int], script: str = USES) -> Path:
    suite = lab.suite(name)
    text = 'name = "memory"\n'
    for test, mebibytes in sizes.items():
        (suite.parent / f"{test}.py").write_text(script.format(mebibytes))
        text += f'[[test]]\nname = "{test}"\ncommand = ["python3", "{test}.py"]\nsandbox = "none"\n'
    suite.write_text(text)
    return suite


@pytest.mark.slow
def test_what_got_worse_is_told_by_runs_in_turns_on_one_worker(lab: Lab) -> None:
    lab.worker("one", "lab")
    lab.worker("two", "lab")
    base = uses(lab, "base", {"same": 10, "worse": 20})
    head = uses(lab, "head", {"same": 10, "worse": 40})
    told = lab.do("compare", str(base), str(head), "--on", "lab", "--json", code=20)
    verdicts = {row["test"]: row["verdict"] for row in json.loads(told.splitlines()[0])["comparisons"]}
    assert verdicts == {"same": "same", "worse": "worse"}
    order = lab.rows("SELECT run_id, worker FROM claims ORDER BY claim_id")
    assert len({row["worker"] for row in order}) == 1
    assert [row["run_id"].split("-")[0] for row in order[:10]] == ["base", "head"] * 5
    assert lab.do("compare", str(base), str(base), "--on", "@two", "--", "-k", "same")
    assert {row["worker"] for row in lab.rows("SELECT worker FROM claims ORDER BY claim_id OFFSET 10")} == {"two"}


# Its memory is what a list says for each repeat, and the last of it from then on.
LISTED = """import os, sys, time
with open("{told}/count-{side}", "a") as file:
    file.write("x")
listed = {listed}
x = bytearray(int(listed[min(os.path.getsize("{told}/count-{side}"), len(listed)) - 1] * (1 << 20)))
time.sleep(0.15)
"""


@pytest.mark.slow
def test_what_is_suspect_is_run_again_by_itself(lab: Lab) -> None:
    lab.worker("one")
    # Five repeats do not tell them apart, and further ones do.
    lists = {"base": [10, 10.5, 11, 11.5, 12, 11], "head": [11.25, 11.75, 12.25, 12.75, 13.25, 31]}
    suites = []
    for side, listed in lists.items():
        suite = uses(lab, side, {"grows": 0, "same": 10})
        script = LISTED.format(told=lab.directory, side=side, listed=listed)
        (suite.parent / "grows.py").write_text(script)
        suites.append(str(suite))
    told = lab.do("compare", *suites, code=20)
    assert "look 1: some tests are suspect, and are run again" in told
    assert "look 2: base-base-" in told
    again = lab.rows("SELECT run_id FROM jobs JOIN runs USING (job_id) WHERE options::text LIKE '%%suspects%%'")
    assert len(again) == 2
    # Only what was suspect was run again.
    counts = [run["counts"] for run in jobs.runs(lab.connection, [row["run_id"] for row in again])]
    assert counts == [{"passed": 1}] * 2


def test_what_cannot_be_compared_is_told(lab: Lab) -> None:
    base = uses(lab, "base", {"same": 1})
    assert "no worker that is there has the labels" in lab.do("compare", str(base), str(base), code=1)
    lab.worker("one")
    other = lab.suite("other", ("a", "true", ""))
    assert "are no versions of one suite: their `name` is" in lab.do("compare", str(base), str(other), code=1)
    assert lab.rows("SELECT FROM jobs") == []
    invalid = lab.suite("invalid", ("a", "true", "colour = 1"))
    invalid.write_text(invalid.read_text().partition("\n")[2])
    assert "unknown key `colour`" in lab.do("compare", str(base), str(invalid), code=12)
    assert lab.rows("SELECT FROM jobs") == []
    told = lab.do("compare", str(base), str(invalid), "--unchecked", code=1)
    assert "was refused, and cannot be compared" in told
    assert "names one worker" in lab.do("compare", str(base), str(base), "--on", "@one", "gpu", code=1)


def test_an_interrupt_of_a_comparison_cancels_its_runs(lab: Lab) -> None:
    lab.worker("one")
    marker = f"4{os.getpid()}"
    long = lab.suite("long", ("a", f"sleep {marker}", ""))
    comparing = lab.start("compare", str(long), str(long))
    eventually("it runs", lambda: lab.processes(f"sleep\0{marker}"))
    comparing.send_signal(signal.SIGTERM)
    comparing.communicate(timeout=300)
    assert comparing.returncode == 130
    eventually("its process ends", lambda: not lab.processes(f"sleep\0{marker}"))
    assert lab.rows("SELECT DISTINCT outcome FROM results") == [{"outcome": "cancelled"}]
