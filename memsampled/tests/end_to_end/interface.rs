//! Wrong arguments, help, manual pages and completions.

use crate::command::{memsample, shell};
use tempfile::tempdir;

#[test]
fn wrong_arguments_say_what_to_type() {
    let cases: [(&[&str], &str); 19] = [
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
        // The last line of what it prints is the path.
        (&["record", "--name", "a\nb"], "cannot be the name of a recording"),
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
    // So do commands that look at their arguments themselves.
    let recorded = ["record", "--name", "x", "--out", ".", "--duration", "300ms"];
    assert_eq!(memsample(directory.path(), &recorded).code, Some(0));
    let cases: [(&[&str], &str); 11] = [
        (&["record", "--name", "a/b"], "cannot be the name of a recording"),
        (&["import", "absent", "--name", ""], "cannot be the name of a recording"),
        (&["export", "x", "--to", "csv", "--table", "y"], "there is no table `y`; there are "),
        (&["export", "x", "--to", "arrow", "--table", "y"], "there is no table `y`; there are "),
        (&["view", "x", "--columns", "y"], "no column `y` in `--by process`, which has "),
        (&["view", "x", "--sort", "y"], "no column `y` in `--by process`, which has "),
        (&["view", "x", "--redact", "y"], "leave out --config and --redact"),
        (&["top", "--pss-budget", "NaN"], "it is a share of one CPU above 0"),
        (&["top", "--pss-budget", "y"], "it is a share of one CPU above 0"),
        (&["start", "--duration", "0s"], "must be a whole number of milliseconds above 0"),
        (&["dump", "--last", "1us"], "must be a whole number of milliseconds above 0"),
    ];
    for (arguments, message) in cases {
        let ended = memsample(directory.path(), arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(message), "{arguments:?} said: {}", ended.stderr);
        let first = ended.stderr.lines().next().unwrap_or_default();
        assert!(first.starts_with("error: "), "{arguments:?} said: {}", ended.stderr);
    }
    // The end of time is after any recording.
    let long = ["--from", "999999999h", "--out", "part"];
    let ended = memsample(directory.path(), &[&["cut", "x"], &long[..]].concat());
    assert_eq!(ended.stderr, "error: the instant is after the end of time\n");
    let ended = memsample(directory.path(), &["explain", "x", "--at", "999999999h"]);
    assert!(ended.stderr.contains("9999-12-30T22:00:00"), "{}", ended.stderr);
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
            ended.stderr.contains("`absent` is not a recording: there is no such directory; "),
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
fn help_manual_and_completions_of_every_command_agree() {
    let directory = tempdir().unwrap();
    assert_eq!(memsample(directory.path(), &["man", "made/here"]).code, Some(0));
    let manual = |page: String| {
        let path = directory.path().join("made/here").join(page);
        std::fs::read_to_string(path).unwrap().replace('\\', "")
    };
    let completions = memsample(directory.path(), &["completions", "bash"]).stdout;
    let help = memsample(directory.path(), &["--help"]).stdout;
    let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let commands: Vec<&str> = (commands.lines())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .map(|line| line.split_whitespace().next().unwrap())
        .filter(|&command| command != "help")
        .collect();
    assert!(commands.contains(&"record") && commands.contains(&"ls"), "{commands:?}");
    let whole = manual("memsample.1".to_owned());
    for command in commands {
        assert!(whole.contains(&format!("memsample-{command}(1)")), "{command} in memsample.1");
        let help = memsample(directory.path(), &[command, "--help"]).stdout;
        let page = manual(format!("memsample-{command}.1"));
        let (_, completed) =
            completions.split_once(&format!("memsample__subcmd__{command})\n")).unwrap();
        let completed = completed.split(";;").next().unwrap();
        let options: Vec<&str> = help
            .lines()
            // What is further to the right describes the option above it.
            .filter(|line| line.trim_start().starts_with('-') && !line.starts_with("        "))
            .filter_map(|line| line.split([' ', ',', '=', '[']).find(|word| word.starts_with("--")))
            .collect();
        assert!(options.contains(&"--help"), "{command}: {options:?}");
        for option in options {
            assert!(page.contains(option), "{option} in the manual of {command}");
            assert!(completed.contains(option), "{option} in the completions of {command}");
        }
    }
}

#[test]
fn a_mistake_is_answered_with_what_works() {
    let directory = tempdir().unwrap();
    let stderr = |arguments: &[&str]| memsample(directory.path(), arguments).stderr;
    assert!(stderr(&["sumary", "x"]).contains("'summary'"));
    assert!(stderr(&["man", "/proc/no"]).contains("cannot write manual pages into `/proc/no`"));
    let alone = memsample::<&str>(directory.path(), &[]);
    assert_eq!(alone.code, Some(2));
    assert!(alone.stderr.contains("Usage: memsample <COMMAND>"), "{}", alone.stderr);
    // What is advised is typed, and does what was meant.
    for (line, output) in [
        ("record -- 'printf a && printf b'", "ab"),
        ("record -- 'printf a'", "a"),
        ("record --name x -- cd / '&&' printf 'b c'", "b c"),
        ("record -- A=1 sh -c 'printf $A'", "1"),
        ("exec -- 'printf a; printf b'", "ab"),
    ] {
        let ended = shell(directory.path(), &format!("$MEMSAMPLE {line}"));
        assert_eq!(ended.code, Some(127), "{line}: {}", ended.stderr);
        let advice = ended.stderr.split("to run it in a shell: ").nth(1).unwrap_or_default();
        let followed = shell(directory.path(), advice);
        assert_eq!(
            (followed.code, followed.stdout.as_str()),
            (Some(0), output),
            "{line}: {advice}"
        );
    }
    let ended = shell(directory.path(), "$MEMSAMPLE record --name y sh -c 'printf a'");
    let advice = ended.stderr.split("stands behind `--`: ").nth(1).unwrap_or_default();
    assert_eq!(shell(directory.path(), advice).stdout, "a", "{}", ended.stderr);
}

#[test]
fn json_goes_into_a_file_and_the_text_to_the_person() {
    let directory = tempdir().unwrap();
    let at = directory.path();
    let ended = shell(at, "$MEMSAMPLE record --name x --json out.json -- echo hi");
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "hi\n"));
    assert!(ended.stderr.contains("exit code 0 after "), "{}", ended.stderr);
    let read = |name: &str| -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(at.join(name)).unwrap()).unwrap()
    };
    assert_eq!(read("out.json")["command"]["exit_code"], 0);
    for refused in ["--json", "--json -", "--json=-"] {
        let ended = shell(at, &format!("$MEMSAMPLE record {refused} -- echo hi"));
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(125), ""), "{refused}");
        assert!(ended.stderr.contains("with `--json FILE`"), "{}", ended.stderr);
    }
    for command in ["summary", "view", "peaks"] {
        let ended = shell(at, &format!("$MEMSAMPLE {command} --json {command}.json x"));
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(ended.stdout.contains("RSS"), "{command}: {}", ended.stdout);
        let on_stdout = memsample(at, &[command, "--json", "x"]).json();
        assert_eq!(read(&format!("{command}.json")), on_stdout, "{command}");
    }
    let ended = shell(at, "$MEMSAMPLE doctor --json doctor.json");
    assert!(ended.stdout.contains("WORKS") && read("doctor.json").is_array());
    // What enables the rest is to be copied, so it is not folded.
    let table = ended.stdout.split("\nTo enable").next().unwrap();
    assert!(table.lines().all(|line| line.len() <= 80), "{table}");
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
