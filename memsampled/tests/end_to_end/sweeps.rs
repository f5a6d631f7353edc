//! `memsample record --sweep`: the same rows from `/proc` and by BPF in each of its forms, and what is said where BPF may
//! not be used.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command};

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use memsample::Recording;
use tempfile::tempdir;

use crate::command::{
    Running, manifest, memsample, shell, wait_for, wait_for_recorded, wait_for_tick,
};

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
    let ways = [("proc", "proc"), ("auto", "list"), ("auto", "each-task")];
    for (way, form) in ways {
        let recorder = Running::start_shell(
            directory.path(),
            &format!(
                "export MEMSAMPLE_TEST_BPF_FORM={form}; exec $MEMSAMPLE record --sweep {way} --name {form} \
                 --pid {pid} --detail-interval every --pss-interval off"
            ),
        );
        wait_for_recorded("rows", &directory.path().join("recordings").join(form), |recording| {
            (recording.manifest().totals.samples > 2).then_some(())
        });
        recorder.signal("INT");
        let ended = recorder.wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
    let recordings = ways.map(|(_, form)| directory.path().join("recordings").join(form));
    let [by_proc, by_list, by_each_task] = recordings.each_ref().map(|recording| values(recording));
    assert_eq!(by_proc, by_list);
    assert_eq!(by_proc, by_each_task);
    assert!(by_list["anon_bytes"] > Some(9_000_000) && by_list["hwm_bytes"].is_some());
    let [by_proc, by_bpf @ ..] = recordings.map(|recording| manifest(&recording));
    assert_eq!(by_proc["settings"]["sweeps"], "proc");
    for by_bpf in by_bpf {
        if by_bpf["settings"]["sweeps"] == "proc" {
            assert!(by_bpf["notes"].to_string().contains("CAP_BPF"), "{by_bpf}");
        } else {
            assert_eq!(by_bpf["settings"]["sweeps"], "bpf");
        }
    }
}

/// Whichever call of bpf(2) is the first that fails, also in the middle of the recording.
#[test]
fn bpf_that_is_refused_at_any_step_is_told_and_proc_is_read() {
    // The loader has three calls before it runs, and each pass at least one.
    for (error, when) in [
        ("EPERM", 1),
        ("ENOSYS", 1),
        ("EINVAL", 2),
        ("E2BIG", 3),
        ("ENOMEM", 4),
        ("EINVAL", 5),
        ("EPERM", 9),
        ("EIO", 12),
        ("EIO", 20),
    ] {
        for form in ["list", "each-task"] {
            let directory = tempdir().unwrap();
            let ended = shell(
                directory.path(),
                &format!(
                    "MEMSAMPLE_TEST_BPF_FORM={form} strace -f -qq -o /dev/null -e trace=bpf \
                     -e inject=bpf:error={error}:when={when}+ \
                     $MEMSAMPLE record --sweep auto --json --duration 500ms --interval 10ms --name x"
                ),
            );
            let context = format!("{form} {error} {when}: {}", ended.stderr);
            assert_eq!(ended.code, Some(0), "{context}");
            let notes = ended.json()["notes"].to_string();
            let manifest = manifest(&directory.path().join("recordings/x"));
            assert_eq!(manifest["state"], "closed", "{manifest}");
            let (ticks, missed) = (&manifest["totals"]["ticks"], &manifest["totals"]["missed"]);
            let ticks = ticks.as_u64().unwrap();
            assert_eq!(ticks + missed.as_u64().unwrap(), 50, "{manifest}");
            let is_told =
                ["and not by BPF: ", "and no longer by BPF: the BPF program does not run"];
            let is_told = is_told.iter().any(|told| notes.contains(told));
            // strace counts the calls of each thread by themselves. Nine come before the first tick; the thread that
            // sweeps has one for each tick, of which a busy machine has few.
            if when > 9 && ticks < when && !is_told {
                continue;
            }
            assert!(is_told, "{context} {notes}");
            let reason = match error {
                "ENOSYS" => "the kernel has no BPF",
                "ENOMEM" => "there is not enough memory",
                // What a kernel says that does not know all that the third call, which loads the loader, has to say.
                "E2BIG" => "does not take the BPF program, which needs Linux ",
                _ => "",
            };
            assert!(notes.contains(reason) || notes.contains("CAP_BPF"), "{context} {notes}");
        }
    }
}

