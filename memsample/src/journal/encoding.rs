//! Batches as bytes.
//!
//! Rows, of which there are thousands a second, are differences from the last numbers in the same
//! slot ([`codec`](crate::codec)). Everything else is what `postcard` makes of its type, so a change
//! to one of these types is a change of the format: raise the number in [`MAGIC`](super::MAGIC).

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::batch::{Batch, BatchTick, Change, Row};
use crate::codec::{Decoder, put_changes};
use crate::identity::{Comm, Identity, ProcessId};
use crate::metric::{Files, Metrics};
use crate::schema::Totals;
use crate::schema::cgroups::CgroupSample;
use crate::schema::exits::Exit;
use crate::schema::marks::Mark;
use crate::schema::processes::Summary;
use crate::schema::system::SystemSample;
use crate::slot::Slot;
use crate::slot_map::SlotMap;

/// What a journal begins with: where the recording stood at the checkpoint before it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Opening {
    /// The checkpoint that this journal follows; 0 for the first journal of a recording.
    pub(crate) checkpoint: u64,
    pub(crate) totals: Totals,
    /// The process images that are still being sampled.
    pub(crate) images: Vec<ImageState>,
}

/// A process image that was being sampled when the journal began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ImageState {
    pub(crate) slot: Slot,
    pub(crate) identity: Arc<Identity>,
    /// What it is now, where that is not what it was at its first sample.
    pub(crate) now: Option<Arc<Identity>>,
    pub(crate) parent: Option<ProcessId>,
    pub(crate) comm: Comm,
    pub(crate) test: Option<Arc<str>>,
    pub(crate) metrics: Metrics,
    pub(crate) summary: Summary,
}

/// An item of the stream behind the opening.
#[derive(Serialize, Deserialize)]
enum Item {
    System(Box<SystemSample>),
    Mark(Mark),
    Exit(Box<Exit>),
    Cgroup(Box<CgroupSample>),
    /// Followed by its changes.
    Tick(BatchTick),
}

/// A change. The numbers of a row follow behind it.
#[derive(Serialize, Deserialize)]
enum ChangeItem {
    Row(Slot, Files),
    Absent(Slot),
    End(Slot),
    Begin(Slot, Arc<Identity>, Option<ProcessId>),
    Rename(Slot, Comm),
    Assign(Slot, Option<Arc<str>>),
    Describe(Slot, Arc<Identity>),
}

/// The last metrics of each slot, from which the next ones differ.
#[derive(Default)]
struct LastMetrics(SlotMap<Metrics>);

impl LastMetrics {
    /// Begins with the metrics of a process image. `None` where the slot is impossible.
    fn begin(&mut self, slot: Slot, metrics: Metrics) -> Option<()> {
        self.0.insert(slot, metrics).map(drop)
    }

    /// Returns the metrics of an image that has begun.
    fn of(&mut self, slot: Slot) -> Option<&mut Metrics> {
        self.0.get_mut(slot)
    }
}

/// Turns batches into bytes that a [`BatchDecoder`] understands.
#[derive(Default)]
pub(super) struct BatchEncoder {
    last: LastMetrics,
    bytes: Vec<u8>,
}

impl BatchEncoder {
    /// Encodes the opening. The result is valid until the next call.
    pub(super) fn opening(&mut self, opening: &Opening) -> io::Result<&[u8]> {
        self.bytes.clear();
        for image in &opening.images {
            self.last.begin(image.slot, image.metrics);
        }
        self.put(opening)?;
        Ok(&self.bytes)
    }

    /// Encodes a batch. The result is valid until the next call.
    pub(super) fn batch(&mut self, batch: &Batch) -> io::Result<&[u8]> {
        self.bytes.clear();
        for system in &batch.system {
            self.put(&Item::System(Box::new(*system)))?;
        }
        for cgroup in &batch.cgroups {
            self.put(&Item::Cgroup(Box::new(cgroup.clone())))?;
        }
        for mark in &batch.marks {
            self.put(&Item::Mark(mark.clone()))?;
        }
        for exit in &batch.exits {
            self.put(&Item::Exit(Box::new(exit.clone())))?;
        }
        for (tick, changes) in batch.ticks() {
            self.put(&Item::Tick(tick.clone()))?;
            for change in changes {
                self.put_change(change)?;
            }
        }
        Ok(&self.bytes)
    }

