//! Begins and ends the images of an entry.

use std::sync::Arc;

use super::descriptors::Descriptors;
use super::entry::{Entry, EntryState, Occupant, Slots};
use super::image_description::ImageDescription;
use super::last_description::LastDescription;
use super::reading::Reader;
use crate::identity::Identity;
use crate::metric::Files;
use crate::proc::Answer;
use crate::slot::Slot;

/// Says what a process is, apart from its numbers.
pub(super) fn describe(reader: &Reader, entry: &mut Entry, answer: &Answer) {
    let Some(process) = entry.process_mut() else { return };
    let identity = Arc::make_mut(&mut process.identity);
    let mut image = ImageDescription::unknown(identity.uid, identity.comm);
    image.describe(&reader.rules, answer);
    let ImageDescription { exe, cmdline, cgroup, role, arguments_hash, .. } = image;
    *identity = Identity { exe, cmdline, cgroup, role, ..identity.clone() };
    process.description = LastDescription::of_beginning(arguments_hash);
    // For who knows the image already, where the answer has come late.
    process.is_redescribed = true;
    entry.state.remove(EntryState::DESCRIPTION_REPORTED);
}

/// Ends the image of an entry. Its slot is free at once if no batch knows it, else once a batch knows
/// the end.
pub(super) fn retire(entry: &mut Entry, departed: &mut Vec<Slot>, slots: &mut Slots) {
    let Some(process) = entry.process() else {
        return;
    };
    if entry.state.contains(EntryState::IDENTITY_REPORTED) {
        departed.push(process.slot);
    } else {
        slots.give_back(process.slot);
    }
}

/// Continues as another program after an exec: same process, same descriptors, another image.
pub(super) fn begin_image(entry: &mut Entry, image: ImageDescription, slots: &mut Slots) {
    let Occupant::Process(process) = &mut entry.occupant else {
        return;
    };
    let ImageDescription {
        uid,
        comm,
        exe,
        cmdline,
        cgroup,
        role,
        execs_since,
        arguments_hash,
        replaced_max_rss_bytes,
        ..
    } = image;
    let Identity { pid, start, start_ns, exec, ppid, .. } = *process.identity;
    let exec = exec.saturating_add(execs_since);
    let number = slots.next_process();
    let identity = Identity {
        process: number,
        pid,
        start,
        start_ns,
        exec,
        ppid,
        uid,
        comm,
        exe,
        cmdline,
        cgroup,
        moved: false,
        role,
        replaced_max_rss_bytes,
        // An exec makes a new one.
        memory_map: Some(number),
    };
    process.comm = comm;
    process.identity = Arc::new(identity);
    process.slot = slots.take();
    process.rollup = Default::default();
    process.pss_boot_ns = None;
    process.description = LastDescription::of_beginning(arguments_hash);
    process.is_redescribed = false;
    entry.state -= EntryState::REPORTED;
    // So that the next sweep reads its details.
    entry.state |= EntryState::NEWBORN;
}

/// Keeps only what tells when the process is reaped.
pub(super) fn become_zombie(entry: &mut Entry, descriptors: &mut Descriptors) {
    let Some(process) = entry.process() else {
        return;
    };
    let start = process.identity.start;
    descriptors.release(process.descriptors());
    entry.occupant = Occupant::Zombie(start);
    entry.read = Files::empty();
}
