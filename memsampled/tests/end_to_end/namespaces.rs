//! Recordings and runs in namespaces, each alone and as containers combine them: what is said to work does, and what does
//! not is said.

use std::path::{Path, PathBuf};

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use memsample::Recording;
use tempfile::tempdir;

use crate::command::{Ended, Running, manifest, shell, wait_for, wait_for_recorded};

/// The processes that a recorded line starts, and that live between two ticks.
const BRIEF: usize = 20;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The version 1 hierarchy of a controller.
fn v1(controller: &str) -> Option<PathBuf> {
    let path = Path::new("/sys/fs/cgroup").join(controller);
    (path.join("cgroup.clone_children").exists() && is_root()).then_some(path)
}

/// A control group of version 1 with what is below it, removed at the end.
struct Group(PathBuf);

impl Group {
    fn new(hierarchy: &Path, name: &str) -> Self {
        let group = hierarchy.join(format!("memsample-{name}-{}", std::process::id()));
        std::fs::create_dir_all(group.join("job")).unwrap();
        Self(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(self.0.join("job"));
        let _ = std::fs::remove_dir(&self.0);
    }
}

fn text_column(recording: &Recording, table: &str, wanted: &str) -> Vec<String> {
    let mut texts = Vec::new();
    for batch in recording.read_table(table, &[wanted]) {
        let batch = batch.unwrap();
        texts.extend(batch[wanted].as_string::<i32>().iter().flatten().map(str::to_owned));
    }
    texts
}

/// Records brief processes in namespaces, and checks what the recording says of them against what it says that the kernel
/// reports; returns whether that was exits.
#[track_caller]
fn check_namespaces(namespaces: &str) -> Option<bool> {
    let directory = tempdir().unwrap();
    if shell(directory.path(), &format!("{namespaces} true")).code != Some(0) {
        // Not everybody may make one here.
        return None;
    }
    let brief = vec!["/bin/true"; BRIEF].join("; ");
    let line = format!(
        "{namespaces} sh -c '$MEMSAMPLE doctor --json > doctor; \
         $MEMSAMPLE record --name x --json json -- sh -c \"sleep 0.3; {brief}; sleep 0.3\"'"
    );
    let ended = shell(directory.path(), &line);
    assert_eq!(ended.code, Some(0), "{namespaces}: {}", ended.stderr);
    let doctor = std::fs::read_to_string(directory.path().join("doctor")).unwrap();
    let doctor: serde_json::Value = serde_json::from_str(&doctor).unwrap();
    let works = |name: &str| {
        let mut checks = doctor.as_array().unwrap().iter();
        checks.find(|check| check["name"] == name).unwrap()["works"].as_bool().unwrap()
    };
    let path = directory.path().join("recordings/x");
    let settings = manifest(&path)["settings"].clone();
    let notes = manifest(&path)["notes"].to_string();
    let exits = settings["exits"].as_bool().unwrap();
    let forks = settings["forks"] == "proc_connector";
    assert_eq!((works("exits"), works("forks")), (exits, forks), "{namespaces}: {notes}");
    assert_eq!(notes.contains("does not report exits"), !exits, "{namespaces}: {notes}");
    assert_eq!(notes.contains("does not report forks"), !forks, "{namespaces}: {notes}");
    let (recording, _) = Recording::open(&path).unwrap();
    let ended = text_column(&recording, "exits", "comm");
    let seen = ended.iter().filter(|comm| *comm == "true").count();
    match exits {
        true => assert!(seen >= BRIEF, "{namespaces}: {seen} exits"),
        false => assert_eq!(ended.len(), 0, "{namespaces}: {ended:?}"),
    }
    // Only the fork says whose child a process was that no sweep saw.
    let json = std::fs::read_to_string(directory.path().join("json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    // Whatever /proc is mounted, the command is what was started and nothing else.
    let processes = json["command"]["processes"].as_u64().unwrap();
    assert!((2..=BRIEF as u64 + 3).contains(&processes), "{namespaces}: {json}");
    if exits && forks {
        assert_eq!(processes, BRIEF as u64 + 3, "{namespaces}: {json}");
    }
    Some(exits)
}

#[test]
fn slow_what_is_said_to_work_in_namespaces_has_been_seen_to_work() {
    let alone = check_namespaces("");
    assert!(alone.is_some());
    let parts =
        [" --net", " --cgroup", " --mount", " --time --fork --boottime 90000 --monotonic 40000"];
    for chosen in 1..1_usize << parts.len() {
        let options: String = (0..parts.len())
            .filter(|part| chosen & (1 << part) != 0)
            .filter_map(|part| parts.get(part).copied())
            .collect();
        let exits = check_namespaces(&format!("unshare{options}"));
        // Of these, the network namespace alone decides.
        let is_net = options.contains("--net");
        assert!(exits.is_none() || exits == alone.map(|exits| exits && !is_net), "{options}");
    }
    for options in [
        "--pid --fork --mount-proc --kill-child",
        "--pid --fork --kill-child",
        "--pid --net --ipc --uts --cgroup --mount --fork --mount-proc --kill-child",
        "--user --map-root-user",
        "--user --map-root-user --pid --net --cgroup --mount --fork --mount-proc --kill-child",
    ] {
        let exits = check_namespaces(&format!("unshare {options}"));
        assert_ne!(exits, Some(true), "{options}");
    }
}

#[test]
fn without_sys_the_kernel_reports_exits_all_the_same() {
    let here = check_namespaces("");
    let there = check_namespaces("unshare --mount sh -c 'umount --lazy /sys && exec \"$@\"' sh");
    assert!(there.is_none() || there == here, "{here:?} {there:?}");
}

#[test]
fn what_a_mount_lacks_is_not_said_of_the_kernel_or_of_rights() {
    let directory = tempdir().unwrap();
    let look = "$MEMSAMPLE record --name x --duration 200ms >&2; $MEMSAMPLE doctor";
    let subset = format!(
        "unshare --mount --pid --fork sh -c 'mount -t proc -o subset=pid proc /proc || exit 9; {look}'"
    );
    let ended = shell(directory.path(), &subset);
    // Not everybody may mount.
    if is_root() {
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let notes = manifest(&directory.path().join("recordings/x"))["notes"].to_string();
        assert!(notes.contains("subset=pid") && !notes.contains("no PSI"), "{notes}");
        assert!(ended.stdout.contains("psi: mount -t proc proc /proc"), "{}", ended.stdout);
        assert!(!ended.stdout.contains("CONFIG_PSI"), "{}", ended.stdout);
    }
    let directory = tempdir().unwrap();
    let sys = format!("unshare --mount sh -c 'umount --lazy --recursive /sys || exit 9; {look}'");
    let ended = shell(directory.path(), &sys);
    if is_root() {
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let remedy = "memory: mount -t sysfs none /sys && mount -t cgroup2 none /sys/fs/cgroup";
        assert!(ended.stdout.contains(remedy), "{}", ended.stdout);
        assert!(!ended.stdout.contains("run it as root"), "{}", ended.stdout);
    }
}

/// Starts a process, and another one when the first was recorded.
const STARTS: &str = "sleep 1000 & echo $! > first; until test -e more; do sleep 0.05; done
sleep 1000 & echo $! > second; until test -e enough; do sleep 0.05; done
kill $(cat first second)
";

/// Returns how many samples a process has, and how many ticks began when it lived.
fn samples_and_ticks(recording: &Recording, pid: i32) -> (i64, i64) {
    let (mut samples, mut start_ns) = (0, i64::MAX);
    for batch in recording.read_table("processes", &["pid", "start_ns", "samples"]) {
        let batch = batch.unwrap();
        let pids = batch["pid"].as_primitive::<Int32Type>();
        let [starts_ns, counts] =
            ["start_ns", "samples"].map(|name| batch[name].as_primitive::<Int64Type>());
        for row in (0..batch.num_rows()).filter(|&row| pids.value(row) == pid) {
            samples += counts.value(row);
            start_ns = start_ns.min(starts_ns.value(row));
        }
    }
    // Within a clock tick.
    let started_ns = start_ns.saturating_add(10_000_000);
    let mut ticks = 0;
    for batch in recording.read_table("ticks", &["began_ns"]) {
        let batch = batch.unwrap();
        let began_ns = batch["began_ns"].as_primitive::<Int64Type>();
        ticks += began_ns.iter().flatten().filter(|&began_ns| began_ns >= started_ns).count();
    }
    (samples, i64::try_from(ticks).unwrap())
}

/// Runs a line that becomes a recorder of `sh program` named `x`, asserts that each process has a sample at each tick, and
/// returns how it ended.
#[track_caller]
pub(crate) fn check_that_none_is_hidden(directory: &Path, line: &str) -> Ended {
    std::fs::write(directory.join("program"), STARTS).unwrap();
    let run = directory.join("recordings/x");
    let running = Running::start_shell(directory, line);
    for (file, then) in [("first", "more"), ("second", "enough")] {
        let pid: i32 = wait_for("a process", || {
            std::fs::read_to_string(directory.join(file)).ok()?.trim().parse().ok()
        });
        let (samples, ticks) = wait_for_recorded("its samples", &run, |recording| {
            let (samples, ticks) = samples_and_ticks(recording, pid);
            (samples >= 5).then_some((samples, ticks))
        });
        // Whom only a listing each ten seconds finds lacks many.
        assert!(samples + 2 >= ticks, "{file}: {samples} samples at {ticks} ticks");
        std::fs::write(directory.join(then), "").unwrap();
    }
    let ended = running.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended
}

#[test]
fn a_last_pid_that_is_not_the_kernels_hides_no_process() {
    let directory = tempdir().unwrap();
    let namespaces = "unshare --mount --pid --fork --mount-proc --kill-child";
    if shell(directory.path(), &format!("{namespaces} true")).code != Some(0) {
        return;
    }
    // As LXCFS does it.
    let line = format!(
        "exec {namespaces} sh -c 'cp /proc/loadavg la; cp /proc/meminfo mi; mount --bind la /proc/loadavg; \
         mount --bind mi /proc/meminfo; exec $MEMSAMPLE record --name x -- sh program'"
    );
    check_that_none_is_hidden(directory.path(), &line);
    let path = directory.path().join("recordings/x");
    let notes = manifest(&path)["notes"].to_string();
    assert!(notes.contains("not the kernel's") && notes.contains("loadavg"), "{notes}");
    assert!(notes.contains("meminfo") && !notes.contains("vmstat"), "{notes}");
}

#[test]
fn in_a_control_group_namespace_the_own_group_has_its_limit() {
    let Some(hierarchy) = v1("memory") else { return };
    let group = Group::new(&hierarchy, "ns");
    std::fs::write(group.0.join("memory.limit_in_bytes"), "300M").unwrap();
    let directory = tempdir().unwrap();
    let line = format!(
        "echo $$ > {}/job/cgroup.procs && \
         exec unshare --cgroup $MEMSAMPLE record --name x -- sleep 1.2",
        group.0.display()
    );
    let ended = shell(directory.path(), &line);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let path = directory.path().join("recordings/x");
    assert!(!manifest(&path)["notes"].to_string().contains("control group"));
    let (recording, _) = Recording::open(&path).unwrap();
    let mut limits = Vec::new();
    for batch in recording.read_table("cgroups", &["cgroup", "cgroup_effective_limit_bytes"]) {
        let batch = batch.unwrap();
        let column = batch["cgroup_effective_limit_bytes"].as_primitive::<Int64Type>();
        for (row, name) in batch["cgroup"].as_string::<i32>().iter().enumerate() {
            if name == Some("/") {
                limits.push(column.is_valid(row).then(|| column.value(row)));
            }
        }
    }
    assert!(!limits.is_empty() && limits.iter().all(|it| *it == Some(300 << 20)), "{limits:?}");
}

#[test]
fn the_group_of_a_test_is_inside_that_of_its_job_whatever_the_namespace() {
    let Some(hierarchy) = v1("memory") else { return };
    let group = Group::new(&hierarchy, "job");
    let directory = tempdir().unwrap();
    let suite = "name = \"x\"\n[[test]]\nname = \"where\"\nmemory_limit = \"64MiB\"\n\
                 shell = \"cat /proc/self/cgroup\"\n";
    std::fs::write(directory.path().join("suite.toml"), suite).unwrap();
    let name = group.0.strip_prefix(&hierarchy).unwrap().display().to_string();
    for (namespace, inside) in [
        ("", format!(":memory:/{name}/job/memsample-")),
        ("unshare --cgroup", ":memory:/memsample-".to_owned()),
    ] {
        let line = format!(
            "rm -rf out; echo $$ > {}/job/cgroup.procs && \
             exec {namespace} $MEMSAMPLE run suite.toml --out out",
            group.0.display()
        );
        let ended = shell(directory.path(), &line);
        assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
        let run = std::fs::read_dir(directory.path().join("out")).unwrap().next().unwrap().unwrap();
        let groups =
            std::fs::read_to_string(run.path().join("tests/0001-where/1.1/stdout")).unwrap();
        assert!(groups.contains(&inside), "{namespace}: {groups}");
    }
    // Where what is mounted does not show the group of the job, none is made outside of it.
    let line = format!(
        "rm -rf out; echo $$ > {}/job/cgroup.procs && mkdir {hierarchy}/memsample-{pid}-other; \
         exec unshare --mount sh -c 'mount --bind {hierarchy}/memsample-{pid}-other {hierarchy}; \
         exec $MEMSAMPLE run suite.toml --out out'",
        group.0.display(),
        hierarchy = hierarchy.display(),
        pid = std::process::id(),
    );
    let ended = shell(directory.path(), &line);
    let _ = std::fs::remove_dir(hierarchy.join(format!("memsample-{}-other", std::process::id())));
    assert_ne!(ended.code, Some(0), "{}", ended.stdout);
    assert!(
        ended.stderr.contains("no control group with the memory controller"),
        "{}",
        ended.stderr
    );
}

/// The kernel kills the smaller process, and the harness the larger one a moment later.
fn record_two_kills(name: &str, prelude: &str) -> Option<(String, String, Vec<String>)> {
    let hierarchy = v1("memory")?;
    let group = Group::new(&hierarchy, name);
    let directory = tempdir().unwrap();
    let script = "G=$1\n\
        sh -c \"echo \\$\\$ > $G/cgroup.procs; exec python3 -c 'b=bytearray(45<<20); import time; print(flush=True); time.sleep(1000)'\" > ready & A=$!\n\
        until [ -s ready ] && [ -e read ]; do sleep 0.05; done\n\
        sh -c \"echo \\$\\$ > $G/cgroup.procs; echo 1000 > /proc/self/oom_score_adj; echo \\$\\$ > victim; \
        exec python3 -c 'b=bytearray(15<<20); c=bytearray(30<<20)'\"\n\
        echo $A > other; kill -9 $A; wait $A; sleep 1.5\n";
    std::fs::write(directory.path().join("script"), script).unwrap();
    std::fs::write(group.0.join("memory.limit_in_bytes"), "70M").unwrap();
    let line = format!(
        "exec unshare --mount sh -c '{prelude} exec $MEMSAMPLE record --name x -- sh script {}'",
        group.0.display()
    );
    let path = directory.path().join("recordings/x");
    let own = format!("{}", group.0.file_name().unwrap().display());
    let running = Running::start_shell(directory.path(), &line);
    // What a group counts more is known once it has been read.
    wait_for_recorded("a reading of the group", &path, |recording| {
        let groups = text_column(recording, "cgroups", "cgroup");
        groups.iter().any(|group| group.contains(&own)).then_some(())
    });
    std::fs::write(directory.path().join("read"), "").unwrap();
    let ended = running.wait();
    assert!(ended.stderr.contains("recordings/x"), "{}", ended.stderr);
    if manifest(&path)["settings"]["exits"] == false {
        return None;
    }
    let pid =
        |file| std::fs::read_to_string(directory.path().join(file)).unwrap().trim().to_owned();
    let (recording, _) = Recording::open(&path).unwrap();
    let marks = text_column(&recording, "marks", "name");
    let marks = marks.into_iter().filter(|name| name.contains("killed: ") && name.contains(&own));
    Some((pid("victim"), pid("other"), marks.collect()))
}

#[test]
fn the_log_of_the_kernel_names_whom_it_killed() {
    let readable = std::fs::File::open("/dev/kmsg").is_ok();
    let Some((victim, other, marks)) = record_two_kills("told", "").filter(|_| readable) else {
        return;
    };
    let [mark] = marks.as_slice() else { panic!("{marks:?}") };
    assert!(mark.starts_with(&format!("python3 ({victim}) of ")), "{mark}");
    assert!(!mark.contains(&format!("({other})")), "{mark}");
}

#[test]
fn where_the_log_may_not_be_read_none_of_two_candidates_is_stated_as_a_fact() {
    let Some((victim, other, marks)) =
        record_two_kills("not-told", "mount --bind /dev/null /dev/kmsg;")
    else {
        return;
    };
    let [mark] = marks.as_slice() else { panic!("{marks:?}") };
    // Of more where other tests ran out of memory meanwhile.
    assert!(mark.contains(" of these w"), "{mark}");
    assert!(
        mark.contains(&format!("({victim})")) && mark.contains(&format!("({other})")),
        "{mark}"
    );
}

#[test]
fn a_run_with_the_proc_of_another_pid_namespace_is_refused_before_anything_is_signalled() {
    let directory = tempdir().unwrap();
    let namespaces = "unshare --pid --fork --kill-child";
    if shell(directory.path(), &format!("{namespaces} true")).code != Some(0) {
        return;
    }
    let suite = "name = \"x\"\n[[test]]\nname = \"a\"\ncommand = [\"true\"]\n";
    std::fs::write(directory.path().join("suite.toml"), suite).unwrap();
    let ended = shell(directory.path(), &format!("{namespaces} $MEMSAMPLE run suite.toml"));
    assert!(!matches!(ended.code, None | Some(0)), "{}", ended.stdout);
    assert!(ended.stderr.contains("unshare --mount-proc"), "{}", ended.stderr);
}
