//! Which attempt of which test is explained, and which part of a recording it is.

use std::collections::HashMap;
use std::io;

use memsample::Recording;
use memsample::analysis::{attempt_mark, attempt_roles};
use memsample_runner::results::{AttemptResults, Results, TestResults, Verdict};

/// Returns the test that wants attention most: of those that did not pass the one of the worst kind, out of memory before
/// all others; where all passed, the one with the largest peak.
pub(crate) fn most_telling(results: &Results) -> Option<&TestResults> {
    let rank = |test: &TestResults| match test.ended.outcome {
        Verdict::OutOfMemory => 0,
        Verdict::HostOutOfMemory => 1,
        Verdict::Passed => usize::MAX,
        outcome => 2 + Verdict::BY_ATTENTION.iter().position(|it| *it == outcome).unwrap_or(0),
    };
    let worst = results.tests.iter().min_by_key(|test| rank(test))?;
    match worst.ended.outcome.is_success() {
        false => Some(worst),
        true => results.tests.iter().max_by_key(|test| test.rss_peak_bytes()),
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

#[cfg(test)]
mod tests {
    use super::*;

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
            most_telling(&results).map(|test| test.name.clone())
        };
        assert_eq!(of(&[("a", "passed"), ("b", "failed"), ("c", "out_of_memory")]).unwrap(), "c");
        assert_eq!(of(&[("a", "skipped"), ("b", "signaled"), ("c", "failed")]).unwrap(), "c");
        assert_eq!(of(&[]), None);
    }
}
