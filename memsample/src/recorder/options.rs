//! The options of a recording.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::schedule::Rate;
use crate::recording::{ForksBy, Settings, SweepsFrom, millis};
use crate::sampler::SamplerOptions;
use crate::scope::Scope;

/// How a [`Recorder`](super::Recorder) records.
#[derive(Clone)]
pub struct RecorderOptions {
    pub(super) sampler: SamplerOptions,
    pub(super) interval: Duration,
    pub(super) detail: Rate,
    pub(super) pss: Pss,
    pub(super) duration: Option<Duration>,
    pub(super) command: Option<Vec<String>>,
    pub(super) events: bool,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) cgroups: Rate,
    pub(super) target: Scope,
    pub(super) max_bytes: Option<u64>,
    pub(super) max_idle: Option<Duration>,
}

/// When PSS is read.
#[derive(Clone, Copy)]
pub(super) enum Pss {
    /// Of all processes, at a rate.
    AtRate(Rate),
    /// Of those that changed most, within a share of one CPU.
    WithinShare(f64),
}

/// An option that is out of range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionsError(String);

impl fmt::Display for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for OptionsError {}

impl Default for RecorderOptions {
    fn default() -> Self {
        Self {
            sampler: SamplerOptions::default(),
            interval: Duration::from_millis(100),
            detail: Rate::Every(Duration::from_secs(1)),
            pss: Pss::WithinShare(0.01),
            duration: None,
            command: None,
            events: true,
            labels: BTreeMap::new(),
            cgroups: Rate::Every(Duration::from_secs(1)),
            target: Scope::Machine,
            max_bytes: None,
            max_idle: None,
        }
    }
}

impl RecorderOptions {
    /// The longest time from one tick to the next.
    pub const MAX_INTERVAL: Duration = Duration::from_secs(3600);

    /// Records ten times a second, details when memory changed and once a second, PSS within one
    /// percent of a CPU, until stopped.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the time from one tick to the next: whole milliseconds, at least one.
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets how often `status` and `stat` are read of every process, for the kinds of memory, swap,
    /// high-water marks, faults and CPU times.
    ///
    /// With a span of time they are also read, in the same tick, of each process whose `statm` is
    /// another than at the tick before, so that the kinds of memory are known at every tick.
    #[must_use]
    pub fn detail(mut self, rate: Rate) -> Self {
        self.detail = rate;
        self
    }

    /// Sets how often `smaps_rollup` is read of every process, for PSS and USS, whatever it costs.
    #[must_use]
    pub fn pss(mut self, rate: Rate) -> Self {
        self.pss = Pss::AtRate(rate);
        self
    }

    /// Reads `smaps_rollup` within a share of one CPU, such as 0.01, or infinity for no limit: first
    /// of the processes that changed most, then of those that were not read for long.
    ///
    /// A process is held up by a reading for at most 75 ms, and for no longer than the share of ten
    /// seconds; one that is too large for that is not read, and counted.
    #[must_use]
    pub fn pss_budget(mut self, share: f64) -> Self {
        self.pss = Pss::WithinShare(share);
        self
    }

    /// Sets how often the memory of control groups is read: once a second by default.
    ///
    /// One group costs about 30 us each time. They are those that sampled processes are in, and those above.
    #[must_use]
    pub fn cgroups(mut self, rate: Rate) -> Self {
        self.cgroups = rate;
        self
    }

    /// Ends the recording automatically after `duration`.
    #[must_use]
    pub fn duration(mut self, duration: Duration) -> Self {
        self.duration = Some(duration);
        self
    }

    /// Records only the members of a scope. All processes are read nevertheless, to know who they are.
    #[must_use]
    pub fn target(mut self, scope: Scope) -> Self {
        self.target = scope;
        self
    }

    /// Ends the recording automatically when its files come to `bytes`. Looked at twice a second, so they
    /// may come to a little more.
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Ends the recording automatically when for this long nobody has set a mark, assigned a scope or said
    /// that they still want it ([`touch`](super::Recorder::touch)). To look how it stands is not enough:
    /// a monitor does that as long as it runs.
    #[must_use]
    pub fn max_idle(mut self, idle: Duration) -> Self {
        self.max_idle = Some(idle);
        self
    }

