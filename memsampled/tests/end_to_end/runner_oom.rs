//! What a recording says of a test that the kernel ended for want of memory.

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use memsample::Recording;
use memsample_runner::results::Outcome;
use tempfile::tempdir;

use crate::running::{options, results, shell, suite};

const MIB: u64 = 1 << 20;

#[test]
fn the_mark_of_a_kill_names_the_test_its_limit_and_the_image() {
    let directory = tempdir().unwrap();
    let options = options(&directory.path().join("results"));
    // It ends long before its control group would be read, which is once a second.
    let mut limited = shell("limited", "head -c 200m /dev/zero | tail -c 200m | wc -c");
    limited.memory_limit_bytes = Some(32 * MIB);
    let results = results(&suite(vec![limited, shell("other", "kill -9 $$")]), &options);
    assert_eq!(results[0].outcome, Outcome::OutOfMemory { limit_bytes: 32 * MIB }, "{results:#?}");

    let (recording, _) = Recording::open(&directory.path().join("results/recording")).unwrap();
    if !recording.manifest().provenance.settings.exits {
        // Who was killed is known by exit records alone.
        return;
    }
    let mut kills = Vec::new();
    for batch in recording.read_table("marks", &["kind", "name", "test", "process"]) {
        let batch = batch.unwrap();
        let text = |name: &str| batch[name].as_string::<i32>().clone();
        let (kind, name, test) = (text("kind"), text("name"), text("test"));
        let process = batch["process"].as_primitive::<Int64Type>();
        // Other tests of this program have processes killed meanwhile, which are of no test of this recording.
        let of_a_test = |row: &usize| kind.value(*row) == "oom_kill" && test.is_valid(*row);
        for row in (0..batch.num_rows()).filter(of_a_test) {
            assert!(process.is_valid(row), "{}", name.value(row));
            let (name, test) = (name.value(row).to_owned(), test.value(row).to_owned());
            kills.push((name, test, process.value(row)));
        }
    }
    let [(name, test, process)] = kills.as_slice() else { panic!("{kills:?}") };
    assert_eq!(test, "limited");
    let reason = "was killed: the memory limit of its test, 32 MiB, was reached";
    assert!(name.starts_with("tail (") && name.ends_with(reason), "{name}");
    // The image is that of the process which the mark names.
    let mut images = Vec::new();
    for batch in recording.read_table("processes", &["process", "pid", "comm", "test"]) {
        let batch = batch.unwrap();
        let keys = batch["process"].as_primitive::<Int64Type>();
        let pids = batch["pid"].as_primitive::<Int32Type>();
        for row in (0..batch.num_rows()).filter(|&row| keys.value(row) == *process) {
            let text = |name: &str| batch[name].as_string::<i32>().value(row).to_owned();
            images.push((pids.value(row), text("comm"), text("test")));
        }
    }
    let [(pid, comm, of)] = images.as_slice() else { panic!("{images:?}") };
    assert_eq!((comm.as_str(), of.as_str()), ("tail", "limited"));
    assert!(name.contains(&format!("({pid})")), "{name}");

    // The counter is in every row of the machine's memory, and rises within it.
    let mut counted = Vec::new();
    for batch in recording.read_table("system", &["oom_kill"]) {
        let batch = batch.unwrap();
        let column = batch["oom_kill"].as_primitive::<Int64Type>();
        assert_eq!(column.null_count(), 0);
        counted.extend(column.values().iter().copied());
    }
    assert!(!counted.is_empty());
}

#[test]
fn a_kill_in_a_group_that_a_test_made_below_its_own_counts() {
    if !std::path::Path::new("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists()
        || !rustix::process::geteuid().is_root()
    {
        // Version 2 adds them up.
        return;
    }
    let directory = tempdir().unwrap();
    let line = "G=/sys/fs/cgroup/memory$(sed -n 's/.*:memory://p' /proc/self/cgroup); mkdir -p $G/sub/sub; \
                echo $$ > $G/sub/sub/cgroup.procs; head -c 200m /dev/zero | tail -c 200m | wc -c; exit 0";
    let mut tests = vec![shell("below", line)];
    if std::fs::File::open("/dev/kmsg").is_ok() {
        // The counter goes with the group; the log of the kernel stays.
        let removed = line.replace("exit 0", "echo $$ > $G/cgroup.procs; rmdir $G/sub/sub $G/sub");
        tests.push(shell("removed", &removed));
    }
    for test in &mut tests {
        test.memory_limit_bytes = Some(32 * MIB);
    }
    for result in results(&suite(tests), &options(directory.path())) {
        assert_eq!(result.outcome, Outcome::OutOfMemory { limit_bytes: 32 * MIB }, "{result:#?}");
        assert!(result.notes.is_empty(), "{result:#?}");
    }
}

#[test]
fn a_test_that_raises_its_own_limit_is_told() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let directory = tempdir().unwrap();
    let group = "for G in /sys/fs/cgroup/memory$(sed -n 's/.*:memory://p' /proc/self/cgroup) \
                 /sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup); do \
                 [ -e $G/memory.limit_in_bytes -o -e $G/memory.max ] && break; done; \
                 set_limit() { for F in $2 memory.max; do [ ! -e $G/$F ] || echo $1 > $G/$F; done; };";
    let raise = "set_limit 512M 'memory.memsw.limit_in_bytes memory.limit_in_bytes';";
    let restore = "set_limit 32M 'memory.limit_in_bytes memory.memsw.limit_in_bytes'";
    let hold = "head -c 100m /dev/zero | tail -c 100m | wc -c;";
    let mut tests = vec![
        shell("raises", &format!("{group} {raise} {hold}")),
        shell("restores", &format!("{group} {raise} {hold} {restore}")),
        shell("keeps", "true"),
    ];
    for test in &mut tests {
        test.memory_limit_bytes = Some(32 * MIB);
    }
    let results = results(&suite(tests), &options(directory.path()));
    let notes: Vec<String> = results.iter().map(|result| result.notes.join("; ")).collect();
    for result in &results {
        assert_eq!(result.outcome, Outcome::Passed, "{result:#?}");
    }
    let said = "its memory limit of 32.0 MiB did not hold: ";
    assert_eq!(notes[0], format!("{said}at its end it was 512.0 MiB"));
    // Before Linux 5.19 there is no high-water mark of a group of version 2.
    let has_peak = results[1].group.as_ref().is_some_and(|group| {
        group.group_peak_bytes.is_some_and(|peak_bytes| peak_bytes > 90 * MIB)
    });
    assert_eq!(
        notes[1].starts_with(&format!("{said}its control group had 1")),
        has_peak,
        "{notes:?}"
    );
    assert_eq!(notes[2], "");
}
