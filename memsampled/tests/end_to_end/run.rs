//! `memsample run` and `doctor` as a user runs them: real suites, whose expected outcomes are data.

use std::fs;
use std::path::{Path, PathBuf};

use crate::command::{Ended, Running, memsample, wait_for};
use crate::report_outputs::{check_junit, check_results};
use crate::test_sums::sums_by_test;
use memsample::Recording;
use serde_json::Value;
use tempfile::tempdir;

/// Runs a suite in `directory` without sandbox, with more arguments.
fn run(directory: &Path, suite: &str, arguments: &[&str]) -> Ended {
    run_isolated(directory, suite, &[&["--sandbox", "none"], arguments].concat())
}

/// Runs a suite in the sandbox that its arguments say, or in the default one.
fn run_isolated(directory: &Path, suite: &str, arguments: &[&str]) -> Ended {
    fs::write(directory.join("suite.toml"), suite).unwrap();
    memsample(directory, &[&["run", "suite.toml"], arguments].concat())
}

/// Checks the files of a run, whose path is the last line, and returns its results.
#[track_caller]
fn results(ended: &Ended) -> Value {
    let last = ended.stdout.lines().last().unwrap_or_else(|| panic!("{}", ended.stderr));
    let directory = PathBuf::from(last);
    let results = check_results(&fs::read(directory.join("results.json")).unwrap());
    check_junit(&fs::read(directory.join("junit.xml")).unwrap()).unwrap();
    assert!(directory.join("recording/recording.json").exists());
    results
}

fn outcomes(results: &Value) -> Vec<(&str, &str)> {
    let tests = results["tests"].as_array().unwrap().iter();
    let word = |value: &'_ Value| -> &'static str { value.as_str().unwrap().to_owned().leak() };
    tests.map(|test| (word(&test["name"]), word(&test["outcome"]))).collect()
}

const MIXED: &str = r#"
name = "mixed"
[[test]]
name = "passes"
shell = "echo fine"
tags = ["smoke"]
[[test]]
name = "fails"
shell = "echo broken >&2; exit 3"
[[test]]
name = "is too slow"
command = ["sleep", "600"]
timeout = "100ms"
grace = "100ms"
[[test]]
name = "crashes"
shell = "kill -SEGV $$"
[[test]]
name = "is absent"
command = ["/nonexistent/program"]
[[test]]
name = "needs the one that fails"
command = ["true"]
requires = ["fails"]
"#;

#[test]
fn exit_codes_say_what_became_of_the_suite() {
    let long = "name = \"long\"\ntimeout = \"200ms\"\n[[test]]\nname = \"a\"\ncommand = [\"sleep\", \"600\"]\ngrace = \"0s\"\n";
    let setup =
        "name = \"s\"\n[setup]\nshell = \"exit 1\"\n[[test]]\nname = \"a\"\ncommand = [\"true\"]\n";
    let cases: [(&str, &[&str], i32, &str); 6] = [
        (MIXED, &["--filter", "^passes$"], 0, "passed"),
        (MIXED, &["--tag", "smoke"], 0, "passed"),
        (MIXED, &["--filter", "fails"], 10, "failed"),
        (MIXED, &["--fail-fast", "--filter", "fails|crashes"], 10, "failed"),
        (long, &[], 11, "aborted"),
        (setup, &[], 11, "aborted"),
    ];
    for (suite, arguments, code, outcome) in cases {
        let directory = tempdir().unwrap();
        let ended = run(directory.path(), suite, arguments);
        assert_eq!(ended.code, Some(code), "{arguments:?}: {}", ended.stderr);
        assert_eq!(results(&ended)["outcome"], outcome, "{arguments:?}");
    }
}

