//! Which attempt of which test is explained, and which part of a recording it is.

use std::collections::{BTreeSet, HashMap};
use std::io;

use jiff::Timestamp;
use memsample::Recording;
use memsample::analysis::{attempt_mark, attempt_roles, tick_instants};
use memsample::view::At;
use memsample_runner::results::{AttemptResults, Results, TestResults, Verdict};

/// Returns the test that wants attention most: of those that did not pass the one of the worst kind, out of memory before
/// all others; where all passed, the one with the largest peak.
pub(crate) fn most_telling<'a>(
    tests: impl Iterator<Item = &'a TestResults> + Clone,
) -> Option<&'a TestResults> {
    let rank = |test: &TestResults| match test.ended.outcome {
        Verdict::OutOfMemory => 0,
        Verdict::HostOutOfMemory => 1,
        Verdict::Passed => usize::MAX,
        outcome => 2 + Verdict::BY_ATTENTION.iter().position(|it| *it == outcome).unwrap_or(0),
    };
    let worst = tests.clone().min_by_key(|test| rank(test))?;
    match worst.ended.outcome.is_success() {
        false => Some(worst),
        true => tests.max_by_key(|test| test.rss_peak_bytes()),
    }
}

/// The processes of an attempt, or of a whole recording, and its time.
pub(crate) struct Part {
    /// The role of each process image, by its key.
    pub(crate) images: HashMap<u64, String>,
    pub(crate) begin_ms: i64,
    pub(crate) end_ms: i64,
}

/// Returns the part of a recording that is an attempt; `None` where it has none of its processes.
pub(crate) fn part(
    recording: &Recording,
    test: &TestResults,
    attempt: &AttemptResults,
) -> io::Result<Option<Part>> {
    let mark = attempt_mark(attempt.repetition, attempt.attempt);
    let mut part: Option<Part> = None;
    for role in attempt_roles(recording)? {
        if role.test != test.name || role.mark.as_deref() != Some(&mark) {
            continue;
        }
        let part = part.get_or_insert_with(|| Part {
            images: HashMap::new(),
            begin_ms: role.begin_ms,
            end_ms: role.end_ms,
        });
        part.begin_ms = part.begin_ms.min(role.begin_ms);
        part.end_ms = part.end_ms.max(role.end_ms);
        part.images.extend(role.images.iter().map(|image| (*image, role.role.clone())));
    }
    Ok(part)
}

/// What a run did at an instant.
pub(crate) enum Then<'a> {
    /// It ran this attempt.
    Attempt(&'a TestResults, &'a AttemptResults),
    /// It ran no test; the recording of that instant, or the first one, which does not have it.
    NoTest(Box<Recording>),
}

/// Returns what a run did at an instant: of tests that ran side by side the one that tells most. `None` where it has no
/// recording any more.
pub(crate) fn at_instant<'a>(
    results: &'a Results,
    at: At,
    open: &impl Fn(&str) -> Option<Recording>,
) -> io::Result<Option<Then<'a>>> {
    let mut nothing = None;
    for recording in results.origin.recordings.iter().filter_map(|name| open(name)) {
        let ticks = tick_instants(&recording)?;
        let (Some(first), Some(last)) = (ticks.first(), ticks.last()) else { continue };
        let at_ms = instant_ms(at, first.ts_ms);
        let marks: BTreeSet<(String, Option<String>)> = attempt_roles(&recording)?
            .into_iter()
            .filter(|role| (role.begin_ms..=role.end_ms).contains(&at_ms))
            .map(|role| (role.test, role.mark))
            .collect();
        let running = |test: &'a TestResults| {
            test.attempts.iter().find(|attempt| {
                let mark = attempt_mark(attempt.repetition, attempt.attempt);
                marks.contains(&(test.name.clone(), Some(mark)))
            })
        };
        let tests = results.tests.iter().filter(|test| running(test).is_some());
        if let Some(test) = most_telling(tests) {
            return Ok(running(test).map(|attempt| Then::Attempt(test, attempt)));
        }
        if nothing.is_none() || (first.ts_ms..=last.ts_ms).contains(&at_ms) {
            nothing = Some(recording);
        }
    }
    Ok(nothing.map(|recording| Then::NoTest(Box::new(recording))))
}

/// Returns an instant in milliseconds since 1970, in a recording with this first tick. What is after the end of time is the
/// end of time.
pub(crate) fn instant_ms(at: At, first_ms: i64) -> i64 {
    let first = Timestamp::from_millisecond(first_ms).unwrap_or_default();
    // The last whole second that there is: the last millisecond is rounded up, beyond the end.
    at.since(first).map_or(Timestamp::MAX.as_second() * 1000, Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_instant_after_the_end_of_time_is_the_end_of_time() {
        let ms = instant_ms(At::Offset(Duration::from_secs(u64::MAX)), 1_700_000_000_000);
        assert_eq!(Timestamp::from_millisecond(ms).unwrap().to_string(), "9999-12-30T22:00:00Z");
    }

    fn results(outcomes: &[(&str, &str)]) -> Results {
        let test = |(name, outcome): &(&str, &str)| {
            format!(
                r#"{{"name": "{name}", "outcome": "{outcome}", "attempts": [{{"repetition": 1, "attempt": 1,
                "outcome": "{outcome}"}}]}}"#
            )
        };
        let tests: Vec<String> = outcomes.iter().map(test).collect();
        let json = format!(
            r#"{{"format_version": 1, "memsample_version": "0", "suite": "s", "outcome": "failed", "duration_ns": 1,
            "counts": {{}}, "notes": [], "tests": [{}]}}"#,
            tests.join(",")
        );
        Results::from_json(json.as_bytes()).unwrap()
    }

    #[test]
    fn out_of_memory_tells_most() {
        let of = |outcomes: &[(&str, &str)]| {
            let results = results(outcomes);
            most_telling(results.tests.iter()).map(|test| test.name.clone())
        };
        assert_eq!(of(&[("a", "passed"), ("b", "failed"), ("c", "out_of_memory")]).unwrap(), "c");
        assert_eq!(of(&[("a", "skipped"), ("b", "signaled"), ("c", "failed")]).unwrap(), "c");
        assert_eq!(of(&[]), None);
    }
}
