//! Killed recorders, full disks, low limits and missing privileges.
//!
//! Slow: it kills twenty recorders.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::command::{Running, manifest, memsample, recordings, shell, wait_for, wait_for_journal};
use memsample::analysis::tick_instants;
use memsample::{Recording, RecordingState, Recovery};
use tempfile::tempdir;

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

fn last_tick(recording: &Recording) -> Duration {
    let last = recording.manifest().last_tick.unwrap();
    Duration::from_millis(last.as_millisecond().unsigned_abs())
}

#[test]
fn kill_9_loses_at_most_a_second_twenty_times() {
    let mut losses = Vec::new();
    for round in 0_u64..20 {
        let directory = tempdir().unwrap();
        let interval_ms = [1, 10, 100, 500][round as usize % 4];
        let interval = format!("{interval_ms}ms");
        let recorder =
            Running::start(directory.path(), &["record", "--name", "x", "--interval", &interval]);
        let run = directory.path().join("recordings/x");
        // Before the first flush, and after it.
        let bytes = if round % 5 == 0 { 3000 } else { 500 };
        wait_for_journal(&run, bytes);
        let journal = run.join("journal/000000.log");
        let written_bytes = || std::fs::metadata(&journal).map_or(0, |metadata| metadata.len());
        let (mut bytes, mut written) = (written_bytes(), since_1970());
        let (mut looked, mut held_up) = (written, Duration::ZERO);
        // A batch comes every half second: at another moment of it each time.
        let killed = wait_for("the moment", || {
            let now = since_1970();
            held_up = held_up.max(now.saturating_sub(looked));
            looked = now;
            if written_bytes() != bytes {
                (bytes, written) = (written_bytes(), now);
            }
            (u64::from(now.subsec_millis()) % 500 / 25 == round).then_some(now)
        });
        recorder.signal("KILL");
        assert_eq!(recorder.wait().code, None);
        let (recording, recovery) = Recording::open(&run).unwrap();
        assert!(matches!(recovery, Recovery::Recovered { .. }), "{recovery:?}");
        assert_eq!(recording.manifest().state, RecordingState::Recovered);
        let samples: usize =
            recording.read_table("samples", &["ts"]).map(|batch| batch.unwrap().num_rows()).sum();
        assert_eq!(recording.manifest().totals.samples, samples as u64);
        let lost = killed.saturating_sub(last_tick(&recording));
        // A recorder that gets no CPU samples nothing and writes nothing meanwhile.
        let ticks = tick_instants(&recording).unwrap();
        let gaps = ticks.windows(2).map(|pair| pair[1].ts_ms.abs_diff(pair[0].ts_ms));
        let longest_gap = Duration::from_millis(gaps.max().unwrap_or(0));
        let idle = killed.saturating_sub(written) + longest_gap + held_up;
        let at_most = idle + Duration::from_millis(500 + interval_ms);
        assert!(lost <= at_most.max(Duration::from_secs(1)), "{lost:?} is more than {at_most:?}");
        losses.push(lost);
    }
    losses.sort();
    println!("lost before kill -9: median {:?}, at most {:?}", losses[10], losses[19]);
    // Most of them got it.
    assert!(losses[10] <= Duration::from_secs(1), "{losses:?}");
}

#[test]
fn what_was_killed_is_recovered_when_it_is_next_opened() {
    let directory = tempdir().unwrap();
    let recorder =
        Running::start(directory.path(), &["record", "--name", "x", "--interval", "10ms"]);
    wait_for_journal(&directory.path().join("recordings/x"), 3000);
    // A recording is not changed while it is written.
    let ended = memsample(directory.path(), &["recover", "recordings/x"]);
    assert!(ended.stdout.ends_with(": is still being written; not changed\n"), "{}", ended.stdout);
    assert_eq!(memsample(directory.path(), &["summary", "recordings/x"]).code, Some(0));
    recorder.signal("KILL");
    recorder.wait();
    let ended = memsample(directory.path(), &["summary", "--json", "recordings/x"]);
    assert!(ended.stderr.contains("the recording has been recovered"), "{}", ended.stderr);
    assert_eq!(
        (ended.json()["state"].as_str(), ended.json()["end"].as_str()),
        (Some("recovered"), Some("crashed"))
    );
    let ended = memsample(directory.path(), &["recover", "recordings/x"]);
    assert_eq!(ended.code, Some(0));
    assert!(ended.stdout.ends_with(": is complete\n"), "{}", ended.stdout);
}

/// Runs a line of shell with a file system of `size` at `full`, seen by nobody else.
fn with_small_disk(directory: &Path, size: &str, line: &str) -> crate::command::Ended {
    std::fs::create_dir(directory.join("full")).unwrap();
    // `-r` lets others than root do it, where the kernel allows.
    let line =
        format!("unshare -rm sh -c 'mount -t tmpfs -o size={size} none full && {{ {line}; }}'");
    shell(directory, &line)
}

