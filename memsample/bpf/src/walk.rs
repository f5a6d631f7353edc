//! The loaded program, and its passes.

use std::io;
use std::os::fd::AsFd;

use crate::each_task::{EachTask, settle};
use crate::form::Form;
use crate::list::ListWalk;
use crate::parts::cpus_with_room;
use crate::refused::Refused;
use crate::row::Row;
use crate::system_call::MappedRows;

/// Room for at least so many processes.
const LEAST_CAPACITY: u32 = 1024;
/// Room for no more than Linux has pids.
const MOST_CAPACITY: u32 = 1 << 22;

/// A BPF program that reads all processes. Dropping it unloads it.
///
/// ```no_run
/// let mut walk = memsample_bpf::Walk::load(1000)?;
/// let pass = walk.pass()?;
/// for row in pass.rows {
///     println!("{} has {} resident pages", row.pid, row.resident_pages());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Walk {
    loaded: LoadedForm,
    counts_parts: bool,
    mapped: MappedRows,
    capacity: u32,
    rows: Vec<Row>,
    previous: Vec<Row>,
    /// Those of threads, where they have rows of their own.
    threads: Vec<Row>,
    met_threads: Vec<u32>,
    /// What the last pass came to, with or without a row.
    met: usize,
}

enum LoadedForm {
    List(ListWalk),
    EachTask(EachTask),
}

/// What one pass has read.
#[derive(Clone, Copy, Debug)]
pub struct Pass<'a> {
    /// One for each process and zombie that the reader's pid namespace shows, in the order of the kernel. Threads of the
    /// kernel have none.
    pub rows: &'a [Row],
    /// Processes for which there was no room; with [`Form::EachTask`] threads too. [`Walk::grow`] makes room.
    pub missed: u32,
    /// The slices in which it was made.
    pub slices: u32,
    /// How often it began anew, since all processes at the end of a slice had ended before the next one.
    pub restarts: u32,
}

impl Walk {
    /// Loads the best form that the kernel takes, with room for twice as many processes as are expected.
    ///
    /// # Errors
    ///
    /// Why the kernel takes none, as a clause for a person.
    pub fn load(expected: usize) -> Result<Self, Refused> {
        let mut reasons = Vec::new();
        for &form in Form::to_try()? {
            match Self::load_form(form, expected) {
                Ok(walk) => return Ok(walk),
                // Another form may need less.
                Err(reason @ (Refused::Unsuitable { .. } | Refused::Failed { .. })) => {
                    reasons.push(reason);
                }
                Err(reason) => return Err(reason),
            }
        }
        Err(Refused::of_forms(reasons))
    }

