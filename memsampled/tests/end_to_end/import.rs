//! `memsample import`: a capture of this machine is viewed as the machine itself.

use std::fs;
use std::path::Path;

use crate::command::{memsample, wait_for};
use crate::idle::Idle;
use serde_json::Value;
use tar::{Builder, Header};
use tempfile::tempdir;

/// Writes a capture of the process and of the machine.
pub(crate) fn capture(path: &Path, pid: i64) {
    let mut tar = Builder::new(fs::File::create(path).unwrap());
    let files = ["meminfo".to_owned(), "version".to_owned()];
    let of_process = ["smaps", "cmdline", "stat"].map(|name| format!("{pid}/{name}"));
    for name in files.iter().chain(&of_process) {
        let contents = fs::read(format!("/proc/{name}")).unwrap();
        let mut header = Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_uid(0);
        header.set_mtime(1_700_000_000);
        header.set_cksum();
        tar.append_data(&mut header, name, &*contents).unwrap();
    }
    tar.into_inner().unwrap();
}

fn rows(directory: &Path, arguments: &[&str]) -> Vec<Value> {
    let ended = memsample(directory, &[&["view", "--json"], arguments].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.json().as_array().unwrap().clone()
}

#[test]
fn a_capture_is_viewed_as_the_machine() {
    let idle = Idle::start(24, "captured");
    let directory = tempdir().unwrap();
    // Other processes come and go meanwhile, and share pages with this one.
    wait_for("a capture and a view to agree", || {
        let _ = fs::remove_dir_all(directory.path().join("recordings"));
        capture(&directory.path().join("night.1.tar"), idle.pid());
        let live = rows(directory.path(), &["--filter", "24 << 20"]);
        let ended = memsample(directory.path(), &["import", "night.1.tar"]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(ended.stdout.contains("python -c") && ended.stdout.contains("recordings/night ("));
        let recorded = rows(directory.path(), &["recordings/night"]);
        assert_eq!(recorded.len(), 1);
        let live = live.iter().find(|row| row["pid"] == idle.pid()).unwrap();
        for key in ["pid", "ppid", "comm", "command", "vsize_bytes"] {
            assert_eq!(recorded[0][key], live[key], "{key}");
        }
        for key in ["hwm_bytes", "file_bytes", "cgroup"] {
            assert!(recorded[0][key].is_null());
        }
        let agree = ["pss_bytes", "uss_bytes", "rss_bytes", "swap_bytes"].iter().all(|key| {
            let [recorded, live] = [&recorded[0], live].map(|row| row[key].as_u64().unwrap());
            recorded.abs_diff(live) * 100 <= live
        });
        agree.then_some(())
    });
    let users = rows(directory.path(), &["recordings/night", "--by", "user"]);
    assert_eq!(users.len(), 1);
    let areas = rows(directory.path(), &["recordings/night", "--by", "system"]);
    assert!(areas.iter().all(|area| area["used_bytes"].is_u64()));
}

#[test]
fn what_cannot_be_imported_is_refused_in_one_line() {
    let idle = Idle::start(24, "captured");
    let directory = tempdir().unwrap();
    capture(&directory.path().join("one.tar"), idle.pid());
    fs::write(directory.path().join("two.tar"), "not a tar, but long enough to look like one")
        .unwrap();
    assert_eq!(memsample(directory.path(), &["import", "one.tar"]).code, Some(0));
    for (arguments, message) in [
        (&["import", "absent.tar"][..], "`absent.tar` is not a capture of smemcap: No such file"),
        (&["import", "two.tar"], "`two.tar` is not a capture of smemcap: it is no tar"),
        (&["import", "one.tar", "one.tar", "--name", "x"], "`one.tar` was given twice"),
        (&["import", "one.tar"], "`recordings/one` exists: choose another name, or remove it"),
        (&["import", "one.tar", "--name", "../x"], "cannot be the name of a recording"),
        (&["view", "one.tar"], "`memsample import one.tar` makes a recording of it"),
        (&["import"], "required arguments were not provided"),
    ] {
        let ended = memsample(directory.path(), arguments);
        assert!(matches!(ended.code, Some(1 | 2)), "{arguments:?}");
        assert!(ended.stderr.starts_with("error: "), "{}", ended.stderr);
        assert!(ended.stderr.contains(message), "{arguments:?} said {}", ended.stderr);
        assert_eq!(crate::command::recordings(directory.path()).len(), 1, "{arguments:?}");
    }
}
