//! Finds out which new processes have the memory map of another one.
//!
//! After `vfork` and `clone(CLONE_VM)` each of the two shows all memory of both, and no file of `/proc` says so. The kernel
//! tells whether two maps are the same (kcmp(2)). It is asked once for each new process: only an exec gives it another map,
//! and that begins another image.

use std::cmp::Reverse;
use std::sync::Arc;

use memsample_bpf::have_one_map;

use super::entry::{Addresses, Entry, EntryState, Process};
use crate::identity::ProcessId;

/// With so many relatives a process is compared at most, half a microsecond each.
const MAX_COMPARISONS: usize = 32;

/// Returns why memory maps cannot be compared here, and what a recording lacks then; `None` where they can. Seen on this
/// process: of others the kernel tells it to who may trace them.
pub(crate) fn memory_maps_note() -> Option<String> {
    let own = i32::try_from(std::process::id()).ok()?;
    let error = match have_one_map(own, own) {
        Ok(true) => return None,
        Ok(false) => "it says that this process does not share its own".to_owned(),
        Err(error) => error.to_string(),
    };
    Some(format!(
        "memory maps cannot be compared (kcmp: {error}): what several processes share after `vfork` or `CLONE_VM` \
         counts once for each of them"
    ))
}

/// A process that was looked at for the first time.
#[derive(Clone, Copy)]
pub(super) struct Newborn {
    pub(super) pid: i32,
    /// Whether the kernel reported who forked it. Else its parent may be another one by now.
    pub(super) is_forker_known: bool,
    /// Whether it has executed a program since, as the kernel reported.
    pub(super) has_executed: bool,
}

/// A process that descends by forks alone from the same process image as another one: an exec gives it other addresses.
#[derive(Clone, Copy)]
struct Relative {
    addresses: Addresses,
    pid: i32,
    image: ProcessId,
    /// The image that had its memory map first, where that is known.
    map: Option<ProcessId>,
    /// A thread that has its memory.
    task: i32,
}

impl Relative {
    fn of(process: &Process, task: i32) -> Self {
        let identity = &process.identity;
        let (image, map) = (identity.process, identity.memory_map);
        Self { addresses: process.addresses, pid: identity.pid, image, map, task }
    }

    /// Returns the image that had its memory map first, as far as that is known.
    fn first_image(&self) -> ProcessId {
        self.map.unwrap_or(self.image)
    }
}

/// Notes of new processes whose memory map they have, among all, which are ascending by pid and were read in this sweep.
///
/// What is one map now was that of the image that was looked at: an exec meanwhile is of the next one.
pub(super) fn note_memory_maps(entries: &mut [Entry], newborns: &[Newborn]) {
    let mut orphans = Vec::new();
    for &Newborn { pid, is_forker_known, has_executed } in newborns {
        let Some((process, task)) = living(entries, pid) else { continue };
        // It has executed a program since it was found.
        if process.identity.memory_map.is_some() {
            continue;
        }
        let own = Relative::of(process, task);
        let parent = living(entries, process.identity.ppid);
        let is_forker = is_forker_known
            && parent.is_some_and(|(parent, _)| {
                parent.addresses == own.addresses && !parent.is_exec_reported()
            });
        let parent = parent.map(|(parent, task)| Relative::of(parent, task));
        let compared =
            parent.and_then(|parent| Some((parent, have_one_map(own.task, parent.task).ok()?)));
        match compared {
            Some((parent, true)) => {
                note_memory_map(entries, pid, own.image, parent.first_image());
            }
            compared if has_executed || (is_forker && compared.is_some()) => {
                note_memory_map(entries, pid, own.image, own.image);
            }
            // It may be that of another one whom the same image forked.
            _ if !own.addresses.hidden() => orphans.push((pid, own)),
            _ => {}
        }
    }
    if !orphans.is_empty() {
        compare_relatives(entries, &orphans);
    }
}

/// Compares new processes whose forker is not known, or has ended or executed another program, with all that descend from
/// the same image and were looked at before them, or began to be another image in this sweep.
fn compare_relatives(entries: &mut [Entry], orphans: &[(i32, Relative)]) {
    let mut families: Vec<Addresses> = orphans.iter().map(|(_, orphan)| orphan.addresses).collect();
    families.sort_unstable();
    families.dedup();
    let living = entries.iter().filter(|entry| !entry.state.contains(EntryState::GONE));
    let mut relatives: Vec<Relative> = living
        .filter_map(|entry| Some((entry.process()?, entry.pid)))
        .filter(|(process, _)| families.binary_search(&process.addresses).is_ok())
        .map(|(process, pid)| Relative::of(process, process.thread.unwrap_or(pid)))
        .collect();
    // The latest first: those are the most likely ones.
    let order = |it: &Relative| (it.addresses, Reverse(it.image));
    relatives.sort_unstable_by_key(order);
    for &(pid, own) in orphans {
        let first = relatives.partition_point(|it| it.addresses < own.addresses);
        let behind = relatives.partition_point(|it| it.addresses <= own.addresses);
        let family = relatives.get(first..behind).unwrap_or_default();
        // Of two that are both to be noted, the later is compared with the earlier.
        let earlier = family.iter().filter(|it| it.image < own.image);
        // An exec of one that was known before the sweep makes an image later than those that it has forked since.
        let later = family.iter().filter(|it| it.image > own.image && it.map.is_some());
        let (mut candidates, mut refused) = (earlier.chain(later), 0);
        let same = candidates.by_ref().take(MAX_COMPARISONS).find(|relative| {
            let answer = have_one_map(own.task, relative.task);
            refused += usize::from(answer.is_err());
            answer.unwrap_or(false)
        });
        let map = match same {
            // Another one of those may have been noted since they were listed.
            Some(relative) => Some(map_of(entries, relative)),
            None => (refused == 0 && candidates.next().is_none()).then_some(own.image),
        };
        if let Some(map) = map {
            note_memory_map(entries, pid, own.image, map);
        }
    }
}

/// Returns the map of a process, as far as it has been noted by now.
fn map_of(entries: &[Entry], relative: &Relative) -> ProcessId {
    let process = living(entries, relative.pid).map(|(process, _)| process);
    let process = process.filter(|process| process.identity.process == relative.image);
    process.and_then(|process| process.identity.memory_map).unwrap_or(relative.first_image())
}

fn note_memory_map(entries: &mut [Entry], pid: i32, image: ProcessId, map: ProcessId) {
    let index = entries.partition_point(|entry| entry.pid < pid);
    let of_pid = entries.iter_mut().skip(index).take_while(|entry| entry.pid == pid);
    let mut processes = of_pid.filter_map(Entry::process_mut);
    if let Some(process) = processes.find(|process| process.identity.process == image) {
        Arc::make_mut(&mut process.identity).memory_map = Some(map);
    }
}

/// Returns the process that has a pid now, and a thread of it that has its memory.
fn living(entries: &[Entry], pid: i32) -> Option<(&Process, i32)> {
    let index = entries.partition_point(|entry| entry.pid < pid);
    let mut of_pid = entries.iter().skip(index).take_while(|entry| entry.pid == pid);
    let living = of_pid.find(|entry| !entry.state.contains(EntryState::GONE))?;
    let process = living.process()?;
    Some((process, process.thread.unwrap_or(pid)))
}
