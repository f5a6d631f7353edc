"""Releases at a steady pace, over a beat that is killed: as many as `FLEET_RELEASES`, one each `FLEET_EVERY_S`."""

import itertools
import os
import signal
import time
from datetime import timedelta

import pytest
from lab import Lab
from servers import eventually
from test_releases import HEAD, RUN, released

COUNT = int(os.environ.get("FLEET_RELEASES", "30"))
EVERY_S = int(os.environ.get("FLEET_EVERY_S", "2"))


@pytest.mark.slow
def test_at_a_steady_pace_no_release_is_skipped_or_begun_twice_over_a_beat_that_is_killed(lab: Lab) -> None:
    lab.worker("one")
    executed = lab.directory / "executed"
    suite = lab.suite("tiny", ("a", f"echo x >>{executed}", 'sandbox = "none"'))
    file = suite.parent / "releases.toml"
    file.write_text(HEAD + f'every = "{EVERY_S}s"\n' + RUN)
    beat = lab.start("beat", str(file))
    patience_s = COUNT * EVERY_S + 600.0
    eventually("half are begun", lambda: len(released(lab, "nightly")) >= COUNT // 2, patience_s)
    beat.send_signal(signal.SIGKILL)
    beat.communicate()
    # One at least is due while there is no beat: what is waited for is a time.
    time.sleep(1.5 * EVERY_S)
    assert len(released(lab, "nightly")) < COUNT
    beat = lab.start("beat", str(file))
    eventually("all are begun", lambda: len(released(lab, "nightly")) >= COUNT, patience_s)
    beat.send_signal(signal.SIGTERM)
    beat.communicate(timeout=300)
    # From here on none is due: a worker that is slower than the beat would never be done.
    file.write_text(HEAD + 'every = "366d"\n' + RUN)
    judging = lab.start("beat", str(file))
    eventually("all are judged", lambda: all(row["verdict"] for row in released(lab, "nightly")[:COUNT]), 600)
    judging.send_signal(signal.SIGTERM)
    judging.communicate(timeout=300)

    found = released(lab, "nightly")
    gaps = {after["due_at"] - before["due_at"] for before, after in itertools.pairwise(found)}
    assert gaps == {timedelta(seconds=EVERY_S)}
    assert [row["verdict"] for row in found[:COUNT]] == ["passed"] * COUNT
    assert lab.rows("SELECT release_id FROM jobs GROUP BY 1 HAVING count(*) <> 1") == []

    def ended() -> int:
        return int(lab.rows("SELECT count(*) AS n FROM results WHERE outcome = 'passed'")[0]["n"])

    # The last one may have been begun a moment ago.
    eventually("all that were begun have ended", lambda: ended() == len(lab.rows("SELECT FROM runs")), 600)
    assert len(executed.read_text().splitlines()) == ended() >= COUNT
    late = sorted((row["begun_at"] - row["due_at"]).total_seconds() for row in found)
    print(f"{len(found)} releases, one each {EVERY_S} s: begun {late[len(late) // 2]:.2f} s late in the middle, and "
          f"{late[-1]:.1f} s where the beat was away")  # fmt: skip
