//! `memsample peaks`, compared with programs whose memory is known.

use std::collections::HashMap;
use std::path::Path;

use crate::command::{manifest, memsample};
use serde_json::Value;
use tempfile::tempdir;

const MIB: u64 = 1 << 20;

/// The first lines of every program of the tests: private memory that is resident at once.
const PREAMBLE: &str = "import mmap, os, sys, time
def anon(mib):
    return mmap.mmap(-1, mib << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE)
def resident():
    return [int(line.split()[1]) << 10 for line in open('/proc/self/status') if line.startswith('VmRSS')][0]
";

/// Records a program at 10 Hz under a name that no other test uses, and returns whether the kernel sent
/// exit records.
fn record(directory: &Path, name: &str, program: &str) -> bool {
    let script = directory.join(name);
    std::fs::write(&script, format!("{PREAMBLE}{program}")).unwrap();
    let script = script.to_str().unwrap();
    let ended = memsample(directory, &["record", "--name", "x", "--", "/usr/bin/python3", script]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let manifest = manifest(&directory.join("recordings/x"));
    assert_eq!(manifest["totals"]["exits_lost"], 0);
    manifest["settings"]["exits"] == true
}

fn peaks(directory: &Path, options: &[&str]) -> Vec<Value> {
    let mut arguments = vec!["peaks", "recordings/x", "--json", "--top", "100000"];
    arguments.extend(options);
    let ended = memsample(directory, &arguments);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.json().as_array().unwrap().clone()
}

/// What a high-water mark may lack: see `docs/peaks.md`.
fn batch_bytes() -> u64 {
    let cpus = std::fs::read_to_string("/proc/stat").unwrap();
    let cpus = cpus.lines().filter(|line| line.starts_with("cpu")).count() as u64 - 1;
    3 * cpus * (2 * cpus).max(32) * 4096
}

#[test]
fn a_thousand_processes_of_some_milliseconds_leave_their_peaks() {
    let directory = tempdir().unwrap();
    let program = "for number in range(1000):
    pid = os.fork()
    if pid == 0:
        began, before = time.monotonic(), resident()
        memory = anon(1 + number % 64)
        print(os.getpid(), before + ((1 + number % 64) << 20), file=open('peaks', 'a'))
        time.sleep(max(0, 0.005 + number % 16 / 1000 - (time.monotonic() - began)))
        os._exit(0)
    os.waitpid(pid, 0)
";
    let reported = record(directory.path(), "thousand.py", program);
    let expected = std::fs::read_to_string(directory.path().join("peaks")).unwrap();
    let expected: HashMap<u64, u64> = expected
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(pid, bytes)| (pid.parse().unwrap(), bytes.parse().unwrap()))
        .collect();
    assert_eq!(expected.len(), 1000);
    let peaks = peaks(directory.path(), &[]);
    let by_pid: HashMap<u64, &Value> =
        peaks.iter().map(|peak| (peak["pid"].as_u64().unwrap(), peak)).collect();
    if !reported {
        assert!(peaks.iter().all(|peak| peak["lower_source"] != "exit_record"));
        return;
    }
    for (pid, bytes) in expected {
        let peak = by_pid[&pid];
        assert_eq!(peak["upper_source"], "exit_record");
        let (lower, upper) =
            (peak["lower_bytes"].as_u64().unwrap(), peak["upper_bytes"].as_u64().unwrap());
        // Within one batch; the interpreter itself takes some hundred KiB more as it continues.
        assert!(lower + batch_bytes() >= bytes, "{pid}: {lower} is not {bytes}");
        assert!(lower <= bytes + 2 * MIB, "{pid}: {lower} is not {bytes}");
        assert!(upper >= bytes && upper <= lower + batch_bytes(), "{peak}");
    }
}

