//! Recordings that were given to who asked for them: what their owner does there changes nothing for the
//! daemon, also where it is killed in the middle.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;

use crate::command::wait_for;
use crate::daemon::Daemon;
use serde_json::{Value, json};
use tempfile::tempdir;

const USER: u32 = 64_001;
const GROUP: u32 = 64_123;

/// A daemon that a user of a group may use.
fn shared(config: &str) -> Daemon {
    let directory = tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    Daemon::start_with(directory, &format!("[daemon]\ngroup = '{GROUP}'\n{config}"))
}

/// Has a shell run a line as a user.
fn sh(daemon: &Daemon, uid: u32, line: &str) -> String {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &uid.to_string(), "--regid", &GROUP.to_string(), "--clear-groups"]);
    let output = command.args(["sh", "-c", line]).current_dir(&daemon.directory).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn ask(daemon: &Daemon, uid: u32, arguments: &str) -> Value {
    let said = sh(daemon, uid, &format!("curl --silent --unix-socket s {arguments}"));
    serde_json::from_str(&said).unwrap_or_else(|_| json!({ "said": said }))
}

/// Records something for the user, and returns where it is.
fn recorded(daemon: &Daemon) -> PathBuf {
    let started = ask(daemon, USER, "-X POST http://x/v1/sessions");
    let id = started["id"].as_str().unwrap_or_else(|| panic!("{started}")).to_owned();
    let stopped = ask(daemon, USER, &format!("-X POST http://x/v1/sessions/{id}/stop"));
    assert_eq!(stopped["summary"]["state"], "closed", "{stopped}");
    daemon.recordings().join(id)
}

fn id_of(recording: &std::path::Path) -> String {
    recording.file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn what_its_owner_makes_of_a_recording_does_not_keep_it_from_being_removed() {
    let daemon = shared("[daemon.retention]\ncount = 1\n");
    let without = |line: &str| {
        let recording = recorded(&daemon);
        assert_eq!(fs::metadata(&recording).unwrap().uid(), USER);
        sh(&daemon, USER, &format!("cd recordings/{} && {line}", id_of(&recording)));
        // The next one is the one that is kept.
        recorded(&daemon);
        assert!(!recording.exists(), "`{line}` keeps it: {}", daemon.log());
    };
    without("rm recording.json");
    without("echo '{}' > recording.json");
    without("sed -i 's/\"closed\"/\"recording\"/' recording.json");
    without(
        "sed -i 's/\"last_tick\": *\"2/\"last_tick\": \"8/; s/\"started\": *\"2/\"started\": \"8/' recording.json",
    );
    without("mkdir -p a/b && touch a/b/c && chmod 500 a/b a .");
    // Deeper than a path can name, and than a process has descriptors.
    without("perl -e 'for (1..3000) { mkdir \"d\" or die; chdir \"d\" or die }'");
    // Nothing is followed to the outside.
    let outside = daemon.directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("kept"), "kept").unwrap();
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o777)).unwrap();
    without("ln -s ../../outside linked && ln -s ../../outside/kept file");
    assert_eq!(fs::read(outside.join("kept")).unwrap(), b"kept");
    // What somebody else has put there is not a recording that was given away.
    let backup = daemon.recordings().join("backup");
    fs::create_dir(&backup).unwrap();
    chown(&backup, Some(USER), None).unwrap();
    recorded(&daemon);
    assert!(backup.exists());
}

