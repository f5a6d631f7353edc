//! The table `processes`: a process image, with what its samples come to.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::exits::Exit;
use super::field::{Field, Fields, Value};
use super::table::Table;
use crate::identity::{Comm, Identity, ProcessId, text};
use crate::metric::{Files, Metric, Metrics};

/// One process image, with what its samples come to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ProcessRow {
    pub(crate) identity: Arc<Identity>,
    /// The image of the parent, where it is in the recording.
    pub(crate) parent: Option<ProcessId>,
    /// The command name at the end, or now.
    pub(crate) comm: Comm,
    pub(crate) test: Option<Arc<str>>,
    pub(crate) ended: bool,
    pub(crate) summary: Summary,
}

/// What the samples of a process image come to, so that a table of peaks needs no look at them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) samples: u64,
    pub(crate) first_ts_ms: i64,
    pub(crate) last_ts_ms: i64,
    pub(crate) rss_sum: u128,
    pub(crate) rss_peak: u64,
    pub(crate) rss_peak_ts_ms: i64,
    pub(crate) pss_peak: Option<u64>,
    pub(crate) uss_peak: Option<u64>,
    pub(crate) swap_peak: Option<u64>,
    pub(crate) hwm: Option<u64>,
    /// From the exit record.
    pub(crate) exit_hwm: Option<u64>,
    pub(crate) exit_past_hwm: Option<u64>,
}

impl Summary {
    /// That of a process of which only the end is known.
    pub(crate) fn unsampled(exit: &Exit) -> Self {
        let ts_ms = exit.ts_ms;
        let mut summary = Self { first_ts_ms: ts_ms, last_ts_ms: ts_ms, ..Self::default() };
        summary.end(exit);
        summary
    }

    /// Adds what the exit record says.
    pub(crate) fn end(&mut self, exit: &Exit) {
        self.exit_hwm = Some(exit.hwm_bytes);
        self.exit_past_hwm = exit.exact.map(|exact| exact.past_hwm_bytes);
    }

    /// Returns what the samples come to, where there are any.
    fn sampled(&self) -> Option<&Self> {
        (self.samples > 0).then_some(self)
    }

    /// Adds `count` samples of the same numbers, the first and the last at these instants.
    pub(crate) fn add(
        &mut self,
        metrics: &Metrics,
        files: Files,
        count: u64,
        first_ms: i64,
        last_ms: i64,
    ) {
        if count == 0 {
            return;
        }
        let rss = metrics.get(Metric::Rss);
        if self.samples == 0 {
            self.first_ts_ms = first_ms;
        }
        if self.samples == 0 || rss > self.rss_peak {
            self.rss_peak = rss;
            self.rss_peak_ts_ms = first_ms;
        }
        self.samples += count;
        self.last_ts_ms = last_ms;
        self.rss_sum += u128::from(rss) * u128::from(count);
        let read = |metric: Metric| metric.is_in(files).then(|| metrics.get(metric));
        // `None` is smaller than any number.
        self.pss_peak = self.pss_peak.max(read(Metric::Pss));
        self.uss_peak = self.uss_peak.max(read(Metric::Uss));
        self.swap_peak = self.swap_peak.max(read(Metric::Swap));
        self.hwm = self.hwm.max(read(Metric::Hwm));
    }

    pub(crate) fn rss_mean(&self) -> u64 {
        match self.rss_sum.checked_div(u128::from(self.samples)) {
            // A mean is not larger than the largest.
            Some(mean) => u64::try_from(mean).unwrap_or(u64::MAX),
            None => 0,
        }
    }
}

pub(crate) fn table() -> Table {
    let row = "one process image: a process from its start or an exec to its end or the next exec";
    FIELDS.table("processes", row, &["process"])
}

