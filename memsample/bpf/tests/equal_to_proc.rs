//! Rows beside what `/proc` shows of the same processes, read by the procfs crate between two equal passes.
//!
//! Where the program may not be loaded because capabilities are missing, the tests assert that this is what is said.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "it says what was compared")]

use std::collections::HashMap;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use memsample_bpf::{Form, Refused, Row, Walk};
use procfs::process::{Process, Stat, StatM, Status};

/// Nothing takes so long on any machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// Tries until it gives a value.
#[track_caller]
fn wait_for<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Loads a form of the program, or asserts that what it lacks are capabilities.
fn load(form: Form, expected: usize) -> Option<Walk> {
    match Walk::load_form(form, expected) {
        Ok(walk) => Some(walk),
        Err(refused) => {
            let is_privileged = rustix::process::geteuid().is_root() && has_cap_bpf();
            assert!(
                matches!(refused, Refused::MissingCapabilities(_)) && !is_privileged,
                "refused: {refused}"
            );
            None
        }
    }
}

fn has_cap_bpf() -> bool {
    let status = Process::myself().unwrap().status().unwrap();
    status.capeff >> 39 & 1 != 0
}

/// Ends and reaps its process when dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a test of this file again, started by another program, and asserts that it passes there.
fn run_again(test: &str, starter: &[&str]) {
    let output = Command::new(starter[0])
        .args(&starter[1..])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{starter:?}: {output:?}");
}

const EQUAL: &str = "rows_are_equal_to_proc_or_capabilities_are_missing";
const REFUSED: &str = "it_is_refused_for_want_of_capabilities_where_they_are_missing";

fn idle_child(command: &str) -> Ended {
    let mut child = Command::new("sh");
    child.args(["-c", command]).stdin(Stdio::null()).stdout(Stdio::null());
    Ended(child.spawn().unwrap())
}

/// The rows of a pass, by pid. There is one of each.
fn rows_by_pid(walk: &mut Walk) -> HashMap<i32, Row> {
    let pass = walk.pass().unwrap();
    assert_eq!(pass.missed, 0);
    let rows: HashMap<i32, Row> = pass.rows.iter().map(|row| (row.pid as i32, *row)).collect();
    assert_eq!(rows.len(), pass.rows.len());
    rows
}

/// What `/proc` shows of a process: `statm`, `status` and `stat`.
struct Shown {
    statm: StatM,
    status: Status,
    stat: Stat,
}

fn shown(pid: i32) -> Option<Shown> {
    let process = Process::new(pid).ok()?;
    Some(Shown {
        statm: process.statm().ok()?,
        status: process.status().ok()?,
        stat: process.stat().ok()?,
    })
}

