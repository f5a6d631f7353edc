"""`memsample run --on` with devices that cannot run this program, one of aarch64 and one without a C library: the
program for it is chosen, runs there, and what it wrote is whole."""

import contextlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bare_device import BareDevice
from device import Device, small_program
from foreign_device import ForeignDevice

# It holds them until the journal of the recording has grown thrice: by a tick that had begun before, by the mark of the
# test, and by a tick that has sampled it.
SUITE = """name = "abroad"
[[test]]
name = "holds 40 MiB"
shell = '''
size() { find ../.. -path '*/recording/journal/*' -name '*.log' -exec cat {} + | wc -c; }
grown() { before=$(size); until [ "$(size)" -gt "$before" ]; do sleep 0.1; done; }
{ head -c 40m /dev/zero; grown; grown; grown; } | tail -c 40m | wc -c
'''
[[test]]
name = "fails"
shell = "exit 3"
"""
OUTCOMES = [("holds 40 MiB", "passed"), ("fails", "failed")]


class Abroad:
    """A directory with a suite, a store, and a device from where the store is not seen."""

    def __init__(self, directory: Path, memsample: str, device: Callable[[Path, Path], Device]) -> None:
        self.directory, self.memsample = directory, memsample
        self.store = directory / "store"
        self.store.mkdir()
        (directory / "suite.toml").write_text(SUITE)
        self.device = device(directory / "device", self.store)

    def run(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        command = [self.memsample, "run", "suite.toml", "--on", self.device.address, "--name", "there", *words]
        kept = {"MEMSAMPLE_SSH": self.device.ssh, "MEMSAMPLE_CONFIG": ""}
        return subprocess.run(command, cwd=self.directory, env=os.environ | kept, text=True, capture_output=True)

    def read(self, name: str) -> Any:
        return json.loads((self.directory / "runs" / "there" / name).read_text())


@contextlib.contextmanager
def opened(directory: Path, memsample: str, device: Callable[[Path, Path], Device]) -> Iterator[Abroad]:
    if os.getuid() != 0:
        pytest.skip("sshd needs root")
    made = Abroad(directory, memsample, device)
    try:
        yield made
    finally:
        made.device.close()


@pytest.fixture
def abroad(tmp_path: Path, memsample: str) -> Iterator[Abroad]:
    with opened(tmp_path, memsample, ForeignDevice) as made:
        yield made


@pytest.fixture
def bare(tmp_path: Path, memsample: str) -> Iterator[Abroad]:
    with opened(tmp_path, memsample, lambda directory, _: BareDevice(directory)) as made:
        yield made


@pytest.fixture(scope="session")
def programs() -> dict[str, Path]:
    directory = os.environ.get("MEMSAMPLE_DEVICES")
    assert directory, "set MEMSAMPLE_DEVICES to a directory with what memsampled/remote/programs/build made"
    return {name: Path(directory) / f"memsample-{name}" for name in ("x86_64", "aarch64")}


@pytest.mark.slow
def test_a_run_on_an_aarch64_device_is_by_its_program_and_pushed_from_here(
    abroad: Abroad, programs: dict[str, Path]
) -> None:
    given = [word for path in programs.values() for word in ("--device-program", path)]
    ran = abroad.run(*given, "--push", abroad.store)
    assert ran.returncode == 10, ran.stderr
    recording, results = abroad.read("recording/recording.json"), abroad.read("results.json")
    assert (recording["state"], recording["machine"]["architecture"]) == ("closed", "aarch64")
    assert [(test["name"], test["outcome"]) for test in results["tests"]] == OUTCOMES
    # What qemu has no way to tell is told to be missing, and bounds that would need it are not known.
    notes = " ".join(recording["notes"])
    assert "does not report exits" in notes
    assert "does not report forks" in notes
    memory = results["tests"][0]["memory"]
    assert memory["rss_peak_bytes_upper"] is None
    assert recording["totals"]["samples"] > 0
    # The device has another directory there: the push was done from here.
    assert "\npushed: there-" in ran.stderr
    listed = subprocess.run([abroad.memsample, "list", abroad.store], text=True, capture_output=True)
    assert "there-" in listed.stdout, listed.stderr
    assert abroad.device.left() == []


def test_an_aarch64_device_refuses_a_program_for_x86_64_before_anything_is_sent(
    abroad: Abroad, programs: dict[str, Path]
) -> None:
    ran = abroad.run("--device-program", programs["x86_64"], "--push", abroad.store)
    assert ran.returncode == 1
    assert "the device is aarch64, and the program to send is for x86_64" in ran.stderr
    assert "sends the program" not in ran.stderr
    assert list((abroad.directory / "runs").iterdir()) == list(abroad.store.iterdir()) == []
    assert abroad.device.left() == []


def test_a_push_that_fails_leaves_the_run_here_and_is_told(abroad: Abroad, programs: dict[str, Path]) -> None:
    # A file where the directory of the store would be.
    store = abroad.directory / "suite.toml"
    ran = abroad.run("--device-program", programs["aarch64"], "--push", store)
    assert ran.returncode == 10, ran.stderr
    assert "suite.toml" in ran.stderr.splitlines()[-1], ran.stderr
    assert abroad.read("results.json")["outcome"] == "failed"
    assert abroad.device.left() == []


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the program for this machine is for x86_64")
def test_a_device_without_a_c_library_runs_the_program_that_is_linked_statically(
    bare: Abroad, programs: dict[str, Path]
) -> None:
    # The one of this machine needs a loader.
    ran = bare.run("--device-program", small_program(bare.memsample, bare.directory))
    assert ran.returncode == 1
    assert "does not start on the device" in ran.stderr, ran.stderr
    assert bare.device.left() == []
    ran = bare.run("--device-program", programs["x86_64"], "--push", bare.store)
    assert ran.returncode == 10, ran.stderr
    recording, results = bare.read("recording/recording.json"), bare.read("results.json")
    assert (recording["state"], recording["machine"]["architecture"]) == ("closed", "x86_64")
    assert [(test["name"], test["outcome"]) for test in results["tests"]] == OUTCOMES
    assert results["tests"][0]["memory"]["rss_peak_bytes"] > 0
    assert recording["totals"]["samples"] > 0
    assert bare.device.left() == []
