//! What a recording holds of one instant.

use std::collections::HashMap;
use std::fmt;
use std::io;

use arrow_array::Array;
use arrow_array::types::{Int32Type, Int64Type, TimestampMillisecondType as Millisecond};
use jiff::Timestamp;

use super::last_reading::{LastReading, LastReadings};
use super::manifest::RecordingState;
use super::open::Recording;
use crate::columns::{numbers, strings, text_at};
use crate::identity::ProcessId;
use crate::metric::Metric;
use crate::parse::Meminfo;
use crate::schema::KnownPss;
use crate::units::Kibibytes;

/// All processes of a recording, and its machine, at one tick.
#[derive(Clone, Debug)]
pub struct RecordedInstant {
    /// The planned instant of the tick.
    pub ts: Timestamp,
    /// The first tick of the recording.
    pub first: Timestamp,
    /// The last tick of the recording, or of what is on disk of one that is still being written.
    pub last: Timestamp,
    /// The samples of the tick, ascending by pid.
    pub processes: Vec<RecordedProcess>,
    /// Samples of this tick that were read and not written.
    pub dropped: u64,
    /// The memory of the machine, at most a tenth of a second and a tick before.
    pub meminfo: Option<Meminfo>,
    /// What was known of the PSS of all processes together, at most a second and a tick before, and the
    /// memory of the machine at that instant.
    pub known_pss: Option<(KnownPss, Meminfo)>,
    /// The tick nearest to this one at which PSS was read, of any process; `None` where it was never read,
    /// and where a process has its PSS of this tick.
    pub nearest_pss: Option<Timestamp>,
}

/// One process of a recording at one tick: a row of `samples` with its row of `processes`.
#[derive(Clone, Debug)]
pub struct RecordedProcess {
    /// The key of the row in `processes`.
    pub process: ProcessId,
    /// The process id.
    pub pid: i32,
    /// The command name at that tick.
    pub comm: String,
    /// The parent's process id; `None`, as is what follows, where the recording is still being written
    /// and its table of processes is a moment behind.
    pub ppid: Option<i32>,
    /// The effective user id at that tick.
    pub uid: Option<u32>,
    /// The path of the executable.
    pub exe: Option<String>,
    /// The arguments with a space between them.
    pub cmdline: Option<String>,
    /// The control group at that tick.
    pub cgroup: Option<String>,
    /// The test to which it belongs.
    pub test: Option<String>,
    /// What the process does; see [`Identity::role`](crate::Identity::role).
    pub role: Option<String>,
    /// Whether the user, the control group and the role are those of the tick.
    is_described: bool,
    metrics: [Option<u64>; Metric::COUNT],
    last_readings: LastReadings,
}

impl RecordedProcess {
    /// Returns the value of `metric`, or `None` where it was not read at that tick.
    ///
    /// Memory in bytes, CPU times in nanoseconds, page faults in events.
    #[must_use]
    pub fn get(&self, metric: Metric) -> Option<u64> {
        self.metrics.get(metric as usize).copied().flatten()
    }

    /// Returns the value of `metric` as it was last read up to that tick, and how old it is; `None` where it
    /// was never read of this process image.
    #[must_use]
    pub fn last_reading(&self, metric: Metric) -> Option<LastReading> {
        self.last_readings.get(metric as usize).copied().flatten()
    }

    /// Takes what was read at the tick itself as the last reading.
    fn take_own_readings(&mut self) {
        let rss_bytes = self.get(Metric::Rss);
        self.last_readings = self
            .metrics
            .map(|value| value.map(|value| LastReading { value, age_ms: 0, rss_bytes }));
    }

    /// Takes a reading if it is later than the one that is known.
    fn take_reading(&mut self, metric: Metric, reading: LastReading) {
        if let Some(last) = self.last_readings.get_mut(metric as usize)
            && last.is_none_or(|last| reading.age_ms < last.age_ms)
        {
            *last = Some(reading);
        }
    }

    /// Returns the [`role`](crate::role()) by what is recorded, which separates the arguments by spaces: those
    /// that hold one are taken for several.
    fn usual_role(&self) -> String {
        let arguments = self.cmdline.as_deref().unwrap_or_default().split(' ').map(str::as_bytes);
        crate::role(self.comm.as_bytes(), self.exe.as_deref().map(str::as_bytes), arguments)
    }
}

