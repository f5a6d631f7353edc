"""Releases: the file, the times, and that each is begun once."""

import itertools
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lab import Lab
from servers import eventually

from memsample_fleet import releases
from memsample_fleet.errors import FleetError

HEAD = '[[release]]\nname = "nightly"\n'
RUN = '[[release.run]]\nsuite = "suite.toml"\n'


def written(directory: Path, text: str) -> Path:
    (directory / "suite.toml").write_text('name = "suite"\n[[test]]\nname = "a"\ncommand = ["true"]\n')
    file = directory / "releases.toml"
    file.write_text(text)
    return file


def times(tmp_path: Path, when: str, after: str, until: str) -> list[str]:
    release = releases.read(written(tmp_path, HEAD + when + "\n" + RUN))[0]
    return [
        f"{due:%a %d %H:%M:%S}"
        for due in release.between(datetime.fromisoformat(after + "Z"), datetime.fromisoformat(until + "Z"))
    ]


@pytest.mark.parametrize(
    ("when", "after", "until", "due"),
    [
        ('every = "3h"', "2026-11-29T00:00:00", "2026-11-29T09:00:00",
         ["Sun 29 03:00:00", "Sun 29 06:00:00", "Sun 29 09:00:00"]),
        ('every = "90s"', "2026-11-29T00:00:10", "2026-11-29T00:03:00", ["Sun 29 00:01:30", "Sun 29 00:03:00"]),
        ('cron = "30 2 * * *"', "2026-11-29T02:30:00", "2026-12-01T02:30:00", ["Mon 30 02:30:00", "Tue 01 02:30:00"]),
        ('cron = "0 0 * * 7"', "2026-11-28T00:00:00", "2026-12-06T00:00:00", ["Sun 29 00:00:00", "Sun 06 00:00:00"]),
        ('cron = "0 0 1 * 1"', "2026-11-29T00:00:00", "2026-12-02T00:00:00", ["Mon 30 00:00:00", "Tue 01 00:00:00"]),
        ('cron = "0 12 29 2 *"', "2026-03-01T00:00:00", "2027-03-01T00:00:00", []),
    ],
)  # fmt: skip
def test_times(tmp_path: Path, when: str, after: str, until: str, due: list[str]) -> None:
    assert times(tmp_path, when, after, until) == due


def test_all_mistakes_are_told_with_file_line_and_key(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        """[[release]]
name = "night ly"
every = "3"
cron = "0 0 * * *"
colour = "red"
hook = "promote"

[[release.run]]
suite = "nothing.toml"
on = ["a b"]
repeat = 0

[[release]]
name = "other"
cron = "61 * * * *"
patience = 3
priority = 10
hook = ["./promote"]

[[release]]
name = "empty"
every = "1h"
[[release]]
cron = "0 0 30 2 *"
hook = []
name = "never"
""",
    )
    with pytest.raises(FleetError) as refused:
        releases.read(file)
    told = [line.removeprefix(f"{tmp_path}/") for line in str(refused.value).splitlines()]
    beginnings = [
        "releases.toml:5: `colour` is not known",
        "releases.toml:1: `release` needs either `every`",
        "releases.toml:9: `suite` must name a suite that exists",
        "releases.toml:10: `on` `a b` is no label",
        "releases.toml:11: `repeat` must be a whole number from 1 to 1000",
        "releases.toml:2: `name` must be",
        'releases.toml:3: `every` must be a length of time with its unit, such as "90s"',
        "releases.toml:6: `hook` must be a list of words",
        "releases.toml:13: `release` needs a table [[release.run]]",
        "releases.toml:15: `cron` must be a line of cron",
        "releases.toml:16: `patience` must be",
        "releases.toml:17: `priority` must be a whole number from 0 to 9",
        "releases.toml:18: `hook` names `./promote`, and there is no such program in ",
        "releases.toml:20: `release` needs a table [[release.run]]",
        "releases.toml:24: `cron` must be a line of cron in UTC: minute, hour, day, month, day of the week; such as "
        "\"0 */3 * * *\". Invalid crontab: day_of_month '30' never occurs in month_of_year '2'",
        "releases.toml:25: `hook` must be a command as a list of words",
        "releases.toml:23: `release` needs a table [[release.run]]",
    ]
    assert len(told) == len(beginnings), told
    for beginning in beginnings:
        assert any(line.startswith(beginning) for line in told), (beginning, told)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "`release` is needed"),
        ("release = 1\n", ":1: `release` is needed"),
        ("x = 1\n" + HEAD + 'every = "1h"\n' + RUN, ":1: `x` is not known"),
        ((HEAD + 'every = "1h"\n' + RUN) * 2, ":7: `name` `nightly` is given to two releases"),
        ("[[release]\n", r"releases.toml:1:10: not TOML: "),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(FleetError, match=told):
        releases.read(written(tmp_path, text))


