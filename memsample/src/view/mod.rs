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
mod by;
mod column;
mod error;
mod live;
mod mappings;
mod note;
mod options;
mod population;
mod process;
mod recorded;
mod table;
mod user_names;
mod value;

pub use by::By;
pub use column::{Column, ColumnKind, column, columns};
pub use error::ViewError;
pub use note::Note;
pub use options::{At, ViewOptions};
pub use table::Table;
pub use value::{Sum, Value};

use crate::parse::Meminfo;
use crate::recording::Recording;
use crate::sampler::SamplerOptions;
use crate::schema::KnownPss;
use population::Population;

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
            By::Mapping => {
                let (table, meminfo, notes) = mappings::read(sampler, options)?;
                Ok(Self { table, processes: 0, meminfo, known_pss: None, notes })
            }
            by => Self::of(live::read(sampler, options, user_name)?, by),
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
            by => Self::of(recorded::read(recording, at, options, user_name)?, by),
        }
    }

    /// Makes the rows of processes, or of their machine.
    fn of(population: Population, by: By) -> Result<Self, ViewError> {
        let Population { processes, meminfo, known_pss, notes } = population;
        let table = match by {
            By::System => areas::table(&meminfo.ok_or(ViewError::NoMeminfo)?),
            By::User | By::Cgroup | By::Role => process::table_of_groups(&processes, by),
            By::Process | By::Mapping => process::table(&processes),
        };
        Ok(Self { table, processes: processes.len(), meminfo, known_pss, notes })
    }
}
