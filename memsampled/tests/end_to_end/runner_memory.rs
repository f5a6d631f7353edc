//! What each test used, of which the recording tells, and the budgets that it is held to.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::command::wait_for_recorded;
use crate::running::{LONG, command, container, isolated, options, results, shell, suite};
use crate::test_sums::sums_by_test;
use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMillisecondType};
use memsample::analysis::test_peaks;
use memsample::{ForksBy, Rate, RecorderOptions, Recording};
use memsample_runner::results::{BudgetVerdict, Outcome, TestResult};
use memsample_runner::run::RunOptions;
use memsample_runner::suite::{Action, Budget, PolicyBudget, Quantity, Sandbox, Test};
use tempfile::tempdir;

const MIB: u64 = 1 << 20;

/// Holds `mib` MiB that it has written to until it has been sampled for long enough.
fn holding(name: &str, mib: u64) -> Test {
    // `tail` keeps all that it reads until it ends, which is when the writer closes.
    shell(name, &format!("(head -c {mib}m /dev/zero; sleep 1.5) | tail -c {mib}m | wc -c"))
}

/// Fills `mib` MiB with what is held until a line comes through the pipe `go` in its directory.
fn held(mib: u64) -> String {
    format!("(head -c {mib}m /dev/zero; read -r go < go) | tail -c {mib}m | wc -c")
}

/// Runs tests that hold memory, in a directory with that pipe. Each group of them is let go when every test of it has
/// more than forty rows in the recording and at one of its ticks so much anonymous memory, in MiB.
#[track_caller]
fn results_of_held(
    tests: Vec<Test>,
    options: &RunOptions,
    groups: &[&[(&str, u64)]],
) -> Vec<TestResult> {
    let directory = tempdir().unwrap();
    let path = directory.path().join("go");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    // Also open to be read, it can be opened and written to before anybody else has.
    let pipe = File::options().read(true).write(true).open(path).unwrap();
    let here = |test| Test { cwd: directory.path().to_owned(), ..test };
    let suite = suite(tests.into_iter().map(here).collect());
    let recording = options.directory.join("recording");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for group in groups {
                for (test, mib) in *group {
                    wait_for_recorded(test, &recording, |recording| {
                        let (rows, anon) = recorded(recording).remove(*test)?;
                        (rows > 40 && anon >= mib * MIB).then_some(())
                    });
                }
                (&pipe).write_all("\n".repeat(group.len()).as_bytes()).unwrap();
            }
        });
        results(&suite, options)
    })
}

/// Returns how many rows each test has in a recording, and the most anonymous memory at one of its ticks.
fn recorded(recording: &Recording) -> HashMap<String, (usize, u64)> {
    let mut found: HashMap<String, (usize, HashMap<i64, u64>)> = HashMap::new();
    for batch in recording.read_table("samples", &["ts", "test", "anon_bytes"]) {
        let batch = batch.unwrap();
        let ts = batch["ts"].as_primitive::<TimestampMillisecondType>();
        let test = batch["test"].as_string::<i32>();
        let anon = batch["anon_bytes"].as_primitive::<Int64Type>();
        for row in (0..batch.num_rows()).filter(|&row| test.is_valid(row)) {
            let (rows, sums) = found.entry(test.value(row).to_owned()).or_default();
            *rows += 1;
            if anon.is_valid(row) {
                *sums.entry(ts.value(row)).or_default() += u64::try_from(anon.value(row)).unwrap();
            }
        }
    }
    let most = |sums: HashMap<i64, u64>| sums.into_values().max().unwrap_or(0);
    found.into_iter().map(|(test, (rows, sums))| (test, (rows, most(sums)))).collect()
}

/// Samples often, and everything at every tick.
fn closely(options: &mut RunOptions) {
    options.recorder =
        RecorderOptions::new().interval(Duration::from_millis(20)).pss(Rate::EveryTick);
}

