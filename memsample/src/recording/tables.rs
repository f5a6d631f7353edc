//! The tables of a recording while it is written: what is new since the last checkpoint, in memory,
//! and the file.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use memsample_beneath::HeldDirectory;

use super::purpose::Purpose;
use super::table::{Origin, RowGroups, TableFile, Tail};
use super::written_images::WrittenImages;
use crate::schema::Fields;
use crate::schema::exits::Exit;
use crate::schema::marks::Mark;
use crate::schema::processes::{self, ProcessRow};
use crate::schema::{self, Table};
use crate::segment::Segment;

/// An exit record comes with the tick at which the end was seen, or one before or after.
const LAST_ENDED: usize = 16 * 1024;

/// A small table whose rows never change.
pub(super) struct AppendTable<R: 'static> {
    pub(super) file: TableFile,
    fields: Fields<R>,
    /// The rows since the last checkpoint, of which the first `flushed` are in the tail of the file.
    rows: Vec<R>,
    flushed: usize,
}

impl<R> AppendTable<R> {
    pub(super) fn new(file: TableFile, fields: Fields<R>) -> Self {
        Self { file, fields, rows: Vec::new(), flushed: 0 }
    }

    pub(super) fn push(&mut self, row: R) {
        self.rows.push(row);
    }

    /// Returns the rows that are not yet in the file.
    pub(super) fn unflushed(&mut self) -> &mut [R] {
        self.rows.get_mut(self.flushed..).unwrap_or_default()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.rows.len() * size_of::<R>()
    }

    /// Puts the rows since the last flush into the tail of the file.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let rows = self.rows.get(self.flushed..).unwrap_or_default();
        let rows = self.file.encode(self.fields, Purpose::SmallTail, rows)?;
        self.file.publish(self.file.checkpoint(), None, Tail::Append(rows))?;
        self.flushed = self.rows.len();
        Ok(())
    }

    /// Settles the rows since the last checkpoint, unless the file has them already.
    pub(super) fn settle(&mut self, checkpoint: u64) -> io::Result<()> {
        if self.file.checkpoint() >= checkpoint {
            return Ok(());
        }
        let rows = self.file.encode(self.fields, Purpose::Settled, &self.rows)?;
        self.file.publish(checkpoint, rows, Tail::Replace(None))
    }

    /// Does the same with less space: the tail stays, and what it lacks goes into another file.
    pub(super) fn settle_beside(&mut self, checkpoint: u64) -> io::Result<()> {
        if self.file.checkpoint() >= checkpoint {
            return Ok(());
        }
        let rows = self.rows.get(self.flushed..).unwrap_or_default();
        let rows = self.file.encode(self.fields, Purpose::SmallTail, rows)?;
        self.file.rotate();
        self.file.publish(checkpoint, rows, Tail::Replace(None))
    }

    /// Forgets the rows, which are settled.
    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.flushed = 0;
    }
}

impl AppendTable<Mark> {
    /// Settles the marks in the order of time: those that the recorder sets itself come up to half a
    /// second after those of callers, which may have been flushed by then.
    fn settle_sorted(&mut self, checkpoint: u64) -> io::Result<()> {
        if self.file.checkpoint() >= checkpoint {
            return Ok(());
        }
        // A copy: the tail has the others in the order in which they came.
        let mut rows = self.rows.clone();
        rows.sort_by_key(|mark| mark.boot_ns);
        let rows = self.file.encode(self.fields, Purpose::Settled, &rows)?;
        self.file.publish(checkpoint, rows, Tail::Replace(None))
    }
}

/// The table of samples.
pub(super) struct SampleTable {
    pub(super) file: TableFile,
    /// The samples since the last checkpoint, of which the first `flushed` ticks are in the tail.
    pub(super) segment: Segment,
    flushed: u32,
    /// How many they are.
    pub(super) samples: u64,
}

impl SampleTable {
    pub(super) fn new(file: TableFile) -> Self {
        Self { file, segment: Segment::default(), flushed: 0, samples: 0 }
    }

    /// Puts the samples since the last flush into the tail of the file.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let rows = self.encode(Purpose::Tail, self.flushed)?;
        self.file.publish(self.file.checkpoint(), None, Tail::Append(rows))?;
        self.flushed = self.segment.ticks().len() as u32;
        Ok(())
    }

    /// Settles the samples since the last checkpoint, unless the file has them already.
    pub(super) fn settle(&mut self, checkpoint: u64) -> io::Result<()> {
        if self.file.checkpoint() >= checkpoint {
            return Ok(());
        }
        let rows = self.encode(Purpose::Settled, 0)?;
        self.file.publish(checkpoint, rows, Tail::Replace(None))
    }

    /// Does the same with less space: the tail stays, and what it lacks goes into another file.
    pub(super) fn settle_beside(&mut self, checkpoint: u64) -> io::Result<()> {
        if self.file.checkpoint() >= checkpoint {
            return Ok(());
        }
        let rows = self.encode(Purpose::Tail, self.flushed)?;
        self.file.rotate();
        self.file.publish(checkpoint, rows, Tail::Replace(None))
    }

    /// Forgets the samples, which are settled.
    pub(super) fn clear(&mut self) {
        self.segment = Segment::default();
        self.flushed = 0;
        self.samples = 0;
    }

    fn encode(&self, purpose: Purpose, first_tick: u32) -> io::Result<Option<RowGroups>> {
        self.file.encode_samples(purpose, &self.segment, first_tick)
    }
}

