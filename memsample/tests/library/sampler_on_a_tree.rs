//! The sampler on trees whose contents are known.

use std::fs;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::fake_proc::{FakeProc, FakeProcess};
use crate::scripted_clock::WatchedClock;
use memsample::{Files, Host, Metric, ProcessId, Sampler, SamplerOptions, SweepCounts};

const PAGE: u64 = 4096;

/// A sweep reads every file but the one of imported captures.
const READ_BY_SWEEPS: Files = Files::all().difference(Files::IMPORTED);

fn options(tree: &FakeProc) -> SamplerOptions {
    let host = Host {
        page_bytes: NonZeroU64::new(PAGE).unwrap(),
        ticks_per_second: NonZeroU64::new(100).unwrap(),
    };
    SamplerOptions::default().proc_root(tree.path()).host(host)
}

fn sampler(tree: &FakeProc) -> Sampler {
    Sampler::new(options(tree)).unwrap()
}

/// Returns pid, image and resident set of every sample.
fn sweep(sampler: &mut Sampler, files: Files) -> (Vec<(i32, ProcessId, u64)>, SweepCounts) {
    let snapshot = sampler.sweep(files);
    let samples = snapshot
        .samples()
        .map(|sample| (sample.pid(), sample.process(), sample.rss_bytes() / PAGE));
    (samples.collect(), snapshot.counts())
}

#[test]
fn every_metric_comes_from_its_file() {
    let tree = FakeProc::new();
    tree.set(&FakeProcess::new(7));
    let mut sampler = sampler(&tree);
    let snapshot = sampler.sweep(Files::all());
    let sample = snapshot.samples().next().unwrap();
    let expected = [
        (Metric::Rss, 100 * PAGE),
        (Metric::Vsize, 1000 * PAGE),
        (Metric::Shared, 40 * PAGE),
        (Metric::Anon, 60 * PAGE),
        (Metric::Data, 50 * PAGE),
        (Metric::Text, 3 * PAGE),
        (Metric::File, 40 * PAGE),
        (Metric::Shmem, 0),
        (Metric::Swap, 8 * 1024),
        (Metric::Hwm, 120 * PAGE),
        (Metric::Hugetlb, 2 << 20),
        (Metric::Minflt, 5),
        (Metric::Majflt, 2),
        (Metric::Utime, 70_000_000),
        (Metric::Stime, 30_000_000),
        (Metric::Pss, 250 * 1024),
        (Metric::Uss, 100 * 1024),
        (Metric::SwapPss, 2 * 1024),
    ];
    assert_eq!(expected.len(), Metric::COUNT);
    for (metric, value) in expected {
        assert_eq!(sample.get(metric), Some(value), "{metric:?}");
    }
    let identity = sample.identity();
    assert_eq!((identity.pid, identity.ppid, identity.uid), (7, 1, Some(1000)));
    assert_eq!((identity.start_ns, identity.exec), (10_000_000_000, 0));
    assert_eq!(identity.cmdline_text(), "/bin/fake --arg");
    assert_eq!(identity.cgroup.as_deref(), Some(&b"/test"[..]));
}

#[test]
fn what_was_not_read_is_absent() {
    let tree = FakeProc::new();
    tree.set(&FakeProcess::new(7));
    let mut sampler = sampler(&tree);
    let snapshot = sampler.sweep(Files::STATM);
    let sample = snapshot.samples().next().unwrap();
    for metric in Metric::ALL {
        assert_eq!(sample.get(metric).is_some(), metric.file() == Files::STATM, "{metric:?}");
    }
}

#[test]
fn a_value_is_that_of_the_present_sweep() {
    let tree = FakeProc::new();
    let mut process = FakeProcess::new(7);
    tree.set(&process);
    let mut sampler = sampler(&tree);
    for rss in [100, 100, 250, 50] {
        process.rss = rss;
        tree.set(&process);
        let (samples, _) = sweep(&mut sampler, Files::STATM);
        assert_eq!(samples[0].2, rss);
    }
    // `status` says something else than `statm` did, and is taken; then `statm` counts again.
    tree.write("7/statm", b"1000 60 40 3 0 50 0\n");
    assert_eq!(sweep(&mut sampler, Files::DETAIL).0[0].2, 50);
    assert_eq!(sweep(&mut sampler, Files::STATM).0[0].2, 60);
}

#[test]
fn processes_come_and_go() {
    let tree = FakeProc::new();
    tree.set(&FakeProcess::new(7));
    tree.set(&FakeProcess::new(30));
    let mut sampler = sampler(&tree);
    assert_eq!(sweep(&mut sampler, Files::STATM).0.len(), 2);
    tree.set(&FakeProcess::new(8));
    let (samples, counts) = sweep(&mut sampler, Files::STATM);
    assert_eq!(samples.iter().map(|sample| sample.0).collect::<Vec<_>>(), [7, 8, 30]);
    assert_eq!((counts.processes, counts.born, counts.gone), (3, 1, 0));
    tree.remove(7);
    let (samples, counts) = sweep(&mut sampler, Files::STATM);
    assert_eq!(samples.iter().map(|sample| sample.0).collect::<Vec<_>>(), [8, 30]);
    assert_eq!((counts.processes, counts.born, counts.gone), (2, 0, 1));
}

