use std::fs;
use std::io;

use super::layout::{Lock, RunDirectory};
use super::manifest::{End, Manifest, RecorderUsage, RunState};
use super::roster::Roster;
use super::rows::Fields;
use super::rows::marks::{self, Mark};
use super::rows::processes::{self, ProcessRow};
use super::rows::system::{self, SystemSample};
use super::rows::ticks::{self, Tick};
use super::table::{Purpose, RowGroups, TableFile, Tail};
use crate::batch::{Batch, BatchTick, Change};
use crate::identity::Comm;
use crate::journal::{JournalReader, JournalWriter, Opening};
use crate::schema;
use crate::segment::{SampledTick, Segment};

/// Every thirty seconds the Parquet files are brought up to date, for those who look meanwhile.
const FLUSH_NS: u64 = 30_000_000_000;
/// The first time after one second, then after two, four, eight: a short recording can be looked at
/// early.
const FIRST_FLUSH_NS: u64 = 1_000_000_000;

/// A checkpoint writes a row group of this many samples. The more ticks it spans, the smaller it is;
/// but a reader takes a row group as the unit of its work.
const CHECKPOINT_SAMPLES: u64 = 2_000_000;
/// What is kept in memory since the last checkpoint, at most.
const CHECKPOINT_BYTES: usize = 8 << 20;
/// The longest time between checkpoints.
const CHECKPOINT_NS: u64 = 600_000_000_000;

/// Writes the files of a recording.
///
/// What a batch holds is on disk, in the journal, when [`append`](Self::append) returns; it can be
/// seen in the Parquet files after the next flush; and it is where it stays, in large sorted row
/// groups, after the next checkpoint, when the journal begins anew.
pub(crate) struct RecordingWriter {
    directory: RunDirectory,
    _lock: Lock,
    pub(crate) manifest: Manifest,
    /// `None` once it could not be written.
    journal: Option<JournalWriter>,
    checkpoint: u64,
    tables: Tables,
    segment: Segment,
    roster: Roster,
    /// Images that ended since the checkpoint, and their memory.
    ended: Vec<ProcessRow>,
    ended_bytes: usize,
    ticks: Vec<Tick>,
    system: Vec<SystemSample>,
    marks: Vec<Mark>,
    /// Samples since the checkpoint.
    samples: u64,
    flushed: Flushed,
    checkpoint_boot_ns: u64,
    flush_boot_ns: u64,
    flush_after_ns: u64,
}

struct Tables {
    samples: TableFile,
    processes: TableFile,
    ticks: TableFile,
    system: TableFile,
    marks: TableFile,
}

/// How much of what came since the checkpoint is in the tails of the files.
#[derive(Clone, Copy, Default)]
struct Flushed {
    segment_ticks: u32,
    ticks: usize,
    system: usize,
    marks: usize,
}

impl RecordingWriter {
    /// Begins a recording in an empty directory that was just made.
    pub(crate) fn create(
        directory: RunDirectory,
        lock: Lock,
        manifest: Manifest,
    ) -> io::Result<Self> {
        directory.reserve_space()?;
        manifest.write(&directory.manifest())?;
        let journal = JournalWriter::create(&directory.journal_file(0), &Opening::default())?;
        let provenance = serde_json::to_string(&manifest.provenance).map_err(io::Error::other)?;
        let create = |table| TableFile::create(directory.path(), table, provenance.clone());
        let tables = Tables {
            samples: create(schema::samples())?,
            processes: create(processes::table())?,
            ticks: create(ticks::table())?,
            system: create(system::table())?,
            marks: create(marks::table())?,
        };
        directory.sync()?;
        Ok(Self::new(directory, lock, manifest, Some(journal), tables))
    }

    fn new(
        directory: RunDirectory,
        lock: Lock,
        manifest: Manifest,
        journal: Option<JournalWriter>,
        tables: Tables,
    ) -> Self {
        Self {
            directory,
            _lock: lock,
            checkpoint_boot_ns: manifest.provenance.clock.boot_ns,
            flush_boot_ns: manifest.provenance.clock.boot_ns,
            manifest,
            journal,
            checkpoint: 0,
            tables,
            segment: Segment::default(),
            roster: Roster::default(),
            ended: Vec::new(),
            ended_bytes: 0,
            ticks: Vec::new(),
            system: Vec::new(),
            marks: Vec::new(),
            samples: 0,
            flushed: Flushed::default(),
            flush_after_ns: FIRST_FLUSH_NS,
        }
    }

