"""The plugin with a real pytest, pytest-xdist and memsampled. MEMSAMPLED names the daemon."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import xml.etree.ElementTree as xml
from pathlib import Path

import duckdb
import pyarrow.parquet
import pytest

TESTS = r"""
import json, os, subprocess, sys

KEPT = []

def wait_for_samples():
    def ticks():
        listed = subprocess.run([os.environ["MEMSAMPLE"], "sessions", "--json"], capture_output=True, check=True)
        return json.loads(listed.stdout)["sessions"][0]["totals"]["ticks"]
    before = ticks()
    while ticks() < before + 5:
        pass

def test_settles():
    # What the next one begins with was sampled after all that pytest itself had to load.
    wait_for_samples()

def test_grows():
    KEPT.append(bytearray(b"x") * (80 << 20))
    wait_for_samples()

def test_starts_a_process():
    child = subprocess.Popen([sys.executable, "-c", "a = bytearray(b'x') * (120 << 20); print(flush=True); input()"],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    wait_for_samples()
    child.communicate(b"\n")

def test_is_over_at_once():
    pass

def test_fails():
    assert False
"""
MIB = 1 << 20
MEMSAMPLE = Path(os.environ["MEMSAMPLED"]).resolve().with_name("memsample")
ENVIRONMENT = dict(os.environ, MEMSAMPLE=str(MEMSAMPLE), PATH=f"{MEMSAMPLE.parent}:{os.environ['PATH']}")


def started(tmp_path, *arguments):
    """Starts a daemon, and returns it and the environment in which its clients find it."""
    socket = tmp_path / "memsampled.sock"
    program = [os.environ["MEMSAMPLED"], "--socket", socket, "--recordings", tmp_path / "recordings", *arguments]
    with open(tmp_path / "log", "w") as log:
        daemon = subprocess.Popen(program, stderr=log)
    while not socket.exists():
        assert daemon.poll() is None, (tmp_path / "log").read_text()
    return daemon, dict(ENVIRONMENT, MEMSAMPLE_SOCKET=str(socket))


@pytest.fixture
def daemon(tmp_path):
    """A daemon of its own, and the environment in which its clients find it."""
    daemon, environment = started(tmp_path)
    yield environment
    daemon.terminate()
    assert daemon.wait() == 0


def run_pytest(directory, environment, *arguments, tests=TESTS):
    (directory / "test_memory.py").write_text(tests)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--junitxml", "junit.xml", *arguments]
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True)


def properties(directory):
    suite = xml.parse(directory / "junit.xml").getroot().find("testsuite")
    return {p.get("name"): p.get("value") for p in suite.find("properties")}


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "xdist"])
def test_each_test_has_its_peak_and_growth(tmp_path, daemon, workers):
    done = run_pytest(tmp_path, daemon, "--memsample", "--memsample-interval", "10ms", *workers)
    assert done.returncode == 1, done.stdout + done.stderr
    found = properties(tmp_path)
    test = "test_memory.py::test_"
    growth = int(found[f"memsample.rss_growth_bytes[{test}grows]"])
    assert 79 * MIB <= growth <= 90 * MIB
    assert int(found[f"memsample.rss_peak_bytes[{test}grows]"]) >= 80 * MIB
    # The process that it started is in its peak, and not in its growth.
    assert int(found[f"memsample.rss_peak_bytes[{test}starts_a_process]"]) >= 120 * MIB
    assert int(found[f"memsample.rss_growth_bytes[{test}starts_a_process]"]) < 40 * MIB
    assert Path(found["memsample.recording"], "samples.parquet").exists()
    assert f"{test}grows" in done.stdout and "memory (memsample)" in done.stdout
    # Each is a lower bound, and all that is written fits into 80 columns, but for names and paths.
    assert len(re.findall(r"^ *≥\d+\.\d MiB ", done.stdout, re.MULTILINE)) == 5
    section = done.stdout.split("memory (memsample)")[1].split("short test summary")[0].splitlines()
    assert all(len(line) <= 80 for line in section if "/" not in line and not line.startswith("="))
    assert ("5 tests shared 2 processes" if workers else "5 tests shared 1 process:") in done.stdout


# Each lasts for three ticks of the default interval, and what a test changes is done at once.
BLAME = """
import mmap, time

KEPT = []

def pages(mib):
    return mmap.mmap(-1, mib << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE)

def test_a_frees_what_it_took():
    pages(150).close()
    time.sleep(0.3)

def test_b_keeps():
    KEPT.append(pages(40))
    time.sleep(0.3)

def test_c_idles():
    time.sleep(0.3)
"""
PEAKS = Path(__file__).parents[3] / "docs/peaks.md"
# Modules that pytest and Python load and arenas that the allocator gets while the tests run.
NOISE = 2 * MIB


@pytest.mark.parametrize("larger", [False, True], ids=["three", "in_a_larger_file"])
def test_growth_is_that_of_the_test_that_grew(tmp_path, daemon, larger):
    """Takes ten seconds: five runs at the default interval."""
    more = "".join(f"def test_z{number}():\n    pass\n" for number in range(200 if larger else 0))
    before = "".join(f"def test_before_{number}():\n    bytearray(100000 * {number})\n" for number in range(200 if larger else 0))
    for run in range(5):
        done = run_pytest(tmp_path, daemon, "--memsample", "--memsample-top", "1000", tests=before + BLAME + more)
        assert done.returncode == 0, done.stdout + done.stderr
        found = properties(tmp_path)
        recording = found["memsample.recording"]
        answered = subprocess.run([MEMSAMPLE, "peaks", recording, "--by", "test", "--json", "--top", "1000"], capture_output=True, check=True)
        answered = {row["test"]: row for row in json.loads(answered.stdout)}
        query = PEAKS.read_text().split("for marks that name a process:")[1].split("```")[1].removeprefix("sql").replace("'marks*", f"'{recording}/marks*")
        documented = dict(duckdb.sql(query).fetchall())
        marks = pyarrow.parquet.read_table(Path(recording, "marks.parquet")).to_pylist()
        for name, expected in [("a_frees_what_it_took", 0), ("b_keeps", 40 * MIB), ("c_idles", 0)]:
            test = f"test_memory.py::test_{name}"
            growth = int(found[f"memsample.rss_growth_bytes[{test}]"])
            assert abs(growth - expected) <= NOISE, (run, name, growth / MIB)
            # The terminal, the answer of the program and the recording say the same.
            assert f"{growth / MIB:+.1f} MiB" in next(line for line in done.stdout.splitlines() if line.endswith(test))
            assert answered[test]["rss_growth_bytes"] == growth
            assert documented[test] == growth
            at = {mark["kind"]: mark["rss_bytes"] for mark in marks if mark["test"] == test}
            assert at["end"] - at["begin"] == growth
        # What was freed before the end is in the peak, also where it was freed between two samples.
        peak = int(found["memsample.rss_peak_bytes[test_memory.py::test_a_frees_what_it_took]"])
        assert peak >= 150 * MIB, peak / MIB
        growths = [row["rss_growth_bytes"] for row in answered.values()]
        assert len(growths) == (403 if larger else 3) and None not in growths


def test_a_session_of_somebody_else_is_marked_and_goes_on(tmp_path, daemon, monkeypatch):
    call = lambda *arguments: subprocess.run([MEMSAMPLE, *arguments], env=daemon, capture_output=True, text=True, check=True)
    session = call("start", "--interval", "10ms").stdout.strip()
    done = run_pytest(tmp_path, dict(daemon, MEMSAMPLE_SESSION=session), "--memsample")
    assert f"session {session}, which continues" in done.stdout
    recording = call("stop", session).stdout.strip()
    from pytest_memsample.usage import usage_by_test

    monkeypatch.setenv("PATH", daemon["PATH"])
    usages = usage_by_test(recording)
    names = [usage.test.rsplit("::")[-1] for usage in usages]
    assert names[:3] == ["test_settles", "test_grows", "test_starts_a_process"]
    # These two take nothing, and are as large as the interpreter is then.
    assert sorted(names[3:]) == ["test_fails", "test_is_over_at_once"]
    # What was read at the marks is known also where no sample lies between them.
    assert all(usage.rss_peak_bytes > MIB for usage in usages)


def test_without_a_daemon_it_says_how_to_start_one(tmp_path):
    done = run_pytest(tmp_path, dict(os.environ), "--memsample", "--memsample-socket", str(tmp_path / "absent"))
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "start it with `memsampled`" in done.stderr


def test_with_auto_it_goes_on_without_a_daemon(tmp_path):
    arguments = ["--memsample=auto", "--memsample-socket", str(tmp_path / "absent"), "-k", "is_over_at_once"]
    for workers in [], ["-n", "2"]:
        done = run_pytest(tmp_path, dict(os.environ), *arguments, *workers)
        assert done.returncode == 0, done.stdout + done.stderr
        said = [line for line in done.stdout.splitlines() if "memsample: not recorded: no memsampled answers at" in line]
        assert len(said) == 1 and "start it with `memsampled`" in said[0]
        assert "memory (memsample)" not in done.stdout


def test_with_auto_it_records_where_a_daemon_answers(tmp_path, daemon):
    done = run_pytest(tmp_path, daemon, "--memsample=auto", "-k", "is_over_at_once")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"MiB +[+-]\d+\.\d MiB +\d+  test_memory.py::test_is_over_at_once$", done.stdout, re.MULTILINE), done.stdout


# The middle one kills the daemon of $DAEMON_PID.
KILLS = """
import os, pytest

def test_before():
    pass

def test_kills_the_daemon():
    os.kill(int(os.environ["DAEMON_PID"]), 9)
    while os.path.exists(f"/proc/{os.environ['DAEMON_PID']}/exe"):
        pass

@pytest.mark.parametrize("number", range(3))
def test_after(number):
    pass
"""


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "xdist"])
def test_a_daemon_that_is_gone_fails_no_test(tmp_path, workers):
    """Not even where warnings are errors."""
    daemon, environment = started(tmp_path)
    environment["DAEMON_PID"] = str(daemon.pid)
    # The test waits until it is gone, and so must its parent.
    threading.Thread(target=daemon.wait).start()
    done = run_pytest(tmp_path, environment, "--memsample", "-W", "error", *workers, tests=KILLS)
    assert done.returncode == 0 and "5 passed" in done.stdout, done.stdout + done.stderr
    assert "tests are no longer marked" in done.stdout
    assert "no numbers of tests: no memsampled answers at" in done.stdout
    recording = re.search(r"recorded until then: memsample peaks (.*) --by test", done.stdout)[1]
    assert Path(recording, "recording.json").exists()


def sessions(environment):
    listed = subprocess.run([MEMSAMPLE, "sessions", "--json"], env=environment, capture_output=True, text=True, check=True)
    return [session for session in json.loads(listed.stdout)["sessions"] if session["state"] == "recording"]


def test_a_pytest_that_is_terminated_closes_its_recording(tmp_path, daemon):
    (tmp_path / "test_memory.py").write_text("import time\n\ndef test_long():\n    open('begun', 'w').close()\n    time.sleep(60)\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--memsample"]
    pytest_ = subprocess.Popen(command, cwd=tmp_path, env=daemon, stdout=subprocess.DEVNULL)
    while not (tmp_path / "begun").exists():
        assert pytest_.poll() is None
    (session,) = sessions(daemon)
    assert session["limits"]["idle"] == "1h"
    pytest_.terminate()
    assert pytest_.wait() == -signal.SIGTERM
    assert sessions(daemon) == []
    assert json.loads(Path(session["recording"], "recording.json").read_text())["state"] == "closed"


def test_a_daemon_that_allows_less_idle_time_is_used(tmp_path):
    config = tmp_path / "config.toml"
    config.write_text('[daemon.limits]\nidle = "10m"\n')
    daemon, environment = started(tmp_path, "--config", config)
    done = run_pytest(tmp_path, environment, "--memsample", "-k", "is_over_at_once")
    refused = run_pytest(tmp_path, environment, "--memsample", "--memsample-idle", "2h", "-k", "is_over_at_once")
    daemon.terminate()
    daemon.wait()
    assert done.returncode == 0 and "memory (memsample)" in done.stdout, done.stdout + done.stderr
    assert refused.returncode == pytest.ExitCode.USAGE_ERROR and "at most 10m" in refused.stderr


@pytest.mark.parametrize("only", ["--collect-only", "--help", "--markers", "--fixtures"])
def test_where_no_test_runs_nothing_is_recorded(tmp_path, only):
    done = run_pytest(tmp_path, dict(os.environ, MEMSAMPLE_SOCKET="/nowhere"), "--memsample", only)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "memory (memsample)" not in done.stdout


def test_where_every_test_is_deselected_it_says_so(tmp_path, daemon):
    done = run_pytest(tmp_path, daemon, "--memsample", "-k", "nothing")
    assert "no test ran while it was recorded" in done.stdout and "PEAK RSS" not in done.stdout


@pytest.mark.parametrize("count", ["-3", "1.5", "all"])
def test_a_number_of_tests_that_is_none(tmp_path, count):
    done = run_pytest(tmp_path, dict(os.environ), f"--memsample-top={count}")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR and "give 0 or more" in done.stderr


def test_the_option_takes_no_file_for_a_value(tmp_path, daemon):
    done = run_pytest(tmp_path, daemon, "--memsample", "test_memory.py", "-k", "is_over_at_once")
    assert done.returncode == 0 and "memory (memsample)" in done.stdout, done.stdout + done.stderr
    done = run_pytest(tmp_path, daemon, "--memsample", "--memsample=off", "-k", "is_over_at_once")
    assert done.returncode == 0 and "memory (memsample)" not in done.stdout, done.stdout + done.stderr


def test_without_the_program_it_names_what_is_missing(tmp_path, daemon):
    environment = dict(daemon, PATH="/nowhere")
    done = run_pytest(tmp_path, environment, "--memsample", "-k", "is_over_at_once")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no numbers of tests: `memsample` is not in PATH" in done.stdout and "recorded in " in done.stdout


def test_without_the_option_nothing_happens(tmp_path):
    done = run_pytest(tmp_path, dict(os.environ, MEMSAMPLE_SOCKET="/nowhere"), "-k", "is_over_at_once")
    assert done.returncode == 0, done.stdout
    assert "memory (memsample)" not in done.stdout
