//! Frames of this machine, now and up to some minutes ago.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use memsample::parse::{parse_meminfo, parse_pressure};
use memsample::{Files, Metric, PssBudget, Sample, Sampler, SamplerOptions};

use crate::amount::Amount;
use crate::cgroup_limits::CgroupLimits;
use crate::frame::{Frame, MachineMemory, ProcessFacts, ProcessMemory};
use crate::source::{MAX_TRAIL, Source, Step, TRAIL, stepped};

/// How often `status` is read, which has what is in swap and the peak.
const DETAIL: Duration = Duration::from_secs(5);
/// How many processes of all frames are kept: 48 bytes each.
const MAX_KEPT: usize = 1_000_000;

/// Samples this machine.
pub struct LiveSource {
    sampler: Sampler,
    budget: PssBudget,
    known: HashMap<u64, Known>,
    detailed: Option<Instant>,
    /// The number of sweeps so far.
    sweeps: u64,
    limits: CgroupLimits,
    frames: VecDeque<Arc<Frame>>,
    /// The processes of all frames.
    kept: usize,
    /// The frame that is shown.
    shown: usize,
    frame: Arc<Frame>,
    trail: Vec<Arc<Frame>>,
}

/// What is known of a process image beyond a sweep.
struct Known {
    facts: Arc<ProcessFacts>,
    pss: Option<(Amount, Amount, Instant)>,
    swap: Amount,
    peak: u64,
    /// The sweep at which it was there last.
    swept: u64,
}

impl LiveSource {
    /// Begins to sample, and reads PSS within a share of one CPU.
    ///
    /// # Errors
    ///
    /// `/proc` cannot be read.
    pub fn new(options: SamplerOptions, pss_share: f64) -> io::Result<Self> {
        let empty = Frame {
            at: Timestamp::UNIX_EPOCH,
            processes: Vec::new(),
            machine: MachineMemory::default(),
        };
        let mut source = Self {
            sampler: Sampler::new(options)?,
            budget: PssBudget::new(pss_share),
            known: HashMap::new(),
            detailed: None,
            sweeps: 0,
            limits: CgroupLimits::default(),
            frames: VecDeque::new(),
            kept: 0,
            shown: 0,
            frame: Arc::new(empty),
            trail: Vec::new(),
        };
        // Who may follow what the kernel reports does not have to look for new processes.
        let _ = source.sampler.follow_process_events();
        source.advance(true)?;
        Ok(source)
    }

    fn sample(&mut self) -> Frame {
        let now = Instant::now();
        let is_detailed = self.detailed.is_none_or(|at| now.duration_since(at) >= DETAIL);
        let mut files = Files::STATM;
        if is_detailed {
            files |= Files::STATUS;
            self.detailed = Some(now);
        }
        let at = Timestamp::now();
        let snapshot = self.sampler.sweep_within(files, &mut self.budget);
        self.sweeps += 1;
        let swept = self.sweeps;
        let mut processes: Vec<ProcessMemory> = Vec::new();
        for sample in snapshot.samples() {
            let known = self.known.entry(sample.process().0).or_insert_with(|| Known::of(&sample));
            known.take(&sample, now);
            known.swept = swept;
            processes.push(known.memory(&sample, now));
        }
        self.known.retain(|_, known| known.swept == swept);
        processes.sort_unstable_by_key(|process| process.image);
        Frame { at, processes, machine: machine(Path::new("/proc")) }
    }

    /// Takes the shown frame and the minute before it.
    fn show(&mut self) {
        let Some(shown) = self.frames.get(self.shown) else { return };
        self.frame = Arc::clone(shown);
        let since = shown.at - TRAIL;
        let first = self.frames.partition_point(|frame| frame.at < since);
        let frames = self.frames.range(first..=self.shown);
        let every = frames.len().div_ceil(MAX_TRAIL).max(1);
        // The shown one is always among them.
        self.trail = frames.rev().step_by(every).cloned().collect();
        self.trail.reverse();
    }
}

impl Known {
    fn of(sample: &Sample<'_>) -> Self {
        let identity = sample.identity();
        let comm = sample.comm().to_string();
        let command = identity.cmdline_text();
        let facts = ProcessFacts {
            pid: sample.pid(),
            ppid: Some(identity.ppid),
            user: identity.uid.map_or_else(|| "-".to_owned(), user_name),
            command: if command.is_empty() { format!("[{comm}]") } else { command },
            comm,
            role: identity.role.clone(),
            cgroup: identity.cgroup.as_deref().map(memsample::text),
            test: None,
        };
        Self { facts: Arc::new(facts), pss: None, swap: Amount::UNKNOWN, peak: 0, swept: 0 }
    }

