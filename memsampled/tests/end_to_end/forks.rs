//! Forks and execs that the kernel reports. It reports them outside of containers only; elsewhere the
//! recording has a note that it does not, and the tests check that.

use std::path::Path;

use crate::command::{Ended, Running, manifest, shell, wait_for, wait_for_recorded, wait_for_tick};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use memsample::{ForksBy, Recording};
use serde_json::Value;
use tempfile::tempdir;

struct Process {
    process: i64,
    pid: i32,
    ppid: i32,
    exec: i32,
    start_ns: i64,
    samples: i64,
    cmdline: String,
}

fn processes(run: &Path) -> Vec<Process> {
    processes_of(&Recording::open(run).unwrap().0)
}

fn processes_of(recording: &Recording) -> Vec<Process> {
    let columns = ["process", "pid", "ppid", "exec", "start_ns", "samples", "cmdline"];
    let rows = recording.read_table("processes", &columns).flat_map(|batch| {
        let batch = batch.unwrap();
        let long = |name: &str| batch[name].as_primitive::<Int64Type>().clone();
        let int = |name: &str| batch[name].as_primitive::<Int32Type>().clone();
        let (process, start_ns, samples) = (long("process"), long("start_ns"), long("samples"));
        let (pid, ppid, exec) = (int("pid"), int("ppid"), int("exec"));
        let cmdline = batch["cmdline"].as_string::<i32>().clone();
        (0..batch.num_rows())
            .map(|row| Process {
                process: process.value(row),
                pid: pid.value(row),
                ppid: ppid.value(row),
                exec: exec.value(row),
                start_ns: start_ns.value(row),
                samples: samples.value(row),
                cmdline: cmdline.value(row).to_owned(),
            })
            .collect::<Vec<_>>()
    });
    rows.collect()
}

/// Waits until somebody has written a number into a file.
#[track_caller]
fn number(path: &Path) -> i32 {
    wait_for("a number", || std::fs::read_to_string(path).ok()?.trim().parse().ok())
}

/// Starts to record a line of shell.
fn start(directory: &Path, options: &[&str], line: &str) -> Running {
    let mut arguments = vec!["record", "--name", "x"];
    arguments.extend(options);
    arguments.extend(["--", "sh", "-c", line]);
    Running::start(directory, &arguments)
}

/// Lets go on what waits for a file.
fn let_go(directory: &Path, file: &str) {
    std::fs::write(directory.join(file), "").unwrap();
}

/// Records a line of shell, and returns whether the kernel reported forks and execs.
fn record(directory: &Path, options: &[&str], line: &str) -> bool {
    has_reported(directory, options, start(directory, options, line).wait())
}

/// Returns whether the kernel reported forks and execs to a recording that has ended.
#[track_caller]
fn has_reported(directory: &Path, options: &[&str], ended: Ended) -> bool {
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let manifest = manifest(&directory.join("recordings/x"));
    let reported = manifest["settings"]["forks"] == "proc_connector";
    let notes = manifest["notes"].to_string();
    assert_ne!(reported, notes.contains("does not report forks") || options.contains(&"off"));
    assert_eq!(manifest["totals"]["events_lost"].as_u64(), Some(0));
    reported
}

#[test]
fn the_parent_is_the_one_that_forked_also_when_it_has_ended() {
    let directory = tempdir().unwrap();
    let line = "sh -c 'echo $$ > middle; sleep 1000 & echo $! > orphan'; \
                until test -e seen; do sleep 0.05; done; kill $(cat orphan)";
    let run = directory.path().join("recordings/x");
    let running = start(directory.path(), &[], line);
    let (middle, orphan) =
        (number(&directory.path().join("middle")), number(&directory.path().join("orphan")));
    let is_sampled = |processes: &[Process]| {
        let mut of_orphan = processes.iter().filter(|process| process.pid == orphan);
        of_orphan.any(|process| process.samples > 1 && process.cmdline == "sleep 1000")
    };
    wait_for_recorded("the orphan", &run, |recording| {
        is_sampled(&processes_of(recording)).then_some(())
    });
    let_go(directory.path(), "seen");
    let reported = has_reported(directory.path(), &[], running.wait());
    let processes = processes(&run);
    let of_orphan: Vec<_> = processes.iter().filter(|process| process.pid == orphan).collect();
    assert!(is_sampled(&processes));
    if reported {
        // Of each image of it: that of the shell, if it was seen, and that of sleep.
        assert!(of_orphan.iter().all(|process| process.ppid == middle));
    }
}