#[test]
fn a_pid_that_is_given_again_is_another_process() {
    let tree = FakeProc::new();
    let mut process = FakeProcess::new(7);
    tree.set(&process);
    tree.set(&FakeProcess::new(9));
    let mut sampler = sampler(&tree);
    let before = sweep(&mut sampler, Files::STATM).0[0].1;
    process.start += 1;
    process.comm = b"other".to_vec();
    tree.set(&process);
    // The change is seen when it is read, and the new process found in the next sweep.
    let (samples, counts) = sweep(&mut sampler, Files::STATM);
    assert_eq!((samples.len(), counts.gone), (1, 1));
    let snapshot = sampler.sweep(Files::STATM);
    let sample = snapshot.samples().find(|sample| sample.pid() == 7).unwrap();
    assert!(sample.process() > before);
    assert_eq!(sample.comm().as_bytes(), b"other");
}

#[test]
fn an_exec_begins_another_image_of_the_same_process() {
    let tree = FakeProc::new();
    let mut process = FakeProcess::new(7);
    tree.set(&process);
    let mut sampler = sampler(&tree);
    let before = sweep(&mut sampler, Files::DETAIL).0[0].1;
    process.stack += PAGE;
    process.comm = b"cc1".to_vec();
    process.cmdline = b"cc1\0x.c\0".to_vec();
    tree.set(&process);
    let snapshot = sampler.sweep(Files::DETAIL);
    let sample = snapshot.samples().next().unwrap();
    assert!(sample.process() > before);
    assert_eq!((sample.identity().exec, sample.identity().cmdline_text().as_str()), (1, "cc1 x.c"));
    assert_eq!(sample.comm().as_bytes(), b"cc1");
}

#[test]
fn who_is_found_in_the_midst_of_an_exec_gets_the_arguments_that_come_with_its_addresses() {
    // To who may not see them, the kernel shows 1 and 0; before they are there, 0 and 0.
    for (code, exec, shown) in [(0, 1, "/bin/fake --arg"), (1, 0, "")] {
        let tree = FakeProc::new();
        let whole = FakeProcess::new(7);
        tree.set(&FakeProcess { code, stack: 0, cmdline: Vec::new(), ..whole.clone() });
        let mut sampler = sampler(&tree);
        let begun = sweep(&mut sampler, Files::STATM).0[0].1;
        tree.set(&whole);
        for _ in 0..3 {
            let snapshot = sampler.sweep(Files::STATM);
            let sample = snapshot.samples().next().unwrap();
            let identity = sample.identity();
            assert_eq!((identity.exec, identity.cmdline_text().as_str()), (exec, shown));
            assert_eq!(sample.process(), begun);
        }
    }
}

#[test]
fn an_exec_that_is_under_way_in_a_sweep_is_one_image() {
    // As who may see the addresses sees them, and who may not.
    for (code, stack) in [(4096, 0x7ffd_0000_0000), (1, 0)] {
        let tree = FakeProc::new();
        let mut process = FakeProcess { code, stack, ..FakeProcess::new(7) };
        tree.set(&process);
        let mut sampler = sampler(&tree);
        let before = sweep(&mut sampler, Files::STATM).0[0].1;
        sweep(&mut sampler, Files::STATM);
        // New memory, of which the kernel has set nothing yet; the name follows.
        let whole = FakeProcess { cmdline: b"cc1\0x.c\0".to_vec(), ..process.clone() };
        process = FakeProcess { size: 33, rss: 1, shared: 0, text: 0, ..process };
        process = FakeProcess { code: code.min(1) * u64::from(stack == 0), stack: 0, ..process };
        tree.set(&FakeProcess { cmdline: Vec::new(), ..process });
        let begun = sweep(&mut sampler, Files::STATM).0[0].1;
        assert!(begun > before);
        assert_eq!(sweep(&mut sampler, Files::STATM).0[0].1, begun);
        // The same code as the program before, elsewhere where that is shown.
        let stack = if stack == 0 { 0 } else { stack + PAGE };
        tree.set(&FakeProcess { stack, comm: b"cc1".to_vec(), ..whole });
        for _ in 0..3 {
            let snapshot = sampler.sweep(Files::STATM);
            let sample = snapshot.samples().next().unwrap();
            let (identity, name) = (sample.identity(), sample.comm());
            assert_eq!((sample.process(), identity.exec), (begun, 1));
            assert_eq!(
                (identity.cmdline_text().as_str(), name.as_bytes()),
                ("cc1 x.c", &b"cc1"[..])
            );
            assert_eq!(identity.cgroup.as_deref(), Some(&b"/test"[..]));
        }
    }
}