fn assert_equal(row: &Row, shown: &Shown) {
    let Shown { statm, status, stat } = shown;
    let page = procfs::page_size();
    let kib = |pages: u64| Some(pages * page / 1024);
    let of_memory = |value: u64| row.has_memory().then_some(value);
    let context = format!("{row:?} beside {stat:?}");
    assert_eq!(row.total_vm_pages, statm.size, "{context}");
    assert_eq!(row.resident_pages(), statm.resident, "{context}");
    assert_eq!(row.file_pages + row.shmem_pages, statm.shared, "{context}");
    assert_eq!(row.data_vm_pages + row.stack_vm_pages, statm.data, "{context}");
    let code = row.end_code.next_multiple_of(page) - row.start_code / page * page;
    assert_eq!(code / page, statm.text, "{context}");
    assert_eq!(status.rssanon, of_memory(row.anon_pages).and_then(kib), "{context}");
    assert_eq!(status.rssfile, of_memory(row.file_pages).and_then(kib), "{context}");
    assert_eq!(status.rssshmem, of_memory(row.shmem_pages).and_then(kib), "{context}");
    assert_eq!(status.vmswap, of_memory(row.swap_pages).and_then(kib), "{context}");
    assert_eq!(status.vmhwm, of_memory(row.peak_pages()).and_then(kib), "{context}");
    assert_eq!(
        status.vmpte,
        of_memory(row.page_table_bytes).map(|bytes| bytes / 1024),
        "{context}"
    );
    assert_eq!(status.hugetlbpages, of_memory(row.hugetlb_pages).and_then(kib), "{context}");
    assert_eq!(row.euid, status.euid, "{context}");
    assert_eq!(row.parent as i32, stat.ppid, "{context}");
    assert_eq!(i64::from(row.threads), stat.num_threads, "{context}");
    assert_eq!(row.minor_faults, stat.minflt, "{context}");
    assert_eq!(row.major_faults, stat.majflt, "{context}");
    let tick_ns = 1_000_000_000 / procfs::ticks_per_second();
    assert_eq!(row.start_ns / tick_ns, stat.starttime, "{context}");
    assert_eq!(row.cpu_times().utime_ns / tick_ns, stat.utime, "{context}");
    assert_eq!(row.cpu_times().stime_ns / tick_ns, stat.stime, "{context}");
    // The kernel shows addresses only to who may trace the process.
    if row.has_memory() && stat.startstack != 0 {
        assert_eq!(row.start_code, stat.startcode, "{context}");
        assert_eq!(row.end_code, stat.endcode, "{context}");
        assert_eq!(row.start_stack, stat.startstack, "{context}");
    }
    assert_eq!(row.comm(), stat.comm.as_bytes(), "{context}");
}

/// Compares all processes of the machine that rest, until those of `wanted` are among them.
fn compare_until(walk: &mut Walk, wanted: &[i32]) -> usize {
    let mut equal = HashMap::new();
    wait_for(&format!("{wanted:?} to rest"), || {
        let before = rows_by_pid(walk);
        let read: Vec<(i32, Shown)> =
            before.keys().filter_map(|&pid| Some((pid, shown(pid)?))).collect();
        let after = rows_by_pid(walk);
        for (pid, shown) in read {
            let Some(row) = after.get(&pid).filter(|row| row.is_at_rest_since(&before[&pid]))
            else {
                continue;
            };
            assert_equal(row, &shown);
            equal.insert(pid, ());
        }
        wanted.iter().all(|pid| equal.contains_key(pid)).then_some(equal.len())
    })
}

#[test]
fn rows_are_equal_to_proc_or_capabilities_are_missing() {
    Form::ALL.into_iter().filter_map(|form| load(form, 100)).for_each(rows_are_equal_to_proc);
}

fn rows_are_equal_to_proc(mut walk: Walk) {
    let children: Vec<Ended> = (0..30).map(|_| idle_child("exec sleep 1000")).collect();
    let pids: Vec<i32> = children.iter().map(|child| child.0.id() as i32).collect();
    let compared = compare_until(&mut walk, &pids);
    println!("{:?}: {compared} processes compared, 0 differ", walk.form());
    // Every process is there, and no other.
    let rows = rows_by_pid(&mut walk);
    for pid in &pids {
        assert!(rows[pid].has_memory());
        assert_eq!(rows[pid].parent, std::process::id());
    }
    let me = rows[&(std::process::id() as i32)];
    assert!(me.threads >= 2 && me.has_memory());
    // In the first pid namespace there are threads of the kernel, which have no rows.
    assert!(rows.get(&2).is_none_or(|row| row.comm() != b"kthreadd"));
}

#[test]
fn it_is_refused_for_want_of_capabilities_where_they_are_missing() {
    let status = Process::myself().unwrap().status().unwrap();
    let has = |bit: u32| (status.capeff >> 21 | status.capeff >> bit) & 1 != 0;
    let needed = [(38, "CAP_PERFMON"), (39, "CAP_BPF")];
    let missing: Vec<_> =
        needed.iter().filter(|(bit, _)| !has(*bit)).map(|&(_, name)| name).collect();
    for form in Form::ALL {
        match Walk::load_form(form, 10) {
            Ok(_) => assert!(missing.is_empty()),
            Err(refused) => assert_eq!(refused, Refused::MissingCapabilities(missing.clone())),
        }
    }
}

