//! `memsample record`: ticks, results, the recorded command and signals.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::command::{
    Running, manifest, memsample, recordings, shell, wait_for, wait_for_journal, wait_for_recorded,
};
use memsample::analysis::{for_each_mark, largest_processes};
use memsample::{MarkKind, Recording};
use tempfile::tempdir;

#[test]
fn a_second_has_ten_ticks_of_every_process() {
    let directory = tempdir().unwrap();
    let ended = memsample(directory.path(), &["record", "--duration", "1s", "--json"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let json = ended.json();
    assert_eq!(json["interval_ms"].as_u64(), Some(100));
    // A busy machine misses some ticks, perhaps the last ones.
    let ticks = json["ticks"].as_u64().unwrap();
    assert!((1..=10).contains(&ticks) && ticks + json["missed"].as_u64().unwrap() <= 10, "{json}");
    assert!(json["samples"].as_u64().unwrap() >= 20);
    assert!(json["processes"].as_u64().unwrap() >= 2);
    for counter in
        ["late", "missed", "dropped", "gone", "denied", "unreadable", "reopened", "pss_skipped"]
    {
        assert!(json[counter].is_u64(), "{counter} in {json}");
    }
    for distribution in ["sweep_us", "lateness_us"] {
        let of = |quantile: &str| json[distribution][quantile].as_u64().unwrap();
        assert!(of("p50") <= of("p99") && of("p99") <= of("max"), "{json}");
    }
    assert!(json["cpu_seconds"].as_f64().unwrap() > 0.0);
    assert!(json["peak_rss_bytes"].as_u64().unwrap() > 1 << 20);
    let run = Path::new(json["recording"].as_str().unwrap());
    assert_eq!(recordings(directory.path()), [directory.path().join(run)]);
    let files = std::fs::read_dir(directory.path().join(run)).unwrap();
    let bytes: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert_eq!(json["bytes"].as_u64(), Some(bytes));
    assert_eq!((json["state"].as_str(), json["end"].as_str()), (Some("closed"), Some("duration")));
    assert_eq!(ended.stdout.lines().count(), 1);
    assert_eq!(ended.stderr, "");
}

#[test]
fn a_person_reads_a_table_and_what_is_missing() {
    let directory = tempdir().unwrap();
    let ended =
        memsample(directory.path(), &["record", "--duration", "300ms", "--name", "evening"]);
    assert_eq!(ended.code, Some(0));
    for part in
        ["ROLE", "PEAK RSS", "MEAN RSS", "PEAK PSS", "losses: ", "cost: ", "recordings/evening"]
    {
        assert!(ended.stdout.contains(part), "{part} in:\n{}", ended.stdout);
    }
    // Not a terminal, so no live line.
    assert_eq!(ended.stderr, "");
    let again = memsample(directory.path(), &["summary", "recordings/evening"]);
    assert_eq!(again.stdout, ended.stdout);
}

#[test]
fn a_command_is_recorded_as_long_as_it_runs() {
    let directory = tempdir().unwrap();
    let line = "printf 'to stdout'; printf 'to stderr' >&2; python3 -c 'a = bytearray(50 << 20); import time; time.sleep(0.5)'; exit 7";
    let ended = memsample(directory.path(), &["record", "--name", "x", "--", "sh", "-c", line]);
    assert_eq!(ended.code, Some(7));
    // The command has stdout for itself, so the summary is on stderr.
    assert_eq!(ended.stdout, "to stdout");
    assert!(ended.stderr.starts_with("to stderr"), "{}", ended.stderr);
    assert!(ended.stderr.contains("recordings/x"));
    let run = directory.path().join("recordings/x");
    assert_eq!(manifest(&run)["command_exit_code"].as_i64(), Some(7));
    assert_eq!(manifest(&run)["settings"]["command"][0], "sh");
    let (recording, _) = Recording::open(&run).unwrap();
    let largest = largest_processes(&recording, 100_000).unwrap();
    let python = largest.iter().find(|process| process.comm.starts_with("python3")).unwrap();
    assert!(python.lower.bytes > 50 << 20);
    let mut kinds = Vec::new();
    for_each_mark(&recording, |mark| kinds.push(mark.kind)).unwrap();
    // Other tests run on this machine: the recorder may also mark kills of theirs.
    kinds.retain(|kind| matches!(kind, MarkKind::Begin | MarkKind::End | MarkKind::Point));
    assert_eq!(kinds, [MarkKind::Begin, MarkKind::End]);
}

#[test]
fn a_command_that_a_signal_ends_has_128_and_its_number() {
    let directory = tempdir().unwrap();
    let ended = memsample(directory.path(), &["record", "--", "sh", "-c", "kill -9 $$"]);
    assert_eq!(ended.code, Some(137));
    let json = memsample(directory.path(), &["summary", "--json", "recordings/latest"]).json();
    assert_eq!(json["command_exit_code"], 137);
}

#[test]
fn a_command_gets_the_limits_that_memsample_had() {
    let directory = tempdir().unwrap();
    let line = "ulimit -S -n 300; $MEMSAMPLE record -- sh -c 'ulimit -S -n'";
    assert_eq!(shell(directory.path(), line).stdout, "300\n");
}

#[test]
fn a_duration_ends_the_recording_and_not_the_command() {
    let directory = tempdir().unwrap();
    // The command ends when it sees that the recording is closed.
    let line = "until grep -q '\"closed\"' recordings/x/recording.json; do :; done; echo seen";
    let arguments = ["record", "--name", "x", "--duration", "200ms", "--", "sh", "-c", line];
    let ended = memsample(directory.path(), &arguments);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "seen\n"));
}