#[test]
fn a_thread_that_has_taken_the_place_of_the_first_and_not_yet_new_memory_is_the_image_before() {
    let tree = FakeProc::new();
    let before = FakeProcess { threads: 2, ..FakeProcess::new(7) };
    tree.set(&before);
    let mut sampler = sampler(&tree);
    let mut image = || {
        let snapshot = sampler.sweep(Files::STATM);
        let sample = snapshot.samples().next().unwrap();
        let identity = sample.identity();
        (sample.process(), identity.exec, sample.rss_bytes() / PAGE, identity.cmdline_text())
    };
    let (first, ..) = image();
    let fake = || "/bin/fake --arg".to_owned();
    // The first thread ends, and another stands in.
    let ended = FakeProcess { state: 'Z', size: 0, code: 0, stack: 0, ..before.clone() };
    tree.set(&ended);
    tree.write("7/statm", b"0 0 0 0 0 0 0\n");
    tree.set_thread(7, &FakeProcess { pid: 8, rss: 150, ..before.clone() });
    assert_eq!(image(), (first, 0, 150, fake()));
    // That executes a program: it becomes the first, and keeps the memory for a moment.
    fs::remove_dir_all(tree.process_path(7).join("task")).unwrap();
    let alone = FakeProcess { threads: 1, rss: 160, ..before };
    tree.set(&alone);
    assert_eq!(image(), (first, 0, 160, fake()));
    let cmdline = b"cc1\0x.c\0".to_vec();
    tree.set(&FakeProcess { stack: alone.stack + PAGE, rss: 50, cmdline, ..alone });
    for _ in 0..2 {
        let (process, exec, rss, cmdline) = image();
        assert!(process > first);
        assert_eq!((exec, rss, cmdline.as_str()), (1, 50, "cc1 x.c"));
    }
}

#[test]
fn what_an_image_is_is_not_read_of_the_next_one() {
    let mut replaced_while_looked_at = 0;
    for files in [Files::STATM, Files::DETAIL] {
        for happens_at in 0..40 {
            let tree = Arc::new(FakeProc::new());
            let process = |name: &str, number: u64| FakeProcess {
                comm: name.into(),
                cmdline: format!("{name}\0").into(),
                stack: 0x7ffd_0000_0000 + number * PAGE,
                rss: 100 + number,
                text: 3 + number,
                ..FakeProcess::new(7)
            };
            tree.set(&process("first", 0));
            // The second exec is at a reading of the clock.
            let until = Arc::new(AtomicU64::new(u64::MAX));
            let (of_clock, in_tree) = (Arc::clone(&until), Arc::clone(&tree));
            let clock = WatchedClock(Box::new(move |now| {
                if of_clock.fetch_sub(1, Ordering::Relaxed) == 0 {
                    in_tree.set(&process("third", 2));
                }
                now
            }));
            let mut sampler = Sampler::new(options(&tree).clock(Arc::new(clock))).unwrap();
            sweep(&mut sampler, files);
            tree.set(&process("second", 1));
            until.store(happens_at, Ordering::Relaxed);
            let mut seen = Vec::new();
            for _ in 0..2 {
                let snapshot = sampler.sweep(files);
                let sample = snapshot.samples().next().unwrap();
                let (name, rss) = (sample.comm().to_string(), sample.rss_bytes() / PAGE);
                assert_eq!(sample.identity().cmdline_text(), name, "{happens_at}");
                seen.push((name, rss));
            }
            let of = |name: &str, rss| (name.to_owned(), rss);
            let has_third = until.load(Ordering::Relaxed) > happens_at;
            let last = if has_third { of("third", 102) } else { of("second", 101) };
            assert_eq!(seen[1], last, "{happens_at}");
            assert!(seen[0] == of("second", 101) || seen[0] == last, "{happens_at}: {seen:?}");
            replaced_while_looked_at += usize::from(seen[0] == last && has_third);
        }
    }
    assert!(replaced_while_looked_at > 2, "{replaced_while_looked_at}");
}

#[test]
fn another_name_without_exec_is_the_same_image() {
    let tree = FakeProc::new();
    let mut process = FakeProcess::new(7);
    tree.set(&process);
    let mut sampler = sampler(&tree);
    let before = sweep(&mut sampler, Files::DETAIL).0[0].1;
    process.comm = b"renamed".to_vec();
    tree.set(&process);
    let snapshot = sampler.sweep(Files::DETAIL);
    let sample = snapshot.samples().next().unwrap();
    assert_eq!(sample.process(), before);
    assert_eq!(sample.comm().as_bytes(), b"renamed");
    assert_eq!(sample.identity().comm.as_bytes(), b"fake");
}