#[test]
fn an_exec_that_changes_no_number_and_no_address_is_another_image() {
    let directory = tempdir().unwrap();
    // Without random addresses the same program at the same arguments is the same memory.
    let program = "import os, sys, time
n = int(os.environ['N'])
while not os.path.exists('seen' + str(n)): time.sleep(0.01)
os.environ['N'] = str(n - 1)
if n: os.execv(sys.executable, sys.orig_argv)";
    let line = format!("echo $$ > pid; N=3 exec setarch -R /usr/bin/python3 -c \"{program}\"");
    let run = directory.path().join("recordings/x");
    let running = start(directory.path(), &[], &line);
    let pid = number(&directory.path().join("pid"));
    let is_python = |process: &Process| {
        process.pid == pid
            && process.cmdline.contains("import os")
            && process.cmdline.starts_with("/usr/bin/python3")
    };
    // After the shell and setarch.
    let execs = [3, 4, 5, 6];
    for (exec, file) in execs.into_iter().zip(["seen3", "seen2", "seen1", "seen0"]) {
        wait_for_recorded("the image", &run, |recording| {
            // Where nobody reports execs, all are one image.
            let forks = recording.manifest().provenance.settings.forks;
            let is_one = forks != ForksBy::ProcConnector;
            let is_it = |image: &Process| is_python(image) && (is_one || image.exec == exec);
            processes_of(recording).iter().any(is_it).then_some(())
        });
        let_go(directory.path(), file);
    }
    let reported = has_reported(directory.path(), &[], running.wait());
    let mut images: Vec<_> = processes(&run).into_iter().filter(is_python).collect();
    images.sort_unstable_by_key(|process| process.process);
    assert!(!images.is_empty());
    if reported {
        assert_eq!(images.iter().map(|image| image.exec).collect::<Vec<_>>(), execs);
        assert!(images.iter().all(|image| image.start_ns == images[0].start_ns));
    }
}