/// Without root, this says no more than the tests that it runs again.
#[test]
fn two_capabilities_are_enough_and_one_is_not() {
    if !rustix::process::geteuid().is_root() || load(Form::List, 10).is_none() {
        return;
    }
    let user = ["setpriv", "--reuid", "61001", "--regid", "61001", "--clear-groups"];
    let with = |capabilities: &str, test: &str| {
        let inherited = format!("--inh-caps=-all{capabilities}");
        let ambient = format!("--ambient-caps=-all{capabilities}");
        run_again(test, &[&user[..], &[&inherited, &ambient]].concat());
    };
    for capabilities in ["", ",+bpf", ",+perfmon", ",+bpf,+perfmon"] {
        with(capabilities, REFUSED);
    }
    with(",+bpf,+perfmon", EQUAL);
}

/// Without root, this says no more than the tests that it runs again.
#[test]
fn a_pid_namespace_and_no_locked_memory_do_not_matter() {
    if !rustix::process::geteuid().is_root() || load(Form::List, 10).is_none() {
        return;
    }
    run_again(EQUAL, &["unshare", "--pid", "--fork", "--mount-proc"]);
    run_again(EQUAL, &["prlimit", "--memlock=0"]);
}

#[test]
fn states_of_a_process_are_those_of_proc_or_capabilities_are_missing() {
    Form::ALL.into_iter().filter_map(|form| load(form, 100)).for_each(states_are_those_of_proc);
}

fn states_are_those_of_proc(mut walk: Walk) {
    let pid = |child: &Ended| child.0.id() as i32;
    let stopped = idle_child("kill -STOP $$; exec sleep 1000");
    let executed = idle_child("exec sh -c 'exec sleep 1000'");
    let script = "import threading, time\nfor _ in range(5): \
                  threading.Thread(target=time.sleep, args=(1000,)).start()";
    let mut threaded = Command::new("python3");
    let threaded = Ended(threaded.args(["-c", script]).spawn().unwrap());
    // Not waited for until it is dropped.
    let zombie = idle_child("exit 0");
    let wait_for_row = |walk: &mut Walk, pid: i32, is_so: fn(&Row) -> bool| {
        wait_for(&format!("a state of {pid}"), || {
            rows_by_pid(walk).get(&pid).filter(|row| is_so(row)).copied()
        })
    };
    // __TASK_STOPPED and EXIT_ZOMBIE.
    wait_for_row(&mut walk, pid(&stopped), |row| row.state & 4 != 0);
    let ended = wait_for_row(&mut walk, pid(&zombie), |row| row.state & 0x20 != 0);
    assert!(!ended.has_memory());
    wait_for_row(&mut walk, pid(&threaded), |row| row.threads == 6);
    compare_until(&mut walk, &[pid(&stopped), pid(&zombie), pid(&executed)]);
    // Of several threads the sums are compared, while all sleep.
    let (after, shown) = wait_for("all threads to sleep", || {
        let before = rows_by_pid(&mut walk)[&pid(&threaded)];
        let shown = shown(pid(&threaded)).unwrap();
        let after = rows_by_pid(&mut walk)[&pid(&threaded)];
        // Who ran meanwhile and sleeps again has used time that is counted.
        let slept = before.runtime_ns == after.runtime_ns && all_sleep(pid(&threaded));
        (slept && before.is_steady() && after.is_steady()).then_some((after, shown))
    });
    assert_eq!(after.threads, 6);
    assert_equal(&after, &shown);
}

/// Returns whether every thread of a process sleeps now.
fn all_sleep(pid: i32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let mut stats = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("stat")));
    stats.all(|stat| stat.unwrap().contains(") S "))
}

