"""A worker, and what its users see."""

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from lab import STUBBORN, Lab
from servers import Rabbit, eventually

from memsample_fleet import archive, broker, claims, jobs
from memsample_fleet.config import Config
from memsample_fleet.database import connect

NONE = 'sandbox = "none"'


def test_a_suite_passes_on_a_worker_and_its_run_is_in_the_store(lab: Lab) -> None:
    lab.worker("one")
    suite = lab.suite("tiny", ("a", "echo hello", ""), ("b", "true", ""))
    job = lab.json("submit", str(suite), "--label", "release=7", "--wait")
    assert [run["outcome"] for run in job["runs"]] == ["passed"]
    run = job["runs"][0]
    assert (run["worker"], run["exit_code"], run["counts"]) == ("one", 0, {"passed": 2})
    results = json.loads(next((lab.store / "files").rglob("results.json")).read_text())
    assert results["labels"] == {
        "fleet_job": job["job"],
        "fleet_run": run["run_id"],
        "fleet_attempt": "1",
        "fleet_worker": "one",
        "release": "7",
    }
    assert [run["stored_as"] in path.name for path in (lab.store / "manifests").rglob("*") if path.is_file()] == [True]
    assert "passed" in lab.do("logs", job["job"])
    assert run["stored_as"] in lab.do("results", job["job"])
    # The run is in the store, so that nothing of it stays on the worker.
    assert [path.name for path in (lab.directory / "state-one").rglob("*") if path.is_file()] == ["lock", job_hash(lab)]
    assert "1 passed" in lab.do("status")
    assert lab.json("workers")[0]["state"] == "idle"


def job_hash(lab: Lab) -> str:
    return str(lab.rows("SELECT sha256 FROM archives")[0]["sha256"])


def test_the_exit_codes_are_those_of_memsample_run(lab: Lab) -> None:
    lab.worker("one")
    fails = lab.suite("fails", ("good", "true", ""), ("bad", "exit 3", ""))
    told = lab.do("submit", str(fails), "--wait", code=10)
    assert "bad" in told
    job = told.splitlines()[0]
    assert [test["test"] for test in lab.json("results", job, code=10)[0]["not_passed"]] == ["bad"]
    invalid = lab.suite("invalid", ("a", "true", 'colour = "red"'))
    assert "colour" in lab.do("submit", str(invalid), "--wait", code=12)
    assert lab.do("submit", str(fails), "--wait", "--", "-k", "nothing", code=13)
    assert lab.do("submit", str(fails), "--wait", "--repeat", "2", "--", "good").count("passed") == 2
    aborts = lab.suite("aborts", ("a", "kill -TERM $(cat /proc/$PPID/stat | cut -d' ' -f4)", ""))
    aborts.write_text(aborts.read_text() + '[setup]\ncommand = ["false"]\n')
    assert "setup" in lab.do("submit", str(aborts), "--wait", code=11)
    assert lab.do("submit", str(lab.directory / "nowhere.toml"), code=12)
    assert "cannot be passed" in lab.do("submit", str(fails), "--", "--push", "s3://elsewhere", code=1)


def test_without_a_store_runs_stay_on_the_worker(lab: Lab) -> None:
    lab.worker("one", MEMSAMPLE_FLEET_STORE="")
    run = lab.json("submit", str(lab.suite("tiny", ("a", "true", ""))), "--wait")["runs"][0]
    worker, directory = run["store"].split(":")
    assert worker == "one"
    assert (Path(directory) / "results.json").is_file()


def test_results_that_cannot_be_stored_are_told_and_kept_on_the_worker(lab: Lab) -> None:
    lab.worker("one", MEMSAMPLE_FLEET_STORE="/proc/store")
    told = lab.do("submit", str(lab.suite("tiny", ("a", "true", ""))), "--wait", code=1)
    assert "the results are not in the store: " in told
    run = lab.json("results", told.splitlines()[0], code=1)[0]
    assert (run["outcome"], run["stored_as"]) == ("passed", None)
    assert (Path(run["store"].split(":")[1]) / "results.json").is_file()


