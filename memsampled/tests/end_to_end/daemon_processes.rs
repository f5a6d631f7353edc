//! `GET /v1/sessions/{id}/processes`: all processes of a session at its latest tick.

use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMillisecondType};
use jiff::Timestamp;
use memsample::Recording;
use memsample_client::Client;
use memsample_client::wire::ListedProcess;

use crate::command::wait_for;
use crate::daemon::Daemon;
use crate::idle::Idle;

const HELD_BYTES: u64 = 64 << 20;

/// Returns the resident set that a recording has of a process at a tick.
fn recorded_rss(recording: &Path, process: u64, at: Timestamp) -> Option<u64> {
    let (recording, _) = Recording::open(recording).unwrap();
    recording.read_table("samples", &["ts", "process", "rss_bytes"]).find_map(|batch| {
        let batch = batch.unwrap();
        let ts = batch["ts"].as_primitive::<TimestampMillisecondType>();
        let processes = batch["process"].as_primitive::<Int64Type>();
        let rss = batch["rss_bytes"].as_primitive::<Int64Type>();
        (0..batch.num_rows())
            .find(|&row| {
                ts.value(row) == at.as_millisecond()
                    && processes.value(row).unsigned_abs() == process
            })
            .map(|row| rss.value(row).unsigned_abs())
    })
}

#[test]
fn the_processes_of_a_session_are_those_of_its_recording() {
    let daemon = Daemon::start();
    let holder = Idle::start(64, "listed-by-the-daemon");
    let session = daemon.session(r#"{"interval": "50ms", "pss_budget": 0.5}"#);
    let mut client = Client::connect(&daemon.socket()).unwrap();
    let (at, process): (Timestamp, ListedProcess) = wait_for("its PSS and its peak", || {
        let list = client.processes(&session).unwrap();
        let it = list.processes.into_iter().find(|it| i64::from(it.pid) == holder.pid())?;
        (it.pss_bytes.is_some() && it.hwm_bytes.is_some()).then_some((list.ts?, it))
    });
    assert_eq!(process.ppid, rustix::process::getpid().as_raw_nonzero().get());
    assert_eq!(process.uid, Some(rustix::process::geteuid().as_raw()));
    assert!(process.cmdline.contains("listed-by-the-daemon"), "{process:?}");
    assert!(process.comm.starts_with("python3") && process.cgroup.is_some(), "{process:?}");
    assert!((HELD_BYTES..HELD_BYTES + (32 << 20)).contains(&process.rss_bytes), "{process:?}");
    let pss = process.pss_bytes.unwrap();
    assert!((HELD_BYTES..=process.rss_bytes).contains(&pss), "{process:?}");
    assert!(process.uss_bytes.unwrap() <= pss && process.swap_bytes.is_some(), "{process:?}");
    assert!(process.hwm_bytes.unwrap() >= HELD_BYTES && process.pss_ts.unwrap() <= at);
    // A process that ends is gone from the next tick on.
    drop(holder);
    wait_for("its end", || {
        let list = client.processes(&session).unwrap();
        list.processes.iter().all(|it| it.process != process.process).then_some(())
    });
    let stopped = daemon.stop(&session);
    let recording = Path::new(stopped["recording"].as_str().unwrap());
    assert_eq!(recorded_rss(recording, process.process, at), Some(process.rss_bytes));
    let refused = daemon.get(&format!("/v1/sessions/{session}/processes"));
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert_eq!(daemon.get("/v1/sessions/absent/processes").status, 404);
}
