//! A span of a recording as a recording of its own.
//!
//! What it says is what a recorder would have said that ran during the span, as far as the recording tells. Where it
//! does not tell, the cut has null: whether a high-water mark was reached before the span, for example.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use arrow_array::types::{Int32Type, Int64Type, TimestampMillisecondType as Millisecond};
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch};
use jiff::Timestamp;

use super::columns::{kept, replaced};
use super::cut_image::{CutColumns, CutImage, SampledNumbers};
use super::draft::{Draft, check, table};
use super::error::ExcerptError;
use crate::columns::{booleans, numbers, strings};
use crate::recording::{Cut, End, Recording};
use crate::schema::Totals;
use crate::schema::marks::MarkKind;

/// Tests of which only a part is in a span that are named; more are counted.
const MAX_NAMED: usize = 10;

/// Columns of `processes` of each kind that a cut changes.
const NUMBERS: [&str; 10] = [
    "samples",
    "rss_max_bytes",
    "rss_mean_bytes",
    "pss_max_bytes",
    "uss_max_bytes",
    "swap_max_bytes",
    "hwm_max_bytes",
    "exit_hwm_bytes",
    "exit_past_hwm_bytes",
    "replaced_max_rss_bytes",
];
const INSTANTS: [&str; 3] = ["first_ts", "last_ts", "rss_max_ts"];
const NAMES: [&str; 3] = ["comm", "role", "test"];

/// Makes a recording at `path`, which must not exist, of what `recording` has between two instants, both included.
///
/// It has the samples, ticks, exits, marks and the readings of the machine and of control groups of the span, and the
/// process images that have a sample or an exit record in it. What is summed up of an image is summed up of the span.
/// `docs/share.md` says what cannot be told any more.
///
/// # Errors
///
/// The recording is still being written or damaged, the span has no tick, something has the name, or the recording
/// cannot be written. Nothing is left behind then.
pub fn cut(
    recording: &Recording,
    from: Timestamp,
    to: Timestamp,
    path: &Path,
) -> Result<Recording, ExcerptError> {
    check(recording)?;
    let unread = |error| ExcerptError::Read(recording.path().to_owned(), error);
    let ticks = recording.first_and_last_tick().map_err(unread)?;
    let no_tick = ExcerptError::NoTick { from, to, ticks };
    let Some((first_tick, last_tick)) = ticks else { return Err(no_tick) };
    let (from, to) = (from.max(first_tick), to.min(last_tick));
    let span = from.as_millisecond()..=to.as_millisecond();
    let Some((first, last)) = ticks_in(recording, &span).map_err(unread)? else {
        return Err(no_tick);
    };
    let source = recording.manifest().provenance.id.clone();
    let of = Cut { recording: source, from, to, first_tick, last_tick };
    let partial = partial_tests(recording, &span).map_err(unread)?;
    let draft = Draft::begin(recording, path, |manifest| {
        let provenance = &mut manifest.provenance;
        provenance.started = Timestamp::from_millisecond(first).unwrap_or(from);
        provenance.cut = Some(of.clone());
        manifest.last_tick = Timestamp::from_millisecond(last).ok();
        // What it used is known of all of it alone.
        manifest.recorder = None;
        if to < last_tick {
            manifest.end = Some(End::Cut);
            manifest.command_exit_code = None;
        }
        manifest.notes.extend(notes(&of, &partial));
    })?;
    Cutting { recording, draft, span, last, images: HashMap::new(), totals: Totals::default() }
        .run()
}

/// A cut while it is made.
struct Cutting<'a> {
    recording: &'a Recording,
    draft: Draft<'a>,
    span: RangeInclusive<i64>,
    /// The last tick in it.
    last: i64,
    images: HashMap<i64, CutImage>,
    totals: Totals,
}

