//! Wrong arguments, help, manual pages and completions.

use crate::command::{memsample, shell};
use tempfile::tempdir;

#[test]
fn wrong_arguments_say_what_to_type() {
    let cases: [(&[&str], &str); 18] = [
        (&["record", "--interval", "0"], "a unit is missing: `0ms` or `0s`?"),
        (
            &["record", "--interval", "5s2"],
            "write a number and its unit, such as 100ms, 10s or 1h30m",
        ),
        (&["record", "--interval", ""], "a unit is missing"),
        (&["record", "--interval=-1s"], "a length of time cannot be negative"),
        (&["record", "--interval", "0ms"], "a whole number of milliseconds from 1ms to 3600s"),
        (&["record", "--interval", "500us"], "a whole number of milliseconds from 1ms to 3600s"),
        (&["record", "--interval", "2h"], "a whole number of milliseconds from 1ms to 3600s"),
        (&["record", "--detail-interval", "0s"], "the detail interval of 0ns is out of range"),
        (&["record", "--pss-interval", "sometimes"], "not a length of time"),
        (&["record", "--pss-budget", "1"], "write it as `1%`"),
        (&["record", "--pss-budget", "200%"], "out of range"),
        (&["record", "--pss-budget", "1%", "--pss-interval", "1s"], "cannot be used with"),
        (&["record", "--name", "a/b"], "cannot be the name of a recording"),
        (&["record", "--name", ".."], "cannot be the name of a recording"),
        (&["record", "--name", ""], "cannot be the name of a recording"),
        (&["record", "--proc", "absent"], "cannot read `absent`"),
        (&["record", "--proc", "."], "no process in `.`: is it a /proc tree?"),
        (&["record", "sleep", "1"], "unexpected argument 'sleep'"),
    ];
    let directory = tempdir().unwrap();
    for (arguments, message) in cases {
        let ended = memsample(directory.path(), arguments);
        assert!(matches!(ended.code, Some(1 | 2)), "{arguments:?} ended with {:?}", ended.code);
        assert!(ended.stderr.contains(message), "{arguments:?} said: {}", ended.stderr);
        assert_eq!(ended.stdout, "");
    }
    assert_eq!(memsample(directory.path(), &["record", "--interval", "2h"]).code, Some(2));
    assert!(!directory.path().join("recordings").exists());
}

#[test]
fn places_that_cannot_be_written_say_why() {
    let directory = tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "").unwrap();
    let code_and_message = |arguments: &[&str]| {
        let ended =
            memsample(directory.path(), &[&["record", "--duration", "100ms"], arguments].concat());
        (ended.code, ended.stderr)
    };
    let (code, message) = code_and_message(&["--out", "file"]);
    assert!(code == Some(1) && message.contains("cannot begin the recording `file/"), "{message}");
    let (code, message) = code_and_message(&["--out", "/proc/no"]);
    assert!(code == Some(1) && message.contains("No such file or directory"), "{message}");
    assert_eq!(code_and_message(&["--name", "x"]).0, Some(0));
    let (code, message) = code_and_message(&["--name", "x"]);
    assert!(
        code == Some(1)
            && message.contains("`recordings/x` exists: choose another name, or remove it"),
        "{message}"
    );
    let (code, message) = code_and_message(&["--out", "recordings/x"]);
    assert!(code == Some(1) && message.contains("is itself a recording"), "{message}");
}

#[test]
fn paths_that_are_no_recordings_are_refused() {
    let directory = tempdir().unwrap();
    for command in ["summary", "recover"] {
        let ended = memsample(directory.path(), &[command, "absent"]);
        assert_eq!(ended.code, Some(1));
        assert!(
            ended.stderr.contains("`absent` is not a recording: it has no recording.json"),
            "{}",
            ended.stderr
        );
    }
    std::fs::write(directory.path().join("recording.json"), "{}").unwrap();
    let ended = memsample(directory.path(), &["summary", "."]);
    assert!(ended.stderr.contains("`./recording.json` is damaged"), "{}", ended.stderr);
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let directory = tempdir().unwrap();
    let ended = shell(directory.path(), "{ $MEMSAMPLE schema; echo $? >&2; } | head -n 1");
    assert_eq!(
        (ended.stdout.as_str(), ended.stderr.trim()),
        ("# The columns of a recording\n", "0")
    );
}

#[test]
fn help_manual_and_completions_name_every_option() {
    let directory = tempdir().unwrap();
    let help = memsample(directory.path(), &["record", "--help"]).stdout;
    assert_eq!(memsample(directory.path(), &["man", "."]).code, Some(0));
    let manual = std::fs::read_to_string(directory.path().join("memsample-record.1")).unwrap();
    let completions = memsample(directory.path(), &["completions", "bash"]).stdout;
    let options = [
        "interval",
        "duration",
        "out",
        "name",
        "detail-interval",
        "pss-interval",
        "proc",
        "json",
        "progress",
    ];
    for option in options {
        assert!(help.contains(&format!("--{option}")), "{option} in the help");
        assert!(
            manual.replace('\\', "").contains(&format!("--{option}")),
            "{option} in the manual"
        );
        assert!(completions.contains(&format!("--{option}")), "{option} in the completions");
    }
    assert_eq!(shell(directory.path(), "$MEMSAMPLE completions bash | bash -n").code, Some(0));
}

#[test]
fn the_documented_columns_are_those_of_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/schema.md");
    let documented = std::fs::read_to_string(path).unwrap();
    assert!(
        documented == memsample::schema::document(),
        "docs/schema.md is out of date: run `make docs`"
    );
}
