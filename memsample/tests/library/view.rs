//! Views of captured `/proc` trees and of recordings, as a program that links the library reads them.

use std::fs;
use std::path::{Path, PathBuf};

use memsample::view::{At, By, Note, Sum, Value, View, ViewError, ViewOptions, column, columns};
use memsample::{Rate, Recorder, RecorderOptions, Recording, SamplerOptions};
use regex::Regex;
use tempfile::{TempDir, tempdir};

fn tree(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trees").join(name)
}

fn user_name(uid: u32) -> Option<String> {
    (uid == 0).then(|| "root".to_owned())
}

#[track_caller]
fn live(name: &str, options: &ViewOptions) -> View {
    View::live(SamplerOptions::default().proc_root(tree(name)), options, &user_name).unwrap()
}

/// Returns the values of a column.
#[track_caller]
fn values(view: &View, by: By, name: &str) -> Vec<Value> {
    view.table.values_of(column(by, name).unwrap()).cloned().collect()
}

fn record(name: &str) -> (TempDir, Recording) {
    record_tree(&tree(name))
}

fn record_tree(root: &Path) -> (TempDir, Recording) {
    let directory = tempdir().unwrap();
    let options = RecorderOptions::new()
        .detail(Rate::EveryTick)
        .pss(Rate::EveryTick)
        .events(false)
        .sampler(SamplerOptions::default().proc_root(root));
    let recorder = Recorder::start(&directory.path().join("x"), options).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    (directory, recorder.stop().unwrap())
}

#[test]
fn groups_are_the_sums_of_their_processes() {
    for name in ["idle", "broken"] {
        let processes = live(name, &ViewOptions::new(By::Process));
        for by in [By::User, By::Cgroup, By::Role] {
            let groups = live(name, &ViewOptions::new(by));
            assert_eq!(groups.processes, processes.processes);
            for short in ["rss", "pss", "uss", "swap"] {
                let whole = |view: &View, by| {
                    let mut sum = Sum::default();
                    values(view, by, short).iter().for_each(|value| sum.add(value.as_sum()));
                    sum
                };
                let expected = whole(&processes, By::Process);
                assert_eq!(whole(&groups, by), expected, "{short} of {name} by {by:?}");
                let unknown = groups.table.unknown(column(by, short).unwrap());
                assert_eq!(unknown, expected.unknown);
            }
        }
    }
}

#[test]
fn a_recorded_tree_is_the_tree() {
    let (_directory, recording) = record("idle");
    for by in [By::Process, By::User, By::Cgroup, By::Role, By::System] {
        let options = ViewOptions::new(by);
        let recorded = View::recorded(&recording, None, &options, &user_name).unwrap();
        assert_eq!(recorded.table.rows, live("idle", &options).table.rows, "{by:?}");
        assert!(matches!(recorded.notes[..], [Note::Instant { ts, last, .. }] if ts == last));
    }
}

#[test]
fn a_column_that_nobody_asked_for_is_not_read() {
    let options = ViewOptions::new(By::Process).columns([*column(By::Process, "rss").unwrap()]);
    let view = live("idle", &options);
    assert!(values(&view, By::Process, "pss").iter().all(|value| *value == Value::Unknown));
    assert!(values(&view, By::Process, "rss").iter().all(|value| *value != Value::Unknown));
    assert!(view.known_pss.is_none());
}

#[test]
fn long_arguments_are_whole() {
    let directory = tempdir().unwrap();
    let process = directory.path().join("41");
    fs::create_dir(&process).unwrap();
    for file in ["stat", "statm", "status"] {
        fs::copy(tree("idle").join("4").join(file), process.join(file)).unwrap();
    }
    let argument = "x".repeat(100_000);
    fs::write(process.join("cmdline"), format!("sleep\0{argument}\0")).unwrap();
    let sampler = SamplerOptions::default().proc_root(directory.path());
    let view = View::live(sampler, &ViewOptions::new(By::Process), &user_name).unwrap();
    let whole = Value::Text(format!("sleep {argument}"));
    assert_eq!(values(&view, By::Process, "command"), [whole]);
}

