"""What was recorded, where, when and how: the contents of `recording.json`, typed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from .errors import UnsupportedFormatError
from .json_file import Fields

FORMAT_VERSION = 2
"""The version of the format of recordings that this package reads."""


@dataclass(frozen=True)
class Machine:
    """The machine that was recorded. None is what is not known, as of imported captures."""

    hostname: str
    kernel: str
    architecture: str
    boot_id: str | None
    cpus: int | None
    """CPUs on which the recorder could run."""
    cpus_online: int | None
    page_bytes: int


@dataclass(frozen=True)
class Settings:
    """How it was recorded."""

    interval_ms: int
    """From one tick to the next, in milliseconds."""
    detail_interval_ms: int | None
    """From one reading of `status` and `stat` to the next, in milliseconds; None: they were not read."""
    pss_interval_ms: int | None
    """From one reading of PSS to the next, in milliseconds; None: not at intervals."""
    pss_budget: float | None
    """The share of one CPU within which PSS was read; None: without a budget."""
    cgroup_interval_ms: int | None
    """From one reading of the control groups to the next, in milliseconds; None: they were not read."""
    exits: bool
    """Whether the kernel reported exits: without it, peaks after the last sample are not known."""
    forks: str
    """How new processes became known: `proc_connector` reports each, `listing` only what lives at a tick."""
    target: str | dict[str, Any]
    """What the recording is limited to: `machine`, or the process or control group."""
    command: tuple[str, ...]
    """The recorded command; empty where there was none."""


@dataclass(frozen=True)
class Totals:
    """What the recording holds and lacks, counted by the recorder; None where its version did not count it."""

    ticks: int | None
    samples: int | None
    processes: int | None
    """Process images."""
    exits: int | None
    unsampled: int | None
    """Exits of processes of which there is no sample."""
    late: int | None
    """Ticks that began more than half an interval late."""
    missed: int | None
    """Planned instants at which no sweep began."""
    dropped: int | None
    """Samples that were read and not written."""
    gone: int | None
    """Processes that ended between two ticks or while they were read."""
    denied: int | None
    """Files that the kernel refused to show."""
    unreadable: int | None
    events_lost: int | None
    exits_lost: int | None
    unseen: int | None
    """Processes that began and ended between two ticks, of which nothing else is known."""
    unattributed: int | None
    """Processes that may belong to a test, of which that is not known."""
    pss_skipped: int | None
    """Readings of PSS that were not made since one would have held the process up for too long."""
    stuck: int | None


@dataclass(frozen=True)
class RecordingInfo:
    """What `recording.json` says. Instants are in UTC, cut to microseconds."""

    path: Path
    id: str
    """The column `recording` of every table; no two recordings have the same."""
    name: str
    memsample: str
    """The version of the program that recorded."""
    format: int
    started: datetime
    last_tick: datetime | None
    state: str
    """`closed`, `recovered` (its recorder died, and it was put together later) or `recording`."""
    end: str | None
    """Why it ended, such as `stopped`, `disk_full`, `crashed`, `imported`; None while it is recorded."""
    command_exit_code: int | None
    """The exit code of the recorded command, or 128 and its signal."""
    labels: dict[str, str]
    notes: tuple[str, ...]
    """What a reader must know: what this machine or these rights did not allow."""
    settings: Settings
    machine: Machine
    totals: Totals
    recorder_cpu_seconds: float | None
    """CPU time of the recorder itself; None where it was not told."""
    recorder_peak_rss_bytes: int | None

    @property
    def imported(self) -> bool:
        """Whether it was made of captures of smemcap, which lack exits, high-water marks and control groups."""
        return self.end == "imported"


def info_of(path: Path, fields: Fields) -> RecordingInfo:
    """Reads the contents of `recording.json`.

    Raises UnsupportedFormatError for another format, and DamagedError.
    """
    format_version = fields.integer("format")
    if format_version != FORMAT_VERSION:
        what = "upgrade this package" if format_version > FORMAT_VERSION else "record again"
        raise UnsupportedFormatError(
            f"`{path}` has format {format_version}, written by memsample {fields.text_or_none('memsample')}, "
            f"and this package reads format {FORMAT_VERSION}: {what}"
        )
    recorder = fields.inner_or_none("recorder")
    end = fields.values.get("end")
    return RecordingInfo(
        path=path,
        id=fields.text("id"),
        name=fields.text("name"),
        memsample=fields.text("memsample"),
        format=format_version,
        started=fields.instant("started"),
        last_tick=fields.instant_or_none("last_tick"),
        state=fields.text("state"),
        # What could not be written or sampled is an object of the reason and its message.
        end=next(iter(end), None) if isinstance(end, dict) else fields.text_or_none("end"),
        command_exit_code=fields.integer_or_none("command_exit_code"),
        labels=fields.labels("labels"),
        notes=fields.texts("notes"),
        settings=_settings(fields.inner("settings")),
        machine=_machine(fields.inner("machine")),
        totals=_totals(fields.inner("totals")),
        recorder_cpu_seconds=None if recorder is None else recorder.number_or_none("cpu_seconds"),
        recorder_peak_rss_bytes=None if recorder is None else recorder.integer_or_none("peak_rss_bytes"),
    )


def _settings(fields: Fields) -> Settings:
    target = fields.values.get("target", "machine")
    return Settings(
        interval_ms=fields.milliseconds("interval_ms"),
        detail_interval_ms=fields.integer_or_none("detail_interval_ms"),
        pss_interval_ms=fields.integer_or_none("pss_interval_ms"),
        pss_budget=fields.number_or_none("pss_budget"),
        cgroup_interval_ms=fields.integer_or_none("cgroup_interval_ms"),
        exits=fields.flag_or_none("exits") or False,
        forks=fields.text_or_none("forks") or "listing",
        target=target if isinstance(target, dict) else str(target),
        command=fields.texts("command"),
    )


def _machine(fields: Fields) -> Machine:
    return Machine(
        hostname=fields.text("hostname"),
        kernel=fields.text("kernel"),
        architecture=fields.text("architecture"),
        boot_id=fields.text_or_none("boot_id"),
        cpus=fields.integer_or_none("cpus"),
        cpus_online=fields.integer_or_none("cpus_online"),
        page_bytes=fields.integer("page_bytes"),
    )


def _totals(fields: Fields) -> Totals:
    return Totals(**{name: fields.integer_or_none(name) for name in Totals.__dataclass_fields__})