/// Why a recording has nothing to show of an instant.
#[derive(Debug)]
#[non_exhaustive]
pub enum InstantError {
    /// It has no tick at all.
    Empty,
    /// The instant is before the first tick, or more than one interval after the last.
    Outside {
        /// What was asked for.
        at: Timestamp,
        /// The first tick.
        first: Timestamp,
        /// The last tick.
        last: Timestamp,
    },
    /// A file is damaged.
    Io(io::Error),
}

impl fmt::Display for InstantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the recording has no tick"),
            Self::Outside { at, first, last } => write!(
                f,
                "{at:.3} is outside the recording, which goes from {first:.3} to {last:.3} ({:.1} s)",
                last.duration_since(*first).as_secs_f64(),
            ),
            Self::Io(_) => f.write_str("cannot read the recording"),
        }
    }
}

impl std::error::Error for InstantError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Empty | Self::Outside { .. } => None,
        }
    }
}

impl From<io::Error> for InstantError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Recording {
    /// Returns the first and the last tick; `None` where there is none.
    ///
    /// # Errors
    ///
    /// The tables cannot be read.
    pub fn first_and_last_tick(&self) -> io::Result<Option<(Timestamp, Timestamp)>> {
        self.ticks()?.range()
    }

    /// Returns what was sampled at `at`: at the last tick that is not later.
    ///
    /// # Errors
    ///
    /// The instant is outside the recording, or a table cannot be read.
    pub fn instant(&self, at: Timestamp) -> Result<RecordedInstant, InstantError> {
        let ticks = self.ticks()?;
        let (first, last) = ticks.range()?.ok_or(InstantError::Empty)?;
        let interval_ms =
            i64::try_from(self.manifest().provenance.settings.interval_ms).unwrap_or(i64::MAX);
        let (at_ms, last_ms) = (at.as_millisecond(), last.as_millisecond());
        if at_ms < first.as_millisecond() || at_ms > last_ms.saturating_add(interval_ms) {
            return Err(InstantError::Outside { at, first, last });
        }
        let &(tick_ms, dropped) =
            ticks.0.iter().rfind(|(ts, _)| *ts <= at_ms).ok_or(InstantError::Empty)?;
        let processes = self.samples_at(tick_ms)?;
        let nearest_pss = match processes.iter().any(|it| it.get(Metric::Pss).is_some()) {
            true => None,
            false => self.nearest_pss(tick_ms)?,
        };
        Ok(RecordedInstant {
            ts: timestamp(tick_ms)?,
            first,
            last,
            processes,
            dropped,
            meminfo: self.meminfo_at(tick_ms, "mem_total_bytes")?.map(|(meminfo, _)| meminfo),
            known_pss: self.known_pss_at(tick_ms)?,
            nearest_pss: nearest_pss.map(timestamp).transpose()?,
        })
    }

    fn ticks(&self) -> io::Result<Ticks> {
        let mut ticks = Vec::new();
        for batch in self.read_table("ticks", &["ts", "dropped"]) {
            let batch = batch?;
            let ts = numbers::<Millisecond>(&batch, "ts")?.values();
            let dropped = numbers::<Int32Type>(&batch, "dropped")?.values();
            ticks.extend(
                ts.iter()
                    .zip(dropped)
                    .map(|(&ts, &dropped)| (ts, u64::from(dropped.unsigned_abs()))),
            );
        }
        if self.manifest().state == RecordingState::Recording {
            // The tables are brought up to date one after the other: go no further than the samples.
            let mut sampled = i64::MIN;
            for batch in self.read_table("samples", &["ts"]) {
                let batch = batch?;
                let latest = numbers::<Millisecond>(&batch, "ts")?.values().iter().max();
                sampled = sampled.max(latest.copied().unwrap_or(i64::MIN));
            }
            ticks.retain(|(ts, _)| *ts <= sampled);
        }
        // Row groups are sorted, and one follows the other; a damaged file must not mislead.
        ticks.sort_unstable();
        Ok(Ticks(ticks))
    }

