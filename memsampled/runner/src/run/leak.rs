//! Judges whether an attempt leaks memory.

use std::collections::{BTreeMap, HashMap};

use memsample::Recording;
use memsample_leaks::{Judged, RoleJudgement, Verdict, judge_roles};

use super::layout::Layout;
use super::measure::mark_of;
use super::options::RunOptions;
use super::progress::EndedAttempt;
use crate::results::{Attempt, LeakResult, Outcome, TestResult, wording};
use crate::suite::{Action, LeakRule, Suite, Test};

/// Roles of one attempt that are kept, at most; worst first.
const MAX_ROLES: usize = 50;

/// When the program of an attempt ran, in milliseconds since 1970.
pub(super) type ProgramSpan = (i64, i64);

/// Returns when the program of an attempt ran; `None` where it was not started.
pub(super) fn program_span(result: &TestResult) -> Option<ProgramSpan> {
    let begin_ms = result.started?.as_millisecond();
    let duration_ms = i64::try_from(result.duration.as_millis()).unwrap_or(i64::MAX);
    Some((begin_ms, begin_ms.saturating_add(duration_ms)))
}

/// Returns what to judge of a recording that has these attempts.
pub(super) fn judged<'a>(attempts: impl IntoIterator<Item = (&'a Attempt, ProgramSpan)>) -> Judged {
    let programs = attempts
        .into_iter()
        .map(|(attempt, span)| ((attempt.test.clone(), mark_of(attempt)), span));
    Judged { programs: programs.collect(), ..Judged::default() }
}

/// Notes of an attempt whether its memory leaks. One that would have passed, and leaks, is `leaked`.
pub(super) fn hold_to_leak(rule: &LeakRule, judgements: &[RoleJudgement], result: &mut TestResult) {
    let mark = mark_of(&result.test);
    let is_of = |it: &&RoleJudgement| {
        it.test.as_deref() == Some(&result.test.test)
            && it.mark.as_deref() == Some(&mark)
            && (rule.role.is_none() || it.role == rule.role)
    };
    let leaks = judgements.iter().filter(is_of).map(|it| LeakResult::of(it, rule.action));
    result.leaks = leaks.take(MAX_ROLES).collect();
    let found: Vec<String> =
        result.leaks.iter().filter(|it| it.leaks()).map(wording::leak).collect();
    if found.is_empty() {
        result.notes.extend(unknown(rule, &result.leaks));
    } else if rule.action == Action::Fail && result.outcome == Outcome::Passed {
        (result.outcome, result.reason) = (Outcome::Leaked, Some(found.join("; ")));
    }
}

/// Says that nobody knows whether it leaks, where that is so of all its memory or of the role that is asked for.
fn unknown(rule: &LeakRule, leaks: &[LeakResult]) -> Option<String> {
    let whole = match &rule.role {
        Some(role) if leaks.is_empty() => {
            return Some(format!(
                "whether it leaks is not known: no process of the role `{}` was sampled",
                role.escape_debug()
            ));
        }
        None if leaks.is_empty() => {
            return Some(
                "whether it leaks is not known: none of its processes was sampled".to_owned(),
            );
        }
        Some(_) => leaks.first(),
        // A single role has no sum.
        None => leaks.iter().find(|it| it.role.is_none()).or(leaks.first()),
    };
    let whole = whole.filter(|it| it.verdict == Verdict::CannotTell)?;
    Some(format!("whether it leaks is not known: {}", whole.reason))
}

/// Returns the rule by which a test is judged: that of its suite, or else the first one of the policy that holds for it.
pub(super) fn leak_rule_of<'a>(test: &'a Test, options: &'a RunOptions) -> Option<&'a LeakRule> {
    let of_policy = || options.policy.leaks.iter().find(|leak| leak.holds_for(&test.name));
    test.leak.as_ref().or_else(|| of_policy().map(|leak| &leak.rule))
}

