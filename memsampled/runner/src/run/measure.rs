//! Measures what attempts used, from the recording that they are in.

use std::collections::{BTreeMap, HashMap};
use std::io;

use jiff::Timestamp;
use memsample::Recording;
use memsample::analysis::{Source, TestUsage, attempt_mark, test_usages};

use super::layout::Layout;
use super::progress::EndedAttempt;
use super::tables::Measured;
use crate::results::{Attempt, BoundedBytes, Memory, RoleMemory};

/// Roles of one attempt that are kept, at most; the largest.
pub(super) const MAX_ROLES: usize = 50;

/// What an attempt used.
#[derive(Clone, Debug, Default)]
pub(super) struct Usage {
    pub(super) memory: Memory,
    /// Proportional sets within bounds, where the peak that is told is not known: what a budget is compared with.
    pub(super) pss: Option<BoundedBytes>,
    /// Largest first.
    pub(super) roles: Vec<RoleMemory>,
    /// The marks of its begin and its end.
    pub(super) span: Option<(Timestamp, Timestamp)>,
    /// What the lower bound of the peak of resident sets is from.
    pub(super) rss_source: Option<Source>,
}

/// Returns the name of the marks between which an attempt is: `attempt 1.2` is the second attempt of
/// the first repetition. Its processes have the name of the test alone, as those of other attempts. The marks are about
/// init, which launches and reaps the programs of the attempt.
pub(super) fn mark_of(attempt: &Attempt) -> String {
    attempt_mark(attempt.repetition, attempt.attempt)
}

/// Returns what each attempt in a recording used, by the name of its test and of its marks. An attempt of whose
/// processes nothing is known is not in it.
///
/// # Errors
///
/// A table cannot be read.
pub(super) fn measure(recording: &Recording) -> io::Result<HashMap<(String, String), Usage>> {
    let usages = test_usages(recording)?.into_iter();
    let measured = usages.filter(|usage| usage.processes > 0).filter_map(|mut usage| {
        let key = (std::mem::take(&mut usage.test), usage.mark.take()?);
        Some((key, Usage::of(usage)))
    });
    Ok(measured.collect())
}

/// Fills in what each attempt used, from the recording that it is in. Returns what the recordings say of the attempts
/// beyond that, and what went wrong, a sentence each.
pub(super) fn measure_all(
    layout: &Layout<'_>,
    ended: &mut [EndedAttempt],
) -> (HashMap<Attempt, Measured>, Vec<String>) {
    let mut all = HashMap::new();
    let mut by_recording: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    let started = |(_, ended): &(usize, &EndedAttempt)| ended.result.started.is_some();
    for (index, ended) in ended.iter().enumerate().filter(started) {
        by_recording.entry(ended.recording).or_default().push(index);
    }
    let mut notes = Vec::new();
    for (number, indices) in by_recording {
        let path = layout.recording(number);
        // One of a part that was killed is put together here.
        let measured = Recording::open(&path).map_err(|error| error.to_string());
        let measured = measured.and_then(|(recording, _)| {
            let id = recording.manifest().provenance.id.clone();
            Ok((id, measure(&recording).map_err(|error| error.to_string())?))
        });
        match measured {
            Ok((id, mut usages)) => {
                for index in indices {
                    if let Some(EndedAttempt { result, .. }) = ended.get_mut(index) {
                        let key = (result.test.test.clone(), mark_of(&result.test));
                        let recording = id.clone();
                        let mut measured = Measured { recording, ..Measured::default() };
                        if let Some(usage) = usages.remove(&key) {
                            (result.memory, result.roles) = (Some(usage.memory), usage.roles);
                            measured.span = usage.span;
                            measured.rss_source = usage.rss_source.map(Source::as_str);
                        }
                        all.insert(result.test.clone(), measured);
                    }
                }
            }
            Err(error) => notes.push(format!(
                "the memory of the tests is not known, because `{}` cannot be read: {error}",
                path.display()
            )),
        }
    }
    (all, notes)
}

impl Usage {
    /// Returns what is known where only results are left.
    pub(super) fn told(memory: Memory, roles: Vec<RoleMemory>) -> Self {
        let rss = memory.rss_peak();
        let pss = rss.map(|rss| BoundedBytes {
            lower: memory.pss_peak_bytes.unwrap_or(0),
            upper: rss.upper,
        });
        Self { memory, pss, roles, ..Self::default() }
    }

    fn of(usage: TestUsage) -> Self {
        let roles = usage.roles.iter().map(RoleMemory::from).collect();
        // A part of the resident sets is not above their bound, whether or not it was read.
        let pss_read = usage.rss.map(|rss| {
            let lower = usage.pss_read.map_or(0, |read| read.lower.bytes);
            BoundedBytes { lower, upper: rss.upper.map(|upper| upper.bytes.max(lower)) }
        });
        let rss_source = usage.rss.map(|rss| rss.lower.source);
        let span = Some((usage.begin, usage.end));
        Self { memory: Memory::from(&usage), pss: pss_read, roles, span, rss_source }
    }
}