    /// Returns the samples of a tick.
    fn samples_at(&self, tick_ms: i64) -> io::Result<Vec<RecordedProcess>> {
        let mut columns = vec!["ts", "process", "pid", "comm", "role", "uid", "cgroup"];
        columns.extend(Metric::ALL.map(Metric::name));
        let mut processes = Vec::new();
        for batch in self.read_table_between("samples", &columns, tick_ms..=tick_ms) {
            let batch = batch?;
            let ts = numbers::<Millisecond>(&batch, "ts")?.values();
            if !ts.contains(&tick_ms) {
                continue;
            }
            let process = numbers::<Int64Type>(&batch, "process")?;
            let pid = numbers::<Int32Type>(&batch, "pid")?;
            let comm = strings(&batch, "comm")?;
            // A recording of an older version lacks what may change.
            let described = (|| {
                let uid = numbers::<Int64Type>(&batch, "uid").ok()?;
                Some((uid, strings(&batch, "cgroup").ok()?, strings(&batch, "role").ok()?))
            })();
            let metrics = Metric::ALL.map(|metric| numbers::<Int64Type>(&batch, metric.name()));
            for (row, _) in ts.iter().enumerate().filter(|(_, ts)| **ts == tick_ms) {
                let mut values = [None; Metric::COUNT];
                for (value, column) in values.iter_mut().zip(&metrics) {
                    // A recording of an older version may lack a column.
                    let column = column.as_ref().ok().filter(|column| column.is_valid(row));
                    *value = column.map(|column| column.value(row).unsigned_abs());
                }
                let uid = described.and_then(|(uid, _, _)| {
                    let uid = uid.is_valid(row).then(|| uid.value(row))?;
                    u32::try_from(uid).ok()
                });
                processes.push(RecordedProcess {
                    process: ProcessId(process.value(row).unsigned_abs()),
                    pid: pid.value(row),
                    comm: comm.value(row).to_owned(),
                    ppid: None,
                    uid,
                    exe: None,
                    cmdline: None,
                    cgroup: described.and_then(|(_, cgroup, _)| text_at(cgroup, row)),
                    test: None,
                    role: described.and_then(|(_, _, role)| text_at(role, row)),
                    is_described: described.is_some(),
                    metrics: values,
                    last_readings: [None; Metric::COUNT],
                });
            }
        }
        processes.sort_unstable_by_key(|process| (process.pid, process.process));
        self.fill_last_readings(&mut processes, tick_ms)?;
        self.identify(&mut processes)?;
        Ok(processes)
    }

    /// Fills in the last readings of the processes of a tick, up to that tick.
    ///
    /// Reads only the columns that some process lacks at the tick, and no row group that begins later.
    fn fill_last_readings(
        &self,
        processes: &mut [RecordedProcess],
        tick_ms: i64,
    ) -> io::Result<()> {
        let lacks =
            |metric: &Metric| processes.iter().any(|process| process.get(*metric).is_none());
        let lacking: Vec<Metric> = Metric::ALL.into_iter().filter(lacks).collect();
        for process in processes.iter_mut() {
            process.take_own_readings();
        }
        if lacking.is_empty() {
            return Ok(());
        }
        let mut columns = vec!["ts", "process", Metric::Rss.name()];
        columns.extend(lacking.iter().map(|metric| metric.name()));
        let mut of_process: HashMap<u64, &mut RecordedProcess> =
            processes.iter_mut().map(|process| (process.process.0, process)).collect();
        for batch in self.read_table_between("samples", &columns, i64::MIN..=tick_ms) {
            let batch = batch?;
            let ts = numbers::<Millisecond>(&batch, "ts")?.values();
            let keys = numbers::<Int64Type>(&batch, "process")?.values();
            let rss = numbers::<Int64Type>(&batch, Metric::Rss.name())?;
            // A recording of an older version may lack a column.
            let known: Vec<_> = lacking
                .iter()
                .filter_map(|&metric| {
                    Some((metric, numbers::<Int64Type>(&batch, metric.name()).ok()?))
                })
                .filter(|(_, column)| column.null_count() < column.len())
                .collect();
            for (row, (&ts, key)) in ts.iter().zip(keys).enumerate() {
                if ts > tick_ms {
                    continue;
                }
                let Some(process) = of_process.get_mut(&key.unsigned_abs()) else { continue };
                for (metric, column) in known.iter().filter(|(_, column)| column.is_valid(row)) {
                    process.take_reading(
                        *metric,
                        LastReading {
                            value: column.value(row).unsigned_abs(),
                            age_ms: tick_ms.abs_diff(ts),
                            rss_bytes: rss.is_valid(row).then(|| rss.value(row).unsigned_abs()),
                        },
                    );
                }
            }
        }
        Ok(())
    }
    /// Returns the tick nearest to a tick at which PSS was read, of any process.
    fn nearest_pss(&self, tick_ms: i64) -> io::Result<Option<i64>> {
        let mut nearest: Option<i64> = None;
        let distance = |ts: i64| ts.abs_diff(tick_ms);
        for batch in self.read_table("samples", &["ts", Metric::Pss.name()]) {
            let batch = batch?;
            let ts = numbers::<Millisecond>(&batch, "ts")?.values();
            let pss = numbers::<Int64Type>(&batch, Metric::Pss.name())?;
            for (&ts, _) in ts.iter().zip(pss).filter(|(_, pss)| pss.is_some()) {
                if nearest.is_none_or(|near| distance(ts) < distance(near)) {
                    nearest = Some(ts);
                }
            }
        }
        Ok(nearest)
    }

