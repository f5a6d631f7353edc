//! The types that commands print as JSON, and their schemas in docs, have the same keys.

use memsample_compare::Quantity;
use memsample_compare::trend::{TestTrend, Trend, TrendChange, TrendPoint, TrendRelease};
use memsample_explain::{Before, Change, Explanation, LargeProcess, LimitThen, RoleChange};
use memsample_runner::results::Verdict;

use crate::report_outputs::{check_every_key, check_json};

fn explanation() -> Explanation {
    let role = RoleChange {
        role: "cc".to_owned(),
        base_rss_peak_bytes: Some(u64::MAX),
        rss_peak_bytes: Some(1),
    };
    Explanation {
        format_version: memsample_explain::FORMAT_VERSION,
        suite: Some("s".to_owned()),
        test: Some("t".to_owned()),
        repetition: Some(1),
        attempt: Some(2),
        outcome: Some(Verdict::OutOfMemory),
        why: vec!["it did".to_owned()],
        others: vec!["u (failed)".to_owned()],
        rss_peak_bytes: Some(3),
        rss_peak_bytes_upper: Some(4),
        at: Some("2026-11-22T17:26:33.1Z".parse().unwrap()),
        before_ms: Some(5),
        before: Before::Kill,
        rss_bytes: Some(6),
        processes: Some(7),
        largest: vec![LargeProcess {
            process: 8,
            pid: 9,
            role: "cc".to_owned(),
            rss_bytes: 10,
            anon_bytes: 11,
            swap_bytes: 12,
            grown_bytes: -13,
            doubled_in_ms: Some(14),
        }],
        limits: vec![LimitThen {
            cgroup: Some("/a".to_owned()),
            limit_bytes: 15,
            used_bytes: 16,
            age_ms: Some(17),
        }],
        change: Some(Change {
            base_outcome: Some(Verdict::Passed),
            base_rss_peak_bytes: Some(18),
            base_rss_peak_bytes_upper: Some(19),
            rss_peak_bytes: Some(20),
            rss_peak_bytes_upper: Some(21),
            bounds_differ: Some(true),
            roles: vec![role],
        }),
        not_seen: vec!["much".to_owned()],
    }
}

#[test]
fn an_explanation_has_the_keys_of_its_schema() {
    let whole = explanation();
    check_every_key("explain", &whole);
    // Of a recording, and where little is known.
    for before in [Before::End, Before::Instant] {
        let least = Explanation {
            suite: None,
            test: None,
            repetition: None,
            attempt: None,
            outcome: None,
            rss_peak_bytes: None,
            rss_peak_bytes_upper: None,
            at: None,
            before_ms: None,
            before,
            rss_bytes: None,
            processes: None,
            largest: Vec::new(),
            limits: Vec::new(),
            change: None,
            ..explanation()
        };
        check_json("explain", &serde_json::to_vec(&least).unwrap());
    }
    for outcome in Verdict::BY_ATTENTION {
        let of = Explanation { outcome: Some(outcome), ..explanation() };
        check_json("explain", &serde_json::to_vec(&of).unwrap());
    }
}

#[test]
fn a_trend_has_the_keys_of_its_schema() {
    for quantity in Quantity::ALL {
        let point = TrendPoint { bytes: 2, smallest_bytes: 1, largest_bytes: 3, repeats: 5 };
        let change = TrendChange {
            release: "2".to_owned(),
            release_index: 1,
            before_bytes: 1,
            after_bytes: 2,
            change_percent: 100.0,
            p: 0.0001,
            environment_changed: false,
        };
        let trend = Trend {
            format_version: memsample_compare::trend::FORMAT_VERSION,
            memsample_version: "0.1.0".to_owned(),
            releases: vec![TrendRelease {
                name: "1".to_owned(),
                started: Some("2026-11-22T17:26:33Z".parse().unwrap()),
                commit: Some("abc".to_owned()),
                runs: 1,
                different: vec!["kernel".to_owned()],
            }],
            tests: vec![TestTrend {
                suite: "s".to_owned(),
                test: "t".to_owned(),
                role: Some("cc".to_owned()),
                quantity,
                points: vec![Some(point), None],
                changes: vec![change],
            }],
        };
        check_every_key("trend", &trend);
    }
}
