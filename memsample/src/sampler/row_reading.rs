//! Reads a process from the row that a BPF program wrote of it.

use memsample_bpf::Row;

use super::apply::{
    apply_counters, apply_statm_values, apply_status, files_after_statm, image_change, set_user,
};
use super::bpf_sweep::CurrentRow;
use super::entry::{Entry, EntryState, Occupant, Process};
use super::read_file::{count, counted};
use super::reading::Reader;
use super::reading_outcome::Reading;
use super::row_values::{addresses_of, counters_of, start_of, statm_of, status_of};
use crate::counts::SweepCounts;
use crate::error::{ParseError, ReadError};
use crate::identity::Comm;
use crate::metric::Files;
use crate::parse::Statm;
use crate::units::Pages;

impl Reader {
    /// Takes the numbers of a process from its row, as [`read`](Self::read) takes them from its files.
    ///
    /// Returns `None` where the row does not stand for the process, and the files must be read: another has its pid, its
    /// first thread has no memory, another thread stands in for it, or its numbers moved while they were read.
    pub(super) fn read_row(
        &mut self,
        entry: &mut Entry,
        current: &CurrentRow<'_>,
        files: Files,
        on_change: Files,
        counts: &mut SweepCounts,
    ) -> Option<Reading> {
        let mut kept = Files::empty();
        if let Some((place, of)) = entry.kept_row()
            && current.is_same_as(place)
        {
            let wanted = files & (Files::STATM | Files::DETAIL) | on_change & Files::STATUS;
            if of.contains(wanted) && !entry.state.contains(EntryState::NEWBORN) {
                // Most processes did nothing since the last tick, and the rest of what is kept of them is not touched.
                entry.read = wanted;
                entry.keep_row(current.place, of);
                return Some(Reading::Alive);
            }
            kept = of;
        }
        let row = current.row;
        let statm = statm_of(row, &self.host);
        let stands_for = |process: &Process| {
            process.thread.is_none()
                && row.has_memory()
                && row.is_steady()
                && start_of(row, &self.host) == process.identity.start
        };
        if statm == Statm::default() || !entry.process().is_some_and(stands_for) {
            return None;
        }
        // Taken out, so that the entry and the process can be changed independently.
        let occupant = std::mem::replace(&mut entry.occupant, Occupant::Denied);
        let Occupant::Process(mut process) = occupant else { return None };
        entry.read = Files::empty();
        let outcome = self.apply_row(entry, &mut process, &statm, row, (files, on_change), counts);
        entry.occupant = Occupant::Process(process);
        entry.state.remove(EntryState::NEWBORN);
        if matches!(outcome, Ok(Reading::Alive)) {
            entry.keep_row(current.place, kept | entry.read);
        }
        Some(outcome.unwrap_or_else(|error| {
            if matches!(error, ReadError::Gone) {
                return Reading::Gone;
            }
            if matches!(error, ReadError::NoDescriptor) {
                return Reading::NoDescriptor;
            }
            count(counts, &error);
            Reading::Alive
        }))
    }

    fn apply_row(
        &mut self,
        entry: &mut Entry,
        process: &mut Process,
        statm: &Statm,
        row: &Row,
        (files, on_change): (Files, Files),
        counts: &mut SweepCounts,
    ) -> Result<Reading, ReadError> {
        let reading = apply_statm_values(entry, process, statm, &self.host);
        // The metrics are not those of bytes that were read.
        entry.forget_statm();
        process.groups = row.groups;
        set_user(process, &mut entry.state, row.euid);
        let code_changed = reading.has_other_code(entry);
        let files_now = files_after_statm(entry, &reading, files, on_change);
        let (comm, addresses) = (Comm::new(row.comm()), addresses_of(row));
        let change = image_change(process, comm, addresses, code_changed);
        change.note_addresses(process, addresses);
        if files_now.contains(Files::STAT) {
            let times = row.cpu_times_after(process.shown_times);
            process.shown_times = times;
            let counters = counters_of(row, times, &self.host);
            let counters = counters.ok_or(ParseError::out_of_range("utime"));
            let outcome = counters.map(|counters| apply_counters(entry, process, &counters));
            counted(outcome.map_err(ReadError::from), counts)?;
        }
        // It is at hand, so it need not be held where nothing moved.
        if (files | on_change).contains(Files::STATUS) {
            let outcome = apply_status(entry, process, &status_of(row, &self.host));
            counted(outcome.map_err(ReadError::from), counts)?;
        }
        let mut reading = self.follow_image(entry, process, change, counts)?;
        if let Reading::NewImage(image) = &mut reading {
            // The row has the memory of the new image, so the mark of those before was there.
            image.replaced_max_rss_bytes = self.host.bytes(Pages(row.maxrss_pages));
        }
        Ok(reading)
    }
}
