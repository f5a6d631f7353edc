//! What is recorded of arguments, and what roles are called: by the command line and by the
//! configuration.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::command::{Running, manifest, memsample, shell, wait_for_journal};
use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use memsample::Recording;
use serde_json::Value;
use tempfile::tempdir;

/// A process whose arguments hold a secret.
struct Secretive(Child);

impl Secretive {
    fn start() -> Self {
        // `sleep` would not take the options, so a shell waits.
        let arguments = ["-c", "read line", "db-client", "--password", "hunter2", "--verbose"];
        let child = Command::new("sh").args(arguments).stdin(Stdio::piped()).spawn().unwrap();
        // A shell is there as such from the exec on.
        crate::command::wait_for("the arguments", || {
            let cmdline = fs::read(format!("/proc/{}/cmdline", child.id())).ok()?;
            cmdline.ends_with(b"--verbose\0").then_some(())
        });
        Self(child)
    }
}

impl Drop for Secretive {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The arguments and the role of every recorded process.
fn processes(recording: &Path) -> Vec<(i32, Option<String>, String)> {
    let (recording, _) = Recording::open(recording).unwrap();
    let mut processes = Vec::new();
    for batch in recording.read_table("processes", &["pid", "cmdline", "role"]) {
        let batch = batch.unwrap();
        let pid = batch["pid"].as_primitive::<Int32Type>();
        let [cmdline, role] = ["cmdline", "role"].map(|name| batch[name].as_string::<i32>());
        for row in 0..batch.num_rows() {
            let cmdline = cmdline.is_valid(row).then(|| cmdline.value(row).to_owned());
            processes.push((pid.value(row), cmdline, role.value(row).to_owned()));
        }
    }
    processes
}

/// Returns the arguments that are recorded of a process.
fn cmdline_of(recording: &Path, pid: u32) -> Option<String> {
    let processes = processes(recording);
    processes.into_iter().find(|(it, ..)| u32::try_from(*it) == Ok(pid)).unwrap().1
}

fn record(directory: &Path, arguments: &[&str]) {
    let fixed = ["record", "--name", "x", "--pss-interval", "off", "--duration", "200ms"];
    let ended = memsample(directory, &[&fixed, arguments].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn secrets_are_taken_out_before_anything_is_written() {
    let secretive = Secretive::start();
    let directory = tempdir().unwrap();
    let recording = directory.path().join("recordings/x");
    record(directory.path(), &["--redact", r"--password[= ]\S+", "--redact", "hunter[0-9]"]);
    let expected = "sh -c read line db-client [redacted] --verbose";
    assert_eq!(cmdline_of(&recording, secretive.0.id()).as_deref(), Some(expected));
    // Neither the secret nor the pattern, which is on the command line of the recorder.
    for (_, cmdline, role) in processes(&recording) {
        for text in [cmdline.unwrap_or_default(), role] {
            assert!(!text.contains("hunter") || !text.contains("memsample"), "{text}");
        }
    }
    let text = fs::read_to_string(recording.join("recording.json")).unwrap();
    assert!(!text.contains("hunter"), "{text}");
    assert_eq!(manifest(&recording)["settings"]["redactions"], 2);
}

#[test]
fn a_killed_recorder_has_not_written_them_either() {
    let secretive = Secretive::start();
    let directory = tempdir().unwrap();
    let recording = directory.path().join("recordings/x");
    let arguments = ["record", "--name", "x", "--redact", "hunter2", "--progress", "never"];
    let recorder = Running::start(directory.path(), &arguments);
    wait_for_journal(&recording, 500);
    recorder.signal("KILL");
    recorder.wait();
    let expected = "sh -c read line db-client --password [redacted] --verbose";
    assert_eq!(cmdline_of(&recording, secretive.0.id()).as_deref(), Some(expected));
}

#[test]
fn a_recorded_command_is_redacted_too() {
    let directory = tempdir().unwrap();
    let line = "$MEMSAMPLE record --name x --redact 'hunter2' -- sh -c ': hunter2' && \
                $MEMSAMPLE record --name y --cmdline none -- true";
    assert_eq!(shell(directory.path(), line).code, Some(0));
    let settings =
        |name: &str| manifest(&directory.path().join("recordings").join(name))["settings"].clone();
    assert_eq!(settings("x")["command"], serde_json::json!(["sh", "-c", ": [redacted]"]));
    let without = settings("y");
    assert_eq!((&without["arguments"], &without["command"]), (&"none".into(), &Value::Null));
}

#[test]
fn arguments_are_kept_as_far_as_asked() {
    let secretive = Secretive::start();
    for (arguments, expected) in [
        (&[][..], Some("sh -c read line db-client --password hunter2 --verbose")),
        (&["--cmdline", "full"], Some("sh -c read line db-client --password hunter2 --verbose")),
        (&["--cmdline", "program"], Some("sh")),
        (&["--cmdline", "none"], None),
    ] {
        let directory = tempdir().unwrap();
        record(directory.path(), arguments);
        let recording = directory.path().join("recordings/x");
        assert_eq!(cmdline_of(&recording, secretive.0.id()).as_deref(), expected, "{arguments:?}");
        // The role is the same in each.
        let processes = processes(&recording);
        let role = processes.iter().find(|it| u32::try_from(it.0) == Ok(secretive.0.id()));
        assert_eq!(role.unwrap().2, "sh -c");
    }
}

#[test]
fn the_configuration_names_roles_and_is_found() {
    let secretive = Secretive::start();
    let directory = tempdir().unwrap();
    let text = "cmdline = 'none'\nredact = ['hunter2']\n[[role]]\nname = 'client ${what}'\n\
                cmdline = 'db-client (?<what>\\S+)'\n[[role]]\nname = 'never'\ncmdline = 'hunter2'\n";
    fs::create_dir_all(directory.path().join("home/.config/memsample")).unwrap();
    fs::write(directory.path().join("home/.config/memsample/config.toml"), text).unwrap();
    fs::write(directory.path().join("other.toml"), "cmdline = 'program'\n").unwrap();
    let fixed = "record --pss-interval off --duration 200ms --name";
    let line = format!(
        "unset MEMSAMPLE_CONFIG XDG_CONFIG_HOME; HOME=$PWD/home $MEMSAMPLE {fixed} home && \
         HOME=$PWD/home $MEMSAMPLE {fixed} option --cmdline full && \
         HOME=$PWD/home $MEMSAMPLE {fixed} file --config other.toml && \
         HOME=$PWD/home MEMSAMPLE_CONFIG=other.toml $MEMSAMPLE {fixed} variable && \
         XDG_CONFIG_HOME=$PWD/home/.config $MEMSAMPLE {fixed} xdg && \
         HOME=$PWD/home $MEMSAMPLE view --json"
    );
    let ended = shell(directory.path(), &line);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let redacted = "sh -c read line db-client --password [redacted] --verbose";
    for (name, cmdline, role) in [
        ("home", None, "client --password"),
        ("option", Some(redacted), "client --password"),
        ("file", Some("sh"), "sh -c"),
        ("variable", Some("sh"), "sh -c"),
        ("xdg", None, "client --password"),
    ] {
        let processes = processes(&directory.path().join("recordings").join(name));
        let own = processes.iter().find(|it| u32::try_from(it.0) == Ok(secretive.0.id())).unwrap();
        assert_eq!((own.1.as_deref(), own.2.as_str()), (cmdline, role), "{name}");
    }
    let rows = ended.json();
    let own = rows.as_array().unwrap().iter().find(|row| row["pid"] == secretive.0.id()).unwrap();
    assert_eq!((&own["role"], &own["command"]), (&"client --password".into(), &redacted.into()));
    // A recording has the roles of its time.
    let ended = memsample(directory.path(), &["view", "recordings/home", "--by", "role", "--json"]);
    let rows = ended.json();
    let names: Vec<_> = rows.as_array().unwrap().iter().map(|row| row["role"].clone()).collect();
    assert!(names.contains(&"client --password".into()), "{names:?}");
}

#[test]
fn a_wrong_configuration_is_refused_with_its_line() {
    let directory = tempdir().unwrap();
    fs::write(directory.path().join("c.toml"), "[[role]]\nname = 'x'\ncomm = '('\n").unwrap();
    let (_, recording) = (record(directory.path(), &[]), "recordings/x");
    for (arguments, message) in [
        (
            &["view", "--config", "c.toml"][..],
            "error: c.toml:3:8: role `x`: `comm`: unclosed group",
        ),
        (&["record", "--config", "absent"], "error: cannot read the configuration `absent`"),
        (&["record", "--redact", "("], "error: invalid value '(' for '--redact <REGEX>'"),
        (&["record", "--cmdline", "some"], "error: invalid value 'some' for '--cmdline <WHAT>'"),
        (&["view", recording, "--redact", "x"], "error: a recording holds the roles"),
    ] {
        let ended = memsample(directory.path(), arguments);
        assert!(matches!(ended.code, Some(1 | 2)), "{arguments:?}");
        assert!(ended.stderr.starts_with(message), "{arguments:?} said {}", ended.stderr);
    }
}
