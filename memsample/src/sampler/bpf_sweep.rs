//! Sweeps by a BPF program: the rows of a pass, by pid, and their comparison with `/proc` while they are used.

use memsample_bpf::{Row, Walk};

use super::entry::{Entry, RowPlace};
use super::reading::Reader;
use super::row_values::statm_of;
use crate::parse::{Statm, parse_statm};

/// From one comparison to the next.
const COMPARED_EVERY_NS: u64 = 1_000_000_000;
/// Processes that are compared each time, in turn.
const COMPARED_AT_ONCE: usize = 8;
/// So often in a row a process at rest has to differ: nothing runs in it, but something else may take its pages.
const DIFFERENCES: usize = 3;

/// The rows of one pass over all processes, for a sweep.
pub(super) struct BpfSweep {
    walk: Walk,
    /// The number of the pass that gave the rows.
    pass: u64,
    /// The pids of the rows, ascending, and where each row is.
    by_pid: Vec<(i32, u32)>,
    /// The first of them that the sweep has not come to.
    cursor: usize,
    compared_boot_ns: u64,
    /// The first pid that is compared next.
    next_pid: i32,
    to_compare: Vec<ToCompare>,
}

/// What was read of a process that seemed to rest. If it still does in the next pass, all three are equal.
struct ToCompare {
    pid: i32,
    row: Row,
    statm: Statm,
}

/// The row of a process in the last pass.
pub(super) struct CurrentRow<'a> {
    pub(super) row: &'a Row,
    pub(super) place: RowPlace,
    previous: &'a [Row],
}

impl CurrentRow<'_> {
    /// Returns whether the row at a place of the pass before is the same.
    pub(super) fn is_same_as(&self, place: RowPlace) -> bool {
        place.pass + 1 == self.place.pass
            && self.previous.get(place.index as usize) == Some(self.row)
    }
}

impl BpfSweep {
    pub(super) fn new(walk: Walk) -> Self {
        let by_pid = Vec::with_capacity(walk.capacity() as usize);
        let to_compare = Vec::with_capacity(COMPARED_AT_ONCE);
        Self { walk, pass: 0, by_pid, cursor: 0, compared_boot_ns: 0, next_pid: 0, to_compare }
    }

    /// Reads all processes, and compares those that were chosen after the pass before.
    ///
    /// # Errors
    ///
    /// Why the rows are not to be used any more, as a sentence.
    pub(super) fn pass(&mut self, reader: &mut Reader, entries: &[Entry]) -> Result<(), String> {
        self.read_rows()?;
        while let Some(before) = self.to_compare.pop() {
            let Some(row) = self.row(before.pid) else { continue };
            let (now, then) = (statm_of(row, &reader.host), before.statm);
            if row.is_at_rest_since(&before.row) && now != then {
                self.compare_again(before.pid, reader, entries)?;
            }
        }
        Ok(())
    }

    /// Makes room after a pass that had little left, which takes some tens of milliseconds.
    pub(super) fn make_room(&mut self) {
        // Where there is no memory for more, the processes without a row are read from their files.
        if self.walk.grow().unwrap_or(false) {
            // What the entries remember is not of the new rows.
            self.pass += 1;
            self.by_pid.clear();
            self.by_pid.reserve(self.walk.capacity() as usize);
        }
    }