#[test]
fn users_without_a_name_have_their_number() {
    let view = View::live(
        SamplerOptions::default().proc_root(tree("idle")),
        &ViewOptions::new(By::User),
        &|_| None,
    );
    let view = view.unwrap();
    for (user, uid) in values(&view, By::User, "user").iter().zip(values(&view, By::User, "uid")) {
        let (Value::Text(user), Value::Number(uid)) = (user, uid) else { panic!("{user:?}") };
        assert_eq!(*user, uid.to_string());
    }
}

#[test]
fn processes_are_chosen_by_name_user_and_pid() {
    let pids = |options: ViewOptions| -> Vec<Value> {
        values(&live("idle", &options), By::Process, "pid")
    };
    let all = pids(ViewOptions::new(By::Process));
    let sleep = || ViewOptions::new(By::Process).name(Regex::new("^sleep").unwrap());
    assert_eq!(pids(sleep()), [Value::Number(4)]);
    assert_eq!(pids(sleep().except(4)), []);
    assert_eq!(pids(ViewOptions::new(By::Process).except(4)).len(), all.len() - 1);
    let nobody = live("idle", &ViewOptions::new(By::Process).user(12_345));
    assert_eq!((nobody.processes, &nobody.notes[..]), (0, &[Note::NoMatch][..]));
}

#[test]
fn mappings_of_processes_add_up_by_name() {
    let directory = tempdir().unwrap();
    let mapping = |path: &str, kib: u64| {
        format!(
            "1000-2000 r--p 00000000 fd:01 7    {path}\nSize: 4 kB\nRss: {kib} kB\nPss: {kib} kB\n\
             Private_Clean: 0 kB\nPrivate_Dirty: {kib} kB\nSwap: 0 kB\nSwapPss: 0 kB\n"
        )
    };
    let library = mapping("/lib/a.so", 4);
    for (pid, smaps) in [("41", library.clone() + &mapping("", 8)), ("42", library)] {
        let process = directory.path().join(pid);
        fs::create_dir(&process).unwrap();
        for file in ["stat", "statm", "status"] {
            fs::copy(tree("idle").join("4").join(file), process.join(file)).unwrap();
        }
        fs::write(process.join("smaps"), smaps).unwrap();
    }
    let sampler = SamplerOptions::default().proc_root(directory.path());
    let view = View::live(sampler.clone(), &ViewOptions::new(By::Mapping), &user_name).unwrap();
    assert_eq!(
        values(&view, By::Mapping, "mapping"),
        [Value::Text("/lib/a.so".to_owned()), Value::Text("[anonymous]".to_owned())]
    );
    assert_eq!(values(&view, By::Mapping, "pss_bytes"), [Value::Size(8192), Value::Size(8192)]);
    assert_eq!(values(&view, By::Mapping, "processes"), [Value::Number(2), Value::Number(1)]);
    assert_eq!(values(&view, By::Mapping, "avgpss"), [Value::Size(4096), Value::Size(8192)]);
    fs::remove_file(directory.path().join("42/smaps")).unwrap();
    let view = View::live(sampler, &ViewOptions::new(By::Mapping), &user_name).unwrap();
    assert_eq!(view.notes, [Note::MappingsUnreadable { processes: 1, of: 2 }]);
}

/// Copies a process of the captured tree, with other contents of some files; `None`: without the file.
fn copy_process(root: &Path, pid: i32, changes: &[(&str, Option<&str>)]) {
    let process = root.join(pid.to_string());
    fs::create_dir(&process).unwrap();
    for file in ["stat", "statm", "status", "smaps_rollup", "cmdline", "cgroup"] {
        fs::copy(tree("idle").join("4").join(file), process.join(file)).unwrap();
    }
    for (file, contents) in changes {
        match contents {
            Some(contents) => fs::write(process.join(file), contents).unwrap(),
            None => fs::remove_file(process.join(file)).unwrap(),
        }
    }
}

