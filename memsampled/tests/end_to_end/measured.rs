//! `memsample record -- COMMAND`: what the command used, and that it runs whatever happens to the recording.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMillisecondType};
use serde_json::Value;
use tempfile::tempdir;

use crate::command::{memsample, recordings, shell, wait_for, wait_for_recorded};
use crate::daemon::Daemon;

#[test]
fn a_command_runs_although_it_cannot_be_recorded() {
    let directory = tempdir().unwrap();
    fs::write(directory.path().join("file"), "").unwrap();
    let line = "echo ran; exit 7";
    fs::create_dir(directory.path().join("closed")).unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // No directory, no permission (as nobody), no /proc, no configuration, no target, a full disk.
    for before in [
        "exec $MEMSAMPLE record --out file",
        "exec $MEMSAMPLE record --out /proc/no",
        "exec setpriv --reuid=65534 --regid=65534 --clear-groups $MEMSAMPLE record --out closed/x",
        "exec $MEMSAMPLE record --proc file",
        "exec $MEMSAMPLE record --config absent.toml",
        "exec $MEMSAMPLE record --json out.json --out file",
        "exec $MEMSAMPLE record --pid 2147483647",
        "mkdir full; exec unshare -m sh -c 'mount -t tmpfs -o size=64k none full && exec \"$@\"' sh \
         $MEMSAMPLE record --out full",
    ] {
        let ended = shell(directory.path(), &format!("{before} -- sh -c '{line}'"));
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(7), "ran\n"),
            "{before}: {}",
            ended.stderr
        );
        let lines: Vec<&str> = ended.stderr.lines().collect();
        assert_eq!(lines.len(), 1, "{before}: {}", ended.stderr);
        assert!(
            lines[0].starts_with("warning: the command runs without a recording: "),
            "{before}: {}",
            ended.stderr
        );
    }
    let json = fs::read_to_string(directory.path().join("out.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(json["recording"].is_null() && json["error"].is_string());
    assert_eq!(json["command_exit_code"], 7);
}

#[test]
fn a_disk_that_becomes_full_does_not_change_the_exit_code() {
    let directory = tempdir().unwrap();
    // The command fills the disk on which it is recorded, and waits until the recording has noticed.
    let line = "mkdir full; exec unshare -m sh -c 'mount -t tmpfs -o size=4m none full && exec \"$@\"' sh \
                $MEMSAMPLE record --out full --name x --interval 1ms -- sh -c \
                'head -c 4000000 /dev/zero >full/ballast; \
                 while ! grep -q disk_ful[l] full/x/recording.json; do :; done; exit 6'";
    let ended = shell(directory.path(), line);
    assert_eq!(ended.code, Some(6), "{}", ended.stderr);
    let warning = "warning: the recording ended before the command: the disk is full";
    assert!(ended.stderr.contains(warning), "{}", ended.stderr);
}

#[test]
fn the_same_name_can_be_used_again() {
    let directory = tempdir().unwrap();
    let at = directory.path();
    for number in [1, 2] {
        let line = format!("$MEMSAMPLE record --name nightly -- sh -c 'exit {number}'");
        let ended = shell(at, &line);
        assert_eq!(ended.code, Some(number), "{}", ended.stderr);
        assert!(!ended.stderr.contains("warning: "), "{}", ended.stderr);
    }
    let made = recordings(at);
    assert_eq!(made.len(), 2, "{made:?}");
    for link in ["latest", "nightly"] {
        let led = fs::canonicalize(at.join("recordings").join(link)).unwrap();
        assert_eq!(led, fs::canonicalize(&made[1]).unwrap(), "{link}");
    }
    // A recording that an older version made under the plain name is kept, and it is said.
    fs::remove_file(at.join("recordings/nightly")).unwrap();
    fs::create_dir(at.join("recordings/nightly")).unwrap();
    let ended = shell(at, "$MEMSAMPLE record --name nightly -- true");
    assert_eq!(ended.code, Some(0));
    assert!(ended.stderr.contains("`recordings/nightly` does not lead to "), "{}", ended.stderr);
    assert!(at.join("recordings/nightly").read_dir().unwrap().next().is_none());
}

#[test]
fn failures_of_its_own_have_a_code_of_their_own() {
    let directory = tempdir().unwrap();
    for (arguments, code) in [
        (&["record", "--no-such-option", "--", "true"][..], 125),
        (&["record", "--interval", "2h", "--", "true"], 125),
        (&["record", "--name", "a/b", "--", "true"], 125),
        (&["exec", "--no-such-option", "--", "true"], 125),
        (&["session", "--no-such-option", "--", "true"], 125),
        (&["record", "--no-such-option"], 2),
        (&["record", "--", "no-such-program"], 127),
        (&["record", "--", "/etc/passwd"], 126),
        (&["record", "--", "sh", "-c", "exit 5"], 5),
    ] {
        let ended = memsample(directory.path(), arguments);
        assert_eq!(ended.code, Some(code), "{arguments:?}: {}", ended.stderr);
    }
}

/// Holds a block for a second and longer, until it is let go, and says so.
const HOLD: &str = "import os, time
block = bytearray(64 << 20)
open(f'{os.getpid()}.holds', 'w')
time.sleep(1)
until = time.monotonic() + 100
while not os.path.exists('go') and time.monotonic() < until: time.sleep(.01)
";

/// Calls what runs `HOLD` twice in a directory, and lets both go when a recording in it with the name `x` has a tick at
/// which both held their blocks. Returns the seconds that it took at most.
#[track_caller]
fn let_go_when_recorded<T>(at: &Path, run: impl FnOnce() -> T) -> (T, f64) {
    let names = |directory: &Path| {
        let entries = fs::read_dir(directory).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    fs::write(at.join("hold.py"), HOLD).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let holders = wait_for("both programs", || {
                let names = names(at);
                let pids = names.iter().filter_map(|name| name.strip_suffix(".holds"));
                let pids: Vec<i32> = pids.map(|pid| pid.parse().unwrap()).collect();
                (pids.len() == 2).then_some(pids)
            });
            let recordings = at.join("recordings");
            let mut names = names(recordings.as_path()).into_iter();
            let run = recordings.join(names.find(|name| name.starts_with("x-")).unwrap());
            wait_for_recorded("both blocks", &run, |recording| {
                let mut held: HashMap<i64, HashSet<i32>> = HashMap::new();
                for batch in recording.read_table("samples", &["ts", "pid", "rss_bytes"]) {
                    let batch = batch.unwrap();
                    let ts = batch["ts"].as_primitive::<TimestampMillisecondType>();
                    let pid = batch["pid"].as_primitive::<Int32Type>();
                    let rss = batch["rss_bytes"].as_primitive::<Int64Type>();
                    let holds = |&row: &usize| {
                        holders.contains(&pid.value(row)) && rss.value(row) >= 64 << 20
                    };
                    for row in (0..batch.num_rows()).filter(holds) {
                        held.entry(ts.value(row)).or_default().insert(pid.value(row));
                    }
                }
                held.values().any(|pids| pids.len() == 2).then_some(())
            });
            fs::write(at.join("go"), "").unwrap();
        });
        let began = Instant::now();
        let ended = run();
        (ended, began.elapsed().as_secs_f64())
    })
}

