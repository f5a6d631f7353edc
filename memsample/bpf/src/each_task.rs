//! The form in which the kernel calls a program for each thread.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::{Errno, read};

use crate::list::Written;
use crate::parts::{could_not_read, note_cpus};
use crate::refused::Refused;
use crate::row::Row;
use crate::skeleton::{EACH_TASK, Loaded};
use crate::system_call::{Argument, create_iterator, link_iterator, run};

/// The program writes nothing into what is read.
const BUFFER_BYTES: usize = 64;
/// Readings until the iterator ends: the kernel comes to a million tasks in each.
const MOST_READINGS: usize = 64;

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct PassResult {
    rows: u32,
    missed: u32,
}

impl Argument for PassResult {}

/// The loaded programs `note_cpu`, `begin_anew` and `each_task`, and the iterator that calls the last.
pub(crate) struct EachTask {
    pub(crate) loaded: Loaded<3>,
    link: OwnedFd,
}

impl EachTask {
    pub(crate) fn load(capacity: u32, cpus: &[u32]) -> Result<Self, Refused> {
        let loaded = Loaded::load(&EACH_TASK, capacity)?;
        let [note_cpu, _, each_task] = &loaded.programs;
        note_cpus(note_cpu.as_fd(), cpus)?;
        let link = link_iterator(each_task.as_fd())
            .map_err(|error| Refused::from_call("making the BPF iterator", &error))?;
        Ok(Self { loaded, link })
    }

    /// Writes the rows of all processes and threads.
    pub(crate) fn write(&self) -> io::Result<Written> {
        self.begin_anew()?;
        let iterator = create_iterator(self.link.as_fd())?;
        let mut buffer = [0; BUFFER_BYTES];
        for _ in 0..MOST_READINGS {
            match read(&iterator, &mut buffer) {
                Ok(0) => {
                    let PassResult { rows, missed } = self.begin_anew()?;
                    return Ok(Written { rows, missed, slices: 1, restarts: 0 });
                }
                Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::Error::other("the BPF iterator does not end"))
    }

    /// Returns what was written since the last call.
    fn begin_anew(&self) -> io::Result<PassResult> {
        let [_, begin_anew, _] = &self.loaded.programs;
        let mut result = PassResult::default();
        match run(begin_anew.as_fd(), &mut result)? {
            0 => Ok(result),
            other => Err(could_not_read("the BPF program", other)),
        }
    }
}

/// Takes the rows that were written apart into those of processes, in the order of their pids, and those of threads, and
/// adds these to their processes.
pub(crate) fn settle(
    written: impl Iterator<Item = Row>,
    rows: &mut Vec<Row>,
    threads: &mut Vec<Row>,
    met: &mut Vec<u32>,
) {
    rows.clear();
    threads.clear();
    written.map(Row::with_whole_counters).for_each(|row| match row.is_thread() {
        true => threads.push(row),
        false => rows.push(row),
    });
    // The kernel comes to them in this order.
    if !rows.is_sorted_by_key(|row| row.pid) {
        rows.sort_unstable_by_key(|row| row.pid);
    }
    add_threads(rows, threads, met);
}

/// Adds what threads used to the rows of their processes, which are in the order of their pids. A process of which not
/// each thread has a row, or of which one ended meanwhile, becomes unsteady.
///
/// `met` is memory that is used again.
fn add_threads(rows: &mut [Row], threads: &[Row], met: &mut Vec<u32>) {
    met.clear();
    met.resize(rows.len(), 1);
    for thread in threads {
        let Ok(index) = rows.binary_search_by_key(&thread.pid, |row| row.pid) else { continue };
        if let (Some(row), Some(met)) = (rows.get_mut(index), met.get_mut(index)) {
            row.add_thread(thread);
            *met += 1;
        }
    }
    for (row, &met) in rows.iter_mut().zip(&*met) {
        if row.threads != met {
            row.become_unsteady();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(pid: u32, threads: u32, utime_ns: u64) -> Row {
        Row { pid, threads, utime_ns, ..Row::default() }
    }

    #[test]
    fn a_process_has_what_all_of_its_threads_used_or_is_unsteady() {
        let mut rows = [row(1, 1, 5), row(7, 3, 10), row(9, 2, 20), row(12, 3, 30)];
        let ended = Row { sequence: 2, ..row(9, 0, 1) };
        let threads = [row(12, 0, 4), row(7, 0, 1), row(7, 0, 2), ended, row(8, 0, 100)];
        add_threads(&mut rows, &threads, &mut Vec::new());
        assert_eq!(rows.map(|row| row.utime_ns), [5, 13, 21, 34]);
        // One thread of the third ended meanwhile, and one of the last has no row.
        assert_eq!(rows.map(|row| row.is_steady()), [true, true, false, false]);
    }
}
