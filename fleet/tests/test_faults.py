"""What happens when each part dies. docs/fleet.md names these tests."""

import os
import random
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import network
import pytest
from lab import Lab
from network import Network
from servers import Postgres, Rabbit, eventually
from wire import Wire, Wires

from memsample_fleet import claims

RUNS = int(os.environ.get("FLEET_RUNS", "40"))
"""How many suites run while everything is killed."""

NONE = 'sandbox = "none"'

Cable = Network | Wires

# Of each attempt: a lock that another one at the same time cannot get, and a line when it has ended.
WATCHED = """
run=$(basename $PWD); run=${{run%-a*}}; cd {0}
exec 9>>lock-$run; flock --nonblock 9 || echo $run >>twice
echo $run >>begun; sleep {1}; echo $run >>ended
"""


def watched(lab: Lab, name: str, seconds: float | str) -> tuple[Path, Path]:
    """Return a suite that tells when it is executed, and the directory where; a shell reads `seconds` there."""
    told = lab.directory / f"told-{name}"
    told.mkdir()
    return lab.suite(name, ("a", WATCHED.format(told, seconds), NONE)), told


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def submitted(lab: Lab, suite: Path, *words: str) -> str:
    return lab.do("submit", str(suite), *words).splitlines()[0]


def ended(lab: Lab, job: str) -> list[str]:
    """Wait until a job has ended; returns its outcomes. The database may be away meanwhile."""
    rows = lab.when_there("SELECT outcome FROM runs LEFT JOIN results USING (run_id) WHERE job_id = %s", job)
    return [row["outcome"] for row in rows if row["outcome"]]


def wait_for(lab: Lab, job: str, count: int = 1) -> list[str]:
    eventually(f"{job} has ended", lambda: len(ended(lab, job)) == count, 600)
    return ended(lab, job)


def let_leases_run_out(lab: Lab) -> None:
    """Of what nobody renews any more: what is left of a lease is not waited for."""
    lab.rows("UPDATE claims SET expires_at = clock_timestamp() + interval '1 s' WHERE ended_at IS NULL RETURNING 1")


def assert_no_two_claims_live_at_once(lab: Lab) -> None:
    overlaps = lab.rows(
        """SELECT a.run_id, a.attempt, b.attempt FROM claims a JOIN claims b USING (run_id)
           WHERE a.claim_id < b.claim_id AND coalesce(a.ended_at, a.expires_at) > b.claimed_at"""
    )
    assert overlaps == []


@pytest.fixture
def wires(postgres: Postgres, rabbit: Rabbit) -> Iterator[tuple[Wire, Wire]]:
    """To the broker and to the database."""
    made = Wire(rabbit.port), Wire(postgres.port)
    yield made
    for wire in made:
        wire.close()


@pytest.fixture
def cable(postgres: Postgres, rabbit: Rabbit) -> Iterator[Cable]:
    """The network of a worker: one of its own, where this user may make one."""
    made: Cable = Network(rabbit.port, postgres.port) if network.possible() else Wires(rabbit.port, postgres.port)
    yield made
    made.close()


def through(lab: Lab, ports: Sequence[int], address: str = "127.0.0.1") -> dict[str, str]:
    broker, database = lab.broker.rsplit("@", 1)[0], lab.database.rsplit("@", 1)
    return {
        "MEMSAMPLE_FLEET_BROKER": f"{broker}@{address}:{ports[0]}//",
        "MEMSAMPLE_FLEET_DATABASE": f"{database[0]}@{address}:{ports[1]}/{database[1].split('/')[1]}",
    }


