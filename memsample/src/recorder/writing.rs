//! The thread that writes the recording of a session.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::control::Control;
use super::destination::Destination;
use super::oom::OomWatch;
use super::projection::Projection;
use super::status::Status;
use super::sweeps::SessionMessage;
use super::usage::{SamplingUsage, usage_of_this_program};
use crate::batch::Batch;
use crate::recording::{Closed, End, is_disk_full};
use crate::schema::marks::{Mark, MarkKind};

/// A mark is on disk within this time, also where ticks are farther apart. Longer than sweeps take to come where they are
/// not, so that the thread is not woken twice for each.
const MAX_MARK_DELAY: Duration = Duration::from_secs(1);

/// Processes that a note names, at most.
const NAMED_STUCK: usize = 3;
/// So often in a row nothing came from the sampling thread after it was told to stop: then it does not end.
/// Counted, since time passes too while this program is stopped.
const MAX_SILENCES: u32 = 10;

/// The writing thread of a session.
pub(super) struct Writing<D> {
    pub(super) control: Arc<Control>,
    pub(super) queue: Receiver<SessionMessage>,
    pub(super) projection: Arc<Mutex<Projection>>,
    /// Used again and again.
    pub(super) batch: Batch,
    pub(super) status: Arc<Mutex<Status>>,
    /// What was counted so far that the recording does not count.
    pub(super) counted: Counted,
    pub(super) recording: D,
    pub(super) oom: OomWatch,
    pub(super) max_bytes: Option<u64>,
    pub(super) max_idle: Option<Duration>,
    pub(super) cpu_seconds_before: f64,
    /// Says that the session has not ended.
    pub(super) _session: Arc<()>,
    /// Dropped at the end, which tells those who wait for it.
    pub(super) _finished: Sender<()>,
}

/// What only the status of a session tells.
#[derive(Default)]
pub(super) struct Counted {
    sweep_us: u64,
    oom_kills: u64,
    /// Marks of readings that did not come back, and what the first of them say.
    stuck: usize,
    first_stuck: Vec<String>,
}

impl Counted {
    fn add(&mut self, batch: &Batch) {
        self.sweep_us += batch.ticks.iter().map(|tick| tick.tick.duration_us).sum::<u64>();
        let is_kill = |mark: &&Mark| mark.kind == MarkKind::OomKill;
        self.oom_kills += batch.marks.iter().filter(is_kill).count() as u64;
        for mark in batch.marks.iter().filter(|mark| mark.kind == MarkKind::Stuck) {
            self.stuck += 1;
            if self.first_stuck.len() < NAMED_STUCK {
                self.first_stuck.push(mark.name.clone());
            }
        }
    }

    /// Says which processes could not be read while a lock of theirs was held.
    fn stuck_note(&self) -> Option<String> {
        let first = self.first_stuck.join("; ");
        let more = match self.stuck.saturating_sub(self.first_stuck.len()) {
            0 => String::new(),
            more => format!("; and {more} more, which are marks of kind `stuck`"),
        };
        (self.stuck > 0).then(|| {
            format!(
                "readings did not come back, and what they would have read is null: {first}{more}"
            )
        })
    }
}

