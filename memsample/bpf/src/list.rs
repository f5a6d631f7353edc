//! The form that walks the kernel's list of processes, slice by slice.

use std::io;
use std::os::fd::AsFd;

use crate::parts::{could_not_read, note_cpus};
use crate::refused::Refused;
use crate::skeleton::{LIST, Loaded};
use crate::system_call::{Argument, run};

/// Tasks of a slice. The kernel holds back the freeing of memory for the length of a slice, one to two milliseconds.
const SLICE_TASKS: u32 = 2048;
/// A pass begins anew where its place is lost; after so many times it is made in one slice.
const MOST_RESTARTS: u32 = 3;
/// What `walk` returns where its place is lost.
const PLACE_LOST: i32 = 4;

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct WalkArgument {
    is_first: u32,
    most_tasks: u32,
    rows: u32,
    missed: u32,
    is_last: u32,
}

impl Argument for WalkArgument {}

/// The loaded programs `note_cpu` and `walk`.
pub(crate) struct ListWalk {
    pub(crate) loaded: Loaded<2>,
    pub(crate) slice_tasks: u32,
}

/// What a pass has written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Written {
    pub(crate) rows: u32,
    pub(crate) missed: u32,
    pub(crate) slices: u32,
    pub(crate) restarts: u32,
}

impl ListWalk {
    pub(crate) fn load(capacity: u32, cpus: &[u32]) -> Result<Self, Refused> {
        let loaded = Loaded::load(&LIST, capacity)?;
        let [note_cpu, _] = &loaded.programs;
        note_cpus(note_cpu.as_fd(), cpus)?;
        Ok(Self { loaded, slice_tasks: SLICE_TASKS })
    }

    /// Writes the rows of all processes, and calls `between` after each slice but the last.
    pub(crate) fn write(&self, mut between: impl FnMut()) -> io::Result<Written> {
        let [_, walk] = &self.loaded.programs;
        let mut written = Written::default();
        let mut is_first = true;
        loop {
            let is_whole = written.restarts >= MOST_RESTARTS;
            let most_tasks = if is_whole { u32::MAX } else { self.slice_tasks.max(1) };
            let mut argument = WalkArgument {
                is_first: u32::from(is_first),
                most_tasks,
                ..WalkArgument::default()
            };
            written.slices += 1;
            is_first = false;
            match run(walk.as_fd(), &mut argument)? {
                0 if argument.is_last != 0 => {
                    (written.rows, written.missed) = (argument.rows, argument.missed);
                    return Ok(written);
                }
                0 => {}
                PLACE_LOST => {
                    written.restarts += 1;
                    is_first = true;
                }
                other => return Err(could_not_read("the BPF program", other)),
            }
            between();
        }
    }
}
