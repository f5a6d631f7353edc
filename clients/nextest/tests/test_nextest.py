"""A real cargo-nextest with a real memsampled. MEMSAMPLED names the daemon; memsample is beside it."""

import json
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pyarrow.parquet
import pytest

MEMSAMPLED = Path(os.environ["MEMSAMPLED"]).resolve()
MEMSAMPLE = MEMSAMPLED.with_name("memsample")
CLIENT = Path(__file__).parent.parent
MIB = 1 << 20


@pytest.fixture(scope="module")
def fixture(tmp_path_factory):
    """The crate whose tests are run, built once, in a directory of its own."""
    assert subprocess.run(["cargo", "nextest", "--version"], capture_output=True).returncode == 0, (
        "cargo-nextest is missing: .ci/install gets it"
    )
    root = tmp_path_factory.mktemp("nextest")
    shutil.copytree(CLIENT / "fixture", root / "crate", ignore=shutil.ignore_patterns("target"))
    return root / "crate"


@pytest.fixture
def environment(tmp_path, request):
    """A daemon of its own, and an environment in which `memsample` finds it."""
    path = tmp_path / "s"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MEMSAMPLE", "NEXTEST"))}
    environment.update(
        PATH=f"{MEMSAMPLED.parent}:{environment['PATH']}",
        MEMSAMPLE_SOCKET=str(path),
        MEMSAMPLE_INTERVAL="10ms",
        FIXTURE_MARKER=str(tmp_path / "marker"),
        # Beside many others a daemon answers late, and a test whose daemon does not answer is not marked.
        MEMSAMPLE_TEST_PATIENCE_MS="60000",
        NO_COLOR="1",
    )
    config = tmp_path / "config.toml"
    config.write_text(getattr(request, "param", ""))
    command = [MEMSAMPLED, "--socket", path, "--recordings", tmp_path / "recordings", "--config", config]
    with open(tmp_path / "log", "w") as log:
        daemon = subprocess.Popen(command, env=environment, stderr=log)
    while not answers(path):
        assert daemon.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.05)
    yield environment
    daemon.terminate()
    assert daemon.wait() == 0


def answers(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        return client.connect_ex(str(path)) == 0


def call(environment, *arguments):
    return subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True).stdout


def peaks(environment, recording):
    rows = json.loads(call(environment, MEMSAMPLE, "peaks", recording, "--by", "test", "--json"))
    return {row["test"].removeprefix("fixture "): row for row in rows}


def marks(recording):
    rows = pyarrow.parquet.read_table(Path(recording, "marks.parquet"), columns=["kind", "name", "test"]).to_pylist()
    return [(row["kind"], row["name"], row["test"].removeprefix("fixture ")) for row in rows if row["test"]]


TESTS = {
    "grows", "grows_beside_it", "starts_a_process", "is_over_at_once", "fails", "aborts", "passes_when_it_is_run_again",
    "takes_too_long",
}  # fmt: skip


def check_marks(found):
    """Every attempt has a begin and an end, under the same name; only one test was run twice."""
    assert {test for _, _, test in found} == TESTS
    for test in TESTS:
        attempts = 2 if test == "passes_when_it_is_run_again" else 1
        of_test = [(kind, name) for kind, name, of in found if of == test]
        assert [kind for kind, _ in of_test] == ["begin", "end"] * attempts, of_test
        assert all(re.fullmatch(r"exec \d+", name) for _, name in of_test)
        assert all(begin[1] == end[1] for begin, end in zip(of_test[::2], of_test[1::2]))


def check_peaks(found):
    assert 80 * MIB <= found["grows"]["lower_bytes"] < 100 * MIB
    # They ran at the same time, and neither has the memory of the other.
    assert 40 * MIB <= found["grows_beside_it"]["lower_bytes"] < 60 * MIB
    # Its process is the test too.
    assert 120 * MIB <= found["starts_a_process"]["lower_bytes"] < 160 * MIB
    assert found["starts_a_process"]["images"] >= 2
    assert all(row["lower_bytes"] <= (row["upper_bytes"] or row["lower_bytes"]) for row in found.values())


def check_outcomes(told):
    assert re.search(r"SIGABRT .*aborts", told), told
    assert re.search(r"FAIL .*fails", told) and "assertion `left == right` failed" in told, told
    assert re.search(r"FLAKY 2/2 .*passes_when_it_is_run_again", told), told
    assert re.search(r"(TIMEOUT|TERMINATING) .*takes_too_long", told), told
    assert "not marked" not in told