    /// Fills in what the table of processes says.
    fn identify(&self, processes: &mut [RecordedProcess]) -> io::Result<()> {
        let columns = ["process", "ppid", "uid", "exe", "cmdline", "cgroup", "role", "test"];
        let mut by_key: HashMap<u64, &mut RecordedProcess> =
            processes.iter_mut().map(|process| (process.process.0, process)).collect();
        for batch in self.read_table("processes", &columns) {
            let batch = batch?;
            let process = numbers::<Int64Type>(&batch, "process")?;
            let ppid = numbers::<Int32Type>(&batch, "ppid")?;
            let uid = numbers::<Int64Type>(&batch, "uid")?;
            let (exe, cmdline, cgroup) =
                (strings(&batch, "exe")?, strings(&batch, "cmdline")?, strings(&batch, "cgroup")?);
            // A recording of an older version may lack these.
            let (role, test) = (strings(&batch, "role"), strings(&batch, "test"));
            for row in 0..batch.num_rows() {
                if let Some(of) = by_key.get_mut(&process.value(row).unsigned_abs()) {
                    of.ppid = ppid.is_valid(row).then(|| ppid.value(row));
                    of.exe = text_at(exe, row);
                    of.cmdline = text_at(cmdline, row);
                    of.test = test.as_ref().ok().and_then(|test| text_at(test, row));
                    if of.is_described {
                        continue;
                    }
                    let uid = uid.is_valid(row).then(|| uid.value(row));
                    of.uid = uid.and_then(|uid| u32::try_from(uid).ok());
                    of.cgroup = text_at(cgroup, row);
                    of.role = match role {
                        Ok(role) => text_at(role, row),
                        // Recorded by an older version, which had no rules either.
                        Err(_) => Some(of.usual_role()),
                    };
                }
            }
        }
        Ok(())
    }

    /// Returns what was last known of the PSS of all processes together, and the memory of the machine
    /// at that instant.
    ///
    /// # Errors
    ///
    /// The tables cannot be read.
    pub fn last_known_pss(&self) -> io::Result<Option<(KnownPss, Meminfo)>> {
        self.known_pss_at(i64::MAX)
    }

    fn known_pss_at(&self, tick_ms: i64) -> io::Result<Option<(KnownPss, Meminfo)>> {
        let Some((meminfo, known)) = self.meminfo_at(tick_ms, KNOWN_PSS[0])? else {
            return Ok(None);
        };
        let [known_bytes, processes, unknown_processes, unknown_rss_bytes, oldest, mean_age] =
            known;
        let count = |count: Option<u64>| u32::try_from(count.unwrap_or(0)).unwrap_or(u32::MAX);
        let known = KnownPss {
            known_bytes: known_bytes.unwrap_or(0),
            known_processes: count(processes),
            unknown_processes: count(unknown_processes),
            unknown_rss_bytes: unknown_rss_bytes.unwrap_or(0),
            oldest_ms: oldest,
            mean_age_ms: mean_age,
        };
        Ok(Some((known, meminfo)))
    }

