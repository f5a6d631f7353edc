//! A pass in many slices comes to every process once, whatever begins and ends between the slices.
//!
//! Where the program may not be loaded because capabilities are missing, the tests assert that this is what is said.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::{HashMap, HashSet};
use std::process::{Child, Command};

use memsample_bpf::{Form, Refused, Row, Walk};

const CHILDREN: usize = 60;
const PF_KTHREAD: u32 = 0x0020_0000;

struct Ended(Child);

impl Ended {
    fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Ends and reaps it, so that it is in no list any more.
    fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.end();
    }
}

fn load() -> Option<Walk> {
    match Walk::load_form(Form::List, 1000) {
        Ok(walk) => Some(walk),
        Err(refused) => {
            assert!(matches!(refused, Refused::MissingCapabilities(_)), "{refused}");
            None
        }
    }
}

fn sleepers() -> Vec<Ended> {
    let sleep = || Command::new("sleep").arg("1000").spawn().unwrap();
    (0..CHILDREN).map(|_| Ended(sleep())).collect()
}

/// The processes that `/proc` shows, by what identifies them.
fn in_proc() -> HashSet<(u32, u64)> {
    let all = procfs::process::all_processes().unwrap();
    // Threads of the kernel have no rows.
    let stats = all.filter_map(|process| process.ok()?.stat().ok());
    let stats = stats.filter(|stat| stat.flags & PF_KTHREAD == 0);
    stats.map(|stat| (stat.pid as u32, stat.starttime)).collect()
}

fn key(row: &Row) -> (u32, u64) {
    (row.pid, row.start_ns / (1_000_000_000 / procfs::ticks_per_second()))
}

/// Fails where a process is there twice, or one that was there all the time is not.
fn assert_complete(rows: &[Row], before: &HashSet<(u32, u64)>, after: &HashSet<(u32, u64)>) {
    let keys: HashSet<_> = rows.iter().map(key).collect();
    assert_eq!(keys.len(), rows.len(), "one is there twice");
    let missing: Vec<_> = before.intersection(after).filter(|key| !keys.contains(key)).collect();
    assert!(missing.is_empty(), "{missing:?} of {} are missing", rows.len());
}

#[test]
fn slices_of_a_storm_miss_nothing_and_repeat_nothing_or_capabilities_are_missing() {
    let Some(mut walk) = load() else { return };
    let storm = "while :; do /bin/true; x=$(echo a | cat); done";
    let _storms = [(); 2].map(|()| Ended(Command::new("sh").args(["-c", storm]).spawn().unwrap()));
    let _sleepers = sleepers();
    let (mut rows, mut slices, mut restarts) = (0, 0, 0);
    for tasks in [1, 2, 7, 30, 100] {
        walk.set_slice_tasks(tasks);
        for _ in 0..40 {
            let before = in_proc();
            // Time for processes to begin and end.
            let pass = walk.pass_in_slices(std::thread::yield_now).unwrap();
            let (pass_rows, pass_slices) = (pass.rows.len(), pass.slices);
            assert_eq!(pass.missed, 0);
            rows += pass_rows;
            slices += pass_slices;
            restarts += pass.restarts;
            let after = in_proc();
            assert_complete(walk.rows(), &before, &after);
            assert!(pass_slices > 1, "{pass_rows} rows in one slice of {tasks}");
        }
    }
    println!("{rows} rows in {slices} slices, {restarts} begun anew");
}

/// Ends those of `children` that were visited last, when the walk has come to the last of them, and returns the rows and
/// how often the pass began anew.
fn pass_with_ends(
    walk: &mut Walk,
    children: &mut [Ended],
    ended: std::ops::Range<usize>,
) -> (Vec<Row>, u32) {
    walk.set_slice_tasks(1);
    let at = children[ended.end - 1].pid();
    // Each slice comes to one process of the list, with a row or without. Those behind the child have rows.
    let whole = walk.pass().unwrap();
    let behind = whole.rows.iter().rev().position(|row| row.pid == at).unwrap();
    let comes_to_it = whole.slices as usize - behind;
    let mut slices = 0;
    let pass = walk.pass_in_slices(|| {
        slices += 1;
        if slices == comes_to_it {
            children[ended.clone()].iter_mut().for_each(Ended::end);
        }
    });
    let restarts = pass.unwrap().restarts;
    (walk.rows().to_vec(), restarts)
}

fn assert_has(rows: &[Row], children: &[Ended], ended: &std::ops::Range<usize>) {
    let mut counts: HashMap<u32, usize> = HashMap::new();
    rows.iter().for_each(|row| *counts.entry(row.pid).or_default() += 1);
    for (index, child) in children.iter().enumerate() {
        let count = counts.get(&child.pid()).copied().unwrap_or(0);
        let is_as_it_should = if ended.contains(&index) { count <= 1 } else { count == 1 };
        assert!(is_as_it_should, "child {index} has {count} rows");
    }
}

#[test]
fn a_pass_goes_on_from_who_is_left_or_begins_anew_or_capabilities_are_missing() {
    let Some(mut walk) = load() else { return };
    // Some of those that a walk can go on from are left.
    for _ in 0..20 {
        let mut children = sleepers();
        let ended = 20..30;
        let (rows, _) = pass_with_ends(&mut walk, &mut children, ended.clone());
        assert_has(&rows, &children, &ended);
    }
    // None is left. Another process that begins or ends moves the place, so it is not always so.
    let begun_anew = (0..20).any(|_| {
        let mut children = sleepers();
        let ended = 0..40;
        let (rows, restarts) = pass_with_ends(&mut walk, &mut children, ended.clone());
        assert_has(&rows, &children, &ended);
        restarts > 0
    });
    assert!(begun_anew);
}