def test_each_test_has_its_own_peak(fixture, environment):
    done = subprocess.run(
        [CLIENT / "memsample-nextest", "--offline", "--test-threads", "4"],
        cwd=fixture, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 100, done.stdout + done.stderr
    check_outcomes(done.stderr)
    *table, recording = done.stdout.strip().splitlines()
    assert table[0].split()[-1] == "TEST" and table[1].split()[-1] == "starts_a_process"
    check_marks(marks(recording))
    check_peaks(peaks(environment, recording))


def test_scripts_of_the_configuration_do_the_same(fixture, environment):
    readme = (CLIENT / "README.md").read_text()
    scripts = readme.split("```toml\n")[1].split("```")[0]
    assert "wrapper-scripts" in scripts
    both = scripts.replace('name nextest', 'name nextest --interval 10ms') + (fixture / ".config/nextest.toml").read_text()
    config = fixture / "with-scripts.toml"
    config.write_text(both)
    done = subprocess.run(
        ["cargo", "nextest", "run", "--offline", "--config-file", config, "--test-threads", "4"],
        cwd=fixture, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 100, done.stdout + done.stderr
    check_outcomes(done.stderr)
    recording = call(environment, MEMSAMPLE, "stop").strip()
    check_marks(marks(recording))
    check_peaks(peaks(environment, recording))


def test_a_session_of_somebody_else_is_marked_and_goes_on(fixture, environment):
    session = call(environment, MEMSAMPLE, "start", "--interval", "10ms").strip()
    done = subprocess.run(
        [CLIENT / "memsample-nextest", "--offline", "is_over_at_once"],
        cwd=fixture, env=dict(environment, MEMSAMPLE_SESSION=session), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    recording = call(environment, MEMSAMPLE, "stop", session).strip()
    assert [(kind, test) for kind, _, test in marks(recording)] == [("begin", "is_over_at_once"), ("end", "is_over_at_once")]


def test_without_a_daemon_tests_run_all_the_same(fixture, environment):
    absent = dict(environment, MEMSAMPLE_SOCKET="/nowhere/s", MEMSAMPLE_SESSION="x")
    done = subprocess.run(
        [CLIENT / "memsample-nextest", "--offline", "--success-output", "immediate", "is_over_at_once"],
        cwd=fixture, env=absent, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "memsample: this test is not marked: no daemon listens on `/nowhere/s`" in done.stderr
    # Nor does the script itself need one: it says once that nothing is recorded, and what to do.
    del absent["MEMSAMPLE_SESSION"]
    without_program = dict(absent, PATH=absent["PATH"].removeprefix(f"{MEMSAMPLED.parent}:"))
    for environment, reason in [(absent, "start one with `memsampled"), (without_program, "memsample is not in PATH")]:
        done = subprocess.run(
            [CLIENT / "memsample-nextest", "--offline", "is_over_at_once"], cwd=fixture, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0 and "1 test run: 1 passed" in done.stderr, done.stderr
        said = [line for line in done.stderr.splitlines() if "memsample" in line]
        assert len(said) == 1 and said[0].startswith("memsample-nextest: not recorded: ") and reason in said[0], done.stderr
        assert done.stdout == ""
    done = at_once(fixture, without_program | {"MEMSAMPLE_SESSION": "x"})
    assert "memsample-nextest: tests are not marked: memsample is not in PATH" in done.stderr
    # The exit code is still that of the tests.
    done = subprocess.run([CLIENT / "memsample-nextest", "--offline", "fails"], cwd=fixture, env=absent, capture_output=True, text=True)
    assert done.returncode == 100, done.stderr


def at_once(fixture, environment):
    command = [CLIENT / "memsample-nextest", "--offline", "is_over_at_once"]
    done = subprocess.run(command, cwd=fixture, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "1 test run: 1 passed" in done.stderr, done.stderr
    return done


@pytest.mark.parametrize(
    ("environment", "minutes"), [("", 60), ("[daemon.limits]\nidle = '10m'\n", 10)], indirect=["environment"]
)
def test_what_nobody_stops_ends(fixture, environment, minutes):
    recording = at_once(fixture, environment).stdout.strip().splitlines()[-1]
    assert json.loads(Path(recording, "recording.json").read_text())["settings"]["max_idle_ms"] == minutes * 60_000


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [("MEMSAMPLE_INTERVAL", "5", "not recorded: invalid value '5'"), ("MEMSAMPLE_IDLE", "99h", "not recorded: `limits.idle`"),
     ("MEMSAMPLE_SESSION", "gone", "not marked: no daemon has the session gone")],
)  # fmt: skip
def test_why_nothing_is_recorded_is_said(fixture, environment, name, value, reason):
    done = at_once(fixture, environment | {name: value})
    said = [line for line in done.stderr.splitlines() if line.startswith("memsample-nextest:")]
    assert len(said) == 1 and reason in said[0], done.stderr
