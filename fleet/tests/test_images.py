"""Releases that begin with an image."""

import hashlib
import os
import shutil
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from lab import Lab
from servers import eventually
from test_releases import RUN, released

from memsample_fleet import images, releases
from memsample_fleet.errors import FleetError
from memsample_fleet.images import Source, Watch

WITH_IMAGE = """[[release]]
name = "nightly"
on_image = { directory = "images", match = "*.img", settle = "1s" }
hook = ["/bin/sh", "-c", 'echo "$IMAGE $SHA256 $VERDICT" >>hooked']
"""


def put(file: Path, content: bytes) -> str:
    file.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def test_an_image_counts_when_it_has_settled_or_is_that_of_the_checksum_beside_it(tmp_path: Path) -> None:
    watch = Watch(Source(tmp_path, "*.img", timedelta(seconds=0.4)))
    for name in (".hidden.img", "a.img.part", "a.txt", "empty.img"):
        (tmp_path / name).write_bytes(b"" if name == "empty.img" else b"x")
    (tmp_path / "directory.img").mkdir()
    assert watch.look().files == ()
    grows = tmp_path / "grows.img"
    grows.write_bytes(b"a")
    assert watch.look().images == ()
    for size in range(2, 10):
        with grows.open("ab") as file:
            file.write(b"a")
        assert watch.look().images == (), size
    eventually("it has settled", lambda: watch.look().images)
    assert [image.sha256 for image in watch.look().images] == [hashlib.sha256(b"a" * 9).hexdigest()]
    # With a checksum it need not settle; with a wrong one it is none, and told.
    patient = Watch(Source(tmp_path, "*.img", timedelta(hours=1)))
    sha256 = put(tmp_path / "checked.img", b"checked")
    (tmp_path / "checked.img.sha256").write_text(f"{sha256.upper()}  checked.img\n")
    patient.look()
    assert [image.path.name for image in patient.look().images] == ["checked.img"]
    (tmp_path / "checked.img.sha256").write_text("0" * 64)
    assert patient.look().images == ()
    eventually("it is told", lambda: watch.look().trouble)
    assert "checked.img is damaged: its SHA-256 is " + sha256 in watch.look().trouble[0]
    shutil.rmtree(tmp_path)
    gone = watch.look()
    assert not gone.readable
    assert gone.trouble == (f"cannot read {tmp_path}: No such file or directory",)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("on_image = 'images'\n", ":3: `on_image` must be a table such as"),
        ("on_image = { directory = 'images', colour = 1 }\n", ":3: `on_image` must be a table such as"),
        ("on_image = { directory = 'images', match = 'a/b' }\n", ":3: `on_image` needs as `match` a pattern"),
        ("on_image = { directory = 'images', settle = 3 }\n", ":3: `on_image` must be a length of time"),
        ("on_image = { directory = 'images' }\ncompare = 'again'\n", ':4: `compare` cannot be "again" with `on_image`'),
        ("every = '1h'\ncompare = true\n", ':4: `compare` must be "once"'),
        ("every = '1h'\ncompare_options = ['--roles']\n", ":4: `compare_options` says nothing without `compare`"),
        ("every = '1h'\ncompare = 'once'\ncompare_options = ['--json=x']\n", ":5: `compare_options` cannot have"),
    ],
)
def test_mistakes_about_images_and_comparisons_are_told_with_line_and_key(tmp_path: Path, more: str, told: str) -> None:
    (tmp_path / "suite.toml").touch()
    file = tmp_path / "releases.toml"
    file.write_text('[[release]]\nname = "nightly"\n' + more + RUN)
    with pytest.raises(FleetError) as refused:
        releases.read(file)
    assert told in str(refused.value)
    assert str(refused.value).count("\n") == 0


@pytest.mark.slow
def test_a_release_begins_once_with_each_new_image_over_a_beat_that_is_killed(lab: Lab) -> None:
    lab.worker("one")
    suite = lab.suite("tiny", ("a", "true", ""))
    here = suite.parent / "images"
    here.mkdir()
    old = put(here / "old.img", b"old")
    file = suite.parent / "releases.toml"
    file.write_text(WITH_IMAGE + RUN)
    assert f"a new *.img in {here}" in lab.do("beat", str(file), "--check")
    beat = lab.start("beat", str(file))

    def known() -> set[str]:
        return {row["sha256"] for row in lab.rows("SELECT sha256 FROM known_images")}

    def judged(count: int) -> list[dict[str, Any]]:
        def done() -> bool:
            rows = released(lab, "nightly")
            return sum(row["verdict"] is not None and row["hook_exit"] is not None for row in rows) >= count

        eventually(f"{count} are judged", done)
        return released(lab, "nightly")

    eventually("the old one is known", lambda: old in known())
    first = put(here / "first.img", b"first")
    assert [row["image_sha256"] for row in judged(1)] == [first]
    beat.send_signal(signal.SIGKILL)
    beat.communicate()
    # While there is no beat: one that is new, one that is a copy of a known one, one that is damaged.
    second = put(here / "second.img", b"second")
    shutil.copy(here / "old.img", here / "again.img")
    put(here / "damaged.img", b"damaged")
    (here / "damaged.img.sha256").write_text("1" * 64 + "\n")
    beats = [lab.start("beat", str(file)), lab.start("beat", str(file))]
    found = judged(2)
    for each in beats:
        each.send_signal(signal.SIGTERM)
    told = [each.communicate(timeout=300)[1] for each in beats]
    assert [row["image_sha256"] for row in found] == [first, second]
    assert known() == {old, first, second}
    assert {row["verdict"] for row in found} == {"passed"}
    hooked = (suite.parent / "hooked").read_text().splitlines()
    assert hooked == [f"{here}/first.img {first} passed", f"{here}/second.img {second} passed"]
    assert any("damaged.img is damaged" in text for text in told)
    jobs = lab.rows("SELECT image, image_sha256, options FROM jobs ORDER BY submitted_at")
    assert [(job["image"], job["image_sha256"]) for job in jobs] == [("first.img", first), ("second.img", second)]
    assert f"image_sha256={first}" in jobs[0]["options"]
    assert os.listdir(lab.store)


def test_a_checksum_file_that_names_none_fits_no_image(tmp_path: Path) -> None:
    image = tmp_path / "a.img"
    image.write_bytes(b"a")
    assert images.beside(image) is None
    for text in ("", "none\n", "12ab  a.img\n"):
        (tmp_path / "a.img.sha256").write_text(text)
        assert images.beside(image) == ""
