//! Segments put together as a recording.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::Path;

use memsample_beneath::{HeldDirectory, remove_tree};

use super::live_images::LiveImages;
use crate::batch::{Batch, Change};
use crate::journal::{ImageState, JournalReader};
use crate::recording::{
    End, Manifest, Recording, RecordingDirectory, RecordingState, RecordingWriter, new_recording_id,
};

/// What is put together.
pub(super) struct Joined<R> {
    /// The segments, oldest first. Each begins with all there is at its time.
    pub(super) segments: Vec<R>,
    /// Ticks that were planned before this instant are left out.
    pub(super) from_boot_ns: u64,
    /// Of the ring.
    pub(super) manifest: Manifest,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) notes: Vec<String>,
    pub(super) end: End,
    pub(super) state: RecordingState,
}

/// What became of segments.
pub(super) struct Outcome {
    /// `None` where no tick is left.
    pub(super) recording: Option<Recording>,
    /// Whether there is more in them than a program that died leaves unfinished, and it is not in the
    /// recording.
    pub(super) is_damaged: bool,
}

/// Puts segments together at `path`, which must not exist.
///
/// It is made beside its place under a hidden name, and is there when it is whole.
pub(super) fn join<R: Read>(joined: Joined<R>, path: &Path) -> io::Result<Outcome> {
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(ErrorKind::AlreadyExists.into());
    };
    fs::create_dir_all(above)?;
    let above = HeldDirectory::open(above)?;
    if above.contains(name) {
        return Err(ErrorKind::AlreadyExists.into());
    }
    let mut hidden = OsString::from(".dump-");
    hidden.push(name);
    let hidden = path.with_file_name(hidden);
    // Of a dump that was interrupted.
    remove(&above, &hidden)?;
    let mut is_damaged = false;
    match assemble(joined, path, &above, &hidden, &mut is_damaged) {
        Ok(Some(manifest)) => {
            above.rename(hidden.file_name().unwrap_or_default(), name)?;
            let recording = Some(Recording::from_parts(path, manifest));
            Ok(Outcome { recording, is_damaged })
        }
        outcome => {
            let _ = remove(&above, &hidden);
            outcome.map(|_| Outcome { recording: None, is_damaged })
        }
    }
}

/// Removes a directory in `above`, if it is there.
fn remove(above: &HeldDirectory, directory: &Path) -> io::Result<()> {
    match remove_tree(above, directory.file_name().unwrap_or_default()) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

fn assemble<R: Read>(
    joined: Joined<R>,
    path: &Path,
    above: &HeldDirectory,
    hidden: &Path,
    is_damaged: &mut bool,
) -> io::Result<Option<Manifest>> {
    let Joined { segments, from_boot_ns, mut manifest, labels, notes, end, state } = joined;
    manifest.provenance.name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    manifest.provenance.labels.extend(labels);
    manifest.notes.extend(notes);
    let live = LiveImages::default();
    let mut joining = Joining { manifest, above, hidden, from_boot_ns, live, writer: None };
    // Whether what comes next does not follow what came before.
    let mut broken = true;
    let mut batch = Batch::default();
    let count = segments.len();
    for (index, segment) in segments.into_iter().enumerate() {
        let (opening, mut journal) = match JournalReader::open(BufReader::new(segment)) {
            Ok(opened) => opened,
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                joining.note("a piece could not be read");
                *is_damaged = true;
                broken = true;
                continue;
            }
            Err(error) => return Err(error),
        };
        if broken {
            joining.begin_anew(opening.images)?;
        }
        while journal.next(&mut batch)? {
            joining.take(&mut batch)?;
            batch.clear();
        }
        broken = journal.is_torn();
        // The last one was being written.
        *is_damaged |= broken && index + 1 < count;
    }
    if broken {
        joining.note("the last piece was cut off, and what came after it is lost");
    }
    match joining.writer {
        Some(writer) => writer.close_assembled(end, state).map(Some),
        None => Ok(None),
    }
}

struct Joining<'a> {
    manifest: Manifest,
    /// Where the recording is made, and the path of it there.
    above: &'a HeldDirectory,
    hidden: &'a Path,
    from_boot_ns: u64,
    /// Who is there, until the first tick that is wanted.
    live: LiveImages,
    writer: Option<RecordingWriter>,
}

impl Joining<'_> {
    /// Begins with a segment that does not follow the one before: what came before it is left out, since
    /// nobody knows what was between.
    fn begin_anew(&mut self, images: Vec<ImageState>) -> io::Result<()> {
        if self.writer.take().is_some() {
            remove(self.above, self.hidden)?;
            self.note("a piece was damaged, and what came before it is left out");
        }
        self.live = LiveImages::of(images);
        Ok(())
    }

    fn note(&mut self, note: &str) {
        let manifest = self.writer.as_mut().map_or(&mut self.manifest, |it| &mut it.manifest);
        manifest.notes.push(note.to_owned());
    }

    fn take(&mut self, batch: &mut Batch) -> io::Result<()> {
        if self.writer.is_none() && !self.begin(batch)? {
            return Ok(());
        }
        for exit in &mut batch.exits {
            self.live.complete(exit);
        }
        match &mut self.writer {
            Some(writer) => writer.take(batch),
            None => Ok(()),
        }
    }

    /// Leaves out what comes before the first tick that is wanted, and begins the recording with it;
    /// `false` if it is not in this batch.
    fn begin(&mut self, batch: &mut Batch) -> io::Result<bool> {
        let from_boot_ns = self.from_boot_ns;
        let wanted = batch.ticks.iter().position(|tick| tick.tick.planned_ns >= from_boot_ns);
        let before = wanted.unwrap_or(batch.ticks.len());
        let mut changes = 0;
        for (_, of_tick) in batch.ticks().take(before) {
            of_tick.iter().for_each(|change| self.live.apply(change));
            changes += of_tick.len();
        }
        let Some(first) = wanted.and_then(|first| batch.ticks.get(first)) else { return Ok(false) };
        let first = first.tick;
        batch.ticks.drain(..before);
        batch.changes.drain(..changes);
        // Who ended before the first tick has no sample.
        for change in batch.changes.iter().take_while(|change| matches!(change, Change::End(_))) {
            self.live.apply(change);
        }
        batch.system.retain(|row| row.ts_ms >= first.ts_ms);
        batch.cgroups.retain(|row| row.ts_ms >= first.ts_ms);
        batch.exits.retain(|row| row.ts_ms >= first.ts_ms);
        batch.marks.retain(|mark| mark.boot_ns >= from_boot_ns);
        let mut manifest = self.manifest.clone();
        let started = jiff::Timestamp::from_millisecond(first.ts_ms).map_err(io::Error::other)?;
        manifest.provenance.started = started;
        manifest.provenance.id = new_recording_id(started);
        manifest.totals = crate::schema::Totals::default();
        let directory = RecordingDirectory::create_in(self.above, self.hidden)?;
        let lock = directory.lock()?.ok_or_else(|| io::Error::other("another dump is made"))?;
        let images = self.live.states();
        self.writer =
            Some(RecordingWriter::assemble(directory, lock, manifest, &images, first.planned_ns)?);
        Ok(true)
    }
}