#[test]
fn what_the_command_used_comes_first() {
    let directory = tempdir().unwrap();
    let line = "python3 hold.py & python3 hold.py & wait; exit 3";
    // Long enough to read PSS of a busy machine at each tick.
    let often = ["--interval", "500ms", "--pss-interval", "every"];
    let arguments = [&["record", "--name", "x"], &often[..], &["--", "sh", "-c", line]].concat();
    let (ended, most_seconds) =
        let_go_when_recorded(directory.path(), || memsample(directory.path(), &arguments));
    assert_eq!(ended.code, Some(3));
    let text = ended.stderr.as_str();
    assert!(text.starts_with("command: sh -c "), "{text}");
    let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part} in:\n{text}"));
    assert!(at("exit code 3 after ") < at("peak RSS "));
    assert!(at("peak RSS ") < at("ROLE") && at("ROLE") < at("the whole machine meanwhile:"));
    // It is much smaller than its children.
    let first = text[at("ROLE")..].lines().nth(1).unwrap();
    assert!(first.starts_with("sh "), "the command itself is on top: {first}");
    let json = memsample(directory.path(), &["summary", "--json", "x"]).json();
    let command = &json["command"];
    assert_eq!((&command["exit_code"], &command["command"][0]), (&3.into(), &"sh".into()));
    let number = |key: &str| command[key].as_f64().unwrap_or_else(|| panic!("{key} in {command}"));
    assert!((1.0..most_seconds).contains(&number("seconds")), "{command}");
    assert!(number("cpu_seconds") > 0.0 && number("cpu_seconds") < 30.0, "{command}");
    assert!(number("processes") >= 3.0, "{command}");
    let mib = f64::from(1 << 20);
    assert!((128.0 * mib..200.0 * mib).contains(&number("rss_peak_lower_bytes")), "{command}");
    // PSS was read of all of it: two blocks, and pages that are shared.
    assert!((128.0 * mib..200.0 * mib).contains(&number("pss_peak_bytes")), "{command}");
    let covers = number("pss_peak_covered_bytes") / number("pss_peak_rss_bytes");
    assert!((0.95..=1.0).contains(&covers), "{command}");
    // The same as of any other test.
    let rows = memsample(directory.path(), &["peaks", "x", "--by", "test", "--json"]).json();
    for key in ["pss_peak_bytes", "pss_peak_rss_bytes", "pss_peak_covered_bytes", "pss_missing"] {
        assert_eq!(rows[0][key], command[key], "{key}");
    }
    let unread = ["record", "--pss-budget", "off", "--", "sleep", "0.5"];
    let ended = memsample(directory.path(), &unread);
    assert!(
        ended.stderr.contains("\npeak PSS -: none of its processes was read"),
        "{}",
        ended.stderr
    );
    let json = memsample(directory.path(), &["summary", "--json", "recordings/latest"]).json();
    assert!(json["command"]["pss_peak_bytes"].is_null());
    let ended = memsample(directory.path(), &["peaks", "recordings/latest", "--by", "test"]);
    let reason = "no PSS of test `command`: none of its processes was read";
    assert!(ended.stderr.contains(reason), "{}", ended.stderr);
}

