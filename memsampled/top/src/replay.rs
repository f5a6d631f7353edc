//! Frames of a recording.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use anyhow::Context;
use jiff::{SignedDuration, Timestamp};
use memsample::analysis::{left_to_limits, pressure_between, sums_between, tick_instants};
use memsample::{Metric, RecordedInstant, RecordedProcess, Recording};

use crate::amount::Amount;
use crate::frame::{Frame, MachineMemory, ProcessFacts, ProcessMemory};
use crate::source::{MAX_TRAIL, Source, Step, TRAIL, stepped};
use crate::this_machine::user_name;

/// The time of which the pressure is shown, as the kernel's `avg10`.
const PRESSURE_MS: i64 = 10_000;

/// Shows a recording at one of its ticks.
pub struct ReplaySource {
    recording: Recording,
    /// In milliseconds since 1970, ascending.
    ticks: Vec<i64>,
    shown: usize,
    /// How far one goes on at a time, in milliseconds.
    pace_ms: i64,
    frame: Arc<Frame>,
    trail: Vec<Arc<Frame>>,
    facts: HashMap<u64, Arc<ProcessFacts>>,
    /// What is left to the limits of the groups at the shown tick.
    left: HashMap<String, u64>,
}

impl ReplaySource {
    /// Opens a recording at an instant, or at its last tick. `pace_ms` is how far it goes on at a time.
    ///
    /// # Errors
    ///
    /// It has no tick, or cannot be read.
    pub fn new(recording: Recording, at: Option<Timestamp>, pace_ms: i64) -> anyhow::Result<Self> {
        let ticks: Vec<i64> =
            tick_instants(&recording)?.iter().map(|instant| instant.ts_ms).collect();
        anyhow::ensure!(!ticks.is_empty(), "`{}` has no tick", recording.path().display());
        let at_ms = at.map_or(i64::MAX, Timestamp::as_millisecond);
        let shown = ticks.partition_point(|&tick| tick <= at_ms).saturating_sub(1);
        let empty = Frame {
            at: Timestamp::UNIX_EPOCH,
            processes: Vec::new(),
            machine: MachineMemory::default(),
        };
        let mut source = Self {
            recording,
            ticks,
            shown,
            pace_ms,
            frame: Arc::new(empty),
            trail: Vec::new(),
            facts: HashMap::new(),
            left: HashMap::new(),
        };
        source.show().context("cannot read the recording")?;
        Ok(source)
    }

    fn tick_ms(&self, index: usize) -> i64 {
        self.ticks.get(index).copied().unwrap_or_default()
    }

    /// Reads the shown tick and the minute before it.
    fn show(&mut self) -> io::Result<()> {
        let tick_ms = self.tick_ms(self.shown);
        let at = Timestamp::from_millisecond(tick_ms).map_err(io::Error::other)?;
        let instant = self.recording.instant(at).map_err(io::Error::other)?;
        let since_ms = tick_ms.saturating_sub(i64::try_from(TRAIL.as_millis()).unwrap_or(0));
        let first = self.ticks.partition_point(|&tick| tick < since_ms);
        let every = (self.shown - first).div_ceil(MAX_TRAIL).max(1);
        let mut processes: Vec<ProcessMemory> =
            instant.processes.iter().map(|process| self.memory(process)).collect();
        processes.sort_unstable_by_key(|process| process.image);
        let machine = self.machine(&instant)?;
        self.left = left_to_limits(&self.recording, tick_ms)?;
        let frame = Arc::new(Frame { at, processes, machine });
        self.trail = self.trail_of(&frame, first, every)?;
        self.trail.push(Arc::clone(&frame));
        self.frame = frame;
        Ok(())
    }

    fn memory(&mut self, process: &RecordedProcess) -> ProcessMemory {
        let image = process.process.0;
        let last = |metric| process.last_reading(metric);
        let facts = self.facts.entry(image).or_insert_with(|| Arc::new(facts_of(process)));
        let pss = last(Metric::Pss);
        let peak = last(Metric::Hwm).map(|reading| reading.value).max(process.get(Metric::Rss));
        ProcessMemory {
            image,
            facts: Arc::clone(facts),
            rss: process.get(Metric::Rss).into(),
            pss: pss.map(|reading| reading.value).into(),
            uss: last(Metric::Uss).map(|reading| reading.value).into(),
            pss_age_s: pss.map_or(0, |it| u16::try_from(it.age_ms / 1000).unwrap_or(u16::MAX)),
            swap: last(Metric::Swap).map(|reading| reading.value).into(),
            peak: peak.into(),
        }
    }

