//! Kills of the OOM killer, by counters, exits and the log of the kernel that a test makes up.

use super::*;
use crate::batch::BatchTick;
use crate::identity::{Comm, ProcessId};
use crate::parse::Vmstat;
use crate::schema::cgroups::CgroupSample;
use crate::schema::exits::Exit;
use crate::schema::system::SystemSample;
use crate::schema::ticks::Tick;

/// A second of a recording: the counter of the machine, that of a group, and who ended by which
/// signal with how many MiB.
fn second(ts_ms: i64, machine: u64, group: u64, ends: &[(i32, u32, u64)]) -> Batch {
    let mut batch = Batch::default();
    let tick = Tick { ts_ms, ..Tick::default() };
    batch.ticks.push(BatchTick { tick, common_files: None, changes: 0 });
    let vmstat = Some(Vmstat { oom_kill: Some(machine), ..Vmstat::default() });
    batch.system.push(SystemSample { ts_ms, vmstat, ..SystemSample::default() });
    let mut row = CgroupSample::new(ts_ms, b"/ci/job".as_slice().into(), 1);
    row.events.oom_kill = Some(group);
    row.limit_bytes = Some(100 << 20);
    batch.cgroups.push(row);
    batch.exits.extend(ends.iter().map(|&(pid, status, mib)| Exit {
        ts_ms,
        process: ProcessId(100 + u64::from(pid.unsigned_abs())),
        unsampled: None,
        parent: None,
        test: None,
        pid,
        ppid: 1,
        uid: 0,
        comm: Comm::new(b"eater"),
        start_ns: 0,
        lived_ns: 0,
        status,
        hwm_bytes: mib << 20,
        exact: None,
        minflt: 0,
        majflt: 0,
        utime_ns: 0,
        stime_ns: 0,
        // One of another group, which would be the largest.
        killed_in: Some(if mib == 999 { &b"/other"[..] } else { b"/ci/job" }.to_vec()),
    }));
    batch
}

#[track_caller]
fn check(batches: &mut [Batch], expected: &[&str]) {
    let mut watch = OomWatch::new(ClockAnchor { boot_ns: 0, utc_ns: 0 }, None);
    let mut marks = Vec::new();
    let (last, others) = batches.split_last_mut().unwrap();
    for batch in others {
        watch.add_marks(batch);
        marks.append(&mut batch.marks);
    }
    // Everything is reported at the end, even if the recording ends at once.
    last.ticks.clear();
    watch.add_last_marks(last);
    marks.append(&mut last.marks);
    assert!(marks.iter().all(|mark| mark.kind == MarkKind::OomKill));
    let names: Vec<&str> = marks.iter().map(|mark| mark.name.as_str()).collect();
    assert_eq!(names, expected);
}

const IN_GROUP: &str =
    "eater (7) of 90 MiB was killed: the control group `/ci/job` was at its limit";

#[test]
fn a_kill_is_named_with_its_reason() {
    check(&mut [second(0, 5, 0, &[]), second(1000, 6, 1, &[(7, 9, 90)])], &[IN_GROUP]);
    // Its memory was taken before the kernel noted its peak.
    let without = IN_GROUP.replace(" of 90 MiB", "");
    check(&mut [second(0, 5, 0, &[]), second(1000, 6, 1, &[(7, 9, 0)])], &[&without]);
    // A larger one that ended in the same second was of another group.
    check(&mut [second(0, 5, 0, &[]), second(1000, 6, 1, &[(8, 9, 999), (7, 9, 90)])], &[IN_GROUP]);
    // It ended only later, and another one in another way. Of two that were killed, either may have been by somebody else.
    check(
        &mut [
            second(0, 5, 0, &[]),
            second(1000, 6, 1, &[(8, 15, 500)]),
            second(2000, 6, 1, &[(7, 9, 90), (9, 9, 3)]),
            second(9000, 6, 1, &[]),
        ],
        &[
            "one of these was killed: eater (7) of 90 MiB, eater (9) of 3 MiB: the control group `/ci/job` was at its limit",
        ],
    );
    check(
        &mut [second(0, 5, 2, &[]), second(1000, 6, 2, &[(7, 9, 90)]), second(3000, 6, 2, &[])],
        &[
            "eater (7) of 90 MiB was killed: the machine was out of memory, or its control group `/ci/job`, which was not read in time",
        ],
    );
}

#[test]
fn a_kill_before_the_first_tick_is_known_by_what_was_counted_before() {
    let mut watch = OomWatch::new(ClockAnchor { boot_ns: 0, utc_ns: 0 }, None);
    watch = watch.counting_from(-100, Some(5));
    let mut marks = Vec::new();
    for mut batch in
        [second(0, 6, 1, &[(7, 9, 90)]), second(1000, 6, 1, &[]), second(9000, 6, 1, &[])]
    {
        watch.add_marks(&mut batch);
        marks.append(&mut batch.marks);
    }
    let names: Vec<&str> = marks.iter().map(|mark| mark.name.as_str()).collect();
    let [name] = names[..] else { panic!("{names:?}") };
    assert!(name.starts_with("eater (7) of 90 MiB was killed: "), "{name}");
}

