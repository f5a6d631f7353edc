//! The rows of captured `/proc` trees, against committed text and against the procfs crate.
//!
//! `trees/capture.py` says how the trees were made. `UPDATE_GOLDEN=1` writes the text anew.

use std::fmt::Write;
use std::fs;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use memsample::{Files, Host, Metric, Sampler, SamplerOptions};

fn tree(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trees").join(name)
}

fn sampler(name: &str) -> Sampler {
    let host = Host {
        page_bytes: NonZeroU64::new(4096).unwrap(),
        ticks_per_second: NonZeroU64::new(100).unwrap(),
    };
    Sampler::new(SamplerOptions::default().proc_root(tree(name)).host(host)).unwrap()
}

/// Returns a paragraph for each sample, and what was not read.
fn rows(name: &str) -> String {
    let mut sampler = sampler(name);
    let snapshot = sampler.sweep(Files::all());
    let mut text = String::new();
    for sample in snapshot.samples() {
        let identity = sample.identity();
        writeln!(text, "{} {:?}", sample.pid(), sample.comm().to_string()).unwrap();
        writeln!(text, "  cmdline {:?}", identity.cmdline_text()).unwrap();
        let path = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(memsample::text);
        writeln!(text, "  exe {:?}", path(&identity.exe)).unwrap();
        writeln!(text, "  cgroup {:?}", path(&identity.cgroup)).unwrap();
        let (ppid, uid, start) = (identity.ppid, identity.uid, identity.start_ns);
        writeln!(text, "  ppid {ppid} uid {uid:?} start_ns {start}").unwrap();
        for metric in Metric::ALL {
            let value = sample.get(metric).map_or("-".to_owned(), |value| value.to_string());
            writeln!(text, "  {} {value}", metric.name()).unwrap();
        }
    }
    writeln!(text, "{:#?}", snapshot.counts()).unwrap();
    text
}

#[track_caller]
fn check(name: &str) {
    let golden = tree(name).with_extension("txt");
    let rows = rows(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&golden, rows).unwrap();
    } else {
        let expected = fs::read_to_string(&golden).unwrap();
        assert!(rows == expected, "{} differs; these are the rows now:\n{rows}", golden.display());
    }
}

#[test]
fn a_captured_machine_gives_the_committed_rows() {
    check("idle");
}

#[test]
fn every_broken_file_is_counted_and_costs_no_more_than_its_own_values() {
    check("broken");
}

#[test]
fn procfs_reads_the_same_from_the_captured_machine() {
    let mut sampler = sampler("idle");
    let mut compared = 0;
    for sample in sampler.sweep(Files::all()).samples() {
        let directory = tree("idle").join(sample.pid().to_string());
        let theirs = procfs::process::Process::new_with_root(directory).unwrap();
        // Without its first thread a process shows nothing of its own, and a thread speaks for it.
        let (stat, statm) = (theirs.stat().unwrap(), theirs.statm().unwrap());
        if statm.size == 0 {
            continue;
        }
        let get = |metric| sample.get(metric).unwrap();
        assert_eq!(get(Metric::Vsize), statm.size * 4096);
        assert_eq!(get(Metric::Rss), statm.resident * 4096);
        assert_eq!(get(Metric::Shared), statm.shared * 4096);
        assert_eq!((get(Metric::Minflt), get(Metric::Majflt)), (stat.minflt, stat.majflt));
        assert_eq!(get(Metric::Utime), stat.utime * 10_000_000);
        assert_eq!(sample.identity().start_ns, stat.starttime * 10_000_000);
        let rollup = theirs.smaps_rollup().unwrap().memory_map_rollup;
        let total = |field: &str| rollup.iter().map(|map| map.extension.map[field]).sum::<u64>();
        assert_eq!(get(Metric::Pss), total("Pss"));
        assert_eq!(get(Metric::Uss), total("Private_Clean") + total("Private_Dirty"));
        // `status` has the name escaped, and procfs reads a name that is no UTF-8 from neither.
        if let Ok(status) = theirs.status() {
            assert_eq!(get(Metric::Hwm), status.vmhwm.unwrap() * 1024);
            assert_eq!(get(Metric::Shmem), status.rssshmem.unwrap() * 1024);
            assert_eq!(sample.identity().uid, Some(status.euid));
        }
        compared += 1;
    }
    assert_eq!(compared, 13);
}
