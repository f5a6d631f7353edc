//! Writes a recording: the journal at once, then the tables.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::layout::{Lock, RecordingDirectory};
use super::manifest::{End, Manifest, RecorderUsage, RecordingState};
use super::table::{Origin, TableFile, last_file};
use super::tables::Tables;
use crate::batch::{Batch, BatchTick, Change};
use crate::identity::Comm;
use crate::journal::{ImageState, JournalReader, JournalWriter, Opening};
use crate::schema::Table;
use crate::schema::exits::Exit;
use crate::schema::processes::{ProcessRow, Summary};
use crate::segment::SampledTick;

/// Every thirty seconds the Parquet files are brought up to date, for those who look meanwhile.
const FLUSH_NS: u64 = 30_000_000_000;
/// The first time after one second, then after two more, four, eight: a short recording can be looked
/// at early.
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
    directory: RecordingDirectory,
    _lock: Lock,
    pub(crate) manifest: Manifest,
    /// `None` once it could not be written, and while a recording is recovered.
    journal: Option<JournalWriter>,
    /// What the journals before the present one came to.
    journal_bytes: u64,
    checkpoint: u64,
    tables: Tables,
    /// What the files of the recording come to, without the journal; `None` if nobody has asked since they were written.
    files_bytes: Option<u64>,
    checkpoint_boot_ns: u64,
    flush_boot_ns: u64,
    flush_after_ns: u64,
}

impl RecordingWriter {
    /// Begins a recording in an empty directory that was just made.
    pub(crate) fn create(
        directory: RecordingDirectory,
        lock: Lock,
        manifest: Manifest,
    ) -> io::Result<Self> {
        directory.reserve_space()?;
        directory.write_manifest(&manifest)?;
        let journal =
            JournalWriter::create(directory.create_journal_file(0)?, &Opening::default())?;
        let tables = Tables::create(directory.held(), &origin(&manifest)?)?;
        directory.sync()?;
        Ok(Self::new(directory, lock, manifest, Some(journal), tables))
    }

    fn new(
        directory: RecordingDirectory,
        lock: Lock,
        manifest: Manifest,
        journal: Option<JournalWriter>,
        tables: Tables,
    ) -> Self {
        let start_boot_ns = manifest.provenance.clock.boot_ns;
        Self {
            directory,
            _lock: lock,
            manifest,
            journal,
            journal_bytes: 0,
            checkpoint: 0,
            tables,
            files_bytes: None,
            checkpoint_boot_ns: start_boot_ns,
            flush_boot_ns: start_boot_ns,
            flush_after_ns: FIRST_FLUSH_NS,
        }
    }

