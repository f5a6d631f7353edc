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
use crate::recording::{End, Manifest, is_disk_full};
use crate::schema::marks::{Mark, MarkKind};

/// A mark is on disk within this time, also where ticks are farther apart. About as often sweeps come.
const MAX_MARK_DELAY: Duration = Duration::from_millis(500);

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
}

impl Counted {
    fn add(&mut self, batch: &Batch) {
        self.sweep_us += batch.ticks.iter().map(|tick| tick.tick.duration_us).sum::<u64>();
        let is_kill = |mark: &&Mark| mark.kind == MarkKind::OomKill;
        self.oom_kills += batch.marks.iter().filter(is_kill).count() as u64;
    }
}

impl<D: Destination> Writing<D> {
    /// Writes batches until there are no more, then closes the recording.
    pub(super) fn run(mut self) -> io::Result<Manifest> {
        let written = self.write();
        // In case it was the writing that ended, not the sampling.
        self.control.stop();
        let Self { control, queue, mut recording, mut oom, cpu_seconds_before, .. } = self;
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
                End::WriteFailed("the sampling thread panicked".to_owned())
            }
            None if sampling.as_ref().is_some_and(|sampling| sampling.ran_out) => End::Duration,
            None => control.end().unwrap_or(End::Stopped),
        };
        let manifest = recording.manifest_mut();
        if let Some(sampling) = &sampling {
            manifest.totals.exits_lost += u64::from(sampling.exits_lost);
            manifest.totals.unseen += u64::from(sampling.unseen);
            manifest.totals.unattributed += u64::from(sampling.unattributed);
        }
        manifest.command_exit_code = control.command_exit_code();
        let totals = manifest.totals;
        if totals.reopened > 0 {
            manifest.notes.push(format!(
                "RLIMIT_NOFILE left too few descriptors: {} readings had to open the files of the process, \
                 at eight times the cost (raise it with `ulimit -n`)",
                totals.reopened
            ));
        }
        recording.close(end, || usage_of_this_program(cpu_seconds_before, sampling))
    }

    /// Writes until the session ends, and returns what the sampling thread says of itself; `None`
    /// where it died.
    fn write(&mut self) -> io::Result<Option<Box<SamplingUsage>>> {
        loop {
            let message = match self.queue.recv_timeout(MAX_MARK_DELAY) {
                Ok(message) => Some(message),
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
                    self.control.note_tick();
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

    fn check_limits(&self) -> io::Result<()> {
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
        let elapsed_ms = manifest.last_tick.map_or(0, |last_tick| {
            last_tick.as_millisecond().saturating_sub(manifest.provenance.started.as_millisecond())
        });
        let status = Status {
            elapsed: Duration::from_millis(elapsed_ms.unsigned_abs()),
            totals: manifest.totals,
            largest: self.recording.largest(),
            sweeping: Duration::from_micros(self.counted.sweep_us),
            oom_kills: self.counted.oom_kills,
            queued: self.queue.len(),
        };
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }
}
