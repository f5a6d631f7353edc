"""What a run of a suite found, typed: the contents of `results.json`, whose keys docs/results.schema.json defines."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from .errors import UnsupportedFormatError
from .json_file import Fields

FORMAT_VERSION = 1
"""The version of the format of results that this package reads."""


@dataclass(frozen=True)
class Memory:
    """The memory of an attempt, in bytes. A key with `_upper` is the upper bound; None: nothing bounds it."""

    rss_peak_bytes: int | None
    """The largest sum of resident sets at one instant, as a lower bound; None where nothing was measured."""
    rss_peak_bytes_upper: int | None
    rss_peak_at: datetime | None
    pss_peak_bytes: int | None
    """The largest proportional set; None where it is not known, and `pss_missing` says why."""
    pss_peak_bytes_upper: int | None
    pss_peak_at: datetime | None
    pss_peak_age_ms: int | None
    """The age of the oldest reading in it, in milliseconds."""
    pss_missing: str | None
    anon_peak_bytes: int | None
    anon_peak_bytes_upper: int | None
    hugetlb_peak_bytes: int | None
    growth_bytes_per_minute: int | None
    """The slope of anonymous memory; None where the attempt was too short."""
    processes: int | None
    unsampled_processes: int | None
    samples: int | None
    gaps: int | None
    """Ticks that were late or missed while it ran."""
    cpu_ns: int | None
    """CPU time of all its processes, in nanoseconds."""
    minor_faults: int | None
    major_faults: int | None


@dataclass(frozen=True)
class Group:
    """What the kernel charged to the control group of an attempt, in bytes; None where it does not count."""

    group_peak_bytes: int | None
    """The most at once, page cache included."""
    group_peak_bytes_upper: int | None
    shmem_peak_bytes: int | None
    """The most shared memory, mapped or not."""
    shmem_unmapped_peak_bytes: int | None
    """The most of it that no process mapped, which no resident set has."""
    group_anon_bytes: int | None
    group_file_bytes: int | None
    group_shmem_bytes: int | None
    group_kernel_bytes: int | None
    group_sock_bytes: int | None
    group_cpu_ns: int | None


@dataclass(frozen=True)
class RoleMemory:
    """One role within an attempt: the largest sum of the resident sets of its processes, in bytes."""

    role: str
    rss_peak_bytes: int
    """A lower bound."""
    rss_peak_bytes_upper: int | None
    processes: int


@dataclass(frozen=True)
class Attempt:
    """One execution of a test."""

    test: str
    repetition: int | None
    """Which of the repetitions that were asked for, from 1; None of a test that was not started."""
    attempt: int | None
    """Which attempt of this repetition, from 1: above 1 are retries. None of a test that was not started."""
    outcome: str
    """One word: docs/verdicts.md."""
    reason: str | None
    exit_code: int | None
    signal: int | None
    started: datetime | None
    duration_ns: int | None
    memory: Memory | None
    """None where nothing was measured, as of a test that was not started."""
    group: Group | None
    roles: tuple[RoleMemory, ...]
    """The largest roles."""
    recording: str | None
    """The directory of its recording, relative to the run."""


@dataclass(frozen=True)
class Test:
    """A test: its outcome is the worst of its repetitions, or `flaky`; its numbers are in its attempts."""

    __test__ = False  # pytest: not a class of tests

    name: str
    outcome: str
    reason: str | None
    tags: tuple[str, ...]
    decided_by: Attempt
    """The attempt that decided the outcome, one of `attempts`: the numbers that `memsample run` prints.

    Of a test that was not started, what is known of it."""
    attempts: tuple[Attempt, ...]
    """All its attempts; empty where it was not started."""


@dataclass(frozen=True)
class RunInfo:
    """What `results.json` says of a run as a whole. None is what is not known."""

    path: Path
    suite: str
    outcome: str
    """`passed`, `failed` or `aborted`."""
    aborted: str | None
    started: datetime | None
    duration_ns: int
    memsample: str
    """The version of the program that ran it."""
    host: str | None
    kernel: str | None
    commit: str | None
    """The commit that was checked out in the working directory."""
    labels: dict[str, str]
    cpus: int | None
    memory_bytes: int | None
    """The memory of the machine."""
    interval_ns: int | None
    recordings: tuple[str, ...]
    """Their directories, relative to the run: one, and one more for each time that the run was resumed."""
    notes: tuple[str, ...]


def results_of(path: Path, results: Fields) -> tuple[RunInfo, tuple[Test, ...]]:
    """Reads the contents of `results.json`.

    Raises UnsupportedFormatError for another format, and DamagedError.
    """
    version = results.integer("format_version")
    if version != FORMAT_VERSION:
        what = "upgrade this package" if version > FORMAT_VERSION else "run the suite again"
        raise UnsupportedFormatError(
            f"the results in `{path}` have format {version}, written by memsample "
            f"{results.text_or_none('memsample_version')}, and this package reads format {FORMAT_VERSION}: {what}"
        )
    info = RunInfo(
        path=path,
        suite=results.text("suite"),
        outcome=results.text("outcome"),
        aborted=results.text_or_none("aborted"),
        started=results.instant_or_none("started"),
        duration_ns=results.integer("duration_ns"),
        memsample=results.text("memsample_version"),
        host=results.text_or_none("host"),
        kernel=results.text_or_none("kernel"),
        commit=results.text_or_none("commit"),
        labels=results.labels("labels"),
        cpus=results.integer_or_none("cpus"),
        memory_bytes=results.integer_or_none("memory_bytes"),
        interval_ns=results.integer_or_none("interval_ns"),
        recordings=results.texts("recordings"),
        notes=results.texts("notes"),
    )
    return info, tuple(_test(test) for test in results.each("tests"))


def _test(test: Fields) -> Test:
    name = test.text("name")
    attempts = tuple(_attempt(name, attempt) for attempt in test.each("attempts"))
    return Test(
        name=name,
        outcome=test.text("outcome"),
        reason=test.text_or_none("reason"),
        tags=test.texts("tags"),
        decided_by=_decided_by(name, test, attempts),
        attempts=attempts,
    )


def _decided_by(name: str, test: Fields, attempts: tuple[Attempt, ...]) -> Attempt:
    """Finds the attempt of which the values of the test are: `results.json` tells it by its begin and its end."""
    whole = _attempt(name, test)
    found = [
        attempt
        for attempt in attempts
        if (attempt.started, attempt.duration_ns) == (whole.started, whole.duration_ns) and attempt.started is not None
    ]
    return found[0] if len(found) == 1 else whole


def _attempt(name: str, attempt: Fields) -> Attempt:
    return Attempt(
        test=name,
        repetition=attempt.integer_or_none("repetition"),
        attempt=attempt.integer_or_none("attempt"),
        outcome=attempt.text("outcome"),
        reason=attempt.text_or_none("reason"),
        exit_code=attempt.integer_or_none("exit_code"),
        signal=attempt.integer_or_none("signal"),
        started=attempt.instant_or_none("started"),
        duration_ns=attempt.integer_or_none("duration_ns"),
        memory=_numbers(Memory, attempt.inner_or_none("memory")),
        group=_numbers(Group, attempt.inner_or_none("group")),
        roles=tuple(
            RoleMemory(
                role.text("role"),
                role.integer("rss_peak_bytes"),
                role.integer_or_none("rss_peak_bytes_upper"),
                role.integer("processes"),
            )
            for role in attempt.each("roles")
        ),
        recording=attempt.text_or_none("recording"),
    )


def _numbers(of: type[Any], values: Fields | None) -> Any:
    """Fills a class whose fields have the names of the keys: instants end in `_at`, all else is a number or a text."""
    if values is None:
        return None

    def value(name: str) -> object:
        if name.endswith("_at"):
            return values.instant_or_none(name)
        if name == "pss_missing":
            return values.text_or_none(name)
        return values.integer_or_none(name)

    return of(**{field.name: value(field.name) for field in fields(of)})