    fn take(&mut self, sample: &Sample<'_>, now: Instant) {
        if let Some(pss) = sample.get(Metric::Pss) {
            self.pss = Some((Amount::of(pss), sample.get(Metric::Uss).into(), now));
        }
        if let Some(swap) = sample.get(Metric::Swap) {
            self.swap = Amount::of(swap);
        }
        let peak = sample.get(Metric::Hwm).unwrap_or(0).max(sample.rss_bytes());
        self.peak = self.peak.max(peak);
    }

    fn memory(&self, sample: &Sample<'_>, now: Instant) -> ProcessMemory {
        let (pss, uss, age) = match self.pss {
            Some((pss, uss, at)) => (pss, uss, now.duration_since(at).as_secs()),
            None => (Amount::UNKNOWN, Amount::UNKNOWN, 0),
        };
        ProcessMemory {
            image: sample.process().0,
            facts: Arc::clone(&self.facts),
            rss: Amount::of(sample.rss_bytes()),
            pss,
            uss,
            pss_age_s: u16::try_from(age).unwrap_or(u16::MAX),
            swap: self.swap,
            peak: Amount::of(self.peak),
        }
    }
}

impl Source for LiveSource {
    fn advance(&mut self, follows: bool) -> io::Result<()> {
        let was_newest = self.shown + 1 >= self.frames.len();
        let frame = self.sample();
        self.kept += frame.processes.len();
        self.frames.push_back(Arc::new(frame));
        while self.kept > MAX_KEPT && self.frames.len() > 2 {
            self.kept -= self.frames.pop_front().map_or(0, |oldest| oldest.processes.len());
            self.shown = self.shown.saturating_sub(1);
        }
        if follows && was_newest {
            self.shown = self.frames.len().saturating_sub(1);
        }
        self.show();
        Ok(())
    }

    fn step(&mut self, by: Step) -> io::Result<()> {
        let newest = self.frames.len().saturating_sub(1);
        let Some(shown) = self.frames.get(self.shown) else { return Ok(()) };
        let at_ms = shown.at.as_millisecond();
        let up_to = |ms: i64| self.frames.partition_point(|it| it.at.as_millisecond() <= ms);
        self.shown = stepped(by, (self.shown, at_ms), newest, up_to);
        self.show();
        Ok(())
    }

    fn frame(&self) -> &Arc<Frame> {
        &self.frame
    }

    fn trail(&self) -> &[Arc<Frame>] {
        &self.trail
    }

    fn span(&self) -> (Timestamp, Timestamp) {
        let at = |frame: Option<&Arc<Frame>>| frame.map_or(Timestamp::UNIX_EPOCH, |frame| frame.at);
        (at(self.frames.front()), at(self.frames.back()))
    }

    fn title(&self) -> String {
        "this machine".to_owned()
    }

    fn left_of(&self, cgroup: &str) -> Option<u64> {
        self.limits.left_of(cgroup)
    }

    fn is_live(&self) -> bool {
        true
    }
}

/// Reads the memory of the machine.
fn machine(proc_root: &Path) -> MachineMemory {
    let meminfo = std::fs::read(proc_root.join("meminfo")).ok();
    let meminfo = meminfo.and_then(|bytes| parse_meminfo(&bytes).ok()).unwrap_or_default();
    let pressure = std::fs::read(proc_root.join("pressure/memory")).ok();
    let pressure = pressure.and_then(|bytes| parse_pressure(&bytes).ok());
    let share = |centipercent: u32| f64::from(centipercent) / 100.0;
    let shares = pressure.map(|it| {
        let full = it.full.map_or(0, |full| full.avg10_centipercent);
        (share(it.some.avg10_centipercent), share(full))
    });
    MachineMemory::of(&meminfo, shares)
}

/// Returns the name of a user, or the number.
pub(crate) fn user_name(uid: u32) -> String {
    let user = uzers::get_user_by_uid(uid);
    user.map_or_else(|| uid.to_string(), |user| user.name().to_string_lossy().into_owned())
}