#[track_caller]
fn check_holds(result: &TestResult, mib: u64) {
    assert_eq!(result.outcome, Outcome::Passed, "{result:#?}");
    let memory = result.memory.as_ref().unwrap();
    let bytes = mib * MIB..(mib + 24) * MIB;
    let rss = (memory.rss_peak(), memory.rss_peak_at);
    for (peak, at) in [rss, (memory.anon_peak(), memory.anon_peak_at)] {
        let peak = peak.unwrap();
        assert!(bytes.contains(&peak.lower), "{result:#?}");
        assert!(peak.upper.is_none_or(|upper| upper >= peak.lower), "{result:#?}");
        assert_eq!(peak.upper.is_none(), memory.unbounded_images > 0, "{result:#?}");
        assert!(at.unwrap() >= result.started.unwrap(), "{result:#?}");
    }
    // On a busy machine it is put off.
    if let (Some(rss), Some(pss)) = (memory.rss_peak(), memory.pss_peak_bytes) {
        assert!(pss <= rss.lower, "{result:#?}");
    }
    // Two of sh, head, tail and wc, and nothing of ours.
    assert!((4..=8).contains(&memory.processes), "{result:#?}");
    assert!(result.roles.iter().all(|role| !role.role.contains("memsample")), "{result:#?}");
    assert!(bytes.contains(&result.roles[0].rss_peak_bytes), "{result:#?}");
    assert!(memory.samples > 20 && memory.minor_faults > Some(mib), "{result:#?}");
    assert!(memory.unsampled_processes <= memory.processes, "{result:#?}");
    // Much too short to tell, but where it took long until all was recorded.
    let is_long = result.duration > Duration::from_secs(19);
    assert!(memory.growth_bytes_per_minute.is_none() || is_long, "{result:#?}");
}

#[track_caller]
fn check_sandbox(sandbox: Sandbox) {
    let directory = tempdir().unwrap();
    container(directory.path(), "minimal");
    let mut options = options(&directory.path().join("results"));
    closely(&mut options);
    options.lxc_path = directory.path().join("lxc");
    // At the same time, so that time alone does not tell them apart.
    options.jobs = NonZeroUsize::new(2).unwrap();
    // They fit on any machine.
    options.predicted_bytes.extend(["large", "small"].map(|name| (name.to_owned(), 1)));
    let tests = [("large", 96), ("small", 16)];
    let held = tests.map(|(name, mib)| isolated(shell(name, &held(mib)), sandbox.clone()));
    let results = results_of_held(held.into(), &options, &[&tests]);
    check_holds(&results[0], 96);
    check_holds(&results[1], 16);
    check_column(&directory.path().join("results/recording"), &results);
}

/// Sums up what the rows of the recording say, as a query in SQL would, and compares.
#[track_caller]
fn check_column(recording: &Path, results: &[TestResult]) {
    let (recording, _) = Recording::open(recording).unwrap();
    let sums = sums_by_test(&recording, |comm| assert!(!comm.starts_with("memsample"), "{comm}"));
    for result in results {
        let peak = u64::try_from(sums[&result.test.test]).unwrap();
        // One process alone may have had more between two samples.
        let told = result.memory.as_ref().unwrap().rss_peak_bytes.unwrap();
        assert!(peak <= told && told < peak + 24 * MIB, "{peak} {result:#?}");
    }
}

#[test]
fn what_lives_for_an_instant_is_counted_with_its_peak() {
    let directory = tempdir().unwrap();
    let mut options = options(&directory.path().join("results"));
    // Of none there is a sample but by chance; and twice, so that attempts are told apart.
    options.recorder = RecorderOptions::new().interval(Duration::from_secs(1));
    options.repeat = Some(2);
    // Nobody waits for the last of them.
    options.settle = LONG;
    // 1 shell, 10 subshells, 10 true and 10 that fork and end at once, with 10 below them.
    let line =
        "for i in 1 2 3 4 5 6 7 8 9 10; do /bin/true | /bin/sh -c 'exit 0'; (/bin/true &); done";
    let tests = vec![shell("brief", line)];
    let results = results(&suite(tests), &options);
    let (recording, _) = Recording::open(&directory.path().join("results/recording")).unwrap();
    let settings = &recording.manifest().provenance.settings;
    let totals = recording.manifest().totals;
    for result in results {
        assert_eq!(result.outcome, Outcome::Passed, "{result:#?}");
        if !settings.exits || settings.forks == ForksBy::Listing {
            // What nobody tells of is not measured.
            continue;
        }
        let memory = result.memory.as_ref().unwrap_or_else(|| panic!("{result:#?} {totals:?}"));
        assert_eq!(memory.processes, 41, "{result:#?}");
        assert!(memory.rss_peak_bytes.unwrap() > 100 << 10, "{result:#?}");
        assert_eq!(result.roles.iter().map(|role| role.processes).sum::<u64>(), 41, "{result:#?}");
        assert!(memory.minor_faults > Some(41) && memory.cpu_ns.is_some(), "{memory:#?}");
        if memory.samples == 0 {
            assert_eq!(memory.unsampled_processes, 41);
            assert!(memory.pss_peak_bytes.is_none() && memory.pss_missing.is_some());
            assert!(memory.rss_peak_bytes_upper.is_some(), "{memory:#?}");
        }
    }
}

