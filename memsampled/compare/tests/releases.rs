//! Releases one after the other: where a test changed, and how much builds differ of which nothing has.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::slice::from_ref;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use memsample_compare::decision::Verdict;
use memsample_compare::{
    History, Options, Quantity, Release, Run, TrendOptions, compare, releases, report, trend,
};
use memsample_runner::results::{Attempt, Memory, Outcome, Results, TestResult};

const MIB: f64 = (1 << 20) as f64;

/// A run of a release, in which each test has a peak in each repeat.
fn run(number: usize, release: Option<&str>, tests: &[(String, Vec<f64>)]) -> Run {
    let mut attempts = Vec::new();
    for (test, peaks) in tests {
        for (index, &peak) in peaks.iter().enumerate() {
            let attempt = Attempt { test: test.clone(), repetition: index as u32 + 1, attempt: 1 };
            let mut result = TestResult::not_run(attempt, Outcome::Passed);
            let rss_peak_bytes = Some(peak as u64);
            result.memory = Some(Memory { rss_peak_bytes, ..Memory::default() });
            attempts.push(result);
        }
    }
    let mut results = Results::new("demo".to_owned(), &attempts, None, Duration::ZERO, Vec::new());
    let start = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(number as i64);
    results.started = Some(start);
    if let Some(release) = release {
        results.origin.labels.insert("release".to_owned(), release.to_owned());
    }
    Run { name: format!("run-{number}"), results }
}

/// Releases of one run each, in which the only test has these peaks in MiB.
fn releases_of(peaks: &[f64]) -> Vec<Release> {
    let runs = peaks.iter().enumerate().map(|(number, peak)| {
        let repeats = [0.999, 1.0, 1.001].map(|part| peak * part * MIB).to_vec();
        (None, run(number, Some(&format!("v{number}")), &[("net/ping".to_owned(), repeats)]))
    });
    releases(runs, "release")
}

fn peaks() -> TrendOptions {
    TrendOptions { quantities: vec![Quantity::Peak], roles: false }
}

#[test]
fn runs_are_grouped_by_label_then_directory_and_ordered_by_time() {
    let tests = [("a".to_owned(), vec![MIB])];
    let given = vec![
        (None, run(5, Some("v2"), &tests)),
        (Some("dir".to_owned()), run(1, None, &tests)),
        (None, run(9, Some("v10"), &tests)),
        (Some("dir".to_owned()), run(4, None, &tests)),
        (None, run(0, None, &tests)),
        (None, run(6, Some("v2"), &tests)),
    ];
    let found = releases(given, "release");
    let names: Vec<(&str, usize)> =
        found.iter().map(|it| (it.name.as_str(), it.runs.len())).collect();
    assert_eq!(names, [("run-0", 1), ("dir", 2), ("v2", 2), ("v10", 1)]);
}

#[test]
fn a_change_that_lasts_is_marked_where_it_began() {
    let mut series = [100.0; 14];
    series[9..].fill(112.0);
    let mut releases = releases_of(&series);
    releases[9].runs[0].results.origin.kernel = Some("6.12".to_owned());
    for release in &mut releases[..9] {
        release.runs[0].results.origin.kernel = Some("6.1".to_owned());
    }
    let trend = trend(&releases, &peaks());
    let change = &trend.tests[0].changes[0];
    assert_eq!((trend.tests[0].changes.len(), change.release.as_str()), (1, "v9"));
    assert!((change.change_percent - 12.0).abs() < 0.01, "{change:?}");
    assert!(change.environment_changed && trend.releases[9].different[0].contains("6.12"));
    let point = trend.tests[0].points[0].unwrap();
    assert_eq!((point.bytes, point.repeats), ((100.0 * MIB) as u64, 3));

    for width in [80, 120] {
        let text = report::trend_text(&trend, width, false, true);
        let fits = text.lines().take(2).all(|line| line.chars().count() <= width);
        assert!(fits && text.contains("+12.0 % at v9*"), "{text}");
    }
    let markdown = report::trend_markdown(&trend);
    assert!(markdown.contains("| net/ping | v9 (other environment) |"), "{markdown}");
    let read: memsample_compare::Trend =
        serde_json::from_str(&serde_json::to_string(&trend).unwrap()).unwrap();
    assert_eq!(read, trend);
}