    fn put_change(&mut self, change: &Change) -> io::Result<()> {
        match change {
            Change::Absent(slot) => self.put(&ChangeItem::Absent(*slot)),
            Change::End(slot) => self.put(&ChangeItem::End(*slot)),
            Change::Rename(slot, comm) => self.put(&ChangeItem::Rename(*slot, *comm)),
            Change::Assign(slot, test) => self.put(&ChangeItem::Assign(*slot, test.clone())),
            Change::Describe(slot, identity) => {
                self.put(&ChangeItem::Describe(*slot, Arc::clone(identity)))
            }
            Change::Begin(slot, identity, parent) => {
                self.last.begin(*slot, Metrics::default());
                self.put(&ChangeItem::Begin(*slot, Arc::clone(identity), *parent))
            }
            Change::Row(slot, row) => {
                self.put(&ChangeItem::Row(*slot, row.files))?;
                let before = self.last.of(*slot);
                let before = before
                    .ok_or_else(|| io::Error::other("a row of an image that has not begun"))?;
                put_changes(&mut self.bytes, before, &row.metrics);
                *before = row.metrics;
                Ok(())
            }
        }
    }

    fn put(&mut self, value: &impl Serialize) -> io::Result<()> {
        self.bytes = postcard::to_extend(value, std::mem::take(&mut self.bytes))
            .map_err(io::Error::other)?;
        Ok(())
    }
}

/// Turns the bytes of a [`BatchEncoder`] into batches.
#[derive(Default)]
pub(super) struct BatchDecoder {
    last: LastMetrics,
}

impl BatchDecoder {
    /// Reads an opening; `None` where the bytes are none.
    pub(super) fn opening(&mut self, bytes: &[u8]) -> Option<Opening> {
        let opening: Opening = Decoder::new(bytes).item()?;
        for image in &opening.images {
            self.last.begin(image.slot, image.metrics)?;
        }
        Some(opening)
    }

    /// Appends what `bytes` hold to `batch`. `None` where they are malformed; what came before that,
    /// up to the last whole tick, has been appended then.
    pub(super) fn batch(&mut self, bytes: &[u8], batch: &mut Batch) -> Option<()> {
        let mut decoder = Decoder::new(bytes);
        while !decoder.is_empty() {
            match decoder.item()? {
                Item::System(system) => batch.system.push(*system),
                Item::Mark(mark) => batch.marks.push(mark),
                Item::Exit(exit) => batch.exits.push(*exit),
                Item::Cgroup(cgroup) => batch.cgroups.push(*cgroup),
                Item::Tick(tick) => {
                    let before = batch.changes.len();
                    for _ in 0..tick.changes {
                        let Some(change) = self.change(&mut decoder) else {
                            batch.changes.truncate(before);
                            return None;
                        };
                        batch.changes.push(change);
                    }
                    batch.ticks.push(tick);
                }
            }
        }
        Some(())
    }

    fn change(&mut self, decoder: &mut Decoder<'_>) -> Option<Change> {
        Some(match decoder.item()? {
            ChangeItem::Absent(slot) => Change::Absent(slot),
            ChangeItem::End(slot) => Change::End(slot),
            ChangeItem::Rename(slot, comm) => Change::Rename(slot, comm),
            ChangeItem::Assign(slot, test) => Change::Assign(slot, test),
            ChangeItem::Describe(slot, identity) => Change::Describe(slot, identity),
            ChangeItem::Begin(slot, identity, parent) => {
                self.last.begin(slot, Metrics::default())?;
                Change::Begin(slot, identity, parent)
            }
            ChangeItem::Row(slot, files) => {
                let metrics = self.last.of(slot)?;
                decoder.changes(metrics)?;
                Change::Row(slot, Row { files, metrics: *metrics })
            }
        })
    }
}

/// Reads an opening and a batch, and checks that both are the same when written and read again.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_contents(opening: &[u8], contents: &[u8]) {
    let mut decoder = BatchDecoder::default();
    let Some(opening) = decoder.opening(opening) else {
        return;
    };
    let mut batch = Batch::default();
    let _ = decoder.batch(contents, &mut batch);

    let mut encoder = BatchEncoder::default();
    let bytes = encoder.opening(&opening).expect("in memory").to_vec();
    let mut decoder = BatchDecoder::default();
    assert_eq!(decoder.opening(&bytes), Some(opening));
    let bytes = encoder.batch(&batch).expect("in memory").to_vec();
    let mut again = Batch::default();
    assert_eq!(decoder.batch(&bytes, &mut again), Some(()));
    assert_eq!((again.ticks, again.changes), (batch.ticks, batch.changes));
    assert_eq!((again.system, again.marks), (batch.system, batch.marks));
    assert_eq!((again.exits, again.cgroups), (batch.exits, batch.cgroups));
}