#[test]
fn a_test_of_half_a_second_has_its_proportional_set() {
    let directory = tempdir().unwrap();
    let mut options = options(&directory.path().join("results"));
    // More than by default, since others of a busy machine begin too.
    options.recorder = RecorderOptions::new().pss_budget(0.1);
    options.repeat = Some(4);
    let suite = suite(vec![shell("short", "sleep 0.5")]);
    // On a machine that is busy one or the other is put off, and so may be all of a run.
    let until = Instant::now() + LONG;
    for number in 0.. {
        options.directory = directory.path().join(number.to_string());
        let results = results(&suite, &options);
        let memories: Vec<_> = results.iter().filter_map(|result| result.memory.as_ref()).collect();
        for memory in &memories {
            assert_eq!(memory.pss_peak_bytes.is_none(), memory.pss_missing.is_some());
        }
        if memories.iter().any(|memory| memory.pss_peak_bytes.is_some()) {
            break;
        }
        assert!(Instant::now() < until, "{memories:#?}");
    }
}

/// Four children with 10, 20, 30 and 40 MiB of their own for a second, and in a file what all have together.
const FOUR_CHILDREN: &str = r"
import os, sys, time
def child(mib):
    ready, said = os.pipe()
    pid = os.fork()
    if pid == 0:
        block = bytearray(b'x') * (mib << 20)
        os.write(said, b'x')
        time.sleep(60)
    os.read(ready, 1)
    return pid
def pss(pid):
    rollup = open(f'/proc/{pid}/smaps_rollup').read().split()
    return int(rollup[rollup.index('Pss:') + 1]) * 1024
children = [child(mib) for mib in (10, 20, 30, 40)]
print(sum(pss(pid) for pid in ['self', *children]))
sys.stdout.flush()
time.sleep(1)
for pid in children:
    os.kill(pid, 9)
    os.waitpid(pid, 0)
";

#[test]
fn the_proportional_set_of_a_test_is_that_of_all_its_processes() {
    let directory = tempdir().unwrap();
    let mut options = options(&directory.path().join("results"));
    options.repeat = Some(5);
    let test = command("four", &["/usr/bin/python3", "-S", "-c", FOUR_CHILDREN]);
    let suite = suite(vec![test]);
    // Of a machine on which much else runs one or the other may be put off.
    let (mut told, until) = (0, Instant::now() + LONG);
    for number in 0.. {
        options.directory = directory.path().join(number.to_string());
        let results = results(&suite, &options);
        told += check_pss(&results, &options.directory);
        if told >= 3 {
            break;
        }
        assert!(Instant::now() < until, "{results:#?}");
    }
}

/// Compares what is told with what the tests wrote, and returns of how many something is told.
#[track_caller]
fn check_pss(results: &[TestResult], directory: &Path) -> usize {
    let mut told = 0;
    for result in results {
        assert_eq!(result.outcome, Outcome::Passed, "{result:#?}");
        let memory = result.memory.as_ref().unwrap();
        let stdout = directory.join(result.stdout.as_ref().unwrap());
        let truth: u64 = std::fs::read_to_string(stdout).unwrap().trim().parse().unwrap();
        assert!(truth > 100 * MIB, "{truth}");
        let Some(pss) = memory.pss_peak_bytes else {
            assert!(memory.pss_missing.is_some(), "{memory:#?}");
            continue;
        };
        told += 1;
        assert!(pss.abs_diff(truth) <= truth / 20, "{pss} told, {truth} true: {memory:#?}");
    }
    told
}

