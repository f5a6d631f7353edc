//! The segments on disk.
//!
//! ```text
//! <ring>/flight.json            what a dump begins with: machine, settings, clocks
//! <ring>/journal/000007.log     a segment: a journal that begins with all there is at its time
//! <ring>/journal/lock
//! ```

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::live_images::LiveImages;
use crate::batch::Batch;
use crate::identity::Comm;
use crate::journal::{JournalWriter, Opening};
use crate::metric::Metric;
use crate::recorder::destination::Destination;
use crate::recording::{Closed, End, Lock, Manifest, RecorderUsage, RecordingDirectory};
use crate::schema::Totals;

/// A segment is this part of the ring, of its time and of its bytes. With more of them less is kept
/// beyond what was asked for, and more is spent on their beginnings.
const SEGMENTS: u32 = 8;
/// What a dump begins with.
const MANIFEST: &str = "flight.json";

/// Reads what a dump begins with.
pub(super) fn read_manifest(ring: &RecordingDirectory) -> io::Result<Manifest> {
    Manifest::read(ring.held(), MANIFEST, ring.path())
}

/// What the writing thread and those who make dumps have in common.
pub(super) struct Ring {
    pub(super) directory: RecordingDirectory,
    state: Mutex<RingState>,
    /// Notified after each batch.
    grown: Condvar,
}

#[derive(Default)]
struct RingState {
    segments: VecDeque<RingSegment>,
    /// The planned instant of the last tick on disk.
    latest_boot_ns: u64,
    manifest: Option<Manifest>,
    /// Why nothing is written any more.
    end: Option<End>,
}

/// A file that begins with all there is.
struct RingSegment {
    number: u64,
    /// The planned instant of its first tick; `None` until there is one.
    first_boot_ns: Option<u64>,
    bytes: u64,
}

/// The segments that a dump is made of, open, so that they stay readable when the ring has let them go.
pub(super) struct OpenSegments {
    pub(super) files: Vec<io::Take<File>>,
    /// The first instant that is wanted.
    pub(super) from_boot_ns: u64,
    pub(super) manifest: Manifest,
}

impl Ring {
    pub(super) fn new(directory: RecordingDirectory) -> Self {
        Self { directory, state: Mutex::default(), grown: Condvar::new() }
    }

    /// Waits until there is a tick that was planned at or after an instant.
    pub(super) fn wait_for(&self, boot_ns: u64, patience: Duration) {
        let behind = |state: &mut RingState| state.latest_boot_ns < boot_ns;
        // Without it the dump lacks its last half second, and is made all the same.
        drop(self.grown.wait_timeout_while(self.state(), patience, behind));
    }

    /// Opens what holds the last `span`; `None` where there is no tick yet.
    pub(super) fn open(&self, span: Duration) -> io::Result<Option<OpenSegments>> {
        let state = self.state();
        let RingState { segments, latest_boot_ns, manifest, .. } = &*state;
        let span_ns = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let from_boot_ns = latest_boot_ns.saturating_add(1).saturating_sub(span_ns);
        let (Some(manifest), true) = (manifest, *latest_boot_ns > 0) else { return Ok(None) };
        let begins_before = |segment: &RingSegment| {
            segment.first_boot_ns.is_some_and(|first_boot_ns| first_boot_ns <= from_boot_ns)
        };
        let first = segments.iter().rposition(begins_before).unwrap_or(0);
        let files = segments
            .iter()
            .skip(first)
            .map(|segment| {
                let file = self.directory.journal_file(segment.number)?;
                // Whole blocks: the next one may be half written.
                Ok(file.take(segment.bytes))
            })
            .collect::<io::Result<_>>()?;
        Ok(Some(OpenSegments { files, from_boot_ns, manifest: manifest.clone() }))
    }

    pub(super) fn end(&self) -> Option<End> {
        self.state().end.clone()
    }

    /// Returns what is kept: how long, and how many bytes.
    pub(super) fn kept(&self) -> (Duration, u64) {
        let state = self.state();
        let first = state.segments.iter().find_map(|segment| segment.first_boot_ns);
        let span_ns = first.map_or(0, |first| state.latest_boot_ns.saturating_sub(first));
        let bytes = state.segments.iter().map(|segment| segment.bytes).sum();
        (Duration::from_nanos(span_ns), bytes)
    }