    /// Writes a batch to the journal, and now and then the Parquet files.
    ///
    /// # Errors
    ///
    /// Something could not be written. The recording can then only be closed.
    pub(crate) fn append(&mut self, batch: &Batch) -> io::Result<()> {
        let journal = match &mut self.journal {
            Some(journal) => journal.append(batch),
            None => Err(io::Error::other("the journal is closed")),
        };
        // Although it is not in the journal, it may still find its place when the recording closes.
        self.apply(batch);
        if journal.is_err() {
            self.journal = None;
        }
        journal?;
        let Some(now_ns) = batch.ticks.last().map(|tick| tick.tick.began_ns) else {
            return Ok(());
        };
        if self.is_checkpoint_due(now_ns) {
            self.write_checkpoint(now_ns)
        } else if now_ns >= self.flush_boot_ns.saturating_add(self.flush_after_ns) {
            self.flush_after_ns = (2 * self.flush_after_ns).min(FLUSH_NS);
            self.flush(now_ns)
        } else {
            Ok(())
        }
    }

    /// Returns the image with the largest resident set: its name, pid and bytes.
    pub(crate) fn largest(&self) -> Option<(Comm, i32, u64)> {
        self.roster.largest()
    }

    fn is_checkpoint_due(&self, now_ns: u64) -> bool {
        let memory_bytes = self.segment.memory_bytes()
            + self.ended_bytes
            + self.ticks.len() * size_of::<Tick>()
            + self.system.len() * size_of::<SystemSample>();
        self.samples >= CHECKPOINT_SAMPLES
            || memory_bytes >= CHECKPOINT_BYTES
            || now_ns >= self.checkpoint_boot_ns.saturating_add(CHECKPOINT_NS)
    }

    /// Takes a batch into memory.
    fn apply(&mut self, batch: &Batch) {
        for (tick, changes) in batch.ticks() {
            self.apply_tick(tick, changes);
        }
        self.system.extend_from_slice(&batch.system);
        // Threads that set marks at the same time are not heard in the order of their clocks.
        self.marks.extend_from_slice(&batch.marks);
        if let Some(marks) = self.marks.get_mut(self.flushed.marks..) {
            marks.sort_by_key(|mark| mark.boot_ns);
        }
    }

    fn apply_tick(&mut self, tick: &BatchTick, changes: &[Change]) {
        let BatchTick { tick, common_files, .. } = tick;
        self.ticks.push(*tick);
        self.manifest.last_tick = jiff::Timestamp::from_millisecond(tick.ts_ms).ok();
        let Some(files) = *common_files else {
            self.manifest.totals.add(tick, 0);
            return;
        };
        self.segment.begin_tick(SampledTick { ts_ms: tick.ts_ms, files });
        let Self { segment, roster, .. } = self;
        let mut absent = 0;
        let mut ended = Vec::new();
        for change in changes {
            match change {
                Change::End(slot) => ended.extend(roster.end(*slot, segment)),
                Change::Begin(slot, identity) => {
                    ended.extend(roster.begin(*slot, identity.clone(), segment));
                    self.manifest.totals.processes += 1;
                }
                Change::Rename(slot, comm) => roster.rename(*slot, *comm, segment),
                Change::Row(slot, row) => roster.set_row(*slot, row, segment),
                Change::Absent(slot) => absent += u64::from(roster.set_absent(*slot, segment)),
            }
        }
        let samples = self.roster.count().saturating_sub(absent);
        self.manifest.totals.add(tick, samples);
        self.samples += samples;
        self.ended_bytes += ended.iter().map(ProcessRow::memory_bytes).sum::<usize>();
        self.ended.append(&mut ended);
    }

