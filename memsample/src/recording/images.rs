//! The process images of a recording, as its table `processes` has them.

use std::io;

use arrow_array::types::{Int32Type, Int64Type, TimestampMillisecondType as Millisecond};

use super::open::Recording;
use crate::columns::{booleans, known, numbers, strings, text_at};

/// What the analysis reads of a row of `processes`.
#[derive(Clone, Debug)]
pub(crate) struct ImageRow {
    pub(crate) process: u64,
    pub(crate) pid: i32,
    pub(crate) ppid: i32,
    pub(crate) exec: i32,
    pub(crate) comm: String,
    pub(crate) role: String,
    pub(crate) cmdline: Option<String>,
    pub(crate) test: Option<String>,
    /// Whether it moved into another control group, so that it may have been of the test for a while only.
    pub(crate) moved: bool,
    pub(crate) start_ns: u64,
    pub(crate) ended: bool,
    pub(crate) samples: u64,
    pub(crate) first_ms: i64,
    pub(crate) last_ms: i64,
    pub(crate) rss_peak_bytes: Option<u64>,
    pub(crate) rss_mean_bytes: Option<u64>,
    pub(crate) pss_peak_bytes: Option<u64>,
    pub(crate) hwm_bytes: Option<u64>,
    pub(crate) exit_hwm_bytes: Option<u64>,
    /// The mark as of when it gave memory back for the last time, where that is known.
    pub(crate) exit_past_hwm_bytes: Option<u64>,
}

const COLUMNS: [&str; 20] = [
    "process",
    "pid",
    "ppid",
    "exec",
    "comm",
    "role",
    "cmdline",
    "test",
    "moved",
    "start_ns",
    "ended",
    "samples",
    "first_ts",
    "last_ts",
    "rss_max_bytes",
    "rss_mean_bytes",
    "pss_max_bytes",
    "hwm_max_bytes",
    "exit_hwm_bytes",
    "exit_past_hwm_bytes",
];

impl Recording {
    /// Passes on the rows of `processes`, one after the other.
    pub(crate) fn for_each_image(&self, mut each: impl FnMut(ImageRow)) -> io::Result<()> {
        for batch in self.read_table("processes", &COLUMNS) {
            let batch = batch?;
            let int = |name| numbers::<Int32Type>(&batch, name);
            let long = |name| numbers::<Int64Type>(&batch, name);
            let ts = |name| numbers::<Millisecond>(&batch, name);
            let (pid, ppid, exec) = (int("pid")?, int("ppid")?, int("exec")?);
            let (process, start_ns, samples) =
                (long("process")?, long("start_ns")?, long("samples")?);
            let (rss_peak, hwm, exit_hwm) =
                (long("rss_max_bytes")?, long("hwm_max_bytes")?, long("exit_hwm_bytes")?);
            let (rss_mean, pss_peak) = (long("rss_mean_bytes")?, long("pss_max_bytes")?);
            let (first, last) = (ts("first_ts")?, ts("last_ts")?);
            let ended = booleans(&batch, "ended")?;
            // A recording of an older version has no such columns.
            let exit_past_hwm = long("exit_past_hwm_bytes").ok();
            let moved = booleans(&batch, "moved").ok();
            let (comm, cmdline) = (strings(&batch, "comm")?, strings(&batch, "cmdline")?);
            let (role, test) = (strings(&batch, "role")?, strings(&batch, "test")?);
            for row in 0..batch.num_rows() {
                let (comm, cmdline) = (comm.value(row).to_owned(), text_at(cmdline, row));
                each(ImageRow {
                    process: process.value(row).unsigned_abs(),
                    pid: pid.value(row),
                    ppid: ppid.value(row),
                    exec: exec.value(row),
                    comm,
                    role: role.value(row).to_owned(),
                    test: text_at(test, row),
                    moved: moved.is_some_and(|moved| moved.value(row)),
                    cmdline: cmdline.filter(|line| !line.is_empty()),
                    start_ns: start_ns.value(row).unsigned_abs(),
                    ended: ended.value(row),
                    samples: samples.value(row).unsigned_abs(),
                    first_ms: first.value(row),
                    last_ms: last.value(row),
                    rss_peak_bytes: known(rss_peak, row),
                    rss_mean_bytes: known(rss_mean, row),
                    pss_peak_bytes: known(pss_peak, row),
                    hwm_bytes: known(hwm, row),
                    exit_hwm_bytes: known(exit_hwm, row),
                    exit_past_hwm_bytes: exit_past_hwm.and_then(|column| known(column, row)),
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
impl ImageRow {
    /// A process that ended and of which nothing was seen.
    pub(crate) fn unseen(process: u64, pid: i32, ppid: i32) -> Self {
        Self {
            process,
            pid,
            ppid,
            exec: 0,
            comm: String::new(),
            role: String::new(),
            cmdline: None,
            test: None,
            moved: false,
            start_ns: 0,
            ended: true,
            samples: 0,
            first_ms: 0,
            last_ms: 0,
            rss_peak_bytes: None,
            rss_mean_bytes: None,
            pss_peak_bytes: None,
            hwm_bytes: None,
            exit_hwm_bytes: None,
            exit_past_hwm_bytes: None,
        }
    }
}
