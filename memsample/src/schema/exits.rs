//! The table `exits`: a process that ended, as the kernel reported it.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::field::{Field, Fields, Value};
use super::table::Table;
use crate::events::ExactExit;
use crate::identity::{Comm, Identity, ProcessId};

/// The end of a process, as the kernel reported it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Exit {
    pub(crate) ts_ms: i64,
    pub(crate) process: ProcessId,
    /// Of a process image that was never sampled, so that nothing else shows it.
    pub(crate) unsampled: Option<Arc<Identity>>,
    /// The image of the parent of such an image, where it is in the recording.
    pub(crate) parent: Option<ProcessId>,
    /// The test of the image.
    pub(crate) test: Option<Arc<str>>,
    pub(crate) pid: i32,
    pub(crate) ppid: i32,
    pub(crate) uid: u32,
    pub(crate) comm: Comm,
    pub(crate) start_ns: u64,
    pub(crate) lived_ns: u64,
    /// As `wait` gives it.
    pub(crate) status: u32,
    pub(crate) hwm_bytes: u64,
    /// Where BPF says it, in place of taskstats.
    pub(crate) exact: Option<ExactExit>,
    pub(crate) minflt: u64,
    pub(crate) majflt: u64,
    pub(crate) utime_ns: u64,
    pub(crate) stime_ns: u64,
    /// The control group of an image that signal 9 has ended, to tell whether its limit was the reason.
    /// In no table; that of every image is in `processes`.
    #[serde(skip)]
    pub(crate) killed_in: Option<Vec<u8>>,
}

impl Exit {
    /// The signal that ended it.
    pub(crate) fn signal(&self) -> Option<u64> {
        Some(u64::from(self.status & 0x7f)).filter(|&signal| signal != 0)
    }

    /// The exit code, where no signal ended it.
    fn exit_code(&self) -> Option<u64> {
        let exited = self.signal().is_none();
        exited.then_some(u64::from(self.status >> 8 & 0xff))
    }
}

pub(crate) fn table() -> Table {
    FIELDS.table("exits", "one process that ended, where the kernel may be asked", &["ts"])
}

pub(crate) const FIELDS: Fields<Exit> = Fields(&[
    Field {
        name: "ts",
        source: "recorder",
        meaning: "The tick at which the end was known, or the end of the recording. It was in the interval before.",
        value: Value::Timestamp(|exit| exit.ts_ms),
    },
    Field {
        name: "process",
        source: "recorder",
        meaning: "The last image of the process: the key of `processes`.",
        value: Value::Int64(|exit| exit.process.0),
    },
    Field {
        name: "test",
        source: "caller",
        meaning: "The test that the image belonged to when it ended, as in `processes`.",
        value: Value::OptionalText(|exit| exit.test.as_deref().map(Cow::Borrowed)),
    },
    Field {
        name: "pid",
        source: "taskstats ac_tgid",
        meaning: "Process id.",
        value: Value::Int32(|exit| exit.pid),
    },
    Field {
        name: "exit_ppid",
        source: "taskstats ac_ppid",
        meaning: "The parent's process id at the end.",
        value: Value::Int32(|exit| exit.ppid),
    },
    Field {
        name: "real_uid",
        source: "taskstats ac_uid",
        meaning: "Real user id.",
        value: Value::Int64(|exit| exit.uid.into()),
    },
    Field {
        name: "comm",
        source: "taskstats ac_comm",
        meaning: "The name of the process: of its first thread, unless that ended before the recording began.",
        value: Value::Text(|exit| exit.comm.to_string().into()),
    },
    Field {
        name: "start_ns",
        source: "stat 22; proc connector; taskstats ac_tgetime",
        meaning: "When the process began, in nanoseconds since boot. Of a process that was never sampled it is exact where the kernel reports forks, else too late by up to one interval.",
        value: Value::Int64(|exit| exit.start_ns),
    },
    Field {
        name: "lived_ns",
        source: "taskstats ac_tgetime",
        meaning: "How long the process lived; steps of a microsecond. Time suspended is not counted.",
        value: Value::Int64(|exit| exit.lived_ns),
    },
    Field {
        name: "exit_code",
        source: "taskstats ac_exitcode",
        meaning: "The exit code. Null where a signal ended it.",
        value: Value::OptionalInt64(Exit::exit_code),
    },
    Field {
        name: "signal",
        source: "taskstats ac_exitcode",
        meaning: "The signal that ended it.",
        value: Value::OptionalInt64(Exit::signal),
    },
    Field {
        name: "exit_hwm_bytes",
        source: "taskstats hiwater_rss, BPF",
        meaning: "The largest resident set of the last image: the true peak, which is the larger one of the next two columns where these are known. Else it may be wrong since Linux 6.2, for each CPU and kind of memory, by up to 32 pages, or twice the number of CPUs if that is more.",
        value: Value::Int64(|exit| exit.hwm_bytes),
    },
    Field {
        name: "exit_rss_bytes",
        source: "BPF: mm->rss_stat",
        meaning: "The resident set at the end, exact. Null where processes are not read by BPF, and before Linux 6.16.",
        value: Value::OptionalInt64(|exit| Some(exit.exact?.rss_bytes)),
    },
    Field {
        name: "exit_past_hwm_bytes",
        source: "BPF: mm->hiwater_rss",
        meaning: "The high-water mark of the last image as of when it gave memory back for the last time, with the error of a mark: its peak until then. What came after is in `exit_rss_bytes`. 0 where it gave nothing back.",
        value: Value::OptionalInt64(|exit| Some(exit.exact?.past_hwm_bytes)),
    },
    Field {
        name: "process_max_rss_bytes",
        source: "BPF: signal->maxrss",
        meaning: "The most that any image of the process had, and what a fork or vfork began with, with the error of a mark: an upper bound of their peaks.",
        value: Value::OptionalInt64(|exit| Some(exit.exact?.process_max_rss_bytes)),
    },
    Field {
        name: "minflt",
        source: "taskstats ac_minflt; stat 10",
        meaning: "Page faults without I/O. Threads that ended before the recording began count as far as `stat` was read.",
        value: Value::Int64(|exit| exit.minflt),
    },
    Field {
        name: "majflt",
        source: "taskstats ac_majflt; stat 12",
        meaning: "Page faults with I/O; the same holds.",
        value: Value::Int64(|exit| exit.majflt),
    },
    Field {
        name: "utime_ns",
        source: "taskstats ac_utime; stat 14",
        meaning: "CPU time in user mode, all threads; the same holds.",
        value: Value::Int64(|exit| exit.utime_ns),
    },
    Field {
        name: "stime_ns",
        source: "taskstats ac_stime; stat 15",
        meaning: "CPU time in kernel mode, all threads; the same holds.",
        value: Value::Int64(|exit| exit.stime_ns),
    },
]);
