"""Devices over ssh: their file, their images, and what becomes of a device that fails."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import network
import pytest
from device import Device, small_program
from lab import Lab
from network import Network
from servers import Postgres, eventually
from test_images import put
from test_releases import released
from wire import Wire

from memsample_fleet import devices
from memsample_fleet.errors import FleetError

KIND = """[kind.touch]
images = {{ directory = "images", match = "*.img", settle = "1s" }}
provision = ["/bin/sh", "-c", '''{provision}''']
health = ["/bin/sh", "-c", '''{health}''']
recover = ["/bin/sh", "-c", '''{recover}''']
provision_timeout = "60s"
health_timeout = "{health_timeout}"
retry = "1s"
stop_for = "{stop_for}"
run = {run}
"""
DEVICE = """
[[device]]
name = "{name}"
kind = "touch"
address = "{address}"
labels = ["arm64"]
"""

NONE = 'sandbox = "none"'


@pytest.mark.parametrize(
    ("run", "told"),
    [
        ("", "900s"),
        ('run = ["--reconnect-for", "2m"]', "420s"),
        ('run = ["--reconnect-for=1h"]', "3900s"),
        ('run = ["--unfollowed-for", "20m"]', "20m"),
    ],
)
def test_a_run_that_nobody_follows_ends_later_than_it_is_tried_to_connect_again(
    tmp_path: Path, run: str, told: str
) -> None:
    file = tmp_path / "devices.toml"
    file.write_text(f'[[device]]\nname = "one"\naddress = "ssh://one"\n{run}\n')
    (device,) = devices.read(file)
    options = device.options
    assert options.count("--unfollowed-for") == 1
    assert options[options.index("--unfollowed-for") + 1] == told


def test_all_mistakes_are_told_with_file_line_and_key(tmp_path: Path) -> None:
    file = tmp_path / "devices.toml"
    file.write_text("""colour = "red"
[kind.touch]
images = "images"
provision = "flash"
health_timeout = "0s"
run = ["--push=x"]

[[device]]
name = "touch 1"
address = "root@touch-1"
labels = ["a b"]
retry = 3

[[device]]
kind = "desk"
address = "ssh://-oProxyCommand=x"

[[device]]
name = "one"
address = "ssh://one"
recover = []

[[device]]
name = "two"
address = "ssh://two"

[[device]]
name = "two"
address = "ssh://three"
speed = 1