#[test]
fn few_releases_and_gaps_are_no_change() {
    let trend_of = |releases: &[Release]| trend(releases, &peaks()).tests.remove(0).changes;
    assert!(trend_of(&releases_of(&[100.0, 100.0, 100.0, 200.0, 200.0, 200.0, 200.0])).is_empty());
    // One release that did not pass is a gap, and no change.
    let mut releases = releases_of(&[100.0; 12]);
    releases[5].runs[0].results.tests.clear();
    assert!(trend_of(&releases).is_empty());
    // One that is another is no change that lasts.
    let mut series = [100.0; 16];
    series[8] = 104.0;
    assert!(trend_of(&releases_of(&series)).is_empty());
}

/// Numbers with a normal distribution.
struct Gauss(fastrand::Rng);

impl Gauss {
    fn next(&mut self) -> f64 {
        (0..12).map(|_| self.0.f64()).sum::<f64>() - 6.0
    }
}

/// A run of 40 tests with a noise of 0.2 %, of a build with a shift of `shift` for each test.
fn build(random: &mut Gauss, number: usize, shift: f64, repeats: usize) -> Run {
    let tests: Vec<(String, Vec<f64>)> = (0..40)
        .map(|test| {
            let own = random.next() * shift;
            let peaks = (0..repeats).map(|_| 80.0 * MIB * (own + random.next() * 0.002).exp());
            (format!("test-{test}"), peaks.collect())
        })
        .collect();
    run(number, Some(&format!("v{number}")), &tests)
}

#[test]
fn a_history_knows_the_shift_of_builds_and_keeps_it_from_being_called_a_change() {
    let mut random = Gauss(fastrand::Rng::with_seed(7));
    let mut history_of = |shift: f64| {
        let runs: Vec<_> =
            (0..10).map(|number| (None, build(&mut random, number, shift, 5))).collect();
        History::of(&releases(runs, "release"), &[Quantity::Peak]).unwrap()
    };
    let history = history_of(0.01);
    assert!((0.007..0.013).contains(&history.shift), "{history:?}");
    assert!((0.0015..0.0025).contains(&history.noise.unwrap()), "{history:?}");
    let without = history_of(0.0);
    assert!(without.shift < 0.001, "{without:?}");

    let mut alarms = [0, 0];
    for suite in 0..40 {
        let (base, head) =
            (build(&mut random, 100 + suite, 0.01, 5), build(&mut random, 200 + suite, 0.01, 5));
        for (alarms, history) in alarms.iter_mut().zip([None, Some(history)]) {
            let options = Options { history, ..Options::default() };
            let comparison = compare(from_ref(&base), from_ref(&head), &options).unwrap();
            *alarms += usize::from(comparison.count(Verdict::Worse) > 0);
            assert_eq!(comparison.history.is_some(), history.is_some());
        }
    }
    // Without it nearly every suite has a false alarm.
    assert!(alarms[0] > 30 && alarms[1] <= 4, "{alarms:?}");

    let mut grown = build(&mut random, 300, 0.01, 5);
    let base = build(&mut random, 301, 0.01, 5);
    for attempt in &mut grown.results.tests[3].attempts {
        let memory = attempt.ended.memory.as_mut().unwrap();
        memory.rss_peak_bytes = memory.rss_peak_bytes.map(|bytes| bytes * 115 / 100);
    }
    let options = Options { history: Some(history), ..Options::default() };
    let comparison = compare(&[base], &[grown], &options).unwrap();
    let worse: Vec<&str> = comparison
        .comparisons
        .iter()
        .filter(|it| it.verdict == Verdict::Worse)
        .map(|it| it.test.as_str())
        .collect();
    assert_eq!(worse, ["test-3"]);
    assert!(report::text(&comparison, 80, false).contains("earlier releases"));
}

#[test]
fn a_history_of_too_little_says_what_it_lacks() {
    let two = History::of(&releases_of(&[100.0, 100.0]), &[Quantity::Peak]).unwrap_err();
    assert!(two.contains("2 releases") && two.contains("--label release="), "{two}");
    let few = History::of(&releases_of(&[100.0; 4]), &[Quantity::Peak]).unwrap_err();
    assert!(few.contains("3 pairs"), "{few}");
}
