//! Control groups of both versions, of a hybrid machine and of none, from `/sys` to Parquet.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::fake_proc::{FakeProc, FakeProcess};
use crate::recorded::{batches, int32, int64, string, timestamp};
use crate::scripted_clock::ScriptedClock;
use arrow_array::Array;
use arrow_array::cast::AsArray;
use memsample::{Rate, Recorder, RecorderOptions, Recording, SamplerOptions};
use tempfile::TempDir;

const STAT_V2: &str = "anon 1000\nfile 2000\nkernel 300\nkernel_stack 16\nsock 24\nshmem 40\nfile_mapped 500\npgfault 9\n";
const STAT_V1: &str = "cache 1\nrss 1\nhierarchical_memory_limit 50000\ntotal_cache 2000\ntotal_rss 1000\n\
                       total_shmem 40\ntotal_mapped_file 500\ntotal_swap 60\n";
const PRESSURE: &str = "some avg10=0.00 avg60=0.00 avg300=0.00 total=11\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
const NO_LIMIT_V1: &str = "9223372036854771712\n";

/// A `/sys` in which a test decides what the groups say.
struct FakeSys(TempDir);

impl FakeSys {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn group(&self, path: &str, files: &[(&str, &str)]) {
        for (name, text) in files {
            self.write(&format!("fs/cgroup/{path}/{name}"), text);
        }
    }

    /// The root of v2 has few of the files.
    fn v2() -> Self {
        let sys = Self::new();
        sys.write("fs/cgroup/cgroup.controllers", "cpu memory\n");
        sys.group("", &[("memory.stat", STAT_V2), ("memory.pressure", PRESSURE)]);
        sys
    }
}

const GROUP_V2: [(&str, &str); 7] = [
    ("memory.stat", STAT_V2),
    ("memory.current", "3340\n"),
    ("memory.max", "max\n"),
    ("memory.peak", "4000\n"),
    ("memory.events", "low 0\nhigh 1\nmax 2\noom 3\noom_kill 4\noom_group_kill 0\n"),
    ("memory.swap.current", "60\n"),
    ("memory.pressure", PRESSURE),
];

const GROUP_V1: [(&str, &str); 7] = [
    ("memory.stat", STAT_V1),
    ("memory.usage_in_bytes", "3340\n"),
    ("memory.limit_in_bytes", NO_LIMIT_V1),
    ("memory.max_usage_in_bytes", "4000\n"),
    ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"),
    ("memory.failcnt", "2\n"),
    ("memory.kmem.usage_in_bytes", "300\n"),
];

/// Processes by pid, each with what `/proc/[pid]/cgroup` says.
fn proc_with(processes: &[(i32, &str)]) -> FakeProc {
    let tree = FakeProc::new();
    for (pid, cgroup) in processes {
        tree.set(&FakeProcess::new(*pid));
        tree.write(&format!("{pid}/cgroup"), cgroup.as_bytes());
    }
    tree
}

/// Records ten ticks, with the groups at every one that `script` prepares.
fn record(
    directory: &Path,
    tree: &FakeProc,
    sys: Option<&FakeSys>,
    mut script: impl FnMut(u64) + Send + 'static,
) -> Recording {
    let clock = ScriptedClock::new(move |tick, _| script(tick));
    let mut sampler = SamplerOptions::default().proc_root(tree.path()).clock(clock.shared());
    if let Some(sys) = sys {
        sampler = sampler.sys_root(sys.0.path());
    }
    let options = RecorderOptions::new()
        .interval(Duration::from_secs(1))
        .duration(Duration::from_secs(10))
        .sampler(sampler);
    clock.run(Recorder::start(&directory.join("run"), options).unwrap())
}

type Row = BTreeMap<String, Option<String>>;