/// The table of processes, whose rows change until the process ends.
pub(super) struct ProcessTable {
    pub(super) file: TableFile,
    /// Those that are being sampled.
    pub(super) images: WrittenImages,
    /// Those that ended since the last checkpoint.
    ended: Vec<ProcessRow>,
    ended_bytes: usize,
}

impl ProcessTable {
    pub(super) fn new(file: TableFile) -> Self {
        Self { file, images: WrittenImages::default(), ended: Vec::new(), ended_bytes: 0 }
    }

    pub(super) fn push_ended(&mut self, row: ProcessRow) {
        self.ended_bytes += row.memory_bytes();
        self.ended.push(row);
    }

    /// Notes the peak of an image that has ended, or is about to be seen to.
    pub(super) fn set_exit(&mut self, exit: &Exit) {
        let mut last = self.ended.iter_mut().rev().take(LAST_ENDED);
        match last.find(|row| row.identity.process == exit.process) {
            Some(row) => row.summary.end(exit),
            None => self.images.set_exit(exit),
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.ended_bytes
    }

    /// Writes all rows since the last checkpoint anew.
    pub(super) fn flush(&mut self, segment: &Segment) -> io::Result<()> {
        self.images.sum(segment);
        let rows =
            self.encode(Purpose::SmallTail, self.ended.iter().cloned().chain(self.images.rows()))?;
        self.file.publish(self.file.checkpoint(), None, Tail::Replace(rows))
    }

    /// Settles the rows of those that ended, and at the end of the recording those of all, unless the file has them
    /// already: the end settled those of all if nothing is left in the tail.
    pub(super) fn settle(
        &mut self,
        checkpoint: u64,
        segment: &Segment,
        closing: bool,
    ) -> io::Result<()> {
        self.images.sum(segment);
        let lacks_ended = self.file.checkpoint() < checkpoint;
        if !lacks_ended && self.file.tail_rows() == 0 {
            return Ok(());
        }
        let ended = self.ended.iter().filter(|_| lacks_ended).cloned();
        let (settled, tail) = if closing {
            (self.encode(Purpose::Settled, ended.chain(self.images.rows()))?, None)
        } else {
            (
                self.encode(Purpose::Settled, ended)?,
                self.encode(Purpose::SmallTail, self.images.rows())?,
            )
        };
        self.file.publish(checkpoint, settled, Tail::Replace(tail))
    }

    /// Forgets the rows that are settled.
    pub(super) fn clear(&mut self) {
        self.ended.clear();
        self.ended_bytes = 0;
    }

    fn encode(
        &self,
        purpose: Purpose,
        rows: impl Iterator<Item = ProcessRow>,
    ) -> io::Result<Option<RowGroups>> {
        let mut rows: Vec<_> = rows.collect();
        rows.sort_unstable_by_key(|row| row.identity.process);
        self.file.encode(processes::FIELDS, purpose, &rows)
    }
}

/// The files of all tables, created or opened one by one.
pub(super) struct Tables {
    pub(super) samples: SampleTable,
    pub(super) processes: ProcessTable,
    pub(super) ticks: AppendTable<crate::schema::ticks::Tick>,
    pub(super) system: AppendTable<crate::schema::system::SystemSample>,
    pub(super) marks: AppendTable<Mark>,
    pub(super) cgroups: AppendTable<crate::schema::cgroups::CgroupSample>,
    pub(super) exits: AppendTable<Exit>,
    /// What the texts of the marks since the last checkpoint come to.
    mark_text_bytes: usize,
}

impl Tables {
    /// Opens each table with `open`.
    pub(super) fn open(mut open: impl FnMut(Table) -> io::Result<TableFile>) -> io::Result<Self> {
        use crate::schema::{cgroups, exits, marks, system, ticks};
        Ok(Self {
            samples: SampleTable::new(open(schema::samples())?),
            processes: ProcessTable::new(open(processes::table())?),
            ticks: AppendTable::new(open(ticks::table())?, ticks::FIELDS),
            system: AppendTable::new(open(system::table())?, system::FIELDS),
            cgroups: AppendTable::new(open(cgroups::table())?, cgroups::FIELDS),
            marks: AppendTable::new(open(marks::table())?, marks::FIELDS),
            exits: AppendTable::new(open(exits::table())?, exits::FIELDS),
            mark_text_bytes: 0,
        })
    }

    /// Creates all files, without rows.
    pub(super) fn create(directory: &Arc<HeldDirectory>, origin: &Origin) -> io::Result<Self> {
        Self::open(|table| TableFile::create(directory, table, origin.clone()))
    }

    pub(super) fn push_mark(&mut self, mark: Mark) {
        self.mark_text_bytes += mark.text_bytes();
        self.marks.push(mark);
    }