def test_a_store_that_comes_back_has_the_results_and_the_run_its_verdict(lab: Lab) -> None:
    lab.store.write_text("in the way")
    # It comes back between the push of the run itself, which fails, and the next one.
    program = lab.directory / "memsample"
    comes_back = f'[ "$1" != push ] || [ "$2" = --help ] || rm -f {lab.store}'
    program.write_text(f'#!/bin/sh\n{comes_back}\nexec {lab.memsample} "$@"\n')
    program.chmod(0o755)
    lab.worker("one", MEMSAMPLE_FLEET_MEMSAMPLE=str(program))
    job = lab.do("submit", str(lab.suite("tiny", ("a", "true", "")))).splitlines()[0]
    eventually("a push has failed", lambda: "push again: " in lab.worker_log("one"))
    eventually("it has ended", lambda: lab.states(job) == ["passed"])
    run = lab.json("results", job)[0]
    assert (run["exit_code"], run["message"]) == (0, None)
    assert run["stored_as"].startswith(f"{job}.1-a1-")
    assert os.listdir(lab.directory / "state-one" / "runs") == []


def test_jobs_go_to_workers_with_their_labels_and_the_urgent_first(lab: Lab) -> None:
    order = lab.directory / "order"
    jobs_of = {}
    for name, on, priority in (
        ("low", "gpu", "0"),
        ("middle", "gpu", "4"),
        ("high", "gpu", "9"),
        ("other", "arm", "9"),
    ):
        suite = lab.suite(name, ("a", f"echo {name} >>{order}", NONE))
        told = lab.do("submit", str(suite), "--on", on, "--priority", priority)
        jobs_of[name] = told.splitlines()[0]
        assert f"no worker with the labels {on} is there" in told
    lab.worker("one", "x86_64,gpu")
    eventually("three jobs end", lambda: [lab.states(jobs_of[name]) for name in ("low", "middle", "high")]
               == [["passed"]] * 3)  # fmt: skip
    assert order.read_text().split() == ["high", "middle", "low"]
    assert lab.states(jobs_of["other"]) == ["waiting"]
    assert "1 wait for a worker with the labels arm" in lab.do("doctor")
    lab.worker("two", "arm,x86_64")
    eventually("the other job ends", lambda: lab.states(jobs_of["other"]) == ["passed"])


def test_an_urgent_job_overtakes_those_of_other_labels(lab: Lab) -> None:
    order = lab.directory / "order"
    jobs_of = {}
    for name, on, priority, repeat in (
        ("low", ("gpu", "x86_64"), "0", "8"),
        ("middle", ("x86_64",), "4", "3"),
        ("any", (), "6", "2"),
        ("urgent", ("gpu",), "9", "2"),
        ("named", ("@one",), "8", "1"),
    ):
        suite = lab.suite(name, ("a", f"echo {name} >>{order}", NONE))
        words = ("--on", *on) if on else ()
        told = lab.do("submit", str(suite), *words, "--priority", priority, "--repeat", repeat)
        jobs_of[name] = told.splitlines()[0]
    lab.worker("one", "x86_64,gpu")
    eventually("all end", lambda: all(set(lab.states(job)) == {"passed"} for job in jobs_of.values()))
    expected = ["urgent"] * 2 + ["named"] + ["any"] * 2 + ["middle"] * 3 + ["low"] * 8
    assert order.read_text().split() == expected
    assert lab.rows("SELECT count(*) AS n FROM claims") == [{"n": len(expected)}]


def test_the_logs_of_a_run_are_followed_while_it_goes_on(lab: Lab) -> None:
    lab.worker("one")
    gate = lab.directory / "gate"
    wait = f"while [ ! -e {gate} ]; do sleep 0.05; done"
    suite = lab.suite("slow", ("first", "true", NONE), ("second", wait, NONE))
    job = lab.do("submit", str(suite)).splitlines()[0]
    following = lab.start("logs", "-f", job)
    assert following.stdout is not None
    # The reader below waits for what must come.
    assert any("first" in line for line in following.stdout)
    assert lab.json("status", job)[0]["state"] == "running"
    eventually("progress is told", lambda: lab.json("status", job)[0]["tests_ended"] == 1)
    assert "1/2" in lab.do("status", job)
    gate.touch()
    rest, _ = following.communicate(timeout=300)
    assert "second" in rest


