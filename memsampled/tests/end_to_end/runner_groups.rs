//! Memory that no resident set shows, and CPU time: what the control group of a test tells, and what it is held to.
//!
//! Root is needed to make control groups, as for the rest of `make test`.

use std::time::{Duration, Instant};

use crate::command::{runs, shell as sh};
use crate::running::{LONG, command, container, options, result, results, shell, suite, words};
use crossbeam_channel::never;
use memsample::cpus_online;
use memsample_runner::results::{BudgetVerdict, GroupUse, Outcome, TestResult};
use memsample_runner::run::{Event, run};
use memsample_runner::suite::{Action, Budget, Program, Quantity, Sandbox, Step, Test};
use tempfile::tempdir;

const MIB: u64 = 1 << 20;
/// What the interpreter has, its pages of files and those of the kernel for it, on a machine where nothing is cached.
const INTERPRETER: u64 = 64 * MIB;

fn python(name: &str, program: &str) -> Test {
    command(name, &["/usr/bin/python3", "-S", "-c", program])
}

/// The same test with a step of its own behind it.
fn tidied(test: Test, program: Program) -> Test {
    Test { cleanup: vec![Step { program, timeout: LONG }], ..test }
}

fn held_to(mut test: Test, quantity: Quantity, limit_bytes: u64) -> Test {
    test.budgets.push(Budget { role: None, quantity, limit_bytes, action: Action::Fail });
    test
}

/// What a group had that held so much shared memory which no process mapped.
#[track_caller]
fn check_hidden(result: &TestResult, bytes: u64) -> &GroupUse {
    let group = result.group.as_ref().unwrap_or_else(|| panic!("{result:#?}"));
    let within = |found: Option<u64>| {
        let found = found.unwrap_or_else(|| panic!("{result:#?}"));
        assert!((bytes..bytes + INTERPRETER).contains(&found), "{found}: {result:#?}");
        found
    };
    let peak = within(group.group_peak_bytes);
    assert_eq!(group.group_peak_bytes_upper, Some(peak), "{result:#?}");
    assert!(group.group_largest_bytes.unwrap() <= peak, "{result:#?}");
    within(group.shmem_peak_bytes);
    within(group.group_shmem_bytes);
    assert!(group.group_file_bytes >= group.group_shmem_bytes, "{result:#?}");
    assert!(group.shmem_peak_bytes_upper >= group.shmem_peak_bytes, "{result:#?}");
    // What else it maps of files counts as mapped.
    let unmapped = group.shmem_unmapped_peak_bytes.unwrap();
    assert!((bytes - INTERPRETER..bytes + 8 * MIB).contains(&unmapped), "{result:#?}");
    let rss = result.memory.as_ref().unwrap().rss_peak_bytes.unwrap();
    assert!(rss < bytes, "no resident set has it: {result:#?}");
    group
}

#[test]
fn a_memfd_that_nobody_maps_is_in_the_group_of_the_test() {
    let directory = tempdir().unwrap();
    let options = options(&directory.path().join("results"));
    let keeper = directory.path().join("keeper");
    let keeper = keeper.display();
    // Piece by piece, so that no process ever has it all. The group is looked at when the program ends, at the latest:
    // by then another process keeps the file.
    let program = format!(
        "import os, signal, time
file = os.memfd_create('hidden')
for _ in range(100): os.write(file, bytes(1 << 20))
keeper = os.fork()
if keeper == 0: signal.pause()
open('{keeper}', 'w').write(str(keeper))
time.sleep(0.5)"
    );
    let ends_keeper = format!(
        "keeper=$(cat {keeper}); kill -9 $keeper; while kill -0 $keeper 2>&-; do sleep 0.01; done"
    );
    let test = |name| tidied(python(name, &program), Program::Shell(ends_keeper.clone()));
    let tests = vec![
        held_to(test("no budget is above"), Quantity::RssPeak, 400 * MIB),
        held_to(test("shared memory"), Quantity::ShmemPeak, 50 * MIB),
        held_to(test("all memory"), Quantity::GroupPeak, 50 * MIB),
        held_to(test("enough"), Quantity::GroupPeak, 400 * MIB),
    ];
    let results = results(&suite(tests), &options);
    assert_eq!(words(&results), ["passed", "over_budget", "over_budget", "passed"], "{results:#?}");
    for result in &results {
        check_hidden(result, 100 * MIB);
    }
    let verdicts: Vec<_> = results[1..].iter().map(|result| result.budgets[0].verdict).collect();
    use BudgetVerdict::{Exceeded, Kept};
    assert_eq!(verdicts, [Exceeded, Exceeded, Kept]);
    let reason = results[1].reason.as_deref().unwrap();
    assert!(reason.contains("the peak of its shared memory was at least"), "{reason}");
}