#[test]
fn a_view_and_a_recording_have_the_same_processes_of_a_captured_tree() {
    let directory = tempdir().unwrap();
    let root = directory.path();
    for file in ["loadavg", "meminfo"] {
        fs::copy(tree("idle").join(file), root.join(file)).unwrap();
    }
    let huge = "99999999999999999999999 18446744073709551616 3 4 0 6 0\n";
    let no_memory = "Name:\tx\nTgid:\t1\nUid:\t0\t0\t0\t0\nThreads:\t1\n";
    let cases: [&[(&str, Option<&str>)]; 11] = [
        &[],
        &[("stat", None)],
        &[("statm", None)],
        &[("status", None)],
        &[("stat", None), ("statm", None)],
        &[("smaps_rollup", None), ("cmdline", None), ("cgroup", None)],
        &[("statm", Some(huge)), ("status", None)],
        &[("statm", Some("0 0 0 0 0 0 0\n"))],
        &[("statm", Some("garbage"))],
        &[("status", Some(no_memory))],
        &[("status", Some("garbage")), ("stat", Some("7 (x"))],
    ];
    for (pid, changes) in (101..).zip(cases) {
        copy_process(root, pid, changes);
    }
    let sampler = SamplerOptions::default().proc_root(root);
    let options = ViewOptions::new(By::Process);
    let view = View::live(sampler, &options, &user_name).unwrap();
    let (_directory, recording) = record_tree(root);
    let recorded = View::recorded(&recording, None, &options, &user_name).unwrap();
    let pids = |view: &View| values(view, By::Process, "pid");
    let expected = [101, 104, 106, 107, 110].map(Value::Number);
    assert_eq!(pids(&recorded), expected);
    assert_eq!(pids(&view), expected);
    // A number that is too large is stored as the largest.
    let vsize = values(&recorded, By::Process, "vsize_bytes");
    assert_eq!(vsize[3], Value::Size(i64::MAX.unsigned_abs()));
    for name in ["idle", "broken"] {
        let (_directory, recording) = record(name);
        let recorded = View::recorded(&recording, None, &options, &user_name).unwrap();
        assert_eq!(pids(&live(name, &options)), pids(&recorded), "{name}");
    }
}

#[test]
fn more_is_never_unreadable_than_was_looked_at() {
    let directory = tempdir().unwrap();
    copy_process(directory.path(), 41, &[]);
    fs::write(directory.path().join("41/smaps"), "").unwrap();
    for pid in 42..48 {
        copy_process(directory.path(), pid, &[("stat", None), ("statm", None), ("status", None)]);
    }
    let sampler = SamplerOptions::default().proc_root(directory.path());
    let view = View::live(sampler, &ViewOptions::new(By::Mapping), &user_name).unwrap();
    assert_eq!(view.notes, [Note::MappingsUnreadable { processes: 6, of: 7 }]);
}

#[test]
fn what_cannot_be_shown_is_an_error() {
    let directory = tempdir().unwrap();
    let sampler = SamplerOptions::default().proc_root(directory.path());
    let empty = View::live(sampler, &ViewOptions::new(By::Process), &user_name);
    assert!(matches!(empty, Err(ViewError::Read(_))), "{empty:?}");
    let (_directory, recording) = record("idle");
    let at = |at, by| View::recorded(&recording, Some(at), &ViewOptions::new(by), &user_name);
    let hour = At::Offset(std::time::Duration::from_secs(3600));
    assert!(matches!(at(hour, By::Process), Err(ViewError::Instant(_))));
    assert!(matches!(at(hour, By::Mapping), Err(ViewError::MappingsNotRecorded)));
    let forever = At::Offset(std::time::Duration::MAX);
    assert!(matches!(at(forever, By::Process), Err(ViewError::OffsetTooLong)));
}

#[test]
fn rows_have_a_value_for_every_column() {
    for by in [By::Process, By::User, By::System, By::Cgroup, By::Role] {
        let view = live("broken", &ViewOptions::new(by));
        assert!(!view.table.rows.is_empty());
        for row in &view.table.rows {
            assert_eq!(row.len(), columns(by).len(), "{by:?}");
        }
    }
}
