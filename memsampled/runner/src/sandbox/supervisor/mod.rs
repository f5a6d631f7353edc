//! The supervisor: runs one attempt from outside of its sandbox, and leaves nothing behind.
//!
//! ```text
//! EventSource ─ SupervisorEvent ─▶ AttemptMachine ─ SupervisorAction ─▶ Supervisor
//!      ▲                                                                   │ signals, messages
//!      └─────────── runner, init, exec shim, output, time ─────────────────┘
//! ```

mod conduct;
mod event_source;
mod inside;
mod machine;
mod scratch;
mod sequence;
mod stage;
mod state;
#[cfg(test)]
mod tests;
mod transitions;

use std::fs;
use std::io;

use memsample::parse::parse_vmstat;
use memsample::{KernelLog, OomLimit};
use memsample_input::rounded_size;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{getpid, set_child_subreaper, setsid};

use super::artifact_reader::ArtifactSearch;
use super::artifacts;
use super::attempt_end::AttemptEnd;
use super::channel::{Channel, inherited};
use super::groups::{Groups, OomCounts};
use super::kernel_file;
use super::own_groups::Parents;
use super::protocol::{SupervisorMessage, SupervisorOrder};
use super::signals::{ignore_signals, unblock_signals};
use super::spec::{ResolvedSandbox, Spec};
use super::tool::{GIVEN, outside};
use conduct::Supervisor;
use scratch::remove_scratch;

/// Runs until the attempt is over. Its control groups are made in `parents`.
pub(super) fn run(parents: &Parents) -> u8 {
    // What ends the runner's process group, such as Ctrl-C, is for the runner to judge.
    let _ = setsid();
    ignore_signals();
    unblock_signals();
    let reaps = set_child_subreaper(Some(getpid()));
    let runner = inherited();
    let Ok(Some(received)) = runner.receive::<SupervisorOrder>() else { return 1 };
    let SupervisorOrder::Start(spec) = received.message else { return 1 };
    // What the runner holds is held until nothing is left.
    let _held = received.descriptors;
    let mut end = attempt(&runner, &spec, parents);
    if let Err(error) = reaps
        && spec.sandbox == ResolvedSandbox::None
    {
        end.notes.push(format!(
            "what it left may not all be found: the kernel gives orphans to others than the runner ({error}), and there \
             is no sandbox that they cannot leave"
        ));
    }
    u8::from(runner.send(&SupervisorMessage::Ended(Box::new(end))).is_err())
}

/// Makes the sandbox, runs the attempt in it, and removes it.
fn attempt(runner: &Channel<io::Stdin>, spec: &Spec, parents: &Parents) -> AttemptEnd {
    let oom_kills_before = machine_oom_kills();
    let log = KernelLog::open();
    let groups = Groups::create(parents, &spec.id);
    let (mut end, mut runner_gone) = match Supervisor::start(runner, spec, &groups) {
        Ok(supervisor) => supervisor.conduct(),
        Err(reason) => (AttemptEnd::not_started(reason), false),
    };
    if end.not_started.is_none() && !runner_gone {
        let mut is_unwanted = false;
        for search in searches(spec) {
            let notes = artifacts::keep(search, &spec.artifacts_directory, || {
                let asked = end_asked_for(runner);
                runner_gone |= asked == Some(EndAskedFor::RunnerGone);
                // It is asked once.
                is_unwanted |= asked.is_some();
                is_unwanted
            });
            end.notes.extend(notes);
        }
    }
    if let Some(path) = spec.runner_scratch.as_ref().filter(|_| runner_gone) {
        let _ = fs::remove_dir_all(path);
    }
    end.machine_oom_kills =
        oom_kills_before.and_then(|before| machine_oom_kills()?.checked_sub(before));
    let mut counts = groups.oom_counts();
    if end.machine_oom_kills.is_none_or(|kills| kills > 0) {
        counts = counts.map(|counts| counts.or_more(logged_oom_counts(log, &spec.id)));
    }
    end.oom_kills = counts.map(|OomCounts { kills, .. }| kills);
    end.limit_reached =
        spec.memory_limit_bytes.is_some() && counts.is_some_and(|counts| counts.limit_reached);
    if let Some(limit_bytes) = spec.memory_limit_bytes.filter(|_| end.not_started.is_none()) {
        let peak_bytes = end.group.as_ref().and_then(|group| group.group_peak_bytes);
        end.notes.extend(raised_limit(limit_bytes, groups.memory_limit_bytes(), peak_bytes));
    }
    for path in groups.end() {
        end.notes.push(format!("the control group `{}` could not be removed", path.display()));
    }
    remove_scratch(spec, &mut end, || runner_gone || end_asked_for(runner).is_some());
    end
}