    /// Loads one form, with room for twice as many processes as are expected.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_form(form: Form, expected: usize) -> Result<Self, Refused> {
        Self::try_load(form, capacity_for(expected), true)
    }

    /// Loads the same form anew, so that it counts resident pages without the parts of the CPUs.
    ///
    /// From Linux 6.2 to about 6.16 `/proc` does so, and lacks up to 32 pages a CPU, or over.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn without_parts(self) -> Result<Self, Refused> {
        Self::try_load(self.form(), self.capacity, false)
    }

    /// Loads one form, with room for exactly so many processes, 1 at least.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn with_capacity(form: Form, capacity: u32) -> Result<Self, Refused> {
        Self::try_load(form, capacity.max(1), true)
    }

    fn try_load(form: Form, capacity: u32, counts_parts: bool) -> Result<Self, Refused> {
        let mut cpus = cpus_with_room()?;
        if !counts_parts {
            cpus.clear();
        }
        let loaded = match form {
            Form::List => ListWalk::load(capacity, &cpus).map(LoadedForm::List),
            Form::EachTask => EachTask::load(capacity, &cpus).map(LoadedForm::EachTask),
        };
        let loaded = loaded.map_err(Refused::or_no_btf)?;
        let array = match &loaded {
            LoadedForm::List(list) => &list.loaded.rows,
            LoadedForm::EachTask(each_task) => &each_task.loaded.rows,
        };
        let mapped = MappedRows::map(array.as_fd(), capacity as usize)
            .map_err(|error| Refused::from_call("mapping the rows", &error))?;
        let [rows, previous] = [(); 2].map(|()| Vec::with_capacity(capacity as usize));
        let (threads, met_threads) = match form {
            Form::List => Default::default(),
            Form::EachTask => {
                (Vec::with_capacity(capacity as usize), Vec::with_capacity(capacity as usize))
            }
        };
        Ok(Self {
            loaded,
            counts_parts,
            mapped,
            capacity,
            rows,
            previous,
            threads,
            met_threads,
            met: 0,
        })
    }

    /// Returns the form that was loaded.
    #[must_use]
    pub fn form(&self) -> Form {
        match self.loaded {
            LoadedForm::List(_) => Form::List,
            LoadedForm::EachTask(_) => Form::EachTask,
        }
    }

    /// Sets how many tasks a slice has, 1 at least. [`Form::EachTask`] has no slices.
    pub fn set_slice_tasks(&mut self, tasks: u32) {
        if let LoadedForm::List(list) = &mut self.loaded {
            list.slice_tasks = tasks;
        }
    }

    /// Reads all processes. Allocates nothing.
    ///
    /// # Errors
    ///
    /// The kernel did not run the program, or it could not read what it needs.
    pub fn pass(&mut self) -> io::Result<Pass<'_>> {
        self.pass_in_slices(|| {})
    }

    /// Reads all processes, and calls `between` after each slice but the last.
    ///
    /// # Errors
    ///
    /// As [`pass`](Self::pass).
    pub fn pass_in_slices(&mut self, between: impl FnMut()) -> io::Result<Pass<'_>> {
        std::mem::swap(&mut self.rows, &mut self.previous);
        self.rows.clear();
        let written = match &self.loaded {
            LoadedForm::List(list) => list.write(between)?,
            LoadedForm::EachTask(each_task) => each_task.write()?,
        };
        self.met = written.rows as usize + written.missed as usize;
        let written_rows = (0..written.rows as usize).map_while(|index| self.mapped.get(index));
        match self.loaded {
            LoadedForm::List(_) => self.rows.extend(written_rows.map(Row::with_whole_counters)),
            LoadedForm::EachTask(_) => {
                settle(written_rows, &mut self.rows, &mut self.threads, &mut self.met_threads);
            }
        }
        Ok(Pass {
            rows: &self.rows,
            missed: written.missed,
            slices: written.slices,
            restarts: written.restarts,
        })
    }

    /// Returns the rows of the last pass; none before the first one.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Returns the rows of the pass before the last one.
    #[must_use]
    pub fn previous(&self) -> &[Row] {
        &self.previous
    }

    /// Returns how many rows there is room for.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Makes room for twice as much as the last pass came to, where less than a quarter is free, and returns whether it
    /// did. It takes as long as loading.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load); then all is as before.
    pub fn grow(&mut self) -> Result<bool, Refused> {
        if self.met <= self.capacity as usize / 4 * 3 || self.capacity >= MOST_CAPACITY {
            return Ok(false);
        }
        let mut grown = Self::try_load(self.form(), capacity_for(self.met), self.counts_parts)?;
        if let (LoadedForm::List(grown), LoadedForm::List(list)) = (&mut grown.loaded, &self.loaded)
        {
            grown.slice_tasks = list.slice_tasks;
        }
        *self = grown;
        Ok(true)
    }
}

/// Returns room for twice as many as are expected, within bounds.
fn capacity_for(expected: usize) -> u32 {
    let capacity = u32::try_from(expected.saturating_mul(2)).unwrap_or(MOST_CAPACITY);
    capacity.clamp(LEAST_CAPACITY, MOST_CAPACITY)
}
