//! Comparisons of results as `results.json` holds them: known changes, and results that say little.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::time::Duration;

use memsample_compare::comparison::{CompareOutcome, Comparison};
use memsample_compare::decision::Verdict;
use memsample_compare::environment::Part;
use memsample_compare::{CompareError, Options, Run, compare, report};
use memsample_runner::results::{Attempt, Memory, Outcome, Results, TestResult};

const MIB: u64 = 1 << 20;

/// A run in which each test has a peak in each repeat.
fn run(tests: &[(&str, &[u64])]) -> Run {
    let mut attempts = Vec::new();
    for (test, peaks) in tests {
        for (index, &peak) in peaks.iter().enumerate() {
            let attempt =
                Attempt { test: (*test).to_owned(), repetition: index as u32 + 1, attempt: 1 };
            let mut result = TestResult::not_run(attempt, Outcome::Passed);
            let rss_peak_bytes = Some(peak);
            result.memory = Some(Memory {
                rss_peak_bytes,
                rss_peak_bytes_upper: Some(peak),
                ..Memory::default()
            });
            attempts.push(result);
        }
    }
    let results = Results::new("demo".to_owned(), &attempts, None, Duration::ZERO, Vec::new());
    Run { name: "run".to_owned(), results }
}

#[track_caller]
fn compared(base: &[(&str, &[u64])], head: &[(&str, &[u64])]) -> Comparison {
    compare(&[run(base)], &[run(head)], &Options::default()).unwrap()
}

/// Five peaks with noise of a hundredth of a percent.
fn about(bytes: u64) -> [u64; 5] {
    [0, 3, 1, 4, 2].map(|part| bytes + part * bytes / 10_000)
}

#[test]
fn a_growth_without_noise_is_worse_and_all_else_is_the_same() {
    let (small, large) = (about(64 * MIB), about(64 * MIB * 105 / 100));
    let comparison = compared(&[("a", &small), ("b", &small)], &[("a", &large), ("b", &small)]);
    assert_eq!(comparison.outcome, CompareOutcome::Worse);
    let verdicts: Vec<_> =
        comparison.comparisons.iter().map(|it| (it.test.as_str(), it.verdict)).collect();
    assert_eq!(verdicts, [("a", Verdict::Worse), ("b", Verdict::Same)]);
    assert!((comparison.comparisons[0].change_percent - 5.0).abs() < 0.1, "{comparison:#?}");
    let back = compared(&[("a", &large)], &[("a", &small)]);
    assert_eq!(back.comparisons[0].verdict, Verdict::Better);
    assert_eq!(back.outcome, CompareOutcome::NotWorse);
}

#[test]
fn equal_values_are_the_same_and_a_page_more_is_no_change() {
    let equal = [64 * MIB; 5];
    let page = [64 * MIB + 4096; 5];
    for head in [equal, page] {
        let comparison = compared(&[("a", &equal)], &[("a", &head)]);
        assert_eq!(comparison.comparisons[0].verdict, Verdict::Same, "{comparison:#?}");
    }
    let grown = [66 * MIB; 5];
    let comparison = compared(&[("a", &equal)], &[("a", &grown)]);
    assert_eq!(comparison.comparisons[0].verdict, Verdict::Worse, "{comparison:#?}");
}

#[test]
fn one_repeat_cannot_tell_and_says_how_many_would() {
    let comparison = compared(&[("a", &[64 * MIB])], &[("a", &[90 * MIB])]);
    let a = &comparison.comparisons[0];
    assert_eq!(
        (a.verdict, a.more_base_repeats, a.more_head_repeats),
        (Verdict::CannotTell, Some(4), Some(4))
    );
    assert_eq!(comparison.outcome, CompareOutcome::NotWorse);
}

#[test]
fn a_suspect_is_named_with_its_repeats() {
    let base = [100, 101, 102, 103, 104].map(|part| part * MIB);
    let head = [103, 104, 105, 106, 107].map(|part| part * MIB);
    let comparison = compared(&[("a", &base)], &[("a", &head)]);
    assert_eq!(comparison.outcome, CompareOutcome::Suspects, "{comparison:#?}");
    let suspects = comparison.suspects().of_suite("demo");
    assert_eq!(suspects.get("a"), Some(&5));
}

#[test]
fn runs_that_have_nothing_in_common_are_refused() {
    let (one, other) = (run(&[("a", &[MIB])]), run(&[("b", &[MIB])]));
    let refused = compare(std::slice::from_ref(&one), &[other], &Options::default());
    assert!(matches!(refused, Err(CompareError::NoCommonTest { .. })), "{refused:?}");
    let mut older = one.clone();
    older.results.origin.kernel = Some("6.1.0".to_owned());
    let mut newer = one;
    newer.results.origin.kernel = Some("6.12.0".to_owned());
    let (older, newer) = ([older], [newer]);
    let error = compare(&older, &newer, &Options::default()).unwrap_err().to_string();
    assert!(error.contains("kernel: 6.1.0 in the base, 6.12.0 in the head"), "{error}");
    let allowed = Options { allowed: [Part::Kernel].into(), ..Options::default() };
    assert_eq!(compare(&older, &newer, &allowed).unwrap().different.len(), 1);
}

#[test]
fn any_name_fits_any_terminal() {
    let long = "x".repeat(10_000);
    let names = ["<b>|\u{1b}[31m\n@me", long.as_str(), "日本語のとても長い名前"];
    for name in names {
        let comparison = compared(&[(name, &about(MIB))], &[(name, &about(2 * MIB))]);
        for width in [0, 1, 20, 80, 200] {
            let text = report::text(&comparison, width, true);
            assert!(!text.contains('\u{1b}') && text.contains("worse"), "{text}");
            // Whatever there is no room for, the numbers are whole.
            let whole = text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(whole.contains("1.0 MiB") && whole.contains("2.0 MiB"), "{text}");
            let rows = text.lines().take_while(|line| !line.starts_with("note: "));
            assert!(
                width < 80 || rows.map(|row| row.chars().count()).all(|it| it <= width),
                "{text}"
            );
        }
        let markdown = report::markdown(&comparison);
        assert!(!markdown.contains("<b>") && !markdown.contains("@me"), "{markdown}");
    }
}