/// Judges the attempts that were not judged when they ended, since they had no recording of their own. Returns what went
/// wrong, a sentence each.
pub(super) fn judge_rest(
    layout: &Layout<'_>,
    suite: &Suite,
    options: &RunOptions,
    ended: &mut [EndedAttempt],
) -> Vec<String> {
    let rules: HashMap<&str, &LeakRule> = suite
        .tests
        .iter()
        .filter_map(|test| Some((test.name.as_str(), leak_rule_of(test, options)?)))
        .collect();
    let mut by_recording: BTreeMap<u32, Vec<&mut TestResult>> = BTreeMap::new();
    for EndedAttempt { recording, result } in ended {
        let is_judged = !result.leaks.is_empty() || result.started.is_none();
        if !is_judged && rules.contains_key(result.test.test.as_str()) {
            by_recording.entry(*recording).or_default().push(result);
        }
    }
    let mut notes = Vec::new();
    for (number, results) in by_recording {
        let path = layout.recording(number);
        let spans = results.iter().filter_map(|result| Some((&result.test, program_span(result)?)));
        let judged = judged(spans);
        let judgements =
            Recording::open(&path).map_err(|error| error.to_string()).and_then(|(recording, _)| {
                judge_roles(&recording, &judged).map_err(|error| error.to_string())
            });
        match judgements {
            Ok(judgements) => {
                for result in results {
                    if let Some(rule) = rules.get(result.test.test.as_str()) {
                        // Said when it ended, by less.
                        result.notes.retain(|note| !note.starts_with("whether it leaks"));
                        hold_to_leak(rule, &judgements, result);
                    }
                }
            }
            Err(error) => notes.push(format!(
                "whether tests leak is not known, because `{}` cannot be read: {error}",
                path.display()
            )),
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use memsample_leaks::{Judgement, Rate};

    use super::*;

    fn judged(role: Option<&str>, verdict: Verdict) -> RoleJudgement {
        let by_hour = Some(Rate { rate: 2e6, lower: 1e6, upper: 3e6 });
        RoleJudgement {
            test: Some("a".to_owned()),
            attempt: Some(1),
            mark: Some("attempt 1.1".to_owned()),
            role: role.map(str::to_owned),
            begin: None,
            end: None,
            cycle_mark: None,
            judgement: Judgement {
                verdict,
                reason: "so it is".to_owned(),
                by_hour,
                by_cycle: None,
                confidence: None,
                samples: 300,
                warm_up_s: 0.0,
                gaps: 0,
                longest_gap_s: 0.0,
                level_bytes: None,
            },
        }
    }

    fn held(role: Option<&str>, action: Action, judgements: &[RoleJudgement]) -> TestResult {
        let attempt = Attempt { test: "a".to_owned(), repetition: 1, attempt: 1 };
        let mut result = TestResult::not_run(attempt, Outcome::Passed);
        hold_to_leak(&LeakRule { role: role.map(str::to_owned), action }, judgements, &mut result);
        result
    }

    #[test]
    fn one_role_that_leaks_is_enough() {
        let both = [judged(Some("cc"), Verdict::Leaks), judged(None, Verdict::CannotTell)];
        let result = held(None, Action::Fail, &both);
        assert_eq!((result.outcome, result.leaks.len()), (Outcome::Leaked, 2));
        let reason = "role cc leaks 1.9 MiB an hour (976.6 KiB to 2.9 MiB): so it is";
        assert_eq!(result.reason.as_deref(), Some(reason));
        let warned = held(None, Action::Warn, &both);
        assert_eq!(warned.outcome, Outcome::Passed);
        assert_eq!(wording::why(&warned), Some(format!("{reason} (a warning)")));
        // Of the role that is asked for.
        assert_eq!(held(Some("ld"), Action::Fail, &both).outcome, Outcome::Passed);
    }

    #[test]
    fn what_is_not_known_is_said() {
        let notes = |role, judgements: &[RoleJudgement]| held(role, Action::Fail, judgements).notes;
        let unknown = [judged(Some("cc"), Verdict::Steady), judged(None, Verdict::CannotTell)];
        assert_eq!(notes(None, &unknown), ["whether it leaks is not known: so it is"]);
        assert_eq!(notes(Some("cc"), &unknown), [""; 0]);
        let unseen = "whether it leaks is not known: no process of the role `ld` was sampled";
        assert_eq!(notes(Some("ld"), &unknown), [unseen]);
        assert_eq!(notes(None, &[]).len(), 1);
    }
}