def test_jobs_of_many_submitters_at_once_are_accepted(lab: Lab) -> None:
    packed = archive.pack(lab.suite("tiny", ("a", "true", "")))
    config = Config(broker=lab.broker, database=lab.database)
    barrier = threading.Barrier(4)

    def submit() -> None:
        with connect(config) as connection, broker.Publisher(broker.application(config)) as publisher:
            barrier.wait(300)
            for _ in range(50):
                jobs.publish(connection, publisher, jobs.insert(connection, packed, jobs.Wanted("tiny")))

    with ThreadPoolExecutor(4) as submitters:
        for submitted in [submitters.submit(submit) for _ in range(4)]:
            submitted.result()
    assert lab.rows("SELECT count(*) AS n FROM runs WHERE published_at IS NOT NULL") == [{"n": 200}]
    assert waiting(lab, "memsample-fleet") == 200


def waiting(lab: Lab, queue: str) -> int | None:
    with broker.Publisher(broker.application(Config(broker=lab.broker))) as publisher:
        return publisher.waiting(queue)


AS_RABBITMQ_4 = """import kombu.transport.pyamqp as amqp
amqp.Transport.qos_semantics_matches_spec = lambda self, connection: True
"""


@pytest.mark.parametrize("rabbitmq", ["3", "4"])
def test_a_busy_worker_keeps_no_message_from_an_idle_one(lab: Lab, rabbitmq: str) -> None:
    """From RabbitMQ 4 on a consumer takes a message of each of its queues: kombu asks for that by the version."""
    changes: dict[str, str] = {}
    if rabbitmq == "4":
        (lab.directory / "sitecustomize.py").write_text(AS_RABBITMQ_4)
        paths = [str(lab.directory), *filter(None, [os.environ.get("PYTHONPATH")])]
        changes["PYTHONPATH"] = os.pathsep.join(paths)
    lab.worker("one", "a,b,c", **changes)
    gate = lab.directory / "gate"
    long = lab.suite("long", ("a", f"while [ ! -e {gate} ]; do sleep 0.05; done", NONE))
    job = lab.do("submit", str(long)).splitlines()[0]
    eventually("it runs", lambda: lab.states(job) == ["running"])
    # Nothing that nobody took is published again before it is looked for.
    lab.rows("UPDATE sweeps SET swept_at = clock_timestamp() + interval '1 day' RETURNING 1")
    tiny = archive.pack(lab.suite("tiny", ("a", "true", "")))
    with broker.Publisher(broker.application(Config(broker=lab.broker))) as publisher:
        others = [jobs.insert(lab.connection, tiny, jobs.Wanted("tiny", (label,))) for label in ("a", "b", "c")]
        jobs.publish(lab.connection, publisher, *others)
    left = {"3": [1, 1, 1], "4": [0, 0, 0]}[rabbitmq]
    eventually("they are delivered", lambda: left == [
        waiting(lab, f"memsample-fleet:{label}") for label in ("a", "b", "c")])  # fmt: skip
    lab.worker("two", "a,b,c", **changes)
    if rabbitmq == "4":
        lab.make_older()
        lab.rows("UPDATE sweeps SET swept_at = clock_timestamp() - interval '1 day' RETURNING 1")
    eventually("an idle worker ran them", lambda: all(lab.states(other) == ["passed"] for other in others))
    assert lab.states(job) == ["running"]
    gate.touch()
    eventually("it has ended", lambda: lab.states(job) == ["passed"])


def test_cancel_ends_the_last_process(lab: Lab) -> None:
    lab.worker("one")
    marker = f"5{os.getpid()}"
    suite = lab.suite("stubborn", ("a", STUBBORN.format(os.getpid()), NONE), ("b", "true", ""))
    job = lab.do("submit", str(suite)).splitlines()[0]
    eventually("its processes run", lambda: len(lab.processes(f"sleep\0{marker}")) == 2)
    claims.cancel(lab.connection, job)
    eventually("its processes end", lambda: not lab.processes(f"sleep\0{marker}"))
    assert "ended" in lab.do("cancel", job)
    run = lab.json("results", job, code=11)[0]
    assert (run["outcome"], run["exit_code"], run["worker"]) == ("cancelled", 11, "one")
    # What there was until then is in the store.
    assert run["stored_as"]