@pytest.mark.slow
def test_each_run_has_one_result_while_workers_are_killed_and_broker_and_database_are_restarted(
    lab: Lab, rabbit: Rabbit, postgres: Postgres, cable: Cable
) -> None:
    names = ("one", "two")
    # Shorter than the network is away. A worker has a fifth of it to end its run before another one begins it.
    lease = {"MEMSAMPLE_FLEET_LEASE_S": "10"}

    def start(name: str) -> None:
        if name == "two":
            lab.worker(name, "lab", within=cable.within, **through(lab, cable.ports, cable.address), **lease)
        else:
            lab.worker(name, "lab", **lease)

    for name in names:
        start(name)
    suite, told = watched(lab, "forty", 0.3)
    job = submitted(lab, suite, "--repeat", str(RUNS), "--attempts", "20")
    chance = random.Random(1)
    kills = max(4, RUNS // 50)
    for number in range(kills):
        # Half of them are left to the end, since one worker goes on while the other is cut off.
        until_ended(lab, job, (number + 1) * RUNS // (2 * kills))
        if number == 1:
            rabbit.restart()
        elif number == 2:
            postgres.restart()
        elif number == 3:
            cut_for(cable, 60 if RUNS >= 500 else 12)
        name = chance.choice(names)
        until_begun(lab, job, told, len(lines(told / "begun")) + 1)
        lab.kill(name)
        start(name)
    assert wait_for(lab, job, RUNS) == ["passed"] * RUNS
    assert lines(told / "twice") == []
    assert len(set(lines(told / "ended"))) == RUNS
    assert lab.rows("SELECT count(*) AS n FROM results") == [{"n": RUNS}]
    assert_no_two_claims_live_at_once(lab)
    again = lab.rows("SELECT count(*) AS n FROM claims WHERE how_ended <> 'finished'")[0]["n"]
    print(f"{RUNS} runs, {again} claims taken over, {len(lines(told / 'ended')) - RUNS} executed to the end once more")
    assert again > 0


def until_ended(lab: Lab, job: str, count: int) -> None:
    eventually(f"{count} runs have ended", lambda: len(ended(lab, job)) >= count, 600)


def until_begun(lab: Lab, job: str, told: Path, count: int) -> None:
    """Waits until one more run has begun, or none is left to begin."""
    eventually("something runs", lambda: len(lines(told / "begun")) >= count or len(ended(lab, job)) == RUNS)


def cut_for(cable: Cable, seconds: float) -> None:
    cable.cut()
    # What is tested is a time.
    time.sleep(seconds)
    if isinstance(cable, Network):
        assert not cable.reaches_us()
    cable.mend()


def test_what_a_killed_worker_ran_ends_with_it_and_another_worker_runs_it(lab: Lab) -> None:
    lab.worker("one", "lab")
    marker = f"7{os.getpid()}"
    gate = lab.directory / "gate"
    suite = lab.suite("long", ("a", f"[ -e {gate} ] || {{ setsid sleep {marker} & sleep {marker}; }}", NONE))
    job = submitted(lab, suite)
    eventually("it runs", lambda: len(lab.processes(f"sleep\0{marker}")) == 2)
    gate.touch()
    lab.kill("one")
    eventually("its processes end", lambda: not lab.processes(f"sleep\0{marker}"))
    runner = "memsample\0run\0--json\0--out\0" + str(lab.directory)
    eventually("its runner ends", lambda: not lab.processes(runner))
    let_leases_run_out(lab)
    # What nobody can know is not told: it runs as long as its lease does, and is silent from then on.
    eventually("its lease is over", lambda: told_as_its_lease_says(lab, job) == "silent")
    lab.worker("two", "lab")
    assert wait_for(lab, job) == ["passed"]
    run = lab.json("results", job)[0]
    assert (run["worker"], run["attempt"]) == ("two", 2)
    assert_no_two_claims_live_at_once(lab)


def told_as_its_lease_says(lab: Lab, job: str) -> str:
    """Return the state of a run that has a claim; it is that of its lease, by the clock of the database."""

    def is_over() -> bool:
        rows = lab.rows("SELECT expires_at <= clock_timestamp() AS over FROM claims WHERE ended_at IS NULL")
        return bool(rows[0]["over"])

    before = is_over()
    (state,) = lab.states(job)
    # A lease that ended meanwhile may have been seen either way.
    assert state in {"silent" if over else "running" for over in (before, is_over())}
    return state


def test_a_killed_pool_process_costs_an_attempt_and_the_worker_works_on(lab: Lab) -> None:
    worker = lab.worker("one")
    marker = f"8{os.getpid()}"
    gate = lab.directory / "gate"
    job = submitted(lab, lab.suite("long", ("a", f"[ -e {gate} ] || sleep {marker}", NONE)))
    eventually("it runs", lambda: lab.processes(f"sleep\0{marker}"))
    gate.touch()
    children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    eventually("its processes end", lambda: not lab.processes(f"sleep\0{marker}"))
    let_leases_run_out(lab)
    assert wait_for(lab, job) == ["passed"]
    assert lab.json("results", job)[0]["attempt"] == 2


def test_a_suite_that_kills_its_worker_each_time_is_given_up(lab: Lab) -> None:
    worker = lab.worker("one", MEMSAMPLE_FLEET_LEASE_S="3")
    # Its ancestors: the init and the supervisor of its sandbox, memsample, the guard, and the process of the task.
    poison = """
    p=$$; while :; do
        p=$(cut -d' ' -f4 /proc/$p/stat); [ "$p" -gt 1 ] || exit 3
        grep -q memsample_fleet.cli /proc/$p/cmdline && { kill -9 $p; sleep 60; }
    done"""
    job = submitted(lab, lab.suite("poison", ("a", poison, NONE)), "--attempts", "2")
    assert wait_for(lab, job) == ["lost"]
    run = lab.json("results", job, code=1)[0]
    assert "1 on one: its worker gave no sign of life; 2 on one: its worker gave no sign of life" in run["message"]
    assert worker.poll() is None
    # With such a lease, a machine that stalls costs attempts, too.
    assert "passed" in lab.do("submit", str(lab.suite("tiny", ("a", "true", ""))), "--wait", "--attempts", "20")


def test_a_worker_that_cannot_reach_the_database_kills_its_run_before_another_may_have_it(
    lab: Lab, wires: tuple[Wire, Wire]
) -> None:
    ports, lease = [wire.port for wire in wires], {"MEMSAMPLE_FLEET_LEASE_S": "10"}
    lab.worker("one", "lab", **through(lab, ports), **lease)
    # The first attempt does not end by itself.
    suite, told = watched(lab, "cut", "$([ $(wc -l <begun) -gt 1 ] && echo 0 || echo 6000)")
    job = submitted(lab, suite)
    eventually("it runs", lambda: lines(told / "begun"))
    wires[1].cut()
    lab.worker("two", "lab", **lease)
    assert wait_for(lab, job) == ["passed"]
    wires[1].mend()
    assert len(lines(told / "begun")) == 2
    assert len(lines(told / "ended")) == 1
    assert lines(told / "twice") == []
    assert_no_two_claims_live_at_once(lab)
    # And it works on.
    lab.kill("two")
    assert wait_for(lab, submitted(lab, lab.suite("tiny", ("a", "true", "")))) == ["passed"]
    assert lab.json("results", job)[0]["worker"] == "two"


def test_a_worker_without_its_broker_runs_to_the_end_and_can_be_cancelled(lab: Lab, wires: tuple[Wire, Wire]) -> None:
    lab.worker("one", "lab", **through(lab, [wire.port for wire in wires]))
    suite, told = watched(lab, "short", 2)
    job = submitted(lab, suite)
    eventually("it runs", lambda: lines(told / "begun"))
    wires[0].cut()
    assert wait_for(lab, job) == ["passed"]
    wires[0].mend()
    marker = f"9{os.getpid()}"
    job = submitted(lab, lab.suite("long", ("a", f"sleep {marker}", "")))
    eventually("it runs", lambda: lab.processes(f"sleep\0{marker}"))
    wires[0].cut()
    claims.cancel(lab.connection, job)
    eventually("its processes end", lambda: not lab.processes(f"sleep\0{marker}"))
    assert wait_for(lab, job) == ["cancelled"]


def test_a_result_waits_for_the_database(lab: Lab, wires: tuple[Wire, Wire]) -> None:
    ports = [wire.port for wire in wires]
    lab.worker("one", "lab", MEMSAMPLE_FLEET_LEASE_S="10", **through(lab, ports))
    suite, told = watched(lab, "short", "0; while [ ! -e gate ]; do sleep 0.1; done")
    job = submitted(lab, suite)
    eventually("it runs", lambda: lines(told / "begun"))
    wires[1].cut()
    (told / "gate").touch()
    eventually("it has ended", lambda: lines(told / "ended"))
    # Its lease runs out, and nobody else is there to take over.
    eventually("its lease is over", lambda: lab.states(job) == ["silent"])
    wires[1].mend()
    wait_for(lab, job)
    assert lab.states(job) == ["passed"]
    assert_no_two_claims_live_at_once(lab)


def test_a_crashed_database_costs_no_run(lab: Lab, postgres: Postgres) -> None:
    lab.worker("one")
    suite, told = watched(lab, "short", 1.5)
    job = submitted(lab, suite)
    eventually("it runs", lambda: lines(told / "begun"))
    waiting = lab.start("submit", str(suite), "--wait")
    eventually("the second is submitted", lambda: len(lab.when_there("SELECT FROM runs")) == 2)
    # Of those who ask here, only a command reads how long runs have taken.
    asks = """SELECT FROM pg_stat_activity
              WHERE pid <> pg_backend_pid() AND datname = current_database() AND query LIKE '%%duration_s%%'"""
    eventually("it is waited for", lambda: lab.rows(asks))
    postgres.restart()
    assert wait_for(lab, job) == ["passed"]
    _, err = waiting.communicate(timeout=300)
    assert waiting.returncode == 0, err
    assert "the database is away, and is waited for" in err
    assert len(lines(told / "ended")) == 2
    assert lines(told / "twice") == []


def test_a_restarted_broker_costs_no_run(lab: Lab, rabbit: Rabbit) -> None:
    lab.worker("one")
    suite, told = watched(lab, "short", 0.5)
    job = submitted(lab, suite, "--repeat", "3")
    eventually("it runs", lambda: lines(told / "begun"))
    rabbit.restart()
    assert wait_for(lab, job, 3) == ["passed"] * 3
    assert sorted(lines(told / "ended")) == sorted(set(lines(told / "begun")))
    assert len(lines(told / "ended")) == 3


def test_messages_that_the_broker_has_lost_are_published_again(lab: Lab, rabbit: Rabbit) -> None:
    suite, told = watched(lab, "short", 0.1)
    job = submitted(lab, suite, "--on", "lab", "--repeat", "3")
    with rabbit.open() as opened:
        assert opened.channel().queue_purge("memsample-fleet:lab") == 3
    lab.make_older()
    lab.worker("one", "lab")
    assert wait_for(lab, job, 3) == ["passed"] * 3
    assert len(lines(told / "ended")) == 3
    assert "3 messages are lost, or held by a busy worker" in lab.worker_log("one")


def test_a_job_whose_submitter_was_lost_before_it_was_published_is_published(lab: Lab) -> None:
    suite, _ = watched(lab, "short", 0.1)
    job = submitted(lab, suite, "--on", "nobody")
    lab.rows("""UPDATE jobs SET submitted_at = submitted_at - interval '10 s', queue = 'memsample-fleet:lab'
                RETURNING 1""")  # fmt: skip
    lab.rows("UPDATE runs SET published_at = NULL RETURNING 1")
    lab.worker("one", "lab")
    assert wait_for(lab, job) == ["passed"]
