//! Many sessions at once, each with its ticks and its target, and one sweep for all.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::command::wait_for;
use crate::daemon::Daemon;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use memsample::{Recording, Scope};
use serde_json::json;

/// What a session may hold open for itself: its directory, its lock, its journal, the kernel log, a
/// handle of /proc, and a file that is being replaced.
const DESCRIPTORS_OF_A_SESSION: usize = 6;

fn open_descriptors(daemon: &Daemon) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count()
}

/// Waits until a session has a number of ticks.
fn wait_for_ticks(daemon: &Daemon, id: &str, ticks: u64) {
    wait_for("ticks", || {
        let session = daemon.get(&format!("/v1/sessions/{id}")).json();
        session["totals"]["ticks"].as_u64().filter(|&so_far| so_far >= ticks)
    });
}

/// Returns when each sweep was planned, and when it began.
fn sweeps(recording: &Recording) -> BTreeMap<i64, i64> {
    let columns = ["planned_ns", "began_ns"];
    let batches = recording.read_table("ticks", &columns).map(Result::unwrap);
    batches
        .flat_map(|batch| {
            let column = |name| batch.column_by_name(name).unwrap().as_primitive::<Int64Type>();
            let (planned, began) = (column("planned_ns").clone(), column("began_ns").clone());
            (0..batch.num_rows()).map(move |row| (planned.value(row), began.value(row)))
        })
        .collect()
}