impl<D: Destination> Writing<D> {
    /// Writes batches until there are no more, then closes the recording.
    pub(super) fn run(mut self) -> io::Result<Closed> {
        let written = self.write();
        // In case it was the writing that ended, not the sampling.
        self.control.stop();
        let Self { control, queue, mut recording, mut oom, cpu_seconds_before, counted, .. } = self;
        let (mut sampling, failure) = match written {
            Ok(usage) => (usage, None),
            // What the sampling thread has on its way is not needed any more, but its end.
            Err(error) => (queue.iter().find_map(SessionMessage::into_usage), Some(error)),
        };
        drop(queue);
        let mut last = Batch::default();
        if failure.is_none()
            && let Some(sampling) = &mut sampling
        {
            last = std::mem::take(&mut sampling.last_counters);
            oom.explain(control.waiting_oom_reasons());
            oom.add_last_marks(&mut last);
            // Its rows are of no tick, and known by now.
            last.system.clear();
            last.cgroups.clear();
        }
        // Those that were accepted while the last batch was written.
        last.marks.extend(control.waiting_marks());
        let appended = if last.is_empty() { Ok(()) } else { recording.append(&last) };
        let failure = failure.or(appended.err());
        let end = match failure {
            Some(error) if is_disk_full(&error) => End::DiskFull,
            Some(error) => End::WriteFailed(error.to_string()),
            None if sampling.is_none() => {
                let reason = "the thread that reads processes has ended, or does not answer";
                End::SamplingFailed(reason.to_owned())
            }
            None if sampling.as_ref().is_some_and(|sampling| sampling.ran_out) => End::Duration,
            None => control.end().unwrap_or(End::Stopped),
        };
        let manifest = recording.manifest_mut();
        if let Some(sampling) = &sampling {
            manifest.totals.exits_lost += u64::from(sampling.exits_lost);
            manifest.totals.unseen += u64::from(sampling.unseen);
            manifest.totals.late += u64::from(sampling.unmet.late);
            manifest.totals.missed += u64::from(sampling.unmet.missed);
            manifest.totals.unattributed += u64::from(sampling.unattributed);
            // It may have changed since the recording began.
            if let Some(note) = &sampling.sweep_note
                && !manifest.notes.contains(note)
            {
                manifest.notes.push(note.clone());
            }
        }
        manifest.notes.extend(counted.stuck_note());
        manifest.command_exit_code = control.command_exit_code();
        let totals = manifest.totals;
        if totals.reopened > 0 {
            manifest.notes.push(format!(
                "RLIMIT_NOFILE left too few descriptors: {} readings had to open the files of the process, \
                 at eight times the cost (raise it with `ulimit -n`)",
                totals.reopened
            ));
        }
        control.note_end();
        let elapsed_ns = control.now().boot_ns.saturating_sub(control.started_boot_ns());
        recording.close(end, || usage_of_this_program(cpu_seconds_before, elapsed_ns, sampling))
    }

    /// Writes until the session ends, and returns what the sampling thread says of itself; `None`
    /// where it died.
    fn write(&mut self) -> io::Result<Option<Box<SamplingUsage>>> {
        let mut silences = 0;
        loop {
            silences = if self.control.is_stopped() { silences + 1 } else { 0 };
            let message = match self.queue.recv_timeout(MAX_MARK_DELAY) {
                Ok(message) => {
                    silences = 0;
                    Some(message)
                }
                Err(RecvTimeoutError::Timeout) if silences >= MAX_SILENCES => return Ok(None),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            };
            self.control.set_queued(self.queue.len());
            let usage = self.project(message);
            self.batch.marks.extend(self.control.waiting_marks());
            self.oom.explain(self.control.waiting_oom_reasons());
            self.oom.add_marks(&mut self.batch);
            if !self.batch.is_empty() {
                self.counted.add(&self.batch);
                self.recording.append(&self.batch)?;
                self.batch.clear();
                self.report();
            }
            if usage.is_some() {
                return Ok(usage);
            }
            self.check_limits()?;
        }
    }

    fn project(&mut self, message: Option<SessionMessage>) -> Option<Box<SamplingUsage>> {
        let mut projection = self.projection.lock().unwrap_or_else(PoisonError::into_inner);
        // After the message has come: orders from before its sweeps are known.
        self.control
            .waiting_orders()
            .into_iter()
            .for_each(|order| projection.attribution.order(order));
        match message? {
            SessionMessage::Sweeps(shared) => {
                projection.project(shared.sweeps(), &mut self.batch);
                if projection.latest().is_some() {
                    self.control.note_first_tick();
                }
                None
            }
            SessionMessage::End { rest, mut usage } => {
                projection.project(&rest, &mut self.batch);
                projection.finish(&self.control.now(), &mut self.batch);
                usage.unattributed = projection.attribution.take_unattributed();
                Some(usage)
            }
        }
    }

    fn check_limits(&mut self) -> io::Result<()> {
        if let Some(max_bytes) = self.max_bytes
            && self.recording.size_bytes()? >= max_bytes
        {
            self.control.stop_because(End::Size);
        }
        if let Some(max_idle) = self.max_idle {
            let idle_ns = self.control.now().boot_ns.saturating_sub(self.control.touched_boot_ns());
            if u128::from(idle_ns) >= max_idle.as_nanos() {
                self.control.stop_because(End::Idle);
            }
        }
        Ok(())
    }

    fn report(&self) {
        let manifest = self.recording.manifest();
        let status = Status {
            elapsed: Duration::ZERO,
            since_tick: Duration::ZERO,
            totals: manifest.totals,
            largest: self.recording.largest(),
            sweeping: Duration::from_micros(self.counted.sweep_us),
            oom_kills: self.counted.oom_kills,
            queued: self.queue.len(),
        };
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }
}