[[device]]
name = "five"
address = "ssh://five:65536"
provision = ["./not-there", "--fast"]
recover = ["no-such-program"]
""")
    with pytest.raises(FleetError) as refused:
        devices.read(file)
    told = [line.removeprefix(f"{tmp_path}/") for line in str(refused.value).splitlines()]
    beginnings = [
        "devices.toml:1: `colour` is not known",
        "devices.toml:3: `images` must be a table such as",
        "devices.toml:4: `provision` must be a list of words",
        "devices.toml:5: `health_timeout` must be 1s or more",
        "devices.toml:6: `run` cannot have `--push=x`",
        "devices.toml:9: `name` `touch 1` cannot be the name of a worker",
        "devices.toml:10: `address` must be an address such as",
        "devices.toml:11: `labels` `a b` is no label",
        "devices.toml:12: `retry` must be a length of time",
        "devices.toml:15: `kind` `desk` is none",
        "devices.toml:16: `address` must be an address such as",
        "devices.toml:14: `name` is needed",
        "devices.toml:21: `recover` must be a command",
        "devices.toml:30: `speed` is not known",
        "devices.toml:34: `address` must be an address such as",
        f"devices.toml:35: `provision` names `./not-there`, and there is no such program in {tmp_path} that may be",
        "devices.toml:36: `recover` names `no-such-program`, and there is no such program that may be executed",
    ]
    for beginning in beginnings:
        assert any(line.startswith(beginning) for line in told), (beginning, told)
    assert len(told) == len(beginnings), told
    for text, why in (("", "`device` is needed"), ("[[device]\n", r"devices.toml:1:9: not TOML: ")):
        file.write_text(text)
        with pytest.raises(FleetError, match=why):
            devices.read(file)
    file.write_text("[kind.a]\nimages = { directory = '.' }\n[[device]]\nname = 'a'\naddress = 'ssh://a'\nkind = 'a'\n")
    with pytest.raises(FleetError, match=":3: `provision` is needed by a device whose kind has images"):
        devices.read(file)
    file.write_text("[[device]]\nname = 'a'\naddress = 'ssh://a'\n[[device]]\nname = 'a'\naddress = 'ssh://b'\n")
    with pytest.raises(FleetError, match=":5: `name` `a` is given to two devices"):
        devices.read(file)


class Bench:
    """A fleet with devices whose hooks write what they were told into a file."""

    def __init__(self, lab: Lab, device: Device, program: Path) -> None:
        self.lab, self.device = lab, device
        self.images = lab.directory / "images"
        self.images.mkdir()
        self.told = lab.directory / "told"
        self.told.touch()
        self.options = ["--device-program", str(program), "--sandbox", "none"]

    def serve(
        self,
        *names: str,
        more: dict[str, str] | None = None,
        provision: str = "true",
        health: str = "true",
        recover: str = "true",
        health_timeout: str = "60s",
        stop_for: str = "60s",
        **addresses: str,
    ) -> None:
        """Serve devices; a file `NAME.bad` lets a health check fail."""
        tell = f'echo "{{hook}} $DEVICE ${{{{IMAGE##*/}}}} $SHA256" >>{self.told}; '
        bad = f"[ ! -e {self.lab.directory}/$DEVICE.bad ] || {{ echo no answer of $DEVICE; exit 1; }}; "
        hooks = {
            "provision": tell.format(hook="provision") + provision,
            "health": tell.format(hook="health") + bad + health,
            "recover": tell.format(hook="recover") + recover,
        }
        file = self.lab.directory / "devices.toml"
        listed = [DEVICE.format(name=name, address=addresses.get(name, self.device.address)) for name in names]
        times = {"health_timeout": health_timeout, "stop_for": stop_for}
        file.write_text(KIND.format(**hooks, **times, run=json.dumps(self.options)) + "".join(listed))
        changes = {"MEMSAMPLE_SSH": self.device.ssh, "MEMSAMPLE_FLEET_LEASE_S": "60", **(more or {})}
        self.lab.serve_devices(file, **changes)

    def state(self, name: str) -> dict[str, Any]:
        rows = self.lab.rows("SELECT * FROM devices WHERE device = %s", name)
        return rows[0] if rows else {"state": None, "why": None, "image": None}

    def until(self, name: str, state: str, **more: str) -> None:
        def there() -> bool:
            row = self.state(name)
            return row["state"] == state and all(row[key] == value for key, value in more.items())

        eventually(f"{name} is {state} {more}", there)

    def working(self, name: str) -> None:
        """Wait until its worker takes messages."""
        eventually(f"{name} works", lambda: any(
            row["worker"] == name and row["state"] == "idle" for row in self.lab.json("workers")))  # fmt: skip

    def calls(self, hook: str, name: str) -> list[str]:
        return [line for line in self.told.read_text().splitlines() if line.startswith(f"{hook} {name} ")]


@pytest.fixture
def bench(lab: Lab, memsample: str, short_directory: Path, tmp_path: Path) -> Iterator[Bench]:
    program = short_directory / "memsample-for-devices"
    if not program.exists():
        small_program(memsample, short_directory)
    made = Bench(lab, Device(tmp_path / "touch"), program)
    try:
        yield made
    finally:
        lab.kill_all()
        # A test may have another one in its place.
        made.device.close()


@pytest.mark.slow
def test_a_new_image_provisions_a_device_once_and_then_its_suites_run_there(bench: Bench) -> None:
    lab = bench.lab
    bench.serve("touch-1")
    bench.working("touch-1")
    assert bench.calls("health", "touch-1") == ["health touch-1  "]
    lab.suite("boot", ("here", f"pwd; case $PWD in {bench.device.directory}/device/*) ;; *) exit 1 ;; esac", ""))
    file = lab.directory / "releases.toml"
    file.write_text("""[[release]]