/// The ends of processes are noted by a program of their own: one failed call of its loading takes those notes, and no sweep.
#[test]
fn ends_that_bpf_may_not_note_are_told_while_it_sweeps() {
    let record = |inject: &str| {
        let directory = tempdir().unwrap();
        let ended = shell(
            directory.path(),
            &format!(
                "MEMSAMPLE_TEST_BPF_FORM=list strace -f -qq -o calls -e trace=bpf {inject} $MEMSAMPLE record \
                 --sweep auto --name x -- sh -c 'sleep 0.1; sleep 0.1; sleep 0.1; true'"
            ),
        );
        assert_eq!(ended.code, Some(0), "{inject}: {}", ended.stderr);
        let calls = std::fs::read_to_string(directory.path().join("calls")).unwrap();
        (directory, calls)
    };
    let exact = |recording: &Path| {
        let (recording, _) = Recording::open(recording).unwrap();
        let batches = recording.read_table("exits", &["exit_rss_bytes"]).map(Result::unwrap);
        let rows = batches.map(|batch| (batch.num_rows(), batch["exit_rss_bytes"].null_count()));
        rows.fold((0, 0), |(all, without), (rows, nulls)| (all + rows, without + nulls))
    };
    let (directory, calls) = record("");
    let whole = directory.path().join("recordings/x");
    let calls: Vec<&str> = calls.lines().collect();
    // Before Linux 6.16, without the right to use BPF and where nothing says how processes end, there is nothing to refuse.
    let Some(attached) = calls.iter().position(|line| line.contains("BPF_RAW_TRACEPOINT_OPEN"))
    else {
        return;
    };
    let created = calls.iter().rposition(|line| line.contains("BPF_MAP_CREATE")).unwrap();
    let (all, without) = exact(&whole);
    assert!(all >= 3 && without < all, "{all} {without}");
    for failing in created + 1..=attached + 1 {
        let inject = format!("-e inject=bpf:error=EPERM:when={failing}");
        let (directory, _) = record(&inject);
        let recording = directory.path().join("recordings/x");
        let manifest = manifest(&recording);
        assert_eq!(manifest["settings"]["sweeps"], "bpf", "{inject}: {manifest}");
        let notes = manifest["notes"].to_string();
        let told = "BPF does not say what processes had when they ended (";
        assert!(notes.contains(told), "{inject}: {notes}");
        let (all, without) = exact(&recording);
        assert!(all >= 3 && without == all, "{inject}: {all} {without}");
    }
}

/// A kernel that is locked down has no helper for programs that read its memory, so the verifier answers with EINVAL; where a
/// capability is asked first, the answer is EPERM.
#[test]
fn a_kernel_that_is_locked_down_is_told() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    for (level, error) in [
        ("none integrity [confidentiality]", "EINVAL"),
        ("none integrity [confidentiality]", "EPERM"),
        ("none [integrity] confidentiality", "EINVAL"),
    ] {
        let directory = tempdir().unwrap();
        std::fs::write(directory.path().join("levels"), level).unwrap();
        // A lockdown cannot be lifted again, so the kernel's answer and its file are made up.
        let line = format!(
            "unshare --mount sh -c 'mount -t tmpfs none /sys/kernel/security && \
             cp levels /sys/kernel/security/lockdown && \
             for what in \"record --sweep auto --json --duration 200ms --name x\" doctor; do \
             strace -f -qq -o /dev/null -e trace=bpf -e inject=bpf:error={error}:when=4+ \
             $MEMSAMPLE $what; done'"
        );
        let ended = shell(directory.path(), &line);
        // A table has its sentences in lines of a column.
        let words = ended.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        let told = words.matches("kernel is locked down").count();
        let lacks_right = ended.stdout.contains("CAP_BPF");
        let is_confidential = level.contains("[confidentiality]");
        let expected = if is_confidential && !lacks_right { 2 } else { 0 };
        assert_eq!(told, expected, "{level} {error}: {} {}", ended.stdout, ended.stderr);
    }
}