impl Cutting<'_> {
    fn run(mut self) -> Result<Recording, ExcerptError> {
        let unread = |error| ExcerptError::Read(self.recording.path().to_owned(), error);
        self.images = images(self.recording, &self.span, self.last).map_err(unread)?;
        self.totals.samples = self.samples()?;
        self.totals.exits = self.rows("exits", |_, batch| Ok(batch))?;
        self.totals.ticks = self.rows("ticks", |cutting, batch| {
            cutting.totals = added(cutting.totals, &batch);
            Ok(batch)
        })?;
        self.rows("system", |_, batch| Ok(batch))?;
        self.cgroups()?;
        self.rows("marks", |cutting, batch| cutting.without_absent(&batch, "process"))?;
        self.totals.processes = self.processes()?;
        let unsampled = self.images.values().filter(|it| it.is_in() && it.samples == 0);
        self.totals.unsampled = unsampled.count() as u64;
        let totals = self.totals;
        self.draft.manifest().totals = totals;
        self.draft.finish()
    }

    /// Writes the rows of a table whose `ts` is in the span, and returns how many they are.
    fn rows(
        &mut self,
        name: &str,
        mut change: impl FnMut(&mut Self, RecordBatch) -> io::Result<RecordBatch>,
    ) -> Result<u64, ExcerptError> {
        let unread = |error| ExcerptError::Read(self.recording.path().to_owned(), error);
        let Some((schema, columns)) = table(name) else { return Ok(0) };
        let mut output = self.draft.table(schema)?;
        let recording = self.recording;
        for batch in recording.read_table_between(name, &columns, self.span.clone()) {
            let batch = batch.map_err(unread)?;
            let ts = numbers::<Millisecond>(&batch, "ts").map_err(unread)?.values().clone();
            let span = self.span.clone();
            let keep = |row: usize| ts.get(row).is_some_and(|ts| span.contains(ts));
            for rows in kept(&batch, keep) {
                let rows = change(self, rows).map_err(unread)?;
                output.write(&rows).map_err(self.draft.failed())?;
            }
        }
        output.finish().map_err(self.draft.failed())
    }

    fn samples(&mut self) -> Result<u64, ExcerptError> {
        self.rows("samples", |cutting, batch| {
            let ts = numbers::<Millisecond>(&batch, "ts")?.values();
            let process = numbers::<Int64Type>(&batch, "process")?.values();
            let long = |name| numbers::<Int64Type>(&batch, name).ok();
            let [rss, pss, uss, swap, hwm] =
                ["rss_bytes", "pss_bytes", "uss_bytes", "swap_bytes", "hwm_bytes"].map(long);
            let texts = NAMES.map(|name| strings(&batch, name).ok());
            let at = |column: Option<&Int64Array>, row: usize| {
                column.filter(|column| column.is_valid(row)).map(|column| column.value(row))
            };
            let mut reached = Vec::with_capacity(batch.num_rows());
            for (row, (&ts_ms, process)) in ts.iter().zip(process).enumerate() {
                let image = cutting.images.entry(*process).or_default();
                image.add(&SampledNumbers {
                    ts_ms,
                    rss: at(rss, row),
                    pss: at(pss, row),
                    uss: at(uss, row),
                    swap: at(swap, row),
                });
                image.set_names(texts.map(|column| {
                    column.filter(|column| column.is_valid(row)).map(|column| column.value(row))
                }));
                reached.push(image.reached(at(hwm, row)));
            }
            let reached: ArrayRef = Arc::new(Int64Array::from(reached));
            replaced(&batch, vec![("hwm_bytes", reached)])
        })
    }

    /// Writes the control groups. Their high-water marks are treated as those of images.
    fn cgroups(&mut self) -> Result<(), ExcerptError> {
        let unread = |error| ExcerptError::Read(self.recording.path().to_owned(), error);
        let mut marks = groups_before(self.recording, *self.span.start()).map_err(unread)?;
        self.rows("cgroups", |_, batch| {
            let Ok(peak) = numbers::<Int64Type>(&batch, "cgroup_peak_bytes") else {
                return Ok(batch);
            };
            let groups = strings(&batch, "cgroup")?;
            let reached = peak.iter().enumerate().map(|(row, peak)| {
                let group = groups.is_valid(row).then(|| marks.get_mut(groups.value(row)));
                match group.flatten() {
                    Some(group) => group.reached(peak),
                    None => peak,
                }
            });
            let reached: ArrayRef = Arc::new(reached.collect::<Int64Array>());
            replaced(&batch, vec![("cgroup_peak_bytes", reached)])
        })?;
        Ok(())
    }

    /// Writes the process images of the span.
    fn processes(&mut self) -> Result<u64, ExcerptError> {
        let unread = |error| ExcerptError::Read(self.recording.path().to_owned(), error);
        let Some((schema, columns)) = table("processes") else { return Ok(0) };
        let mut output = self.draft.table(schema)?;
        for batch in self.recording.read_table("processes", &columns) {
            let batch = batch.map_err(unread)?;
            let keys = numbers::<Int64Type>(&batch, "process").map_err(unread)?.clone();
            let keep = |row: usize| self.is_in(keys.value(row));
            for rows in kept(&batch, keep) {
                let rows = self.summed(&rows).map_err(unread)?;
                output.write(&rows).map_err(self.draft.failed())?;
            }
        }
        output.finish().map_err(self.draft.failed())
    }

    fn is_in(&self, process: i64) -> bool {
        self.images.get(&process).is_some_and(CutImage::is_in)
    }

    /// Returns rows of `processes` with what is summed up of the span.
    fn summed(&self, batch: &RecordBatch) -> io::Result<RecordBatch> {
        let batch = self.without_absent(batch, "parent")?;
        let keys = numbers::<Int64Type>(&batch, "process")?.values();
        let images = keys.iter().filter_map(|process| self.images.get(process)).collect();
        let columns = CutColumns { images };
        let mut changed: Vec<(&str, ArrayRef)> = vec![("ended", columns.ended())];
        for name in NUMBERS {
            if let Ok(before) = numbers::<Int64Type>(&batch, name) {
                changed.push((name, columns.numbers(name, before)));
            }
        }
        for name in INSTANTS {
            if let Ok(before) = numbers::<Millisecond>(&batch, name) {
                changed.push((name, columns.instants(name, before)));
            }
        }
        for (index, name) in NAMES.into_iter().enumerate() {
            if let Ok(before) = strings(&batch, name) {
                changed.push((name, columns.names(index, before)));
            }
        }
        replaced(&batch, changed)
    }

    /// Returns rows with null in place of images that are not in the span.
    fn without_absent(&self, batch: &RecordBatch, name: &str) -> io::Result<RecordBatch> {
        let Ok(keys) = numbers::<Int64Type>(batch, name) else { return Ok(batch.clone()) };
        let present = keys.iter().map(|key| key.filter(|key| self.is_in(*key)));
        let present: ArrayRef = Arc::new(present.collect::<Int64Array>());
        replaced(batch, vec![(name, present)])
    }
}