    /// Brings the Parquet files up to date.
    fn flush(&mut self, now_ns: u64) -> io::Result<()> {
        self.flush_boot_ns = now_ns;
        if let Some(journal) = &self.journal {
            journal.sync()?;
        }
        self.publish_tails()?;
        self.manifest.write(&self.directory.manifest())
    }

    /// Puts the rows since the last flush into the tails of the files.
    fn publish_tails(&mut self) -> io::Result<()> {
        let Self { tables, flushed, checkpoint, .. } = self;
        let publish =
            |table: &mut TableFile, rows| table.publish(*checkpoint, None, Tail::Append(rows));
        let rows =
            encode_samples(&tables.samples, Purpose::Tail, &self.segment, flushed.segment_ticks)?;
        publish(&mut tables.samples, rows)?;
        flushed.segment_ticks = self.segment.ticks().len() as u32;
        let rows =
            encode(&tables.ticks, Purpose::SmallTail, ticks::FIELDS, &self.ticks, flushed.ticks)?;
        publish(&mut tables.ticks, rows)?;
        flushed.ticks = self.ticks.len();
        let rows = encode(
            &tables.system,
            Purpose::SmallTail,
            system::FIELDS,
            &self.system,
            flushed.system,
        )?;
        publish(&mut tables.system, rows)?;
        flushed.system = self.system.len();
        let rows =
            encode(&tables.marks, Purpose::SmallTail, marks::FIELDS, &self.marks, flushed.marks)?;
        publish(&mut tables.marks, rows)?;
        flushed.marks = self.marks.len();
        self.roster.sum(&self.segment);
        let rows: Vec<_> = self.ended.iter().cloned().chain(self.roster.rows()).collect();
        let rows = encode(&tables.processes, Purpose::SmallTail, processes::FIELDS, &rows, 0)?;
        tables.processes.publish(*checkpoint, None, Tail::Replace(rows))
    }

    /// Settles everything since the last checkpoint, and begins a new journal.
    fn write_checkpoint(&mut self, now_ns: u64) -> io::Result<()> {
        self.settle(false)?;
        self.directory.sync()?;
        let before = self.checkpoint;
        self.checkpoint += 1;
        self.begin_segment();
        let opening = Opening {
            checkpoint: self.checkpoint,
            totals: self.manifest.totals,
            carried: self.roster.carried(),
        };
        // The old journal is let go only when the new one is on disk.
        let journal =
            JournalWriter::create(&self.directory.journal_file(self.checkpoint), &opening)?;
        self.directory.sync()?;
        self.journal = Some(journal);
        fs::remove_file(self.directory.journal_file(before))?;
        self.checkpoint_boot_ns = now_ns;
        self.flush_boot_ns = now_ns;
        self.manifest.write(&self.directory.manifest())
    }

    fn begin_segment(&mut self) {
        self.segment = Segment::default();
        self.roster.begin_segment(&mut self.segment);
        self.ended.clear();
        self.ended_bytes = 0;
        self.ticks.clear();
        self.system.clear();
        self.marks.clear();
        self.samples = 0;
        self.flushed = Flushed::default();
    }

    /// Writes what came since the last checkpoint as settled row groups, and drops the tails.
    ///
    /// A table that has them already, because a crash came between two tables, gets no second copy.
    fn settle(&mut self, closing: bool) -> io::Result<()> {
        let next = self.checkpoint + 1;
        let lacks = |table: &TableFile| table.checkpoint() < next;
        let settle = |table: &mut TableFile, rows| table.publish(next, rows, Tail::Replace(None));
        let Self { tables, segment, .. } = self;
        if lacks(&tables.samples) {
            let rows = encode_samples(&tables.samples, Purpose::Settled, segment, 0)?;
            settle(&mut tables.samples, rows)?;
        }
        if lacks(&tables.ticks) {
            let rows = encode(&tables.ticks, Purpose::Settled, ticks::FIELDS, &self.ticks, 0)?;
            settle(&mut tables.ticks, rows)?;
        }
        if lacks(&tables.system) {
            let rows = encode(&tables.system, Purpose::Settled, system::FIELDS, &self.system, 0)?;
            settle(&mut tables.system, rows)?;
        }
        if lacks(&tables.marks) {
            let rows = encode(&tables.marks, Purpose::Settled, marks::FIELDS, &self.marks, 0)?;
            settle(&mut tables.marks, rows)?;
        }
        self.roster.sum(&self.segment);
        let mut done = if lacks(&tables.processes) { self.ended.clone() } else { Vec::new() };
        let mut living: Vec<_> = self.roster.rows().collect();
        if closing {
            done.append(&mut living);
        }
        let done = encode(&tables.processes, Purpose::Settled, processes::FIELDS, &done, 0)?;
        let living = encode(&tables.processes, Purpose::SmallTail, processes::FIELDS, &living, 0)?;
        tables.processes.publish(next, done, Tail::Replace(living))
    }