def released(lab: Lab, name: str) -> list[dict[str, Any]]:
    return lab.rows("SELECT * FROM releases WHERE name = %s ORDER BY due_at", name)


def until_begun(lab: Lab, count: int) -> None:
    eventually(f"{count} are begun", lambda: len(released(lab, "nightly")) >= count)


@pytest.mark.slow
def test_each_release_is_begun_once_while_two_beats_are_killed_and_started(lab: Lab) -> None:
    lab.worker("one")
    hooked = lab.directory / "hooked"
    suite = lab.suite("tiny", ("a", "true", ""))
    file = suite.parent / "releases.toml"
    file.write_text(
        HEAD + f'every = "2s"\nhook = ["/bin/sh", "-c", "echo $RELEASE_DUE $VERDICT >>{hooked}; echo done"]\n' + RUN
    )
    beats = [lab.start("beat", str(file)), lab.start("beat", str(file))]
    for number in range(4):
        until_begun(lab, number + 1)
        beats[number % 2].send_signal(signal.SIGKILL)
        beats[number % 2].communicate()
        beats[number % 2] = lab.start("beat", str(file))
    until_begun(lab, 8)
    eventually("eight are judged", lambda: all(row["verdict"] for row in released(lab, "nightly")[:8]), 600)
    eventually("their hooks are called", lambda: all(row["hook_begun_at"] for row in released(lab, "nightly")[:8]))
    eventually("a hook has ended", lambda: any(row["hook_exit"] == 0 for row in released(lab, "nightly")))
    for beat in beats:
        beat.send_signal(signal.SIGTERM)
        beat.communicate(timeout=300)
    found = released(lab, "nightly")
    gaps = {after["due_at"] - before["due_at"] for before, after in itertools.pairwise(found)}
    assert gaps == {timedelta(seconds=2)}
    assert {row["verdict"] for row in found[:8]} == {"passed"}
    counted = lab.rows("SELECT release_id, count(*) AS n FROM jobs GROUP BY 1")
    assert {row["n"] for row in counted} == {1}
    called = hooked.read_text().splitlines()
    assert len(called) == len(set(called))
    assert all(line.endswith(" passed") for line in called)
    told = lab.do("releases")
    assert "exit 0" in told


def test_a_machine_that_is_missing_is_told_and_not_waited_for(lab: Lab) -> None:
    lab.worker("one")
    suite = lab.suite("tiny", ("a", "true", ""))
    file = suite.parent / "releases.toml"
    began, when = now_and_due(lab, "nightly")
    file.write_text(HEAD + when + 'late = "1h"\npatience = "1h"\n' + RUN + RUN + 'on = ["touch"]\n')
    beat = lab.start("beat", str(file))
    eventually("one of two has run", lambda: lab.rows("SELECT FROM results WHERE outcome = 'passed'"))
    lab.rows("UPDATE releases SET give_up_at = clock_timestamp() RETURNING 1")
    eventually("it is judged", lambda: released(lab, "nightly") and released(lab, "nightly")[-1]["verdict"])
    row = released(lab, "nightly")[-1]
    assert row["verdict"] == "incomplete"
    assert "waiting for touch" in row["message"]
    assert row["hook_begun_at"] is None
    assert row["due_at"] == began
    eventually("the rest is cancelled", lambda: sorted(
        row["outcome"] for row in lab.rows("SELECT outcome FROM results")) == ["cancelled", "passed"])  # fmt: skip
    beat.kill()
    beat.communicate()