/// Returns the first and the last tick in a span.
fn ticks_in(recording: &Recording, span: &RangeInclusive<i64>) -> io::Result<Option<(i64, i64)>> {
    let mut found: Option<(i64, i64)> = None;
    for batch in recording.read_table_between("ticks", &["ts"], span.clone()) {
        let batch = batch?;
        let ts = numbers::<Millisecond>(&batch, "ts")?.values();
        for &ts in ts.iter().filter(|ts| span.contains(ts)) {
            let (first, last) = found.unwrap_or((ts, ts));
            found = Some((first.min(ts), last.max(ts)));
        }
    }
    Ok(found)
}

/// Returns the images that may be in a span, without their samples.
fn images(
    recording: &Recording,
    span: &RangeInclusive<i64>,
    last_tick: i64,
) -> io::Result<HashMap<i64, CutImage>> {
    let mut images: HashMap<i64, CutImage> = HashMap::new();
    for batch in recording.read_table_between("exits", &["ts", "process"], span.clone()) {
        let batch = batch?;
        let ts = numbers::<Millisecond>(&batch, "ts")?.values();
        let process = numbers::<Int64Type>(&batch, "process")?.values();
        for (_, process) in ts.iter().zip(process).filter(|(ts, _)| span.contains(ts)) {
            images.entry(*process).or_default().has_exit = true;
        }
    }
    let columns = ["process", "first_ts", "last_ts", "ended", "samples"];
    for batch in recording.read_table("processes", &columns) {
        let batch = batch?;
        let process = numbers::<Int64Type>(&batch, "process")?.values();
        let first = numbers::<Millisecond>(&batch, "first_ts")?.values();
        let last = numbers::<Millisecond>(&batch, "last_ts")?.values();
        let samples = numbers::<Int64Type>(&batch, "samples")?.values();
        let ended = booleans(&batch, "ended")?;
        let rows = process.iter().zip(first).zip(last).zip(samples).enumerate();
        for (row, (((process, first), last), samples)) in rows {
            if first > span.end() || (last < span.start() && !images.contains_key(process)) {
                continue;
            }
            let image = images.entry(*process).or_default();
            image.began_before = *samples > 0 && first < span.start();
            // Its end was seen at the tick behind its last sample, or later.
            image.ended = ended.value(row) && (image.has_exit || *last < last_tick);
        }
    }
    Ok(images)
}

