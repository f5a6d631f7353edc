//! What the memory of a machine is used for, now or at an instant of a recording, as rows and columns.
//!
//! A [`View`] holds a [`Table`] whose rows are what [`By`] says: processes, groups of them, what they map, or
//! areas of the machine's memory. The caller prints it.
//!
//! ```text
//! /proc ───── live ─────┐
//!                       ├▶ processes ─▶ Table
//! Recording ─ recorded ─┘
//! ```
//!
//! ```
//! use memsample::SamplerOptions;
//! use memsample::view::{By, View, ViewOptions, column};
//!
//! let options = ViewOptions::new(By::Role);
//! let view = View::live(SamplerOptions::default(), &options, &|_uid| None)?;
//! let rss = column(By::Role, "rss").expect("a column of every group");
//! println!("{:?} bytes resident", view.table.total(rss));
//! # Ok::<(), memsample::view::ViewError>(())
//! ```

mod areas;
mod column;
mod live;
mod mappings;
mod note;
mod options;
mod process;
mod recorded;
mod table;
mod user_names;
mod value;

use std::fmt;
use std::io;

pub use column::{Column, ColumnKind, column, columns};
pub use note::Note;
pub use options::{At, By, ViewOptions};
pub use table::Table;
pub use value::{Sum, Value};

use crate::parse::Meminfo;
use crate::recording::{InstantError, Recording};
use crate::sampler::SamplerOptions;
use crate::schema::KnownPss;
use process::Process;

/// The memory of a machine at one instant.
#[derive(Debug)]
pub struct View {
    /// The rows, in no particular order: see [`Table::sort`].
    pub table: Table,
    /// The number of processes in the rows; 0 for [`By::Mapping`], which does not keep them.
    pub processes: usize,
    /// The memory of the machine; `None` where `meminfo` could not be read.
    pub meminfo: Option<Meminfo>,
    /// The PSS of all processes together, and the memory of the machine at that instant; `None` where no
    /// PSS was read.
    pub known_pss: Option<(KnownPss, Meminfo)>,
    /// What the table lacks, and why.
    pub notes: Vec<Note>,
}

impl View {
    /// Reads a live `/proc`, or a captured copy. Reads only the files that the columns of the options need.
    ///
    /// `user_name` returns the name of a user id, if there is one.
    ///
    /// # Errors
    ///
    /// The tree cannot be read, or has no `meminfo` and the view is [`By::System`].
    pub fn live(
        sampler: SamplerOptions,
        options: &ViewOptions,
        user_name: &dyn Fn(u32) -> Option<String>,
    ) -> Result<Self, ViewError> {
        match options.by {
            By::Mapping => Ok(mappings::view(sampler, options)?),
            by => live::read(sampler, options, user_name)?.into_view(by),
        }
    }

    /// Reads a recording at an instant: at the last tick that is not later than `at`, or at its last tick.
    ///
    /// # Errors
    ///
    /// The instant is outside the recording, the recording cannot be read, or it lacks what the view needs:
    /// what processes map, or the memory of the machine.
    pub fn recorded(
        recording: &Recording,
        at: Option<At>,
        options: &ViewOptions,
        user_name: &dyn Fn(u32) -> Option<String>,
    ) -> Result<Self, ViewError> {
        match options.by {
            By::Mapping => Err(ViewError::MappingsNotRecorded),
            by => recorded::read(recording, at, options, user_name)?.into_view(by),
        }
    }
}

/// Why there is no view.
#[derive(Debug)]
#[non_exhaustive]
pub enum ViewError {
    /// The `/proc` tree cannot be read.
    Read(io::Error),
    /// The recording has nothing at that instant, or cannot be read.
    Instant(InstantError),
    /// The offset from the first tick is after the last instant that a timestamp can hold.
    OffsetTooLong,
    /// A recording does not hold what processes map.
    MappingsNotRecorded,
    /// The memory of the machine is not known.
    NoMeminfo,
}

impl fmt::Display for ViewError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "{error}"),
            Self::Instant(error) => write!(f, "{error}"),
            Self::OffsetTooLong => f.write_str("the instant is after the end of time"),
            Self::MappingsNotRecorded => {
                f.write_str("a recording does not hold what processes map")
            }
            Self::NoMeminfo => {
                f.write_str("the memory of the machine is not known: there is no meminfo")
            }
        }
    }
}

impl std::error::Error for ViewError {
    // The message of the inner error is already in ours.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read(error) => error.source(),
            Self::Instant(error) => error.source(),
            Self::OffsetTooLong | Self::MappingsNotRecorded | Self::NoMeminfo => None,
        }
    }
}

impl From<io::Error> for ViewError {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

impl From<InstantError> for ViewError {
    fn from(error: InstantError) -> Self {
        Self::Instant(error)
    }
}

/// The processes that match the options, and the memory of their machine.
struct Population {
    /// Ascending by pid.
    processes: Vec<Process>,
    meminfo: Option<Meminfo>,
    known_pss: Option<(KnownPss, Meminfo)>,
    notes: Vec<Note>,
}

impl Population {
    fn into_view(self, by: By) -> Result<View, ViewError> {
        let table = match by {
            By::System => areas::table(&self.meminfo.ok_or(ViewError::NoMeminfo)?),
            By::User | By::Cgroup | By::Role => process::table_of_groups(&self.processes, by),
            By::Process | By::Mapping => process::table(&self.processes),
        };
        let Self { processes, meminfo, known_pss, notes } = self;
        Ok(View { table, processes: processes.len(), meminfo, known_pss, notes })
    }
}