    /// Writes a batch to the journal, and now and then the Parquet files.
    ///
    /// # Errors
    ///
    /// Something could not be written. The recording can then only be closed.
    pub(crate) fn append(&mut self, batch: &Batch) -> io::Result<()> {
        let appended = match &mut self.journal {
            Some(journal) => journal.append(batch),
            None => Err(io::Error::other("the journal is closed")),
        };
        // Also what did not get into the journal may find its place when the recording closes.
        self.apply(batch);
        if let Err(error) = appended {
            self.journal_bytes += self.journal.take().map_or(0, |journal| journal.bytes());
            return Err(error);
        }
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

    /// Returns what all files come to, the journal included.
    pub(crate) fn size_bytes(&mut self) -> io::Result<u64> {
        let files_bytes = match self.files_bytes {
            Some(bytes) => bytes,
            None => *self.files_bytes.insert(self.directory.size_bytes()?),
        };
        Ok(files_bytes + self.journal.as_ref().map_or(0, JournalWriter::bytes))
    }

    /// Returns the image with the largest resident set: its name, pid and bytes.
    pub(crate) fn largest(&self) -> Option<(Comm, i32, u64)> {
        self.tables.processes.images.largest()
    }

    fn is_checkpoint_due(&self, now_ns: u64) -> bool {
        self.tables.samples.samples >= CHECKPOINT_SAMPLES
            || self.tables.memory_bytes() >= CHECKPOINT_BYTES
            || now_ns >= self.checkpoint_boot_ns.saturating_add(CHECKPOINT_NS)
    }

    /// Takes a batch into memory.
    fn apply(&mut self, batch: &Batch) {
        for (tick, changes) in batch.ticks() {
            self.apply_tick(tick, changes);
        }
        batch.system.iter().for_each(|system| self.tables.system.push(*system));
        batch.cgroups.iter().for_each(|cgroup| self.tables.cgroups.push(cgroup.clone()));
        batch.marks.iter().for_each(|mark| self.tables.push_mark(mark.clone()));
        for exit in &batch.exits {
            self.apply_exit(exit);
        }
        // Threads that set marks at the same time are not heard in the order of their clocks.
        self.tables.marks.unflushed().sort_by_key(|mark| mark.boot_ns);
    }

    fn apply_tick(&mut self, tick: &BatchTick, changes: &[Change]) {
        let BatchTick { tick, common_files, .. } = tick;
        let Tables { samples, processes, ticks, .. } = &mut self.tables;
        let totals = &mut self.manifest.totals;
        ticks.push(*tick);
        self.manifest.last_tick = jiff::Timestamp::from_millisecond(tick.ts_ms).ok();
        let Some(files) = *common_files else {
            totals.add(tick, 0);
            return;
        };
        let segment = &mut samples.segment;
        segment.begin_tick(SampledTick { ts_ms: tick.ts_ms, files });
        let mut absent = 0;
        for change in changes {
            let images = &mut processes.images;
            let ended = match change {
                Change::End(slot) => images.end(*slot, segment),
                Change::Begin(slot, identity, parent) => {
                    totals.processes += 1;
                    images.begin(*slot, identity.clone(), *parent, segment)
                }
                Change::Rename(slot, comm) => {
                    images.rename(*slot, *comm, segment);
                    None
                }
                Change::Assign(slot, test) => {
                    images.assign(*slot, test.clone(), segment);
                    None
                }
                Change::Describe(slot, identity) => {
                    images.describe(*slot, identity, segment);
                    None
                }
                Change::Row(slot, row) => {
                    images.set_row(*slot, row, segment);
                    None
                }
                Change::Absent(slot) => {
                    absent += u64::from(images.set_absent(*slot, segment));
                    None
                }
            };
            if let Some(ended) = ended {
                processes.push_ended(ended);
            }
        }
        let count = processes.images.count().saturating_sub(absent);
        totals.add(tick, count);
        samples.samples += count;
    }

    fn apply_exit(&mut self, exit: &Exit) {
        let totals = &mut self.manifest.totals;
        totals.exits += 1;
        let processes = &mut self.tables.processes;
        match &exit.unsampled {
            Some(identity) => {
                totals.processes += 1;
                totals.unsampled += 1;
                let (identity, comm) = (Arc::clone(identity), exit.comm);
                let summary = Summary::unsampled(exit);
                let (parent, test) = (exit.parent, exit.test.clone());
                let row = ProcessRow { identity, parent, comm, test, ended: true, summary };
                processes.push_ended(row);
            }
            None => processes.set_exit(exit),
        }
        self.tables.exits.push(exit.clone());
    }

    /// Brings the Parquet files up to date.
    fn flush(&mut self, now_ns: u64) -> io::Result<()> {
        self.flush_boot_ns = now_ns;
        // First, so that after a loss of power the journal has all that the files have.
        if let Some(journal) = &self.journal {
            journal.sync()?;
        }
        self.tables.flush()?;
        self.write_manifest()
    }

    /// Writes the manifest, last of the files.
    fn write_manifest(&mut self) -> io::Result<()> {
        self.files_bytes = None;
        self.directory.write_manifest(&self.manifest)
    }

    /// Settles everything since the last checkpoint, and begins a new journal.
    fn write_checkpoint(&mut self, now_ns: u64) -> io::Result<()> {
        let before = self.checkpoint;
        self.tables.settle(before + 1, false)?;
        self.directory.sync()?;
        self.checkpoint = before + 1;
        self.tables.begin_segment();
        let opening = Opening {
            checkpoint: self.checkpoint,
            totals: self.manifest.totals,
            images: self.tables.processes.images.states(),
        };
        // The old journal is let go only when the new one is on disk.
        let journal = self.directory.create_journal_file(self.checkpoint)?;
        let journal = JournalWriter::create(journal, &opening)?;
        self.directory.sync()?;
        self.journal_bytes += self.journal.replace(journal).map_or(0, |before| before.bytes());
        self.directory.remove_journal_file(before)?;
        self.checkpoint_boot_ns = now_ns;
        self.flush_boot_ns = now_ns;
        self.write_manifest()
    }

    /// Writes everything, removes the journal and says so in `recording.json`.
    ///
    /// On a full disk the space that was kept back is used.
    ///
    /// # Errors
    ///
    /// That was not enough either, or something else failed. Then the journal stays, `recording.json` says
    /// `recording`, and the recording can be recovered once the cause is gone: what was written is
    /// not lost.
    pub(crate) fn close(
        mut self,
        end: End,
        usage: impl FnOnce() -> RecorderUsage,
    ) -> io::Result<Closed> {
        self.manifest.end = Some(end);
        self.directory.release_space()?;
        if let Err(error) = self.settle_all() {
            self.manifest.end = Some(match is_disk_full(&error) {
                true => End::DiskFull,
                false => End::WriteFailed(error.to_string()),
            });
            self.directory.write_manifest(&self.manifest)?;
            return Err(error);
        }
        let journal_bytes =
            self.journal_bytes + self.journal.as_ref().map_or(0, JournalWriter::bytes);
        self.manifest.recorder = Some(RecorderUsage { journal_bytes, ..usage() });
        let mut path = self.directory.path().to_owned();
        if let Some(moved) = self.directory.moved_to() {
            let (before, now) = (path.display(), moved.display());
            self.manifest.notes.push(format!(
                "the directory of this recording was moved while it was recorded: it is `{now}`, and what is at \
                 `{before}` is something else"
            ));
            path = moved;
        }
        Ok(Closed { path, manifest: self.finish(RecordingState::Closed)? })
    }

    /// Does the same for a recording made of what was there already, which has no recorder.
    ///
    /// # Errors
    ///
    /// The files could not be written; a full disk is one too.
    pub(crate) fn close_assembled(
        mut self,
        end: End,
        state: RecordingState,
    ) -> io::Result<Manifest> {
        self.manifest.end = Some(end);
        self.directory.release_space()?;
        self.tables.settle(self.checkpoint + 1, true)?;
        self.finish(state)
    }

    /// Begins a recording that is put together of pieces of journals, with the process images that go
    /// on. It needs no journal: if this program ends, the pieces are still there.
    pub(crate) fn assemble(
        directory: RecordingDirectory,
        lock: Lock,
        manifest: Manifest,
        images: &[ImageState],
        began_boot_ns: u64,
    ) -> io::Result<Self> {
        let tables = Tables::create(directory.held(), &origin(&manifest)?)?;
        let mut writer = Self::new(directory, lock, manifest, None, tables);
        writer.checkpoint_boot_ns = began_boot_ns;
        writer.manifest.totals.processes = images.len() as u64;
        writer.resume(images);
        Ok(writer)
    }

    /// Takes a batch of a piece, and settles what there is now and then.
    pub(crate) fn take(&mut self, batch: &Batch) -> io::Result<()> {
        self.apply(batch);
        let Some(now_ns) = batch.ticks.last().map(|tick| tick.tick.began_ns) else { return Ok(()) };
        if self.is_checkpoint_due(now_ns) {
            self.tables.settle(self.checkpoint + 1, false)?;
            self.checkpoint += 1;
            self.tables.begin_segment();
            self.checkpoint_boot_ns = now_ns;
        }
        Ok(())
    }

    /// Continues with process images that were being sampled.
    fn resume(&mut self, images: &[ImageState]) {
        let Tables { samples, processes, .. } = &mut self.tables;
        for state in images {
            processes.images.resume(state, &mut samples.segment);
        }
    }

    fn settle_all(&mut self) -> io::Result<()> {
        match self.tables.settle(self.checkpoint + 1, true) {
            Err(error) if is_disk_full(&error) => {
                self.manifest.end = Some(End::DiskFull);
                self.tables.settle_beside(self.checkpoint + 1)
            }
            outcome => outcome,
        }
    }

    fn finish(mut self, state: RecordingState) -> io::Result<Manifest> {
        self.directory.sync()?;
        self.manifest.state = state;
        self.manifest.files = self.tables.files();
        self.directory.write_manifest(&self.manifest)?;
        self.directory.remove_journal()?;
        Ok(self.manifest)
    }
}

/// A recording that was closed.
pub(crate) struct Closed {
    /// Where it is, which is elsewhere than where it began if its directory was moved.
    pub(crate) path: PathBuf,
    pub(crate) manifest: Manifest,
}

/// What recovery found in the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replayed {
    /// Its blocks.
    pub(crate) blocks: u64,
    /// Whether something behind them was cut off.
    pub(crate) torn: bool,
}