#[test]
fn what_the_command_of_a_session_used_comes_first() {
    let directory = tempdir().unwrap();
    let command =
        "$MEMSAMPLE exec --test inner -- python3 hold.py & python3 hold.py & wait; exit 3";
    // With a daemon of its own, and with one that was there.
    let start = "$MEMSAMPLE session --interval 50ms --name x --json out.json";
    let own = format!("{start} --socket absent -- sh -c \"{command}\"");
    let there = format!("{start} --socket s -- sh -c \"{command}\"");
    let daemon = Daemon::start();
    for (at, line) in [(directory.path(), own), (daemon.directory.path(), there)] {
        let (ended, most_seconds) = let_go_when_recorded(at, || shell(at, &line));
        let text = ended.stderr.as_str();
        assert_eq!(ended.code, Some(3), "{text}");
        assert!(text.starts_with("command: sh -c "), "{text}");
        let (of_command, _) = text.split_once("the whole machine meanwhile:").unwrap();
        assert!(of_command.contains("\nexit code 3 after "), "{text}");
        let first = of_command.lines().skip_while(|line| !line.starts_with("ROLE")).nth(1).unwrap();
        assert!(first.starts_with("sh "), "the command itself is on top: {first}");
        // Neither the daemon, which may be a child of the same process, nor that process.
        assert!(!of_command.contains("memsampled"), "{text}");
        let whole: Value = serde_json::from_slice(&fs::read(at.join("out.json")).unwrap()).unwrap();
        let command = &whole["command"];
        assert!(command["command"].as_str().unwrap().starts_with("sh -c "), "{command}");
        assert_eq!(command["exit_code"], 3, "{command}");
        let number =
            |key: &str| command[key].as_f64().unwrap_or_else(|| panic!("{key}: {command}"));
        let mib = f64::from(1 << 20);
        // Two blocks, three interpreters and shells at most, and the `memsample exec` of the test.
        assert!((128.0 * mib..220.0 * mib).contains(&number("rss_peak_lower_bytes")), "{command}");
        assert!((1.0..most_seconds).contains(&number("seconds")), "{command}");
        // The summary of later is the same, and the test within it is a test of its own.
        let recording = whole["recording"].as_str().unwrap();
        let later = memsample(at, &["summary", "--json", recording]).json();
        assert_eq!(&later["command"], command);
        let rows = memsample(at, &["peaks", recording, "--by", "test", "--json"]).json();
        assert_eq!(rows.as_array().unwrap().len(), 1, "{rows}");
        let inner = rows[0]["lower_bytes"].as_f64().unwrap();
        assert!((64.0 * mib..110.0 * mib).contains(&inner), "{rows}");
    }
}