    /// Sets which tree is read, and how. A recording of a [`SharedSampler`](super::SharedSampler) reads what that
    /// does.
    #[must_use]
    pub fn sampler(mut self, options: SamplerOptions) -> Self {
        self.sampler = options;
        self
    }

    /// Sets whether to ask the kernel to report every fork and exec, and every exit with its exact peak.
    ///
    /// The kernel reports them only to programs with `CAP_NET_ADMIN` outside of containers (forks and execs
    /// since Linux 6.6 to others too), and only of the live `/proc`. Where it does not, a note in
    /// `recording.json` says why, the sampler finds new processes in `/proc`, and nothing else changes.
    #[must_use]
    pub fn events(mut self, events: bool) -> Self {
        self.events = events;
        self
    }

    /// Notes in `recording.json` which command is recorded.
    #[must_use]
    pub fn command(mut self, command: Vec<String>) -> Self {
        self.command = Some(command);
        self
    }

    /// Notes in `recording.json` what the caller wants to find there, such as the commit that is tested.
    #[must_use]
    pub fn labels(mut self, labels: BTreeMap<String, String>) -> Self {
        self.labels = labels;
        self
    }

    pub(super) fn check(&self) -> Result<(), OptionsError> {
        let whole_millis = |option, given: Duration| {
            let fits = !given.is_zero()
                && given <= Self::MAX_INTERVAL
                && given.subsec_nanos().is_multiple_of(1_000_000);
            let longest = Self::MAX_INTERVAL.as_secs();
            let wrong = || {
                OptionsError(format!(
                    "the {option} of {given:?} is out of range: it must be a whole number of milliseconds from \
                     1ms to {longest}s"
                ))
            };
            if fits { Ok(()) } else { Err(wrong()) }
        };
        whole_millis("interval", self.interval)?;
        let pss = match self.pss {
            Pss::AtRate(rate) => rate,
            Pss::WithinShare(share) if share > 0.0 => Rate::Off,
            Pss::WithinShare(share) => {
                return Err(OptionsError(format!(
                    "the PSS budget of {share} is out of range: it must be a share of one CPU above 0, such as 0.01"
                )));
            }
        };
        let rates = [
            ("detail interval", self.detail),
            ("PSS interval", pss),
            ("cgroup interval", self.cgroups),
        ];
        for (option, rate) in rates {
            if let Rate::Every(interval) = rate {
                whole_millis(option, interval)?;
            }
        }
        Ok(())
    }

    pub(super) fn settings(&self) -> Settings {
        let interval_ms = |rate| match rate {
            Rate::Off => None,
            Rate::EveryTick => Some(millis(self.interval)),
            Rate::Every(interval) => Some(millis(interval)),
        };
        let rules = self.sampler.identity_rules();
        Settings {
            interval_ms: millis(self.interval),
            detail_interval_ms: interval_ms(self.detail),
            pss_interval_ms: match self.pss {
                Pss::AtRate(rate) => interval_ms(rate),
                Pss::WithinShare(_) => None,
            },
            pss_budget: match self.pss {
                Pss::WithinShare(share) if share.is_finite() => Some(share),
                // JSON has no infinity.
                Pss::WithinShare(_) => Some(f64::MAX),
                Pss::AtRate(_) => None,
            },
            duration_ms: self.duration.map(millis),
            max_bytes: self.max_bytes,
            max_idle_ms: self.max_idle.map(millis),
            target: self.target.clone(),
            proc_root: self.sampler.root_path().to_owned(),
            command: self.command.as_deref().and_then(|it| rules.command(it)),
            arguments: rules.kept,
            redactions: rules.redactions.len(),
            role_rules: rules.roles.len(),
            forks: ForksBy::Listing,
            sweeps: SweepsFrom::Proc,
            exits: false,
            cgroup_interval_ms: interval_ms(self.cgroups),
            supported_files: Vec::new(),
            max_descriptors: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_a_share_above_nothing() {
        for share in [0.01, 2.0, f64::INFINITY] {
            assert_eq!(RecorderOptions::new().pss_budget(share).check(), Ok(()));
        }
        for share in [0.0, -0.5, f64::NAN, f64::NEG_INFINITY] {
            let error = RecorderOptions::new().pss_budget(share).check().unwrap_err();
            assert!(error.to_string().contains("PSS budget"), "{error}");
        }
    }
}