    /// Returns how much memory the rows since the last checkpoint take.
    pub(super) fn memory_bytes(&self) -> usize {
        let Self { samples, processes, ticks, system, cgroups, exits, marks, mark_text_bytes } =
            self;
        samples.segment.memory_bytes()
            + processes.memory_bytes()
            + ticks.memory_bytes()
            + system.memory_bytes()
            + cgroups.memory_bytes()
            + exits.memory_bytes()
            + marks.memory_bytes()
            + mark_text_bytes
    }

    /// Returns how many files each table has that has more than one.
    pub(super) fn files(&self) -> BTreeMap<String, u32> {
        let Self { samples, processes, ticks, system, cgroups, marks, exits, .. } = self;
        let files = [
            &samples.file,
            &processes.file,
            &ticks.file,
            &system.file,
            &cgroups.file,
            &marks.file,
            &exits.file,
        ];
        let counts = files.map(TableFile::files).into_iter().filter(|&(_, count)| count > 1);
        counts.map(|(table, count)| (table.to_owned(), count)).collect()
    }

    /// Brings the tails of all files up to date.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let Self { samples, processes, ticks, system, cgroups, marks, exits, .. } = self;
        samples.flush()?;
        ticks.flush()?;
        system.flush()?;
        cgroups.flush()?;
        marks.flush()?;
        exits.flush()?;
        processes.flush(&samples.segment)
    }

    /// Settles what came since the last checkpoint. A table that has it already, because a crash came
    /// between two tables, gets no second copy.
    pub(super) fn settle(&mut self, checkpoint: u64, closing: bool) -> io::Result<()> {
        let Self { samples, processes, ticks, system, cgroups, marks, exits, .. } = self;
        samples.settle(checkpoint)?;
        ticks.settle(checkpoint)?;
        system.settle(checkpoint)?;
        cgroups.settle(checkpoint)?;
        marks.settle_sorted(checkpoint)?;
        exits.settle(checkpoint)?;
        processes.settle(checkpoint, &samples.segment, closing)
    }

    /// Settles everything on a disk that has no space for a copy of what is there.
    ///
    /// Only the rows of processes, which change, must be copied; they are few, and come last.
    pub(super) fn settle_beside(&mut self, checkpoint: u64) -> io::Result<()> {
        let Self { samples, processes, ticks, system, cgroups, marks, exits, .. } = self;
        samples.settle_beside(checkpoint)?;
        ticks.settle_beside(checkpoint)?;
        system.settle_beside(checkpoint)?;
        cgroups.settle_beside(checkpoint)?;
        marks.settle_beside(checkpoint)?;
        exits.settle_beside(checkpoint)?;
        processes.settle(checkpoint, &samples.segment, true)
    }

    /// Begins anew behind a checkpoint: what it settled is forgotten, and the images that are sampled continue.
    pub(super) fn begin_segment(&mut self) {
        let Self { samples, processes, ticks, system, cgroups, marks, exits, .. } = self;
        samples.clear();
        processes.clear();
        processes.images.begin_segment(&mut samples.segment);
        ticks.clear();
        system.clear();
        cgroups.clear();
        marks.clear();
        exits.clear();
        self.mark_text_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::marks::MarkKind;

    #[test]
    fn marks_count_until_the_next_checkpoint() {
        let directory = tempfile::tempdir().unwrap();
        let origin = Origin { id: "id".into(), provenance: "{}".into() };
        let held = Arc::new(HeldDirectory::open(directory.path()).unwrap());
        let mut tables = Tables::create(&held, &origin).unwrap();
        assert_eq!(tables.memory_bytes(), 0);
        for _ in 0..10 {
            tables.push_mark(Mark {
                ts_ms: 0,
                boot_ns: 0,
                kind: MarkKind::Point,
                name: "n".repeat(1000),
                test: Some("t".repeat(500)),
                process: None,
                labels: BTreeMap::from([("key".to_owned(), "v".repeat(497))]),
                marked: None,
            });
        }
        assert_eq!(tables.memory_bytes(), 10 * (2000 + size_of::<Mark>()));
        tables.settle(1, false).unwrap();
        tables.begin_segment();
        assert_eq!(tables.memory_bytes(), 0);
    }

    #[test]
    fn a_table_that_goes_on_in_another_file_says_how_many_it_has() {
        let directory = tempfile::tempdir().unwrap();
        let origin = Origin { id: "id".into(), provenance: "{}".into() };
        let held = Arc::new(HeldDirectory::open(directory.path()).unwrap());
        let mut tables = Tables::create(&held, &origin).unwrap();
        assert_eq!(tables.files(), BTreeMap::new());
        tables.samples.file.rotate();
        tables.ticks.file.rotate();
        // One that was not begun is not counted.
        assert_eq!(tables.files(), BTreeMap::new());
        tables.samples.file.publish(1, None, Tail::Replace(None)).unwrap();
        assert_eq!(tables.files(), BTreeMap::from([("samples".to_owned(), 2)]));
        assert!(directory.path().join("samples-0002.parquet").exists());
    }
}