    fn machine(&self, instant: &RecordedInstant) -> io::Result<MachineMemory> {
        let meminfo = instant.meminfo.unwrap_or_default();
        let at_ms = instant.ts.as_millisecond();
        let pressure = pressure_between(&self.recording, at_ms - PRESSURE_MS..=at_ms)?;
        Ok(MachineMemory::of(&meminfo, pressure))
    }

    /// Returns frames that have resident sets alone, of every so many ticks before the shown one.
    fn trail_of(&self, shown: &Frame, first: usize, every: usize) -> io::Result<Vec<Arc<Frame>>> {
        // The first of them is the shown one.
        let wanted: Vec<i64> = (first..=self.shown)
            .rev()
            .step_by(every)
            .skip(1)
            .map(|index| self.tick_ms(index))
            .collect();
        let (Some(&last), Some(&first)) = (wanted.first(), wanted.last()) else {
            return Ok(Vec::new());
        };
        let of_image = |(group, process): (usize, &ProcessMemory)| (process.image, vec![group]);
        let groups: HashMap<u64, Vec<usize>> =
            shown.processes.iter().enumerate().map(of_image).collect();
        let mut frames: HashMap<i64, Vec<ProcessMemory>> =
            wanted.iter().map(|&tick| (tick, Vec::new())).collect();
        sums_between(&self.recording, &groups, first..=last, |memory| {
            if let (Some(processes), Some(process)) =
                (frames.get_mut(&memory.ts_ms), shown.processes.get(memory.group))
            {
                processes.push(ProcessMemory {
                    image: process.image,
                    facts: Arc::clone(&process.facts),
                    rss: Amount::of(memory.sums.rss_bytes),
                    pss: Amount::UNKNOWN,
                    uss: Amount::UNKNOWN,
                    pss_age_s: 0,
                    swap: Amount::UNKNOWN,
                    peak: Amount::UNKNOWN,
                });
            }
        })?;
        let mut frames: Vec<Arc<Frame>> = frames
            .into_iter()
            .filter_map(|(tick_ms, processes)| {
                let at = Timestamp::from_millisecond(tick_ms).ok()?;
                Some(Arc::new(Frame { at, processes, machine: MachineMemory::default() }))
            })
            .collect();
        frames.sort_unstable_by_key(|frame| frame.at);
        Ok(frames)
    }
}

fn facts_of(process: &RecordedProcess) -> ProcessFacts {
    let command = process.cmdline.clone().filter(|command| !command.is_empty());
    ProcessFacts {
        pid: process.pid,
        ppid: process.ppid,
        user: process.uid.map_or_else(|| "-".to_owned(), user_name),
        comm: process.comm.clone(),
        command: command.unwrap_or_else(|| format!("[{}]", process.comm)),
        role: process.role.clone().unwrap_or_else(|| process.comm.clone()),
        cgroup: process.cgroup.clone(),
        test: process.test.clone(),
    }
}

impl Source for ReplaySource {
    fn advance(&mut self, follows: bool) -> io::Result<()> {
        if follows { self.step(Step::By(self.pace_ms)) } else { Ok(()) }
    }

    fn step(&mut self, by: Step) -> io::Result<()> {
        let newest = self.ticks.len().saturating_sub(1);
        let up_to = |ms: i64| self.ticks.partition_point(|&tick| tick <= ms);
        let shown = stepped(by, (self.shown, self.tick_ms(self.shown)), newest, up_to);
        if shown != self.shown {
            self.shown = shown;
            self.show()?;
        }
        Ok(())
    }

    fn frame(&self) -> &Arc<Frame> {
        &self.frame
    }

    fn trail(&self) -> &[Arc<Frame>] {
        &self.trail
    }

    fn span(&self) -> (Timestamp, Timestamp) {
        let at = |ms: i64| Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH);
        (at(self.tick_ms(0)), at(self.tick_ms(self.ticks.len().saturating_sub(1))))
    }

    fn title(&self) -> String {
        let path = self.recording.path();
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        let since = SignedDuration::from_millis(self.tick_ms(self.shown) - self.tick_ms(0));
        format!("{} at {:.1} s", memsample_input::printable(&name), since.as_secs_f64())
    }

    fn left_of(&self, cgroup: &str) -> Option<u64> {
        self.left.get(cgroup).copied()
    }

    fn is_live(&self) -> bool {
        false
    }
}