#[test]
fn what_finds_no_room_is_counted_until_there_is_room() {
    for form in Form::ALL {
        let mut walk = match Walk::with_capacity(form, 3) {
            Ok(walk) => walk,
            Err(refused) => {
                assert!(matches!(refused, Refused::MissingCapabilities(_)) && !has_cap_bpf());
                return;
            }
        };
        let pass = walk.pass().unwrap();
        let met = pass.missed as usize + pass.rows.len();
        assert!(pass.rows.len() <= 3 && met > 3, "{met}");
        assert!(walk.grow().unwrap());
        let pass = walk.pass().unwrap();
        assert!(pass.missed == 0 && pass.rows.len() > 3);
        assert!(!walk.grow().unwrap());
    }
}

/// Processes at rest, with one thread and with several, have the same row in both forms.
#[test]
fn both_forms_write_the_same_rows_or_capabilities_are_missing() {
    let [Some(mut list), Some(mut each_task)] = Form::ALL.map(|form| load(form, 100)) else {
        return;
    };
    let script = "import threading, time\nfor _ in range(5): \
                  threading.Thread(target=time.sleep, args=(1000,)).start()";
    let mut threaded = Command::new("python3");
    let threaded = Ended(threaded.args(["-c", script]).spawn().unwrap());
    let pid = threaded.0.id() as i32;
    // What `/proc` showed last is of who reads it.
    let as_of = |row: &Row, other: &Row| {
        let mut row = *row;
        row.shown_utime_ns = other.shown_utime_ns;
        row.shown_stime_ns = other.shown_stime_ns;
        row
    };
    let (mut equal, mut is_threaded_equal) = (0, false);
    wait_for("equal rows", || {
        let before = rows_by_pid(&mut list);
        let between = rows_by_pid(&mut each_task);
        let after = rows_by_pid(&mut list);
        for (pid_of_row, row) in &before {
            let Some(other) = after.get(pid_of_row) else { continue };
            // It may have run and rest again, but then it ran for some time.
            if row.is_steady() && as_of(row, other) == *other && row.state != 0 {
                // A kernel may hide a process from its iterators, and one of its counters may be on the move.
                let counted = between.get(pid_of_row).filter(|row| row.is_steady());
                let Some(counted) = counted else { continue };
                assert_eq!(as_of(counted, other), *other);
                equal += 1;
                is_threaded_equal |= *pid_of_row == pid && row.threads == 6;
            }
        }
        (is_threaded_equal && equal > 1000).then_some(())
    });
    println!("{equal} rows compared, 0 differ");
}

/// As `/proc` shows them from Linux 6.2 to about 6.16: each counter lacks less than a batch for each CPU.
#[test]
fn without_the_parts_of_cpus_rows_are_near_those_with_them_or_capabilities_are_missing() {
    for form in Form::ALL {
        let (Some(mut exact), Some(alone)) = (load(form, 100), load(form, 100)) else { return };
        let mut alone = alone.without_parts().unwrap();
        let child = idle_child("exec sleep 1000");
        compare_until(&mut exact, &[child.0.id() as i32]);
        let before = rows_by_pid(&mut exact);
        let between = rows_by_pid(&mut alone);
        let after = rows_by_pid(&mut exact);
        let cpus = thread::available_parallelism().unwrap().get() as u64;
        let most = cpus * 32.max(2 * cpus);
        let (mut compared, mut differing) = (0, 0);
        for (pid, row) in &after {
            // It may have begun meanwhile.
            let Some((earlier, other)) = before.get(pid).zip(between.get(pid)) else { continue };
            if !row.is_at_rest_since(earlier) || !row.has_memory() {
                continue;
            }
            compared += 1;
            differing += usize::from(row.resident_pages() != other.resident_pages());
            for (with, without) in [
                (row.file_pages, other.file_pages),
                (row.anon_pages, other.anon_pages),
                (row.shmem_pages, other.shmem_pages),
                (row.swap_pages, other.swap_pages),
            ] {
                assert!(with.abs_diff(without) < most, "{row:?} {other:?}");
            }
        }
        assert!(compared > 0 && differing > 0, "{differing} of {compared}");
    }
}
