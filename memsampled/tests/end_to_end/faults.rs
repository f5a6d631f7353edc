//! A system call that fails is told of, or makes no difference.
//!
//! Slow: it starts two hundred programs, which takes up to a minute.

use std::fs;
use std::path::Path;
use std::sync::Mutex;

use memsample::{Recording, RecordingState};
use tempfile::tempdir;

use crate::command::{Ended, Running, manifest, memsample, shell, wait_for_journal};
use crate::daemon::MEMSAMPLED;

/// Those that can fail with an error of input or output, or be refused by a filter of system calls.
const CALLS: [&str; 21] = [
    "ppoll",
    "timerfd_create",
    "timerfd_settime",
    "read",
    "pread64",
    "write",
    "openat",
    "openat2",
    "getdents64",
    "readlinkat",
    "fdatasync",
    "fsync",
    "renameat",
    "mkdir",
    "clone3",
    "socket",
    "sendto",
    "recvfrom",
    "sendmsg",
    "recvmsg",
    "prlimit64",
];
/// Those of the daemon.
const CALLS_OF_DAEMON: [&str; 5] = ["sendto", "recvfrom", "prlimit64", "accept4", "fdatasync"];
/// Which call fails of each process; the third message is that of an exec shim.
const WHEN: [u32; 3] = [1, 2, 10];
const OF_SHIM: [(&str, u32); 2] = [("recvmsg", 3), ("sendmsg", 3)];
/// Longer than any of these programs takes on a busy machine.
const SECONDS: u32 = 600;

