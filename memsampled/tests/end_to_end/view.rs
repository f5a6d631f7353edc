//! `memsample view`: numbers compared with those of smem, sums, formats and refusals.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{Ended, Running, memsample, shell, wait_for, wait_for_recorded};
use crate::idle::Idle;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMillisecondType};
use memsample::Recording;
use serde_json::Value;
use tempfile::{TempDir, tempdir};

/// Trees that were captured on a machine of processes known to the test.
const TREES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../memsample/tests/trees");

/// Runs `memsample view`.
#[track_caller]
fn view(arguments: &[&str]) -> Ended {
    let ended = memsample(Path::new("/"), &[&["view"], arguments].concat());
    assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.stderr);
    ended
}

/// Records into `x` until there are so many ticks, and returns the recording.
#[track_caller]
fn record_ticks(directory: &Path, ticks: u64, arguments: &[&str]) -> PathBuf {
    let recorder = Running::start(directory, &[&["record", "--name", "x"], arguments].concat());
    let run = directory.join("recordings/x");
    wait_for_recorded("ticks", &run, |recording| {
        (recording.manifest().totals.ticks >= ticks).then_some(())
    });
    recorder.signal("INT");
    let ended = recorder.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    run
}

#[track_caller]
fn rows(arguments: &[&str]) -> Vec<Value> {
    let json = view(&[arguments, &["--json"]].concat()).json();
    json.as_array().unwrap().clone()
}

fn tree(name: &str) -> String {
    format!("{TREES}/{name}")
}

