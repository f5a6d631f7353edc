//! The sampler on the live `/proc`: what must hold on any machine, and processes made for the purpose.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use memsample::clock::Now;
use memsample::{Files, Metric, Sampler, SamplerOptions, SweepBy};

use crate::scripted_clock::WatchedClock;

/// Where BPF may not be used, for want of capabilities, the tests of it are of `/proc` too, and hold that to be the reason.
fn sampler(way: SweepBy) -> Sampler {
    with_options(SamplerOptions::default(), way)
}

fn with_options(options: SamplerOptions, way: SweepBy) -> Sampler {
    let sampler = Sampler::new(options.sweep_by(way)).unwrap();
    match (way, sampler.sweep_note()) {
        (SweepBy::Proc, note) => assert_eq!((sampler.sweeps_by_bpf(), note), (false, None)),
        (_, note) => assert!(
            sampler.sweeps_by_bpf() || note.is_some_and(|note| note.contains("CAP_BPF")),
            "{note:?}"
        ),
    }
    sampler
}

/// Makes tests of functions, for either way to read processes.
macro_rules! by_either_way {
    ($($test:ident)*) => {
        mod by_proc {
            $(
                #[test]
                fn $test() {
                    super::$test(memsample::SweepBy::Proc);
                }
            )*
        }
        mod by_bpf_or_without_the_capability_by_proc {
            $(
                #[test]
                fn $test() {
                    super::$test(memsample::SweepBy::Auto);
                }
            )*
        }
    };
}

by_either_way! {
    every_row_adds_up
    identities_are_unique_and_last
    a_kept_reading_is_the_same_as_an_opened_one
    a_new_process_is_in_the_next_sweep_and_an_ended_one_is_not
    allocated_memory_is_seen_in_every_metric_that_counts_it
    an_exec_begins_another_image
    each_exec_of_a_chain_is_one_image_though_sweeps_see_it_under_way
    a_process_whose_first_thread_ended_is_still_sampled
    another_thread_stands_in_when_the_first_stand_in_ends
    an_exec_is_seen_though_the_first_thread_ended_before_the_next_sweep
    a_process_whose_first_thread_ended_is_seen_to_move_to_another_group
    a_zombie_has_no_sample_and_its_end_is_counted_once
    who_shares_a_map_with_what_was_executed_since_the_last_sweep_has_that_map
}

/// A process that says a line when it is ready, and ends when it is dropped.
struct Helper(Child);

impl Helper {
    fn start(program: &str, arguments: &[&str]) -> Self {
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
        let mut helper = Self(child);
        helper.wait_for_line();
        helper
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }

    /// Sends a line, and waits for the answer.
    fn go_on(&mut self) -> String {
        self.0.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
        self.wait_for_line()
    }