/// Tries each fault in a directory of its own, four at a time. `try_one` returns what it did wrong.
#[track_caller]
fn try_all(
    faults: impl Iterator<Item = (&'static str, u32)>,
    try_one: impl Fn(&Path, &str, u32) -> Option<String> + Sync,
) {
    let (left, wrong) = (Mutex::new(faults.collect::<Vec<_>>()), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let Some((call, when)) = left.lock().unwrap().pop() else { return };
            let directory = tempdir().unwrap();
            if let Some(fault) = try_one(directory.path(), call, when) {
                wrong.lock().unwrap().push(format!("{call} {when}: {fault}"));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(work);
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Runs a command once for each fault, and gives what it did to `check`.
#[track_caller]
fn check_all(arguments: &str, check: impl Fn(&Path, &Ended) -> Option<String> + Sync) {
    let faults = CALLS.iter().flat_map(|&call| WHEN.map(|when| (call, when))).chain(OF_SHIM);
    try_all(faults, |directory, call, when| {
        let suite = "name = 's'\n[[test]]\nname = 'a'\ncommand = ['true']\n";
        fs::write(directory.join("suite.toml"), suite).unwrap();
        let ended = shell(
            directory,
            &format!(
                "timeout --kill-after={SECONDS} {SECONDS} strace -f -qq -o /dev/null -e trace={call} \
                 -e inject={call}:error=EIO:when={when} $MEMSAMPLE {arguments}"
            ),
        );
        let fault = match ended.code {
            None => Some("a signal ended it".to_owned()),
            Some(124 | 137) => Some("it hangs".to_owned()),
            _ if ended.stderr.contains("panicked") => Some("it panics".to_owned()),
            _ => check(directory, &ended),
        };
        fault.map(|fault| format!("{fault}: {:?} {}", ended.code, ended.stderr))
    });
}

/// A code other than 0 has its reason on stderr.
fn silence(ended: &Ended) -> Option<String> {
    (ended.code != Some(0) && ended.stderr.trim().is_empty()).then(|| "it says nothing".to_owned())
}

/// Returns what is wrong with a recording that is said to be whole.
fn flaw(directory: &Path, ticks: Option<u64>) -> Option<String> {
    let recordings = crate::command::recordings(directory);
    let [recording] = &recordings[..] else { return Some(format!("{recordings:?}")) };
    let manifest = manifest(recording);
    let total = |name: &str| manifest["totals"][name].as_u64().unwrap();
    let planned = total("ticks") + total("missed");
    let is_whole = manifest["state"] == "closed"
        && ticks.is_none_or(|ticks| planned == ticks && manifest["end"] == "duration");
    (!is_whole).then(|| manifest.to_string())
}

#[test]
fn a_recording_is_whole_or_says_what_it_lacks_whatever_fails() {
    check_all("record --duration 300ms --interval 100ms --name x", |directory, ended| match ended
        .code
    {
        Some(0) => flaw(directory, Some(3)),
        _ => silence(ended),
    });
}

#[test]
fn a_recorded_command_ends_with_its_own_code_or_the_reason_whatever_fails() {
    check_all("record --name x -- sh -c 'sleep 0.2; exit 3'", |directory, ended| {
        match ended.code {
            Some(0) => Some("a success that is none".to_owned()),
            Some(3) if ended.stderr.contains("warning") => None,
            Some(3) => flaw(directory, None),
            _ => silence(ended),
        }
    });
}

#[test]
fn a_run_has_passed_or_says_why_not_whatever_fails() {
    check_all("run suite.toml", |directory, ended| {
        if ended.code != Some(0) {
            return silence(ended);
        }
        let runs = crate::command::runs(directory);
        let [run] = &runs[..] else { return Some(format!("{runs:?}")) };
        let text = fs::read_to_string(run.join("results.json")).unwrap_or_default();
        let results: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        (results["tests"][0]["outcome"] != "passed").then_some(text)
    });
}

/// Writes and renames, and what brings them to the disk. The eighth file is `recording.json`, behind the tables.
const CALLS_THAT_WRITE: [&str; 6] =
    ["write", "fdatasync", "fsync", "renameat", "renameat2", "unlinkat"];
const WHEN_WRITING: [u32; 4] = [1, 2, 8, 9];

/// Copies the recording that a killed recorder left at `died`, and makes something of the copy on a disk that is full at
/// one moment. Returns how it ended.
fn with_full_disk(directory: &Path, died: &Path, call: &str, when: u32, command: &str) -> Ended {
    let died = died.display();
    shell(
        directory,
        &format!(
            "cp -rL '{died}' died && exec timeout --kill-after={SECONDS} {SECONDS} strace -f -qq -o /dev/null \
             -e trace={call} -e inject={call}:error=ENOSPC:when={when} $MEMSAMPLE {command}"
        ),
    )
}

/// Returns what is wrong with how a command ended for which the disk was full.
fn wrong_end(ended: &Ended) -> Option<String> {
    let is_told = ended.code == Some(4) && ended.stderr.contains("No space left on device");
    (ended.code != Some(0) && !is_told).then(|| format!("{:?} {}", ended.code, ended.stderr))
}

/// Returns how many rows the tables of a recording have.
fn counts(recording: &Recording) -> Vec<usize> {
    let tables = ["samples", "ticks", "processes", "exits", "system", "cgroups", "marks"];
    let count = |table| -> usize {
        recording.read_table(table, &["recording"]).map(|batch| batch.unwrap().num_rows()).sum()
    };
    tables.map(count).to_vec()
}

#[test]
fn what_is_made_of_a_recording_is_whole_or_made_by_the_next_try_whatever_fails() {
    let directory = tempdir().unwrap();
    let recorder =
        Running::start(directory.path(), &["record", "--name", "x", "--interval", "10ms"]);
    wait_for_journal(&directory.path().join("recordings/x"), 3000);
    recorder.signal("KILL");
    recorder.wait();
    let died = directory.path().join("recordings/x");
    shell(directory.path(), "cp -rL recordings/x whole");
    let (whole, _) = Recording::open(&directory.path().join("whole")).unwrap();
    let expected = (counts(&whole), whole.manifest().totals);
    let faults = || CALLS_THAT_WRITE.iter().flat_map(|&call| WHEN_WRITING.map(|when| (call, when)));

    try_all(faults(), |directory, call, when| {
        let ended = with_full_disk(directory, &died, call, when, "recover died");
        let again = memsample(directory, &["recover", "died"]);
        let (recording, _) = Recording::open(&directory.join("died")).unwrap();
        let is_whole = recording.manifest().state == RecordingState::Recovered
            && (counts(&recording), recording.manifest().totals) == expected;
        let fault = match again.code {
            Some(0) if is_whole => None,
            _ => Some(format!("{:?} {}", recording.manifest().totals, again.stderr)),
        };
        wrong_end(&ended).or(fault)
    });

    try_all(faults(), |directory, call, when| {
        let ended =
            with_full_disk(directory, &died, call, when, "cut died --from 0s --out part >cut");
        let mut left = fs::read_dir(directory).unwrap();
        // What was told in vain was done.
        let is_made = ended.code == Some(0) || ended.stderr.contains("cannot write to stdout");
        let fault = match (is_made, directory.join("part").exists()) {
            (true, true) if left.by_ref().count() == 3 => None,
            (false, false) if left.by_ref().count() == 2 => None,
            _ => Some(format!(
                "{:?} {} left {:?}",
                ended.code,
                ended.stderr,
                left.collect::<Vec<_>>()
            )),
        };
        wrong_end(&ended).or(fault)
    });
}

#[test]
fn what_cannot_be_made_leaves_nothing_behind() {
    let of_capture = tempdir().unwrap();
    let capture = of_capture.path().join("capture.tar");
    crate::import::capture(&capture, i64::from(std::process::id()));
    let capture = capture.display();
    // Those before are of the loader. Among them are the opens of a directory that was made just before.
    let faults = (8..=24).map(|when| ("openat", when));
    try_all(faults, |directory, call, when| {
        let ended = shell(
            directory,
            &format!(
                "exec timeout --kill-after={SECONDS} {SECONDS} strace -f -qq -o /dev/null -e trace={call} \
                 -e inject={call}:error=EIO:when={when} $MEMSAMPLE import '{capture}' --out imported"
            ),
        );
        let left = fs::read_dir(directory.join("imported")).map_or(0, Iterator::count);
        let is_right = ended.code == Some(0) || left == 0;
        (!is_right).then(|| format!("{left} left: {:?} {}", ended.code, ended.stderr))
    });
}

#[test]
fn a_daemon_that_cannot_wait_for_events_closes_its_recordings_and_says_why() {
    let faults = [1, 2, 10, 40].map(|when| ("epoll_wait", when));
    try_all(faults.into_iter(), |directory, call, when| {
        // Requests are events, so that there are enough of them.
        let ended = shell(
            directory,
            &format!(
                "timeout --foreground --kill-after={SECONDS} {SECONDS} \
                 strace -D -f -qq -o /dev/null -e trace={call},epoll_pwait,epoll_pwait2 \
                 -e inject={call},epoll_pwait,epoll_pwait2:error=EIO:when={when} \
                 {MEMSAMPLED} --socket $PWD/s --recordings $PWD/recordings 2>daemon & daemon=$!
                 until test -S s || ! kill -0 $daemon; do sleep 0.02; done
                 while kill -0 $daemon 2>/dev/null; do
                   $MEMSAMPLE session --socket $PWD/s -- sh -c 'sleep 0.1' 2>/dev/null
                 done
                 wait $daemon"
            ),
        );
        let daemon = fs::read_to_string(directory.join("daemon")).unwrap_or_default();
        let are_closed = crate::command::recordings(directory)
            .iter()
            .filter(|directory| directory.join("recording.json").exists())
            .all(|recording| manifest(recording)["state"] == "closed");
        let is_told = daemon.contains("cannot wait for requests") && !daemon.contains("panicked");
        let is_right = ended.code == Some(1) && is_told && are_closed;
        (!is_right).then(|| format!("{:?} {daemon}", ended.code))
    });
}

#[test]
fn a_daemon_serves_and_ends_as_it_is_asked_whatever_fails() {
    let faults = CALLS_OF_DAEMON.iter().flat_map(|&call| WHEN.map(|when| (call, when)));
    try_all(faults, |directory, call, when| {
        // The command ends as it does, and what was not recorded is said. The first signal ends the daemon.
        let ended = shell(
            directory,
            &format!(
                "timeout --foreground --kill-after={SECONDS} {SECONDS} \
                 strace -D -f -qq -o /dev/null -e trace={call} \
                 -e inject={call}:error=EIO:when={when} \
                 {MEMSAMPLED} --socket $PWD/s --recordings $PWD/recordings 2>daemon & daemon=$!
                 until test -S s || ! kill -0 $daemon; do sleep 0.02; done
                 $MEMSAMPLE session --socket $PWD/s -- sh -c 'sleep 0.1; exit 3'
                 echo $? > client
                 kill -TERM $daemon
                 wait $daemon"
            ),
        );
        let read = |name: &str| fs::read_to_string(directory.join(name)).unwrap_or_default();
        let (daemon, client) = (read("daemon"), read("client"));
        let is_recorded = crate::command::recordings(directory)
            .iter()
            .filter(|directory| directory.join("recording.json").exists())
            .any(|recording| manifest(recording)["state"] == "closed");
        let fault = if ended.code != Some(0) {
            Some("it does not end well")
        } else if daemon.contains("panicked") {
            Some("it panics")
        } else if client.trim() != "3" {
            Some("another code than that of the command")
        } else if !is_recorded && !ended.stderr.contains("warning") {
            Some("what was not recorded is not told")
        } else {
            None
        };
        let (code, said) = (ended.code, &ended.stderr);
        fault.map(|fault| format!("{fault}: {code:?} {client} {said} {daemon}"))
    });
}