#[test]
fn a_test_that_is_started_by_a_shell_has_an_upper_bound() {
    let directory = tempdir().unwrap();
    let options = options(&directory.path().join("results"));
    let program = "import time; block = bytearray(b'x') * (40 << 20); time.sleep(0.5)";
    // What is in PATH may be a script that starts many others.
    let python = "/usr/bin/python3";
    let tests = vec![
        shell("shell", &format!("true; exec {python} -S -c \"{program}\"")),
        command("env", &["env", "A=1", "nice", python, "-S", "-c", program]),
    ];
    let results = results(&suite(tests), &options);
    let (recording, _) = Recording::open(&directory.path().join("results/recording")).unwrap();
    let manifest = recording.manifest();
    let settings = &manifest.provenance.settings;
    if !settings.exits || settings.forks == ForksBy::Listing || manifest.totals.events_lost > 0 {
        return;
    }
    let rows = test_peaks(&recording, 10, |_| true).unwrap();
    for result in &results {
        let memory = result.memory.as_ref().unwrap();
        let (lower, upper) = (memory.rss_peak_bytes.unwrap(), memory.rss_peak_bytes_upper);
        let upper = upper.unwrap_or_else(|| panic!("{memory:#?}"));
        // One process, whose images do not add up, and the error of a mark on many CPUs.
        assert!((40 * MIB..60 * MIB).contains(&lower), "{memory:#?}");
        assert!((lower..lower + 32 * MIB).contains(&upper), "{memory:#?}");
        let row = rows.iter().find(|row| row.role == result.test.test).unwrap();
        assert_eq!(row.upper.map(|upper| upper.bytes), Some(upper), "{row:#?}");
    }
}

#[test]
fn what_an_exec_replaced_between_two_ticks_is_not_within_a_budget() {
    // About 88 MiB, replaced at once by a program of 10 MiB.
    let program = "import os, sys
block = bytearray(b'x' * (40 << 20))
os.execv(sys.executable, [sys.executable, '-S', '-c', 'pass'])";
    let mut test = command("replaced", &["/usr/bin/python3", "-S", "-c", program]);
    test.budgets = vec![budget(None, Quantity::RssPeak, 30 * MIB)];
    // Between two ticks that are a minute apart nobody looks at either program.
    for interval_ms in [100, 60_000] {
        let directory = tempdir().unwrap();
        let mut options = options(&directory.path().join("results"));
        options.recorder = RecorderOptions::new().interval(Duration::from_millis(interval_ms));
        options.repeat = Some(5);
        for result in results(&suite(vec![test.clone()]), &options) {
            let memory = result.memory.as_ref().unwrap();
            assert_ne!(result.budgets[0].verdict, BudgetVerdict::Kept, "{result:#?}");
            assert!(
                memory.rss_peak_bytes_upper.is_none_or(|upper| upper > 80 * MIB),
                "{memory:#?}"
            );
        }
    }
}

#[test]
fn tests_without_sandbox_have_their_memory() {
    check_sandbox(Sandbox::None);
}

#[test]
fn tests_in_pid_namespaces_have_their_memory() {
    check_sandbox(Sandbox::PidNamespace);
}

#[test]
fn tests_in_bubblewrap_have_their_memory() {
    check_sandbox(Sandbox::Bubblewrap { root: None });
}

#[test]
fn tests_in_containers_have_their_memory() {
    check_sandbox(Sandbox::Lxc { name: "minimal".to_owned() });
}

