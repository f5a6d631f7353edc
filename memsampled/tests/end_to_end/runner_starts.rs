//! How the processes around a test are started: forked by one process of the run, or executed where that cannot be.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::{TempDir, tempdir};

use crate::command::{Ended, shell};

/// What has a thread of its own in every process that it is loaded into.
const THREAD: &str = "#include <pthread.h>\n#include <unistd.h>\n\
    static void *wait(void *nothing) { for (;;) pause(); return nothing; }\n\
    __attribute__((constructor)) static void begin(void) {\n\
        pthread_t thread; pthread_create(&thread, 0, wait, 0);\n\
    }\n";

/// Sets `$supervisor`, `$runner`, and `$starter`, which is the other child of the runner of one test at a time.
const FIND: &str = "read -r _ _ _ supervisor _ < /proc/$PPID/stat; \
    read -r _ _ _ runner _ < /proc/$supervisor/stat; \
    for child in $(cat /proc/$runner/task/*/children); do \
    [ $child = $supervisor ] || starter=$child; done; ";

/// Runs lines of shell one after the other as tests of one suite. `before` is put before the command.
fn run(sandbox: &str, lines: &[&str], before: &str) -> (TempDir, Ended) {
    let directory = tempdir().unwrap();
    let mut suite = "name = 's'\n".to_owned();
    for (index, line) in lines.iter().enumerate() {
        suite += &format!(
            "[[test]]\nname = 't{index}'\nsandbox = '{sandbox}'\ncommand = ['sh', '-c', '''{line}''']\n"
        );
    }
    fs::write(directory.path().join("suite.toml"), suite).unwrap();
    let ended = shell(directory.path(), &format!("{before} $MEMSAMPLE run suite.toml --out out"));
    (directory, ended)
}

/// What a test wrote.
#[track_caller]
fn written(directory: &Path, number: usize) -> String {
    let line = format!("cat out/*/tests/000{number}-*/1.1/stdout");
    shell(directory, &line).stdout
}

#[test]
fn supervisor_and_init_are_forked_and_have_the_names_that_they_would_have() {
    let line = "read -r _ _ _ supervisor _ < /proc/$PPID/stat; \
        cat /proc/$PPID/comm /proc/$supervisor/comm; \
        for pid in $PPID $supervisor; do tr \"\\0\" \" \" < /proc/$pid/cmdline; echo; done";
    let (directory, ended) = run("none", &[line], "");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let written = written(directory.path(), 1);
    let lines: Vec<&str> = written.lines().collect();
    assert_eq!(lines[..2], ["memsample-init", "memsample"], "{written}");
    assert!(lines[2..].iter().all(|line| line.ends_with(" sandbox-starter ")), "{written}");
}

#[test]
fn what_has_another_thread_is_executed_instead() {
    let directory = tempdir().unwrap();
    let (source, library) = (directory.path().join("t.c"), directory.path().join("t.so"));
    fs::write(&source, THREAD).unwrap();
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-pthread", "-o"])
        .args([&library, &source])
        .status();
    assert!(built.unwrap().success());
    let before = format!("LD_PRELOAD={}", library.display());
    for sandbox in ["none", "pidns"] {
        let line = "tr \"\\0\" \" \" < /proc/$PPID/cmdline; cat /proc/$PPID/comm";
        let (directory, ended) = run(sandbox, &[line, "exit 3"], &before);
        assert_eq!(ended.code, Some(10), "{}", ended.stderr);
        let written = written(directory.path(), 1);
        assert!(written.contains("memsample-init sandbox-init"), "{written}");
        assert!(written.ends_with("memsample-init\n"), "{written}");
        assert!(ended.stderr.contains("exit code 3"), "{}", ended.stderr);
    }
}

#[test]
fn a_test_that_kills_or_stops_the_starter_keeps_no_other_from_running() {
    for signal in ["KILL", "STOP"] {
        let line = format!("{FIND} kill -{signal} $starter && echo $starter");
        let (directory, ended) = run("none", &[&line, &line, "echo third"], "");
        assert_eq!(ended.code, Some(0), "{signal}: {} {}", ended.stdout, ended.stderr);
        let starters = [1, 2].map(|number| written(directory.path(), number));
        assert_eq!(written(directory.path(), 3), "third\n");
        // One that was killed is replaced, and one that was stopped is woken up.
        assert_eq!(starters[0] == starters[1], signal == "STOP", "{signal}: {starters:?}");
    }
}

#[test]
fn a_test_inherits_nothing_of_what_is_around_it() {
    let line = "for file in /proc/$$/fd/*; do echo ${file##*/}; done; \
        grep -E \"^Sig(Ign|Blk)\" /proc/self/status; ulimit -a; umask; nice";
    // What somebody left open for it stays so.
    let before = "exec 7< /dev/null;";
    let plain = shell(Path::new("/"), &format!("{before} exec sh -c '{line}'"));
    for sandbox in ["none", "pidns", "bwrap"] {
        let (directory, ended) = run(sandbox, &[line, "echo $MEMSAMPLE_SANDBOX"], before);
        assert_eq!(ended.code, Some(0), "{sandbox}: {} {}", ended.stdout, ended.stderr);
        assert_eq!(written(directory.path(), 1), plain.stdout, "{sandbox}");
        assert!(written(directory.path(), 2).starts_with("memsample-"), "{sandbox}");
    }
}