#[test]
fn names_may_hold_anything() {
    let names: [&[u8]; 6] = [b"a) R (b c", b"new\nline", b")", b"\xff\xfe", b"", b"(((("];
    let tree = FakeProc::new();
    for (pid, comm) in (10..).zip(names) {
        tree.set(&FakeProcess { comm: comm.to_vec(), ..FakeProcess::new(pid) });
    }
    let mut sampler = sampler(&tree);
    let snapshot = sampler.sweep(Files::all());
    let read: Vec<_> = snapshot.samples().map(|sample| sample.comm().as_bytes().to_vec()).collect();
    assert_eq!(read, names);
    assert_eq!(snapshot.counts().unreadable, 0);
}

#[test]
fn kernel_threads_and_zombies_have_no_samples() {
    let tree = FakeProc::new();
    tree.set(&FakeProcess {
        flags: 0x0020_8040,
        size: 0,
        rss: 0,
        shared: 0,
        ..FakeProcess::new(2)
    });
    let mut process = FakeProcess::new(7);
    tree.set(&process);
    tree.set(&FakeProcess::new(8));
    let mut sampler = sampler(&tree);
    assert_eq!(sweep(&mut sampler, Files::all()).0.len(), 2);
    process = FakeProcess { state: 'Z', size: 0, rss: 0, shared: 0, ..process };
    tree.set(&process);
    tree.write("7/statm", b"0 0 0 0 0 0 0\n");
    let (samples, counts) = sweep(&mut sampler, Files::all());
    assert_eq!((samples.len(), counts.gone, counts.unreadable), (1, 1, 0));
    // It is counted once, however long nobody reaps it.
    let (samples, counts) = sweep(&mut sampler, Files::all());
    assert_eq!((samples.len(), counts.gone), (1, 0));
}

#[test]
fn broken_files_are_counted_and_leave_the_rest_alone() {
    let tree = FakeProc::new();
    for pid in [7, 8, 9, 10, 11] {
        tree.set(&FakeProcess::new(pid));
    }
    let mut sampler = sampler(&tree);
    assert_eq!(sweep(&mut sampler, Files::all()).0.len(), 5);
    tree.write("7/statm", b"1000 100");
    tree.write("8/status", b"Name:\tfake\nVmRSS:\tlots kB\n");
    tree.write("9/smaps_rollup", b"garbage\xff\x00");
    fs::remove_file(tree.process_path(10).join("status")).unwrap();
    tree.write("11/stat", b"11 (x");
    let snapshot = sampler.sweep(Files::all());
    assert_eq!(snapshot.counts().unreadable, 5);
    let read: Vec<_> = snapshot.samples().map(|sample| (sample.pid(), sample.files())).collect();
    // Without `statm` there is no sample, and without `stat` nobody knows whose the numbers are.
    let expected = [
        (8, READ_BY_SWEEPS - Files::STATUS),
        (9, READ_BY_SWEEPS - Files::SMAPS_ROLLUP),
        (10, READ_BY_SWEEPS - Files::STATUS),
    ];
    assert_eq!(read, expected);
}

#[test]
fn a_number_that_is_too_large_is_the_largest() {
    let tree = FakeProc::new();
    tree.set(&FakeProcess::new(7));
    tree.set(&FakeProcess::new(8));
    let mut sampler = sampler(&tree);
    for statm in ["18446744073709551615 9 0 0 0 0 0\n", "18446744073709551616 9 0 0 0 0 0\n"] {
        tree.write("7/statm", statm.as_bytes());
        let snapshot = sampler.sweep(Files::STATM);
        assert_eq!(snapshot.counts().unreadable, 0);
        let sizes: Vec<_> = snapshot.samples().map(|sample| sample.get(Metric::Vsize)).collect();
        assert_eq!(sizes, [Some(u64::MAX), Some(1000 * PAGE)]);
    }
}

#[test]
fn what_is_no_proc_tree_is_refused() {
    let empty = tempfile::tempdir().unwrap();
    let open = |path: &std::path::Path| {
        Sampler::new(SamplerOptions::default().proc_root(path)).err().unwrap()
    };
    assert!(open(empty.path()).to_string().contains("is it a /proc tree?"));
    assert!(open(&empty.path().join("absent")).to_string().contains("cannot read"));
}

#[test]
fn a_tree_that_disappears_ends_its_processes() {
    let tree = FakeProc::new();
    tree.set(&FakeProcess::new(7));
    let mut sampler = sampler(&tree);
    fs::remove_dir_all(tree.path()).unwrap();
    let (samples, counts) = sweep(&mut sampler, Files::all());
    assert_eq!((samples.len(), counts.gone), (0, 1));
}
