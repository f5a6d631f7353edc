//! Frames of this machine, by a sampler of its own.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use memsample::{Files, Metric, PssBudget, Sample, Sampler, SamplerOptions};

use crate::amount::Amount;
use crate::frame::{Frame, ProcessFacts, ProcessMemory};
use crate::live::Feed;
use crate::this_machine::{memory_of_this_machine, user_name};

/// How often `status` is read, which has what is in swap and the peak.
const DETAIL: Duration = Duration::from_secs(5);

/// Samples this machine.
pub struct SamplerFeed {
    sampler: Sampler,
    budget: PssBudget,
    known: HashMap<u64, Known>,
    detailed: Option<Instant>,
    /// The number of sweeps so far.
    sweeps: u64,
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

impl SamplerFeed {
    /// Begins to sample, and reads PSS within a share of one CPU.
    ///
    /// # Errors
    ///
    /// `/proc` cannot be read.
    pub fn new(options: SamplerOptions, pss_share: f64) -> io::Result<Self> {
        let mut feed = Self {
            sampler: Sampler::new(options)?,
            budget: PssBudget::new(pss_share),
            known: HashMap::new(),
            detailed: None,
            sweeps: 0,
        };
        // Who may follow what the kernel reports does not have to look for new processes.
        let _ = feed.sampler.follow_process_events();
        Ok(feed)
    }
}

impl Feed for SamplerFeed {
    fn next(&mut self) -> Option<Frame> {
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
        Some(Frame { at, processes, machine: memory_of_this_machine() })
    }

    fn title(&self) -> String {
        "this machine".to_owned()
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