def test_a_cancelled_run_that_ends_at_once_is_in_the_store(lab: Lab) -> None:
    lab.worker("one")
    begun = lab.directory / "begun"
    suite = lab.suite("obedient", ("a", f"touch {begun}; exec sleep 600", NONE))
    job = lab.do("submit", str(suite)).splitlines()[0]
    eventually("it runs", begun.exists)
    lab.do("cancel", job)
    run = lab.json("results", job, code=11)[0]
    assert (run["outcome"], run["message"]) == ("cancelled", None)
    assert run["stored_as"].startswith(f"{job}.1-a1-")


def test_a_suite_with_a_mistake_is_refused_and_the_place_is_told_in_one_line(lab: Lab) -> None:
    lab.worker("one")
    suite = lab.suite("wrong", ("a", "true", "shel = 1"))
    told = lab.do("submit", str(suite), "--wait", "--unchecked", code=12)
    assert ": suite.toml:5:1: unknown key `shel` in test `a` = did you mean `shell`?" in told
    assert "`--on` cannot be passed" in lab.do("submit", str(suite), "--", "--on", "ssh://x", code=1)


def test_what_is_no_suite_is_told_and_nothing_is_sent(lab: Lab) -> None:
    suite = lab.suite("wrong", ("a", "true", "shel = 1"))
    told = lab.do("submit", str(suite), code=12)
    assert f"error: {suite}:5:1: unknown key `shel`" in told
    assert "--unchecked sends it as it is" in told
    good = lab.suite("good", ("a", "true", ""))
    assert "no test has the tag `none`" in lab.do("submit", str(good), "--", "--tag", "none", code=13)
    assert "unexpected argument '--none'" in lab.do("submit", str(good), "--", "--none", code=2)
    notes = good.parent / "notes.md"
    notes.write_text("A test is a test.\n")
    table = good.parent / "table.toml"
    table.write_text('name = "table"\n')
    binary = good.parent / "binary"
    binary.write_bytes(bytes(range(256)))
    (good.parent / "large.toml").write_bytes(b"#" * (5 << 20))
    os.mkfifo(good.parent / "fifo")
    (lab.directory / "empty").mkdir()
    for changes in ({}, {"MEMSAMPLE_FLEET_MEMSAMPLE": "/nowhere"}):
        for wrong, why in (
            (notes, "notes.md"), (table, "[[test]]"), (binary, "binary"), (good.parent / "large.toml", "5.0 MiB"),
            (good.parent / "fifo", "no file and no directory"), (lab.directory / "empty", "neither suite.toml nor"),
            (lab.directory / "nothing", "there is no suite"), ("/etc/passwd", "/etc/passwd"),
        ):  # fmt: skip
            told = lab.do("submit", str(wrong), code=12, **changes)
            assert why in told, told
            assert "--unchecked" not in told or wrong == table
    assert lab.rows("SELECT count(*) AS n FROM archives") == [{"n": 0}]


def test_what_is_sent_and_what_is_not_is_told(lab: Lab) -> None:
    suite = lab.suite("some", ("a", "test -e data/one -a ! -e .env -a ! -e fleet.toml", ""))
    (suite.parent / "data").mkdir()
    for name in (".env", "data/one", "fleet.toml"):
        (suite.parent / name).touch()
    told = lab.do("submit", str(suite), "--dry-run")
    assert told.startswith("data/one\nsuite.toml\n")
    assert "note: left out: .env, fleet.toml; --hidden sends what is hidden" in told
    assert "2 files, " in told
    assert "nothing was sent" in told
    assert lab.json("submit", str(suite), "--dry-run", "--hidden")["files"] == [".env", "data/one", "suite.toml"]
    assert lab.rows("SELECT count(*) AS n FROM archives") == [{"n": 0}]
    lab.worker("one")
    assert "note: left out: .env, fleet.toml" in lab.do("submit", str(suite), "--wait")
    assert "left out: fleet.toml\n" in lab.do("submit", str(suite), "--wait", "--hidden", code=10)


def test_a_job_that_has_not_ended_is_shown_however_many_are_newer(lab: Lab) -> None:
    packed = archive.pack(lab.suite("tiny", ("a", "true", "")))
    made = [jobs.insert(lab.connection, packed, jobs.Wanted("tiny")) for _ in range(40)]
    for ended in made[1:]:
        claims.cancel(lab.connection, ended)
    shown = [row["job_id"] for row in lab.json("status")]
    assert shown == [*reversed(made[10:]), made[0]]