/// Returns the control groups that have a row before a span.
fn groups_before(recording: &Recording, begin: i64) -> io::Result<HashMap<String, CutImage>> {
    let mut groups = HashMap::new();
    let before = i64::MIN..=begin.saturating_sub(1);
    for batch in recording.read_table_between("cgroups", &["ts", "cgroup"], before) {
        let batch = batch?;
        let ts = numbers::<Millisecond>(&batch, "ts")?.values();
        let names = strings(&batch, "cgroup")?;
        for (_, name) in ts.iter().zip(names).filter(|(ts, _)| **ts < begin) {
            let name = name.unwrap_or_default();
            if !groups.contains_key(name) {
                groups.insert(name.to_owned(), CutImage::begun_before());
            }
        }
    }
    Ok(groups)
}

/// Returns the tests that had begun and not ended at the begin of a span, or at its end.
fn partial_tests(recording: &Recording, span: &RangeInclusive<i64>) -> io::Result<Vec<String>> {
    let mut open: HashMap<String, i64> = HashMap::new();
    let mut partial = BTreeSet::new();
    for batch in recording.read_table("marks", &["ts", "kind", "test"]) {
        let batch = batch?;
        let ts = numbers::<Millisecond>(&batch, "ts")?.values();
        let (kinds, tests) = (strings(&batch, "kind")?, strings(&batch, "test")?);
        for ((&ts, kind), test) in ts.iter().zip(kinds).zip(tests) {
            let Some(test) = test else { continue };
            if kind == Some(MarkKind::Begin.as_str()) {
                open.entry(test.to_owned()).or_insert(ts);
            } else if kind == Some(MarkKind::End.as_str()) {
                let begin = open.remove(test).unwrap_or(i64::MIN);
                let is_in = begin <= *span.end() && ts >= *span.start();
                if is_in && (begin < *span.start() || ts > *span.end()) {
                    partial.insert(test.to_owned());
                }
            }
        }
    }
    // Of what never ended.
    let begun = open.into_iter().filter(|(_, begin)| begin < span.start());
    partial.extend(begun.map(|(test, _)| test));
    Ok(partial.into_iter().collect())
}

/// Says what a reader must know of a cut.
fn notes(cut: &Cut, partial: &[String]) -> Vec<String> {
    let Cut { recording, from, to, first_tick, last_tick } = cut;
    let whole = last_tick.duration_since(*first_tick).as_secs_f64();
    let seconds = to.duration_since(*from).as_secs_f64();
    let mut notes = vec![format!(
        "cut out of the recording {recording}: {seconds:.1} s of {whole:.1} s. Totals are of the span, high-water marks \
         that may have been reached before it are null, and the cost of the recorder is left out"
    )];
    if !partial.is_empty() {
        let named: Vec<&str> = partial.iter().take(MAX_NAMED).map(String::as_str).collect();
        let more = match partial.len().saturating_sub(MAX_NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let named = named.join(", ");
        notes.push(format!("only a part of these tests is in the cut: {named}{more}"));
    }
    notes
}

/// Adds what ticks counted.
fn added(totals: Totals, batch: &RecordBatch) -> Totals {
    let plus = |before: u64, name: &str| -> u64 {
        let Ok(column) = numbers::<Int32Type>(batch, name) else { return before };
        let counts = column.iter().flatten().map(|it| u64::from(it.unsigned_abs()));
        counts.fold(before, u64::saturating_add)
    };
    Totals {
        late: plus(totals.late, "late"),
        missed: plus(totals.missed, "missed"),
        dropped: plus(totals.dropped, "dropped"),
        outside: plus(totals.outside, "outside"),
        gone: plus(totals.gone, "gone"),
        denied: plus(totals.denied, "denied"),
        unreadable: plus(totals.unreadable, "unreadable"),
        reopened: plus(totals.reopened, "reopened"),
        events_lost: plus(totals.events_lost, "events_lost"),
        unseen: plus(totals.unseen, "unseen"),
        unattributed: plus(totals.unattributed, "unattributed"),
        exits_lost: plus(totals.exits_lost, "exits_lost"),
        pss_skipped: plus(totals.pss_skipped, "pss_skipped"),
        stuck: plus(totals.stuck, "stuck"),
        ..totals
    }
}
