"""Asks the program `memsample` for what it computes: peaks with upper bounds, and comparisons of runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from .errors import NoteWarning, ProgramError
from .json_file import Fields

_Path = str | os.PathLike[str]
_NOT_FINAL = "still being written"
"""Is in the note of the program on a recording that grows."""


@dataclass(frozen=True)
class Peak:
    """A peak of the resident set as `memsample peaks` tells it: the true value lies between the bounds, in bytes."""

    name: str
    """The command name of the process, the role, or the test."""
    process: int | None
    """The key of `processes`; None of a role or a test."""
    pid: int | None
    lower_bytes: int | None
    """None where nothing was sampled of what was marked."""
    lower_source: str | None
    """`sampled`, `high_water_mark` or `exit_record`."""
    upper_bytes: int | None
    """None where nothing bounds it."""
    upper_source: str | None
    by: datetime | None
    """The latest possible time of the peak."""
    sampled_at: datetime | None
    """The tick with the largest sample or sum, of which the parts are."""
    rss_bytes: int | None
    anon_bytes: int | None
    file_bytes: int | None
    shmem_bytes: int | None
    swap_bytes: int | None
    rising_at_end: bool | None
    """Whether it rose until its end; None where that is not known."""
    covers: str | None
    """Of a test: whose memory it is, such as `own_processes`, `marked_process` or `machine`."""
    note: str | None = None
    """What a reader must know: that the recording is still being written, so that the peak is not final."""


def peaks(recording: Path, by: str, top: int) -> list[Peak]:
    """Runs `memsample peaks`."""
    answer, notes = run_program(["peaks", str(recording), "--by", by, "--top", str(top), "--json"])
    if not isinstance(answer, list):
        raise ProgramError("`memsample peaks --json` did not print a list: its version does not fit")
    # Other notes are of all peaks together, or of one that is named.
    note = next((note for note in notes if _NOT_FINAL in note), None)
    return [_peak(Fields(row, "the output of `memsample peaks`"), by, note) for row in answer]


def compare(
    base: _Path | Sequence[_Path], head: _Path | Sequence[_Path], arguments: Sequence[str] = ()
) -> dict[str, Any]:
    """Compares runs by `memsample compare` and returns what it prints: docs/compare.schema.json describes it.

    `base` and `head` are a run each, or several. `comparisons` has a verdict for each test, with the change and its
    interval. `arguments` are further arguments of the command, such as `["--roles"]`; docs/compare.md lists them.
    Raises ProgramError where the runs cannot be compared.
    """
    paths: list[str] = []
    for option, runs in (("--base", base), ("--head", head)):
        for path in [runs] if isinstance(runs, (str, os.PathLike)) else runs:
            paths += [option, os.fspath(path)]
    # Not 0: something got worse, or is suspect.
    answer, _ = run_program(["compare", *paths, *arguments, "--json"], answers=(0, 20, 21))
    return Fields(answer, "the output of `memsample compare`").values


def run_program(arguments: Sequence[str], answers: tuple[int, ...] = (0,)) -> tuple[Any, tuple[str, ...]]:
    """Runs the program `memsample`: that of the environment variable MEMSAMPLE, or else that in PATH.

    Returns what it prints, as JSON, and its notes, of which each is a NoteWarning too.
    Raises ProgramError where it is missing or fails.
    """
    program = os.environ.get("MEMSAMPLE") or shutil.which("memsample")
    if program is None:
        raise ProgramError(
            "this needs the program `memsample`, which is not in PATH: install it (docs/install.md), "
            "or name it in the environment variable MEMSAMPLE"
        )
    try:
        ended = subprocess.run([program, *arguments], capture_output=True, check=False, stdin=subprocess.DEVNULL)
    except OSError as error:
        raise ProgramError(f"`{program}` cannot be run: {error}") from error
    if ended.returncode not in answers:
        said = ended.stderr.decode(errors="replace").strip() or f"exit code {ended.returncode}"
        raise ProgramError(f"`memsample {' '.join(arguments)}`: {said}")
    try:
        answer = json.loads(ended.stdout)
    except ValueError as error:
        raise ProgramError(f"`memsample {arguments[0]}` did not print JSON: {error}") from error
    lines = ended.stderr.decode(errors="replace").splitlines()
    notes = tuple(line.removeprefix("note: ") for line in lines if line.startswith(("note: ", "warning: ")))
    for note in notes:
        warnings.warn(note, NoteWarning, stacklevel=4)
    return answer, notes


def _peak(fields: Fields, by: str, note: str | None) -> Peak:
    return Peak(
        name=fields.text("comm" if by == "process" else by),
        process=fields.integer_or_none("process"),
        pid=fields.integer_or_none("pid"),
        lower_bytes=fields.integer_or_none("lower_bytes"),
        lower_source=fields.text_or_none("lower_source"),
        upper_bytes=fields.integer_or_none("upper_bytes"),
        upper_source=fields.text_or_none("upper_source"),
        by=fields.instant_or_none("by"),
        sampled_at=fields.instant_or_none("sampled_at"),
        rss_bytes=fields.integer_or_none("rss_bytes"),
        anon_bytes=fields.integer_or_none("anon_bytes"),
        file_bytes=fields.integer_or_none("file_bytes"),
        shmem_bytes=fields.integer_or_none("shmem_bytes"),
        swap_bytes=fields.integer_or_none("swap_bytes"),
        rising_at_end=fields.flag_or_none("rising_at_end"),
        covers=fields.text_or_none("covers"),
        note=note,
    )
