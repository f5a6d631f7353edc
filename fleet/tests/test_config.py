"""fleet.toml and the environment."""

import platform
from pathlib import Path

import pytest

from memsample_fleet.config import load
from memsample_fleet.errors import FleetError


def written(tmp_path: Path, text: str) -> str:
    file = tmp_path / "fleet.toml"
    file.write_text(text)
    file.chmod(0o600)
    return str(file)


def test_the_environment_goes_over_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, 'broker = "amqp://a"\nstore = "/srv/lab"\nlabels = ["GPU", "x86_64"]\nlease_s = 30\n')
    config = load(file, {"MEMSAMPLE_FLEET_BROKER": "amqp://b", "MEMSAMPLE_FLEET_NAME": "seven"})
    assert (config.broker, config.store, config.name) == ("amqp://b", "/srv/lab", "seven")
    assert (config.labels, config.lease_s) == (("gpu", "x86_64"), 30.0)


def test_without_labels_a_worker_has_its_architecture_and_host_name() -> None:
    config = load(None, {"HOME": "/nowhere"})
    assert set(config.labels) == {platform.machine().lower(), platform.node().split(".")[0].lower()}


def test_a_configuration_shows_no_password(tmp_path: Path) -> None:
    config = load(written(tmp_path, 'broker = "amqp://u:secret@h"\ndatabase = "postgresql://u:secret@h"\n'), {})
    assert "secret" not in repr(config) + str(config)


def test_a_file_with_passwords_that_everybody_may_read_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, 'broker = "amqp://u:secret@h"\n')
    Path(file).chmod(0o644)
    load(file, {})
    told = capsys.readouterr().err
    assert "chmod" in told
    assert "secret" not in told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('name = "a"\n\nbrokr = "x"\n', r"fleet.toml:3: `brokr` is not known; the keys are broker, database"),
        ('labels = "gpu"\n', r"fleet.toml:1: `labels` must be a list"),
        ('name = "a"\nlease_s = 1\n', r"fleet.toml:2: `lease_s` must be a number of seconds from 2 to 3600"),
        ("lease_s = true\n", "lease_s"),
        ("name = 3\n", "must be a text"),
        ("free_bytes = -1\n", "bytes"),
        ('labels = ["a b"]\n', "is no label"),
        ("name = \n", "fleet.toml:1:8: not TOML: Invalid value"),
        ('name = "', "fleet.toml: not TOML: .*end of document|fleet.toml:1:9: not TOML: "),
        ('lease_s = 1\nbrokr = "x"\nname = 3\n', r"(?s)toml:1: `lease_s`.*toml:2: `brokr`.*toml:3: `name`"),
    ],
)
def test_a_mistake_is_told_with_file_line_and_key(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(FleetError, match=told):
        load(written(tmp_path, text), {})


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    file = Path(written(tmp_path, ""))
    file.write_bytes(b"name = '\xff'\n")
    with pytest.raises(FleetError, match=r"fleet\.toml: it is no text in UTF-8"):
        load(str(file), {})


def test_a_file_that_is_named_must_exist() -> None:
    with pytest.raises(FleetError, match="no configuration file"):
        load("/nowhere/fleet.toml", {})


def test_a_lease_of_the_environment_must_be_a_number() -> None:
    with pytest.raises(FleetError, match="MEMSAMPLE_FLEET_LEASE_S"):
        load(None, {"HOME": "/nowhere", "MEMSAMPLE_FLEET_LEASE_S": "soon"})
