"""Claims and results, by connections of several workers."""

import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from memsample_fleet import archive, claims, jobs
from memsample_fleet.claims import Claim, Refused, Result
from memsample_fleet.config import Config
from memsample_fleet.database import SCHEMA_VERSION, Connection, connect
from memsample_fleet.errors import FleetError

PASSED = Result("passed", 0)


@pytest.fixture
def two(database: str) -> Iterator[tuple[Connection, Connection]]:
    with connect(Config(database=database)) as one, connect(Config(database=database)) as other:
        yield one, other


def job(connection: Connection, tmp_path: Path, repeat: int = 1, most_attempts: int = 3) -> str:
    suite = tmp_path / "suite" / "suite.toml"
    suite.parent.mkdir(exist_ok=True)
    suite.write_text('name = "suite"\n')
    wanted = jobs.Wanted("suite", repeat=repeat, most_attempts=most_attempts)
    return jobs.insert(connection, archive.pack(suite), wanted)


def claimed(connection: Connection, run_id: str, worker: str = "w", lease_s: float = 60) -> Claim:
    claim = claims.claim(connection, run_id, worker, lease_s)
    assert isinstance(claim, Claim)
    return claim


def run_out(connection: Connection, claim: Claim) -> None:
    """Let the lease of a claim run out now, instead of waiting for it."""
    connection.execute(
        "UPDATE claims SET expires_at = clock_timestamp() WHERE claim_id = %s AND ended_at IS NULL", [claim.claim_id]
    )


