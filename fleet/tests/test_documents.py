"""What docs/fleet.md and fleet/deploy say is so."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from memsample_fleet import broker, cli, config, devices, releases
from memsample_fleet.archive import LIMIT, MEMBERS_LIMIT, UNPACKED_LIMIT
from memsample_fleet.errors import FleetError

HERE = Path(__file__).parent
DOCUMENT = (HERE.parents[1] / "docs" / "fleet.md").read_text()
DEPLOY = HERE.parent / "deploy"


def test_each_row_of_what_dies_names_a_test_that_exists_and_each_fault_has_a_row() -> None:
    named = set(re.findall(r"`(test_\w+)`(?! or)", DOCUMENT))
    tests = {file.name: set(re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE))
             for file in HERE.glob("test_*.py")}  # fmt: skip
    assert named <= set().union(*tests.values())
    assert tests["test_faults.py"] <= named
    # Of devices, what is about their file and their rule is none of it.
    assert len(tests["test_devices.py"] & named) >= 4


def test_each_command_of_the_document_is_one() -> None:
    lines = re.findall(r"^ *(memsample-fleet .*)$", DOCUMENT, re.MULTILINE) + re.findall(r"`(memsample-fleet \w.*?)`",
                                                                                       DOCUMENT)  # fmt: skip
    assert len(lines) >= 3
    for line in lines:
        cli.parse(shlex.split(line)[1:])
    table = DOCUMENT.split("## Commands")[1].split("\n\n")[1]
    told = set(re.findall(r"^\| `(\w+)", table, re.MULTILINE))
    assert told == cli.commands()


def test_the_configuration_of_the_document_is_read(tmp_path: Path) -> None:
    block = re.search(r"```toml\n(.*?)```", DOCUMENT, re.DOTALL)
    assert block
    file = tmp_path / "fleet.toml"
    file.write_text(re.sub(r"^ +", "", block.group(1), flags=re.MULTILINE))
    file.chmod(0o600)
    read = config.load(str(file), {})
    assert read.labels == ("gpu", "lab7", "x86_64")
    keys = re.findall(r"^\| `(\w+)` \| (?:`(\w+)`)? *\|", DOCUMENT, re.MULTILINE)
    file.write_text("nothing = 1\n")
    with pytest.raises(FleetError) as refused:
        config.load(str(file), {})
    known = str(refused.value).split("the keys are ")[1].split(", ")
    assert sorted(key for key, _ in keys) == sorted(known)
    for key, variable in keys:
        if variable:
            file.write_text("")
            value = "7" if key == "lease_s" else "amqp://here"
            if key in ("labels", "name"):
                value = "here"
            assert getattr(config.load(str(file), {variable: value}), key) in (value, 7.0, (value,))


def make_programs(directory: Path, block: str) -> None:
    """Make the hooks that a block names."""
    for name in re.findall(r'\["\./([^"]+)"', block):
        (directory / name).touch(0o755)


def test_the_releases_of_the_document_are_read(tmp_path: Path) -> None:
    blocks = [block for block in re.findall(r"```toml\n(.*?)```", DOCUMENT, re.DOTALL) if "[[release]]" in block]
    assert len(blocks) == 2
    for block in blocks:
        for suite in re.findall(r'^suite = "(.*)"', block, re.MULTILINE):
            (tmp_path / suite).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / suite).touch()
        make_programs(tmp_path, block)
        (tmp_path / "releases.toml").write_text(block)
        assert len(releases.read(tmp_path / "releases.toml")) == 1


def test_the_devices_of_the_document_are_read(tmp_path: Path) -> None:
    blocks = [block for block in re.findall(r"```toml\n(.*?)```", DOCUMENT, re.DOTALL) if "[[device]]" in block]
    assert len(blocks) == 1
    make_programs(tmp_path, blocks[0])
    (tmp_path / "devices.toml").write_text(blocks[0])
    assert [device.name for device in devices.read(tmp_path / "devices.toml")] == ["touch-1", "touch-2"]
    told = DOCUMENT.split("## Devices")[1]
    for hook, timeout in devices.HOOKS.items():
        assert f"| `{hook}` |" in told
        assert f"{timeout.total_seconds() / 60:.0f} min" in told


def test_limits_of_the_document_are_those_of_the_program() -> None:
    bounds = f"{LIMIT >> 20} MiB packed, {UNPACKED_LIMIT >> 30} GiB unpacked and {MEMBERS_LIMIT:,} files"
    assert f"At most {bounds}" in DOCUMENT


def test_the_compose_file_and_its_settings_are_sound() -> None:
    check: list[str | Path] = [
        Path(sys.executable).with_name("check-jsonschema"),
        "--builtin-schema",
        "vendor.compose-spec",
    ]
    told = subprocess.run([*check, DEPLOY / "compose.yaml"], text=True, capture_output=True)
    assert told.returncode == 0, told.stdout + told.stderr
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert set(compose["services"]) == {"broker", "database"}
    for service in compose["services"].values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert (DEPLOY / source).is_file() if source.startswith("./") else source in compose["volumes"]
    settings = (DEPLOY / "rabbitmq.conf").read_text()
    assert f"consumer_timeout = {broker.LONGEST_RUN_MS}\n" in settings


@pytest.mark.parametrize("name", sorted(path.name for path in DEPLOY.glob("*.service")))
def test_a_unit_is_one_of_systemd(tmp_path: Path, name: str) -> None:
    unit = tmp_path / name
    text = (DEPLOY / name).read_text()
    # Where it is installed, there is the program.
    unit.write_text(text.replace("/usr/local/bin/memsample-fleet", "/bin/true"))
    told = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True)
    # It exits with 0 on a key that it does not know.
    assert told.stderr == ""
    command = re.search(r"^ExecStart=\S+ (.*)$", text, re.MULTILINE)
    assert command
    cli.parse(shlex.split(command.group(1)))