#[test]
fn what_doubles_just_before_its_end_is_known() {
    let directory = tempdir().unwrap();
    let program = "first = anon(100)
time.sleep(0.45)
second = anon(100)
print(resident(), file=open('peak', 'w'), flush=True)
time.sleep(0.03)
os._exit(0)
";
    let reported = record(directory.path(), "doubles.py", program);
    let expected: u64 =
        std::fs::read_to_string(directory.path().join("peak")).unwrap().trim().parse().unwrap();
    let peaks = peaks(directory.path(), &["--filter", "doubles.py"]);
    let peak = peaks.iter().find(|peak| peak["comm"] == "python3").unwrap();
    let lower = peak["lower_bytes"].as_u64().unwrap();
    assert!(lower >= 100 * MIB);
    if reported {
        let off = lower.abs_diff(expected);
        assert!(off <= batch_bytes() + MIB, "{lower} is not {expected}: {peak}");
        assert!(peak["upper_bytes"].as_u64().unwrap() >= expected);
        // It lived too shortly to tell.
        assert_eq!(peak["rising_at_end"], Value::Null, "{peak}");
    }
    let text = memsample(directory.path(), &["peaks", "recordings/x", "--filter", "doubles.py"]);
    assert!(text.stdout.contains("PEAK RSS") && text.stdout.contains("doubles.py"));
}

#[test]
fn a_role_is_its_processes_at_one_instant() {
    let directory = tempdir().unwrap();
    // Three at once, then three one after the other: the sum is that of the first three.
    let program = "def child(mib, seconds):
    pid = os.fork()
    if pid == 0:
        memory = anon(mib)
        time.sleep(seconds)
        os._exit(0)
    return pid
for pid in [child(50, 1.5) for _ in range(3)]: os.waitpid(pid, 0)
for _ in range(3): os.waitpid(child(60, 0.25), 0)
";
    record(directory.path(), "together.py", program);
    let roles = peaks(directory.path(), &["--by", "role", "--filter", "^together.py$"]);
    assert_eq!(roles.len(), 1);
    let role = &roles[0];
    let lower = role["lower_bytes"].as_u64().unwrap();
    // And the interpreters: four of about ten MiB.
    assert!((150 * MIB..220 * MIB).contains(&lower), "{role}");
    assert_eq!((role["processes"].as_u64(), role["images"].as_u64()), (Some(4), Some(7)));
    let part = |name: &str| role[name].as_u64().unwrap();
    assert!(part("anon_bytes") >= 150 * MIB);
    assert_eq!(part("anon_bytes") + part("file_bytes") + part("shmem_bytes"), part("rss_bytes"));
    if let Some(upper) = role["upper_bytes"].as_u64() {
        // When a process began is known within 10 ms, so one of the later ones, of 60 MiB and an
        // interpreter, may be thought to have met the first three.
        assert!(upper >= lower && upper <= lower + 90 * MIB, "{role}");
    }
}

#[test]
fn what_outlives_the_recording_has_an_upper_bound() {
    let directory = tempdir().unwrap();
    // It does nothing for longer than details are read again, and is stopped between two ticks.
    let program = "import sys, mmap
memory = mmap.mmap(-1, 50 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE)
print(flush=True); sys.stdin.read()";
    let mut child = std::process::Command::new("python3")
        .args(["-c", program])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    for is_by_duration in [true, false] {
        // Details are read at the last planned tick of a duration. A busy machine may miss it: then ticks are twice as far
        // apart the next time.
        for interval_ms in (0..9).map(|doubled| 100_u32 << doubled) {
            let interval = format!("{interval_ms}ms");
            let duration = format!("{}ms", 3 * interval_ms);
            let seconds = format!("{:.2}", 2.5 * f64::from(interval_ms) / 1000.0);
            let mut arguments = vec!["record", "--name", "x", "--interval", &interval];
            match is_by_duration {
                true => arguments.extend(["--duration", &duration]),
                false => arguments.extend(["--", "sleep", &seconds]),
            }
            let ended = memsample(directory.path(), &arguments);
            assert_eq!(ended.code, Some(0), "{}", ended.stderr);
            let missed = &manifest(&directory.path().join("recordings/x"))["totals"]["missed"];
            if *missed == 0 {
                break;
            }
        }
        let peaks = peaks(directory.path(), &[]);
        let peak = peaks.iter().find(|peak| peak["pid"] == child.id()).unwrap();
        assert_eq!(peak["upper_source"], "high_water_mark", "{peak}");
        let lower = peak["lower_bytes"].as_u64().unwrap();
        let upper = peak["upper_bytes"].as_u64().unwrap();
        assert!(lower >= 50 * MIB && upper <= lower + batch_bytes(), "{peak}");
        std::fs::remove_dir_all(directory.path().join("recordings/x")).unwrap();
    }
    drop(child.stdin.take());
    child.wait().unwrap();
}

