//! What a process changes of itself without an exec: its control group, its user, and its title. Slow: it is followed
//! within a second or two.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::command::{memsample, wait_for};
use crate::running::{command, isolated, options, results, suite};
use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMillisecondType};
use memsample::Recording;
use memsample_runner::results::{BudgetVerdict, Outcome};
use memsample_runner::suite::{Action, Budget, Quantity, Sandbox, Test};
use rustix::process::geteuid;
use tempfile::tempdir;

const PYTHON: &str = "/usr/bin/python3";
const MIB: u64 = 1 << 20;

/// Grows by some memory; a process that sleeps all the time is looked at only each ten seconds.
const GROW: &str = "import os, sys, time
kept = []
def grow(mib):
    kept.append(bytearray(mib << 20))
    for i in range(0, mib << 20, 4096): kept[-1][i] = 1
";

/// A sample of a process: when, its user, its control group, its role and its test.
#[derive(Debug)]
struct Row {
    ts_ms: i64,
    pid: i32,
    uid: Option<i64>,
    cgroup: Option<String>,
    role: String,
    test: Option<String>,
}

fn samples(run: &Path) -> Vec<Row> {
    let (recording, _) = Recording::open(run).unwrap();
    let columns = ["ts", "pid", "uid", "cgroup", "role", "test"];
    let rows = recording.read_table("samples", &columns).flat_map(|batch| {
        let batch = batch.unwrap();
        let ts = batch["ts"].as_primitive::<TimestampMillisecondType>().clone();
        let (pid, uid) = (
            batch["pid"].as_primitive::<Int32Type>().clone(),
            batch["uid"].as_primitive::<Int64Type>().clone(),
        );
        let text = |name: &str, row: usize| {
            let column = batch[name].as_string::<i32>();
            column.is_valid(row).then(|| column.value(row).to_owned())
        };
        let row = |row| Row {
            ts_ms: ts.value(row),
            pid: pid.value(row),
            uid: uid.is_valid(row).then(|| uid.value(row)),
            cgroup: text("cgroup", row),
            role: text("role", row).unwrap(),
            test: text("test", row),
        };
        (0..batch.num_rows()).map(row).collect::<Vec<_>>()
    });
    let mut rows: Vec<Row> = rows.collect();
    rows.sort_by_key(|row| row.ts_ms);
    rows
}

/// Records a program that writes its pid into the file `pid`, and returns its samples in the order of time.
#[track_caller]
fn record(directory: &Path, options: &[&str], program: &str) -> Vec<Row> {
    let program = format!("{GROW}open('pid', 'w').write(str(os.getpid()))\n{program}");
    let command = ["--", PYTHON, "-S", "-c", &program];
    let arguments = [&["record", "--name", "x"], options, &command].concat();
    let ended = memsample(directory, &arguments);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let pid: i32 = fs::read_to_string(directory.join("pid")).unwrap().parse().unwrap();
    let mut rows = samples(&directory.join("recordings/x"));
    rows.retain(|row| row.pid == pid);
    rows
}

/// Returns the directory of a new control group below that of this program, and its path; `None` where none can be made.
fn new_group(name: &str) -> Option<(String, String)> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap();
    let path_of = |controller: &str| {
        let line = groups.lines().find(|line| line.split(':').nth(1) == Some(controller))?;
        line.split(':').nth(2)
    };
    let (root, path) = match path_of("memory") {
        Some(path) => ("/sys/fs/cgroup/memory", path),
        None => ("/sys/fs/cgroup", path_of("")?),
    };
    let path = format!("{}/memsample-{name}-{}", path.trim_end_matches('/'), std::process::id());
    let directory = format!("{root}{path}");
    fs::create_dir(&directory).ok()?;
    Some((directory, path))
}

#[test]
fn a_move_into_another_control_group_is_in_the_rows_from_then_on() {
    let Some((group, path)) = new_group("moved") else { return };
    let directory = tempdir().unwrap();
    let program = format!(
        "before = open('/proc/self/cgroup').read()
time.sleep(.3); grow(3)
open('{group}/cgroup.procs', 'w').write(str(os.getpid()))
for i in range(25): grow(1); time.sleep(.1)"
    );
    let rows = record(directory.path(), &[], &program);
    fs::remove_dir(&group).unwrap();
    let moved = rows.iter().position(|row| row.cgroup.as_deref() == Some(&path));
    let moved = moved.unwrap_or_else(|| panic!("{rows:?}"));
    let (before, after) = rows.split_at(moved);
    let is_there = |row: &Row| row.cgroup.as_deref() == Some(&path);
    assert!(!before.is_empty() && before.iter().all(|row| !is_there(row)), "{rows:?}");
    assert!(after.len() >= 5 && after.iter().all(is_there), "{rows:?}");
    let (recording, _) = Recording::open(&directory.path().join("recordings/x")).unwrap();
    let texts = |table: &str, column: &str| -> BTreeSet<String> {
        let columns = [column];
        let batches = recording.read_table(table, &columns);
        let of_batch = |batch: std::io::Result<arrow_array::RecordBatch>| {
            let column = batch.unwrap()[column].as_string::<i32>().clone();
            (0..column.len())
                .filter(|&row| column.is_valid(row))
                .map(|row| column.value(row).to_owned())
                .collect::<Vec<_>>()
        };
        batches.flat_map(of_batch).collect()
    };
    assert!(texts("cgroups", "cgroup").contains(&path));
    // That is where the image was first seen.
    assert!(!texts("processes", "cgroup").contains(&path));
}

