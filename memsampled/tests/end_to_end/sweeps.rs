//! `memsample record --sweep`: the same rows from `/proc` and by BPF, and what is said where BPF may not be used.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command};

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use memsample::Recording;
use tempfile::tempdir;

use crate::command::{manifest, memsample, shell};

const COLUMNS: [&str; 13] = [
    "rss_bytes",
    "vsize_bytes",
    "shared_bytes",
    "anon_bytes",
    "data_bytes",
    "file_bytes",
    "shmem_bytes",
    "swap_bytes",
    "hwm_bytes",
    "minflt",
    "majflt",
    "utime_ns",
    "stime_ns",
];

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// All values of a process at rest, of which each row has the same.
fn values(recording: &Path) -> BTreeMap<&'static str, Option<i64>> {
    let (recording, _) = Recording::open(recording).unwrap();
    let mut rows = Vec::new();
    for batch in recording.read_table("samples", &COLUMNS) {
        let batch = batch.unwrap();
        for row in 0..batch.num_rows() {
            let value = |name: &'static str| {
                let column = batch[name].as_primitive::<Int64Type>();
                (name, column.is_valid(row).then(|| column.value(row)))
            };
            rows.push(COLUMNS.into_iter().map(value).collect::<BTreeMap<_, _>>());
        }
    }
    assert!(rows.len() > 2 && rows.iter().all(|row| *row == rows[0]), "{rows:?}");
    rows.remove(0)
}

#[test]
fn both_ways_record_the_same_or_the_missing_capability_is_named() {
    let directory = tempdir().unwrap();
    let script = "import time; a = b'x' * 9000000; print('ready', flush=True); time.sleep(1000)";
    let mut python = Command::new("python3");
    let child = python.args(["-S", "-c", script]).stdout(std::process::Stdio::piped()).spawn();
    let mut child = Ended(child.unwrap());
    let mut line = String::new();
    let output = child.0.stdout.as_mut().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).unwrap();
    let pid = child.0.id().to_string();
    for way in ["proc", "auto"] {
        let settings =
            ["--duration", "500ms", "--detail-interval", "every", "--pss-interval", "off"];
        let record = ["record", "--sweep", way, "--name", way, "--pid", &pid];
        let ended = memsample(directory.path(), &[&record[..], &settings].concat());
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
    let recordings = ["proc", "auto"].map(|way| directory.path().join("recordings").join(way));
    let [by_proc, by_auto] = recordings.each_ref().map(|recording| values(recording));
    assert_eq!(by_proc, by_auto);
    assert!(by_auto["anon_bytes"] > Some(9_000_000) && by_auto["hwm_bytes"].is_some());
    let [by_proc, by_auto] = recordings.map(|recording| manifest(&recording));
    assert_eq!(by_proc["settings"]["sweeps"], "proc");
    if by_auto["settings"]["sweeps"] == "proc" {
        assert!(by_auto["notes"].to_string().contains("CAP_BPF"), "{by_auto}");
    } else {
        assert_eq!(by_auto["settings"]["sweeps"], "bpf");
    }
}

#[test]
fn who_may_not_use_bpf_is_told_why() {
    let directory = tempdir().unwrap();
    let user = match rustix::process::geteuid().is_root() {
        true => "setpriv --reuid=61001 --regid=61001 --clear-groups --bounding-set=-all",
        false => "",
    };
    let record = |way: &str| {
        let line = format!(
            "chmod 777 .; {user} $MEMSAMPLE record --sweep {way} --duration 200ms --json --name {way}"
        );
        shell(directory.path(), &line)
    };
    let missing = "it needs CAP_PERFMON and CAP_BPF, which this program lacks";
    let refused = record("bpf");
    assert_eq!(refused.code, Some(1), "{}", refused.stdout);
    let error = format!("error: cannot sample processes: BPF cannot read processes: {missing}\n");
    assert_eq!(refused.stderr, error);
    assert!(!directory.path().join("recordings/bpf").exists());
    let by_proc = record("auto");
    assert_eq!(by_proc.code, Some(0), "{}", by_proc.stderr);
    let notes = by_proc.json()["notes"].to_string();
    let note = format!("processes are read from /proc, and not by BPF: {missing}");
    assert!(notes.contains(&note), "{notes}");
}

#[test]
fn a_configuration_and_an_option_say_how_to_sweep() {
    let directory = tempdir().unwrap();
    std::fs::write(directory.path().join("c.toml"), "sweep = \"bpf\"\n").unwrap();
    // A tree that no BPF program reads shows which was taken.
    let line = "unshare --pid --fork --kill-child sh -c '\
                $MEMSAMPLE record --config c.toml --duration 200ms --name configured; \
                $MEMSAMPLE record --config c.toml --sweep proc --duration 200ms --name option'";
    if !rustix::process::geteuid().is_root() {
        // Who may not make a namespace may not use BPF either.
        let line = "$MEMSAMPLE record --config c.toml --duration 200ms";
        assert!(shell(directory.path(), line).stderr.contains("CAP_BPF"));
        return;
    }
    let ended = shell(directory.path(), line);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let reason = "shows another pid namespace than that of this program";
    assert!(ended.stderr.contains(reason), "{}", ended.stderr);
    assert!(!directory.path().join("recordings/configured").exists());
    assert!(directory.path().join("recordings/option").exists());
}
