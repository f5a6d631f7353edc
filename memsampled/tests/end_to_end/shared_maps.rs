//! Processes that share one memory map, each of which shows all memory of both.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use memsample::analysis::{test_peaks, test_usages};
use memsample::{ForksBy, Rate, RecorderOptions, Recording};
use memsample_runner::results::{BudgetVerdict, Outcome, TestResult};
use memsample_runner::suite::{Action, Budget, Quantity, Sandbox, Test};
use tempfile::tempdir;

use crate::command::{manifest, shell};
use crate::running::{command, isolated, options, result};

const MIB: u64 = 1 << 20;

/// Has 60 MiB, and a child that shares its memory. `child`: that lives as long. `grandchild`: that forks another one with
/// the same memory and is gone before anybody sees it. `heir`: that lives on alone, and grows by 60 MiB. `left`: that is left
/// behind, as is the parent.
const PROGRAM: &str = r#"
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
static char stacks[2][65536];
static const char *mode;
static int ready[2];
static void take(void) {
    volatile char *taken = malloc(60 << 20);
    for (size_t at = 0; at < 60u << 20; at += 4096) taken[at] = 1;
}
static int sleeps(void *nothing) { usleep(1000000); _exit(0); }
static int grows(void *nothing) { usleep(600000); take(); usleep(800000); _exit(0); }
static int forks(void *nothing) {
    clone(sleeps, stacks[1] + 65536, CLONE_VM | SIGCHLD, 0);
    _exit(0);
}
static int stays(void *nothing) {
    setsid();
    if (write(ready[1], "", 1) != 1) _exit(1);
    for (;;) pause();
}
int main(int count, char **arguments) {
    int (*child)(void *) = sleeps;
    mode = arguments[1];
    if (!strcmp(mode, "left")) {
        if (pipe(ready)) return 1;
        if (fork()) {
            // Until both stay, or one has ended.
            char stayed;
            close(ready[1]);
            return read(ready[0], &stayed, 1) != 1 || read(ready[0], &stayed, 1) != 1;
        }
    }
    take();
    if (!strcmp(mode, "grandchild")) child = forks;
    if (!strcmp(mode, "heir")) child = grows;
    if (!strcmp(mode, "left")) child = stays;
    int pid = clone(child, stacks[0] + 65536, CLONE_VM | SIGCHLD, 0);
    if (!strcmp(mode, "left")) stays(0);
    if (!strcmp(mode, "child")) waitpid(pid, 0, 0);
    usleep(strcmp(mode, "grandchild") ? 300000 : 1500000);
    return 0;
}
"#;

fn built(directory: &Path) -> PathBuf {
    let (source, program) = (directory.join("shares.c"), directory.join("shares"));
    std::fs::write(&source, PROGRAM).unwrap();
    let status = Command::new("cc").arg("-o").args([&program, &source]).status();
    assert!(status.unwrap().success());
    program
}

fn budget(quantity: Quantity, mib: u64) -> Budget {
    Budget { role: None, quantity, limit_bytes: mib * MIB, action: Action::Warn }
}

/// Runs the program as a test with budgets of 100 MiB, and hands over its recording.
#[track_caller]
fn run(mode: &str, recorder: RecorderOptions, see: impl Fn(&TestResult, &Recording)) {
    let directory = tempdir().unwrap();
    let program = built(directory.path());
    let budgets = [Quantity::RssPeak, Quantity::AnonPeak, Quantity::PssPeak];
    let mut test = Test {
        budgets: budgets.map(|quantity| budget(quantity, 100)).to_vec(),
        ..command("shares", &[program.to_str().unwrap(), mode])
    };
    let of_role = Budget { role: Some("shares".to_owned()), ..budget(Quantity::AnonPeak, 100) };
    test.budgets.push(of_role);
    // What is left behind is judged too.
    test.budgets.push(budget(Quantity::LeftOver, 100));
    let mut options = options(&directory.path().join("results"));
    options.recorder = recorder.interval(Duration::from_millis(50)).pss(Rate::EveryTick);
    let result = result(isolated(test, Sandbox::None), &options);
    let (recording, _) = Recording::open(&directory.path().join("results/recording")).unwrap();
    see(&result, &recording);
}

