//! Rows of the table `exits`, from the exit records of the kernel.

use std::sync::Arc;

use super::sweeps::{EndedIdentity, ReportedFork, Sweeps};
use crate::clock::Clock;
use crate::counts::ExitCounts;
use crate::events::{Counters, ProcessExits, TaskExit};
use crate::metric::Metric;
use crate::sampler::{EndedImage, ForkReport, Sampler};
use crate::schema::exits::Exit;

/// Appends the processes whose exit the kernel has reported to the sweeps.
pub(super) fn drain_exits(
    exits: &mut Option<ProcessExits>,
    sampler: &mut Sampler,
    sweeps: &mut Sweeps,
    ts_ms: i64,
    clock: &dyn Clock,
) -> ExitCounts {
    let mut drained = ExitCounts::default();
    let now = &clock.now();
    // Whose end is reported by now has an exit record that is drained with those that follow.
    let recorded = sampler.drain_events(now);
    if let Some(exits) = exits {
        // What is not trusted to read processes is not trusted to say what they had at the end.
        if !sampler.sweeps_by_bpf() {
            exits.leave_bpf();
        }
        let ended;
        (ended, drained) = exits.drain(now.monotonic_ns);
        // On a busy machine a drain takes so long that processes begin and end meanwhile.
        let now = clock.now();
        sampler.drain_events(&now);
        for exit in ended {
            let mut image = sampler.image_that_ended(&exit, &now);
            sweeps.ended.push(EndedIdentity {
                identity: Arc::clone(&image.identity),
                ancestors: std::mem::take(&mut image.ancestors),
            });
            sweeps.batch.exits.push(exit_row(ts_ms, &exit, image));
        }
        sampler.forget_old_exits();
    }
    let unseen = sampler.settle_forks(recorded);
    let Sweeps { forks, unseen: reports, .. } = sweeps;
    let fork = |ForkReport { parent, pid, boot_ns }| ReportedFork { ts_ms, parent, pid, boot_ns };
    sampler.take_reports(|report| forks.push(fork(report)), |report| reports.push(fork(report)));
    ExitCounts { unseen, ..drained }
}

fn exit_row(ts_ms: i64, exit: &TaskExit, image: EndedImage) -> Exit {
    let nanos = |us: u64| us.saturating_mul(1000);
    let Counters { minflt, majflt, utime_us, stime_us } = exit.counters;
    let mut row = Exit {
        ts_ms,
        process: image.identity.process,
        pid: exit.pid,
        ppid: exit.ppid,
        uid: exit.uid,
        comm: exit.comm,
        start_ns: image.identity.start_ns,
        lived_ns: nanos(exit.process_lived_us),
        status: exit.exit_code,
        hwm_bytes: exit.exact.map_or_else(
            || exit.hwm.bytes().unwrap_or(u64::MAX),
            |exact| exact.rss_bytes.max(exact.past_hwm_bytes),
        ),
        exact: exit.exact,
        minflt: image.at_least(Metric::Minflt, minflt),
        majflt: image.at_least(Metric::Majflt, majflt),
        utime_ns: image.at_least(Metric::Utime, nanos(utime_us)),
        stime_ns: image.at_least(Metric::Stime, nanos(stime_us)),
        unsampled: (!image.is_known).then(|| Arc::clone(&image.identity)),
        parent: None,
        test: None,
        killed_in: None,
    };
    if row.signal() == Some(9) {
        row.killed_in.clone_from(&image.identity.cgroup);
    }
    row
}