    /// Writes everything, removes the journal and says so in `run.json`.
    ///
    /// On a full disk the space that was kept back is used; where that is not enough either, the
    /// journal stays, the state stays `recording`, and the recording can be recovered when there is
    /// space. Nothing that was written is lost in any case.
    pub(crate) fn close(
        mut self,
        end: End,
        usage: impl FnOnce() -> RecorderUsage,
    ) -> io::Result<Manifest> {
        self.manifest.end = Some(end);
        self.directory.release_space()?;
        if let Err(error) = self.settle(true) {
            let full = is_disk_full(&error);
            self.manifest.end =
                Some(if full { End::DiskFull } else { End::WriteFailed(error.to_string()) });
            if !full {
                self.manifest.write(&self.directory.manifest())?;
                return Err(error);
            }
            if let Err(error) = self.settle_beside() {
                self.manifest.write(&self.directory.manifest())?;
                return Err(error);
            }
        }
        self.manifest.recorder = Some(usage());
        self.finish(RunState::Closed)
    }

    /// Writes what the files lack into new ones behind them, since there is no space to copy what is
    /// there: their tails stay as they are.
    fn settle_beside(&mut self) -> io::Result<()> {
        let (lacking, next) = (self.checkpoint, self.checkpoint + 1);
        let settle = |table: &mut TableFile, rows| {
            table.rotate();
            table.publish(next, rows, Tail::Replace(None))
        };
        let Self { tables, flushed, .. } = self;
        if tables.samples.checkpoint() <= lacking {
            let rows = encode_samples(
                &tables.samples,
                Purpose::Tail,
                &self.segment,
                flushed.segment_ticks,
            )?;
            settle(&mut tables.samples, rows)?;
        }
        if tables.ticks.checkpoint() <= lacking {
            let rows = encode(
                &tables.ticks,
                Purpose::SmallTail,
                ticks::FIELDS,
                &self.ticks,
                flushed.ticks,
            )?;
            settle(&mut tables.ticks, rows)?;
        }
        if tables.system.checkpoint() <= lacking {
            let rows = encode(
                &tables.system,
                Purpose::SmallTail,
                system::FIELDS,
                &self.system,
                flushed.system,
            )?;
            settle(&mut tables.system, rows)?;
        }
        if tables.marks.checkpoint() <= lacking {
            let rows = encode(
                &tables.marks,
                Purpose::SmallTail,
                marks::FIELDS,
                &self.marks,
                flushed.marks,
            )?;
            settle(&mut tables.marks, rows)?;
        }
        // The rows of processes change, so these are copied; they are few. With all the others
        // settled, this is the last that can fail.
        self.settle(true)
    }

    fn finish(mut self, state: RunState) -> io::Result<Manifest> {
        self.directory.sync()?;
        self.manifest.state = state;
        self.manifest.write(&self.directory.manifest())?;
        self.directory.remove_journal()?;
        Ok(self.manifest)
    }
}

/// What recovery found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replayed {
    /// Blocks of the journal.
    pub(crate) blocks: u64,
    /// Whether something behind them was cut off.
    pub(crate) torn: bool,
}