#[test]
fn a_system_v_segment_that_nobody_maps_is_in_the_group_of_the_test() {
    let directory = tempdir().unwrap();
    let options = options(&directory.path().join("results"));
    let listed = directory.path().join("segments");
    let listed = listed.display();
    // They are there when the program ends, which is when the group is looked at, at the latest.
    let program = format!(
        "import ctypes, time
libc = ctypes.CDLL(None)
libc.shmat.restype = ctypes.c_void_p
libc.shmat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
libc.shmdt.argtypes = [ctypes.c_void_p]
segments = []
for _ in range(10):
    segment = libc.shmget(0, 10 << 20, 0o1600)
    memory = libc.shmat(segment, None, 0)
    ctypes.memset(memory, 1, 10 << 20)
    libc.shmdt(memory)
    segments.append(segment)
open('{listed}', 'w').write(' '.join(map(str, segments)))
time.sleep(0.5)"
    );
    let removes = format!("for segment in $(cat {listed}); do ipcrm -m $segment; done");
    let test = tidied(python("segments", &program), Program::Shell(removes));
    let test = held_to(test, Quantity::ShmemPeak, 50 * MIB);
    let result = result(test, &options);
    assert_eq!(result.outcome, Outcome::OverBudget, "{result:#?}");
    check_hidden(&result, 100 * MIB);
}

/// Writes 100 MiB to shared memory that is a file, in each sandbox.
#[track_caller]
fn check_files(sandbox: Sandbox) {
    let directory = tempdir().unwrap();
    container(directory.path(), "minimal");
    let mut options = options(&directory.path().join("results"));
    options.lxc_path = directory.path().join("lxc");
    let name = directory.path().file_name().unwrap().to_str().unwrap();
    let line = format!("head -c 100m /dev/zero > /dev/shm/{name}; sleep 1.5");
    // Behind the last look at the group while there is a program.
    let test = tidied(shell("files", &line), Program::Shell(format!("rm /dev/shm/{name}")));
    let mut test = held_to(test, Quantity::ShmemPeak, 50 * MIB);
    test.sandbox = Some(sandbox);
    let result = result(test, &options);
    assert_eq!(result.outcome, Outcome::OverBudget, "{result:#?}");
    check_hidden(&result, 100 * MIB);
    // Nothing was moved into another group.
    assert!(result.notes.is_empty(), "{result:#?}");
}

#[test]
fn files_in_shared_memory_count_without_sandbox() {
    check_files(Sandbox::None);
}

#[test]
fn files_in_shared_memory_count_in_a_pid_namespace() {
    check_files(Sandbox::PidNamespace);
}

#[test]
fn files_in_shared_memory_count_in_bubblewrap() {
    check_files(Sandbox::Bubblewrap { root: None });
}

#[test]
fn files_in_shared_memory_count_in_a_container() {
    check_files(Sandbox::Lxc { name: "minimal".to_owned() });
}

#[test]
fn what_a_test_writes_to_a_disk_is_page_cache_and_no_shared_memory() {
    let directory = tempdir().unwrap();
    let options = options(&directory.path().join("results"));
    let line = "head -c 100m /dev/zero > /tmp/written; sleep 0.5";
    let mut test = held_to(shell("page cache", line), Quantity::ShmemPeak, 50 * MIB);
    test = held_to(test, Quantity::GroupPeak, 50 * MIB);
    // Its private `/tmp` is on the disk of the results.
    test.sandbox = Some(Sandbox::Bubblewrap { root: None });
    let result = result(test, &options);
    assert_eq!(result.outcome, Outcome::OverBudget, "{result:#?}");
    let group = result.group.as_ref().unwrap();
    assert!(group.group_peak_bytes.unwrap() >= 100 * MIB, "{result:#?}");
    assert!(group.group_file_bytes.unwrap() >= 90 * MIB, "{result:#?}");
    assert!(group.shmem_peak_bytes.unwrap() < MIB, "{result:#?}");
    // Between two looks there may have been more shared memory.
    let verdicts: Vec<_> = result.budgets.iter().map(|budget| budget.verdict).collect();
    assert_eq!(verdicts, [BudgetVerdict::CannotTell, BudgetVerdict::Exceeded]);
}