#[test]
fn a_file_that_its_owner_has_moved_there_is_not_served() {
    let daemon = shared("");
    let recording = recorded(&daemon);
    let id = id_of(&recording);
    // As of a program of root that writes into a directory of the user: they may move it, not read it.
    let theirs = daemon.directory.path().join("theirs");
    fs::create_dir(&theirs).unwrap();
    fs::write(theirs.join("secret.json"), "secret").unwrap();
    fs::set_permissions(theirs.join("secret.json"), fs::Permissions::from_mode(0o600)).unwrap();
    chown(&theirs, Some(USER), None).unwrap();
    sh(&daemon, USER, &format!("mv theirs/secret.json recordings/{id}/"));
    assert!(recording.join("secret.json").exists());
    let served = ask(&daemon, USER, &format!("http://x/v1/recordings/{id}/secret.json"));
    assert_eq!(served["code"], "no_such_recording", "{served}");
    let described = ask(&daemon, USER, &format!("http://x/v1/recordings/{id}"));
    assert!(!described["files"].to_string().contains("secret"), "{described}");
    // Nor does it become somebody else's by what its file says.
    let line = format!(
        "sed -i 's/\"memsampled.uid\": *\"{USER}\"/\"memsampled.uid\": \"64002\"/' recordings/{id}/recording.json"
    );
    sh(&daemon, USER, &line);
    assert!(fs::read_to_string(recording.join("recording.json")).unwrap().contains("64002"));
    assert_eq!(ask(&daemon, 64_002, "http://x/v1/recordings")["recordings"], json!([]));
    assert_eq!(ask(&daemon, USER, &format!("http://x/v1/recordings/{id}"))["uid"], USER);
}

#[test]
fn a_kill_between_closing_and_giving_or_while_removing_is_made_good() {
    let daemon = shared("");
    let recording = recorded(&daemon);
    let files = || fs::read_dir(&recording).unwrap().map(|entry| entry.unwrap().path());
    for path in files().chain([recording.clone()]) {
        assert_eq!(fs::metadata(&path).unwrap().uid(), USER, "{}", path.display());
        // For nobody else, whatever umask the daemon was started with.
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o077, 0, "{}", path.display());
    }
    daemon.signal("KILL");
    let (_, directory) = daemon.wait();
    // As it is before it is given: its directory is the last.
    chown(&recording, Some(0), Some(0)).unwrap();
    let first = files().next().unwrap();
    chown(&first, Some(0), Some(0)).unwrap();
    let removed = directory.path().join("recordings/.removed-a-20261125T171004Z");
    fs::create_dir_all(removed.join("deep")).unwrap();
    fs::write(removed.join("recording.json"), "{}").unwrap();
    chown(&removed, Some(USER), None).unwrap();
    let command = Daemon::command(directory.path());
    let daemon = Daemon::spawn(directory, command);
    wait_for("its owner", || (fs::metadata(&recording).unwrap().uid() == USER).then_some(()));
    assert_eq!(fs::metadata(&first).unwrap().uid(), USER);
    wait_for("the removal", || (!removed.exists()).then_some(()));
    daemon.wait_for_good_health();
}

#[test]
fn the_socket_is_for_whom_the_configuration_names_also_after_it_was_read_again() {
    let directory = tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let daemon = Daemon::start_with(directory, &format!("[daemon]\nuser = '{USER}'\n"));
    let owner = || {
        let socket = fs::metadata(daemon.socket()).unwrap();
        (socket.uid(), socket.gid(), socket.mode() & 0o777)
    };
    assert_eq!(owner(), (USER, 0, 0o660));
    assert_eq!(ask(&daemon, USER, "http://x/healthz")["status"], "ok");
    assert_eq!(ask(&daemon, 64_002, "http://x/healthz")["said"], "");
    let config = daemon.directory.path().join("config.toml");
    fs::write(&config, format!("[daemon]\ngroup = '{GROUP}'\n")).unwrap();
    daemon.signal("HUP");
    wait_for("the log", || daemon.log().contains("was read again").then_some(()));
    assert_eq!(owner(), (0, GROUP, 0o660));
    assert_eq!(ask(&daemon, 64_002, "http://x/healthz")["status"], "ok");
    // Also where it was removed, as a clean-up of temporary files does.
    fs::remove_file(daemon.socket()).unwrap();
    wait_for("the socket", || daemon.log().contains("it was made again").then_some(()));
    assert_eq!(owner(), (0, GROUP, 0o660));
    assert_eq!(ask(&daemon, 64_002, "http://x/healthz")["status"], "ok");
}
