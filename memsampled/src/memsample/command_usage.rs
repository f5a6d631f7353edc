//! What a recorded command used: its processes as one test.

use std::fmt::Write as _;

use anyhow::Context;
use memsample::analysis::{LargestProcess, TestUsage, largest_processes_of_test, test_usages};
use memsample::{Metric, RecordedProcess, Recording, Scope};
use memsample_input::{printable, rounded_size};
use serde::Serialize;

use crate::text::{count, cut};

/// The test to which the processes of a recorded command belong, and the name of its marks.
pub(crate) const COMMAND_TEST: &str = "command";

/// Characters of the command that a person sees.
const MAX_COMMAND_CHARS: usize = 48;
/// A PSS stands for what was read only if that is this share of the memory that it is told of.
const MIN_COVERED: f64 = 0.9;
/// A reading still stands for a process whose resident set has changed by no more than this share since.
const MAX_CHANGED: f64 = 0.1;

/// What a command and its descendants used. Its keys are part of the interface: see docs/commands.md.
#[derive(Debug, Serialize)]
pub(crate) struct CommandUsage {
    /// The command, as far as arguments are recorded.
    command: Vec<String>,
    exit_code: Option<i32>,
    seconds: f64,
    cpu_seconds: Option<f64>,
    /// Processes, and those of them that are known only by their exit record.
    processes: u64,
    unsampled: u64,
    /// The peak of the sum of the resident sets.
    rss_peak_lower_bytes: Option<u64>,
    rss_peak_upper_bytes: Option<u64>,
    /// The sum of the PSS at that peak; null if what was read covers less than nine tenths of it.
    pss_bytes: Option<u64>,
    /// The share of the sum of the resident sets that the PSS stands for.
    pss_covers: Option<f64>,
    /// The age of the oldest PSS at the peak.
    pss_age_ms: Option<u64>,
    /// Whether the recording is limited to other processes.
    #[serde(skip)]
    is_elsewhere: bool,
}

/// The PSS of several processes at one instant.
struct CoveredPss {
    bytes: u64,
    covers: f64,
    oldest_ms: u64,
}

impl CommandUsage {
    /// Returns what the command of a recording used; `None` if it has none.
    pub(crate) fn of(recording: &Recording) -> anyhow::Result<Option<Self>> {
        let manifest = recording.manifest();
        let Some(command) = manifest.provenance.settings.command.clone() else { return Ok(None) };
        let usages = test_usages(recording).context("cannot read what the command used")?;
        let Some(usage) = usages.into_iter().find(|usage| usage.test == COMMAND_TEST) else {
            return Ok(None);
        };
        let pss = pss_at_peak(recording, &usage)?;
        Ok(Some(Self {
            command,
            exit_code: manifest.command_exit_code,
            seconds: usage.end.duration_since(usage.begin).as_secs_f64(),
            cpu_seconds: usage.cpu_ns.map(|ns| ns as f64 / 1e9),
            processes: usage.processes,
            unsampled: usage.unsampled,
            rss_peak_lower_bytes: usage.rss.map(|rss| rss.lower.bytes),
            rss_peak_upper_bytes: usage.rss.and_then(|rss| rss.upper).map(|upper| upper.bytes),
            pss_bytes: pss.as_ref().map(|pss| pss.bytes),
            pss_covers: pss.as_ref().map(|pss| pss.covers),
            pss_age_ms: pss.as_ref().map(|pss| pss.oldest_ms),
            is_elsewhere: manifest.provenance.settings.target != Scope::Machine,
        }))
    }

    /// Returns the lines that a person reads.
    pub(crate) fn text(&self) -> String {
        let command = shlex::try_join(self.command.iter().map(String::as_str))
            .unwrap_or_else(|_| self.command.join(" "));
        let mut text = format!("command: {}\n", printable(&cut(&command, MAX_COMMAND_CHARS)));
        let code = match self.exit_code {
            Some(code @ 129..) => format!("exit code {code} (signal {})", code - 128),
            Some(code) => format!("exit code {code}"),
            None => "exit code not known".to_owned(),
        };
        // Writing to a string cannot fail.
        let _ = write!(text, "{code} after {:.2} s", self.seconds);
        if self.processes == 0 {
            let why = match self.is_elsewhere {
                true => "the recording is limited to others",
                false => "none lived at a tick, and the kernel reported no exit of one",
            };
            let _ = writeln!(text, "; its processes were not recorded: {why}");
            return text;
        }
        if let Some(seconds) = self.cpu_seconds {
            let _ = write!(text, ", {seconds:.2} s of CPU");
        }
        let _ = write!(text, "\n{}", count(self.processes, "process"));
        if self.unsampled > 0 {
            let _ = write!(text, ", {} of them too short-lived to be sampled", self.unsampled);
        }
        let _ = writeln!(text, "\npeak RSS {} together; PSS {}", self.peak(), self.pss());
        text
    }

    fn peak(&self) -> String {
        match (
            self.rss_peak_lower_bytes.map(rounded_size),
            self.rss_peak_upper_bytes.map(rounded_size),
        ) {
            (Some(lower), Some(upper)) if lower == upper => lower,
            (Some(lower), Some(upper)) => format!("{lower} to {upper}"),
            (Some(lower), None) => format!("≥{lower}"),
            (None, _) => "-".to_owned(),
        }
    }

    fn pss(&self) -> String {
        match (self.pss_bytes, self.pss_covers, self.pss_age_ms) {
            (Some(bytes), Some(covers), Some(age_ms)) => format!(
                "{} (covers {:.0} % of that RSS, read up to {:.1} s before)",
                rounded_size(bytes),
                100.0 * covers,
                age_ms as f64 / 1000.0
            ),
            _ => "- (not read of enough processes)".to_owned(),
        }
    }
}

/// Returns the processes of the command: its first one, and then the largest.
pub(crate) fn processes(recording: &Recording, top: usize) -> anyhow::Result<Vec<LargestProcess>> {
    largest_processes_of_test(recording, COMMAND_TEST, top)
        .context("cannot read the processes of the command")
}

/// Returns the PSS of the processes of a test at the peak of their resident sets, if what was read is enough.
fn pss_at_peak(recording: &Recording, usage: &TestUsage) -> anyhow::Result<Option<CoveredPss>> {
    let Some(rss) = usage.rss else { return Ok(None) };
    // The peak of a single process may be later than the last tick.
    let Ok(instant) = recording.instant(rss.by) else { return Ok(None) };
    let of_test = |process: &&RecordedProcess| process.test.as_deref() == Some(COMMAND_TEST);
    let (mut all, mut covered) = (0_u64, 0_u64);
    let mut pss = CoveredPss { bytes: 0, covers: 0.0, oldest_ms: 0 };
    for process in instant.processes.iter().filter(of_test) {
        let now = process.get(Metric::Rss).unwrap_or(0);
        all = all.saturating_add(now);
        let Some(reading) = process.last_reading(Metric::Pss) else { continue };
        let changed = reading.rss_bytes.map(|then| then.abs_diff(now));
        if changed.is_none_or(|changed| changed as f64 > MAX_CHANGED * now as f64) {
            continue;
        }
        covered = covered.saturating_add(now);
        pss.bytes = pss.bytes.saturating_add(reading.value);
        pss.oldest_ms = pss.oldest_ms.max(reading.age_ms);
    }
    if all == 0 {
        return Ok(None);
    }
    pss.covers = covered as f64 / all as f64;
    Ok((pss.covers >= MIN_COVERED).then_some(pss))
}
