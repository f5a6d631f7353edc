//! Which recording a name means, `memsample ls`, and `memsample session`.

use std::path::Path;

use crate::command::{memsample, shell};
use crate::daemon::Daemon;
use tempfile::tempdir;

/// Returns the path of the recording that a name means.
#[track_caller]
fn path_of(directory: &Path, name: &str) -> String {
    let ended = memsample(directory, &["summary", "--json", name]);
    assert_eq!(ended.code, Some(0), "{name}: {}", ended.stderr);
    ended.json()["recording"].as_str().unwrap().to_owned()
}

#[test]
fn a_recording_is_known_by_its_name_and_its_place_among_the_latest() {
    let directory = tempdir().unwrap();
    let at = directory.path();
    for name in ["one", "two", "two"] {
        assert_eq!(memsample(at, &["record", "--name", name, "--", "true"]).code, Some(0));
    }
    let listed = memsample(at, &["ls", "recordings", "--json"]).json();
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), 3);
    let path = |index: usize| listed[index]["path"].as_str().unwrap();
    assert!(path(2).starts_with("recordings/one-"), "the oldest is last: {listed:?}");
    for (index, name) in [(0, "@latest"), (1, "@-1"), (2, "@-2"), (0, "two"), (2, "one")] {
        assert_eq!(path_of(at, name), path(index), "{name}");
    }
    assert_eq!(path_of(at, listed[1]["name"].as_str().unwrap()), path(1));
    assert_eq!(path_of(at, &format!("{}/samples.parquet", path(1))), path(1));
    for row in listed {
        assert_eq!(row["state"], "closed");
        assert!(row["processes"].as_u64().unwrap() > 0 && row["bytes"].as_u64().unwrap() > 0);
    }
    let text = memsample(at, &["ls"]).stdout;
    assert!(text.starts_with("STARTED (UTC)") && text.lines().count() >= 4, "{text}");
    for (name, message) in [
        ("three", "`three` is not a recording: there is no such directory; `recordings`"),
        ("three", " have two-"),
        ("@-300000", "`@-300000` is no recording: "),
        ("@first", "write @latest, @-1"),
        ("recordings", "not a recording, but a directory of them: two-"),
    ] {
        let ended = memsample(at, &["peaks", name]);
        assert_eq!(ended.code, Some(1));
        assert!(ended.stderr.contains(message), "{name}: {}", ended.stderr);
    }
}

#[test]
fn the_results_of_a_run_stand_for_its_recording() {
    let directory = tempdir().unwrap();
    let at = directory.path();
    let suite = "name = \"suite\"\n[[test]]\nname = \"one\"\nshell = \"sleep 0.3\"\n";
    std::fs::write(at.join("suite.toml"), suite).unwrap();
    let ended = memsample(at, &["run", "suite.toml", "--name", "base2"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for name in ["runs/base2", "base2", "runs/base2/recording"] {
        assert_eq!(path_of(at, name), "runs/base2/recording");
    }
}

#[test]
fn the_id_of_a_session_is_the_name_of_its_recording() {
    let daemon = Daemon::start();
    let at = daemon.directory.path();
    let line = "id=$($MEMSAMPLE start --socket s --name load) && $MEMSAMPLE stop --socket s >/dev/null && \
                cd / && MEMSAMPLE_SOCKET=$OLDPWD/s $MEMSAMPLE summary --json $id";
    let ended = shell(at, line);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let recording = ended.json()["recording"].as_str().unwrap().to_owned();
    assert!(recording.contains("/recordings/load-"), "{recording}");
}

#[test]
fn a_session_brings_its_daemon() {
    let directory = tempdir().unwrap();
    let line = "$MEMSAMPLE session --socket absent --name x --json out.json -- \
                sh -c '$MEMSAMPLE exec --test load -- sleep 0.5 && echo out; exit 6'";
    let ended = shell(directory.path(), line);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(6), "out\n"), "{}", ended.stderr);
    assert!(ended.stderr.contains("samples of "), "{}", ended.stderr);
    assert!(!ended.stderr.contains("warning: "), "{}", ended.stderr);
    let peaks = memsample(directory.path(), &["peaks", "x", "--by", "test", "--json"]).json();
    assert_eq!(peaks[0]["test"], "load", "{peaks}");
    // With a daemon it is a session of that.
    let daemon = Daemon::start();
    let ended = shell(daemon.directory.path(), "$MEMSAMPLE session --socket s -- true");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let listed = memsample(daemon.directory.path(), &["ls", "recordings", "--json"]).json();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
}
