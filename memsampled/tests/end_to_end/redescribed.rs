//! What a process changes of itself without an exec: its control group, its user, and its title. Slow: it is followed
//! within a second or two.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::command::{Running, memsample, wait_for, wait_for_recorded};
use crate::running::{command, isolated, options, results, suite};
use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMillisecondType};
use jiff::Timestamp;
use memsample::Recording;
use memsample_runner::results::{BudgetVerdict, Outcome};
use memsample_runner::suite::{Action, Budget, Quantity, Sandbox, Test};
use rustix::process::geteuid;
use tempfile::tempdir;

const PYTHON: &str = "/usr/bin/python3";
const MIB: u64 = 1 << 20;

/// Grows by some memory; a process that sleeps all the time is looked at only each ten seconds. Waits for a file, or grows
/// until it is there, and not for ever. Says when it has changed something of itself.
const GROW: &str = "import os, sys, time
kept = []
def grow(mib):
    kept.append(bytearray(mib << 20))
    for i in range(0, mib << 20, 4096): kept[-1][i] = 1
def wait(name):
    for i in range(20000):
        if os.path.exists(name): return
        time.sleep(.01)
    sys.exit('nobody came')
def grow_until(name):
    for i in range(600):
        if os.path.exists(name): break
        grow(1); time.sleep(.1)
def change(what):
    with open('changed', 'w') as file:
        what()
        file.write(str(time.time()))
";
/// Rows at most in which what was changed is not seen: it is followed within a second or two, and who sleeps is looked at
/// after a hundred rows.
const LATE_ROWS: usize = 50;

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
    samples_of(&Recording::open(run).unwrap().0)
}

fn samples_of(recording: &Recording) -> Vec<Row> {
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

/// Records a program that changes something of itself when the file `sampled` is there, and ends when `enough` is: when
/// its rows so far, and the time of the change in seconds, are enough. Returns its samples in the order of time.
#[track_caller]
fn record(
    directory: &Path,
    options: &[&str],
    program: &str,
    is_enough: impl Fn(&[Row], f64) -> bool,
) -> Vec<Row> {
    // Who gives up its user looks for files there too.
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    for file in ["pid", "changed", "sampled", "enough"] {
        let _ = fs::remove_file(directory.join(file));
    }
    let program = format!("{GROW}open('pid', 'w').write(str(os.getpid()))\n{program}");
    let command = ["--", PYTHON, "-S", "-c", &program];
    let arguments = [&["record", "--name", "x"], options, &command].concat();
    let run = directory.join("recordings/x");
    let recorder = Running::start(directory, &arguments);
    let number = |file: &str| {
        wait_for("a number", || fs::read_to_string(directory.join(file)).ok()?.parse::<f64>().ok())
    };
    let pid = number("pid") as i32;
    let began = fs::metadata(directory.join("pid")).unwrap().modified().unwrap();
    let began_ms = Timestamp::try_from(began).unwrap().as_millisecond();
    // Not of what it was before it executed the program.
    let its = |mut rows: Vec<Row>| {
        rows.retain(|row| row.pid == pid && row.ts_ms >= began_ms);
        rows
    };
    wait_for_recorded("its first sample", &run, |recording| {
        (!its(samples_of(recording)).is_empty()).then_some(())
    });
    fs::write(directory.join("sampled"), "").unwrap();
    let changed = number("changed");
    wait_for_recorded("what it changed", &run, |recording| {
        is_enough(&its(samples_of(recording)), changed).then_some(())
    });
    fs::write(directory.join("enough"), "").unwrap();
    let ended = recorder.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    its(samples(&run))
}

/// Returns how many of the rows are later than a time in seconds.
fn later_rows(rows: &[Row], seconds: f64) -> usize {
    rows.iter().filter(|row| row.ts_ms as f64 > 1000.0 * seconds).count()
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
        "wait('sampled'); grow(3)
change(lambda: open('{group}/cgroup.procs', 'w').write(str(os.getpid())))
grow_until('enough')"
    );
    let is_there = |row: &Row| row.cgroup.as_deref() == Some(&path);
    let rows = record(directory.path(), &[], &program, |rows, changed| {
        rows.iter().filter(|row| is_there(row)).count() >= 5
            || later_rows(rows, changed) > LATE_ROWS
    });
    fs::remove_dir(&group).unwrap();
    let moved = rows.iter().position(is_there);
    let moved = moved.unwrap_or_else(|| panic!("{rows:?}"));
    let (before, after) = rows.split_at(moved);
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
        let program = "wait('sampled')\nchange(lambda: os.setuid(65534))\ngrow_until('enough')";
        let rows = record(directory.path(), options, program, |rows, changed| {
            rows.iter().filter(|row| row.uid == Some(65534)).count() >= 5
                || later_rows(rows, changed) > LATE_ROWS
        });
        let dropped = rows.iter().position(|row| row.uid == Some(65534));
        let dropped = dropped.unwrap_or_else(|| panic!("{rows:?}"));
        assert!(dropped > 0 && rows.len() - dropped >= 5, "{rows:?}");
        assert!(rows[..dropped].iter().all(|row| row.uid == Some(0)), "{rows:?}");
        assert!(rows[dropped..].iter().all(|row| row.uid == Some(65534)), "{rows:?}");
        let pid = rows[0].pid;
        let is_nobodys = |row: &Row| {
            let time = Timestamp::from_millisecond(row.ts_ms).unwrap().to_string();
            let arguments = ["view", "x", "--at", &time, "--user", "65534", "--json"];
            memsample(directory.path(), &arguments)
                .json()
                .as_array()
                .unwrap()
                .iter()
                .any(|row| row["pid"] == pid)
        };
        let last = rows.last().unwrap();
        assert_eq!((is_nobodys(&rows[0]), is_nobodys(last)), (false, true));
    }
}