#[test]
fn a_recording_can_be_limited_to_a_process() {
    let directory = tempdir().unwrap();
    let line =
        "sleep 100 & pid=$!; $MEMSAMPLE record --pid $pid --name x --duration 300ms; kill $pid";
    assert_eq!(shell(directory.path(), line).code, Some(0));
    let rows = memsample(directory.path(), &["view", "recordings/x", "--json"]).json();
    let rows = rows.as_array().unwrap();
    assert!(rows.len() == 1 && rows[0]["comm"] == "sleep", "{rows:?}");
    let ended = shell(directory.path(), "sleep 100 & $MEMSAMPLE record --pid $! -- true; kill $!");
    assert!(ended.stderr.contains("the recording is limited to others"), "{}", ended.stderr);
    let thread = std::thread::scope(|scope| {
        let threads =
            || std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().file_name());
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let waiting = scope.spawn(move || wait.recv());
        let own = std::process::id().to_string();
        let other = threads().find(|task| *task != *own).unwrap().into_string().unwrap();
        let refused = memsample(directory.path(), &["record", "--pid", &other, "--duration", "1s"]);
        drop(go);
        waiting.join().unwrap().unwrap_err();
        refused
    });
    assert!(thread.stderr.contains("it is a thread of the process"), "{}", thread.stderr);
    let line = "sh -c 'sleep 0 & exec sleep 1000' & \
                until zombie=$(tr -d ' ' < /proc/$!/task/$!/children) && grep -qs zombie /proc/$zombie/status; do :; done; \
                $MEMSAMPLE record --pid $zombie --duration 1s; kill $!";
    let ended = shell(directory.path(), line);
    assert!(ended.stderr.contains("it has ended, and waits for its parent"), "{}", ended.stderr);
    // In a pid namespace it is another process.
    if std::fs::read_to_string("/proc/2/comm").is_ok_and(|name| name.trim() == "kthreadd") {
        let refused = memsample(directory.path(), &["record", "--pid", "2", "--duration", "1s"]);
        assert_eq!(refused.code, Some(1), "{}", refused.stderr);
        assert!(refused.stderr.contains("it is a kernel thread"), "{}", refused.stderr);
    }
    let wrong =
        memsample(directory.path(), &["record", "--cgroup", "relative", "--duration", "1s"]);
    assert!(wrong.stderr.contains("must be an absolute path"), "{}", wrong.stderr);
}