#[test]
fn tests_that_do_not_pass_have_their_memory_too() {
    let directory = tempdir().unwrap();
    let mut options = options(&directory.path().join("results"));
    closely(&mut options);
    // What holds memory does not hear that its time is over.
    let line =
        format!("trap 'exit 0' TERM; (trap '' TERM; {}); trap - TERM; exec sleep 1000", held(32));
    let mut times_out = shell("times out", &line);
    (times_out.timeout, times_out.grace) = (Duration::from_secs(1), LONG);
    let fails = shell("fails", &format!("{}; exit 1", held(32)));
    let mut leaks = shell("leaks", "sleep 1000 & sleep 0.5");
    leaks.budgets = vec![Budget {
        role: None,
        quantity: Quantity::LeftOver,
        limit_bytes: 1,
        action: Action::Warn,
    }];
    let groups: &[&[_]] = &[&[("times out", 32)], &[("fails", 32)]];
    let results = results_of_held(vec![times_out, fails, leaks], &options, groups);
    assert_eq!(crate::running::words(&results), ["timed_out", "failed", "left_over"]);
    for result in &results[..2] {
        let anon = result.memory.as_ref().unwrap().anon_peak_bytes.unwrap();
        assert!(anon >= 32 * MIB, "{result:#?}");
    }
    assert!(results[2].memory.as_ref().unwrap().rss_peak_bytes.is_some());
    assert_eq!(results[2].budgets[0].verdict, BudgetVerdict::Exceeded);
}

#[test]
fn a_test_above_its_budget_does_not_pass() {
    let directory = tempdir().unwrap();
    let mut options = options(&directory.path().join("results"));
    closely(&mut options);
    let budget = |quantity, mib: u64, action| Budget {
        role: None,
        quantity,
        limit_bytes: mib * MIB,
        action,
    };
    let mut above = holding("above", 48);
    above.budgets = vec![budget(Quantity::AnonPeak, 32, Action::Fail)];
    let mut warned = holding("warned", 48);
    warned.budgets = vec![
        budget(Quantity::RssPeak, 32, Action::Warn),
        budget(Quantity::AnonPeak, 1000, Action::Fail),
    ];
    // Of a policy, for one of them.
    options.policy.budgets = vec![PolicyBudget {
        tests: Some(regex::Regex::new("^policy$").unwrap()),
        budget: budget(Quantity::RssPeak, 32, Action::Fail),
    }];
    let results = results(&suite(vec![above, warned, holding("policy", 48)]), &options);
    assert_eq!(crate::running::words(&results), ["over_budget", "passed", "over_budget"]);
    let reason = results[0].reason.as_ref().unwrap();
    assert!(reason.contains("its peak of anonymous memory was at least"), "{reason}");
    assert_eq!(results[1].budgets[0].verdict, BudgetVerdict::Exceeded);
    assert_ne!(results[1].budgets[1].verdict, BudgetVerdict::Exceeded);
    assert!(results[2].reason.as_ref().unwrap().contains("RSS"));
}

fn budget(role: Option<&str>, quantity: Quantity, limit_bytes: u64) -> Budget {
    let role = role.map(str::to_owned);
    Budget { role, quantity, limit_bytes, action: Action::Fail }
}

#[test]
fn roles_are_held_to_their_budgets() {
    let directory = tempdir().unwrap();
    let mut options = options(&directory.path().join("results"));
    closely(&mut options);
    let mut test = holding("roles", 48);
    test.budgets = vec![
        budget(Some("tail"), Quantity::AnonPeak, 32 * MIB),
        budget(Some("tail"), Quantity::PssPeak, 32 * MIB),
        budget(Some("sleep"), Quantity::AnonPeak, 32 * MIB),
        // The shell has a role of its own, and is far below.
        budget(Some("tail"), Quantity::LeftOver, 0),
    ];
    let results = results(&suite(vec![test]), &options);
    assert_eq!(crate::running::words(&results), ["over_budget"], "{results:#?}");
    let verdicts: Vec<_> = results[0].budgets.iter().map(|budget| budget.verdict).collect();
    assert_eq!(verdicts[0], BudgetVerdict::Exceeded, "{results:#?}");
    // On a busy machine PSS may be put off, and then nobody can tell.
    assert_ne!(verdicts[1], BudgetVerdict::Kept, "{results:#?}");
    assert_ne!(verdicts[2], BudgetVerdict::Exceeded, "{results:#?}");
    assert_eq!(verdicts[3], BudgetVerdict::Kept, "{results:#?}");
    let reason = results[0].reason.as_ref().unwrap();
    assert!(reason.contains("its peak of anonymous memory in the role `tail`"), "{reason}");
    assert_no_own_recording(directory.path());
}

