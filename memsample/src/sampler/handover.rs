//! The changes that a sweep hands to a batch.

use std::sync::Arc;

use super::entry::EntryState;
use super::processes::Processes;
use crate::batch::{Change, Row};

/// Appends what changed since the last call, and returns how many changes that are.
///
/// A sweep that is not handed over is not lost for the next one: all that changed since is then
/// handed over together.
pub(super) fn hand_over(processes: &mut Processes, changes: &mut Vec<Change>) -> u32 {
    let before = changes.len();
    for slot in processes.departed.drain(..) {
        changes.push(Change::End(slot));
        processes.slots.give_back(slot);
    }
    for entry in &mut processes.entries {
        // Most have nothing to say, and are not looked at any closer.
        if entry.read == processes.common_files && entry.state.contains(EntryState::REPORTED) {
            continue;
        }
        let (read, state) = (entry.read, entry.state);
        let Some(process) = entry.process_mut() else {
            continue;
        };
        let slot = process.slot;
        if read.is_empty() {
            if state.contains(EntryState::IDENTITY_REPORTED) {
                changes.push(Change::Absent(slot));
            }
            continue;
        }
        let known = state.contains(EntryState::IDENTITY_REPORTED);
        if !known && state.contains(EntryState::EXIT_KNOWN) {
            // It is in the exit record.
            continue;
        }
        if !known {
            changes.push(Change::Begin(slot, Arc::clone(&process.identity), None));
        }
        if !state.contains(EntryState::DESCRIPTION_REPORTED) {
            if known || process.comm != process.identity.comm {
                changes.push(Change::Rename(slot, process.comm));
            }
            if std::mem::take(&mut process.is_redescribed) && known {
                changes.push(Change::Describe(slot, Arc::clone(&process.identity)));
            }
        }
        if read != processes.common_files || !state.contains(EntryState::METRICS_REPORTED) {
            changes.push(Change::Row(slot, Row { files: read, metrics: process.metrics }));
        }
        entry.state |= EntryState::REPORTED;
    }
    u32::try_from(changes.len() - before).unwrap_or(u32::MAX)
}

/// Appends all that a batch can say of the last sweep, for who knows nothing, and returns how many
/// changes that are. Comes after [`hand_over`], from which others know it.
pub(super) fn hand_over_all(processes: &Processes, changes: &mut Vec<Change>) -> u32 {
    let before = changes.len();
    for entry in &processes.entries {
        let Some(process) = entry.process() else { continue };
        if !entry.state.contains(EntryState::IDENTITY_REPORTED) {
            continue;
        }
        let slot = process.slot;
        changes.push(Change::Begin(slot, Arc::clone(&process.identity), None));
        if process.comm != process.identity.comm {
            changes.push(Change::Rename(slot, process.comm));
        }
        changes.push(match entry.read.is_empty() {
            true => Change::Absent(slot),
            false => Change::Row(slot, Row { files: entry.read, metrics: process.metrics }),
        });
    }
    u32::try_from(changes.len() - before).unwrap_or(u32::MAX)
}