impl RecordingWriter {
    /// Puts together what a recorder that died has written.
    pub(crate) fn recover(
        directory: RecordingDirectory,
        lock: Lock,
        mut manifest: Manifest,
    ) -> io::Result<(Manifest, Replayed)> {
        let origin = origin(&manifest)?;
        let tables = Tables::open(|table| reopen(&directory, table, &origin, &mut manifest.notes))?;
        manifest.end = Some(End::Crashed);
        let mut writer = Self::new(directory, lock, manifest, None, tables);
        let mut note = None;
        let replayed = match writer.replay_journal()? {
            Some(replayed) => {
                if replayed.torn {
                    note = Some("the last block of the journal was cut off and left out");
                }
                writer.directory.release_space()?;
                writer.tables.settle(writer.checkpoint + 1, true)?;
                replayed
            }
            None => {
                note = Some(
                    "no journal could be read as far as the last flush: what came after it is lost",
                );
                // A full disk, too, keeps what the manifest says behind what was flushed.
                let (totals, tables) = (&mut writer.manifest.totals, &writer.tables);
                totals.samples = tables.samples.file.rows()?;
                totals.ticks = tables.ticks.file.rows()?;
                Replayed::default()
            }
        };
        writer.manifest.notes.extend(note.map(str::to_owned));
        Ok((writer.finish(RecordingState::Recovered)?, replayed))
    }