/// There `/proc` counts the start of a process from another instant than the kernel.
#[test]
fn in_a_time_namespace_proc_is_read_and_told() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let directory = tempdir().unwrap();
    let line = "unshare --time --boottime 100000 --fork --kill-child \
                $MEMSAMPLE record --sweep auto --json --duration 200ms --name x";
    let ended = shell(directory.path(), line);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let notes = ended.json()["notes"].to_string();
    let is_told = notes.contains("processes are read from /proc, and not by BPF: ")
        && (notes.contains("start (ticks)") || notes.contains("CAP_BPF"));
    assert!(is_told, "{notes}");
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

/// Twenty processes that have more memory for two milliseconds than at any tick, and then execute another program.
#[test]
fn what_an_exec_replaced_has_an_upper_bound_by_bpf() {
    const SCRIPT: &str = "import mmap, os, signal, time
def wait(name):
    while not os.path.exists(name): time.sleep(0.01)
children = []
for number in range(20):
    pid = os.fork()
    if pid == 0:
        wait('sampled')
        memory = mmap.mmap(-1, (9 + 2 * number) << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE)
        time.sleep(0.002)
        memory.close()
        mark = [line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')]
        print(os.getpid(), mark[0], file=open('marks', 'a'))
        os.execv('/bin/sleep', ['sleep', '1000'])
    children.append(pid)
open('forked', 'w').close()
wait('executed')
for pid in children:
    os.kill(pid, signal.SIGTERM)
    os.waitpid(pid, 0)
";
    let directory = tempdir().unwrap();
    std::fs::write(directory.path().join("script.py"), SCRIPT).unwrap();
    let options = ["record", "--sweep", "auto", "--name", "x", "--detail-interval", "off"];
    let command = ["--", "/usr/bin/python3", "-S", "script.py"];
    let run = directory.path().join("recordings/x");
    let file = |name: &str| directory.path().join(name);
    let recorder = Running::start(directory.path(), &[&options[..], &command].concat());
    wait_for("the processes", || file("forked").exists().then_some(()));
    wait_for_tick(&run);
    // No tick comes while they have the memory, or execute the program.
    recorder.signal("STOP");
    fs::write(file("sampled"), "").unwrap();
    wait_for("the execs", || {
        let marks = fs::read_to_string(file("marks")).ok()?;
        let mut pids = marks.lines().filter_map(|line| Some(line.split_once(' ')?.0));
        let sleeps = |pid: &str| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            stat.contains(" (sleep) S ")
        };
        (marks.lines().count() == 20 && pids.all(sleeps)).then_some(())
    });
    recorder.signal("CONT");
    wait_for_tick(&run);
    fs::write(file("executed"), "").unwrap();
    let ended = recorder.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let manifest = manifest(&run);
    if manifest["settings"]["sweeps"] == "proc" {
        assert!(manifest["notes"].to_string().contains("CAP_BPF"), "{manifest}");
        return;
    }
    let marks = fs::read_to_string(file("marks")).unwrap();
    let mut marks: BTreeMap<i64, u64> = marks
        .lines()
        .map(|line| {
            let (pid, kib) = line.split_once(' ').unwrap();
            (pid.parse().unwrap(), kib.parse::<u64>().unwrap() * 1024)
        })
        .collect();
    let peaks = ["peaks", "recordings/x", "--json", "--top", "1000", "--filter", "^python3"];
    let peaks = memsample(directory.path(), &peaks).json();
    let error = counter_error_bytes();
    let mut unbounded = 0;
    for peak in peaks.as_array().unwrap() {
        let Some(mark) = marks.remove(&peak["pid"].as_i64().unwrap()) else { continue };
        // Its row may have moved when it was seen.
        let Some(upper) = peak["upper_bytes"].as_u64() else {
            unbounded += 1;
            continue;
        };
        assert!(mark <= upper && upper <= mark + error, "{mark} {peak}");
        assert_eq!(peak["upper_source"], "exec", "{peak}");
    }
    // One that was never looked at as such is counted with its next image.
    assert!(marks.len() + unbounded < 8, "{unbounded} {marks:?}");
}