/// The rows of `cgroups` at each tick, by path.
fn rows(recording: &Recording) -> BTreeMap<i64, BTreeMap<String, Row>> {
    let mut rows: BTreeMap<i64, BTreeMap<String, Row>> = BTreeMap::new();
    for batch in batches(recording, "cgroups") {
        for row in 0..batch.num_rows() {
            let mut values = Row::new();
            for field in batch.schema().fields() {
                let name = field.name().as_str();
                let column = batch.column_by_name(name).unwrap();
                let value = match name {
                    "recording" | "ts" => continue,
                    "cgroup" | "cgroup_version" => column
                        .is_valid(row)
                        .then(|| column.as_string::<i32>().value(row).to_owned()),
                    _ => int64(&batch, name, row).map(|value| value.to_string()),
                };
                // All but the keys begin so: they are no numbers of processes.
                let name = name.strip_prefix("cgroup_").unwrap_or(name);
                values.insert(name.to_owned(), value);
            }
            let group = string(&batch, "cgroup", row);
            let before = rows.entry(timestamp(&batch, row)).or_default().insert(group, values);
            assert!(before.is_none(), "two rows of one group at one tick");
        }
    }
    rows
}

/// Checks the named values of a group at the last tick; `-` is null.
#[track_caller]
fn check(recording: &Recording, group: &str, expected: &str) {
    let rows = rows(recording);
    let (_, last) = rows.last_key_value().unwrap();
    let row = &last[group];
    for pair in expected.split_whitespace() {
        let (name, value) = pair.split_once('=').unwrap();
        let is = row.get(name).unwrap_or_else(|| panic!("no column {name}"));
        assert_eq!(is.as_deref().unwrap_or("-"), value, "{name} of {group}");
    }
}

/// What both versions say of the same memory.
const COMMON: &str = "processes=1 anon_bytes=1000 file_bytes=2000 shmem_bytes=40 file_mapped_bytes=500 \
                      kernel_bytes=300 swap_bytes=60 current_bytes=3340 peak_bytes=4000 max_events=2 oom_kill=4";

#[test]
fn v2_has_everything() {
    let sys = FakeSys::v2();
    sys.group("a.slice", &GROUP_V2);
    sys.group("a.slice", &[("memory.max", "70000\n")]);
    sys.group("a.slice/b.service", &GROUP_V2);
    let tree = proc_with(&[(7, "0::/a.slice/b.service\n")]);
    let directory = tempfile::tempdir().unwrap();
    let recording = record(directory.path(), &tree, Some(&sys), |_| {});
    check(&recording, "/a.slice/b.service", COMMON);
    check(
        &recording,
        "/a.slice/b.service",
        "version=v2 sock_bytes=24 limit_bytes=- effective_limit_bytes=70000 high_events=1 oom_events=3 psi_some_us=11 psi_full_us=7",
    );
    check(&recording, "/a.slice", "processes=0 limit_bytes=70000 effective_limit_bytes=70000");
    check(
        &recording,
        "/",
        "processes=0 anon_bytes=1000 current_bytes=- limit_bytes=- psi_some_us=11",
    );
    assert_eq!(recording.manifest().provenance.settings.cgroup_interval_ms, Some(1000));
}

#[test]
fn v1_has_no_pressure() {
    let sys = FakeSys::new();
    sys.group("memory", &GROUP_V1);
    sys.group("memory/test", &GROUP_V1);
    let tree = proc_with(&[(7, "4:memory:/test\n1:cpu:/\n")]);
    let directory = tempfile::tempdir().unwrap();
    let recording = record(directory.path(), &tree, Some(&sys), |_| {});
    check(&recording, "/test", COMMON);
    check(
        &recording,
        "/test",
        "version=v1 sock_bytes=- limit_bytes=- effective_limit_bytes=50000 high_events=- oom_events=- psi_some_us=-",
    );
}