#[test]
fn who_gives_up_its_user_is_somebody_else_from_then_on() {
    if !geteuid().is_root() {
        return;
    }
    for options in [&[][..], &["--events", "off"]] {
        let directory = tempdir().unwrap();
        let program =
            "time.sleep(.3); os.setuid(65534)\nfor i in range(25): grow(1); time.sleep(.1)";
        let rows = record(directory.path(), options, program);
        let dropped = rows.iter().position(|row| row.uid == Some(65534));
        let dropped = dropped.unwrap_or_else(|| panic!("{rows:?}"));
        assert!(dropped > 0 && rows.len() - dropped >= 5, "{rows:?}");
        assert!(rows[..dropped].iter().all(|row| row.uid == Some(0)), "{rows:?}");
        assert!(rows[dropped..].iter().all(|row| row.uid == Some(65534)), "{rows:?}");
        let pid = rows[0].pid;
        let is_nobodys = |time: &str| {
            let arguments = ["view", "x", "--at", time, "--user", "65534", "--json"];
            memsample(directory.path(), &arguments)
                .json()
                .as_array()
                .unwrap()
                .iter()
                .any(|row| row["pid"] == pid)
        };
        assert_eq!((is_nobodys("0.1s"), is_nobodys("2.3s")), (false, true));
    }
}

#[test]
fn a_title_gives_a_role_where_a_rule_says_so_and_no_other() {
    let directory = tempdir().unwrap();
    let program = "import ctypes
libc = ctypes.CDLL(None)
start = int(open('/proc/self/stat').read().rsplit(')', 1)[1].split()[45])
time.sleep(.3)
ctypes.memmove(start, b'queue: mail\\0', 12)
libc.prctl(15, b'renamed', 0, 0, 0)
for i in range(25): grow(1); time.sleep(.1)";
    let rule = "[[role]]\nname = 'queue ${name}'\ncmdline = '^queue: (?<name>\\w+)'\n";
    fs::write(directory.path().join("rules.toml"), rule).unwrap();
    let rows = record(directory.path(), &["--config", "rules.toml"], program);
    let roles: Vec<&str> = rows.iter().map(|row| &*row.role).collect();
    assert_ne!(roles[0], "queue mail");
    assert_eq!(roles.last(), Some(&"queue mail"), "{roles:?}");
    fs::remove_dir_all(directory.path().join("recordings")).unwrap();
    let rows = record(directory.path(), &[], program);
    let usual: BTreeSet<&str> = rows.iter().map(|row| &*row.role).collect();
    assert_eq!(usual.len(), 1, "{usual:?}");
}

#[test]
fn who_moves_into_the_group_of_a_test_is_of_it_until_it_leaves() {
    let memory = Path::new("/sys/fs/cgroup/memory");
    if !memory.join("memory.limit_in_bytes").exists() || !geteuid().is_root() {
        return;
    }
    let directory = tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    // It tells its group, and stays until somebody has come and gone.
    let program = format!(
        "{GROW}own = [line.split(':')[2] for line in open('/proc/self/cgroup') if ':memory:' in line][0]
with open('{group}.part', 'w') as file: file.write(own.strip())
os.rename('{group}.part', '{group}')
while not os.path.exists('{left}'): time.sleep(.01)",
        group = path("group").display(),
        left = path("left").display(),
    );
    let visits = {
        let (group, left, gone) = (path("group"), path("left"), path("gone"));
        std::thread::spawn(move || {
            // Older than the test, and no descendant of it.
            let visitor = format!(
                "{GROW}old = [line.split(':')[2] for line in open('/proc/self/cgroup') if ':memory:' in line][0].strip()
procs = lambda path: open('/sys/fs/cgroup/memory' + path + '/cgroup.procs', 'w')
while not os.path.exists('{group}'): time.sleep(.01)
with procs(open('{group}').read()) as file: file.write(str(os.getpid()))
for i in range(25): grow(4); time.sleep(.1)
with procs(old) as file: file.write(str(os.getpid()))
for i in range(40): grow(1); time.sleep(.1)
open('{left}', 'w')
for i in range(3): time.sleep(.1)",
                group = group.display(),
                left = left.display(),
            );
            let mut child = Command::new(PYTHON).args(["-S", "-c", &visitor]).spawn().unwrap();
            let pid = child.id();
            assert!(child.wait().unwrap().success());
            fs::write(gone, "").unwrap();
            i32::try_from(pid).unwrap()
        })
    };
    let budget = Budget {
        role: None,
        quantity: Quantity::RssPeak,
        limit_bytes: 60 * MIB,
        action: Action::Warn,
    };
    let test =
        Test { budgets: vec![budget], ..command("visited", &[PYTHON, "-S", "-c", &program]) };
    let suite = suite(vec![isolated(test, Sandbox::None)]);
    let results = results(&suite, &options(directory.path()));
    let visitor = visits.join().unwrap();
    wait_for("the end of the visitor", || path("gone").exists().then_some(()));
    let [result] = &*results else { panic!("{results:#?}") };
    assert_eq!(result.outcome, Outcome::Passed, "{result:#?}");
    assert_eq!(result.budgets[0].verdict, BudgetVerdict::Exceeded, "{result:#?}");
    let mut rows = samples(&path("recording"));
    rows.retain(|row| row.pid == visitor);
    let mut tests: Vec<Option<&str>> = rows.iter().map(|row| row.test.as_deref()).collect();
    tests.dedup();
    assert_eq!(tests, [None, Some("visited"), None], "{rows:?}");
}
