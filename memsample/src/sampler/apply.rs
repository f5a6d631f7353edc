//! Applies what the files of a process say to what is kept of it.

use std::sync::Arc;

use super::entry::{Addresses, Entry, EntryState, Process};
use super::file_metrics::{statm_metrics, status_metrics};
use crate::error::{ParseError, ReadError};
use crate::host::Host;
use crate::identity::Comm;
use crate::metric::{Files, Metric};
use crate::parse::{Stat, Statm, Status, parse_statm};
use crate::units::Kibibytes;

/// What `statm` says, compared to the sweep before.
#[derive(Clone, Copy)]
pub(super) enum StatmReading {
    Unchanged,
    Changed { code: bool },
    NoMemory,
}

impl StatmReading {
    /// Returns whether the code has another size than when the same entry was read before.
    pub(super) fn has_other_code(self, entry: &Entry) -> bool {
        match self {
            Self::Changed { code } => code && !entry.state.contains(EntryState::NEWBORN),
            Self::Unchanged | Self::NoMemory => false,
        }
    }
}

/// What `stat` says of the image, compared to the reading before.
pub(super) enum ImageChange {
    None,
    Renamed(Comm),
    Exec {
        comm: Comm,
        addresses: Addresses,
    },
    /// The exec is over that was under way when the image was looked at: it has its arguments now.
    Completed {
        comm: Comm,
        addresses: Addresses,
    },
}

impl ImageChange {
    /// Keeps the addresses of an image that goes on, where those were not shown before.
    pub(super) fn note_addresses(&self, process: &mut Process, addresses: Addresses) {
        match self {
            Self::None | Self::Renamed(_) if process.addresses.hidden() && !addresses.hidden() => {
                process.addresses = addresses;
            }
            // Of another image they are kept when it has been looked at.
            Self::None | Self::Renamed(_) | Self::Exec { .. } | Self::Completed { .. } => {}
        }
    }
}

/// Returns what `stat` shows since it was last read, after the metrics of `statm` were set: an exec, another name, or
/// neither.
///
/// An exec gives the process new memory first, with a page or two and no code, and the addresses last. If it is looked at
/// in between, what follows is the same image; without reports of execs it may be one that followed that one, which
/// nothing tells.
pub(super) fn image_change(
    process: &Process,
    comm: Comm,
    addresses: Addresses,
    code_changed: bool,
) -> ImageChange {
    let is_without_code = process.is_without_code();
    let exec = process.is_exec_reported()
        || if process.is_in_exec {
            let is_under_way = addresses.unset() || (addresses.hidden() && is_without_code);
            if !is_under_way {
                return ImageChange::Completed { comm, addresses };
            }
            // If that one is over, this is the next one.
            process.is_begin_reported()
        } else if addresses.unset() {
            if !is_without_code {
                // It has begun after `statm` was read, and so the name may be that of the next image too.
                return ImageChange::None;
            }
            true
        } else if addresses.hidden() || process.addresses.hidden() {
            // Then the only sign is that the code has another size.
            code_changed
        } else {
            addresses != process.addresses
        };
    if exec {
        ImageChange::Exec { comm, addresses }
    } else if comm == process.comm {
        ImageChange::None
    } else {
        ImageChange::Renamed(comm)
    }
}

/// Returns what `stat` shows, read after `statm`, of a process whose first thread has memory again, and had none: another
/// thread executes a program, and has taken its place.
///
/// It does so before it exchanges the memory (Linux 6.18, `begin_new_exec`: `de_thread`, then `exec_mmap`), so that this
/// may still be that of the image before. The name is then that of the thread.
pub(super) fn change_of_first_thread(
    process: &Process,
    comm: Comm,
    addresses: Addresses,
) -> ImageChange {
    let may_be_seen = !addresses.hidden() || addresses.unset();
    if !may_be_seen || process.addresses.hidden() {
        // Nothing shows whether the memory was exchanged: most of the time it was.
        return ImageChange::Exec { comm, addresses };
    }
    match image_change(process, comm, addresses, false) {
        ImageChange::Renamed(_) => ImageChange::None,
        change => change,
    }
}