#[test]
fn a_test_that_moves_a_process_into_another_group_has_no_upper_bound() {
    let directory = tempdir().unwrap();
    let options = options(&directory.path().join("results"));
    let (moved, seen) = (directory.path().join("moved"), directory.path().join("seen"));
    // Of version 1 where that has the memory controller, which is where it is counted. It stays in the other group
    // until its supervisor has looked.
    let line = format!(
        "own=$(sed -n 's/^[0-9]*:memory://p' /proc/self/cgroup)
group=/sys/fs/cgroup/memory
test \"$own\" || {{ own=$(sed -n 's/^0:://p' /proc/self/cgroup); group=/sys/fs/cgroup; }}
test -w $group/cgroup.procs || exit 77
(echo 0 > $group/cgroup.procs && touch {moved} && until [ -e {seen} ]; do sleep 0.05; done)",
        moved = moved.display(),
        seen = seen.display(),
    );
    let mut test = held_to(shell("moves", &line), Quantity::GroupPeak, 1 << 40);
    test.sandbox = Some(Sandbox::PidNamespace);
    test.expect_exit = vec![0, 77];
    let (mut told, mut ended) = (0, Vec::new());
    run(&suite(vec![test]), &options, never(), &mut |event| match event {
        // About once a second. It looks more often.
        Event::TestProgress { .. } if moved.exists() => {
            told += 1;
            if told == 2 {
                std::fs::write(&seen, "").unwrap();
            }
        }
        Event::SuiteFinished { results, .. } => ended = results,
        _ => {}
    })
    .unwrap();
    let result = ended.pop().unwrap();
    assert_eq!(result.outcome, Outcome::Passed, "{result:#?}");
    if result.exit_code == Some(77) {
        return;
    }
    assert_eq!(result.budgets[0].verdict, BudgetVerdict::CannotTell, "{result:#?}");
    assert!(result.notes[0].contains("moved processes into another control group"), "{result:#?}");
}

/// Twenty loops at once, of which the shell knows nothing and which nobody waits for.
const BOMB: &str = "trap '' CHLD; i=0
while [ $i -lt 20 ]; do (setsid sh -c 'trap \"\" TERM; while :; do :; done' &) ; i=$((i + 1)); done
while :; do :; done";

#[track_caller]
fn check_cpu_limit(sandbox: Sandbox) {
    let directory = tempdir().unwrap();
    container(directory.path(), "minimal");
    let mut options = options(&directory.path().join("results"));
    options.lxc_path = directory.path().join("lxc");
    let limit = Duration::from_secs(1);
    let mut test = shell("bomb", BOMB);
    (test.cpu_limit, test.grace, test.sandbox) =
        (Some(limit), Duration::from_millis(100), Some(sandbox));
    let began = Instant::now();
    let result = result(test, &options);
    let elapsed = began.elapsed();
    assert_eq!(result.outcome, Outcome::OutOfCpuTime { limit }, "{result:#?}");
    assert!(elapsed < LONG / 2, "{result:#?}");
    let used = Duration::from_nanos(result.group.as_ref().unwrap().group_cpu_ns.unwrap());
    let cpus = u32::try_from(cpus_online().unwrap()).unwrap();
    // After the limit come its grace, and how long a machine that is busy takes to kill it all.
    assert!(used > limit && used < cpus * elapsed, "{used:?} of {elapsed:?}: {result:#?}");
    assert!(result.reason.as_ref().unwrap().contains("of CPU time"), "{result:#?}");
    assert!(result.left_over_processes.is_empty(), "{result:#?}");
}

#[test]
fn loops_that_nobody_waits_for_are_ended_without_sandbox() {
    check_cpu_limit(Sandbox::None);
}

#[test]
fn loops_that_nobody_waits_for_are_ended_in_a_pid_namespace() {
    check_cpu_limit(Sandbox::PidNamespace);
}

#[test]
fn loops_that_nobody_waits_for_are_ended_in_bubblewrap() {
    check_cpu_limit(Sandbox::Bubblewrap { root: None });
}

#[test]
fn loops_that_nobody_waits_for_are_ended_in_a_container() {
    check_cpu_limit(Sandbox::Lxc { name: "minimal".to_owned() });
}

#[test]
fn time_that_passes_is_no_cpu_time_and_setup_has_none_of_it() {
    let directory = tempdir().unwrap();
    let options = options(&directory.path().join("results"));
    let mut sleeps = shell("sleeps", "sleep 1.5");
    sleeps.cpu_limit = Some(Duration::from_millis(500));
    let busy = "i=0; while [ $i -lt 1000000 ]; do i=$((i + 1)); done";
    let mut prepared = shell("prepared", "true");
    prepared.cpu_limit = sleeps.cpu_limit;
    prepared.setup = vec![Step {
        program: shell("", &format!("{busy}; {busy}; {busy}")).program,
        timeout: LONG,
    }];
    let results = results(&suite(vec![sleeps, prepared]), &options);
    assert_eq!(words(&results), ["passed", "passed"], "{results:#?}");
    for result in &results {
        let used = result.group.as_ref().unwrap().group_cpu_ns.unwrap();
        assert!((1..500_000_000).contains(&used), "{result:#?}");
    }
}