#[test]
fn a_full_disk_ends_the_recording_and_keeps_what_was_written() {
    let directory = tempdir().unwrap();
    // The disk fills while it is recorded; then what is there is copied out.
    let line = "$MEMSAMPLE record --out full --name x --interval 1ms --json & \
                until test $(stat -c %s full/x/journal/000000.log 2>&- || echo 0) -gt 3000; do :; done; \
                cat /dev/zero > full/ballast 2>&-; wait $!; code=$?; cp -rL full/x kept; exit $code";
    let ended = with_small_disk(directory.path(), "6m", line);
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("the disk is full; everything written before is kept"),
        "{}",
        ended.stderr
    );
    let json = ended.json();
    assert_eq!((json["state"].as_str(), json["end"].as_str()), (Some("closed"), Some("disk_full")));
    let (recording, recovery) = Recording::open(&directory.path().join("kept")).unwrap();
    assert_eq!(recovery, Recovery::NotNeeded);
    let samples: usize =
        recording.read_table("samples", &["ts"]).map(|batch| batch.unwrap().num_rows()).sum();
    assert!(samples > 0);
    assert_eq!(Some(samples as u64), json["samples"].as_u64());
    assert_eq!(recording.manifest().totals.samples, samples as u64);
}

#[test]
fn a_disk_that_is_full_from_the_start_says_so_and_keeps_nothing() {
    let directory = tempdir().unwrap();
    let line = "$MEMSAMPLE record --out full --name x --duration 1s; code=$?; ls full; exit $code";
    let ended = with_small_disk(directory.path(), "1m", line);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(4), ""));
    assert!(
        ended.stderr.contains("cannot begin the recording `full/x-")
            && ended.stderr.contains("No space left on device"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_disk_too_full_to_close_leaves_a_recording_that_can_be_recovered() {
    let directory = tempdir().unwrap();
    // Also the space that was kept back is taken, as soon as it is given back.
    let line = "$MEMSAMPLE record --out full --name x --interval 1ms --json & \
                until test $(stat -c %s full/x/journal/000000.log 2>&- || echo 0) -gt 3000; do :; done; \
                while kill -0 $! 2>&-; do cat /dev/zero >> full/ballast 2>&-; done; wait $!; code=$?; \
                rm full/ballast; cp -rL full/x kept; exit $code";
    let ended = with_small_disk(directory.path(), "6m", line);
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    let (recording, _) = Recording::open(&directory.path().join("kept")).unwrap();
    assert_ne!(recording.manifest().state, RecordingState::Recording);
    let samples: usize =
        recording.read_table("samples", &["ts"]).map(|batch| batch.unwrap().num_rows()).sum();
    assert!(samples > 0);
    assert_eq!(recording.manifest().totals.samples, samples as u64);
}

#[test]
fn too_few_descriptors_are_made_up_for_and_said() {
    let directory = tempdir().unwrap();
    // Ten processes more than there are descriptors.
    let line = "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 1000 & pids=\"$pids $!\"; done; ulimit -n 30; \
                $MEMSAMPLE record --name x --duration 500ms --json; code=$?; kill $pids; exit $code";
    // Without what whoever runs the tests has left open.
    let line = format!("exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-; {line}");
    let ended = shell(directory.path(), &line);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let json = ended.json();
    assert!(json["reopened"].as_u64().unwrap() > 0, "{json}");
    assert_eq!(json["unreadable"].as_u64(), Some(0), "{json}");
    assert!(json["samples"].as_u64().unwrap() >= 5 * 10);
    let notes = manifest(&directory.path().join("recordings/x"))["notes"].to_string();
    assert!(notes.contains("RLIMIT_NOFILE"), "{notes}");
}

#[test]
fn a_user_without_rights_is_told_what_is_missing() {
    let directory = tempdir().unwrap();
    // As nobody, with a /proc that hides the processes of others; then one that only closes them.
    let record = |hidepid: &str| {
        let line = format!(
            "chmod 777 .; mkdir -p proc; unshare -m sh -c 'mount -t proc -o hidepid={hidepid} none proc && \
             exec setpriv --reuid=61001 --regid=61001 --clear-groups --bounding-set=-all \
             $MEMSAMPLE record --proc proc --duration 300ms --json --pss-interval every --name {hidepid}'"
        );
        let ended = shell(directory.path(), &line);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended.json()
    };
    let hidden = record("invisible");
    assert_eq!(hidden["processes"].as_u64(), Some(1), "{hidden}");
    assert!(hidden["notes"].to_string().contains("hidepid=invisible"), "{hidden}");
    let closed = record("noaccess");
    assert_eq!(closed["processes"].as_u64(), Some(1), "{closed}");
    assert!(closed["denied"].as_u64().unwrap() >= 3, "{closed}");
    let open = record("off");
    assert!(open["processes"].as_u64().unwrap() > 1, "{open}");
    // PSS of other users' processes is refused.
    assert!(open["denied"].as_u64().unwrap() >= 3, "{open}");
}

#[test]
fn two_recorders_of_one_name_do_not_mix() {
    let directory = tempdir().unwrap();
    let start =
        || Running::start(directory.path(), &["record", "--name", "x", "--duration", "300ms"]);
    let recorders = [start(), start(), start()];
    let codes = recorders.map(|recorder| recorder.wait().code);
    assert_eq!(codes, [Some(0); 3]);
    let made = recordings(directory.path());
    assert_eq!(made.len(), 3, "{made:?}");
    for recording in made {
        assert_eq!(manifest(&recording)["state"], "closed");
    }
    assert_eq!(manifest(&directory.path().join("recordings/x"))["state"], "closed");
}