def test_of_many_workers_one_claims_a_run(database: str, tmp_path: Path) -> None:
    with connect(Config(database=database)) as one:
        run_id = job(one, tmp_path) + ".1"
        got: list[Claim | Refused] = []

        def ask(worker: int) -> None:
            with connect(Config(database=database)) as connection:
                barrier.wait(300)
                got.append(claims.claim(connection, run_id, f"w{worker}", 60))

        barrier = threading.Barrier(12)
        threads = [threading.Thread(target=ask, args=[number]) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(isinstance(claim, Claim) for claim in got) == 1
        assert got.count(Refused("taken")) == 11


def test_a_result_is_inserted_once_and_the_run_is_not_claimed_again(
    two: tuple[Connection, Connection], tmp_path: Path
) -> None:
    one, other = two
    run_id = job(one, tmp_path) + ".1"
    claim = claimed(one, run_id)
    assert claims.finish(one, claim, PASSED)
    assert not claims.finish(other, claim, Result("failed", 10))
    assert claims.claim(other, run_id, "v", 60) == Refused("ended")
    assert [run["outcome"] for run in jobs.runs(one, [run_id])] == ["passed"]


def test_a_claim_that_ran_out_is_taken_over_and_its_holder_cannot_insert_a_result(
    two: tuple[Connection, Connection], tmp_path: Path
) -> None:
    one, other = two
    run_id = job(one, tmp_path) + ".1"
    first = claimed(one, run_id)
    assert claims.claim(other, run_id, "v", 60) == Refused("taken")
    run_out(one, first)
    second = claimed(other, run_id, "v")
    assert second.attempt == 2
    assert not claims.renew(one, first.claim_id).held
    assert not claims.finish(one, first, Result("failed", 10))
    assert not claims.give_back(one, first, "late")
    assert claims.finish(other, second, PASSED)
    log = one.execute("SELECT attempt, worker, how_ended FROM claims ORDER BY claim_id").fetchall()
    assert [(row["attempt"], row["worker"], row["how_ended"]) for row in log] == [
        (1, "w", "expired"), (2, "v", "finished"),
    ]  # fmt: skip


def test_a_lease_that_ran_out_lives_on_if_nobody_took_over(two: tuple[Connection, Connection], tmp_path: Path) -> None:
    one, _ = two
    claim = claimed(one, job(one, tmp_path) + ".1")
    run_out(one, claim)
    assert claims.renew(one, claim.claim_id).held
    assert claims.expire(one) == 0
    run_out(one, claim)
    assert claims.finish(one, claim, PASSED)


def test_a_renewal_and_a_take_over_at_once_leave_one_holder(database: str, tmp_path: Path) -> None:
    with connect(Config(database=database)) as one, connect(Config(database=database)) as other:
        for _ in range(50):
            run_id = job(one, tmp_path) + ".1"
            first = claimed(one, run_id)
            run_out(one, first)
            held: list[bool] = []
            renewing = threading.Thread(target=lambda c=first, h=held: h.append(claims.renew(one, c.claim_id).held))
            renewing.start()
            second = claims.claim(other, run_id, "v", 60)
            renewing.join()
            assert held == [second == Refused("taken")]


def test_the_database_itself_allows_one_open_claim(two: tuple[Connection, Connection], tmp_path: Path) -> None:
    one, _ = two
    claim = claimed(one, job(one, tmp_path) + ".1")
    with pytest.raises(psycopg.errors.UniqueViolation, match="claims_open"):
        one.execute(
            """INSERT INTO claims (run_id, attempt, worker, lease, expires_at)
               SELECT run_id, 9, 'x', lease, expires_at FROM claims WHERE claim_id = %s""",
            [claim.claim_id],
        )


def test_attempts_are_counted_and_the_run_is_lost_when_they_are_used_up(
    two: tuple[Connection, Connection], tmp_path: Path
) -> None:
    one, _ = two
    run_id = job(one, tmp_path, most_attempts=2) + ".1"
    assert claims.give_back(one, claimed(one, run_id), "no memsample")
    run_out(one, claimed(one, run_id, "v"))
    assert claims.claim(one, run_id, "x", 60) == Refused("lost")
    run = jobs.runs(one, [run_id])[0]
    assert (run["outcome"], run["exit_code"]) == ("lost", 1)
    assert "1 on w: no memsample; 2 on v: its worker gave no sign of life" in run["message"]


def test_a_sweep_ends_claims_that_ran_out_and_gives_up_what_has_no_attempt_left(
    two: tuple[Connection, Connection], tmp_path: Path
) -> None:
    one, other = two
    job_id = job(one, tmp_path, repeat=3, most_attempts=1)
    again = job(one, tmp_path, most_attempts=2) + ".1"
    for run_id in (f"{job_id}.1", f"{job_id}.2", again):
        run_out(one, claimed(one, run_id))
    living = claimed(one, f"{job_id}.3")
    assert claims.expire(other) == 3
    states = [run["outcome"] or run["state"] for run in jobs.runs(one, [job_id, again])]
    assert states == ["lost", "lost", "running", "waiting"]
    assert claims.renew(one, living.claim_id).held


def test_cancelling_ends_what_waits_and_tells_what_runs(two: tuple[Connection, Connection], tmp_path: Path) -> None:
    one, other = two
    job_id = job(one, tmp_path, repeat=2)
    running = claimed(one, f"{job_id}.1")
    assert not claims.renew(one, running.claim_id).cancelled
    assert claims.cancel(other, job_id) == 1
    assert claims.renew(one, running.claim_id).cancelled
    assert claims.is_cancelled(one, job_id)
    assert [run["outcome"] or run["state"] for run in jobs.runs(one, [job_id])] == ["cancelling", "cancelled"]
    assert claims.claim(one, f"{job_id}.2", "v", 60) == Refused("ended")
    # Its worker is lost before it can obey.
    run_out(one, running)
    assert claims.expire(one) == 1
    assert [run["exit_code"] for run in jobs.runs(one, [job_id])] == [11, 11]


def test_a_run_or_job_that_does_not_exist(two: tuple[Connection, Connection]) -> None:
    one, _ = two
    assert claims.claim(one, "nothing.1", "w", 60) == Refused("unknown")
    with pytest.raises(FleetError, match="there is no job or run `nothing`"):
        jobs.runs(one, ["nothing"])


def test_tables_of_another_version_are_refused(database: str) -> None:
    with connect(Config(database=database)) as connection:
        connection.execute("UPDATE fleet_schema SET version = 99")
    with pytest.raises(FleetError, match=f"version 99, and this memsample-fleet writes version {SCHEMA_VERSION}"):
        connect(Config(database=database))


def test_many_who_find_an_empty_database_make_the_tables_once(database: str) -> None:
    errors: list[BaseException] = []

    def open_one() -> None:
        try:
            connect(Config(database=database)).close()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=open_one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    with connect(Config(database=database)) as connection:
        assert connection.execute("SELECT version FROM fleet_schema").fetchall() == [{"version": SCHEMA_VERSION}]