#[test]
fn ten_sessions_share_one_sweep_and_each_has_its_own_ticks() {
    let daemon = Daemon::start();
    let first = daemon.session(r#"{"interval": "20ms"}"#);
    wait_for_ticks(&daemon, &first, 10);
    let alone = open_descriptors(&daemon);
    let others: Vec<String> = (0..9)
        .map(|number| {
            let interval = if number % 2 == 0 { "40ms" } else { "200ms" };
            daemon.session(&json!({ "interval": interval }).to_string())
        })
        .collect();
    others.iter().for_each(|id| wait_for_ticks(&daemon, id, 3));
    // Three for each process in each session would be far more; some processes may have begun.
    let together = open_descriptors(&daemon);
    let processes = daemon.get(&format!("/v1/sessions/{first}")).json();
    let processes = processes["totals"]["processes"].as_u64().unwrap() as usize;
    let grown = together.saturating_sub(alone);
    assert!(
        grown <= 9 * DESCRIPTORS_OF_A_SESSION + processes,
        "{alone} descriptors before, {together} with nine more sessions"
    );
    let of = |id: &str| {
        daemon.stop(id);
        Recording::open(&daemon.recordings().join(id)).unwrap().0
    };
    let others: Vec<Recording> = others.iter().map(|id| of(id)).collect();
    let all: BTreeSet<i64> = sweeps(&of(&first)).into_values().collect();
    for recording in others {
        let interval_ns = recording.manifest().provenance.settings.interval_ms * 1_000_000;
        let own = sweeps(&recording);
        // The first is at once and the last when it was stopped, and the others are on the grid of all.
        let between = own.iter().skip(1).take(own.len() - 2);
        let on_grid: Vec<u64> =
            between.clone().map(|(planned, _)| planned.unsigned_abs()).collect();
        assert!(on_grid.windows(2).all(|pair| (pair[1] - pair[0]).is_multiple_of(interval_ns)));
        // A slow machine may plan one sweep for different instants of two sessions.
        let apart = between.filter(|(_, began)| !all.contains(began)).count();
        assert_eq!(apart, 0, "of {} sweeps", own.len());
    }
}

fn sleeper() -> Child {
    Command::new("sleep").arg("infinity").stdin(Stdio::null()).spawn().unwrap()
}

fn pids(recording: &Path) -> Vec<i32> {
    let (recording, _) = Recording::open(recording).unwrap();
    let mut pids: Vec<i32> = (recording.read_table("processes", &["pid"]))
        .flat_map(|batch| batch.unwrap().column(0).as_primitive::<Int32Type>().values().to_vec())
        .collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

#[test]
fn a_session_records_what_it_is_to_record() {
    let daemon = Daemon::start();
    // Two children of a shell, and another process.
    let mut shell = Command::new("sh");
    shell.args(["-c", "sleep infinity & sleep infinity & wait"]).stdin(Stdio::null());
    let mut shell = shell.spawn().unwrap();
    let mut other = sleeper();
    let children = wait_for("two children", || {
        let path = format!("/proc/{0}/task/{0}/children", shell.id());
        let children = std::fs::read_to_string(path).unwrap();
        let children: Vec<i32> =
            children.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
        (children.len() == 2).then_some(children)
    });
    let target = json!({"kind": "pid", "pid": shell.id()});
    let id = daemon.session(&json!({"interval": "20ms", "target": target}).to_string());
    let session = daemon.get(&format!("/v1/sessions/{id}")).json();
    assert_eq!(session["target"], target);
    wait_for_ticks(&daemon, &id, 5);
    daemon.stop(&id);
    let recording = daemon.recordings().join(&id);
    let mut expected = children.clone();
    expected.push(i32::try_from(shell.id()).unwrap());
    expected.sort_unstable();
    assert_eq!(pids(&recording), expected);
    let (recording, _) = Recording::open(&recording).unwrap();
    let settings = &recording.manifest().provenance.settings;
    assert_eq!(settings.target, Scope::Tree { pid: i32::try_from(shell.id()).unwrap() });
    assert!(settings.max_bytes.is_some() && settings.max_idle_ms.is_some());
    for child in children {
        Command::new("kill").arg(child.to_string()).status().unwrap();
    }
    for child in [&mut shell, &mut other] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn a_session_of_a_control_group_records_its_members() {
    let first = Path::new("/sys/fs/cgroup/memory");
    let root = if first.is_dir() { first } else { Path::new("/sys/fs/cgroup") };
    let name = format!("memsample-target-{}", std::process::id());
    let group = root.join(&name);
    std::fs::create_dir(&group).unwrap();
    let daemon = Daemon::start();
    let mut member = sleeper();
    std::fs::write(group.join("cgroup.procs"), member.id().to_string()).unwrap();
    // As the process itself sees it: this machine may be a container.
    let cgroups = std::fs::read_to_string(format!("/proc/{}/cgroup", member.id())).unwrap();
    let path = cgroups.lines().find(|line| line.ends_with(&name)).unwrap();
    let path = path.rsplit(':').next().unwrap();
    let request = json!({"interval": "20ms", "target": {"kind": "cgroup", "path": path}});
    let id = daemon.session(&request.to_string());
    wait_for_ticks(&daemon, &id, 5);
    daemon.stop(&id);
    assert_eq!(pids(&daemon.recordings().join(&id)), [i32::try_from(member.id()).unwrap()]);
    member.kill().unwrap();
    member.wait().unwrap();
    std::fs::remove_dir(&group).unwrap();
}

#[test]
fn limits_of_a_session_have_their_own_words() {
    let daemon = Daemon::start();
    // Twenty thousand marks with a label are more than four megabytes, once they are rows.
    let bytes = daemon.session(r#"{"interval": "10ms", "limits": {"bytes": 4194304}}"#);
    let duration = daemon.session(r#"{"limits": {"duration": "1ms"}}"#);
    let label = "x".repeat(1000);
    let marks = format!("/v1/sessions/{bytes}/marks");
    let mut number: u64 = 1;
    wait_for("the end by size", || {
        // Numbers that do not repeat, so that they do not compress.
        let labels: BTreeMap<String, String> = (0..30)
            .map(|key| {
                let text: String = (0..60)
                    .map(|_| {
                        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        format!("{number:016x}")
                    })
                    .collect();
                (key.to_string(), text)
            })
            .collect();
        let mark = json!({"kind": "point", "name": label, "labels": labels});
        let answer = daemon.post(&marks, &mark.to_string());
        (answer.status == 409).then_some(())
    });
    assert_eq!(daemon.stop(&bytes)["summary"]["end"], "size");
    wait_for("the end by duration", || {
        let session = daemon.get(&format!("/v1/sessions/{duration}")).json();
        (session["state"] == "ended").then_some(())
    });
    assert_eq!(daemon.stop(&duration)["summary"]["end"], "duration");
}

#[test]
fn metrics_tell_of_queues_and_of_the_largest_roles() {
    let directory = tempfile::tempdir().unwrap();
    let config =
        "[daemon]\nmetrics_roles = 3\n[[role]]\nname = 'a \"quoted\" \\ role'\ncomm = '.*'\n";
    let daemon = Daemon::start_with(directory, config);
    let id = daemon.session(r#"{"interval": "10ms"}"#);
    wait_for_ticks(&daemon, &id, 2);
    let metrics = daemon.get("/metrics").text();
    let depth = format!("memsampled_session_queue_depth{{session=\"{id}\"}} ");
    assert!(metrics.contains(&depth), "{metrics}");
    let role = format!(
        "memsampled_role_processes{{session=\"{id}\",role=\"a \\\"quoted\\\" \\\\ role\"}} "
    );
    assert!(metrics.contains(&role), "{metrics}");
    let resident =
        metrics.lines().filter(|line| line.starts_with("memsampled_role_resident_bytes{"));
    assert!((1..=3).contains(&resident.count()), "{metrics}");
    // Nobody asked for them.
    let plain = Daemon::start();
    plain.session("{}");
    assert!(!plain.get("/metrics").text().contains("memsampled_role_"));
}