#[test]
fn a_program_that_another_thread_than_the_first_executes_is_another_image() {
    // The system call ends the calling thread alone: the first one.
    let program = "import ctypes, os, threading, time
def wait(file):
    while not os.path.exists(file): time.sleep(0.01)
def run(): wait(\"alone-seen\"); os.execv(\"/bin/sleep\", [\"sleep\", \"1000\"])
threading.Thread(target=run).start()
wait(\"both-seen\")
ctypes.CDLL(None).syscall(60, 0)";
    for options in [&[][..], &["--events", "off"]] {
        let directory = tempdir().unwrap();
        let line = format!("echo $$ > pid; exec /usr/bin/python3 -S -c '{program}'");
        let run = directory.path().join("recordings/x");
        let running = start(directory.path(), options, &line);
        let pid = number(&directory.path().join("pid"));
        // Who starts it has the program in its arguments too, and may have been sampled before it executed it.
        let of = |recording: &Recording, begin: &str| {
            let processes = processes_of(recording);
            let images =
                processes.iter().filter(|it| it.pid == pid && it.cmdline.starts_with(begin));
            images.map(|image| image.samples).collect::<Vec<_>>()
        };
        wait_for_recorded("both threads", &run, |recording| {
            (!of(recording, "/usr/bin/python3 ").is_empty()).then_some(())
        });
        let_go(directory.path(), "both-seen");
        wait_for("the end of the first thread", || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            stat.contains(") Z ").then_some(())
        });
        wait_for_tick(&run);
        wait_for_tick(&run);
        let_go(directory.path(), "alone-seen");
        wait_for_recorded("sleep", &run, |recording| {
            (of(recording, "sleep 1000").iter().sum::<i64>() >= 3).then_some(())
        });
        // It goes on to the command.
        running.signal("TERM");
        let ended = running.wait();
        assert_eq!(ended.code, Some(128 + 15), "{}", ended.stderr);
        let (recording, _) = Recording::open(&run).unwrap();
        let (of_python, of_sleep) =
            (of(&recording, "/usr/bin/python3 "), of(&recording, "sleep 1000"));
        assert_eq!((of_python.len(), of_sleep.len()), (1, 1), "{options:?}");
        assert!(of_python[0] >= 3 && of_sleep[0] >= 3, "{options:?} {of_python:?} {of_sleep:?}");
    }
}

#[test]
fn every_process_of_a_storm_is_a_row_or_counted() {
    let directory = tempdir().unwrap();
    // Two of them fork as fast as they can.
    let forker = "import os
for _ in range(1500):
    if os.fork() == 0: os._exit(0)
    os.wait()";
    let line = format!(
        "/usr/bin/python3 -c '{forker}' & echo $! > a; /usr/bin/python3 -c '{forker}' & echo $! > b; wait; :"
    );
    let reported = record(directory.path(), &["--interval=50ms"], &line);
    let forkers = ["a", "b"].map(|name| number(&directory.path().join(name)));
    let manifest = manifest(&directory.path().join("recordings/x"));
    let children = processes(&directory.path().join("recordings/x"))
        .iter()
        .filter(|process| forkers.contains(&process.ppid))
        .count() as u64;
    let total = |name: &str| manifest["totals"][name].as_u64().unwrap();
    if reported && total("exits_lost") == 0 {
        assert!(children + total("unseen") >= 3000, "{children}, {manifest:#}");
    }
    if reported && manifest["settings"]["exits"] == true {
        // Unless something was lost, each has its row, even if it lived for a few microseconds.
        assert!(total("exits_lost") > 0 || children == 3000, "{children}, {manifest:#}");
    }
}

#[test]
fn without_events_processes_are_found_by_looking() {
    let directory = tempdir().unwrap();
    let run = directory.path().join("recordings/x");
    let options = ["--events", "off"];
    let line = "sleep 1000 & echo $! > pid; until test -e seen; do sleep 0.05; done; kill $!";
    let running = start(directory.path(), &options, line);
    let pid = number(&directory.path().join("pid"));
    let has_sleep = |processes: &[Process]| {
        processes.iter().any(|process| process.pid == pid && process.cmdline == "sleep 1000")
    };
    wait_for_recorded("sleep", &run, |recording| has_sleep(&processes_of(recording)).then_some(()));
    let_go(directory.path(), "seen");
    assert!(!has_reported(directory.path(), &options, running.wait()));
    assert!(has_sleep(&processes(&run)));
}

/// Records in a container of bubblewrap, and returns what `record --json` says.
fn record_in_bwrap(directory: &Path, options: &str) -> Value {
    let line = format!(
        "bwrap --bind / / --dev-bind /dev /dev --die-with-parent {options} \
         $MEMSAMPLE record --name x --json --duration 300ms"
    );
    let ended = shell(directory, &line);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.json()
}

#[test]
fn in_bubblewrap_its_own_processes_are_recorded_and_it_is_said_what_is_missing() {
    let directory = tempdir().unwrap();
    let json = record_in_bwrap(directory.path(), "--unshare-all --proc /proc");
    // The first process of the container and the recorder; of the machine around it nothing.
    assert_eq!(json["processes"].as_u64(), Some(2), "{json}");
    let notes = json["notes"].to_string();
    assert!(notes.contains("does not report forks"), "{notes}");
    assert!(notes.contains("does not report exits"), "{notes}");
    let run = directory.path().join("recordings/x");
    let manifest = manifest(&run);
    assert_eq!(
        (&manifest["settings"]["forks"], &manifest["settings"]["exits"]),
        (&"listing".into(), &false.into())
    );
    let pids: Vec<i32> = processes(&run).iter().map(|process| process.pid).collect();
    assert!(pids.iter().all(|&pid| pid < 100), "pids of the container: {pids:?}");
}

/// A filter of system calls by which the kernel refuses sockets of generic netlink, by which taskstats
/// come, and of the connector, with what a kernel says that lacks both.
fn without_netlink() -> Vec<u8> {
    const LOAD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const PROTOCOL_NOT_SUPPORTED: u32 = 93;
    let socket_call = match std::env::consts::ARCH {
        "x86_64" => 41,
        _ => 198,
    };
    // Number of the call and arguments: offsets 0 and 16 + 8 n, low half first.
    let program: [(u16, u8, u8, u32); 9] = [
        (LOAD, 0, 0, 0),
        (JUMP_IF_EQUAL, 0, 5, socket_call),
        (LOAD, 0, 0, 16),
        (JUMP_IF_EQUAL, 0, 3, 16), // AF_NETLINK
        (LOAD, 0, 0, 32),
        (JUMP_IF_EQUAL, 2, 0, 16), // NETLINK_GENERIC
        (JUMP_IF_EQUAL, 1, 0, 11), // NETLINK_CONNECTOR
        (RETURN, 0, 0, 0x7fff_0000),
        (RETURN, 0, 0, 0x0005_0000 | PROTOCOL_NOT_SUPPORTED),
    ];
    let bytes = program.iter().flat_map(|&(code, yes, no, operand)| {
        [&code.to_ne_bytes()[..], &[yes, no], &operand.to_ne_bytes()].concat()
    });
    bytes.collect()
}

#[test]
fn a_kernel_without_taskstats_and_connector_is_recorded_without_them() {
    let directory = tempdir().unwrap();
    std::fs::write(directory.path().join("filter"), without_netlink()).unwrap();
    let json = record_in_bwrap(directory.path(), "--cap-add ALL --seccomp 9 9<filter --proc /proc");
    assert!(json["samples"].as_u64().unwrap() > 0, "{json}");
    assert_eq!(json["exits"].as_u64(), Some(0));
    let notes = json["notes"].to_string();
    assert!(notes.contains("it has no taskstats"), "{notes}");
    assert!(notes.contains("it has no proc connector"), "{notes}");
}

#[test]
fn in_a_container_a_note_says_what_is_missing() {
    let directory = tempdir().unwrap();
    let namespaces = "unshare --pid --net --fork --mount-proc --kill-child";
    if shell(directory.path(), &format!("{namespaces} true")).code != Some(0) {
        // Not even root may make one here; then there is a container around the tests already.
        assert!(!record(directory.path(), &[], "true"));
        return;
    }
    let line = format!("{namespaces} $MEMSAMPLE record --name x --json --duration 300ms");
    let ended = shell(directory.path(), &line);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let json = ended.json();
    assert!(json["samples"].as_u64().unwrap() > 0);
    let notes = json["notes"].to_string();
    assert!(notes.contains("does not report forks"), "{notes}");
    assert!(notes.contains("does not report exits"), "{notes}");
    let manifest = manifest(&directory.path().join("recordings/x"));
    assert_eq!(manifest["settings"]["forks"], "listing");
    assert_eq!(manifest["settings"]["exits"], false);
}
