//! What tests used that were marked and consist of no processes of their own: see `docs/peaks.md`.

use std::collections::HashSet;
use std::io;

use jiff::Timestamp;

use super::bound::{Bound, Source};
use super::composition::Composition;
use super::marked_spans::{EndWithoutBegin, MarkedSpan, marked_spans};
use super::marked_sums::{Largest, SpanTicks, Window, largest_sums, sweeps};
use super::process_trees::{ProcessTrees, Root};
use super::span_marks::{MarkedState, SpanMark};
use super::test_membership::images_of_tests;
use crate::recording::Recording;
use crate::scope::Scope;

/// What the numbers of a marked test are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Covers {
    /// The process that the mark at the begin names, and all that descend from it.
    MarkedProcess(i32),
    /// All of the machine.
    Machine,
    /// The target of the recording.
    Target,
}

/// What was resident between the two marks of a test that consists of no processes of its own. Tests that
/// overlap count the same memory.
#[derive(Clone, Debug, PartialEq)]
pub struct MarkedTest {
    /// The test.
    pub test: String,
    /// The name of its marks.
    pub mark: String,
    /// Whose memory it is.
    pub covers: Covers,
    /// When its begin was marked.
    pub begin: Timestamp,
    /// When its end was marked; without such a mark when it began again, or else when the recording ended.
    pub end: Timestamp,
    /// Whether its end was marked.
    pub is_ended: bool,
    /// The number of sweeps that began and ended between the marks.
    pub sweeps: u64,
    /// The lower bound of the largest sum of resident sets; `None` where nothing was sampled between the marks
    /// nor read at them. There is no upper bound.
    pub lower: Option<Bound>,
    /// The tick with the largest sum, or the latest possible time of it.
    pub by: Option<Timestamp>,
    /// The number of processes at the tick with the largest sum; `None` where no sum was sampled.
    pub processes: Option<u64>,
    /// The parts of the largest sum; likewise.
    pub composition: Option<Composition>,
    /// The memory of the process alone that the mark at the begin names, as of that mark; `None` where it names
    /// none, or it could not be read.
    pub at_begin: Option<MarkedState>,
    /// The same at the end. `None` also if the pid was another process by then.
    pub at_end: Option<MarkedState>,
}

/// What was marked, in the order of the begin.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MarkedTests {
    /// The tests.
    pub tests: Vec<MarkedTest>,
    /// The marks that end what never began.
    pub without_begin: Vec<EndWithoutBegin>,
}

impl MarkedTest {
    /// Returns by how much the resident set of the process alone grew from mark to mark, in bytes; `None` where it
    /// was not read at both.
    #[must_use]
    pub fn rss_growth_bytes(&self) -> Option<i64> {
        difference(self.at_end?.rss_bytes, self.at_begin?.rss_bytes)
    }

    /// Returns the same of its resident anonymous memory.
    #[must_use]
    pub fn anon_growth_bytes(&self) -> Option<i64> {
        difference(self.at_end?.anon_bytes?, self.at_begin?.anon_bytes?)
    }
}

fn difference(end: u64, begin: u64) -> Option<i64> {
    i64::try_from(i128::from(end) - i128::from(begin)).ok()
}

/// Returns what was resident between the marks of each test that `keep` accepts and that consists of no
/// processes of its own: those of `memsample run`, of `memsample exec` and of
/// [`assign`](crate::Recorder::assign) do, and are answered by [`test_peaks`](super::test_peaks).
///
/// A test whose mark names a process is here in any case. Needs about 100 bytes of memory for each process, and
/// up to 64 MiB for sums.
///
/// # Errors
///
/// A table cannot be read.
pub fn marked_tests(
    recording: &Recording,
    mut keep: impl FnMut(&str) -> bool,
) -> io::Result<MarkedTests> {
    let mut marked = marked_spans(recording)?;
    marked.spans.retain(|span| keep(&span.test));
    marked.without_begin.retain(|end| keep(&end.test));
    if marked.spans.is_empty() && marked.without_begin.is_empty() {
        return Ok(MarkedTests::default());
    }
    let with_processes: HashSet<String> =
        images_of_tests(recording)?.counted.into_iter().filter_map(|row| row.test).collect();
    marked.spans.retain(|span| span.begin.pid.is_some() || !with_processes.contains(&span.test));
    marked.without_begin.retain(|end| !with_processes.contains(&end.test));
    let trees = ProcessTrees::read(recording)?;
    let sweeps = sweeps(recording)?;
    let last = sweeps.last().map(|sweep| (sweep.ts_ms, sweep.ended_ns));
    let spans: Vec<Span> =
        marked.spans.into_iter().map(|span| Span::new(span, &trees, last)).collect();
    let windows: Vec<Window> = spans.iter().map(|span| span.window(&sweeps)).collect();
    let largest = largest_sums(recording, &trees, &sweeps, &windows)?;
    let whole = match recording.manifest().provenance.settings.target {
        Scope::Machine => Covers::Machine,
        _ => Covers::Target,
    };
    let tests = spans.into_iter().zip(windows).zip(largest);
    let tests = tests.map(|((span, window), largest)| span.into_test(whole, window.ticks, largest));
    Ok(MarkedTests {
        tests: tests.collect::<io::Result<_>>()?,
        without_begin: marked.without_begin,
    })
}