/// Applies the bytes of `statm`.
pub(super) fn apply_statm(
    entry: &mut Entry,
    process: &mut Process,
    bytes: &[u8],
    host: &Host,
) -> Result<StatmReading, ReadError> {
    if entry.is_same_statm(bytes) {
        return Ok(StatmReading::Unchanged);
    }
    let statm = parse_statm(bytes)?;
    if statm == Statm::default() {
        return Ok(StatmReading::NoMemory);
    }
    let reading = apply_statm_values(entry, process, &statm, host);
    entry.keep_statm(bytes);
    // The metrics may be those of a `status` that was read after other bytes: it is read again.
    entry.state -= EntryState::STATUS_CURRENT;
    Ok(match reading {
        StatmReading::Unchanged => StatmReading::Changed { code: false },
        reading => reading,
    })
}

/// Applies what `statm` says of a process that has memory.
pub(super) fn apply_statm_values(
    entry: &mut Entry,
    process: &mut Process,
    statm: &Statm,
    host: &Host,
) -> StatmReading {
    let values = statm_metrics(statm, host);
    let text_before = process.metrics.get(Metric::Text);
    if !set(process, &mut entry.state, &values) {
        return StatmReading::Unchanged;
    }
    entry.state -= EntryState::STATUS_CURRENT;
    let code = process.metrics.get(Metric::Text) != text_before;
    StatmReading::Changed { code }
}

/// Applies `status`.
pub(super) fn apply_status(
    entry: &mut Entry,
    process: &mut Process,
    status: &Status<'_>,
) -> Result<(), ParseError> {
    if status.vm_rss.is_none() {
        // It ended between `statm` and here: its last numbers are gone.
        return Ok(());
    }
    let values = status_metrics(status)?;
    // The first four are taken over `statm`, read a moment before, so that the parts of a row add up.
    let (as_in_statm, own) = values.split_at(4);
    if set(process, &mut entry.state, as_in_statm) {
        entry.forget_statm();
    }
    set(process, &mut entry.state, own);
    if let Some(uid) = status.euid.and_then(|uid| u32::try_from(uid).ok()) {
        set_user(process, &mut entry.state, uid);
    }
    process.page_table_bytes = status.vm_pte.and_then(Kibibytes::bytes).unwrap_or(0);
    entry.read |= Files::STATUS;
    entry.state |= EntryState::STATUS_CURRENT;
    Ok(())
}

/// Sets the effective user of a process.
pub(super) fn set_user(process: &mut Process, state: &mut EntryState, uid: u32) {
    if process.identity.uid != Some(uid) {
        Arc::make_mut(&mut process.identity).uid = Some(uid);
        process.is_redescribed = true;
        state.remove(EntryState::DESCRIPTION_REPORTED);
    }
}

/// Returns the page faults of a process, as of the last reading of `stat`.
pub(super) fn page_faults(process: &Process) -> (u64, u64) {
    (process.metrics.get(Metric::Minflt), process.metrics.get(Metric::Majflt))
}

/// Returns the metrics in `stat`.
pub(super) fn counters(stat: &Stat<'_>, host: &Host) -> Result<[(Metric, u64); 4], ParseError> {
    let time = |ticks, field| host.nanos(ticks).ok_or(ParseError::out_of_range(field));
    Ok([
        (Metric::Minflt, stat.minflt),
        (Metric::Majflt, stat.majflt),
        (Metric::Utime, time(stat.utime, "utime")?),
        (Metric::Stime, time(stat.stime, "stime")?),
    ])
}

/// Applies the metrics in `stat`.
pub(super) fn apply_counters(entry: &mut Entry, process: &mut Process, counters: &[(Metric, u64)]) {
    set(process, &mut entry.state, counters);
    entry.read |= Files::STAT;
}

/// Sets metrics and returns whether any of them changed.
pub(super) fn set(process: &mut Process, state: &mut EntryState, values: &[(Metric, u64)]) -> bool {
    let mut changed = false;
    for &(metric, value) in values {
        changed |= process.metrics.set(metric, value);
    }
    if changed {
        state.remove(EntryState::METRICS_REPORTED);
    }
    changed
}

/// Counts `statm` as read, and returns which files to read besides: those that were asked for, and `on_change`
/// too if `statm` is another than before.
pub(super) fn files_after_statm(
    entry: &mut Entry,
    reading: &StatmReading,
    files: Files,
    on_change: Files,
) -> Files {
    entry.read |= Files::STATM;
    match reading {
        StatmReading::Unchanged => {
            if !files.contains(Files::STATUS) {
                entry.hold_status(on_change);
            }
            files
        }
        StatmReading::Changed { .. } | StatmReading::NoMemory => files | on_change,
    }
}