/// Records for a moment and returns the directory, which goes with the first value.
fn record(arguments: &[&str]) -> (TempDir, PathBuf) {
    let directory = tempdir().unwrap();
    let fixed = ["record", "--name", "x", "--pss-interval", "every", "--detail-interval", "every"];
    let ended = memsample(directory.path(), &[&fixed, arguments].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let run = directory.path().join("recordings/x");
    (directory, run)
}

#[test]
fn it_agrees_with_smem() {
    let marker = format!("agrees-with-smem-{}", std::process::id());
    // So many that one interpreter more, that of smem, changes little for those that share its pages.
    let idle: Vec<_> = (0..8).map(|_| Idle::start(24, &marker)).collect();
    let smem = || -> BTreeMap<i64, Vec<u64>> {
        let columns = "pid swap uss pss rss vss";
        let output =
            Command::new("smem").args(["-H", "-c", columns, "-P", &marker]).output().unwrap();
        assert!(output.status.success());
        let numbers = |line: &str| -> Vec<u64> {
            line.split_whitespace().map(|number| number.parse().unwrap()).collect()
        };
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(numbers).map(|row| (row[0] as i64, row[1..].to_vec())).collect()
    };
    // Other processes come and go meanwhile, and share pages with these.
    wait_for("the numbers of smem", || {
        let theirs = smem();
        let ours = rows(&["--filter", &marker]);
        assert_eq!(ours.len(), idle.len());
        let keys = ["swap_bytes", "uss_bytes", "pss_bytes", "rss_bytes", "vsize_bytes"];
        let agree = idle.iter().all(|process| {
            let ours = ours.iter().find(|row| row["pid"] == process.pid()).unwrap();
            keys.iter().zip(&theirs[&process.pid()]).all(|(key, theirs)| {
                let (ours, theirs) = (ours[key].as_u64().unwrap(), theirs * 1024);
                ours.abs_diff(theirs) * 100 <= theirs
            })
        });
        agree.then_some(())
    });
}

#[test]
fn groups_are_the_sums_of_their_processes() {
    for name in ["idle", "broken"] {
        let proc = tree(name);
        let processes = rows(&["--proc", &proc]);
        for by in ["user", "cgroup", "role"] {
            let mut left = processes.len();
            for group in rows(&["--proc", &proc, "--by", by]) {
                let members: Vec<_> =
                    processes.iter().filter(|process| process[by] == group[by]).collect();
                assert_eq!(group["processes"], members.len(), "{by}");
                left -= members.len();
                for size in ["swap", "uss", "pss", "rss", "vsize", "anon", "file", "shmem"] {
                    let key = format!("{size}_bytes");
                    let known: Vec<_> =
                        members.iter().filter_map(|member| member[&key].as_u64()).collect();
                    let sum = (!known.is_empty())
                        .then(|| known.iter().fold(0_u64, |sum, bytes| sum.saturating_add(*bytes)));
                    assert_eq!(group[&key].as_u64(), sum, "{key} of {group}");
                    let unknown = &group[format!("{size}_unknown_processes")];
                    assert_eq!(*unknown, members.len() - known.len(), "{key} of {group}");
                }
            }
            assert_eq!(left, 0, "every process is in one group");
        }
    }
}

#[test]
fn a_sum_that_lacks_a_process_says_so() {
    // One of the processes of this tree has no PSS.
    let ended = view(&["--proc", &tree("idle"), "--totals", "--bytes"]);
    let rows = rows(&["--proc", &tree("idle")]);
    let sum: u64 = rows.iter().filter_map(|row| row["pss_bytes"].as_u64()).sum();
    assert!(rows.iter().any(|row| row["pss_bytes"].is_null()));
    let total = ended.stdout.lines().last().unwrap();
    assert!(total.starts_with("total") && total.contains(&format!("≥{sum}")), "{total}");
    assert!(ended.stderr.contains("unknown for 1 of "), "{}", ended.stderr);
    let complete = view(&["--proc", &tree("idle"), "--totals", "--columns", "pid,rss"]);
    assert!(!complete.stdout.contains('≥') && !complete.stderr.contains("not known"));
}

#[test]
fn a_user_without_rights_is_told_what_is_missing() {
    let directory = tempdir().unwrap();
    // As nobody, in a /proc that hides nothing, that closes the processes of others, or hides them.
    let view = |hidepid: &str, arguments: &str| {
        let line = format!(
            "mkdir -p proc; unshare -m sh -c 'mount -t proc -o hidepid={hidepid} none proc && \
             exec setpriv --reuid=61002 --regid=61002 --clear-groups --bounding-set=-all \
             $MEMSAMPLE view --proc proc {arguments}'"
        );
        let ended = shell(directory.path(), &line);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended
    };
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let open = view("off", "--json");
    let others: Vec<_> =
        open.json().as_array().unwrap().iter().filter(|row| row["uid"] != 61002).cloned().collect();
    assert!(!others.is_empty());
    for other in others {
        assert!(other["rss_bytes"].is_u64() && other["pss_bytes"].is_null(), "{other}");
    }
    assert!(open.stderr.contains("the kernel denied access to"), "{}", open.stderr);
    let closed = view("noaccess", "--json");
    assert_eq!(closed.json().as_array().unwrap().len(), 1);
    assert!(closed.stderr.contains("the kernel denied access to"), "{}", closed.stderr);
    let hidden = view("invisible", "--by user --totals");
    assert!(hidden.stderr.contains("hidepid=invisible"), "{}", hidden.stderr);
    let mapped = view("off", "--by mapping");
    assert!(mapped.stderr.contains("processes could not be read"), "{}", mapped.stderr);
}

#[test]
fn mappings_add_up_to_the_process() {
    let idle = Idle::start(8, "mappings-add-up");
    let directory = tempdir().unwrap();
    let process = directory.path().join("42");
    fs::create_dir(&process).unwrap();
    let files = ["stat", "statm", "status", "cmdline", "cgroup", "smaps_rollup", "smaps", "maps"];
    // The two files are read one after the other, while others come and go that share pages.
    let proc = directory.path().to_str().unwrap();
    wait_for("smaps and its sum to agree", || {
        for file in files {
            let bytes = fs::read(format!("/proc/{}/{file}", idle.pid())).unwrap();
            fs::write(process.join(file), bytes).unwrap();
        }
        let whole = &rows(&["--proc", proc])[0];
        let mappings = rows(&["--proc", proc, "--by", "mapping"]);
        let sum = |key: &str| mappings.iter().map(|row| row[key].as_u64().unwrap()).sum::<u64>();
        assert_eq!(sum("rss_bytes"), whole["rss_bytes"].as_u64().unwrap());
        // smaps shows the page of the kernel for old system calls too, which belongs to no process.
        let gate = mappings.iter().find(|row| row["mapping"] == "[vsyscall]");
        let gate = gate.map_or(0, |row| row["vsize_bytes"].as_u64().unwrap());
        assert_eq!(sum("vsize_bytes") - gate, whole["vsize_bytes"].as_u64().unwrap());
        // The kernel rounds the PSS of each mapping down to a KiB.
        let rounding = sum("mappings") * 1024;
        let pss = whole["pss_bytes"].as_u64().unwrap();
        let agree = sum("uss_bytes") == whole["uss_bytes"].as_u64().unwrap();
        (agree && (sum("pss_bytes")..=sum("pss_bytes") + rounding).contains(&pss)).then_some(())
    });
    let count = &rows(&["--proc", proc, "--columns", "maps"])[0]["maps"];
    let mappings = rows(&["--proc", proc, "--by", "mapping"]);
    let sum: u64 = mappings.iter().map(|row| row["mappings"].as_u64().unwrap()).sum();
    assert_eq!(count.as_u64(), Some(sum));
    // A process without the file is missing from every row.
    fs::remove_file(process.join("smaps")).unwrap();
    let ended = view(&["--proc", proc, "--by", "mapping"]);
    assert!(ended.stderr.contains("the mappings of 1 of 1 processes could not be read"));
}

#[test]
fn a_mapping_has_means_over_its_processes() {
    let directory = tempdir().unwrap();
    let mapping = |kib: u64| {
        format!(
            "1000-2000 r--p 00000000 fd:01 7    /opt/a b.so (deleted)\nSize: 4 kB\nRss: {kib} kB\nPss: {kib} kB\n\
             Private_Clean: 0 kB\nPrivate_Dirty: {kib} kB\nSwap: 0 kB\nSwapPss: 0 kB\n"
        )
    };
    for (pid, smaps) in [("41", mapping(4) + &mapping(4)), ("42", mapping(4))] {
        let process = directory.path().join(pid);
        fs::create_dir(&process).unwrap();
        for file in ["stat", "statm", "status", "cmdline", "cgroup", "smaps_rollup"] {
            fs::copy(format!("/proc/self/{file}"), process.join(file)).unwrap();
        }
        fs::write(process.join("smaps"), smaps).unwrap();
    }
    let proc = directory.path().to_str().unwrap();
    let columns = ["--columns", "map,pids,count,pss,avgpss,avguss,avgrss"];
    let rows = rows(&[&["--proc", proc, "--by", "mapping"], &columns[..]].concat());
    let [row] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!(row["mapping"], "/opt/a b.so (deleted)");
    assert_eq!((&row["processes"], &row["mappings"]), (&2.into(), &3.into()));
    assert_eq!(row["pss_bytes"], 12 * 1024);
    for mean in ["pss_mean_bytes", "uss_mean_bytes", "rss_mean_bytes"] {
        assert_eq!(row[mean], 6 * 1024);
    }
}

#[test]
fn the_areas_of_the_system_are_all_of_it() {
    let meminfo = "MemTotal: 1000 kB\nMemFree: 100 kB\nBuffers: 10 kB\nCached: 300 kB\nShmem: 50 kB\n\
                   AnonPages: 200 kB\nSReclaimable: 40 kB\nSUnreclaim: 30 kB\nKernelStack: 5 kB\nPageTables: 6 kB\n";
    let directory = tempdir().unwrap();
    fs::write(directory.path().join("meminfo"), meminfo).unwrap();
    let proc = directory.path().to_str().unwrap();
    let rows = rows(&["--proc", proc, "--by", "system"]);
    let sum = |key: &str| rows.iter().map(|row| row[key].as_u64().unwrap() / 1024).sum::<u64>();
    assert_eq!(sum("used_bytes"), 1000);
    // Files and what the kernel gives back, and what is free; not what is in tmpfs.
    assert_eq!(sum("cache_bytes"), 10 + 250 + 40 + 100);
    assert_eq!(sum("noncache_bytes"), 1000 - 400);
    let shared = rows.iter().find(|row| row["area"] == "shared memory and tmpfs").unwrap();
    assert_eq!((&shared["used_bytes"], &shared["cache_bytes"]), (&(50 * 1024).into(), &0.into()));
    let total = view(&["--proc", proc, "--by", "system", "--totals", "--percent"]).stdout;
    assert!(total.lines().last().unwrap().contains("100.00%"), "{total}");
    fs::remove_file(directory.path().join("meminfo")).unwrap();
    fs::create_dir(directory.path().join("42")).unwrap();
    for file in ["stat", "statm", "status", "cmdline", "cgroup", "smaps_rollup"] {
        fs::copy(format!("/proc/self/{file}"), directory.path().join("42").join(file)).unwrap();
    }
    for arguments in [["--by", "system"], ["--by=process", "--percent"]] {
        let ended =
            memsample(directory.path(), &[&["view", "--proc", "."], &arguments[..]].concat());
        assert_eq!(ended.code, Some(1));
        assert!(ended.stderr.contains("no meminfo"), "{}", ended.stderr);
    }
}

#[test]
fn json_has_every_key_and_null_for_what_is_unknown() {
    let rows = rows(&["--proc", &tree("broken")]);
    let keys = [
        "pid",
        "ppid",
        "user",
        "uid",
        "comm",
        "role",
        "cgroup",
        "command",
        "rss_bytes",
        "pss_bytes",
        "uss_bytes",
        "swap_bytes",
        "vsize_bytes",
        "hwm_bytes",
    ];
    for row in &rows {
        for key in keys {
            assert!(row.get(key).is_some(), "{key} in {row}");
        }
        assert!(row["rss_bytes"].is_u64() && row["pid"].is_i64());
    }
    for key in ["pss_bytes", "swap_bytes", "uid", "user"] {
        assert!(rows.iter().any(|row| row[key].is_null()), "no {key} is unknown");
    }
}

#[test]
fn csv_holds_what_json_does() {
    for by in ["process", "user", "system"] {
        let arguments = ["--proc", &tree("broken"), "--by", by];
        let text = view(&[&arguments[..], &["--csv"]].concat()).stdout;
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let header = reader.headers().unwrap().clone();
        let rows = rows(&arguments);
        let records: Vec<_> = reader.records().map(Result::unwrap).collect();
        assert_eq!(records.len(), rows.len());
        for (record, row) in records.iter().zip(&rows) {
            assert_eq!(row.as_object().unwrap().len(), header.len());
            for (name, field) in header.iter().zip(record) {
                let expected = match &row[name] {
                    Value::Null => String::new(),
                    Value::String(text) => text.clone(),
                    value => value.to_string(),
                };
                assert_eq!(field, expected, "{name}");
            }
        }
    }
}

#[test]
fn a_recorded_tree_is_viewed_as_the_tree() {
    let proc = tree("idle");
    let (_directory, run) = record(&["--proc", &proc, "--duration", "300ms"]);
    let run = run.to_str().unwrap();
    assert_eq!(rows(&[run]), rows(&["--proc", &proc]));
    for by in ["user", "cgroup", "role", "system"] {
        assert_eq!(rows(&[run, "--by", by]), rows(&["--proc", &proc, "--by", by]), "{by}");
    }
}

/// The RSS and the PSS of each process of a tick, by pid.
type ByPid = BTreeMap<i64, (Option<i64>, Option<i64>)>;

#[test]
fn an_instant_is_the_tick_before_it() {
    let directory = tempdir().unwrap();
    let every = ["--pss-interval", "every", "--detail-interval", "every"];
    let run = record_ticks(directory.path(), 4, &every);
    let (recording, _) = Recording::open(&run).unwrap();
    let (first, last) = recording.first_and_last_tick().unwrap().unwrap();
    let mut samples: BTreeMap<i64, ByPid> = BTreeMap::new();
    for batch in recording.read_table("samples", &["ts", "pid", "rss_bytes", "pss_bytes"]) {
        let batch = batch.unwrap();
        let ts = batch["ts"].as_primitive::<TimestampMillisecondType>();
        let pid = batch["pid"].as_primitive::<Int32Type>();
        let [rss, pss] =
            ["rss_bytes", "pss_bytes"].map(|name| batch[name].as_primitive::<Int64Type>());
        for (((ts, pid), rss), pss) in ts.iter().zip(pid).zip(rss).zip(pss) {
            samples.entry(ts.unwrap()).or_default().insert(pid.unwrap().into(), (rss, pss));
        }
    }
    let tick = |at: &str| -> ByPid {
        let rows = rows(&[run.to_str().unwrap(), "--exact", "--at", at]);
        let numbers = |row: &Value| (row["rss_bytes"].as_i64(), row["pss_bytes"].as_i64());
        rows.iter().map(|row| (row["pid"].as_i64().unwrap(), numbers(row))).collect()
    };
    let first_ms = first.as_millisecond();
    // A busy machine misses some ticks.
    let ticks: Vec<i64> = samples.keys().copied().collect();
    let middle = ticks.len() / 2;
    let next_ms = ticks[middle + 1] - 1 - first_ms;
    for at_ms in [ticks[middle] - first_ms, next_ms] {
        assert_eq!(tick(&format!("{at_ms}ms")), samples[&ticks[middle]]);
    }
    assert_eq!(tick(&first.to_string()), samples[&first_ms]);
    assert_eq!(tick(&last.to_string()), samples[&last.as_millisecond()]);
    let seconds = |ms| jiff::SignedDuration::from_millis(ms).as_secs_f64();
    let expected = format!(
        "{:.1} s after its first tick, in a recording of {:.1} s",
        seconds(ticks[middle] - first_ms),
        seconds(last.as_millisecond() - first_ms)
    );
    let note = view(&[run.to_str().unwrap(), "--at", &format!("{next_ms}ms")]).stderr;
    assert!(note.contains(&expected), "{expected}: {note}");
}

#[test]
fn what_was_not_read_at_an_instant_is_as_it_was_last_read() {
    // PSS is read at the first tick alone.
    let directory = tempdir().unwrap();
    let proc = tree("idle");
    let run = record_ticks(directory.path(), 3, &["--pss-interval", "1h", "--proc", &proc]);
    let (recording, _) = Recording::open(&run).unwrap();
    let (first, last) = recording.first_and_last_tick().unwrap().unwrap();
    // The last PSS of each process that has one, and its age, from all rows.
    let mut readings: BTreeMap<i64, (i64, u64)> = BTreeMap::new();
    for batch in recording.read_table("samples", &["ts", "process", "pid", "pss_bytes"]) {
        let batch = batch.unwrap();
        let ts = batch["ts"].as_primitive::<TimestampMillisecondType>();
        let pid = batch["pid"].as_primitive::<Int32Type>();
        let pss = batch["pss_bytes"].as_primitive::<Int64Type>();
        for ((ts, pid), pss) in ts.iter().zip(pid).zip(pss) {
            let Some(pss) = pss else { continue };
            let age_ms = last.as_millisecond().abs_diff(ts.unwrap());
            let reading = readings.entry(pid.unwrap().into()).or_insert((pss, age_ms));
            if age_ms < reading.1 {
                *reading = (pss, age_ms);
            }
        }
    }
    let rows = rows(&[run.to_str().unwrap(), "--at", &last.to_string()]);
    let mut carried = 0;
    for row in &rows {
        let shown = row["pss_bytes"].as_i64().zip(row["pss_age_ms"].as_u64());
        assert_eq!(shown, readings.get(&row["pid"].as_i64().unwrap()).copied(), "{row}");
        carried += u64::from(shown.is_some_and(|(_, age_ms)| age_ms > 0));
    }
    assert!(carried > 0, "every PSS was read at the last tick of {first} to {last}");
    // A process without PSS is not below one that is smaller.
    let key = |row: &Value| row["pss_bytes"].as_u64().or(row["rss_bytes"].as_u64());
    assert!(rows.is_sorted_by(|one, other| key(one) >= key(other)));
    let seen = view(&[run.to_str().unwrap()]);
    assert!(seen.stdout.contains("PSS AGE"), "{}", seen.stdout);
    assert!(seen.stderr.contains("those of their last reading"), "{}", seen.stderr);
    let exact = view(&[run.to_str().unwrap(), "--exact"]);
    assert!(!exact.stdout.contains("PSS AGE") && !exact.stderr.contains("last reading"));
}

#[test]
fn rows_are_sorted_and_filtered_as_asked() {
    let proc = tree("idle");
    let numbers = |arguments: &[&str], key: &str| -> Vec<i64> {
        let rows = rows(&[&["--proc", &proc], arguments].concat());
        rows.iter().filter_map(|row| row[key].as_i64()).collect()
    };
    assert!(numbers(&[], "pss_bytes").is_sorted_by(|one, other| one >= other));
    assert!(numbers(&["--sort", "rss", "--reverse"], "rss_bytes").is_sorted());
    assert!(numbers(&["--sort", "pid"], "pid").is_sorted());
    assert_eq!(numbers(&["--filter", "^sleep"], "pid"), [4]);
    assert_eq!(numbers(&["--user", "0"], "pid").len(), numbers(&["--user", "root"], "pid").len());
    assert!(numbers(&["--user", "12345"], "pid").is_empty());
    let chosen = view(&["--proc", &proc, "--columns", "command,pid", "--filter", "sleep 1000"]);
    assert_eq!(chosen.stdout, "COMMAND     PID\nsleep 1000    4\n");
    let nothing = view(&["--proc", &proc, "--filter", "nothing has this name"]);
    assert!(nothing.stderr.contains("no process matches"));
}

#[test]
fn a_terminal_sees_no_line_that_is_too_long() {
    let line =
        format!("script -qec 'stty cols 50; $MEMSAMPLE view --proc {}' /dev/null", tree("idle"));
    let ended = shell(Path::new("/"), &line);
    assert!(ended.stdout.contains('…'), "{}", ended.stdout);
    let table = ended.stdout.lines().filter(|line| !line.starts_with("note: "));
    for line in table {
        assert!(line.trim_end().chars().count() <= 50, "{line}");
    }
}

#[test]
fn wrong_wishes_are_refused_in_one_line() {
    let (_directory, run) = record(&["--proc", &tree("idle"), "--duration", "200ms"]);
    let run = run.to_str().unwrap();
    let cases: [(&[&str], &str); 16] = [
        (&["--columns", "pid,foo"], "no column `foo` in `--by process`, which has pid, ppid, user"),
        (&["--by", "system", "--sort", "pss"], "no column `pss` in `--by system`, which has area"),
        (&["--by", "planet"], "invalid value 'planet' for '--by <WHAT>'"),
        (&["--filter", "("], "unclosed group"),
        (&["--user", "nobody of that name"], "this machine has no user `nobody of that name`"),
        (&["--by", "system", "--filter", "x"], "leave out --filter and --user"),
        (&["--json", "--csv"], "cannot be used with"),
        (&["--json", "--totals"], "cannot be used with"),
        (&["--proc", "/absent"], "cannot read `/absent`"),
        (&["--at", "1s"], "required arguments were not provided"),
        (&["/absent"], "`/absent` is not a recording: there is no such directory"),
        (&[run, "--at", "yesterday"], "write a time such as 2026-11-22T20:59:38.281Z"),
        (&[run, "--at", "1h"], "is outside the recording, which goes from "),
        (&[run, "--at", "2001-01-01T00:00:00Z"], "is outside the recording, which goes from "),
        (&[run, "--by", "mapping"], "a recording does not hold what processes map"),
        (&[run, "--columns", "maps"], "a recording does not hold what processes map"),
    ];
    for (arguments, message) in cases {
        let ended = memsample(Path::new("/"), &[&["view"], arguments].concat());
        assert!(matches!(ended.code, Some(1 | 2)), "{arguments:?} ended with {:?}", ended.code);
        let first = ended.stderr.lines().next().unwrap_or_default();
        assert!(ended.stderr.contains(message), "{arguments:?} said: {}", ended.stderr);
        assert!(first.starts_with("error: "), "{arguments:?} said: {}", ended.stderr);
        assert_eq!(ended.stdout, "");
    }
}

#[test]
fn help_names_the_views_and_every_option() {
    let help = view(&["--help"]).stdout;
    for word in ["process", "user", "mapping", "system", "cgroup", "role", "Examples:"] {
        assert!(help.contains(word), "{word}");
    }
    let options = [
        "at", "by", "columns", "sort", "reverse", "filter", "user", "totals", "percent", "bytes",
        "json", "csv", "proc",
    ];
    for option in options {
        assert!(help.contains(&format!("--{option}")), "{option}");
    }
}