def now_and_due(lab: Lab, name: str, times: int = 1) -> tuple[datetime, str]:
    """Let the last times of an hourly release be due; returns the last one of them, and the line of the release.

    It was a moment ago, so that none more is due before the test has ended.
    """
    last = datetime.now(UTC).replace(second=0, microsecond=0)
    lab.rows("INSERT INTO schedules VALUES (%s, %s) RETURNING 1", name, last - timedelta(hours=times))
    return last, f'cron = "{last.minute} * * * *"\n'


def test_what_was_due_long_ago_is_told_as_missed_and_a_failed_test_fails_the_release(lab: Lab) -> None:
    lab.worker("one")
    suite = lab.suite("bad", ("a", "exit 1", ""))
    file = suite.parent / "releases.toml"
    hook = 'hook = ["/bin/touch", "hooked"]\n'
    due, when = now_and_due(lab, "nightly", times=3)
    file.write_text(HEAD + when + 'late = "1h"\n' + hook + RUN)
    beat = lab.start("beat", str(file))
    eventually("they are judged", lambda: len(released(lab, "nightly")) == 3
               and all(row["verdict"] for row in released(lab, "nightly")))  # fmt: skip
    found = released(lab, "nightly")
    assert [row["verdict"] for row in found] == ["missed", "missed", "failed"]
    assert found[-1]["due_at"] == due
    assert "failed" in found[-1]["message"]
    assert not (suite.parent / "hooked").exists()
    beat.kill()
    beat.communicate()


def test_a_hook_that_hangs_and_floods_is_killed_with_all_that_it_started(lab: Lab) -> None:
    lab.worker("one")
    suite = lab.suite("tiny", ("a", "true", ""))
    file = suite.parent / "releases.toml"
    marker = f"1{time.time_ns()}"
    script = f"sleep {marker} & head -c 2000000 /dev/zero | tr '\\\\0' x; echo the end; wait"
    _, when = now_and_due(lab, "nightly")
    hook = f'hook_timeout = "8s"\nhook = ["/bin/sh", "-c", "{script}"]\n'
    file.write_text(HEAD + when + 'late = "1h"\n' + hook + RUN)
    beat = lab.start("beat", str(file))
    eventually("the hook has ended", lambda: [row for row in released(lab, "nightly") if row["hook_exit"] is not None])
    row = released(lab, "nightly")[-1]
    assert (row["verdict"], row["hook_exit"]) == ("passed", 137)
    assert row["hook_said"].endswith("x the end\n [killed after 8.0 s]".replace("x the", "xthe"))
    assert len(row["hook_said"]) < 2100
    assert "xthe end; [killed after 8.0 s]" in lab.do("releases")
    assert not lab.processes(f"sleep\0{marker}")
    beat.kill()
    beat.communicate()


def test_a_file_is_checked_without_a_fleet(lab: Lab) -> None:
    suite = lab.suite("tiny", ("a", "true", ""))
    file = suite.parent / "releases.toml"
    file.write_text(HEAD + 'cron = "0 2 * * *"\n' + RUN)
    told = lab.do("beat", str(file), "--check")
    assert "nightly" in told
    assert "02:00:00" in told
    file.write_text("[[release]]\n")
    assert "releases.toml:1: `release` needs a `name`" in lab.do("beat", str(file), "--check", code=1)