#[test]
fn rows_are_text_json_and_csv() {
    let directory = tempdir().unwrap();
    record(directory.path(), "rows.py", "memory = anon(30)\ntime.sleep(0.3)\n");
    for by in ["process", "role"] {
        let arguments = ["peaks", "recordings/x", "--by", by, "--top", "3"];
        let csv = memsample(directory.path(), &[&arguments[..], &["--csv"]].concat());
        let json = memsample(directory.path(), &[&arguments[..], &["--json"]].concat()).json();
        let mut reader = csv::Reader::from_reader(csv.stdout.as_bytes());
        let names = reader.headers().unwrap().clone();
        let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
        assert_eq!((rows.len(), json.as_array().unwrap().len()), (3, 3));
        for (row, object) in rows.iter().zip(json.as_array().unwrap()) {
            assert_eq!(names.len(), object.as_object().unwrap().len());
            for (name, field) in names.iter().zip(row) {
                let expected = match &object[name] {
                    Value::Null => String::new(),
                    Value::String(text) => text.clone(),
                    value => value.to_string(),
                };
                assert_eq!(field, expected, "{name}");
            }
        }
        let text = memsample(directory.path(), &arguments).stdout;
        assert!(text.contains("PEAK RSS") && text.contains("MiB"), "{text}");
    }
    let none = memsample(directory.path(), &["peaks", "recordings/absent"]);
    assert!(none.code == Some(1) && none.stderr.contains("is not a recording"), "{}", none.stderr);
    let wrong = memsample(directory.path(), &["peaks", "recordings/x", "--filter", "("]);
    assert_eq!(wrong.code, Some(2));
}

#[test]
fn under_load_every_peak_lies_between_its_bounds() {
    let directory = tempdir().unwrap();
    // Memory that grows and shrinks, and processes that come and go.
    let line = "exec stress-ng --quiet --vm 2 --vm-bytes 128M --bigheap 1 --bigheap-growth 1M \
                --fork 2 --exec 1 --bigheap-ops 200 --timeout 4";
    let ended = memsample(directory.path(), &["record", "--name", "x", "--", "sh", "-c", line]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let peaks = self::peaks(directory.path(), &[]);
    assert!(peaks.len() > 10);
    for peak in &peaks {
        let number = |name: &str| peak[name].as_u64();
        let lower = number("lower_bytes").unwrap();
        assert!(number("rss_bytes").unwrap_or(0) <= lower, "{peak}");
        assert!(number("upper_bytes").is_none_or(|upper| upper >= lower), "{peak}");
        assert_eq!(number("rss_bytes").is_some(), number("samples") != Some(0), "{peak}");
        if let (Some(rss), Some(file), Some(shmem)) =
            (number("rss_bytes"), number("file_bytes"), number("shmem_bytes"))
        {
            assert_eq!(number("anon_bytes").unwrap() + file + shmem, rss, "{peak}");
        }
    }
    let roles = self::peaks(directory.path(), &["--by", "role"]);
    for role in &roles {
        let number = |name: &str| role[name].as_u64();
        let lower = number("lower_bytes").unwrap();
        assert!(number("upper_bytes").is_none_or(|upper| upper >= lower), "{role}");
        // No member alone is larger than all together.
        let members = peaks.iter().filter(|peak| peak["role"] == role["role"]);
        let largest = members.map(|peak| peak["lower_bytes"].as_u64().unwrap()).max();
        assert!(largest.unwrap() <= lower, "{role}");
    }
    let load = roles.iter().find(|role| role["role"] == "stress-ng").unwrap();
    assert!(load["lower_bytes"].as_u64().unwrap() > 64 * MIB, "{load}");
    // The load itself and those that it forked to take memory: how many it forks and executes beside is up to the machine.
    let images = load["images"].as_u64().unwrap();
    assert!(images > 4, "{load}");
}