/// Ten processes that have the most when they end, and ten that gave it back; none lives at a tick as it was at its largest.
#[test]
fn the_peak_of_who_has_the_most_at_its_end_is_exact_by_bpf() {
    const SCRIPT: &str = "import mmap, os, time
marks = open('marks', 'ab', 0)
def resident():
    with open('/proc/self/statm') as statm:
        return statm.read().split()[1]
for number in range(20):
    pid = os.fork()
    if pid == 0:
        memory = mmap.mmap(-1, (9 + number) << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE)
        most = resident()
        if number % 2:
            memory.close()
        marks.write(f'{os.getpid()} {most} {resident()}\\n'.encode())
        os._exit(0)
    os.waitpid(pid, 0)
";
    // What python may touch after it has looked.
    const FEW: u64 = 64 * 4096;
    let directory = tempdir().unwrap();
    std::fs::write(directory.path().join("script.py"), SCRIPT).unwrap();
    let options = ["record", "--sweep", "auto", "--name", "x", "--detail-interval", "off"];
    let command = ["--", "/usr/bin/python3", "-S", "script.py"];
    let ended = memsample(directory.path(), &[&options[..], &command].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let manifest = manifest(&directory.path().join("recordings/x"));
    let notes = manifest["notes"].to_string();
    let lacks = |reason: &str| notes.contains(reason);
    if manifest["settings"]["sweeps"] == "proc" || manifest["settings"]["exits"] == false {
        assert!(lacks("CAP_BPF") || lacks("does not report exits"), "{manifest}");
        return;
    }
    if lacks("BPF does not say what processes had when they ended") {
        assert!(lacks("Linux 6.16"), "{manifest}");
        return;
    }
    let marks = std::fs::read_to_string(directory.path().join("marks")).unwrap();
    let mut marks: BTreeMap<i64, [u64; 2]> = marks
        .lines()
        .map(|line| {
            let mut numbers = line.split(' ').map(|word| word.parse::<u64>().unwrap());
            let mut next = || numbers.next().unwrap();
            (next() as i64, [next() * 4096, next() * 4096])
        })
        .collect();
    assert_eq!(marks.len(), 20);
    let (recording, _) = Recording::open(&directory.path().join("recordings/x")).unwrap();
    let columns = ["pid", "exit_hwm_bytes", "exit_rss_bytes", "exit_past_hwm_bytes"];
    let mut exits: BTreeMap<i64, [u64; 3]> = BTreeMap::new();
    for batch in recording.read_table("exits", &columns) {
        let batch = batch.unwrap();
        let pid = batch["pid"].as_primitive::<Int32Type>();
        let [hwm, rss, past] = ["exit_hwm_bytes", "exit_rss_bytes", "exit_past_hwm_bytes"]
            .map(|name| batch[name].as_primitive::<Int64Type>().clone());
        for row in 0..batch.num_rows() {
            let pid = i64::from(pid.value(row));
            if marks.contains_key(&pid) {
                assert!(rss.is_valid(row) && past.is_valid(row), "{pid}");
                exits.insert(pid, [&hwm, &rss, &past].map(|column| column.value(row) as u64));
            }
        }
    }
    let peaks = ["peaks", "recordings/x", "--json", "--top", "1000", "--filter", "^python3"];
    let peaks = memsample(directory.path(), &peaks).json();
    let error = counter_error_bytes();
    for peak in peaks.as_array().unwrap() {
        let pid = peak["pid"].as_i64().unwrap();
        let Some([most, last]) = marks.remove(&pid) else { continue };
        let [hwm, rss, past] = exits[&pid];
        let said = format!("{most} {last} {hwm} {rss} {past} {peak}");
        assert!((last..=last + FEW).contains(&rss), "{said}");
        assert_eq!(hwm, rss.max(past), "{said}");
        let (lower, upper) = (peak["lower_bytes"].as_u64(), peak["upper_bytes"].as_u64().unwrap());
        assert!(most <= upper, "{said}");
        match most == last {
            // No error is left.
            true => assert_eq!((lower, upper), (Some(rss), rss), "{said}"),
            false => assert!(upper <= most + FEW + 2 * error, "{said}"),
        }
    }
    assert!(marks.is_empty(), "{marks:?}");
}

/// By how much a high-water mark may be wrong on this machine.
fn counter_error_bytes() -> u64 {
    let cpus = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
    let cpus = cpus.trim().rsplit(['-', ',']).next().unwrap().parse::<u64>().unwrap() + 1;
    3 * cpus * (2 * cpus).max(32) * 4096
}
