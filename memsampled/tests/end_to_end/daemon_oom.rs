//! A workload that runs out of memory while the daemon records it.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::command::wait_for;
use crate::daemon::Daemon;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMillisecondType};
use jiff::Timestamp;
use memsample::Recording;
use memsample_client::Client;
use memsample_client::wire::ListedProcess;

const LIMIT_BYTES: u64 = 96 << 20;

/// A control group with a limit of memory, version 1 or 2.
struct Group(PathBuf);

impl Group {
    fn new() -> Self {
        let first = Path::new("/sys/fs/cgroup/memory");
        let (root, limit) = match first.join("memory.limit_in_bytes").exists() {
            true => (first, "memory.limit_in_bytes"),
            false => (Path::new("/sys/fs/cgroup"), "memory.max"),
        };
        let group = root.join(format!("memsample-test-{}", std::process::id()));
        std::fs::create_dir(&group).unwrap();
        let group = Self(group);
        std::fs::write(group.0.join(limit), LIMIT_BYTES.to_string()).unwrap();
        // Without swap, where it is counted.
        let _ = std::fs::write(group.0.join("memory.swap.max"), "0");
        group
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn who_was_killed_for_want_of_memory_is_named_with_the_reason() {
    // Other tests run out of memory meanwhile, which is told of the whole machine.
    let config = "[daemon.flight_recorder]\nspan = '1m'\ngap = '1s'\npressure = 'off'\n";
    let daemon = Daemon::start_with(tempfile::tempdir().unwrap(), config);
    let group = Group::new();
    let id = daemon.session(r#"{"interval": "10ms"}"#);
    // It grows within the group to half of the limit and more, and then until the kernel ends it.
    let line = "echo $$ > $GROUP/cgroup.procs && \
                exec python3 -c 'input()\nkept = [b\"x\" * 1000000 for _ in range(60)]\ninput()\n\
                while True: kept.append(b\"x\" * 1000000)'";
    let mut eater = Command::new("sh");
    eater.args(["-c", line]).env("GROUP", &group.0).stdin(Stdio::piped());
    let mut eater = eater.spawn().unwrap();
    let pid = i64::from(eater.id());
    let name = group.0.file_name().unwrap().to_str().unwrap();
    let mut client = Client::connect(&daemon.socket()).unwrap();
    let mut latest = || -> Option<(Timestamp, ListedProcess)> {
        let list = client.processes(&id).unwrap();
        let it = list.processes.into_iter().find(|it| i64::from(it.pid) == pid)?;
        Some((list.ts?, it))
    };
    // Groups are looked for once a second, and a group that was never seen cannot be named.
    let (seen, _) = wait_for("its group", || {
        latest().filter(|(_, it)| it.cgroup.as_ref().is_some_and(|path| path.ends_with(name)))
    });
    wait_for("a look at the group", || {
        latest().filter(|(at, _)| at.duration_since(seen).as_secs() >= 3)
    });
    let mut go_on = eater.stdin.take().unwrap();
    go_on.write_all(b"\n").unwrap();
    wait_for("a sample of half of the limit", || {
        latest().filter(|(_, it)| it.rss_bytes > LIMIT_BYTES / 2)
    });
    go_on.write_all(b"\n").unwrap();
    assert_eq!(eater.wait().unwrap().signal(), Some(9));
    // At once, as a test run does that is over with this.
    daemon.stop(&id);
    daemon.wait_for_good_health();

    let (recording, _) = Recording::open(&daemon.recordings().join(&id)).unwrap();
    let marks: Vec<(String, String)> = (recording.read_table("marks", &["kind", "name"]))
        .flat_map(|batch| {
            let batch = batch.unwrap();
            let text = |column: usize| batch.column(column).as_string::<i32>().clone();
            let (kinds, names) = (text(0), text(1));
            (0..batch.num_rows())
                .map(|row| (kinds.value(row).to_owned(), names.value(row).to_owned()))
                .collect::<Vec<_>>()
        })
        .collect();
    let victim = format!("python3 ({pid}) of ");
    let is_kill = |(kind, name): &&(String, String)| kind == "oom_kill" && name.contains(&victim);
    let kills: Vec<&String> = marks.iter().filter(is_kill).map(|(_, name)| name).collect();
    let [kill] = kills.as_slice() else { panic!("{marks:?}") };
    // As a fact, not as one of several candidates.
    assert!(kill.starts_with(&victim), "{kill}");
    assert!(kill.contains(&format!("/{name}` was at its limit")), "{kill} instead of {name}");

    // The samples reach to its end, and to the limit.
    let columns = ["ts", "pid", "rss_bytes"];
    let (mut last, mut largest) = (0, 0);
    for batch in recording.read_table("samples", &columns) {
        let batch = batch.unwrap();
        let column = |name: &str| batch.column_by_name(name).unwrap();
        let ts = column("ts").as_primitive::<TimestampMillisecondType>();
        let pids = column("pid").as_primitive::<Int32Type>();
        let rss = column("rss_bytes").as_primitive::<Int64Type>();
        for row in (0..batch.num_rows()).filter(|&row| i64::from(pids.value(row)) == pid) {
            last = last.max(ts.value(row));
            largest = largest.max(rss.value(row));
        }
    }
    let mut ended = 0;
    for batch in recording.read_table("exits", &["ts", "pid"]) {
        let batch = batch.unwrap();
        let ts = batch.column(0).as_primitive::<TimestampMillisecondType>();
        let pids = batch.column(1).as_primitive::<Int32Type>();
        let own = (0..batch.num_rows()).find(|&row| i64::from(pids.value(row)) == pid);
        ended = own.map_or(ended, |row| ts.value(row));
    }
    let ticks = recording.read_table("ticks", &["ts"]).flat_map(|batch| {
        batch.unwrap().column(0).as_primitive::<TimestampMillisecondType>().values().to_vec()
    });
    // It may end while a tick looks at others, and its end is known at the next one.
    let without = ticks.filter(|ts| (last + 1..ended).contains(ts)).count();
    assert!(without <= 2, "{without} ticks before its end without a sample");
    assert!(largest.unsigned_abs() > LIMIT_BYTES / 2, "{largest}");

    // The flight recorder makes a dump of it by itself, in which it is named too.
    wait_for("a dump that names it", || {
        let recordings = daemon.get("/v1/recordings").json();
        let ids = recordings["recordings"].as_array().unwrap().iter();
        let ids = ids.map(|recording| recording["id"].as_str().unwrap());
        let opened = ids.map(|id| Recording::open(&daemon.recordings().join(id)).unwrap().0);
        let mut dumps = opened.filter(|recording| {
            let labels = &recording.manifest().provenance.labels;
            labels.get("memsampled.dump").is_some_and(|reason| reason == "oom_kill")
        });
        let names = |dump: &Recording| {
            dump.read_table("marks", &["name"]).any(|batch| {
                let batch = batch.unwrap();
                let names = batch.column(0).as_string::<i32>();
                names.iter().flatten().any(|name| name.starts_with(&victim))
            })
        };
        dumps.any(|dump| names(&dump)).then_some(())
    });
}