#[test]
fn what_cannot_be_run_is_refused_before_anything_is_written() {
    let named = |name: &str| format!("name = \"s\"\n[[test]]\nname = {name}\nshell = \":\"\n");
    let (twice, long) = (format!("{}{}", named("'a'"), &named("'a'")[10..]), "n".repeat(1000));
    let circle =
        format!("{}requires = ['b']\n{}requires = ['a']\n", named("'a'"), &named("'b'")[10..]);
    let cases: [(&str, &[&str], i32, &str); 12] = [
        ("name = 1", &[], 12, "suite.toml:1:8"),
        ("name = \"s\n", &[], 12, "suite.toml:1:10: not TOML"),
        (&format!("{}timout = '1s'", named("'a'")), &[], 12, "5:1: unknown key `timout`"),
        (&circle, &[], 12, "require each other in a circle: `a` and `b`"),
        (&twice, &[], 12, "7:8: a second test `a`"),
        (&named("\"a\\nb\""), &[], 12, "3:1: `name` of test `a\\nb`: must not contain"),
        (&named(&format!("'{long}'")), &[], 12, "must have at most 256 bytes, not 1000"),
        ("name = \"s\"", &[], 12, "the suite has no test"),
        (MIXED, &["--policy", "absent.toml"], 12, "absent.toml"),
        (MIXED, &["--filter", "no such test"], 13, "no test of the suite is selected"),
        (MIXED, &["--shard", "3/2"], 2, "such as 1/4"),
        (MIXED, &["--name", "a/b"], 2, "cannot be the name"),
    ];
    for (suite, arguments, code, message) in cases {
        let directory = tempdir().unwrap();
        let ended = run(directory.path(), suite, arguments);
        assert_eq!(ended.code, Some(code), "{arguments:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(message), "{arguments:?}: {}", ended.stderr);
        assert!(!directory.path().join("runs").exists(), "{arguments:?}");
    }
}

#[test]
fn a_directory_that_means_nothing_is_refused_before_anything_is_run() {
    let cases = [
        ("tslist.run", "- test: 'a", "utah/tslist.run:1:"),
        ("tslist.run", "[]", "the suite has no test"),
        ("readme", "", "not a suite"),
        ("tslist.run", "- test: absent", "test `absent` has no file"),
    ];
    for (name, text, message) in cases {
        let directory = tempdir().unwrap();
        fs::create_dir(directory.path().join("utah")).unwrap();
        fs::write(directory.path().join("utah").join(name), text).unwrap();
        let ended = memsample(directory.path(), &["run", "utah"]);
        assert_eq!(ended.code, Some(12), "{text}: {}", ended.stderr);
        assert!(ended.stderr.contains(message), "{text}: {}", ended.stderr);
        assert!(!directory.path().join("runs").exists(), "{text}");
    }
}

#[test]
fn what_lists_tests_ends_with_who_waits_for_it() {
    // It goes on in a session of its own, and does not care.
    let list = "trap '' INT TERM; setsid sleep 1000 & echo $! $$ > pids; touch begun; sleep 1000";
    for (signal, code) in [("INT", Some(11)), ("TERM", Some(11)), ("KILL", None)] {
        let directory = tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        fs::create_dir(file("utah")).unwrap();
        let text = format!("discovery_cmd: {list:?}\ntest_cmd: x {{}}\n");
        fs::write(file("utah/tslist.auto"), text).unwrap();
        let running = Running::start(directory.path(), &["run", "utah"]);
        wait_for("the command", || file("begun").exists().then_some(()));
        running.signal(signal);
        // The second time it is in a hurry.
        if code.is_some() {
            running.signal(signal);
        }
        let ended = running.wait();
        assert_eq!(ended.code, code, "{signal}: {}", ended.stderr);
        let pids = fs::read_to_string(file("pids")).unwrap();
        for pid in pids.split_whitespace() {
            let gone = || (!Path::new("/proc").join(pid).exists()).then_some(());
            // Who is killed waits for nothing; who is asked to end has waited.
            match code {
                Some(_) => assert!(gone().is_some(), "{signal}"),
                None => wait_for("its end", gone),
            }
        }
        assert!(!file("runs").exists());
    }
}

#[test]
fn json_is_one_object_with_the_directory() {
    let directory = tempdir().unwrap();
    let ended = run(directory.path(), MIXED, &["--json", "--filter", "passes"]);
    assert_eq!(ended.stdout.lines().count(), 1);
    let results = check_results(ended.stdout.as_bytes());
    assert!(Path::new(results["run"].as_str().unwrap()).join("junit.xml").exists());
}

#[test]
fn a_run_that_came_to_its_end_is_not_run_again() {
    let directory = tempdir().unwrap();
    let arguments = ["--name", "a", "--filter", "passes", "--resume"];
    assert_eq!(run(directory.path(), MIXED, &arguments).code, Some(0));
    let again = run(directory.path(), MIXED, &arguments);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert!(!again.stderr.contains("passed    "), "{}", again.stderr);
    assert_eq!(outcomes(&results(&again)), [("passes", "passed")]);
    let refused = run(directory.path(), MIXED, &["--name", "a"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("not empty"), "{}", refused.stderr);
}

/// A suite whose second test waits for ever, until there is a file `go`; the process of an earlier
/// attempt must be gone then.
const INTERRUPTED: &str = r#"
name = "s"
[[test]]
name = "first"
shell = "echo first >> trace"
[[test]]
name = "second"
shell = """
if test -e go; then ! kill -0 $(cat pid); exit; fi
trap '' TERM
echo $$ > pid
touch begun
while :; do sleep 0.1; done"""
[[test]]
name = "third"
shell = "echo third >> trace"
"#;

#[test]
fn a_run_that_was_killed_goes_on_at_once_and_no_other_does() {
    let directory = tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    // Runs that did not come to their end, of other suites: one whose name begins alike, and one with
    // other tests. And one of this suite that did.
    let unfinished = |name: &str, test: &str| {
        format!(
            "name = \"{name}\"\n[setup]\nshell = \"exit 1\"\n\
             [[test]]\nname = \"{test}\"\ncommand = [\"true\"]\n"
        )
    };
    assert_eq!(run(directory.path(), &unfinished("s-z", "first"), &[]).code, Some(11));
    assert_eq!(run(directory.path(), &unfinished("s", "other"), &[]).code, Some(11));
    fs::write(file("go"), "").unwrap();
    fs::write(file("pid"), "4194304").unwrap();
    assert_eq!(run(directory.path(), INTERRUPTED, &["--name", "s-zz"]).code, Some(0));
    for name in ["go", "trace", "pid"] {
        fs::remove_file(file(name)).unwrap();
    }
    let others = crate::command::runs(directory.path());

    let running = Running::start(directory.path(), &["run", "suite.toml", "--sandbox", "none"]);
    wait_for("the second test", || file("begun").exists().then_some(()));
    fs::write(file("go"), "").unwrap();
    running.signal("KILL");
    let ended = run(directory.path(), INTERRUPTED, &["--resume"]);
    assert_eq!(running.wait().code, None);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let all = crate::command::runs(directory.path());
    let new: Vec<&PathBuf> = all.iter().filter(|path| !others.contains(path)).collect();
    let [killed] = new[..] else { panic!("{new:?}") };
    let told = format!("note: resumes the run in {}, of which 1 attempts", killed.display());
    assert!(ended.stderr.contains(&told), "{told}: {}", ended.stderr);
    assert_eq!(ended.stdout.lines().last(), killed.to_str());
    let results = results(&ended);
    let expected = [("first", "passed"), ("second", "passed"), ("third", "passed")];
    assert_eq!(outcomes(&results), expected);
    assert_eq!(fs::read_to_string(file("trace")).unwrap(), "first\nthird\n");
    assert!(killed.join("recording-2/recording.json").exists());

    // Now there is none to go on with.
    let again = run(directory.path(), INTERRUPTED, &["--resume"]);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert_eq!(crate::command::runs(directory.path()).len(), all.len() + 1);
}

#[test]
fn a_run_that_goes_on_is_not_resumed_beside_it() {
    let directory = tempdir().unwrap();
    fs::write(directory.path().join("suite.toml"), INTERRUPTED).unwrap();
    let arguments = ["run", "suite.toml", "--sandbox", "none", "--name", "a"];
    let running = Running::start(directory.path(), &arguments);
    wait_for("the second test", || directory.path().join("begun").exists().then_some(()));
    let refused = run(directory.path(), INTERRUPTED, &["--name", "a", "--resume"]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("another run writes these results"), "{}", refused.stderr);
    running.signal("INT");
    running.signal("TERM");
    assert_eq!(running.wait().code, Some(11));
}

#[test]
fn each_of_three_tests_at_once_has_its_own_rows_and_sums() {
    let directory = tempdir().unwrap();
    let hold = |mib: u32| {
        let line = format!("(head -c {mib}m /dev/zero; sleep 1.5) | tail -c {mib}m | wc -c");
        format!("[[test]]\nname = \"{mib} MiB\"\nshell = \"{line}\"\n")
    };
    let suite = format!("name = \"three\"\n{}{}{}", hold(16), hold(48), hold(96));
    let arguments = ["--jobs", "3", "--name", "a", "--interval", "20ms"];
    let ended = run_isolated(directory.path(), &suite, &arguments);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let results = results(&ended);
    let (recording, _) = Recording::open(&directory.path().join("runs/a/recording")).unwrap();
    let sums = sums_by_test(&recording, |_| ());
    for (test, mib) in results["tests"].as_array().unwrap().iter().zip([16, 48, 96]) {
        let told = test["memory"]["rss_peak_bytes"].as_i64().unwrap();
        let summed = sums[test["name"].as_str().unwrap()];
        // One process alone may have had more between two samples than all at one.
        assert!((mib..mib + 24).contains(&(summed >> 20)), "{mib}: {summed} {test}");
        assert!(told >= summed && told >> 20 < mib + 24, "{mib}: {summed} {test}");
        let upper = &test["memory"]["rss_peak_bytes_upper"];
        assert!(upper.as_i64().is_none_or(|upper| upper >= told), "{test}");
    }
    assert_eq!(sums.len(), 3);
}

/// A control group of version 1 or 2 with a memory limit, in which a command can be run.
struct Limited {
    group: PathBuf,
}

impl Limited {
    fn new(mib: u64) -> Self {
        let name = format!("memsample-test-{}-{mib}", std::process::id());
        for (hierarchy, limit) in [("memory", "memory.limit_in_bytes"), ("", "memory.max")] {
            let group = Path::new("/sys/fs/cgroup").join(hierarchy).join(&name);
            if fs::create_dir(&group).is_err() {
                continue;
            }
            if fs::write(group.join(limit), (mib << 20).to_string()).is_ok() {
                return Self { group };
            }
            fs::remove_dir(group).unwrap();
        }
        panic!("no control group with the memory controller can be made: see `memsample doctor`");
    }

    /// Runs `memsample` in it.
    fn run(&self, directory: &Path, suite: &str, arguments: &str) -> Ended {
        fs::write(directory.join("suite.toml"), suite).unwrap();
        let procs = self.group.join("cgroup.procs");
        let line =
            format!("echo 0 > {} && exec $MEMSAMPLE run suite.toml {arguments}", procs.display());
        crate::command::shell(directory, &line)
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        // Busy as long as the last process of it is not reaped.
        wait_for("the end of its processes", || fs::remove_dir(&self.group).ok());
    }
}

#[test]
fn a_test_that_is_killed_for_want_of_memory_above_it_is_not_to_blame() {
    let group = Limited::new(192);
    let directory = tempdir().unwrap();
    let hog = "head -c 1G /dev/zero | tail -c 1G | wc -c";
    let suite = format!(
        "name = \"s\"\n[[test]]\nname = \"without a limit\"\nshell = \"{hog}\"\n\
         [[test]]\nname = \"below its limit\"\nshell = \"{hog}\"\nmemory_limit = \"900MiB\"\n"
    );
    for sandbox in ["--sandbox none", ""] {
        let arguments = format!("{sandbox} --table always");
        let ended = group.run(directory.path(), &suite, &arguments);
        assert_eq!(ended.code, Some(10), "{}", ended.stderr);
        let results = results(&ended);
        let word = "host_out_of_memory";
        assert_eq!(outcomes(&results), [("without a limit", word), ("below its limit", word)]);
        let reason = results["tests"][0]["reason"].as_str().unwrap();
        assert!(reason.contains("the kernel killed one of its processes"), "{reason}");
        for text in [&ended.stdout, &ended.stderr] {
            assert_eq!(text.lines().filter(|line| line.trim().starts_with(word)).count(), 2);
        }
        let last = ended.stdout.lines().last().unwrap();
        let junit = fs::read_to_string(Path::new(last).join("junit.xml")).unwrap();
        assert_eq!(junit.matches("<error type=\"host_out_of_memory\"").count(), 2, "{junit}");
    }
}

/// Three tests that do the same, with a line of the suite file for each.
fn three(shell: &str, lines: &str) -> String {
    let test = |name: &str| format!("[[test]]\nname = \"{name}\"\nshell = \"{shell}\"\n{lines}");
    format!("name = \"s\"\n{}{}{}", test("a"), test("b"), test("c"))
}

/// What bears no other beside it.
const ALONE: &str = "mkdir alone && sleep 0.3 && rmdir alone";
/// What ends when another is beside it.
const TOGETHER: &str = "touch $$.here; until set -- *.here && [ $# -ge 2 ]; do sleep 0.02; done";

#[test]
fn tests_fit_into_the_control_group_of_their_runner() {
    let group = Limited::new(512);
    let directory = tempdir().unwrap();
    let suite = three(ALONE, "memory_limit = \"300MiB\"\n");
    let ended = group.run(directory.path(), &suite, "--sandbox none --jobs 3");
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
}

#[test]
fn the_peaks_of_an_earlier_run_say_what_fits() {
    let directory = tempdir().unwrap();
    let suite = three(ALONE, "");
    let first = run(directory.path(), &suite, &["--name", "first"]);
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    // They fit beside each other by what they used.
    let arguments = ["--jobs", "3", "--peaks", "runs/first", "--name", "small"];
    let small = run(directory.path(), &three(TOGETHER, "timeout = \"60s\"\n"), &arguments);
    assert_eq!(small.code, Some(0), "{}", small.stderr);
    // Of what no machine has they do not.
    let path = directory.path().join("runs/first/results.json");
    let mut results: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for test in results["tests"].as_array_mut().unwrap() {
        test["attempts"][0]["memory"] = serde_json::json!({ "rss_peak_bytes": 1_u64 << 60 });
    }
    fs::write(&path, serde_json::to_vec(&results).unwrap()).unwrap();
    let file = "runs/first/results.json";
    let arguments = ["--jobs", "3", "--peaks", file, "--name", "large"];
    let large = run(directory.path(), &suite, &arguments);
    assert_eq!(large.code, Some(0), "{}", large.stderr);
    let arguments = ["--peaks", "suite.toml", "--name", "none"];
    let refused = run(directory.path(), &suite, &arguments);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("cannot read the results of a run from `suite.toml`"));
}

#[test]
fn shared_memory_that_is_left_is_a_leak() {
    let directory = tempdir().unwrap();
    let suite = "name = \"s\"\n[[test]]\nname = \"leaves a file\"\n\
                 shell = \"head -c 1m /dev/zero > /dev/shm/memsample-left\"\n\
                 [[test]]\nname = \"removes it\"\n\
                 shell = \"echo x > /dev/shm/memsample-left; rm /dev/shm/memsample-left\"\n";
    let ended = run_isolated(directory.path(), suite, &["--sandbox", "bwrap"]);
    assert_eq!(ended.code, Some(10), "{}", ended.stderr);
    let results = results(&ended);
    assert_eq!(outcomes(&results), [("leaves a file", "left_over"), ("removes it", "passed")]);
    let reason = results["tests"][0]["reason"].as_str().unwrap();
    assert_eq!(reason, "it left 1048576 bytes of shared memory");
    assert!(!Path::new("/dev/shm/memsample-left").exists());
}

#[test]
fn a_second_signal_ends_at_once_what_the_first_one_asked() {
    let directory = tempdir().unwrap();
    // It goes on in spite of SIGTERM, for an hour if nobody is in a hurry.
    let suite = "name = \"s\"\n[[test]]\nname = \"unwilling\"\ngrace = \"1h\"\ntimeout = \"1h\"\n\
                 shell = \"trap 'touch asked' TERM; touch begun; while :; do sleep 0.1; done\"\n\
                 [teardown]\nshell = \"touch torn-down\"\n";
    fs::write(directory.path().join("suite.toml"), suite).unwrap();
    let arguments = ["run", "suite.toml", "--sandbox", "none", "--name", "a"];
    let running = Running::start(directory.path(), &arguments);
    let file = |name: &str| directory.path().join(name).exists().then_some(());
    wait_for("the test", || file("begun"));
    running.signal("INT");
    wait_for("SIGTERM", || file("asked"));
    running.signal("INT");
    let ended = running.wait();
    assert_eq!(ended.code, Some(11), "{}", ended.stderr);
    let results = results(&ended);
    assert_eq!(outcomes(&results), [("unwilling", "aborted")]);
    assert_eq!((&results["aborted"], &results["abort_signal"]), (&"signal".into(), &2.into()));
    // In a hurry nothing is torn down in order.
    assert_eq!(file("torn-down"), None);
}

#[test]
fn a_disk_that_is_full_and_results_that_are_gone_have_codes_of_their_own() {
    let full = "name = \"s\"\n[[test]]\nname = \"fills the disk\"\n\
                shell = \"cat /dev/zero > full/ballast; sleep 100\"\n";
    let gone = "name = \"s\"\n[[test]]\nname = \"removes all\"\n\
                shell = \"rm -r full/a/recording; sleep 1\"\n";
    let run = "$MEMSAMPLE run suite.toml --sandbox none --out full --name a --interval 1ms";
    for (suite, code, message) in [(full, 4, "No space left on device"), (gone, 5, "cannot close")]
    {
        let directory = tempdir().unwrap();
        fs::create_dir(directory.path().join("full")).unwrap();
        fs::write(directory.path().join("suite.toml"), suite).unwrap();
        let mounted = format!("mount -t tmpfs -o size=16m none full && {run}");
        let line = format!("unshare -rm sh -c '{mounted}'");
        let ended = crate::command::shell(directory.path(), &line);
        assert_eq!(ended.code, Some(code), "{}{}", ended.stdout, ended.stderr);
        assert!(ended.stderr.contains(message), "{}", ended.stderr);
    }
}

#[test]
fn doctor_says_what_works() {
    let directory = tempdir().unwrap();
    let ended = memsample(directory.path(), &["doctor", "--json"]);
    let checks = ended.json();
    let sandboxes = ["pidns", "bwrap", "lxc", "memory", "cpu", "pids", "kill"];
    let sources = ["processes", "forks", "exits", "pss", "bpf", "psi", "cgroups", "kmsg", "maps"];
    for (index, name) in sandboxes.iter().chain(&sources).enumerate() {
        let check = &checks[index];
        assert_eq!(check["name"], *name);
        assert_eq!(check["works"] == true, check["reason"].is_null(), "{check}");
        assert!(check["works"] == true || index < 7 || check["remedy"].is_string(), "{check}");
    }
    // What it says of the kernel is what a recording finds.
    let record = ["record", "--sweep", "auto", "--name", "r", "--", "true"];
    let recorded = memsample(directory.path(), &record);
    assert_eq!(recorded.code, Some(0), "{}", recorded.stderr);
    let settings = &crate::command::manifest(&directory.path().join("recordings/r"))["settings"];
    let works = |name: &str| {
        let checks = checks.as_array().unwrap().iter();
        checks.filter(|check| check["name"] == name).any(|check| check["works"] == true)
    };
    assert_eq!(works("exits"), settings["exits"] == true, "{settings}");
    assert_eq!(works("forks"), settings["forks"] == "proc_connector", "{settings}");
    assert_eq!(works("bpf"), settings["sweeps"] == "bpf", "{settings}");
    let text = memsample(directory.path(), &["doctor"]).stdout;
    assert!(text.contains("pidns") && text.contains("nothing survives a test"), "{text}");
}

/// Returns for how many seconds the tests of a suite wait: until their time is over, or for what they sleep themselves.
fn seconds_waited(suite: &str) -> f64 {
    let suite: toml::Value = toml::from_str(suite).unwrap();
    let seconds = |text: &toml::Value| {
        text.as_str().unwrap().strip_suffix('s').unwrap().parse::<f64>().unwrap()
    };
    let of_test = |test: &toml::Value| {
        if let (Some(timeout), Some(grace)) = (test.get("timeout"), test.get("grace")) {
            return seconds(timeout) + seconds(grace);
        }
        let shell = test.get("shell").map_or("", |shell| shell.as_str().unwrap());
        // What sleeps in the background is not waited for.
        let slept = shell.split("sleep ").skip(1).filter(|rest| !rest.contains(" & "));
        let digits = slept.map(|rest| rest.split(|c: char| !c.is_ascii_digit() && c != '.'));
        digits.map(|mut digits| digits.next().unwrap().parse::<f64>().unwrap()).sum()
    };
    suite["test"].as_array().unwrap().iter().map(of_test).sum()
}

#[test]
fn the_demo_shows_what_it_says() {
    let directory = tempdir().unwrap();
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../demo/suite.toml");
    let doctor = memsample(directory.path(), &["doctor", "--json"]).json();
    let memory = doctor.as_array().unwrap().iter().find(|check| check["name"] == "memory").unwrap();
    // Without control groups a memory limit is not pretended.
    let last = if memory["works"] == true { "out_of_memory" } else { "not_started" };
    // What a newcomer runs first is short.
    let seconds = seconds_waited(&fs::read_to_string(demo).unwrap());
    assert!((1.0..10.0).contains(&seconds), "{seconds}");
    let ended = memsample(directory.path(), &["run", demo]);
    assert_eq!(ended.code, Some(10), "{}", ended.stderr);
    let results = results(&ended);
    let words: Vec<&str> = outcomes(&results).into_iter().map(|(_, outcome)| outcome).collect();
    // What a budget makes of a test is known when it ends, and said once.
    let log = ended.stderr.lines().filter(|line| line.contains("  is over its budget"));
    let log: Vec<&str> = log.map(str::trim_start).collect();
    assert_eq!(log.len(), 1, "{}", ended.stderr);
    assert!(log[0].starts_with("over_budget"), "{}", ended.stderr);
    assert_eq!(words, ["passed", "failed", "timed_out", "left_over", "over_budget", last]);
}