    fn wait_for_line(&mut self) -> String {
        // One byte at a time, so that nothing of the next line is taken.
        let mut line = String::new();
        let output = self.0.stdout.as_mut().unwrap();
        BufReader::with_capacity(1, output).read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the helper ended");
        line
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn every_row_adds_up(way: SweepBy) {
    let mut sampler = sampler(way);
    let snapshot = sampler.sweep(Files::all());
    let mut rows = 0;
    for sample in snapshot.samples() {
        rows += 1;
        let get = |metric| sample.get(metric);
        let (Some(anon), Some(file), Some(shmem)) =
            (get(Metric::Anon), get(Metric::File), get(Metric::Shmem))
        else {
            continue;
        };
        assert_eq!(sample.rss_bytes(), anon + file + shmem, "{}", sample.comm());
        assert_eq!(get(Metric::Shared), Some(file + shmem));
        assert!(get(Metric::Hwm) >= get(Metric::Rss), "{}", sample.comm());
        assert!(get(Metric::Vsize) >= get(Metric::Rss));
        assert!(get(Metric::Uss) <= get(Metric::Pss) || get(Metric::Pss).is_none());
    }
    assert_eq!(rows, snapshot.counts().processes);
    assert!(rows > 1);
}

fn identities_are_unique_and_last(way: SweepBy) {
    let mut sampler = sampler(way);
    let mut seen = HashMap::new();
    for _ in 0..20 {
        for sample in sampler.sweep(Files::STATM | Files::DETAIL).samples() {
            let identity = sample.identity();
            let before = seen.insert(sample.process(), (identity.pid, identity.start));
            assert!(before.is_none_or(|before| before == (identity.pid, identity.start)));
        }
    }
    let own_pid = i32::try_from(std::process::id()).unwrap();
    assert_eq!(seen.values().filter(|&&(pid, _)| pid == own_pid).count(), 1);
}

fn a_kept_reading_is_the_same_as_an_opened_one(way: SweepBy) {
    let mut kept = sampler(way);
    let mut opened = Sampler::new(SamplerOptions::default().max_descriptors(0)).unwrap();
    let helper = Helper::start("python3", &["-c", "print('ready', flush=True); input()"]);
    let row = |sampler: &mut Sampler| {
        let snapshot = sampler.sweep(Files::all());
        let counts = snapshot.counts();
        let sample = snapshot.samples().find(|sample| sample.pid() == helper.pid()).unwrap();
        // What a process shares, and so its PSS, depends on what others do.
        let metrics = Metric::ALL
            .map(|metric| sample.get(metric).filter(|_| metric.file() != Files::SMAPS_ROLLUP));
        (metrics, counts.reopened)
    };
    let (kept_row, kept_reopened) = row(&mut kept);
    let (opened_row, opened_reopened) = row(&mut opened);
    // It sleeps, so nothing changes in between.
    assert_eq!(kept_row, opened_row);
    assert_eq!(kept_reopened, 0);
    assert!(opened_reopened > 1);
    assert_eq!(opened.descriptors().kept, 0);
}

fn a_new_process_is_in_the_next_sweep_and_an_ended_one_is_not(way: SweepBy) {
    let mut sampler = sampler(way);
    for _ in 0..10 {
        let helper = Helper::start("python3", &["-c", "print('ready', flush=True); input()"]);
        let pid = helper.pid();
        let is_sampled = |sampler: &mut Sampler| {
            sampler.sweep(Files::STATM).samples().any(|sample| sample.pid() == pid)
        };
        assert!(is_sampled(&mut sampler));
        drop(helper);
        assert!(!is_sampled(&mut sampler));
    }
}

fn allocated_memory_is_seen_in_every_metric_that_counts_it(way: SweepBy) {
    const ALLOCATED: u64 = 64 << 20;
    let program = "print('ready', flush=True); input(); a = bytearray(64 << 20); \
                   a[::4096] = b'x' * 16384; print('done', flush=True); input()";
    let mut helper = Helper::start("python3", &["-c", program]);
    let mut sampler = sampler(way);
    let pid = helper.pid();
    let row = |sampler: &mut Sampler| {
        let snapshot = sampler.sweep(Files::all());
        let sample = snapshot.samples().find(|sample| sample.pid() == pid).unwrap();
        Metric::ALL.map(|metric| sample.get(metric).unwrap())
    };
    let before = row(&mut sampler);
    helper.go_on();
    let after = row(&mut sampler);
    for metric in [Metric::Rss, Metric::Anon, Metric::Vsize, Metric::Data, Metric::Hwm] {
        let grown = after[metric as usize] - before[metric as usize];
        assert!((ALLOCATED..ALLOCATED + (2 << 20)).contains(&grown), "{metric:?} grew by {grown}");
    }
    for metric in [Metric::Pss, Metric::Uss] {
        // Who else maps the interpreter's files changes meanwhile, and with it the share of 7 MiB.
        let grown = after[metric as usize] - before[metric as usize];
        assert!(grown.abs_diff(ALLOCATED) < 8 << 20, "{metric:?} grew by {grown}");
    }
    for metric in [Metric::Shared, Metric::File, Metric::Shmem, Metric::Text] {
        let grown = after[metric as usize] - before[metric as usize];
        assert!(grown < 1 << 20, "{metric:?} grew by {grown}");
    }
    assert!(after[Metric::Minflt as usize] > before[Metric::Minflt as usize]);
}

fn an_exec_begins_another_image(way: SweepBy) {
    let script = "echo ready; read line; exec python3 -c \"print('done', flush=True); input()\"";
    let mut helper = Helper::start("sh", &["-c", script]);
    let pid = helper.pid();
    let mut sampler = sampler(way);
    let sample = |sampler: &mut Sampler| {
        let snapshot = sampler.sweep(Files::STATM);
        let sample = snapshot.samples().find(|sample| sample.pid() == pid).unwrap();
        (
            sample.process(),
            sample.identity().exec,
            sample.comm().to_string(),
            sample.identity().start,
        )
    };
    let (shell, first_exec, name, start) = sample(&mut sampler);
    assert_eq!((first_exec, name.as_str()), (0, "sh"));
    helper.go_on();
    // Seen in `statm` alone: the code has another size.
    let (python, exec, name, same_start) = sample(&mut sampler);
    assert!(python > shell && exec == 1 && name.starts_with("python"), "{name}");
    assert_eq!(start, same_start);
}

/// Each program waits until it has been seen, so that all are; and then a while, so that sweeps come to all parts of an exec.
fn each_exec_of_a_chain_is_one_image_though_sweeps_see_it_under_way(way: SweepBy) {
    const EXECS: u32 = 80;
    let script = "[ $1 = 0 ] && echo ready; read line; i=$(($1 % 20 * 20)); while [ $i -gt 0 ]; do i=$((i - 1)); done; \
                  exec sh -c \"$0\" \"$0\" $(($1 + 1))";
    let mut helper = Helper::start("sh", &["-c", script, script, "0"]);
    let pid = helper.pid();
    let mut sampler = sampler(way);
    let mut images = BTreeMap::new();
    let until = Instant::now() + Duration::from_secs(300);
    let mut next = 0;
    while next <= EXECS {
        assert!(Instant::now() < until, "{next} {images:?}");
        let snapshot = sampler.sweep(Files::STATM | Files::STAT);
        // Who has ended is in no sweep.
        let sample = snapshot.samples().find(|sample| sample.pid() == pid).unwrap();
        let identity = sample.identity();
        let argument = identity.cmdline_text().rsplit(' ').next().unwrap().to_owned();
        let is_seen = argument == next.to_string();
        images.insert(sample.process(), (identity.exec, argument));
        if is_seen {
            next += 1;
            helper.0.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
        }
    }
    // The last one was told to go on.
    let images: Vec<_> = images.into_values().filter(|(exec, _)| *exec <= EXECS).collect();
    let expected: Vec<_> = (0..=EXECS).map(|exec| (exec, exec.to_string())).collect();
    assert_eq!(images, expected);
}

/// Runs as the only thread that is left, says that it is ready, and does something after a line.
const WITHOUT_FIRST_THREAD: &str = "import ctypes, os, sys, threading
def work():
 print('ready', flush=True)
 input()
 os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
threading.Thread(target=work).start()
ctypes.CDLL(None).syscall(60, 0)";

/// Waits until the first thread of a process has ended. Another may say that it is ready before.
fn wait_for_the_end_of_the_first_thread(pid: i32) {
    while !std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap().starts_with("0 0") {
        std::thread::yield_now();
    }
}

fn a_process_whose_first_thread_ended_is_still_sampled(way: SweepBy) {
    let helper = Helper::start("python3", &["-c", WITHOUT_FIRST_THREAD]);
    let pid = helper.pid();
    let mut kept = sampler(way);
    let without = || Sampler::new(SamplerOptions::default().max_descriptors(0)).unwrap();
    let mut opened = without();
    wait_for_the_end_of_the_first_thread(pid);
    // They find it as it is now.
    let (mut late, mut opened_late) = (sampler(way), without());
    for sampler in [&mut kept, &mut opened, &mut late, &mut opened_late] {
        for _ in 0..3 {
            let snapshot = sampler.sweep(Files::all());
            let sample = snapshot.samples().find(|sample| sample.pid() == pid).unwrap();
            let identity = sample.identity();
            assert_eq!(identity.exec, 0);
            assert!(identity.cmdline_text().contains("syscall(60, 0)"), "{identity:?}");
            assert!(identity.exe.as_ref().is_some_and(|exe| exe.starts_with(b"/")), "{identity:?}");
            assert_eq!(sample.files(), Files::all() - Files::IMPORTED);
            assert!(sample.get(Metric::Hwm) >= Some(sample.rss_bytes()));
            assert!(sample.rss_bytes() > 1 << 20);
        }
    }
    drop(helper);
    for sampler in [&mut kept, &mut opened] {
        assert!(!sampler.sweep(Files::STATM).samples().any(|sample| sample.pid() == pid));
    }
}

fn an_exec_is_seen_though_the_first_thread_ended_before_the_next_sweep(way: SweepBy) {
    let shell = "echo ready; read line; exec python3 -c \"$0\"";
    let mut helper = Helper::start("sh", &["-c", shell, WITHOUT_FIRST_THREAD]);
    let pid = helper.pid();
    let without = Sampler::new(SamplerOptions::default().max_descriptors(0)).unwrap();
    let mut samplers = [sampler(way), without];
    let mut last = [None; 2];
    // The second and the third time, it is a thread that stands in that executes the same program once more.
    for exec in 0..4 {
        for (sampler, last) in samplers.iter_mut().zip(&mut last) {
            for _ in 0..2 {
                let snapshot = sampler.sweep(Files::STATM | Files::DETAIL);
                let sample = snapshot.samples().find(|sample| sample.pid() == pid).unwrap();
                let identity = sample.identity();
                assert_eq!(identity.exec, exec);
                assert!(
                    exec == 0
                        || String::from_utf8_lossy(identity.exe.as_ref().unwrap())
                            .contains("python3")
                );
            }
            let image = sampler.sweep(Files::STATM).samples().find(|sample| sample.pid() == pid);
            let image = image.map(|sample| sample.process());
            assert!(image > *last);
            *last = image;
        }
        helper.go_on();
        wait_for_the_end_of_the_first_thread(pid);
    }
}

fn a_process_whose_first_thread_ended_is_seen_to_move_to_another_group(way: SweepBy) {
    let memory = Path::new("/sys/fs/cgroup/memory");
    let root = if memory.is_dir() { memory } else { Path::new("/sys/fs/cgroup") };
    let group = root.join(format!("memsample-moved-{}-{way:?}", std::process::id()));
    if let Err(error) = std::fs::create_dir(&group) {
        assert!(!rustix::process::geteuid().is_root(), "{error}");
        return;
    }
    let ahead_ns = Arc::new(AtomicU64::new(0));
    let of_clock = Arc::clone(&ahead_ns);
    let clock = WatchedClock(Box::new(move |now| Now {
        boot_ns: now.boot_ns + of_clock.load(Ordering::Relaxed),
        ..now
    }));
    let mut sampler = with_options(SamplerOptions::default().clock(Arc::new(clock)), way);
    let program = format!("print('ready', flush=True)\ninput()\n{WITHOUT_FIRST_THREAD}");
    let mut helper = Helper::start("python3", &["-c", &program]);
    let pid = helper.pid();
    let mut group_after = |seconds| {
        for _ in 0..seconds {
            ahead_ns.fetch_add(1_000_000_000, Ordering::Relaxed);
            sampler.sweep(Files::STATM);
        }
        let snapshot = sampler.sweep(Files::STATM);
        let sample = snapshot.samples().find(|sample| sample.pid() == pid).unwrap();
        sample.identity().cgroup.clone().unwrap()
    };
    let before = group_after(3);
    helper.go_on();
    wait_for_the_end_of_the_first_thread(pid);
    // After this it rests, as it was when it was last looked at.
    assert_eq!(group_after(15), before);
    std::fs::write(group.join("cgroup.procs"), pid.to_string()).unwrap();
    // Who does not run is looked at each ten seconds.
    let after = group_after(12);
    drop(helper);
    std::fs::remove_dir(&group).unwrap();
    assert!(after.ends_with(group.file_name().unwrap().as_encoded_bytes()), "{after:?}");
}

fn another_thread_stands_in_when_the_first_stand_in_ends(way: SweepBy) {
    let program = "import ctypes, threading\n\
                   first, second = threading.Event(), threading.Event()\n\
                   def wait():\n first.wait()\n\
                   def work():\n print('ready', flush=True)\n input()\n first.set()\n waiter.join()\n \
                   print('one is left', flush=True)\n input()\n\
                   waiter = threading.Thread(target=wait)\n\
                   waiter.start()\n\
                   threading.Thread(target=work).start()\n\
                   ctypes.CDLL(None).syscall(60, 0)";
    let mut helper = Helper::start("python3", &["-c", program]);
    let pid = helper.pid();
    let statm = format!("/proc/{pid}/statm");
    while !std::fs::read_to_string(&statm).unwrap().starts_with("0 0") {
        std::thread::yield_now();
    }
    let mut sampler = sampler(way);
    let process = |sampler: &mut Sampler| {
        let snapshot = sampler.sweep(Files::STATM | Files::DETAIL);
        let sample = snapshot.samples().find(|sample| sample.pid() == pid).unwrap();
        assert_eq!(sample.files(), Files::STATM | Files::DETAIL);
        sample.process()
    };
    let before = process(&mut sampler);
    helper.go_on();
    assert_eq!(process(&mut sampler), before);
}

fn a_zombie_has_no_sample_and_its_end_is_counted_once(way: SweepBy) {
    let mut sampler = sampler(way);
    let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    let is_sampled = |sampler: &mut Sampler| {
        sampler.sweep(Files::STATM).samples().any(|sample| sample.pid() == pid)
    };
    assert!(is_sampled(&mut sampler));
    child.kill().unwrap();
    while !std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") Z ") {
        std::thread::yield_now();
    }
    assert!(!is_sampled(&mut sampler));
    child.wait().unwrap();
    assert!(!is_sampled(&mut sampler));
}

fn who_shares_a_map_with_what_was_executed_since_the_last_sweep_has_that_map(way: SweepBy) {
    // It is no child of who has its memory (CLONE_VM, CLONE_PARENT), and does nothing with it.
    let shares = "import ctypes
libc = ctypes.CDLL(None)
libc.clone.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
stack = ctypes.create_string_buffer(65536)
top = ctypes.addressof(stack) + 65536 & ~15
print(libc.clone(ctypes.cast(libc.pause, ctypes.c_void_p), top, 0x100 | 0x8000 | 17, None), flush=True)
input()";
    let executes = "import os, sys
print('ready', flush=True)
input()
os.execv(sys.executable, [sys.executable, '-c', sys.argv[1]])";
    let mut helper = Helper::start("python3", &["-c", executes, shares]);
    let mut sampler = sampler(way);
    let image_of = |sampler: &mut Sampler, pid: i32| {
        let snapshot = sampler.sweep(Files::STATM | Files::DETAIL);
        let sample = snapshot.samples().find(|sample| sample.pid() == pid).unwrap();
        (sample.process(), sample.identity().memory_map)
    };
    let (before, _) = image_of(&mut sampler, helper.pid());
    let sharer: i32 = helper.go_on().trim().parse().unwrap();
    let (sharing, map_of_sharer) = image_of(&mut sampler, sharer);
    let (executed, map) = image_of(&mut sampler, helper.pid());
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(sharer).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    assert!(before < executed && sharing != executed);
    assert_eq!((map, map_of_sharer), (Some(executed), Some(executed)));
}