    fn state(&self) -> MutexGuard<'_, RingState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the segments, and removes those that are not wanted any more.
pub(super) struct RingWriter {
    ring: Arc<Ring>,
    _lock: Lock,
    manifest: Manifest,
    journal: JournalWriter,
    live: LiveImages,
    span_ns: u64,
    max_bytes: u64,
}

impl RingWriter {
    /// Begins a ring in a directory that was just made.
    pub(super) fn create(
        ring: Arc<Ring>,
        lock: Lock,
        manifest: Manifest,
        span: Duration,
        max_bytes: u64,
    ) -> io::Result<Self> {
        manifest.write(ring.directory.held(), MANIFEST)?;
        let journal = ring.directory.create_journal_file(0)?;
        let journal = JournalWriter::create(journal, &Opening::default())?;
        {
            let mut state = ring.state();
            state.segments.push_back(RingSegment {
                number: 0,
                first_boot_ns: None,
                bytes: journal.bytes(),
            });
            state.manifest = Some(manifest.clone());
        }
        let span_ns = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let live = LiveImages::default();
        Ok(Self { ring, _lock: lock, manifest, journal, live, span_ns, max_bytes })
    }

    /// Returns whether the segment has come to its part of the ring.
    fn is_full(&self, batch: &Batch) -> bool {
        let state = self.ring.state();
        let first = state.segments.back().and_then(|segment| segment.first_boot_ns);
        let (Some(first), Some(next)) = (first, batch.ticks.first()) else { return false };
        let age_ns = next.tick.planned_ns.saturating_sub(first);
        age_ns >= self.span_ns / u64::from(SEGMENTS)
            || self.journal.bytes() >= self.max_bytes / u64::from(SEGMENTS)
    }

    /// Begins a segment with all there is now.
    fn begin_segment(&mut self) -> io::Result<()> {
        let number = self.ring.state().segments.back().map_or(0, |segment| segment.number + 1);
        let opening =
            Opening { checkpoint: number, totals: Totals::default(), images: self.live.states() };
        let file = self.ring.directory.create_journal_file(number)?;
        self.journal = JournalWriter::create(file, &opening)?;
        let bytes = self.journal.bytes();
        self.ring.state().segments.push_back(RingSegment { number, first_boot_ns: None, bytes });
        Ok(())
    }

    /// Takes note of what was written, and removes segments that are too old or too many.
    fn note(&self, batch: &Batch) -> io::Result<()> {
        let mut state = self.ring.state();
        if let Some(segment) = state.segments.back_mut() {
            let first = batch.ticks.first().map(|tick| tick.tick.planned_ns);
            segment.first_boot_ns = segment.first_boot_ns.or(first);
            segment.bytes = self.journal.bytes();
        }
        if let Some(last) = batch.ticks.last() {
            state.latest_boot_ns = last.tick.planned_ns;
        }
        let wanted_ns = state.latest_boot_ns.saturating_sub(self.span_ns);
        loop {
            let bytes: u64 = state.segments.iter().map(|segment| segment.bytes).sum();
            let second = state.segments.get(1).map(|segment| segment.first_boot_ns);
            // The one behind it reaches back far enough.
            let is_old = second.flatten().is_some_and(|first_boot_ns| first_boot_ns <= wanted_ns);
            if !(is_old || (bytes > self.max_bytes && second.is_some())) {
                break;
            }
            let Some(oldest) = state.segments.pop_front() else { break };
            self.ring.directory.remove_journal_file(oldest.number)?;
        }
        drop(state);
        self.ring.grown.notify_all();
        Ok(())
    }
}

impl Destination for RingWriter {
    fn append(&mut self, batch: &Batch) -> io::Result<()> {
        if self.is_full(batch) {
            self.begin_segment()?;
        }
        self.journal.append(batch)?;
        for (tick, changes) in batch.ticks() {
            let count = u64::from(tick.tick.counts.processes.saturating_sub(tick.tick.dropped));
            self.manifest.totals.add(&tick.tick, count);
            self.manifest.last_tick = jiff::Timestamp::from_millisecond(tick.tick.ts_ms).ok();
            changes.iter().for_each(|change| self.live.apply(change));
        }
        self.note(batch)
    }

    fn size_bytes(&mut self) -> io::Result<u64> {
        Ok(self.ring.kept().1)
    }

    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn manifest_mut(&mut self) -> &mut Manifest {
        &mut self.manifest
    }

    fn largest(&self) -> Option<(Comm, i32, u64)> {
        let largest = self.live.largest()?;
        Some((largest.comm, largest.identity.pid, largest.metrics.get(Metric::Rss)))
    }

    /// Leaves what there is: a dump can still be made of it.
    fn close(self, end: End, _: impl FnOnce() -> RecorderUsage) -> io::Result<Closed> {
        self.ring.state().end = Some(end);
        Ok(Closed { path: self.ring.directory.path().to_owned(), manifest: self.manifest })
    }
}
