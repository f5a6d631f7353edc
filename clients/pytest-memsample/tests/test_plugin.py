"""The plugin with a real pytest, pytest-xdist and memsampled. MEMSAMPLED names the daemon."""

import os
import subprocess
import sys
import xml.etree.ElementTree as xml
from pathlib import Path

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
MEMSAMPLE = Path(os.environ["MEMSAMPLED"]).with_name("memsample")


@pytest.fixture
def daemon(tmp_path):
    """A daemon of its own, and the environment in which its clients find it."""
    socket = tmp_path / "memsampled.sock"
    program = [os.environ["MEMSAMPLED"], "--socket", socket, "--recordings", tmp_path / "recordings"]
    daemon = subprocess.Popen(program, stderr=subprocess.PIPE, text=True)
    # It says so when it listens.
    while not socket.exists():
        assert daemon.poll() is None, daemon.stderr.read()
    yield dict(os.environ, MEMSAMPLE_SOCKET=str(socket), MEMSAMPLE=str(MEMSAMPLE))
    daemon.terminate()
    assert daemon.wait() == 0


def run_pytest(directory, environment, *arguments):
    (directory / "test_memory.py").write_text(TESTS)
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
    assert ("5 tests shared 2 processes" if workers else "5 tests shared 1 process:") in done.stdout


def test_a_session_of_somebody_else_is_marked_and_goes_on(tmp_path, daemon):
    call = lambda *arguments: subprocess.run([MEMSAMPLE, *arguments], env=daemon, capture_output=True, text=True, check=True)
    session = call("start", "--interval", "10ms").stdout.strip()
    done = run_pytest(tmp_path, dict(daemon, MEMSAMPLE_SESSION=session), "--memsample")
    assert f"session {session}, which continues" in done.stdout
    recording = call("stop", session).stdout.strip()
    from pytest_memsample.usage import usage_by_test

    usages = usage_by_test(recording)
    assert [usage.test.rsplit("::")[-1] for usage in usages] == [
        "test_settles", "test_grows", "test_starts_a_process", "test_is_over_at_once", "test_fails",
    ]
    assert all((usage.samples == 0) == (usage.rss_peak_bytes is None) for usage in usages)


def test_without_a_daemon_it_says_how_to_start_one(tmp_path):
    done = run_pytest(tmp_path, dict(os.environ), "--memsample", "--memsample-socket", str(tmp_path / "absent"))
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "start it with `memsampled`" in done.stderr


def test_without_the_option_nothing_happens(tmp_path):
    done = run_pytest(tmp_path, dict(os.environ, MEMSAMPLE_SOCKET="/nowhere"), "-k", "is_over_at_once")
    assert done.returncode == 0, done.stdout
    assert "memory (memsample)" not in done.stdout
