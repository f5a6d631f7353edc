"""What is wrong is told, and nothing else suffers from it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import amqp
import pytest
from lab import Lab
from servers import Rabbit, eventually, free_port
from wire import Wire

from memsample_fleet import broker, cli, doctor, jobs
from memsample_fleet.config import Config

TINY = ("a", "true", "")


def passes(lab: Lab) -> None:
    """The fleet works."""
    assert "passed" in lab.do("submit", str(lab.suite("tiny", TINY)), "--wait")


def test_poisoned_messages_are_thrown_away(lab: Lab, rabbit: Rabbit) -> None:
    worker = lab.worker("one")
    headers = {"lang": "py", "task": broker.TASK, "id": "x", "argsrepr": "", "root_id": "x", "parent_id": None}

    def body(*arguments: object, **named: object) -> bytes:
        return json.dumps(
            [arguments, named, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
        ).encode()

    messages = [
        (b"", "", {}),
        (b"\xff\x00garbage", "application/octet-stream", {}),
        (b"{", "application/json", headers),
        (b"cos\nsystem\n(S'false'\ntR.", "application/x-python-serialize", headers),
        (b"[]", "application/json", headers),
        (body(), "application/json", headers),
        (body(["no", "id"]), "application/json", headers),
        (body("nothing.1", version="new"), "application/json", headers),
        (body("x" * 1_000_000), "application/json", headers),
        (body("nothing.1", 1, 2, 3), "application/json", headers),
        (body("nothing.1", run_id="nothing.2"), "application/json", headers),
        (body("nothing.1"), "application/json", {**headers, "task": "memsample_fleet.run_something_new"}),
        (body("nothing.1"), "application/json", {**headers, "task": 7}),
        # Each of these two ended the worker, and then the next one.
        (body("nothing.1"), "application/json", {**headers, "id": {"a": 1}}),
        (body("nothing.1"), "application/json", {**headers, "id": [1]}),
        (b"no gzip", "application/json", {**headers, "compression": "application/x-gzip"}),
        (b"[" * 100_000, "application/json", headers),
        (b'[["nothing.1"], {}, 7]', "application/json", headers),
        (b'[["nothing.1"], {}, {"chain": [3], "callbacks": 7}]', "application/json", headers),
        (json.dumps({"task": broker.TASK, "id": "x", "args": 7, "kwargs": []}).encode(), "application/json", {}),
    ]  # fmt: skip
    # What Celery would read of these is not read.
    told = [
        (body("nothing.1"), "application/json", {**headers, name: value})
        for name, value in (("lang", "py"), ("eta", "soon"), ("expires", "never"), ("timelimit", "long"),
                            ("retries", "many"), ("group", {"a": 1}), ("shadow", {"a": 1}),
                            ("root_id", {"a": 1}), ("argsrepr", [1]))
    ]  # fmt: skip
    with rabbit.open() as opened:
        channel = opened.channel()
        for content, kind, about in (*messages, *told):
            channel.basic_publish(
                amqp.Message(content, content_type=kind, content_encoding="utf-8", application_headers=about),
                routing_key="memsample-fleet",
            )  # fmt: skip
        # Remote control is of Celery, and reaches every worker.
        for content, kind in ((b"\xff", "application/json"), (b"[1]", "application/json"), (b"x", "x/pickle")):
            garbage = amqp.Message(content, content_type=kind, content_encoding="utf-8")
            channel.basic_publish(garbage, exchange="celery.pidbox")

        def waiting() -> int:
            return int(channel.queue_declare("memsample-fleet", passive=True).message_count)

        # A job has a higher priority, and would not come behind all of them.
        eventually("they are taken", lambda: waiting() == 0)
        passes(lab)
        control = broker.application(Config(broker=lab.broker)).control
        assert control.ping(["memsample-fleet@one"], timeout=120)
        assert worker.poll() is None
        assert waiting() == 0
    assert lab.rows("SELECT count(*) AS n FROM claims") == [{"n": 1}]
    # Of what is JSON, but no command, Celery tells so itself.
    counts = {
        "a message is thrown away, since it is none of memsample-fleet: ": len(messages) + 2,
        "'not run: unknown'": len(told),
        "Control command error": 1,
        "Traceback": 1,
    }

    def counted() -> dict[str, int]:
        log = lab.worker_log("one")
        return {line: log.count(line) for line in counts}

    eventually("they are told", lambda: all(count >= counts[line] for line, count in counted().items()))
    assert counted() == counts
    about = "there is no task 'memsample_fleet.run_something_new'. It has 88 bytes: b'[["
    assert about in lab.worker_log("one")


def test_a_message_of_a_later_version_is_left_to_a_later_worker_and_told(lab: Lab) -> None:
    lab.worker("one", "lab")
    suite = lab.suite("later", TINY)
    job = lab.do("submit", str(suite), "--on", "nobody").splitlines()[0]
    app = broker.application(Config(broker=lab.broker))
    with broker.Publisher(app) as publisher:
        app.send_task(broker.TASK, args=[f"{job}.1"], kwargs={"version": 2, "new": [1]}, producer=publisher.producer,
                      queue=broker.queue("memsample-fleet:lab"))  # fmt: skip
    eventually("it is told", lambda: jobs.runs(lab.connection, [job])[0]["note"])
    told = lab.do("status", job)
    assert "version 2, and worker one knows 1: update it" in told
    assert "waiting" in told
    assert lab.rows("SELECT count(*) AS n FROM claims") == [{"n": 0}]


def test_an_archive_with_a_wrong_hash_is_not_executed(lab: Lab) -> None:
    suite = lab.suite("tiny", ("a", f"touch {lab.directory}/executed", 'sandbox = "none"'))
    job = lab.do("submit", str(suite)).splitlines()[0]
    lab.rows("UPDATE archives SET data = data || '\\x00' RETURNING 1")
    lab.worker("one")
    eventually("it has ended", lambda: lab.states(job) == ["refused"])
    told = lab.do("results", job, code=12)
    assert "the archive of the suite is damaged: its SHA-256 is" in told
    assert "So the database has it: submit the suite again" in told
    assert not (lab.directory / "executed").exists()
    # It is sent again then.
    assert "passed" in lab.do("submit", str(suite), "--wait")
    assert (lab.directory / "executed").exists()


def test_a_damaged_archive_of_the_cache_is_sent_again(lab: Lab) -> None:
    lab.worker("one")
    passes(lab)
    archive = next((lab.directory / "state-one" / "archives").iterdir())
    archive.write_bytes(b"damaged")
    passes(lab)
    assert archive.read_bytes() != b"damaged"


def test_a_worker_without_memsample_does_not_start(lab: Lab) -> None:
    told = lab.do("worker", code=1, MEMSAMPLE_FLEET_MEMSAMPLE="/nowhere/memsample")
    assert told.startswith("error: there is no program `/nowhere/memsample`: install memsample")
    told = lab.do("worker", code=1, MEMSAMPLE_FLEET_MEMSAMPLE="/bin/false")
    assert "/bin/false --version ends with exit code 1" in told
    told = lab.do("worker", code=1, MEMSAMPLE_FLEET_MEMSAMPLE="/bin/cat")
    assert "/bin/cat is not memsample: --version says `cat (GNU coreutils)" in told
    told = lab.do("worker", code=1, MEMSAMPLE_FLEET_MEMSAMPLE="/bin/echo")
    assert "is not memsample" in told
    old = lab.directory / "old"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo memsample 0.0.9\n')
    old.chmod(0o755)
    told = lab.do("worker", code=1, MEMSAMPLE_FLEET_MEMSAMPLE=str(old))
    assert "cannot push runs to" in told


def test_a_worker_that_loses_memsample_ends_and_another_one_takes_its_jobs(lab: Lab) -> None:
    program = lab.directory / "memsample"
    program.symlink_to(lab.memsample)
    one = lab.worker("one", "lab", MEMSAMPLE_FLEET_MEMSAMPLE=str(program))
    program.unlink()
    job = lab.do("submit", str(lab.suite("tiny", TINY)), "--repeat", "5").splitlines()[0]
    eventually("the first worker has ended", lambda: one.poll() is not None)
    assert "this worker ends: there is no program" in lab.worker_log("one")
    assert "Traceback" not in lab.worker_log("one")
    assert "there is no program" in lab.do("workers")
    assert "one has ended: there is no program" in lab.do("status", job)
    lab.worker("two", "lab")
    eventually("its jobs have ended", lambda: lab.states(job) == ["passed"] * 5)
    assert {run["worker"] for run in lab.json("results", job)} == {"two"}


def test_a_memsample_that_fails_costs_attempts_and_its_reason_is_told(lab: Lab) -> None:
    program = lab.directory / "broken"
    program.write_text("#!/bin/sh\n[ $1 = run ] || exec echo memsample 0.1.0\necho 'error: out of order' >&2\nexit 1\n")
    program.chmod(0o755)
    lab.worker("one", MEMSAMPLE_FLEET_MEMSAMPLE=str(program))
    job = lab.do("submit", str(lab.suite("tiny", TINY)), "--attempts", "2").splitlines()[0]
    eventually("it is given up", lambda: lab.states(job) == ["lost"])
    assert "1 on one: out of order; 2 on one: out of order" in lab.do("results", job, code=1)


def test_an_older_memsample_among_the_workers_is_told(lab: Lab) -> None:
    lab.worker("one")
    old = lab.directory / "old"
    old.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo memsample 0.0.9 || exec {lab.memsample} "$@"\n')
    old.chmod(0o755)
    lab.worker("two", MEMSAMPLE_FLEET_MEMSAMPLE=str(old))
    eventually("both are seen", lambda: len(lab.json("workers")) == 2)
    assert "memsample 0.0.9, and others have" in lab.do("doctor", code=1)


def test_a_worker_without_room_does_not_start(lab: Lab) -> None:
    configuration = lab.directory / "fleet.toml"
    configuration.write_text(f"free_bytes = {1 << 60}\n")
    told = lab.do("--config", str(configuration), "worker", code=1)
    assert "free, and a worker needs" in told


@pytest.mark.skipif(os.getuid() != 0, reason="mounts a small file system")
def test_a_disk_that_fills_up_costs_an_attempt_and_another_worker_runs_the_suite(lab: Lab) -> None:
    small = lab.directory / "state-one"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "none", small], check=True)
    try:
        (lab.directory / "fleet.toml").write_text("free_bytes = 1000\n")
        lab.worker("one", "small,lab")
        (small / "fill").write_bytes(bytes((6 << 20) - 60_000 - sum(f.stat().st_size for f in small.rglob("*"))))
        # Until then nobody publishes what is given back, so that it costs one attempt.
        lab.rows("UPDATE sweeps SET swept_at = clock_timestamp() + interval '1 day' RETURNING 1")
        job = lab.do("submit", str(lab.suite("tiny", TINY))).splitlines()[0]
        eventually("it is given back", lambda: lab.rows("SELECT why FROM claims WHERE how_ended = 'given back'"))
        lab.kill("one")
        lab.rows("UPDATE sweeps SET swept_at = clock_timestamp() - interval '1 day' RETURNING 1")
        lab.worker("two", "lab")
        eventually("it has ended", lambda: lab.states(job) == ["passed"])
        assert lab.json("results", job)[0]["worker"] == "two"
        assert "space" in lab.rows("SELECT why FROM claims WHERE how_ended = 'given back' ORDER BY 1")[0]["why"]

        # A test that fills it: what ended before is in the store, and it counts as an attempt.
        (small / "fill").unlink()
        fills = lab.suite("fills", ("a", f"cat /dev/zero >{small}/big; sleep 9", 'sandbox = "none"'))
        lab.worker("one", "small")
        job = lab.do("submit", str(fills), "--on", "small", "--attempts", "1").splitlines()[0]
        eventually("it is given up", lambda: lab.states(job) == ["lost"])
        assert "1 on one: the disk was full, so that not every test was run" in lab.do("results", job, code=1)
    finally:
        lab.kill_all()
        subprocess.run(["umount", "-l", small], check=True)


def test_a_broker_that_cannot_be_reached_is_told_and_nothing_is_asked_for(lab: Lab) -> None:
    suite = str(lab.suite("tiny", TINY))
    nobody = f"amqp://fleet:broker-secret@127.0.0.1:{free_port()}//"
    for words in (("submit", suite), ("worker",)):
        told = lab.do(*words, code=1, MEMSAMPLE_FLEET_BROKER=nobody)
        assert "error: the broker amqp://fleet:**@127.0.0.1" in told
        assert "cannot be reached: [Errno 111] Connection refused" in told
        assert "secret" not in told
    assert lab.rows("SELECT count(*) AS n FROM jobs") == [{"n": 0}]
    assert "cannot be reached" in lab.do("doctor", code=1, MEMSAMPLE_FLEET_BROKER=nobody)
    assert "cannot be found" in lab.do("submit", suite, code=1, MEMSAMPLE_FLEET_BROKER="amqp://u:p@nowhere.invalid//")
    assert "only RabbitMQ" in lab.do("submit", suite, code=1, MEMSAMPLE_FLEET_BROKER="redis://localhost")
    assert "no broker is named" in lab.do("submit", suite, code=1, MEMSAMPLE_FLEET_BROKER="")


def test_wrong_credentials_are_told_without_the_password(lab: Lab, rabbit: Rabbit) -> None:
    suite = str(lab.suite("tiny", TINY))
    wrong = lab.broker.replace(rabbit.password, "wrong-secret")
    for words in (("submit", suite), ("worker",), ("doctor",)):
        told = lab.do(*words, code=1, MEMSAMPLE_FLEET_BROKER=wrong)
        assert "refuses the user or the password" in told
        assert "secret" not in told
    elsewhere = lab.do("submit", suite, code=1, MEMSAMPLE_FLEET_BROKER=lab.broker.removesuffix("/") + "nowhere")
    assert "refuses the virtual host" in elsewhere
    wrong = lab.database.replace("database-secret-4f2", "wrong-secret")
    for words in (("submit", suite), ("worker",), ("doctor",), ("status",), ("cancel", "x")):
        told = lab.do(*words, code=1, MEMSAMPLE_FLEET_DATABASE=wrong)
        assert "password authentication failed" in told
        assert "secret" not in told
    assert "no database is named" in lab.do("status", code=1, MEMSAMPLE_FLEET_DATABASE="")
    other = lab.do("status", code=1, MEMSAMPLE_FLEET_DATABASE="mysql://u:secret@h/x")
    assert "must begin with postgresql://" in other
    assert "secret" not in other
    for mistyped in ("postgresql//u:secret@h/x", "host=h password:secret"):
        other = lab.do("status", code=1, MEMSAMPLE_FLEET_DATABASE=mistyped)
        assert "neither a URL such as" in other, other
        assert "secret" not in other


def test_a_clock_that_is_an_hour_off_is_told_and_harms_no_claim(lab: Lab) -> None:
    lab.worker("one", "lab")
    passes(lab)
    assert "to within" in lab.do("doctor")
    shifted = lab.directory / "shifted"
    shifted.mkdir()
    (shifted / "sitecustomize.py").write_text("import time\nreal = time.time\ntime.time = lambda: real() + 3600\n")
    lab.worker("two", "lab,fake", PYTHONPATH=str(shifted), MEMSAMPLE_FLEET_LEASE_S="20")
    eventually("it is seen", lambda: len(lab.json("workers")) == 2)
    told = lab.do("doctor", code=1)
    clock = re.search(r"worker two: clock +([+-][\d.]+) s from the database's, to within ([\d.]+) s", told)
    assert clock, told
    assert abs(float(clock.group(1)) - 3600) <= float(clock.group(2)), told
    gate = lab.directory / "gate"
    long = lab.suite("long", ("a", f"while [ ! -e {gate} ]; do sleep 0.05; done", 'sandbox = "none"'))
    job = lab.do("submit", str(long), "--on", "fake").splitlines()[0]
    eventually("its claim is renewed", lambda: lab.rows("SELECT FROM claims WHERE expires_at > claimed_at + lease"
                                                        " AND ended_at IS NULL"))  # fmt: skip
    gate.touch()
    eventually("it has ended", lambda: lab.states(job) == ["passed"])
    assert lab.json("results", job)[0]["attempt"] == 1


def test_queues_that_are_declared_otherwise_are_told(lab: Lab, rabbit: Rabbit) -> None:
    with rabbit.open() as opened:
        opened.channel().queue_declare("memsample-fleet", durable=True, auto_delete=False)
    assert "is declared otherwise" in lab.do("doctor", code=1)
    rabbit.delete_queues({"memsample-fleet"})


def test_the_consumer_timeout_is_told_by_the_broker_that_is_meant_and_by_no_other(lab: Lab, rabbit: Rabbit) -> None:
    lab.worker("one")
    # Debian's wrapper would ask as another user.
    here = {**rabbit.environment, "PATH": f"{rabbit.programs}:{os.environ['PATH']}"}
    told = lab.do("doctor", code=1, **here)
    assert "bad" in told
    assert "30m00s: a run that takes longer ends its worker" in told
    wire = Wire(rabbit.port)
    try:
        elsewhere = lab.broker.replace(str(rabbit.port), str(wire.port))
        assert "not known: RabbitMQ" in lab.do("doctor", code=0, **{**here, "MEMSAMPLE_FLEET_BROKER": elsewhere})
    finally:
        wire.close()
    rabbit.ctl("eval", "application:set_env(rabbit, consumer_timeout, 604800000).")
    try:
        assert "7d00h" in lab.do("doctor", code=0, **here)
    finally:
        rabbit.ctl("eval", "application:set_env(rabbit, consumer_timeout, 1800000).")


@pytest.mark.parametrize(
    ("version", "verdict", "told"),
    [
        ("3.10.8", "note", "not known: RabbitMQ 3.10.8 does not tell it"),
        ("3.12.0", "ok", "7 days, by an argument of each queue"),
        ("4.2.5", "ok", "7 days, by an argument of each queue"),
        ("4.3.0", "ok", "none: classic queues have none from RabbitMQ 4.3 on"),
        ("next", "note", "not known for version next"),
    ],
)
def test_the_consumer_timeout_is_judged_by_the_version_of_the_broker(version: str, verdict: str, told: str) -> None:
    found = doctor.consumer_timeout(version, "amqp://u:p@broker.invalid//")
    assert (found.verdict, told in found.found) == (verdict, True)


def test_a_second_worker_of_a_directory_does_not_start(lab: Lab) -> None:
    lab.worker("one")
    state = str(lab.directory / "state-one")
    assert "another worker uses" in lab.do("worker", code=1, MEMSAMPLE_FLEET_STATE=state)


def test_a_worker_of_the_name_of_another_machine_does_not_start(lab: Lab) -> None:
    lab.worker("one")
    eventually("it is seen", lambda: lab.rows("SELECT FROM workers"))
    lab.kill("one")
    # However late the next one looks: a worker that says nothing is soon none that is there.
    lab.rows("""UPDATE workers SET boot = 'other', host = 'elsewhere', seen_at = clock_timestamp() + interval '1 hour'
                RETURNING 1""")  # fmt: skip
    told = lab.do("worker", code=1, MEMSAMPLE_FLEET_NAME="one")
    assert "another worker of the name one is there, on elsewhere: set `name`" in told
    # On its own machine it comes back at once.
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    lab.rows("UPDATE workers SET boot = %s, seen_at = clock_timestamp() RETURNING 1", boot)
    lab.worker("one")


@pytest.mark.parametrize(
    ("killed", "who"), [("memsample", "memsample run"), ("python3?", "the guard of memsample run")]
)
def test_a_memsample_that_is_killed_costs_an_attempt_and_the_signal_is_told(lab: Lab, killed: str, who: str) -> None:
    lab.worker("one")
    marker = f"2{os.getpid()}"
    # Not that of another process of these tests.
    name = f"killed{os.getpid()}"
    shell = f"kill -9 $(pgrep -f '^[^ ]*{killed} .*--name {name}-'); sleep {marker}"
    suite = lab.suite(name, ("a", shell, 'sandbox = "none"'))
    job = lab.do("submit", str(suite), "--attempts", "1").splitlines()[0]
    eventually("it is given up", lambda: lab.states(job) == ["lost"])
    assert f"1 on one: {who} was ended by signal 9" in lab.do("results", job, code=1)
    eventually("nothing is left", lambda: not lab.processes(f"sleep\0{marker}"))


def test_wrong_usage_has_exit_code_two(lab: Lab) -> None:
    for words in (("submit",), ("submit", "x", "--repeat", "many"), ("fly",), (), ("status", "--", "x")):
        lab.do(*words, code=2)
    suite = str(lab.suite("tiny", TINY))
    assert "0 (last) to 9 (first)" in lab.do("submit", suite, "--priority", "10", code=1)
    assert "1 to 1000 runs" in lab.do("submit", suite, "--repeat", "0", code=1)
    assert "is no label" in lab.do("submit", suite, "--on", "a b", code=1)
    for command in ("status", "logs", "cancel", "results"):
        assert "there is no job or run `nothing`" in lab.do(command, "nothing", code=1)


def test_each_command_explains_itself(lab: Lab) -> None:
    for command in sorted(cli.commands()):
        told = lab.do(command, "--help", COLUMNS="80")
        assert max(len(line) for line in told.splitlines()) <= 80
    module = subprocess.run([Path(sys.executable).parent / "memsample-fleet", "--version"], capture_output=True)
    assert module.stdout.startswith(b"memsample-fleet ")
