//! What the sampler thread hands to the writer thread: some ticks, and what changed in them.
//!
//! A process whose numbers are the same as at the tick before is not in the batch: most are not, most
//! of the time. The writer keeps the last numbers of every process and so knows the row; it is in the
//! Parquet file like any other.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::identity::{Comm, Identity, ProcessId};
use crate::metric::{Files, Metrics};
use crate::schema::cgroups::CgroupSample;
use crate::schema::exits::Exit;
use crate::schema::marks::Mark;
use crate::schema::system::SystemSample;
use crate::schema::ticks::Tick;
use crate::slot::Slot;

/// Ticks in their order. Used again once the writer is done with it, so its vectors keep their size.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Each tick, with what happened in it.
    pub(crate) ticks: Vec<BatchTick>,
    /// What happened, tick after tick.
    pub(crate) changes: Vec<Change>,
    pub(crate) system: Vec<SystemSample>,
    pub(crate) cgroups: Vec<CgroupSample>,
    pub(crate) marks: Vec<Mark>,
    pub(crate) exits: Vec<Exit>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct BatchTick {
    pub(crate) tick: Tick,
    /// What was read of every process that is not listed among the changes; `None` where the samples
    /// of this tick were dropped, so that it has neither changes nor rows.
    pub(crate) common_files: Option<Files>,
    /// How many of the batch's changes belong to this tick.
    pub(crate) changes: u32,
}

/// What happened to one process image in one tick. Ends come before beginnings, since a slot is used
/// again.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    /// The image ended before this tick.
    End(Slot),
    /// The image is sampled for the first time. In a recording, with the image of its parent, where that is in it.
    Begin(Slot, Arc<Identity>, Option<ProcessId>),
    /// The command name is another one from this tick on.
    Rename(Slot, Comm),
    /// The numbers, where they changed or where other files were read than of most processes.
    Row(Slot, Row),
    /// The image could not be read in this tick, and has no row.
    Absent(Slot),
    /// The image belongs to another test than before.
    Assign(Slot, Option<Arc<str>>),
    /// The user, the control group, the arguments or the role are others from this tick on. It is the same image.
    Describe(Slot, Arc<Identity>),
}

/// The numbers of one process at one tick.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) files: Files,
    pub(crate) metrics: Metrics,
}

impl Batch {
    /// Makes it empty, and keeps its memory.
    pub(crate) fn clear(&mut self) {
        let Self { ticks, changes, system, cgroups, marks, exits } = self;
        ticks.clear();
        changes.clear();
        system.clear();
        cgroups.clear();
        marks.clear();
        exits.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ticks.is_empty() && self.marks.is_empty() && self.exits.is_empty()
    }

    /// Returns about how much memory the contents take, in bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.ticks.len() * size_of::<BatchTick>()
            + self.changes.len() * size_of::<Change>()
            + self.system.len() * size_of::<SystemSample>()
            + self.cgroups.len() * size_of::<CgroupSample>()
            + self.marks.iter().map(|mark| size_of::<Mark>() + mark.text_bytes()).sum::<usize>()
            + self.exits.len() * (size_of::<Exit>() + size_of::<Identity>())
    }

    /// Iterates over the ticks, each with its changes.
    pub(crate) fn ticks(&self) -> impl Iterator<Item = (&BatchTick, &[Change])> {
        let mut rest = self.changes.as_slice();
        self.ticks.iter().map(move |tick| {
            let (changes, after) =
                rest.split_at_checked(tick.changes as usize).unwrap_or((rest, &[]));
            rest = after;
            (tick, changes)
        })
    }
}
