//! Tests that are only marked: the memory of a process at its marks, and what was between them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMillisecondType};
use memsample::Recording;
use serde_json::{Value, json};

use crate::command::{Ended, MEMSAMPLE, memsample, shell, wait_for};
use crate::daemon::Daemon;

const MIB: i64 = 1 << 20;

/// A process that takes and frees private memory when it is told to.
struct Holder {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Holder {
    fn start() -> Self {
        let program = "import mmap, os, sys
held = []
for line in sys.stdin:
    mib = int(line)
    if mib > 0:
        held.append(mmap.mmap(-1, mib << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE))
    elif mib < 0:
        held.pop().close()
    else:
        child = os.fork()
        if child == 0:
            kept = mmap.mmap(-1, 64 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE)
            sys.stdin.readline()
            os._exit(0)
    print(flush=True)
";
        let mut child = Command::new("/usr/bin/python3")
            .args(["-c", program])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut holder = Self { child, answers };
        // Whatever Python loads before its first line is loaded then.
        holder.tell(1);
        holder
    }

    fn tell(&mut self, mib: i64) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{mib}").unwrap();
        self.answers.read_line(&mut String::new()).unwrap();
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn mark(daemon: &Daemon, session: &str, mark: &Value) {
    let answer = daemon.post(&format!("/v1/sessions/{session}/marks"), &mark.to_string());
    assert_eq!(answer.status, 204, "{}", answer.text());
}

/// Sets a mark of a test whose marks have its name.
fn mark_test(daemon: &Daemon, session: &str, kind: &str, test: &str, pid: Option<u32>) {
    mark(daemon, session, &json!({"kind": kind, "name": test, "test": test, "pid": pid}));
}

/// Waits until the recording has that many more ticks on disk.
fn wait_for_ticks(daemon: &Daemon, session: &str, more: u64) {
    let ticks = || {
        daemon.get(&format!("/v1/sessions/{session}")).json()["totals"]["ticks"].as_u64().unwrap()
    };
    let before = ticks();
    wait_for("more ticks", || (ticks() >= before + more).then_some(()));
}

/// Stops a session, and returns the path of its recording and what `peaks --by test` answers.
fn answers(daemon: &Daemon, session: &str) -> (String, Vec<Value>, Ended) {
    let recording = daemon.stop(session)["recording"].as_str().unwrap().to_owned();
    let directory = daemon.directory.path();
    let ended = memsample(directory, &["peaks", &recording, "--by", "test", "--json"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let rows = ended.json().as_array().unwrap().clone();
    (recording, rows, ended)
}

#[track_caller]
fn row<'a>(rows: &'a [Value], test: &str) -> &'a Value {
    let found: Vec<_> = rows.iter().filter(|row| row["test"] == test).collect();
    assert_eq!(found.len(), 1, "{test}: {rows:?}");
    found[0]
}

/// The pid and the resident set of each mark.
fn states(recording: &str) -> Vec<(Option<i32>, Option<i64>)> {
    let (recording, _) = Recording::open(Path::new(recording)).unwrap();
    let rows = recording.read_table("marks", &["pid", "rss_bytes"]).flat_map(|batch| {
        let batch = batch.unwrap();
        let pid = batch["pid"].as_primitive::<Int32Type>().clone();
        let rss = batch["rss_bytes"].as_primitive::<Int64Type>().clone();
        (0..batch.num_rows())
            .map(|row| {
                let pid = pid.is_valid(row).then(|| pid.value(row));
                (pid, rss.is_valid(row).then(|| rss.value(row)))
            })
            .collect::<Vec<_>>()
    });
    rows.collect()
}

#[test]
fn a_difference_between_marks_is_that_of_the_instants() {
    let daemon = Daemon::start();
    // Nothing is sampled between the first tick and the last one: all numbers are those of the marks.
    let session = daemon.session(r#"{"interval": "1h"}"#);
    let mut holder = Holder::start();
    let pid = Some(holder.pid());
    let mut run = |test: &str, changes: &[i64]| {
        mark_test(&daemon, &session, "begin", test, pid);
        changes.iter().for_each(|&mib| holder.tell(mib));
        mark_test(&daemon, &session, "end", test, pid);
    };
    run("frees", &[150, -1]);
    run("keeps", &[40]);
    run("idles", &[]);
    run("shrinks", &[-1]);
    let (recording, rows, ended) = answers(&daemon, &session);
    assert_eq!(ended.stderr, "");
    for (test, mib) in [("frees", 0), ("keeps", 40), ("idles", 0), ("shrinks", -40)] {
        let row = row(&rows, test);
        let noise = MIB / 4;
        for key in ["rss_growth_bytes", "anon_growth_bytes"] {
            let grown = row[key].as_i64().unwrap();
            assert!((grown - mib * MIB).abs() <= noise, "{test} {key}: {grown}");
        }
        assert_eq!((&row["covers"], &row["mark_pid"]), (&json!("marked_process"), &json!(pid)));
        assert_eq!(row["sweeps"], 0);
    }
    // It was freed again, and the kernel knows that it was there.
    let frees = row(&rows, "frees");
    assert_eq!(frees["lower_source"], "high_water_mark");
    let above = frees["lower_bytes"].as_i64().unwrap() - frees["rss_begin_bytes"].as_i64().unwrap();
    assert!((above - 150 * MIB).abs() <= MIB, "{above}");
    assert_eq!(row(&rows, "idles")["lower_source"], "mark");
    let states = states(&recording);
    assert_eq!(states.len(), 8);
    assert!(states.iter().all(|(of, rss)| *of == pid.map(u32::cast_signed) && rss.is_some()));
}

#[test]
fn what_is_not_known_at_a_mark_is_null() {
    let daemon = Daemon::start();
    let session = daemon.session("{}");
    let mut gone = Command::new("true").spawn().unwrap();
    let (pid, own) = (gone.id(), std::process::id());
    gone.wait().unwrap();
    mark_test(&daemon, &session, "begin", "gone", Some(pid));
    mark_test(&daemon, &session, "end", "gone", Some(pid));
    // A number of JSON may be written so.
    let half = json!({"kind": "begin", "name": "half", "test": "half", "pid": f64::from(own)});
    mark(&daemon, &session, &half);
    mark_test(&daemon, &session, "end", "half", None);
    // Another process is not the same one that has grown.
    mark_test(&daemon, &session, "begin", "other", Some(own));
    mark_test(&daemon, &session, "end", "other", Some(daemon.pid()));
    let marks = format!("/v1/sessions/{session}/marks");
    for wrong in ["0", "-1", "2147483648", "1.5", "\"1\""] {
        let body = format!(r#"{{"kind": "point", "name": "x", "pid": {wrong}}}"#);
        assert_eq!(
            daemon.post(&marks, &body).refusal(),
            (422, "invalid_request".into()),
            "{wrong}"
        );
    }
    let (recording, rows, _) = answers(&daemon, &session);
    let states = states(&recording);
    assert_eq!(states[0], (Some(pid.cast_signed()), None));
    assert_eq!(states[3], (None, None));
    for test in ["gone", "half", "other"] {
        assert_eq!(row(&rows, test)["rss_growth_bytes"], Value::Null, "{test}");
    }
    assert_eq!(row(&rows, "gone")["lower_bytes"], Value::Null);
    assert!(row(&rows, "half")["rss_begin_bytes"].as_i64().unwrap() > MIB);
    let text = memsample(daemon.directory.path(), &["peaks", &recording, "--by", "test"]);
    let line = text.stdout.lines().find(|line| line.ends_with(" gone")).unwrap();
    assert!(
        !line.contains(" 0 B") && line.split_whitespace().filter(|cell| *cell == "-").count() >= 5,
        "{line}"
    );
}

#[test]
fn a_client_in_another_pid_namespace_names_its_own_pids() {
    let daemon = Daemon::start();
    let session = daemon.session("{}");
    // The shell is process 1 there, and `memsample` another one. A pid that is none there is none.
    let line = format!(
        "unshare --pid --fork --mount-proc --kill-child sh -c 'cd / && M=\"{MEMSAMPLE} mark --socket {}\"
            $M begin x --test inside --pid $$ && $M end x --test inside --pid $$ &&
            $M point nobody --pid 4000000; code=$?; [ $$ = 1 ] && exit $code'",
        daemon.socket().display()
    );
    let ended = shell(daemon.directory.path(), &line);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let (recording, rows, _) = answers(&daemon, &session);
    let states = states(&recording);
    let (pid, rss) = states[0];
    assert!(pid.is_some_and(|pid| pid > 1) && rss.is_some_and(|rss| rss > 0), "{states:?}");
    assert_eq!((states[1].0, states[2]), (pid, (None, None)));
    assert!(row(&rows, "inside")["rss_growth_bytes"].as_i64().unwrap().abs() < MIB);
}

/// A sweep, and the sum of the resident sets that it read.
struct Sum {
    began_ns: i64,
    ended_ns: i64,
    rss_bytes: i64,
    processes: u64,
}

fn sums(recording: &str) -> Vec<Sum> {
    let (recording, _) = Recording::open(Path::new(recording)).unwrap();
    let mut sums: BTreeMap<i64, Sum> = BTreeMap::new();
    for batch in recording.read_table("ticks", &["ts", "began_ns", "duration_us"]) {
        let batch = batch.unwrap();
        let ts = batch["ts"].as_primitive::<TimestampMillisecondType>().values();
        let began = batch["began_ns"].as_primitive::<Int64Type>().values();
        let duration = batch["duration_us"].as_primitive::<Int64Type>().values();
        for ((ts, &began_ns), duration) in ts.iter().zip(began).zip(duration) {
            let ended_ns = began_ns + 1000 * duration;
            sums.insert(*ts, Sum { began_ns, ended_ns, rss_bytes: 0, processes: 0 });
        }
    }
    for batch in recording.read_table("samples", &["ts", "rss_bytes"]) {
        let batch = batch.unwrap();
        let ts = batch["ts"].as_primitive::<TimestampMillisecondType>().values();
        let rss = batch["rss_bytes"].as_primitive::<Int64Type>().values();
        for (ts, rss) in ts.iter().zip(rss) {
            let sum = sums.get_mut(ts).unwrap();
            sum.rss_bytes += rss;
            sum.processes += 1;
        }
    }
    sums.into_values().collect()
}

/// The time of each mark since boot, by its time since 1970 in milliseconds.
fn boot_of_marks(recording: &str) -> BTreeMap<i64, i64> {
    let (recording, _) = Recording::open(Path::new(recording)).unwrap();
    let batches = recording.read_table("marks", &["ts", "boot_ns"]).map(Result::unwrap);
    let marks = batches.flat_map(|batch| {
        let ts = batch["ts"].as_primitive::<TimestampMillisecondType>().values().to_vec();
        ts.into_iter().zip(batch["boot_ns"].as_primitive::<Int64Type>().values().to_vec())
    });
    let marks: Vec<_> = marks.collect();
    // Of two in one millisecond the first.
    marks.into_iter().rev().collect()
}

#[test]
fn what_was_marked_is_answered_beside_what_was_run() {
    let daemon = Daemon::start();
    let directory = daemon.directory.path();
    let session = daemon.session(r#"{"interval": "10ms"}"#);
    mark_test(&daemon, &session, "begin", "marked", None);
    wait_for_ticks(&daemon, &session, 5);
    mark_test(&daemon, &session, "begin", "overlaps", None);
    let program = "import time; a = bytearray(b'x') * (30 << 20); time.sleep(0.3)";
    let exec = ["exec", "--socket", "s", "--test", "run", "--", "/usr/bin/python3", "-c", program];
    assert_eq!(memsample(directory, &exec).code, Some(0));
    wait_for_ticks(&daemon, &session, 5);
    mark_test(&daemon, &session, "end", "marked", None);
    wait_for_ticks(&daemon, &session, 1);
    mark_test(&daemon, &session, "begin", "again", None);
    wait_for_ticks(&daemon, &session, 5);
    mark_test(&daemon, &session, "begin", "again", None);
    wait_for_ticks(&daemon, &session, 5);
    mark_test(&daemon, &session, "end", "again", None);
    mark_test(&daemon, &session, "end", "never begun", None);
    let (recording, rows, ended) = answers(&daemon, &session);
    let machine: Vec<_> = rows.iter().filter(|row| row["covers"] == "machine").collect();
    assert_eq!(machine.len(), 4, "{rows:?}");
    assert_eq!(row(&rows, "run")["covers"], "own_processes");
    let (sums, boot_ns) = (sums(&recording), boot_of_marks(&recording));
    for row in machine {
        let time = |key: &str| -> i64 {
            row[key].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond()
        };
        // Without a mark it ends with the recording.
        let end = boot_ns.get(&time("end")).copied().filter(|_| row["mark"] != "overlaps");
        let (begin, end) = (boot_ns[&time("begin")], end.unwrap_or(i64::MAX));
        let within = sums.iter().filter(|sum| sum.began_ns >= begin && sum.ended_ns <= end);
        let largest = within.clone().max_by_key(|sum| sum.rss_bytes).unwrap();
        assert_eq!(row["lower_bytes"], largest.rss_bytes, "{row}");
        assert_eq!(row["processes"], largest.processes, "{row}");
        assert_eq!(row["sweeps"], within.count(), "{row}");
    }
    // What began again has two rows.
    let again: Vec<_> = rows.iter().filter(|row| row["test"] == "again").collect();
    assert_eq!(again.len(), 2);
    assert_eq!(again.iter().filter(|row| row["end_marked"] == true).count(), 1);
    assert_eq!(row(&rows, "overlaps")["end_marked"], false);
    for said in [
        "4 tests were only marked: their rows are of the whole machine",
        "no mark ends `overlaps` of test `overlaps`",
        "no mark ends `again` of test `again`",
        "a mark ends `never begun` of test `never begun`, which no mark began",
    ] {
        assert!(ended.stderr.contains(said), "{said}: {}", ended.stderr);
    }
    let text = memsample(directory, &["peaks", &recording, "--by", "test", "--top", "2"]);
    assert_eq!(text.stdout.lines().filter(|line| line.contains("  machine  ")).count(), 2);
    let csv = memsample(directory, &["peaks", &recording, "--by", "test", "--csv"]);
    let columns: Vec<usize> = csv.stdout.lines().map(|line| line.split(',').count()).collect();
    assert_eq!(columns, [33; 6], "{}", csv.stdout);
}

#[test]
fn the_rows_of_a_target_and_of_a_process_hold_no_others() {
    let daemon = Daemon::start();
    let mut holder = Holder::start();
    let pid = holder.pid();
    let request = json!({"interval": "10ms", "target": {"kind": "pid", "pid": pid}});
    let session = daemon.session(&request.to_string());
    let machine = daemon.session(r#"{"interval": "10ms"}"#);
    mark_test(&daemon, &session, "begin", "target", None);
    mark_test(&daemon, &machine, "begin", "process", Some(pid));
    // A child of 64 MiB, which is in the peak and not in the growth.
    holder.tell(0);
    wait_for_ticks(&daemon, &session, 10);
    wait_for_ticks(&daemon, &machine, 10);
    mark_test(&daemon, &session, "end", "target", None);
    mark_test(&daemon, &machine, "end", "process", Some(pid));
    let (_, rows, ended) = answers(&daemon, &session);
    assert!(ended.stderr.contains("its row is of the target of the recording"), "{}", ended.stderr);
    let (_, of_process, _) = answers(&daemon, &machine);
    let process = row(&of_process, "process");
    assert!(process["rss_growth_bytes"].as_i64().unwrap().abs() < MIB, "{process}");
    assert_eq!(row(&rows, "target")["covers"], "target");
    for row in [row(&rows, "target"), process] {
        let peak = row["lower_bytes"].as_i64().unwrap();
        assert!((64 * MIB..150 * MIB).contains(&peak), "{row}");
        assert_eq!(row["processes"], 2);
    }
}