def test_an_interrupt_of_a_wait_cancels_the_job(lab: Lab) -> None:
    lab.worker("one")
    marker = f"6{os.getpid()}"
    waiting = lab.start("submit", str(lab.suite("long", ("a", f"sleep {marker}", ""))), "--wait", "--repeat", "3")
    eventually("it runs", lambda: lab.processes(f"sleep\0{marker}"))
    waiting.send_signal(signal.SIGINT)
    _, err = waiting.communicate(timeout=300)
    assert waiting.returncode == 11, err
    eventually("its process ends", lambda: not lab.processes(f"sleep\0{marker}"))
    assert {row["outcome"] for row in lab.rows("SELECT outcome FROM results")} == {"cancelled"}


def test_a_worker_that_is_told_to_end_lets_its_run_end(lab: Lab) -> None:
    lab.worker("one")
    begun, gate = lab.directory / "begun", lab.directory / "gate"
    script = f"touch {begun}; while [ ! -e {gate} ]; do sleep 0.1; done"
    job = lab.do("submit", str(lab.suite("short", ("a", script, NONE)))).splitlines()[0]
    eventually("it runs", begun.exists)
    lab.workers["one"].send_signal(signal.SIGTERM)
    eventually("it is told to end", lambda: "Warm shutdown" in lab.worker_log("one"))
    gate.touch()
    assert lab.ended("one") == 0
    assert lab.states(job) == ["passed"]
    assert lab.json("workers")[0]["state"] == "left"


def test_progress_is_told_as_events_of_celery(lab: Lab) -> None:
    dump = lab.directory / "dump"
    with dump.open("w") as file:
        watching = subprocess.Popen(
            [sys.executable, "-m", "celery", "--app", "memsample_fleet", "events", "--dump"],
            env=lab.environment(PYTHONUNBUFFERED="1"), stdout=file, stderr=file,
        )  # fmt: skip
    try:
        eventually("events are listened to", lambda: "evdump" in dump.read_text())
        lab.worker("one")
        eventually("its events come", lambda: "memsample-fleet@one" in dump.read_text())
        lab.do("submit", str(lab.suite("tiny", ("first", "true", ""), ("second", "exit 1", ""))), "--wait", code=10)
        # Two processes send them.
        told = ("succeeded", "tests_ended=2", "second")
        eventually("the end is told", lambda: all(text in dump.read_text() for text in told))
    finally:
        watching.kill()
        watching.wait()


def test_no_password_is_told_by_arguments_or_logs(lab: Lab, rabbit: Rabbit) -> None:
    lab.worker("one", log="DEBUG")
    leak = f"env >{lab.directory}/environment; cat /proc/$PPID/environ >>{lab.directory}/environment || true"
    lab.do("submit", str(lab.suite("tiny", ("a", leak, NONE))), "--wait")
    secrets = [rabbit.password, "database-secret"]
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = process.read_bytes().decode(errors="replace")
        except OSError:
            continue
        assert not any(secret in arguments for secret in secrets), arguments
    told = lab.worker_log("one") + (lab.directory / "environment").read_text()
    assert "MEMSAMPLE" in told or "ready" in told
    assert not any(secret in told for secret in secrets)


@pytest.mark.slow
def test_a_run_that_takes_longer_than_the_consumer_timeout_is_executed_once(lab: Lab, rabbit: Rabbit) -> None:
    rabbit.ctl("eval", "application:set_env(rabbit, consumer_timeout, 3000).")
    try:
        lab.worker("one")
        lab.worker("two", "one")
        started = lab.directory / "started"
        suite = lab.suite("long", ("a", f"echo x >>{started}; sleep 10", NONE))
        assert "passed" in lab.do("submit", str(suite), "--wait")
        assert started.read_text() == "x\n"
        assert lab.rows("SELECT count(*) AS n FROM claims") == [{"n": 1}]
        # And the workers work on.
        lab.do("submit", str(lab.suite("tiny", ("a", "true", ""))), "--repeat", "4", "--wait")
    finally:
        rabbit.ctl("eval", "application:set_env(rabbit, consumer_timeout, 1800000).")