/// A span whose processes and whose end are settled.
struct Span {
    of: MarkedSpan,
    root: Option<Root>,
    end_ms: i64,
    end_ns: u64,
    at_end: Option<MarkedState>,
}

impl Span {
    fn new(of: MarkedSpan, trees: &ProcessTrees, last: Option<(i64, u64)>) -> Self {
        let begin = (of.begin.ts_ms, of.begin.boot_ns);
        let end = of.end.as_ref().map(|mark| (mark.ts_ms, mark.boot_ns));
        let (end_ms, end_ns) = end.or(of.again).or(last).unwrap_or(begin).max(begin);
        let process_at = |mark: &SpanMark| mark.pid.map(|pid| trees.process_at(pid, mark.boot_ns));
        let begun = process_at(&of.begin);
        let is_same = |mark: &&SpanMark| {
            mark.pid.is_some() && mark.pid == of.begin.pid && process_at(mark) == begun
        };
        let at_end = of.end.as_ref().filter(is_same).and_then(|mark| mark.state);
        let root = begun.flatten();
        Self { of, root, end_ms, end_ns, at_end }
    }

    fn window(&self, sweeps: &SpanTicks) -> Window {
        let ticks = sweeps.between(self.of.begin.boot_ns, self.end_ns);
        Window { ticks, root: self.root, is_whole: self.of.begin.pid.is_none() }
    }

    fn into_test(
        self,
        whole: Covers,
        ticks: std::ops::Range<usize>,
        largest: Option<Largest>,
    ) -> io::Result<MarkedTest> {
        let instant = |ms| Timestamp::from_millisecond(ms).map_err(io::Error::other);
        let Self { of: MarkedSpan { test, begin, end, .. }, end_ms, at_end, .. } = self;
        let at_begin = begin.state;
        let sampled = largest.map(|largest| {
            (Bound { bytes: largest.composition.rss_bytes, source: Source::Sampled }, largest.ts_ms)
        });
        let at_mark = |state: Option<MarkedState>, ts_ms| {
            Some((Bound { bytes: state?.rss_bytes, source: Source::Mark }, ts_ms))
        };
        // A high-water mark that has risen was reached between the two.
        let hwm = |state: Option<MarkedState>| state.and_then(|state| state.hwm_bytes);
        let risen = hwm(at_end)
            .filter(|&bytes| hwm(at_begin).is_some_and(|before| bytes > before))
            .map(|bytes| (Bound { bytes, source: Source::HighWaterMark }, end_ms));
        let candidates = [sampled, at_mark(at_begin, begin.ts_ms), at_mark(at_end, end_ms), risen];
        // Of equal ones the first.
        let lower = candidates
            .into_iter()
            .flatten()
            .reduce(|largest, other| if other.0.bytes > largest.0.bytes { other } else { largest });
        Ok(MarkedTest {
            test,
            mark: begin.name,
            covers: begin.pid.map_or(whole, Covers::MarkedProcess),
            begin: instant(begin.ts_ms)?,
            end: instant(end_ms)?,
            is_ended: end.is_some(),
            sweeps: ticks.len() as u64,
            lower: lower.map(|(bound, _)| bound),
            by: lower.map(|(_, by_ms)| instant(by_ms)).transpose()?,
            processes: largest.map(|largest| largest.processes),
            composition: largest.map(|largest| largest.composition),
            at_begin,
            at_end,
        })
    }
}
