//! The loaded program, and its passes.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use crate::cpus::{MAX_CPUS, possible_cpus};
use crate::refused::Refused;
use crate::row::Row;
use crate::skeleton::Loaded;
use crate::system_call::{Argument, MappedRows, run};

const BTF: &str = "/sys/kernel/btf/vmlinux";
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
    loaded: Loaded,
    mapped: MappedRows,
    capacity: u32,
    rows: Vec<Row>,
    previous: Vec<Row>,
    missed: u32,
}

/// What one pass has read.
#[derive(Clone, Copy, Debug)]
pub struct Pass<'a> {
    /// One for each process that the reader's pid namespace shows, in the order of the kernel: processes, zombies and
    /// threads of the kernel.
    pub rows: &'a [Row],
    /// Processes for which there was no room. [`Walk::grow`] makes room.
    pub missed: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CpuArgument {
    cpu: u32,
    index: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct WalkResult {
    rows: u32,
    missed: u32,
}

impl Argument for CpuArgument {}
impl Argument for WalkResult {}

impl Walk {
    /// Loads the program, with room for twice as many processes as are expected.
    ///
    /// # Errors
    ///
    /// Why the kernel does not take it, as a clause for a person.
    pub fn load(expected: usize) -> Result<Self, Refused> {
        let capacity = u32::try_from(expected.saturating_mul(2)).unwrap_or(MOST_CAPACITY);
        Self::with_capacity(capacity.clamp(LEAST_CAPACITY, MOST_CAPACITY))
    }

    /// Loads the program with room for exactly so many processes, 1 at least.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn with_capacity(capacity: u32) -> Result<Self, Refused> {
        let cpus = possible_cpus()
            .map_err(|error| Refused::failed("reading which CPUs there can be", &error))?;
        if cpus.len() > MAX_CPUS {
            return Err(Refused::TooManyCpus(cpus.len()));
        }
        let capacity = capacity.max(1);
        let loaded = Loaded::load(capacity).map_err(|refused| match refused {
            // Without BTF the kernel answers in one way or another.
            Refused::Unsuitable { .. } | Refused::Failed { .. } if !Path::new(BTF).exists() => {
                Refused::NoBtf
            }
            refused => refused,
        })?;
        for (index, &cpu) in cpus.iter().enumerate() {
            let mut argument = CpuArgument { cpu, index: index as u32 };
            expect_zero("noting a CPU", run(loaded.note_cpu.as_fd(), &mut argument))
                .map_err(|error| Refused::failed("noting a CPU", &error))?;
        }
        let mapped = MappedRows::map(loaded.rows.as_fd(), capacity as usize)
            .map_err(|error| Refused::from_call("mapping the rows", &error))?;
        let [rows, previous] = [(); 2].map(|()| Vec::with_capacity(capacity as usize));
        Ok(Self { loaded, mapped, capacity, rows, previous, missed: 0 })
    }

    /// Reads all processes. Allocates nothing.
    ///
    /// # Errors
    ///
    /// The kernel did not run the program, or it could not read what it needs.
    pub fn pass(&mut self) -> io::Result<Pass<'_>> {
        let mut result = WalkResult::default();
        std::mem::swap(&mut self.rows, &mut self.previous);
        self.rows.clear();
        expect_zero("the BPF program", run(self.loaded.walk.as_fd(), &mut result))?;
        let rows = 0..result.rows as usize;
        self.rows.extend(rows.map_while(|index| self.mapped.get(index)));
        self.missed = result.missed;
        Ok(Pass { rows: &self.rows, missed: result.missed })
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

    /// Returns the processes that there is room for.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Makes room for twice as many processes as the last pass met, where less than a quarter is free, and returns
    /// whether it did. It takes as long as loading.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load); then all is as before.
    pub fn grow(&mut self) -> Result<bool, Refused> {
        let met = self.rows.len().saturating_add(self.missed as usize);
        if met <= self.capacity as usize / 4 * 3 || self.capacity >= MOST_CAPACITY {
            return Ok(false);
        }
        *self = Self::load(met)?;
        Ok(true)
    }
}

/// Takes a program that returned something else than 0 as failed.
fn expect_zero(what: &str, answer: io::Result<i32>) -> io::Result<()> {
    match answer? {
        0 => Ok(()),
        other => Err(io::Error::other(format!("{what} could not read the kernel ({other})"))),
    }
}
