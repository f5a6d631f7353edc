"""Releases that are compared with the last one that passed."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from lab import Lab
from servers import eventually
from test_compare import LISTED, uses
from test_releases import released

COMPARED = """[[release]]
name = "nightly"
every = "366d"
late = "366d"
patience = "60m"
compare = "{compare}"
{more}
[[release.run]]
suite = "suites/product/suite.toml"
repeat = 5
"""


def release(lab: Lab, compare: str = "once", more: str = "", over_when: str = "") -> dict[str, Any]:
    """Let one more release be due, with one beat for it alone; returns its row."""
    number = len(released(lab, "nightly"))
    file = lab.directory / "releases.toml"
    file.write_text(COMPARED.format(compare=compare, more=more))
    # The last release was long ago, so that the time of this one, always the same, is due again.
    lab.rows("""UPDATE releases SET due_at = due_at - interval '366 days' RETURNING 1""")
    lab.rows("""INSERT INTO schedules (name, since) VALUES ('nightly', clock_timestamp() - interval '366 days')
                ON CONFLICT DO NOTHING RETURNING 1""")  # fmt: skip
    beat = lab.start("beat", str(file))
    if over_when:
        assert beat.stderr is not None
        assert any(over_when in line for line in iter(beat.stderr.readline, ""))
        lab.rows("UPDATE releases SET give_up_at = clock_timestamp() WHERE verdict IS NULL RETURNING 1")
    eventually("it is judged", lambda: len(released(lab, "nightly")) > number
               and released(lab, "nightly")[-1]["verdict"], 600)  # fmt: skip
    beat.terminate()
    _, err = beat.communicate(timeout=300)
    return {**released(lab, "nightly")[-1], "told": err}


def product(lab: Lab, mebibytes: int) -> Path:
    return uses(lab, "product", {"same": 10, "grows": mebibytes})


@pytest.mark.slow
def test_a_release_in_which_memory_got_worse_than_in_the_last_good_one_fails(lab: Lab) -> None:
    lab.worker("one")
    product(lab, 20)
    first = release(lab)
    assert (first["verdict"], first["message"]) == ("passed", "there is none to compare with")
    product(lab, 40)
    worse = release(lab)
    assert worse["verdict"] == "failed"
    assert worse["message"].startswith("worse than nightly-")
    assert "product: grows +" in worse["message"]
    assert "same" not in worse["message"]
    # A bad one is no base: this one is as bad, and compared with the first again. What is allowed is no failure.
    allowed = release(lab, more="compare_options = ['--fail-on', 'peak > 500%']")
    assert allowed["verdict"] == "passed", allowed["message"]
    assert allowed["message"].startswith("compared with nightly-")
    # What cannot be compared is no pass. As soon as it is told, its patience is over.
    shutil.rmtree(lab.store)
    gone = release(lab, over_when="its comparison is tried again: cannot bring ")
    assert gone["verdict"] == "incomplete", gone["message"]
    assert gone["message"].startswith("not compared: cannot bring ")


@pytest.mark.slow
def test_what_is_suspect_is_run_again_once_on_both_sides(lab: Lab) -> None:
    lab.worker("one")
    # Five repeats do not tell them apart, and further ones do.
    lists = {"base": [10, 10.5, 11, 11.5, 12, 11], "head": [11.25, 11.75, 12.25, 12.75, 13.25, 31]}
    for side, listed in lists.items():
        suite = uses(lab, "product", {"grows": 0, "same": 10})
        (suite.parent / "grows.py").write_text(LISTED.format(told=lab.directory, side=side, listed=listed))
        row = release(lab, "again")
    assert row["verdict"] == "failed", row["message"]
    assert "product: grows +" in row["message"]
    assert "some tests of product are suspect, and are run again" in row["told"]
    again = lab.rows(
        "SELECT suite, count(*) AS n FROM jobs JOIN runs USING (job_id) WHERE part > 0 GROUP BY 1 ORDER BY 1"
    )
    assert again == [{"suite": "base-product", "n": 1}, {"suite": "head-product", "n": 1}]
    counts = lab.rows("SELECT counts FROM results JOIN runs USING (run_id) JOIN jobs USING (job_id) WHERE part > 0")
    assert [row["counts"] for row in counts] == [{"passed": 1}] * 2