/// Runs a suite where some control groups are not mounted, and returns its tests.
#[track_caller]
fn results_without(mounted: &str) -> Vec<serde_json::Value> {
    let directory = tempdir().unwrap();
    let text = r#"name = "few"
[[test]]
name = "busy"
shell = "while :; do :; done"
cpu_limit = "300ms"
[[test]]
name = "hidden"
command = ["/usr/bin/python3", "-S", "-c", """
import os, signal, time
os.write(os.memfd_create('hidden'), bytes(30 << 20))
keeper = os.fork()
if keeper == 0: signal.pause()
open('keeper', 'w').write(str(keeper))
time.sleep(0.3)"""]
cleanup = { shell = "kill -9 $(cat keeper); while kill -0 $(cat keeper) 2>&-; do sleep 0.01; done" }
budget = { shmem_peak = "10MiB" }
"#;
    std::fs::write(directory.path().join("few.toml"), text).unwrap();
    let line = format!("unshare -m sh -c '{mounted}; exec $MEMSAMPLE run few.toml'");
    let ended = sh(directory.path(), &line);
    assert_eq!(ended.code, Some(10), "{}", ended.stderr);
    let run = runs(directory.path()).pop().unwrap();
    let results = std::fs::read(run.join("results.json")).unwrap();
    let results: serde_json::Value = serde_json::from_slice(&results).unwrap();
    results["tests"].as_array().unwrap().clone()
}

#[test]
fn version_1_alone_counts_cpu_time_too() {
    // Where there is no version 1, nothing is left to be seen.
    let hierarchies = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    if !hierarchies.contains(" - cgroup ") {
        return;
    }
    let [busy, hidden] = &results_without("umount -t cgroup2 -a")[..] else { panic!() };
    assert_eq!(busy["outcome"], "out_of_cpu_time", "{busy:#}");
    assert!(busy["group"]["group_cpu_ns"].as_u64() > Some(300_000_000), "{busy:#}");
    assert_eq!(hidden["outcome"], "over_budget", "{hidden:#}");
}

#[test]
fn without_control_groups_nothing_is_limited_or_judged_and_both_are_said() {
    let [busy, hidden] = &results_without("umount -R /sys/fs/cgroup")[..] else { panic!() };
    assert_eq!((&busy["outcome"], &busy["group"]), (&"not_started".into(), &().into()), "{busy:#}");
    let reason = busy["reason"].as_str().unwrap();
    assert!(reason.contains("cannot limit its CPU time"), "{reason}");
    assert_eq!(
        (&hidden["outcome"], &hidden["group"]),
        (&"passed".into(), &().into()),
        "{hidden:#}"
    );
    assert_eq!(hidden["budgets"][0]["verdict"], "cannot_tell", "{hidden:#}");
    let note = hidden["notes"][0].as_str().unwrap();
    assert!(note.contains("cannot be judged"), "{note}");
}

#[test]
fn a_test_is_in_its_groups_from_its_first_instruction_on() {
    let groups = |program: &str| {
        let directory = tempdir().unwrap();
        let text =
            "name = 'groups'\n[[test]]\nname = 'cat'\ncommand = ['cat', '/proc/self/cgroup']\n";
        std::fs::write(directory.path().join("groups.toml"), text).unwrap();
        let ended = sh(directory.path(), &format!("{program} run --sandbox none groups.toml"));
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let run = runs(directory.path()).pop().unwrap();
        let text = std::fs::read_to_string(run.join("tests/0001-cat/1.1/stdout")).unwrap();
        let of_test = |line: &&str| line.contains("/memsample-");
        let lines = text.lines().filter(of_test).filter_map(|line| line.rsplit_once('/'));
        lines.map(|(group, _)| group.to_owned()).collect::<Vec<_>>()
    };
    let started_in_them = groups("$MEMSAMPLE");
    assert!(!started_in_them.is_empty());
    // An older kernel, or a container that allows no such call.
    let refused = "strace -f -qq -o /dev/null -e inject=clone3:error=ENOSYS $MEMSAMPLE";
    assert_eq!(groups(refused), started_in_them);
}