#[test]
fn a_title_gives_a_role_where_a_rule_says_so_and_no_other() {
    let directory = tempdir().unwrap();
    let program = "import ctypes
libc = ctypes.CDLL(None)
start = int(open('/proc/self/stat').read().rsplit(')', 1)[1].split()[45])
def rename():
    ctypes.memmove(start, b'queue: mail\\0', 12)
    libc.prctl(15, b'renamed', 0, 0, 0)
wait('sampled')
change(rename)
grow_until('enough')";
    let rule = "[[role]]\nname = 'queue ${name}'\ncmdline = '^queue: (?<name>\\w+)'\n";
    fs::write(directory.path().join("rules.toml"), rule).unwrap();
    let options = ["--config", "rules.toml"];
    let rows = record(directory.path(), &options, program, |rows, changed| {
        rows.last().is_some_and(|row| row.role == "queue mail")
            || later_rows(rows, changed) > LATE_ROWS
    });
    let roles: Vec<&str> = rows.iter().map(|row| &*row.role).collect();
    assert_ne!(roles[0], "queue mail");
    assert_eq!(roles.last(), Some(&"queue mail"), "{roles:?}");
    fs::remove_dir_all(directory.path().join("recordings")).unwrap();
    // It would have been seen by then.
    let is_enough = |rows: &[Row], changed| later_rows(rows, changed) > 25;
    let rows = record(directory.path(), &[], program, is_enough);
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
wait('{left}')",
        group = path("group").display(),
        left = path("left").display(),
    );
    // Older than the test, and no descendant of it.
    let visitor = format!(
        "{GROW}old = [line.split(':')[2] for line in open('/proc/self/cgroup') if ':memory:' in line][0].strip()
procs = lambda path: open('/sys/fs/cgroup/memory' + path + '/cgroup.procs', 'w')
grow(80)
wait('{outside}')
with procs(open('{group}').read()) as file: file.write(str(os.getpid()))
grow_until('{inside}')
with procs(old) as file: file.write(str(os.getpid()))
grow_until('{left}')",
        outside = path("outside").display(),
        group = path("group").display(),
        inside = path("inside").display(),
        left = path("left").display(),
    );
    let mut child = Command::new(PYTHON).args(["-S", "-c", &visitor]).spawn().unwrap();
    let visitor = i32::try_from(child.id()).unwrap();
    let [recording, group, outside, inside, left] =
        ["recording", "group", "outside", "inside", "left"].map(path);
    let visits = std::thread::spawn(move || {
        let wait_for_rows = |are_enough: fn(&[Row]) -> bool| {
            wait_for_recorded("rows of the visitor", &recording, |recording| {
                let mut rows = samples_of(recording);
                rows.retain(|row| row.pid == visitor);
                are_enough(&rows).then_some(())
            });
        };
        wait_for("the group of the test", || group.exists().then_some(()));
        wait_for_rows(|rows| !rows.is_empty());
        fs::write(outside, "").unwrap();
        wait_for_rows(|rows| rows.iter().filter(|row| row.test.is_some()).count() >= 5);
        fs::write(inside, "").unwrap();
        wait_for_rows(|rows| rows.last().is_some_and(|row| row.test.is_none()));
        fs::write(left, "").unwrap();
        assert!(child.wait().unwrap().success());
    });
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
    visits.join().unwrap();
    let [result] = &*results else { panic!("{results:#?}") };
    assert_eq!(result.outcome, Outcome::Passed, "{result:#?}");
    assert_eq!(result.budgets[0].verdict, BudgetVerdict::Exceeded, "{result:#?}");
    let mut rows = samples(&path("recording"));
    rows.retain(|row| row.pid == visitor);
    let mut tests: Vec<Option<&str>> = rows.iter().map(|row| row.test.as_deref()).collect();
    tests.dedup();
    assert_eq!(tests, [None, Some("visited"), None], "{rows:?}");
}