#[test]
fn a_script_without_a_first_line_is_run_by_the_shell() {
    let directory = tempdir().unwrap();
    let script = directory.path().join("lineless");
    std::fs::write(&script, "echo $1; exit 9\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    for wrapper in ["record --", "session --", "exec --", "exec --test t --"] {
        for program in ["./lineless", "lineless"] {
            let line = format!("PATH=$PATH:$PWD; exec $MEMSAMPLE {wrapper} {program} said");
            let ended = shell(directory.path(), &line);
            let told = (ended.code, ended.stdout.as_str());
            assert_eq!(told, (Some(9), "said\n"), "{wrapper} {program}: {}", ended.stderr);
        }
    }
}

#[test]
fn a_command_that_cannot_be_run_leaves_nothing_behind() {
    let directory = tempdir().unwrap();
    for (command, code) in [("no-such-program", 127), ("/etc/passwd", 126), ("/", 126)] {
        let ended = memsample(directory.path(), &["record", "--", command]);
        assert_eq!(ended.code, Some(code), "{}", ended.stderr);
        assert!(
            ended.stderr.starts_with(&format!("error: cannot run `{command}`: ")),
            "{}",
            ended.stderr
        );
    }
    assert!(recordings(directory.path()).is_empty());
}

#[test]
fn recordings_get_names_of_their_own() {
    let directory = tempdir().unwrap();
    let recorders: Vec<_> = (0..3)
        .map(|_| Running::start(directory.path(), &["record", "--duration", "200ms", "--json"]))
        .collect();
    for recorder in recorders {
        assert_eq!(recorder.wait().code, Some(0));
    }
    assert_eq!(recordings(directory.path()).len(), 3);
}

#[test]
fn signals_close_the_recording() {
    for signal in ["INT", "TERM", "HUP"] {
        let directory = tempdir().unwrap();
        let recorder = Running::start(
            directory.path(),
            &["record", "--name", "x", "--json", "--interval", "10ms"],
        );
        let run = directory.path().join("recordings/x");
        wait_for_journal(&run, 2000);
        recorder.signal(signal);
        let ended = recorder.wait();
        assert_eq!(ended.code, Some(0), "{signal}: {}", ended.stderr);
        assert_eq!(
            (ended.json()["state"].as_str(), ended.json()["end"].as_str()),
            (Some("closed"), Some("stopped"))
        );
        assert!(!run.join("journal").exists());
    }
}

#[test]
fn a_signal_goes_on_to_the_command_and_its_end_ends_the_recording() {
    let directory = tempdir().unwrap();
    let line = "trap 'exit 9' TERM; echo > ready; while :; do :; done";
    let recorder =
        Running::start(directory.path(), &["record", "--name", "x", "--", "sh", "-c", line]);
    wait_for("the command", || directory.path().join("ready").exists().then_some(()));
    recorder.signal("TERM");
    assert_eq!(recorder.wait().code, Some(9));
    assert_eq!(manifest(&directory.path().join("recordings/x"))["state"], "closed");
}

#[test]
fn a_terminal_sees_a_live_line() {
    let directory = tempdir().unwrap();
    let line = "script -qec \"$MEMSAMPLE record --duration 1500ms --interval 10ms\" /dev/null";
    let ended = shell(directory.path(), line);
    assert!(
        ended.stdout.contains(" of 1.5s, ") && ended.stdout.contains(" late ticks"),
        "{}",
        ended.stdout
    );
    let line = "script -qec \"$MEMSAMPLE record --duration 1s --progress never\" /dev/null";
    assert!(!shell(directory.path(), line).stdout.contains(" late ticks"));
}

#[test]
fn another_tree_can_be_recorded() {
    let directory = tempdir().unwrap();
    let tree = directory.path().join("tree/42");
    std::fs::create_dir_all(&tree).unwrap();
    for file in ["stat", "statm", "status", "cmdline", "cgroup", "smaps_rollup"] {
        std::fs::copy(format!("/proc/self/{file}"), tree.join(file)).unwrap();
    }
    let arguments = ["record", "--proc", "tree", "--name", "x", "--json"];
    let recorder = Running::start(directory.path(), &arguments);
    wait_for_recorded("ticks", &directory.path().join("recordings/x"), |recording| {
        (recording.manifest().totals.ticks >= 3).then_some(())
    });
    recorder.signal("INT");
    let json = recorder.wait().json();
    let ticks = json["ticks"].as_u64().unwrap();
    assert!(ticks >= 3, "{json}");
    assert_eq!(
        (json["samples"].as_u64(), json["processes"].as_u64()),
        (Some(ticks), Some(1)),
        "{json}"
    );
}