#[test]
fn on_a_hybrid_machine_the_pressure_is_that_of_the_same_path() {
    let sys = FakeSys::new();
    sys.write("fs/cgroup/unified/cgroup.controllers", "\n");
    for group in ["both", "only-v1"] {
        sys.group(&format!("memory/{group}"), &GROUP_V1);
    }
    sys.group("unified/both", &[("memory.pressure", PRESSURE)]);
    let tree =
        proc_with(&[(7, "4:memory:/both\n0::/both\n"), (8, "4:cpu,memory:/only-v1\n0::/\n")]);
    let directory = tempfile::tempdir().unwrap();
    let recording = record(directory.path(), &tree, Some(&sys), |_| {});
    check(&recording, "/both", COMMON);
    check(&recording, "/both", "version=v1 psi_some_us=11 psi_full_us=7");
    check(&recording, "/only-v1", "version=v1 current_bytes=3340 psi_some_us=-");
}

#[test]
fn without_groups_the_table_is_empty_and_a_note_says_so() {
    for (sys, note) in [
        (Some(FakeSys::new()), "no control groups with the memory controller are mounted here"),
        (None, "no /sys goes with this copy of a /proc tree"),
    ] {
        let tree = proc_with(&[(7, "")]);
        let directory = tempfile::tempdir().unwrap();
        let recording = record(directory.path(), &tree, sys.as_ref(), |_| {});
        assert!(rows(&recording).is_empty());
        let manifest = recording.manifest();
        assert!(manifest.notes.iter().any(|it| it.contains(note)), "{:?}", manifest.notes);
        assert_eq!(manifest.provenance.settings.cgroup_interval_ms, None);
    }
}

#[test]
fn a_group_is_followed_until_it_is_removed() {
    let sys = FakeSys::v2();
    sys.group("job", &GROUP_V2);
    let tree = proc_with(&[(1, "0::/\n"), (7, "0::/job\n")]);
    let process: PathBuf = tree.process_path(7);
    let job = sys.0.path().join("fs/cgroup/job");
    let directory = tempfile::tempdir().unwrap();
    let recording = record(directory.path(), &tree, Some(&sys), move |tick| match tick {
        // What killed the last process is counted after its end.
        3 => {
            fs::remove_dir_all(&process).unwrap();
            fs::write(job.join("memory.events"), "max 9\noom_kill 5\n").unwrap();
        }
        6 => fs::remove_dir_all(&job).unwrap(),
        _ => {}
    });
    let rows = rows(&recording);
    let of_job: Vec<_> = rows.values().map(|groups| groups.get("/job")).collect();
    let value = |tick: usize, name: &str| of_job[tick].unwrap()[name].clone();
    assert_eq!(value(2, "processes").as_deref(), Some("1"));
    assert_eq!(value(5, "processes").as_deref(), Some("0"));
    assert_eq!(value(2, "oom_kill").as_deref(), Some("4"));
    assert_eq!(value(5, "oom_kill").as_deref(), Some("5"));
    assert!(of_job[6..].iter().all(Option::is_none));
    let mut gone = 0;
    for batch in batches(&recording, "ticks") {
        for row in 0..batch.num_rows() {
            assert_eq!(int32(&batch, "cgroups_unreadable", row), 0);
            gone += int32(&batch, "cgroups_gone", row);
        }
    }
    assert_eq!(gone, 1);
}

#[test]
fn garbage_and_paths_that_lead_outside_are_counted() {
    let sys = FakeSys::v2();
    sys.group("job", &GROUP_V2);
    sys.group("job", &[("memory.current", "many\n")]);
    let tree = proc_with(&[(7, "0::/job\n"), (8, "0::/../../../job\n"), (9, "0::/absent\n")]);
    let directory = tempfile::tempdir().unwrap();
    let recording = record(directory.path(), &tree, Some(&sys), |_| {});
    check(&recording, "/job", "current_bytes=- anon_bytes=1000 peak_bytes=4000");
    let names: Vec<_> = rows(&recording).into_values().next().unwrap().into_keys().collect();
    assert_eq!(names, ["/", "/job"]);
    for batch in batches(&recording, "ticks") {
        for row in 0..batch.num_rows() {
            assert_eq!(int32(&batch, "cgroups_unreadable", row), 3);
        }
    }
}