    /// Returns the row of a process in the last pass. Each pid must be greater than that of the call before.
    pub(super) fn next_row(&mut self, pid: i32) -> Option<CurrentRow<'_>> {
        while self.by_pid.get(self.cursor).is_some_and(|&(other, _)| other < pid) {
            self.cursor += 1;
        }
        let &(_, index) = self.by_pid.get(self.cursor).filter(|&&(other, _)| other == pid)?;
        let row = self.walk.rows().get(index as usize)?;
        let place = RowPlace { pass: self.pass, index };
        Some(CurrentRow { row, place, previous: self.walk.previous() })
    }

    /// Reads `statm` of some processes that seem to rest, to compare them after the next pass.
    pub(super) fn choose(&mut self, reader: &mut Reader, entries: &[Entry]) {
        let now_ns = reader.clock.now().boot_ns;
        if now_ns < self.compared_boot_ns.saturating_add(COMPARED_EVERY_NS) {
            return;
        }
        self.compared_boot_ns = now_ns;
        let from = entries.partition_point(|entry| entry.pid < self.next_pid);
        let (earlier, later) = entries.split_at_checked(from).unwrap_or((entries, &[]));
        for entry in later.iter().chain(earlier) {
            if self.to_compare.len() >= COMPARED_AT_ONCE {
                self.next_pid = entry.pid;
                return;
            }
            let Some(row) = self.row(entry.pid).filter(|row| row.is_at_rest_since(row)) else {
                continue;
            };
            let row = *row;
            if let Some(statm) = statm_in_proc(entry, &row, reader) {
                self.to_compare.push(ToCompare { pid: entry.pid, row, statm });
            }
        }
    }

    #[cfg(test)]
    pub(super) fn has_row(&self, pid: i32) -> bool {
        self.row(pid).is_some()
    }

    /// Has processes compared in the next sweep, however long ago they were.
    #[cfg(test)]
    pub(super) fn compare_soon(&mut self) {
        self.compared_boot_ns = 0;
    }

    /// Compares a process that differed, between two passes of its own each time.
    fn compare_again(
        &mut self,
        pid: i32,
        reader: &mut Reader,
        entries: &[Entry],
    ) -> Result<(), String> {
        let Ok(index) = entries.binary_search_by_key(&pid, |entry| entry.pid) else {
            return Ok(());
        };
        let Some(entry) = entries.get(index) else { return Ok(()) };
        let mut said = String::new();
        for _ in 0..DIFFERENCES {
            let Some(&before) = self.row(pid) else { return Ok(()) };
            let Some(shown) = statm_in_proc(entry, &before, reader) else { return Ok(()) };
            self.read_rows()?;
            let Some(row) = self.row(pid) else { return Ok(()) };
            let counted = statm_of(row, &reader.host);
            if !row.is_at_rest_since(&before) || counted == shown {
                return Ok(());
            }
            said = format!(
                "process {pid} at rest has {} resident and {} mapped pages by BPF, and {} and {} in /proc",
                counted.resident.0, counted.size.0, shown.resident.0, shown.size.0
            );
        }
        Err(said)
    }

    fn read_rows(&mut self) -> Result<(), String> {
        self.walk.pass().map_err(|error| format!("the BPF program does not run: {error}"))?;
        self.pass += 1;
        self.by_pid.clear();
        self.cursor = 0;
        let pids = self.walk.rows().iter().map(|row| row.pid);
        let pids = pids.map(|pid| i32::try_from(pid).unwrap_or(i32::MAX));
        self.by_pid.extend(pids.zip(0..));
        // The kernel has them in the order in which they were forked, which is that of their pids until those begin
        // again from below.
        if !self.by_pid.is_sorted() {
            self.by_pid.sort_unstable();
        }
        Ok(())
    }

    /// Returns the row of a process in the last pass.
    fn row(&self, pid: i32) -> Option<&Row> {
        let index = self.by_pid.binary_search_by_key(&pid, |&(pid, _)| pid).ok()?;
        let &(_, row) = self.by_pid.get(index)?;
        self.walk.rows().get(row as usize)
    }
}

/// Reads `statm` of a process whose row this is, through the descriptor that is kept of it.
fn statm_in_proc(entry: &Entry, row: &Row, reader: &mut Reader) -> Option<Statm> {
    let process = entry.process().filter(|process| process.thread.is_none())?;
    if super::row_values::start_of(row, &reader.host) != process.identity.start {
        return None;
    }
    let statm = parse_statm(reader.buffer.read_piece(entry.statm.as_ref()?).ok()?).ok()?;
    // What has no memory any more has no row to compare.
    (statm != Statm::default() && row.has_memory()).then_some(statm)
}