/// Says that a test had more than its limit, since it or another program changed that of the control group: the limit is higher
/// now, or the peak of the group is above it. The kernel rounds a limit down to whole pages, and charges some pages beyond it.
fn raised_limit(
    limit_bytes: u64,
    now_bytes: Option<u64>,
    peak_bytes: Option<u64>,
) -> Option<String> {
    const BEYOND_BYTES: u64 = 1 << 20;
    let limit = rounded_size(limit_bytes);
    if let Some(now_bytes) = now_bytes.filter(|&now_bytes| now_bytes > limit_bytes) {
        // No limit is one that no machine has, in whole pages.
        let now = match now_bytes > u64::MAX >> 2 {
            true => "there was none".to_owned(),
            false => format!("it was {}", rounded_size(now_bytes)),
        };
        return Some(format!("its memory limit of {limit} did not hold: at its end {now}"));
    }
    let peak_bytes = peak_bytes.filter(|&peak| peak > limit_bytes.saturating_add(BEYOND_BYTES))?;
    let peak = rounded_size(peak_bytes);
    Some(format!("its memory limit of {limit} did not hold: its control group had {peak}"))
}

/// Returns where artifacts are looked for.
fn searches(spec: &Spec) -> Vec<ArtifactSearch> {
    let (from, within) = outside(spec);
    let user = spec.user.clone();
    let mut searches =
        vec![ArtifactSearch { globs: spec.artifacts.clone(), from, within, user: user.clone() }];
    if spec.artifacts_variable.is_some() {
        let (from, within) = (spec.scratch.join(GIVEN), spec.scratch.clone());
        searches.push(ArtifactSearch { globs: vec!["**/*".to_owned()], from, within, user });
    }
    searches
}

/// Counts what the log of the kernel says of the groups of an attempt, also of those that the test has removed: the counter
/// of a group of version 1 is gone with it. Groups of this name are of no other attempt, wherever they are.
fn logged_oom_counts(log: Option<KernelLog>, id: &str) -> OomCounts {
    let mut counts = OomCounts { kills: 0, limit_reached: false };
    if let Some(mut log) = log {
        log.drain(|victim| {
            let of_attempt = |group: &String| group.split('/').any(|name| name == id);
            if victim.group.as_ref().is_some_and(of_attempt) {
                counts.kills += 1;
                counts.limit_reached |=
                    matches!(&victim.limit, OomLimit::Group(group) if group.ends_with(id));
            }
        });
    }
    counts
}

/// Why what is still to be done after a test is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EndAskedFor {
    ByRunner,
    RunnerGone,
}

/// Looks whether the runner wants the attempt to end, or is gone, without waiting for it.
fn end_asked_for(runner: &Channel<io::Stdin>) -> Option<EndAskedFor> {
    let mut waiting = [PollFd::new(runner, PollFlags::IN)];
    if !matches!(poll(&mut waiting, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(1..)) {
        return None;
    }
    match runner.receive::<SupervisorOrder>() {
        Ok(Some(order)) => {
            matches!(order.message, SupervisorOrder::End).then_some(EndAskedFor::ByRunner)
        }
        Ok(None) | Err(_) => Some(EndAskedFor::RunnerGone),
    }
}

/// Reads how often the OOM killer has killed since the machine was started.
fn machine_oom_kills() -> Option<u64> {
    parse_vmstat(&kernel_file::bytes("/proc/vmstat").ok()?).ok()?.oom_kill
}
