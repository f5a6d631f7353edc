//! Decides how an attempt ended.

use std::time::Duration;

use crate::results::{Outcome, Verdict, wording};
use crate::sandbox::AttemptEnd;
use crate::suite::{Step, Test};

/// Decides how an attempt ended, from what is known of it. The order is the meaning: see
/// `docs/verdicts.md`.
///
/// Budgets are not judged here: they need the recording.
pub(super) fn judge(test: &Test, end: &AttemptEnd) -> (Outcome, Option<String>) {
    let mut also = Vec::new();
    if end.timed_out {
        also.push(format!("it did not end in its time of {:?}", test.timeout));
    }
    if end.out_of_cpu_time {
        let used = end.group.as_ref().and_then(|group| group.group_cpu_ns);
        let used = wording::duration(Duration::from_nanos(used.unwrap_or(0)));
        also.push(format!("it used {used} of CPU time"));
    }
    let exit = match (end.exit_code, end.signal) {
        (Some(code), _) => Some(format!("its program exited with {code}")),
        (None, Some(signal)) if !end.timed_out && !is_of_runner(end, signal) => {
            Some(format!("its program was ended by signal {signal}"))
        }
        _ => None,
    };
    if let Some(reason) = &end.not_started {
        if end.ended_by_runner {
            return (Outcome::Aborted, Some("the suite was ended before it began".to_owned()));
        }
        return (Outcome::NotStarted { reason: reason.clone() }, None);
    }
    if end.ended_by_runner {
        let signal = end.signal.map(|signal| format!("its program was ended by signal {signal}"));
        let mut parts = vec!["the suite was ended before it had ended".to_owned()];
        parts.extend(exit.or(signal));
        return (Outcome::Aborted, Some(parts.join("; ")));
    }
    let kills = end.oom_kills.unwrap_or(0);
    if kills > 0 {
        also.extend(exit);
        let killed = match kills {
            1 => "the kernel killed one of its processes".to_owned(),
            kills => format!("the kernel killed {kills} of its processes"),
        };
        let limit_bytes = test.memory_limit_bytes.filter(|_| end.limit_reached);
        let outcome = match limit_bytes {
            Some(limit_bytes) => Outcome::OutOfMemory { limit_bytes },
            None => Outcome::HostOutOfMemory,
        };
        also.insert(0, killed);
        return (outcome, Some(also.join("; ")));
    }
    // Where no control group counts, what is left is what the whole machine counts: that the program
    // was killed by no one we know while the kernel killed because memory was short.
    if end.oom_kills.is_none()
        && end.machine_oom_kills.is_some_and(|kills| kills > 0)
        && end.signal == Some(SIGKILL)
        && !end.timed_out
    {
        let reason = "its program was killed while the OOM killer was active on this machine; no control \
                      group counts whom it killed";
        return (Outcome::HostOutOfMemory, Some(reason.to_owned()));
    }
    if end.timed_out {
        // That its time was over is the outcome.
        let reason = also.into_iter().skip(1).chain(exit);
        return (Outcome::TimedOut { after: test.timeout }, joined(reason));
    }
    if let Some(limit) = test.cpu_limit.filter(|_| end.out_of_cpu_time) {
        return (Outcome::OutOfCpuTime { limit }, joined(also.into_iter().chain(exit)));
    }
    if end.lost {
        if let Some(reason) = unheard(end) {
            return (Outcome::NotStarted { reason }, None);
        }
        let reason = "the process that started it was killed, so how it ended is not known";
        return (Outcome::Signaled { signal: SIGKILL }, Some(reason.to_owned()));
    }
    match (end.exit_code, end.signal) {
        (_, Some(signal)) => (Outcome::Signaled { signal }, None),
        (Some(code), None) if !is_expected(test, code) => {
            (Outcome::Failed { exit_code: code }, None)
        }
        (Some(_), None) => match left(end) {
            Some(left) => (Outcome::LeftOver, Some(left)),
            None => (Outcome::Passed, None),
        },
        (None, None) => {
            let reason = "how it ended is not known: its supervisor was killed".to_owned();
            (Outcome::NotStarted { reason }, None)
        }
    }
}

/// Decides how a step of the suite ended, and why.
pub(super) fn judge_step(step: &Step, end: &AttemptEnd) -> (Verdict, Option<String>) {
    match end {
        AttemptEnd { not_started: Some(reason), .. } => (Verdict::NotStarted, Some(reason.clone())),
        AttemptEnd { timed_out: true, .. } => {
            (Verdict::TimedOut, Some(format!("its time was {}", wording::duration(step.timeout))))
        }
        AttemptEnd { ended_by_runner: true, .. } => {
            (Verdict::Aborted, Some("the suite was ended before it had ended".to_owned()))
        }
        AttemptEnd { exit_code: Some(0), .. } => (Verdict::Passed, None),
        AttemptEnd { exit_code: Some(code), .. } => {
            (Verdict::Failed, Some(format!("exit code {code}")))
        }
        AttemptEnd { unheard: Some(_), signal: None, .. } => (Verdict::NotStarted, unheard(end)),
        AttemptEnd { signal: Some(signal), .. } => {
            (Verdict::Signaled, Some(wording::signal_name(*signal)))
        }
        _ => {
            let reason = "the process that started it was killed, so how it ended is not known";
            (Verdict::Signaled, Some(reason.to_owned()))
        }
    }
}

/// Describes that nothing could be heard of the process that knows how the program ended.
fn unheard(end: &AttemptEnd) -> Option<String> {
    let reason = end.unheard.as_ref()?;
    Some(format!(
        "how it ended is not known: nothing could be heard of the process that started it: {reason}"
    ))
}

/// Returns whether a signal may be that by which the runner ended what used too much CPU time.
fn is_of_runner(end: &AttemptEnd, signal: i32) -> bool {
    end.out_of_cpu_time && [SIGTERM, SIGKILL].contains(&signal)
}

fn joined(parts: impl Iterator<Item = String>) -> Option<String> {
    let parts: Vec<String> = parts.collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// The signal that nobody can catch.
const SIGKILL: i32 = 9;
/// The signal that asks a program to end.
const SIGTERM: i32 = 15;

fn is_expected(test: &Test, code: i32) -> bool {
    u8::try_from(code).is_ok_and(|code| test.expect_exit.contains(&code))
}

/// Describes what an attempt left behind, if anything.
fn left(end: &AttemptEnd) -> Option<String> {
    let mut parts = Vec::new();
    match end.left_over_processes.as_slice() {
        [] => {}
        [one] => parts.push(format!("`{}` ({})", one.comm.escape_debug(), one.pid)),
        [first, rest @ ..] => parts.push(format!(
            "`{}` ({}) and {} other processes",
            first.comm.escape_debug(),
            first.pid,
            rest.len()
        )),
    }
    if let Some(bytes) = end.left_bytes.filter(|&bytes| bytes > 0) {
        parts.push(format!("{bytes} bytes of shared memory"));
    }
    match (&end.unlisted, parts.is_empty()) {
        (None, true) => None,
        (_, false) => Some(format!("it left {}", parts.join(" and "))),
        // What is not known has not passed.
        (Some(why), true) => Some(format!("whether it left processes is not known: {why}")),
    }
}