    /// Takes the newest whole journal into memory. `None` where there is none, or where it holds less
    /// than what was flushed: the tails of the files stay as they are then.
    fn replay_journal(&mut self) -> io::Result<Option<Replayed>> {
        // One without a whole opening was begun at a checkpoint that did not end: the one before it
        // still has everything.
        for checkpoint in self.directory.journals()?.into_iter().rev() {
            let journal = self.directory.journal_file(checkpoint)?;
            match JournalReader::open(io::BufReader::new(journal)) {
                Ok((opening, journal)) => {
                    let as_flushed = self.manifest.clone();
                    let replayed = self.replay(&opening, journal)?;
                    // The journal is on disk before what is flushed, so it was damaged later.
                    let damaged =
                        self.tables.samples.samples < self.tables.samples.file.tail_rows();
                    if damaged {
                        self.manifest = as_flushed;
                    }
                    return Ok(Some(replayed).filter(|_| !damaged));
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn replay<R: io::Read>(
        &mut self,
        opening: &Opening,
        mut journal: JournalReader<R>,
    ) -> io::Result<Replayed> {
        self.checkpoint = opening.checkpoint;
        self.manifest.totals = opening.totals;
        self.resume(&opening.images);
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

/// Opens a table of a recording to be recovered. A file that cannot be read is set aside, which a note
/// says, and continues the one before it; where there is none, it starts the table again.
fn reopen(
    directory: &RecordingDirectory,
    table: Table,
    origin: &Origin,
    notes: &mut Vec<String>,
) -> io::Result<TableFile> {
    loop {
        match TableFile::reopen(directory.held(), table.clone(), origin.clone()) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let Some(name) = last_file(directory.held(), table.name)? else {
                    return Err(error);
                };
                directory.held().rename(&name, format!("{name}.damaged"))?;
                notes.push(format!(
                    "`{}` could not be read and was set aside: {error}",
                    directory.path().join(name).display()
                ));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return TableFile::create(directory.held(), table, origin.clone());
            }
            outcome => return outcome,
        }
    }
}

fn origin(manifest: &Manifest) -> io::Result<Origin> {
    let provenance = serde_json::to_string(&manifest.provenance).map_err(io::Error::other)?;
    Ok(Origin { id: manifest.provenance.id.as_str().into(), provenance: provenance.into() })
}

/// Returns whether an error means that there is no space: on the disk, or within the quota.
#[must_use]
pub fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