name = "nightly"
on_image = { directory = "images", match = "*.img", settle = "1s" }
[[release.run]]
suite = "suites/boot/suite.toml"
on = ["touch"]
repeat = 2
""")
    beat = lab.start("beat", str(file))
    eventually("the images are looked at", lambda: lab.rows("SELECT there FROM schedules"))
    sha256 = put(bench.images / "a.img", b"a")
    eventually("it is judged", lambda: released(lab, "nightly") and released(lab, "nightly")[0]["verdict"], 600)
    beat.terminate()
    beat.communicate(timeout=300)
    row = released(lab, "nightly")[0]
    assert (row["verdict"], row["image_sha256"]) == ("passed", sha256), (row, lab.worker_log("host"))
    assert bench.calls("provision", "touch-1") == [f"provision touch-1 a.img {sha256}"]
    # Provisioned, then checked, and checked again before each run.
    told = [line.split()[0] for line in bench.told.read_text().splitlines()]
    assert told[:3] == ["health", "provision", "health"]
    assert bench.calls("health", "touch-1")[-1] == f"health touch-1 a.img {sha256}"
    job = lab.rows("SELECT job_id FROM jobs")[0]["job_id"]
    runs = lab.json("results", job)
    assert [(run["worker"], run["outcome"], run["attempt"]) for run in runs] == [("touch-1", "passed", 1)] * 2
    assert all(run["stored_as"] for run in runs)
    assert bench.device.left() == []
    shown = lab.do("devices")
    assert "touch-1  ready" in shown
    assert "a.img" in shown
    # The fleet's page shows workers: this is one.
    lab.do("board", str(lab.directory / "fleet.json"), "--once")
    board = json.loads((lab.directory / "fleet.json").read_text())
    assert [(row["worker"], row["labels"]) for row in board["workers"]] == [("touch-1", ["arm64", "touch"])]
    assert lab.end("host") == 0
    assert [row["state"] for row in lab.json("workers")] == ["left"]


@pytest.mark.slow
def test_a_cancelled_or_abandoned_run_leaves_nothing_on_the_device(bench: Bench) -> None:
    lab = bench.lab
    bench.serve("touch-1")
    bench.working("touch-1")
    marker = f"6{os.getpid()}"
    suite = lab.suite("long", ("a", f"sleep {marker}", ""))
    for ended_by in ("cancel", "kill"):
        job = lab.do("submit", str(suite), "--on", "touch").splitlines()[0]
        eventually("it runs there", lambda: lab.processes(f"sleep\0{marker}"))
        if ended_by == "cancel":
            lab.do("cancel", job)
            assert lab.states(job) == ["cancelled"]
        else:
            lab.kill("host")
        eventually("its processes end", lambda: not lab.processes(f"sleep\0{marker}"))
        eventually("its files are gone", lambda: bench.device.left() == [])


@pytest.mark.slow
def test_a_device_that_fails_is_put_aside_and_told_and_comes_back_by_a_health_check(bench: Bench) -> None:
    lab = bench.lab
    bad = lab.directory / "touch-2.bad"
    bad.touch()
    bench.serve("touch-1", "touch-2")
    bench.until("touch-2", "aside", why="health ended with exit code 1: no answer of touch-2")
    bench.working("touch-1")
    shown = lab.do("devices", code=1)
    assert "touch-2: health ended with exit code 1: no answer of touch-2" in shown
    # It never had a worker, and yet it is among them, and on the page of the fleet.
    told = lab.do("workers")
    assert "touch-2: put aside: health ended with exit code 1: no answer of touch-2" in told
    lab.do("board", str(lab.directory / "fleet.json"), "--once")
    board = json.loads((lab.directory / "fleet.json").read_text())
    row = board["workers"][-1]
    assert (row["worker"], row["labels"], row["free_bytes"]) == ("touch-2", ["arm64", "touch"], None)
    assert row["state"] in ("aside", "recovering")
    assert "put aside: health ended" in lab.do("doctor", code=1)
    # The other one goes on, until it fails too; the run that it was to have waits, and costs no attempt.
    (lab.directory / "touch-1.bad").touch()
    job = lab.do("submit", str(lab.suite("tiny", ("a", "true", ""))), "--on", "touch").splitlines()[0]
    bench.until("touch-1", "aside")
    note = "touch-1 was put aside: health ended with exit code 1: no answer of touch-1"
    eventually("its run tells why", lambda: note in lab.do("status", job))
    assert lab.rows("SELECT attempts FROM runs") == [{"attempts": 0}]
    eventually("its worker left", lambda: lab.rows("SELECT left_at FROM workers")[0]["left_at"])
    assert lab.json("workers")[0]["state"] in ("aside", "recovering")
    assert lab.json("workers")[0]["note"].startswith("put aside: health ended")
    eventually("it is recovered", lambda: bench.calls("recover", "touch-2"))
    bad.unlink()
    bench.until("touch-2", "ready")
    eventually("it has run", lambda: lab.states(job) == ["passed"])
    assert lab.json("results", job)[0]["worker"] == "touch-2"


@pytest.mark.slow
def test_an_image_that_cannot_be_provisioned_puts_the_device_aside_and_is_not_tried_again(bench: Bench) -> None:
    lab = bench.lab
    flood = "head -c 5000000 /dev/zero | tr '\\0' x; echo; printf '\\033[31m'; echo flashing failed; "
    flood += "[ $IMAGE = ${IMAGE%bad.img} ]"
    back = lab.directory / "back"
    bench.serve("touch-1", provision=flood, recover=f"while [ ! -e {back} ]; do sleep 0.1; done")
    bench.working("touch-1")
    put(bench.images / "bad.img", b"bad")
    # Its recovery begins after a second, and lasts.
    bench.until("touch-1", "recovering")
    why = bench.state("touch-1")["why"]
    assert why.startswith("provision ended with exit code 1: ")
    # What a terminal would obey is not passed on.
    assert why.endswith("x; \ufffd[31mflashing failed")
    assert len(why) < 400
    # It comes back by its health check; what is on it is said to be not known.
    back.touch()
    bench.until("touch-1", "ready")
    bench.working("touch-1")
    assert "not known" in lab.do("devices")
    assert len(bench.calls("provision", "touch-1")) == 1
    good = put(bench.images / "good.img", b"good")
    bench.until("touch-1", "ready", image="good.img", image_sha256=good)
    lab.do("devices", "--again", "touch-1")
    assert "there is no device `nothing`" in lab.do("devices", "--again", "nothing", code=1)


@pytest.mark.slow
def test_a_hook_that_hangs_is_killed_with_its_worker_or_after_its_timeout(bench: Bench) -> None:
    lab = bench.lab
    marker = f"5{os.getpid()}"
    bench.serve("touch-1", health=f"sleep {marker} & sleep {marker}", health_timeout="2s")
    bench.until("touch-1", "aside")
    assert bench.state("touch-1")["why"] == "health ended with exit code 137: [killed after 2.0 s]"
    eventually("it is checked again", lambda: lab.processes(f"sleep\0{marker}"))
    lab.workers["host"].send_signal(signal.SIGKILL)
    lab.workers["host"].wait()
    eventually("it ends", lambda: not lab.processes(f"sleep\0{marker}"))


@pytest.mark.slow
def test_a_device_that_is_lost_while_a_suite_runs_costs_an_attempt_and_is_put_aside(bench: Bench) -> None:
    lab = bench.lab
    bench.options += ["--reconnect-for", "1s"]
    back = lab.directory / "back"
    bench.serve("touch-1", recover=f"[ -e {back} ]")
    bench.working("touch-1")
    gate = lab.directory / "gate"
    begun = lab.directory / "begun"
    suite = lab.suite("long", ("a", f"echo x >>{begun}; [ -e {gate} ] || sleep 60", ""))
    job = lab.do("submit", str(suite), "--on", "touch").splitlines()[0]
    eventually("it runs there", begun.exists)
    gate.touch()
    bench.device.stop()
    bench.until("touch-1", "aside")
    assert "touch-1" in lab.do("devices", code=1)
    bench.device.start()
    back.touch()
    eventually("it has run", lambda: lab.states(job) == ["passed"])
    assert lab.json("results", job)[0]["attempt"] == 2
    assert len(bench.calls("recover", "touch-1")) >= 1


@pytest.mark.slow
@pytest.mark.skipif(not network.possible(), reason="makes a network of its own, as root")
def test_a_run_that_lost_its_claim_is_ended_on_a_device_as_soon_as_that_is_reached_again(
    bench: Bench, postgres: Postgres, tmp_path: Path
) -> None:
    """A machine that serves devices loses its network: to the database and to the device."""
    lab, wire, cable = bench.lab, Wire(postgres.port), Network()
    bench.device.close()
    bench.device = Device(tmp_path / "cut", host=cable.there, within=cable.within)
    try:
        database = lab.database.replace(str(postgres.port), str(wire.port))
        more = {"MEMSAMPLE_FLEET_DATABASE": database, "MEMSAMPLE_FLEET_LEASE_S": "20"}
        bench.serve("touch-1", more=more, stop_for="3600s")
        bench.working("touch-1")
        marker = f"4{os.getpid()}"
        begun = lab.directory / "begun"
        shell = f"[ -e {begun} ] && exit 0; touch {begun}; sleep {marker}"
        job = lab.do("submit", str(lab.suite("long", ("a", shell, NONE))), "--on", "touch").splitlines()[0]
        eventually("it runs there", lambda: lab.processes(f"sleep\0{marker}"))
        cable.cut()
        wire.cut()
        lab.worker("two", "touch")
        eventually("it has run elsewhere", lambda: lab.states(job) == ["passed"])
        wire.mend()
        bench.until("touch-1", "aside", why="the claim is lost, and what runs there is being stopped")

        def shown() -> str:
            return next(str(row["state"]) for row in lab.json("workers") if row["worker"] == "touch-1")

        # It is not looked at again, and nothing else begins there, while the run goes on. Until the worker that serves
        # it is heard of again, it may be shown as gone.
        eventually("it is shown as put aside", lambda: shown() == "aside")
        assert lab.processes(f"sleep\0{marker}")
        assert bench.calls("recover", "touch-1") == []
        cable.mend()
        eventually("it has ended there", lambda: not lab.processes(f"sleep\0{marker}"))
        bench.until("touch-1", "ready")
        assert bench.device.left() == []
        assert len(bench.calls("recover", "touch-1")) == 1
        runs = lab.json("results", job)
        assert [(run["worker"], run["outcome"], run["attempt"]) for run in runs] == [("two", "passed", 2)]
        assert list((lab.directory / "state-host/devices/touch-1/runs").iterdir()) == []
    finally:
        lab.kill_all()
        cable.close()
        wire.close()


def test_a_file_of_devices_is_checked_without_a_fleet(lab: Lab) -> None:
    file = lab.directory / "devices.toml"
    file.write_text('[[device]]\nname = "touch-1"\naddress = "ssh://root@touch-1"\n')
    assert "ssh://root@touch-1" in lab.do("worker", "--devices", str(file), "--check")
    file.write_text("[[device]]\n")
    assert "devices.toml:1: `name` is needed" in lab.do("worker", "--devices", str(file), "--check", code=1)
    assert "say nothing without --devices" in lab.do("worker", "--check", code=1)