#[test]
fn what_a_fork_shares_with_its_parent_counts_once_for_a_role() {
    let directory = tempdir().unwrap();
    let mut options = options(&directory.path().join("results"));
    closely(&mut options);
    // The child runs no program for half a second: all it has is its parent's.
    let program = "import os, time
kept = bytearray(48 << 20)
child = os.fork()
if child == 0:
    time.sleep(.5)
    os.execv('/bin/true', ['true'])
os.waitpid(child, 0)";
    let mut test = command("forks", &["/usr/bin/python3", "-S", "-c", program]);
    test.budgets = vec![budget(Some("python -c"), Quantity::AnonPeak, 80 * MIB)];
    let results = results(&suite(vec![test]), &options);
    assert_eq!(crate::running::words(&results), ["passed"], "{results:#?}");
    assert_ne!(results[0].budgets[0].verdict, BudgetVerdict::Exceeded, "{results:#?}");
    assert!(results[0].budgets[0].measured().is_some(), "{results:#?}");
}

#[test]
fn what_is_left_may_be_within_a_budget() {
    let directory = tempdir().unwrap();
    let mut options = options(&directory.path().join("results"));
    closely(&mut options);
    let leaving = |name, budgets| {
        let mut test = shell(name, "sleep 1000 & sleep 0.5");
        test.budgets = budgets;
        test
    };
    let all = |bytes| budget(None, Quantity::LeftOver, bytes);
    let tests = vec![
        leaving("allowed", vec![all(100 * MIB)]),
        leaving("not allowed", vec![all(1)]),
        leaving(
            "not by its role",
            vec![all(100 * MIB), budget(Some("sleep"), Quantity::LeftOver, 1)],
        ),
    ];
    let results = results(&suite(tests), &options);
    assert_eq!(
        crate::running::words(&results),
        ["passed", "left_over", "over_budget"],
        "{results:#?}"
    );
    assert!(results[0].notes[0].contains("which its budget allows"), "{results:#?}");
    assert_eq!(results[1].budgets[0].verdict, BudgetVerdict::Exceeded);
}

#[test]
fn a_test_above_its_budget_is_seen_by_what_follows() {
    let above = || {
        let mut test = holding("above", 48);
        test.budgets = vec![budget(None, Quantity::AnonPeak, 32 * MIB)];
        test
    };
    let directory = tempdir().unwrap();
    let mut opts = options(&directory.path().join("results"));
    closely(&mut opts);
    opts.retries = Some(1);
    let mut needs = shell("needs it", "true");
    needs.requires = vec!["above".to_owned()];
    let tried = results(&suite(vec![above(), needs]), &opts);
    assert_eq!(
        crate::running::words(&tried),
        ["over_budget", "over_budget", "skipped"],
        "{tried:#?}"
    );

    // A run that is resumed knows it too, and why.
    opts.resume = true;
    let resumed = results(&suite(vec![above(), shell("needs it", "true")]), &opts);
    assert_eq!(
        crate::running::words(&resumed),
        ["over_budget", "over_budget", "passed"],
        "{resumed:#?}"
    );
    assert_eq!(resumed[0].budgets, tried[0].budgets);

    let mut opts = options(&directory.path().join("fail-fast"));
    closely(&mut opts);
    opts.fail_fast = true;
    let ended = results(&suite(vec![above(), shell("after", "true")]), &opts);
    assert_eq!(crate::running::words(&ended), ["over_budget", "skipped"], "{ended:#?}");
}

/// The recording of one attempt alone goes when it was read.
#[track_caller]
fn assert_no_own_recording(directory: &Path) {
    let found = walkdir::WalkDir::new(directory).into_iter().flatten();
    let left: Vec<_> = found.filter(|entry| entry.file_name() == "budget-recording").collect();
    assert!(left.is_empty(), "{left:?}");
}