    /// Returns the last reading of the machine's memory that is not later than a tick and has a value
    /// in the column `wanted`, with what was known of PSS.
    fn meminfo_at(
        &self,
        tick_ms: i64,
        wanted: &str,
    ) -> io::Result<Option<(Meminfo, [Option<u64>; KNOWN_PSS.len()])>> {
        type Field = fn(&mut Meminfo) -> &mut Option<Kibibytes>;
        let fields: [(&str, Field); 20] = [
            ("mem_total_bytes", |meminfo| &mut meminfo.mem_total),
            ("mem_free_bytes", |meminfo| &mut meminfo.mem_free),
            ("mem_available_bytes", |meminfo| &mut meminfo.mem_available),
            ("buffers_bytes", |meminfo| &mut meminfo.buffers),
            ("cached_bytes", |meminfo| &mut meminfo.cached),
            ("swap_cached_bytes", |meminfo| &mut meminfo.swap_cached),
            ("active_bytes", |meminfo| &mut meminfo.active),
            ("inactive_bytes", |meminfo| &mut meminfo.inactive),
            ("mem_anon_bytes", |meminfo| &mut meminfo.anon_pages),
            ("mem_mapped_bytes", |meminfo| &mut meminfo.mapped),
            ("mem_shmem_bytes", |meminfo| &mut meminfo.shmem),
            ("slab_reclaimable_bytes", |meminfo| &mut meminfo.slab_reclaimable),
            ("slab_unreclaimable_bytes", |meminfo| &mut meminfo.slab_unreclaimable),
            ("kernel_stack_bytes", |meminfo| &mut meminfo.kernel_stack),
            ("page_tables_bytes", |meminfo| &mut meminfo.page_tables),
            ("dirty_bytes", |meminfo| &mut meminfo.dirty),
            ("writeback_bytes", |meminfo| &mut meminfo.writeback),
            ("swap_total_bytes", |meminfo| &mut meminfo.swap_total),
            ("swap_free_bytes", |meminfo| &mut meminfo.swap_free),
            ("committed_bytes", |meminfo| &mut meminfo.committed),
        ];
        let mut columns = vec!["ts"];
        columns.extend(fields.map(|(name, _)| name));
        columns.extend(KNOWN_PSS);
        let mut latest = None;
        for batch in self.read_table("system", &columns) {
            let batch = batch?;
            // A recording of an older version may lack a column.
            let Ok(wanted) = numbers::<Int64Type>(&batch, wanted) else {
                continue;
            };
            let ts = numbers::<Millisecond>(&batch, "ts")?.values().iter().enumerate();
            let ts = ts.filter(|(row, ts)| **ts <= tick_ms && wanted.is_valid(*row));
            let Some((row, &ts)) = ts.max_by_key(|(_, ts)| **ts) else {
                continue;
            };
            if latest.is_some_and(|(before, _)| before >= ts) {
                continue;
            }
            let mut meminfo = Meminfo::default();
            for (name, field) in fields {
                let column = numbers::<Int64Type>(&batch, name)?;
                let bytes = column.is_valid(row).then(|| column.value(row).unsigned_abs());
                *field(&mut meminfo) = bytes.map(|bytes| Kibibytes(bytes / 1024));
            }
            let known = KNOWN_PSS.map(|name| {
                let column = numbers::<Int64Type>(&batch, name).ok()?;
                column.is_valid(row).then(|| column.value(row).unsigned_abs())
            });
            latest = Some((ts, (meminfo, known)));
        }
        Ok(latest.map(|(_, values)| values))
    }
}

/// The columns of `system` about the PSS of all processes.
const KNOWN_PSS: [&str; 6] = [
    "pss_known_bytes",
    "pss_known_processes",
    "pss_unknown_processes",
    "pss_unknown_rss_bytes",
    "pss_oldest_ms",
    "pss_mean_age_ms",
];

/// Each tick in milliseconds since 1970, and the samples that it lacks; ascending.
struct Ticks(Vec<(i64, u64)>);

impl Ticks {
    fn range(&self) -> io::Result<Option<(Timestamp, Timestamp)>> {
        let (Some((first, _)), Some((last, _))) = (self.0.first(), self.0.last()) else {
            return Ok(None);
        };
        Ok(Some((timestamp(*first)?, timestamp(*last)?)))
    }
}

fn timestamp(ms: i64) -> io::Result<Timestamp> {
    Timestamp::from_millisecond(ms)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