#[test]
fn of_two_candidates_none_is_stated_as_a_fact_without_the_word_of_the_kernel() {
    let seconds = || {
        [
            second(0, 5, 0, &[]),
            second(1000, 6, 1, &[(7, 9, 30)]),
            second(2000, 6, 1, &[(8, 9, 45)]),
            second(9000, 6, 1, &[]),
        ]
    };
    check(
        &mut seconds(),
        &[
            "one of these was killed: eater (8) of 45 MiB, eater (7) of 30 MiB: the control group `/ci/job` was at its limit",
        ],
    );
    let mut watch = OomWatch::new(ClockAnchor { boot_ns: 0, utc_ns: 0 }, None);
    let mut marks = Vec::new();
    for (index, batch) in seconds().iter_mut().enumerate() {
        if index == 1 {
            let limit = OomLimit::Group("/outer/ci/job".to_owned());
            watch.victims.push_back(OomVictim {
                pid: 7,
                comm: "eater".to_owned(),
                limit,
                group: None,
            });
            let limit = OomLimit::Machine;
            watch.victims.push_back(OomVictim {
                pid: 70,
                comm: "other".to_owned(),
                limit,
                group: None,
            });
        }
        watch.add_marks(batch);
        marks.append(&mut batch.marks);
    }
    let [mark] = &marks[..] else { panic!("{marks:?}") };
    assert_eq!(
        (mark.process, mark.name.as_str()),
        (
            Some(ProcessId(107)),
            "eater (7) of 30 MiB was killed: the control group `/outer/ci/job` was at its limit"
        )
    );
    // One more is counted, of which no exit is known.
    let mut last = second(10_000, 7, 1, &[]);
    watch.add_last_marks(&mut last);
    let names: Vec<_> = last.marks.iter().map(|mark| mark.name.as_str()).collect();
    assert_eq!(names, ["other (70) was killed: the machine was out of memory"]);
}

/// A second in which another group counts too, in which a process of 999 MiB may have ended.
fn second_of_two(machine: u64, groups: [u64; 2], ends: &[(i32, u32, u64)]) -> Batch {
    let mut batch = second(1000, machine, groups[0], ends);
    let mut row = CgroupSample::new(1000, b"/other".as_slice().into(), 1);
    row.events.oom_kill = Some(groups[1]);
    row.limit_bytes = Some(100 << 20);
    batch.cgroups.push(row);
    batch
}

#[test]
fn kills_of_two_groups_in_one_reading_are_told_for_each() {
    let other = "eater (8) of 999 MiB was killed: the control group `/other` was at its limit";
    let two = [(7, 9, 90), (9, 9, 3), (8, 9, 999)];
    let one_of_two = "one of these was killed: eater (7) of 90 MiB, eater (9) of 3 MiB: the control group `/ci/job` was at its limit";
    let both = [second_of_two(7, [1, 1], &two), second(9000, 7, 1, &[])];
    let before = || second(0, 5, 0, &[]);
    let [first, last] = both;
    check(&mut [before(), first, last], &[other, one_of_two]);
    // Where the other group was not read, its process is not one of this one.
    let unread = "eater (8) of 999 MiB was killed: the machine was out of memory, or its control group `/other`, which was not read in time";
    check(
        &mut [before(), second(1000, 7, 1, &two), second(9000, 7, 1, &[])],
        &[one_of_two, unread],
    );
    let not_known = "a process that is not known was killed: the machine, or a control group that was not read, was out of memory";
    check(
        &mut [before(), second(1000, 7, 1, &two[..2]), second(9000, 7, 1, &[])],
        &[one_of_two, not_known],
    );
    // The counter of the second group came with the next batch.
    let mut late = second_of_two(7, [1, 1], &[]);
    late.system.clear();
    late.system.extend(second(2000, 7, 1, &[]).system);
    let mut before = before();
    before.cgroups.extend(second_of_two(5, [0, 0], &[]).cgroups.split_off(1));
    check(
        &mut [before, second(1000, 7, 1, &two), late, second(9000, 7, 1, &[])],
        &[other, one_of_two],
    );
}

#[test]
fn who_limits_a_test_gives_the_reason_and_the_mark_names_test_and_image() {
    let mut watch = OomWatch::new(ClockAnchor { boot_ns: 0, utc_ns: 0 }, None);
    let mut marks = Vec::new();
    // Two tests: of one the runner knows that its limit was reached, of the other nobody says anything.
    let mut batches = [
        second(0, 5, 2, &[]),
        second(1000, 7, 2, &[(7, 9, 90), (8, 9, 200)]),
        second(9000, 7, 2, &[]),
    ];
    for exit in &mut batches[1].exits {
        exit.test = Some(if exit.pid == 7 { "limited" } else { "other" }.into());
    }
    let reason =
        |test: &str| OomReason { test: test.to_owned(), kills: 1, limit_bytes: Some(32 << 20) };
    watch.explain([reason("limited"), reason("elsewhere")]);
    for batch in &mut batches {
        watch.add_marks(batch);
        marks.append(&mut batch.marks);
    }
    let of = |process: u64| {
        let [mark] = marks
            .iter()
            .filter(|mark| mark.process == Some(ProcessId(process)))
            .collect::<Vec<_>>()[..]
        else {
            panic!("{marks:?}");
        };
        (mark.test.as_deref(), mark.name.as_str())
    };
    let limited =
        "eater (7) of 90 MiB was killed: the memory limit of its test, 32 MiB, was reached";
    assert_eq!(of(107), (Some("limited"), limited));
    let other = "eater (8) of 200 MiB was killed: the machine was out of memory, or its control group `/ci/job`, which was not read in time";
    assert_eq!(of(108), (Some("other"), other));
    assert_eq!(watch.reasons, [reason("elsewhere")]);
}

#[test]
fn what_is_not_known_is_not_named() {
    // Kills before the recording; a signal 9 that was no such kill; one long before.
    check(&mut [second(0, 5, 3, &[(7, 9, 90)]), second(1000, 5, 3, &[(8, 9, 90)])], &[]);
    check(
        &mut [
            second(0, 5, 0, &[(7, 9, 90)]),
            second(1000, 5, 0, &[]),
            second(2000, 7, 2, &[]),
            second(9000, 7, 2, &[]),
        ],
        &[
            "2 processes that are not known were killed: the control group `/ci/job` was at its limit",
        ],
    );
}