pub(crate) const FIELDS: Fields<ProcessRow> = Fields(&[
    Field {
        name: "process",
        source: "recorder",
        meaning: "The key of a process image, by which the other tables refer to it. Unique in the recording; another recording has the same numbers for other processes.",
        value: Value::Int64(|row| row.identity.process.0),
    },
    Field {
        name: "pid",
        source: "/proc",
        meaning: "Process id, in the pid namespace of the /proc that was read.",
        value: Value::Int32(|row| row.identity.pid),
    },
    Field {
        name: "start_ns",
        source: "stat 22",
        meaning: "When the process began, in nanoseconds since boot; steps of one clock tick (10 ms). With the boot id in `recording.json` and `pid` it names the process.",
        value: Value::Int64(|row| row.identity.start_ns),
    },
    Field {
        name: "exec",
        source: "proc connector; stat 26, 28; statm 4",
        meaning: "How many execs of this process came before this row, as far as they were seen or the kernel reported them. A number that is left out is an image that was never looked at. Who is looked at in the midst of an exec, with a page of memory and no arguments yet, is that image, and is described when the exec is over; where the kernel does not report execs, one that follows it before the next look is taken for it.",
        value: Value::Int32(|row| i32::try_from(row.identity.exec).unwrap_or(i32::MAX)),
    },
    Field {
        name: "ppid",
        source: "proc connector; stat 4",
        meaning: "The process id of the parent that forked it, where the kernel reported the fork (`forks` in `recording.json`); else of the one it had when it was first seen.",
        value: Value::Int32(|row| row.identity.ppid),
    },
    Field {
        name: "parent",
        source: "recorder",
        meaning: "The process image that the parent had when this image was first seen, or its last one if it had ended: the key of `processes`. Null where the parent is not in the recording, or is not known.",
        value: Value::OptionalInt64(|row| row.parent.map(|parent| parent.0)),
    },
    Field {
        name: "uid",
        source: "status Uid 2",
        meaning: "Effective user id when the image was first seen; `samples.uid` has that of each tick.",
        value: Value::OptionalInt64(|row| row.identity.uid.map(u64::from)),
    },
    Field {
        name: "comm",
        source: "stat 2",
        meaning: "The last known command name.",
        value: Value::Text(|row| Cow::Owned(row.comm.to_string())),
    },
    Field {
        name: "exe",
        source: "exe",
        meaning: "The executable's path. Null where the kernel refuses to tell.",
        value: Value::OptionalText(|row| {
            row.identity.exe.as_deref().map(|exe| Cow::Owned(text(exe)))
        }),
    },
    Field {
        name: "cmdline",
        source: "cmdline",
        meaning: "The arguments as of the last reading, with a space between them, cut at 4096 bytes with `…`; `[redacted]` stands for what was taken out. Null where they are not known, and where they are left out: see `settings` in `recording.json`.",
        value: Value::OptionalText(|row| {
            let known = !row.identity.cmdline.is_empty();
            known.then(|| Cow::Owned(row.identity.cmdline_text()))
        }),
    },
    Field {
        name: "cgroup",
        source: "cgroup",
        meaning: "The control group when the image was first seen; `samples.cgroup` has that of each tick. In the v1 memory hierarchy where there is one, else in v2.",
        value: Value::OptionalText(|row| {
            row.identity.cgroup.as_deref().map(|path| Cow::Owned(text(path)))
        }),
    },
    Field {
        name: "moved",
        source: "cgroup",
        meaning: "Whether it was seen to move into another control group after it was first seen. Then `samples` says of which test it was when.",
        value: Value::Flag(|row| row.identity.moved),
    },
    Field {
        name: "role",
        source: "exe, comm, cmdline, cgroup",
        meaning: "What the process does, by a name that is the same in the next run: that of the first `[[role]]` of the configuration that fits, or else the script, the crate that is compiled, or the program. A rule that fits a later name, title or control group changes it; nothing else does.",
        value: Value::Text(|row| Cow::Borrowed(&row.identity.role)),
    },
    Field {
        name: "test",
        source: "caller",
        meaning: "The last test that the image belonged to: of the scope that was assigned, the innermost or else the latest. Null where there is none. Repetitions and retries have the same name; `marks` tell when each began and ended.",
        value: Value::OptionalText(|row| row.test.as_deref().map(Cow::Borrowed)),
    },
    Field {
        name: "first_ts",
        source: "recorder",
        meaning: "The first sample; of a process without samples, the tick at which its end was known.",
        value: Value::Timestamp(|row| row.summary.first_ts_ms),
    },
    Field {
        name: "last_ts",
        source: "recorder",
        meaning: "The last sample so far, and the same.",
        value: Value::Timestamp(|row| row.summary.last_ts_ms),
    },
    Field {
        name: "ended",
        source: "recorder",
        meaning: "Whether the end of the image was seen: it ended, or began another program.",
        value: Value::Flag(|row| row.ended),
    },
    Field {
        name: "samples",
        source: "samples",
        meaning: "How many rows of `samples` it has. 0 of a process that lived between two ticks: see `exits`.",
        value: Value::Int64(|row| row.summary.samples),
    },
    Field {
        name: "rss_max_bytes",
        source: "samples",
        meaning: "The largest sampled `rss_bytes`. The true peak may be higher: see `hwm_max_bytes`, and `exits`.",
        value: Value::OptionalInt64(|row| Some(row.summary.sampled()?.rss_peak)),
    },
    Field {
        name: "rss_max_ts",
        source: "samples",
        meaning: "When that was first sampled.",
        value: Value::OptionalTimestamp(|row| Some(row.summary.sampled()?.rss_peak_ts_ms)),
    },
    Field {
        name: "rss_mean_bytes",
        source: "samples",
        meaning: "The mean of `rss_bytes` over the samples.",
        value: Value::OptionalInt64(|row| Some(row.summary.sampled()?.rss_mean())),
    },
    Field {
        name: "pss_max_bytes",
        source: "samples",
        meaning: "The largest sampled `pss_bytes`.",
        value: Value::OptionalInt64(|row| row.summary.pss_peak),
    },
    Field {
        name: "uss_max_bytes",
        source: "samples",
        meaning: "The largest sampled `uss_bytes`.",
        value: Value::OptionalInt64(|row| row.summary.uss_peak),
    },
    Field {
        name: "swap_max_bytes",
        source: "samples",
        meaning: "The largest sampled `swap_bytes`.",
        value: Value::OptionalInt64(|row| row.summary.swap_peak),
    },
    Field {
        name: "hwm_max_bytes",
        source: "status VmHWM",
        meaning: "The largest sampled `hwm_bytes`, the high-water mark when it was last read: a lower bound of the true peak.",
        value: Value::OptionalInt64(|row| row.summary.hwm),
    },
    Field {
        name: "exit_hwm_bytes",
        source: "taskstats hiwater_rss, BPF",
        meaning: "The high-water mark at the end: the true peak, but for what the CPUs had not yet added up (see `exits`). Null while it lives, after an exec, and where the kernel did not tell.",
        value: Value::OptionalInt64(|row| row.summary.exit_hwm),
    },
    Field {
        name: "exit_past_hwm_bytes",
        source: "BPF: mm->hiwater_rss",
        meaning: "The high-water mark as of when the image gave memory back for the last time (see `exits`): if `exit_hwm_bytes` is more by the error of a mark, that is exact. Null where BPF does not say it.",
        value: Value::OptionalInt64(|row| row.summary.exit_past_hwm),
    },
    Field {
        name: "replaced_max_rss_bytes",
        source: "BPF: signal->maxrss",
        meaning: "The most that any image of this process before this one had resident, and what a fork or vfork began with, as the kernel noted it at each exec, but for what the CPUs had not yet added up: an upper bound of their peaks. Null of the first image, without BPF, and in a cut.",
        value: Value::OptionalInt64(|row| row.identity.replaced_max_rss_bytes),
    },
    Field {
        name: "memory_map",
        source: "kcmp(2) KCMP_VM",
        meaning: "The image that had its memory map first, of those that shared it when it was first looked at, as after vfork and clone(CLONE_VM): its parent, or another one that the same process forked. Each of the two shows all memory of both, which peaks of tests and roles count once. The image itself where it had a map of its own, as after fork and exec. Null where the comparison was refused, or was not made with every process that might share it: more than 32 relatives, hidden addresses, another pid namespace. The other image has no row where it was not recorded.",
        value: Value::OptionalInt64(|row| row.identity.memory_map.map(|image| image.0)),
    },
]);

impl ProcessRow {
    /// Returns about how much memory the row takes, in bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.identity.memory_bytes()
    }
}