#[track_caller]
fn check_counts_once(mode: &str, recorder: RecorderOptions) {
    run(mode, recorder, |result, recording| {
        assert_eq!(result.outcome, Outcome::Passed, "{result:#?}");
        let peak = result.memory.as_ref().unwrap().rss_peak().unwrap();
        assert!((60 * MIB..80 * MIB).contains(&peak.lower), "{result:#?}");
        let manifest = recording.manifest();
        let knows_execs = manifest.provenance.settings.forks == ForksBy::ProcConnector
            && manifest.totals.events_lost == 0;
        // Where an exec may have gone unseen, each may have got memory of its own; and who was not sampled too.
        if let Some(upper) = peak.upper.filter(|_| knows_execs && mode == "child") {
            assert!(upper < 100 * MIB, "{result:#?}");
        }
        for budget in &result.budgets {
            // On a busy machine a budget is judged before the kernel has reported every end.
            assert_ne!(budget.verdict, BudgetVerdict::Exceeded, "{result:#?}");
            if budget.budget.quantity == Quantity::LeftOver {
                assert_eq!(budget.verdict, BudgetVerdict::Kept, "{result:#?}");
            }
        }
        let peaks = test_peaks(recording, 10, |_| true).unwrap();
        let [test] = &*peaks else { panic!("{peaks:#?}") };
        assert!(test.lower.unwrap().bytes < 80 * MIB, "{peaks:#?}");
        assert!(test_usages(recording).unwrap()[0].processes >= 2);
    });
}

#[test]
fn what_two_processes_show_of_one_map_counts_once() {
    check_counts_once("child", RecorderOptions::new());
    check_counts_once("grandchild", RecorderOptions::new());
}

#[test]
fn it_counts_once_where_nobody_reports_forks() {
    check_counts_once("child", RecorderOptions::new().events(false));
    check_counts_once("grandchild", RecorderOptions::new().events(false));
}

#[test]
fn who_is_left_alone_with_a_shared_map_counts() {
    run("heir", RecorderOptions::new(), |result, _| {
        // The runner ends it, since its parent has ended.
        let memory = result.memory.as_ref().unwrap();
        assert!(memory.rss_peak().unwrap().lower >= 60 * MIB, "{result:#?}");
    });
}

#[test]
fn what_is_left_behind_with_one_map_counts_once() {
    run("left", RecorderOptions::new(), |result, _| {
        assert_eq!(result.outcome, Outcome::LeftOver, "{result:#?}");
        let [one, other] = &*result.left_over_processes else { panic!("{result:#?}") };
        assert_eq!(other.shares_memory_with, Some(one.pid), "{result:#?}");
        let budget = result.budgets.last().unwrap();
        assert_eq!(budget.verdict, BudgetVerdict::Kept, "{result:#?}");
    });
}

#[test]
fn where_maps_cannot_be_compared_it_is_told() {
    let directory = tempdir().unwrap();
    let program = built(directory.path());
    // As a filter of system calls does, which many containers have.
    let refused = "strace -f -qq -o /dev/null -e trace=kcmp -e inject=kcmp:error=EPERM $MEMSAMPLE";
    let told = "memory maps cannot be compared (kcmp: Operation not permitted (os error 1))";
    let maps = |words: &str| {
        let ended = shell(directory.path(), &format!("{words} doctor --json"));
        let checks = ended.json();
        let mut checks = checks.as_array().unwrap().iter();
        checks.find(|check| check["name"] == "maps").unwrap().clone()
    };
    assert_eq!(maps("$MEMSAMPLE")["works"], true);
    let reason = maps(refused)["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with(told), "{reason}");

    let notes = |words: &str, name: &str| {
        let line = format!("{words} record --name {name} -- {} child", program.display());
        let ended = shell(directory.path(), &line);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let notes = manifest(&directory.path().join("recordings").join(name))["notes"].clone();
        notes.as_array().unwrap().iter().any(|note| note.as_str().unwrap().starts_with(told))
    };
    assert!(!notes("$MEMSAMPLE", "compared"));
    assert!(notes(refused, "not-compared"));
}
