"""The results of a run are those of `results.json` and of its tables."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import memsample as program

import memsample


def test_every_number_is_that_of_the_results(ran: Path) -> None:
    run = memsample.open_run(ran)
    results = json.loads((ran / "results.json").read_text())
    assert [test.name for test in run.tests] == [test["name"] for test in results["tests"]]
    for ours, theirs in zip(run.tests, results["tests"], strict=True):
        assert ours.outcome == theirs["outcome"]
        pairs = zip((ours.decided_by, *ours.attempts), (theirs, *theirs["attempts"]), strict=True)
        for attempt, expected in pairs:
            assert attempt.duration_ns == expected["duration_ns"]
            assert [vars(role) for role in attempt.roles] == expected["roles"]
            for part in ("memory", "group"):
                found = getattr(attempt, part)
                assert (found is None) == (expected[part] is None)
                for name, value in vars(found).items() if found else ():
                    if not name.endswith("_at"):
                        assert value == expected[part][name], name
    assert [attempt.attempt for attempt in run.test("fails").attempts] == [1, 2]
    assert [attempt.repetition for attempt in run.test("holds").attempts] == [1, 2]


def test_what_decided_a_test_is_one_of_its_attempts(ran: Path) -> None:
    run = memsample.open_run(ran)
    deciding = {test.name: test.attempts.index(test.decided_by) + 1 for test in run.tests}
    assert deciding["fails"] == deciding["flaky"] == 2
    assert (run.test("fails").decided_by.repetition, run.test("fails").decided_by.attempt) == (1, 2)
    assert (run.test("flaky").outcome, run.test("flaky").decided_by.outcome) == ("flaky", "passed")
    assert all((attempt.repetition or 0) >= 1 for test in run.tests for attempt in test.attempts)


def test_what_is_not_known_of_an_attempt_is_none(ran: Path, tmp_path: Path) -> None:
    results = json.loads((ran / "results.json").read_text())
    unstarted = results["tests"][0]
    unstarted |= {"attempts": [], "started": None, "duration_ns": None, "memory": None, "outcome": "not_run"}
    (tmp_path / "results.json").write_text(json.dumps(results))
    test = memsample.open_run(tmp_path).tests[0]
    decided = test.decided_by
    assert (decided.repetition, decided.attempt, decided.started, decided.memory) == (None, None, None, None)
    assert (decided.outcome, test.attempts) == ("not_run", ())


def test_the_tables_say_the_same(ran: Path) -> None:
    run = memsample.open_run(ran)
    told = {
        (attempt.test, attempt.repetition, attempt.attempt, attempt.memory and attempt.memory.rss_peak_bytes)
        for test in run.tests
        for attempt in test.attempts
    }
    query = "SELECT test, repetition, attempt, rss_peak_bytes FROM tests"
    assert set(run.sql(query).fetchall()) == told
    assert len(run.to_pandas("test_roles")) == sum(len(a.roles) for t in run.tests for a in t.attempts)
    # The samples of a test are in the recording of the run.
    (holds,) = run.sql("SELECT count(*) FROM samples JOIN recordings USING (recording) WHERE test = 'holds'").fetchall()
    assert holds[0] > 0
    assert len(run.recordings) == 1


def test_an_attempt_is_not_larger_than_what_the_recording_says(ran: Path) -> None:
    run = memsample.open_run(ran)
    for peak in run.recordings[0].tests():
        attempts = [a.memory.rss_peak_bytes or 0 for a in run.test(peak.name).attempts if a.memory]
        assert peak.lower_bytes == max(attempts)


def test_runs_are_compared_by_the_program(ran: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(ran, copy)
    answer = memsample.compare([ran], [copy])
    assert answer == json.loads(program("compare", "--base", ran, "--head", copy, "--json"))
    assert {row["verdict"] for row in answer["comparisons"]} <= {"same", "cannot_tell"}
    with pytest.raises(memsample.ProgramError, match="nowhere"):
        memsample.compare([ran], [tmp_path / "nowhere"])


def test_many_runs(ran: Path, tmp_path: Path) -> None:
    for number in range(3):
        shutil.copytree(ran, tmp_path / f"run-{number}")
    (tmp_path / "latest").symlink_to("run-2")
    runs = memsample.open_runs(tmp_path / "*")
    assert len(runs) == 3
    (attempts,) = runs.sql("SELECT count(*) FROM tests").fetchall()
    assert attempts[0] == 3 * sum(len(test.attempts) for test in runs[0].tests)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"format_version": 2}, memsample.UnsupportedFormatError, "format 2.*reads format 1: upgrade"),
        ({"format_version": 0}, memsample.UnsupportedFormatError, "run the suite again"),
        ({"tests": [3]}, memsample.DamagedError, "an object is expected, not int"),
        ({"suite": None}, memsample.DamagedError, "`suite`"),
        ({"duration_ns": "long"}, memsample.DamagedError, "`duration_ns` is 'long'"),
    ],
)
def test_other_results_are_refused(
    ran: Path, tmp_path: Path, change: dict[str, object], error: type[Exception], words: str
) -> None:
    results = json.loads((ran / "results.json").read_text()) | change
    (tmp_path / "results.json").write_text(json.dumps(results))
    with pytest.raises(error, match=words):
        memsample.open_run(tmp_path)


def test_what_is_no_run_is_refused(ran: Path, recorded: Path, tmp_path: Path) -> None:
    with pytest.raises(memsample.NotARecordingError, match=r"is a recording: open it with memsample\.open"):
        memsample.open_run(recorded)
    with pytest.raises(memsample.NotARecordingError, match="does not exist"):
        memsample.open_run(tmp_path / "nowhere")
    unfinished = tmp_path / "unfinished"
    shutil.copytree(ran, unfinished)
    (unfinished / "results.json").unlink()
    with pytest.raises(memsample.NotARecordingError, match="--resume"):
        memsample.open_run(unfinished)
    with pytest.raises(KeyError, match="there are holds, brief"):
        memsample.open_run(ran).test("nothing")
