"""A worker, and what its users see."""

from lab import Lab


def test_a_suite_passes_on_a_worker_and_its_run_is_in_the_store(lab: Lab) -> None:
    lab.worker("one")
    suite = lab.suite("tiny", ("a", "echo hello", ""), ("b", "true", ""))
    job = lab.json("submit", str(suite), "--wait")
    assert [run["outcome"] for run in job["runs"]] == ["passed"]
    run = job["runs"][0]
    assert (run["worker"], run["exit_code"], run["counts"]) == ("one", 0, {"passed": 2})
    manifests = [path.name for path in (lab.store / "manifests").rglob("*") if path.is_file()]
    assert len(manifests) == 1
    assert run["stored_as"] in manifests[0]
    assert "passed" in lab.do("logs", job["job"])
