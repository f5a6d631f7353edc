//! A daemon that is ended, killed, doubled or left without its directory, disk or rights.

use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::Command;

use crate::command::{ENVIRONMENT, wait_for};
use crate::daemon::Daemon;
use memsample::{Recording, RecordingState, Recovery};
use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

fn manifest(recording: &Path) -> Value {
    let text = std::fs::read_to_string(recording.join("recording.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn wait_for_samples(daemon: &Daemon, id: &str) {
    wait_for("samples", || {
        let session = daemon.get(&format!("/v1/sessions/{id}")).json();
        session["totals"]["samples"].as_u64().filter(|&samples| samples > 0)
    });
}

#[test]
fn sigterm_closes_all_recordings() {
    let daemon = Daemon::start();
    let ids = [daemon.session("{}"), daemon.session(r#"{"interval": "1ms"}"#)];
    ids.iter().for_each(|id| wait_for_samples(&daemon, id));
    // A client that waits does not hold it up.
    let _waiting = daemon.connect();
    daemon.signal("TERM");
    let (status, directory) = daemon.wait();
    assert!(status.success());
    for id in ids {
        let recording = directory.path().join("recordings").join(id);
        assert_eq!(manifest(&recording)["state"], "closed");
        assert!(!recording.join("journal").exists());
    }
    assert!(!directory.path().join("s").exists());
}

#[test]
fn no_session_outlives_the_end_of_the_daemon() {
    let daemon = Daemon::start_with(tempdir().unwrap(), "[daemon.limits]\nsessions = 60\n");
    std::thread::scope(|scope| {
        let (begun, begins) = std::sync::mpsc::channel();
        for _ in 0..4 {
            let begun = begun.clone();
            let socket = daemon.socket();
            scope.spawn(move || {
                // Until there is nobody any more.
                while let Ok(mut client) = memsample_client::Client::connect(&socket) {
                    while client.start(&memsample_client::wire::StartRequest::default()).is_ok() {
                        let _ = begun.send(());
                    }
                }
            });
        }
        for _ in 0..5 {
            begins.recv_timeout(crate::command::PATIENCE).unwrap();
        }
        daemon.signal("TERM");
        let (status, directory) = daemon.wait();
        assert!(status.success());
        let mut runs = 0;
        for recording in std::fs::read_dir(directory.path().join("recordings")).unwrap() {
            let recording = recording.unwrap().path();
            if recording.is_dir() {
                runs += 1;
                assert_eq!(manifest(&recording)["state"], "closed", "{}", recording.display());
                assert!(!recording.join("journal").exists());
            }
        }
        assert!(runs >= 5);
    });
}

#[test]
fn the_daemon_protects_itself_as_far_as_it_may() {
    let daemon = Daemon::start();
    let protection = daemon.get("/healthz").json()["protection"].clone();
    let proc =
        |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", daemon.pid())).unwrap();
    let notes = protection["notes"].to_string();
    let score: i64 = proc("oom_score_adj").trim().parse().unwrap();
    assert_eq!(protection["oom_score_adj"], score);
    assert!(score == -900 || notes.contains("CAP_SYS_RESOURCE"), "{score}: {notes}");
    let status = proc("status");
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
    let locked: u64 = locked.split_whitespace().next().unwrap().parse().unwrap();
    assert_eq!(protection["memory_locked"], locked > 0);
    assert!(locked > 0 || notes.contains("CAP_IPC_LOCK"), "{notes}");
}

#[test]
fn old_recordings_are_removed_by_age_and_by_size() {
    let daemon = Daemon::start();
    let ids: Vec<String> = (0..3)
        .map(|_| {
            let id = daemon.session("{}");
            daemon.stop(&id);
            id
        })
        .collect();
    let config = daemon.directory.path().join("config.toml");
    let left = |retention: &str, round: usize| {
        std::fs::write(&config, format!("[daemon.retention]\n{retention}\n")).unwrap();
        daemon.signal("HUP");
        let read = || daemon.log().matches("was read again").count();
        wait_for("the log", || (read() == round).then_some(()));
        let recordings =
            daemon.get("/v1/recordings").json()["recordings"].as_array().unwrap().clone();
        recordings
            .iter()
            .map(|recording| recording["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let bytes = |id: &str| {
        let recordings = daemon.get("/v1/recordings").json();
        let recording = recordings["recordings"]
            .as_array()
            .unwrap()
            .iter()
            .find(|recording| recording["id"] == *id)
            .unwrap();
        recording["bytes"].as_u64().unwrap()
    };
    // An hour is not over.
    assert_eq!(left("age = '1h'", 1).len(), 3);
    let two = bytes(&ids[1]) + bytes(&ids[2]);
    let mut newest = vec![ids[2].clone(), ids[1].clone()];
    newest.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| b.cmp(a)));
    let mut kept = left(&format!("bytes = '{two}B'"), 2);
    kept.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| b.cmp(a)));
    assert_eq!(kept, newest);
    assert_eq!(left("age = '1ms'", 3), Vec::<String>::new());
    assert!(daemon.get("/metrics").text().contains("\nmemsampled_recordings_removed_total 3\n"));
}

#[test]
fn the_next_daemon_recovers_what_a_killed_one_left() {
    let daemon = Daemon::start();
    let ids = [daemon.session("{}"), daemon.session(r#"{"interval": "10ms"}"#)];
    ids.iter().for_each(|id| wait_for_samples(&daemon, id));
    daemon.signal("KILL");
    let (_, directory) = daemon.wait();
    assert!(directory.path().join("s").exists(), "a stale socket is left");
    let command = Daemon::command(directory.path());
    let daemon = Daemon::spawn(directory, command);
    for id in ids {
        let path = format!("/v1/recordings/{id}");
        let recording = wait_for("recovery", || {
            let recording = daemon.get(&path).json();
            (recording["state"] == "recovered").then_some(recording)
        });
        assert_eq!(recording["end"], "crashed");
        assert!(recording["totals"]["samples"].as_u64().unwrap() > 0);
        let (recording, recovery) = Recording::open(&daemon.recordings().join(&id)).unwrap();
        assert_eq!(
            (recovery, recording.manifest().state),
            (Recovery::NotNeeded, RecordingState::Recovered)
        );
    }
}

/// Starts a daemon that must fail, and returns what it says.
fn refused(directory: &Path, arguments: &[&str]) -> String {
    refused_with(1, directory, arguments)
}

fn refused_with(exit_code: i32, directory: &Path, arguments: &[&str]) -> String {
    let output =
        Command::new(crate::daemon::MEMSAMPLED).args(arguments).current_dir(directory).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(exit_code), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn two_daemons_do_not_share_a_directory_or_a_socket() {
    let daemon = Daemon::start();
    let directory = daemon.directory.path();
    let said = refused(directory, &["--socket", "other", "--recordings", "recordings"]);
    assert!(said.contains("another daemon uses the recordings directory `recordings`"), "{said}");
    assert!(!directory.join("other").exists());
    let said = refused(directory, &["--socket", "s", "--recordings", "other"]);
    assert!(
        said.contains("cannot listen on the socket `s`: another daemon listens there"),
        "{said}"
    );
    // Nor is a socket of another program taken, or a file.
    let _listener = UnixListener::bind(directory.join("foreign")).unwrap();
    let said = refused(directory, &["--socket", "foreign", "--recordings", "other"]);
    assert!(said.contains("another program listens there"), "{said}");
    std::fs::write(directory.join("file"), "kept").unwrap();
    let said = refused(directory, &["--socket", "file", "--recordings", "other"]);
    assert!(said.contains("a file that is no socket"), "{said}");
    assert_eq!(std::fs::read(directory.join("file")).unwrap(), b"kept");
    daemon.wait_for_good_health();
}

#[test]
fn wrong_arguments_and_configurations_say_what_to_do() {
    let directory = tempdir().unwrap();
    let long = "x".repeat(200);
    std::fs::write(directory.path().join("open"), "0123456789abcdef").unwrap();
    std::fs::write(directory.path().join("bad.toml"), "[daemon]\nrns = 'x'\n").unwrap();
    let wrong_use: [(&[&str], &str); 7] = [
        (&["--socket", "s", "--http", "0.0.0.0:0"], "not a loopback address"),
        (&["--socket", "s", "--http", "127.0.0.1:0"], "needs a token"),
        (&["--socket", "s", "--token-file", "open"], "`--token-file` needs `--http"),
        (&["--socket", "s", "--serve-runs", "r"], "`--serve-runs` needs `--serve"),
        (&["--socket", "s", "--flight-recorder-bytes", "9MiB"], "needs `--flight-recorder 5m`"),
        (&["--socket", "s", "--metrics-roles", "9999999"], "is too many"),
        (&["--socket", "s", "--group", "no-such-group"], "there is no group `no-such-group`"),
    ];
    for (arguments, message) in wrong_use {
        let said = refused_with(2, directory.path(), arguments);
        assert!(said.contains(message), "{arguments:?}: {said}");
    }
    let cases: [(&[&str], &str); 4] = [
        (
            &["--socket", "s", "--recordings", "/proc/x"],
            "cannot use the recordings directory `/proc/x`",
        ),
        (&["--socket", &long, "--recordings", "r"], "more than 107 bytes"),
        (
            &[
                "--socket",
                "s",
                "--recordings",
                "r",
                "--http",
                "127.0.0.1:0",
                "--token-file",
                "open",
            ],
            "only its owner may read",
        ),
        (&["--config", "bad.toml"], "bad.toml:2:1: unknown field `rns`"),
    ];
    for (arguments, message) in cases {
        let said = refused(directory.path(), arguments);
        assert!(said.contains(message), "{arguments:?}: {said}");
    }
}

#[test]
fn a_recordings_directory_that_vanishes_is_said_and_found_again() {
    let daemon = Daemon::start();
    let id = daemon.session("{}");
    wait_for_samples(&daemon, &id);
    std::fs::remove_dir_all(daemon.recordings()).unwrap();
    assert_eq!(daemon.post("/v1/sessions", "{}").refusal(), (503, "unavailable".to_owned()));
    let health = daemon.get("/healthz");
    assert_eq!((health.status, &health.json()["status"]), (503, &json!("failing")));
    assert!(health.text().contains("cannot be used"), "{}", health.text());
    // Its session cannot be closed, and that is all.
    let stopped = daemon.post(&format!("/v1/sessions/{id}/stop"), "");
    assert_eq!(stopped.refusal(), (500, "internal".to_owned()), "{}", stopped.text());
    std::fs::create_dir(daemon.recordings()).unwrap();
    assert!(daemon.get("/healthz").text().contains("restart the daemon"));
    let (_, directory) = {
        daemon.signal("TERM");
        daemon.wait()
    };
    let command = Daemon::command(directory.path());
    let daemon = Daemon::spawn(directory, command);
    let id = daemon.session("{}");
    daemon.stop(&id);
}

#[test]
fn a_disk_that_fills_ends_the_session_and_the_next_is_refused() {
    let directory = tempdir().unwrap();
    let mut command = Command::new("unshare");
    // A file system of 6 MiB that only the daemon sees.
    let line = "mkdir recordings && mount -t tmpfs -o size=6m none recordings && exec \"$MEMSAMPLED\" --socket s --recordings recordings";
    command.args(["-rm", "sh", "-c", line]).env("MEMSAMPLED", crate::daemon::MEMSAMPLED);
    command.envs(ENVIRONMENT).current_dir(directory.path());
    let daemon = Daemon::spawn(directory, command);
    let id = daemon.session(r#"{"interval": "1ms"}"#);
    wait_for_samples(&daemon, &id);
    // Inside of the name space of the daemon.
    let fill = format!("/proc/{}/root{}/ballast", daemon.pid(), daemon.recordings().display());
    let mut ballast = std::fs::File::create(fill).unwrap();
    let error = std::io::copy(&mut std::io::repeat(0), &mut ballast).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    let path = format!("/v1/sessions/{id}");
    wait_for("the end", || (daemon.get(&path).json()["state"] == "ended").then_some(()));
    assert_eq!(daemon.post("/v1/sessions", "{}").refusal(), (507, "disk_full".to_owned()));
    let summary = &daemon.stop(&id)["summary"];
    assert_eq!((&summary["end"], &summary["state"]), (&json!("disk_full"), &json!("closed")));
    assert!(summary["samples"].as_u64().unwrap() > 0);
    let health = daemon.get("/healthz");
    let problem = &health.json()["problems"][0];
    assert_eq!(health.status, 503, "{}", health.text());
    assert!(problem.as_str().unwrap().contains("its disk is full: "), "{problem}");
    // Space is found again without a restart.
    ballast.set_len(0).unwrap();
    daemon.wait_for_good_health();
}

/// A daemon whose recordings are on a file system of their own, which only it sees. It waits so many milliseconds for
/// an answer of the disk.
fn daemon_on_ext4(options: &str, patience_ms: &str) -> Daemon {
    let directory = tempdir().unwrap();
    let mut command = Command::new("unshare");
    let line = format!(
        "truncate -s 64M image && mkfs.ext4 -q {options} image && mkdir recordings && \
         mount -o loop,errors=remount-ro image recordings && exec \"$MEMSAMPLED\" --socket s --recordings recordings"
    );
    command.args(["-m", "sh", "-c", &line]).env("MEMSAMPLED", crate::daemon::MEMSAMPLED);
    command.env("MEMSAMPLE_TEST_PATIENCE_MS", patience_ms).current_dir(directory.path());
    Daemon::spawn(directory, command)
}

#[test]
fn health_tells_of_a_disk_that_takes_nothing_and_of_one_that_does_again() {
    let daemon = daemon_on_ext4("-N 32", "60000");
    let recordings = daemon.recordings();
    let inside = |script: &str| {
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["--mount", "--target", &daemon.pid().to_string(), "sh", "-c", script, "sh"]);
        assert!(nsenter.arg(&recordings).status().unwrap().success(), "{script}");
    };
    let health = || {
        let health = daemon.get("/healthz");
        let problem = health.json()["problems"][0].as_str().unwrap_or_default().to_owned();
        assert_eq!(health.status == 200, problem.is_empty(), "{}", health.text());
        problem
    };
    assert_eq!(health(), "");
    for (takes_nothing, says, takes_again) in [
        ("chattr +i \"$1\"", "Operation not permitted", "chattr -i \"$1\""),
        // Fewer files are left than a recording has.
        (
            "cd \"$1\"; touch $(seq $(($(stat -f -c %d .) - 8)))",
            "has room for 8 more files",
            "cd \"$1\"; rm [0-9]*",
        ),
    ] {
        inside(takes_nothing);
        let problem = health();
        assert!(problem.contains(says), "{takes_nothing}: {problem}");
        inside(takes_again);
        assert_eq!(health(), "", "{takes_again}");
    }
    // What the kernel does when the file system is found to be damaged.
    let device = "device=$(findmnt -n -o SOURCE \"$1\") && echo x >/sys/fs/ext4/${device#/dev/}/trigger_fs_error";
    inside(device);
    let problem = health();
    assert!(problem.contains("ead-only"), "{problem}");
}

/// A file system of a daemon in which nothing can be written until this is dropped.
struct Frozen<'a>(&'a Daemon);

impl<'a> Frozen<'a> {
    fn new(daemon: &'a Daemon) -> Self {
        let frozen = Self(daemon);
        assert!(frozen.fsfreeze("--freeze"));
        frozen
    }

    fn fsfreeze(&self, option: &str) -> bool {
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["--mount", "--target", &self.0.pid().to_string(), "fsfreeze", option]);
        nsenter.arg(self.0.recordings()).status().unwrap().success()
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        self.fsfreeze("--unfreeze");
    }
}

#[test]
fn a_disk_that_stands_still_holds_nobody_up() {
    let daemon = daemon_on_ext4("", "1000");
    // A batch at each tick: what waits, without being dropped, may wait for a minute.
    let id = wait_for("a session", || {
        let answer = daemon.post("/v1/sessions", r#"{"interval": "2s"}"#);
        (answer.status == 201).then(|| answer.json()["id"].as_str().unwrap().to_owned())
    });
    wait_for_samples(&daemon, &id);
    let path = format!("/v1/sessions/{id}");
    // Batches that wait to be written.
    let waiting = || {
        let metrics = daemon.get("/metrics").text();
        let depth =
            metrics.lines().find(|line| line.starts_with("memsampled_session_queue_depth{"));
        depth.unwrap().rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    {
        let _frozen = Frozen::new(&daemon);
        wait_for("what waits", || (waiting() > 1).then_some(()));
        let health = daemon.get("/healthz");
        assert!(health.text().contains("its disk has not answered"), "{}", health.text());
        let mark = daemon.post(&format!("{path}/marks"), r#"{"kind": "point", "name": "still"}"#);
        assert!(mark.status < 300, "{}", mark.text());
    }
    daemon.wait_for_good_health();
    let summary = &daemon.stop(&id)["summary"];
    assert_eq!((&summary["end"], &summary["dropped"]), (&json!("stopped"), &json!(0)));
}

#[test]
fn sighup_reads_the_configuration_again() {
    let daemon = Daemon::start();
    let ids: Vec<String> = (0..3)
        .map(|_| {
            let id = daemon.session("{}");
            daemon.stop(&id);
            id
        })
        .collect();
    let config = daemon.directory.path().join("config.toml");
    std::fs::write(&config, "[daemon.retention]\ncount = nonsense\n").unwrap();
    daemon.signal("HUP");
    wait_for("the log", || daemon.log().contains("stays as it was").then_some(()));
    assert_eq!(daemon.get("/v1/recordings").json()["recordings"].as_array().unwrap().len(), 3);
    // An open recording is never removed.
    let open = daemon.session("{}");
    std::fs::write(&config, "[daemon.retention]\ncount = 1\n[daemon.limits]\nsessions = 1\n")
        .unwrap();
    daemon.signal("HUP");
    wait_for("the log", || daemon.log().contains("was read again").then_some(()));
    let left: Vec<String> =
        (daemon.get("/v1/recordings").json()["recordings"].as_array().unwrap().iter())
            .map(|recording| recording["id"].as_str().unwrap().to_owned())
            .collect();
    assert_eq!(left, [open.clone(), ids[2].clone()]);
    assert_eq!(daemon.post("/v1/sessions", "{}").refusal(), (429, "limit_reached".to_owned()));
    // What is stopped is the newest.
    daemon.stop(&open);
    assert_eq!(daemon.get("/v1/recordings").json()["recordings"].as_array().unwrap().len(), 1);
    assert!(daemon.recordings().join(&open).exists());
}

#[test]
fn systemd_is_told_and_its_socket_is_taken() {
    let directory = tempdir().unwrap();
    let notify = UnixDatagram::bind(directory.path().join("notify")).unwrap();
    // Read all the time, as systemd does: the kernel keeps ten messages.
    let (sender, messages) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut message = [0; 256];
        while let Ok(length) = notify.recv(&mut message) {
            let text = String::from_utf8(message[..length].to_vec()).unwrap();
            if sender.send(text).is_err() {
                break;
            }
        }
    });
    let received = || messages.recv_timeout(crate::command::PATIENCE).unwrap();
    // Passes a listening socket as descriptor 3, and becomes the daemon.
    let line = "import os, socket\n\
                listener = socket.socket(socket.AF_UNIX)\n\
                listener.bind('s')\n\
                listener.listen()\n\
                os.dup2(listener.fileno(), 3)\n\
                os.set_inheritable(3, True)\n\
                os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()), WATCHDOG_PID=str(os.getpid()))\n\
                os.execv(os.environ['MEMSAMPLED'], ['memsampled', '--recordings', 'recordings', '--socket', 'unused'])";
    let mut command = Command::new("python3");
    command.args(["-c", line]).current_dir(directory.path());
    command.env("MEMSAMPLED", crate::daemon::MEMSAMPLED).env("WATCHDOG_USEC", "300000");
    command.envs(ENVIRONMENT).env("NOTIFY_SOCKET", directory.path().join("notify"));
    let daemon = Daemon::spawn(directory, command);
    let id = daemon.session("{}");
    assert_eq!(received(), "READY=1\n");
    assert_eq!(received(), "WATCHDOG=1\n");
    assert_eq!(received(), "WATCHDOG=1\n");
    daemon.stop(&id);
    assert!(!daemon.directory.path().join("unused").exists());
    daemon.signal("TERM");
    let (status, directory) = daemon.wait();
    assert!(status.success());
    let last = std::iter::repeat_with(received).find(|message| !message.starts_with("WATCHDOG"));
    assert_eq!(last.unwrap(), "STOPPING=1\n");
    // It belongs to systemd.
    assert!(directory.path().join("s").exists());
}

#[test]
fn units_are_verified_and_hardened() {
    let units = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd");
    // The program must exist where the unit says it is.
    let directory = tempdir().unwrap();
    for unit in ["memsampled.service", "memsampled.socket"] {
        let text = std::fs::read_to_string(format!("{units}/{unit}")).unwrap();
        let text = text.replace("/usr/bin/memsampled", crate::daemon::MEMSAMPLED);
        std::fs::write(directory.path().join(unit), text).unwrap();
    }
    let analyze = |arguments: &[&str]| {
        let output =
            Command::new("systemd-analyze").args(arguments).current_dir(&directory).output();
        let output = output.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    };
    let (verified, out, err) =
        analyze(&["verify", "--man=no", "./memsampled.service", "./memsampled.socket"]);
    // It exits with 0 also where it does not know a key.
    assert!(verified && out.is_empty() && err.is_empty(), "{out}{err}");
    let (_, out, err) = analyze(&[
        "security",
        "--offline=true",
        "--no-pager",
        "--threshold=30",
        "./memsampled.service",
    ]);
    let exposure = out.lines().last().unwrap_or_else(|| panic!("{err}"));
    let score = exposure.split_whitespace().find_map(|word| word.parse::<f64>().ok());
    assert!(score.unwrap() <= 3.0, "{exposure}");
}

/// Runs curl in a directory as another user.
fn as_user(directory: &TempDir, uid: &str, groups: &str, arguments: &str) -> Value {
    let line = format!("curl --silent --unix-socket s {arguments}");
    let output = Command::new("setpriv")
        .args(["--reuid", uid, "--regid", uid, groups, "sh", "-c", &line])
        .current_dir(directory)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(&text)
        .unwrap_or_else(|_| json!({"curl": output.status.code(), "out": text}))
}

#[test]
fn users_see_and_stop_only_their_own() {
    let directory = tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let daemon = Daemon::start_with(directory, "[daemon]\ngroup = '64123'\n");
    let directory = &daemon.directory;
    let member = "--groups=64123";
    let of_root = daemon.session(r#"{"name": "root"}"#);
    // Who is not in the group does not get as far as a connection.
    assert_eq!(as_user(directory, "64001", "--clear-groups", "http://x/healthz")["curl"], 7);
    // By the primary group the kernel tells; by a further one, the user's list of groups does.
    let with_group = |uid: &str, arguments: &str| {
        let line = format!("curl --silent --unix-socket s {arguments}");
        let output = Command::new("setpriv")
            .args(["--reuid", uid, "--regid", "64123", "--clear-groups", "sh", "-c", &line])
            .current_dir(directory)
            .output()
            .unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    assert_eq!(as_user(directory, "64001", member, "http://x/healthz")["code"], "forbidden");
    assert_eq!(with_group("64001", "http://x/v1/sessions"), json!({"sessions": []}));
    let stop =
        |uid: &str, id: &str| with_group(uid, &format!("-X POST http://x/v1/sessions/{id}/stop"));
    assert_eq!(stop("64001", &of_root)["code"], "no_such_session");
    // What was before they came is not for them.
    assert_eq!(with_group("64001", "-X POST http://x/v1/dump")["code"], "forbidden");
    let own = with_group("64001", "-X POST http://x/v1/sessions");
    let id = own["id"].as_str().unwrap();
    assert_eq!(own["uid"], 64001);
    assert_eq!(stop("64002", id)["code"], "no_such_session");
    let mark = format!(
        "--json '{{\"kind\": \"point\", \"name\": \"x\"}}' http://x/v1/sessions/{id}/marks"
    );
    assert_eq!(with_group("64002", &mark)["code"], "no_such_session");
    assert_eq!(daemon.get("/v1/sessions").json()["sessions"].as_array().unwrap().len(), 2);
    assert_eq!(stop("64001", id)["summary"]["state"], "closed");
    // The closed recording is theirs: they read it as files and over HTTP, and nobody else does.
    let listed = with_group("64001", "http://x/v1/recordings");
    assert_eq!(listed["recordings"].as_array().unwrap().len(), 1);
    assert_eq!(with_group("64002", "http://x/v1/recordings")["recordings"], json!([]));
    assert_eq!(
        with_group("64002", &format!("http://x/v1/recordings/{id}"))["code"],
        "no_such_recording"
    );
    let reads = |uid: &str| {
        let read = Command::new("setpriv")
            .args(["--reuid", uid, "--regid", uid, "--clear-groups", "cat"])
            .arg(daemon.recordings().join(id).join("recording.json"))
            .output()
            .unwrap();
        read.status.success()
    };
    assert!(reads("64001") && !reads("64002"));
    // Links that its owner puts there lead nowhere, also for a daemon that recovers.
    std::fs::write(daemon.recordings().join(id).join("recording.json"), "{}").unwrap();
    assert_eq!(
        daemon.get(&format!("/v1/recordings/{id}")).refusal(),
        (404, "no_such_recording".to_owned())
    );
    daemon.stop(&of_root);
}