#[test]
fn more_groups_than_are_followed_are_counted() {
    let sys = FakeSys::v2();
    let groups: Vec<String> = (0..1100).map(|number| format!("g{number}")).collect();
    for group in &groups {
        sys.group(group, &[("memory.stat", STAT_V2)]);
    }
    let cgroups: Vec<String> = groups.iter().map(|group| format!("0::/{group}\n")).collect();
    let processes: Vec<_> = (10..).zip(cgroups.iter().map(String::as_str)).collect();
    let tree = proc_with(&processes);
    let directory = tempfile::tempdir().unwrap();
    let recording = record(directory.path(), &tree, Some(&sys), |_| {});
    for groups in rows(&recording).values() {
        assert_eq!(groups.len(), 1024);
    }
    let [batch] = &batches(&recording, "ticks")[..] else { panic!("one batch") };
    // Of 1100 and the root.
    assert_eq!(int32(batch, "cgroups_unreadable", 0), 1101 - 1024);
}

#[test]
fn the_groups_of_this_machine_say_what_their_files_say() {
    let directory = tempfile::tempdir().unwrap();
    let options = RecorderOptions::new()
        .interval(Duration::from_millis(20))
        .duration(Duration::from_millis(100))
        .cgroups(Rate::EveryTick)
        .pss(Rate::Off);
    let recorder = Recorder::start(&directory.path().join("run"), options).unwrap();
    let finished = recorder.finished();
    assert!(finished.recv().is_err());
    let recording = recorder.stop().unwrap();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let v1 = own.lines().find_map(|line| line.split_once(":memory:"));
    let rows = rows(&recording);
    // On a busy machine ticks may be missed, but not all.
    assert!(!rows.is_empty());
    for groups in rows.values() {
        let own = match v1 {
            Some((_, path)) => &groups[path],
            None => &groups[own.lines().find_map(|line| line.strip_prefix("0::")).unwrap()],
        };
        assert_eq!(own["version"].as_deref(), Some(if v1.is_some() { "v1" } else { "v2" }));
        let number = |name: &str| own[name].as_ref().map(|value| value.parse::<u64>().unwrap());
        assert!(number("processes") >= Some(1));
        assert!(number("anon_bytes").is_some() && number("file_bytes").is_some());
        // Read one after the other, while pages are charged.
        if let (Some(limit), Some(effective)) =
            (number("limit_bytes"), number("effective_limit_bytes"))
        {
            assert!(effective <= limit);
        }
    }
}

#[test]
fn compressed_swap_is_summed_and_null_where_there_is_none() {
    let sys = FakeSys::new();
    sys.write("block/zram0/mm_stat", "4096 1000 2000 0 3000 0 0 0 0\n");
    sys.write("block/zram2/mm_stat", "4096 1000 2000 0 3000 0 0 0 0\n");
    let header = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
    for (sys, swaps, expected) in [
        (
            Some(&sys),
            Some(format!("{header}/dev/zram0 partition 4000 8 100\n")),
            [Some(1), Some(8192), Some(8192), Some(2000), Some(4000), Some(6000)],
        ),
        (None, Some(header.to_owned()), [Some(0), None, None, None, None, None]),
        (None, None, [None; 6]),
    ] {
        let tree = proc_with(&[(7, "")]);
        if let Some(swaps) = swaps {
            tree.write("swaps", swaps.as_bytes());
        }
        let directory = tempfile::tempdir().unwrap();
        let recording = record(directory.path(), &tree, sys, |_| {});
        let [batch] = &batches(&recording, "system")[..] else { panic!("one batch") };
        let names = [
            "swap_devices",
            "swap_used_bytes",
            "zram_data_bytes",
            "zram_compressed_bytes",
            "zram_used_bytes",
            "zram_used_peak_bytes",
        ];
        assert_eq!(names.map(|name| int64(batch, name, 0)), expected);
    }
}