impl RecordingWriter {
    /// Puts together what a recorder that died has written.
    pub(crate) fn recover(
        directory: RunDirectory,
        lock: Lock,
        mut manifest: Manifest,
    ) -> io::Result<(Manifest, Replayed)> {
        let provenance = serde_json::to_string(&manifest.provenance).map_err(io::Error::other)?;
        let mut damaged = Vec::new();
        let mut reopen = |table: schema::Table| -> io::Result<TableFile> {
            let name = table.name;
            match TableFile::reopen(directory.path(), table.clone(), provenance.clone()) {
                Ok(file) => Ok(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    TableFile::create(directory.path(), table, provenance.clone())
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    let path = super::table::table_files(directory.path(), name).pop();
                    let path = path.unwrap_or_else(|| directory.path().join(name));
                    fs::rename(&path, path.with_extension("parquet.damaged"))?;
                    damaged.push(format!(
                        "`{}` could not be read and was set aside: {error}",
                        path.display()
                    ));
                    TableFile::create(directory.path(), table, provenance.clone())
                }
                Err(error) => Err(error),
            }
        };
        let tables = Tables {
            samples: reopen(schema::samples())?,
            processes: reopen(processes::table())?,
            ticks: reopen(ticks::table())?,
            system: reopen(system::table())?,
            marks: reopen(marks::table())?,
        };
        manifest.notes.append(&mut damaged);
        manifest.end = Some(End::Crashed);
        let mut writer = Self::new(directory, lock, manifest, None, tables);
        let mut journals = writer.directory.journal_files()?;
        // A newer journal without a whole opening was begun just before the end: the older one still
        // has everything.
        while let Some((_, path)) = journals.pop() {
            match JournalReader::open(io::BufReader::new(fs::File::open(&path)?)) {
                Ok((opening, reader)) => {
                    let as_flushed = writer.manifest.clone();
                    let replayed = writer.replay(&opening, reader)?;
                    writer.directory.release_space()?;
                    if writer.samples < writer.tables.samples.tail_rows() {
                        // The journal is on disk before what is flushed, so it was damaged later.
                        writer.manifest = as_flushed;
                        let note = "the journal is damaged: what came after the last flush is lost";
                        writer.manifest.notes.push(note.to_owned());
                        return Ok((writer.finish(RunState::Recovered)?, replayed));
                    }
                    writer.settle(true)?;
                    if replayed.torn {
                        let note = "the last block of the journal was cut off and left out";
                        writer.manifest.notes.push(note.to_owned());
                    }
                    return Ok((writer.finish(RunState::Recovered)?, replayed));
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
                Err(error) => return Err(error),
            }
        }
        let note = "no journal could be read: what came after the last flush is lost";
        writer.manifest.notes.push(note.to_owned());
        Ok((writer.finish(RunState::Recovered)?, Replayed::default()))
    }

    fn replay<R: io::Read>(
        &mut self,
        opening: &Opening,
        mut journal: JournalReader<R>,
    ) -> io::Result<Replayed> {
        self.checkpoint = opening.checkpoint;
        self.manifest.totals = opening.totals;
        for carried in &opening.carried {
            self.roster.resume(carried, &mut self.segment);
        }
        let mut batch = Batch::default();
        let mut blocks = 0;
        while journal.next(&mut batch)? {
            self.apply(&batch);
            batch.clear();
            blocks += 1;
        }
        Ok(Replayed { blocks, torn: journal.is_torn() })
    }
}

fn encode<R: Clone>(
    file: &TableFile,
    purpose: Purpose,
    fields: Fields<R>,
    rows: &[R],
    first: usize,
) -> io::Result<Option<RowGroups>> {
    /// Rows in one Arrow batch; an identity with all its text may be ten kilobytes.
    const BATCH_ROWS: usize = 1024;
    let rows = rows.get(first..).unwrap_or_default();
    let batches = rows.chunks(BATCH_ROWS).map(|rows| fields.record_batch(file.table(), rows));
    RowGroups::encode(file.table(), purpose, batches)
}

fn encode_samples(
    file: &TableFile,
    purpose: Purpose,
    segment: &Segment,
    first: u32,
) -> io::Result<Option<RowGroups>> {
    RowGroups::encode(file.table(), purpose, segment.batches(first))
}

/// Says whether an error means that there is no space: on the disk, or within the quota.
pub(crate) fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
