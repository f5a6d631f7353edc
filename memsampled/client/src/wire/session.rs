//! Sessions: the request that starts one, and their descriptions.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use super::request::{
    Request, check_labels, check_length, check_recording_name, check_span, object,
};
use memsample_input::Span;

use super::{Summary, limits};

/// `POST /v1/sessions`: begins a recording. Every field may be left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StartRequest {
    /// What the recording is called; its id is this and the time. By default the time alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// From one sample of every process to the next: 1ms to 1h, by default 100ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span>,
    /// The share of one CPU for reading PSS, 0 to 1; by default 0.01. With 0 it is not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pss_budget: Option<f64>,
    /// What the client wants to find in `recording.json`.
    pub labels: BTreeMap<String, String>,
    /// Which processes are recorded.
    #[serde(deserialize_with = "object")]
    pub target: Target,
    /// The limits that are narrower than those of the daemon.
    #[serde(deserialize_with = "object")]
    pub limits: SessionLimits,
}

/// Which processes are recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Target {
    /// All of the machine.
    // With braces, since what else stands beside the kind would be let through otherwise.
    Machine {},
    /// A process and all that descend from it.
    Pid {
        /// Its process id.
        #[serde(deserialize_with = "whole_pid")]
        pid: i32,
    },
    /// The processes of a control group, and of those below it.
    Cgroup {
        /// Its path, as in `/proc/PID/cgroup`.
        path: String,
    },
}

impl Default for Target {
    fn default() -> Self {
        Self::Machine {}
    }
}

/// What ends a session without a stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionLimits {
    /// After this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<Span>,
    /// When the recording has this size on disk, in bytes.
    #[serde(deserialize_with = "whole_number", skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// When no client has marked it or asked for it for this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<Span>,
}

/// Reads a process id, which in JSON may also be written as `42.0`.
fn whole_pid<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    use serde::de::Error;
    let number = serde_json::Number::deserialize(deserializer)?;
    let whole = number.as_i64().or_else(|| {
        number
            .as_f64()
            .filter(|it| it.fract() == 0.0 && it.abs() <= 2_f64.powi(32))
            .map(|it| it as i64)
    });
    let pid = whole.and_then(|whole| i32::try_from(whole).ok());
    pid.ok_or_else(|| D::Error::custom(format_args!("{number} is no process id")))
}

/// Reads a process id or null.
pub(super) fn optional_whole_pid<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<i32>, D::Error> {
    #[derive(Deserialize)]
    struct Pid(#[serde(deserialize_with = "whole_pid")] i32);
    Ok(Option::<Pid>::deserialize(deserializer)?.map(|Pid(pid)| pid))
}

/// Reads a whole number, which in JSON may also be written as `4194304.0`.
fn whole_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else {
        return Ok(None);
    };
    // Up to there floating-point numbers are exact.
    let exact = |number: &f64| number.fract() == 0.0 && (0.0..=2_f64.powi(53)).contains(number);
    let whole =
        number.as_u64().or_else(|| number.as_f64().filter(exact).map(|number| number as u64));
    whole.map(Some).ok_or_else(|| {
        serde::de::Error::custom(format_args!("{number} is not a whole number of bytes"))
    })
}

impl Request for StartRequest {
    fn check(&self) -> Result<(), String> {
        check_recording_name(self.name.as_deref())?;
        check_span("interval", self.interval)?;
        check_span("limits.duration", self.limits.duration)?;
        check_span("limits.idle", self.limits.idle)?;
        if let Some(Span(interval)) = self.interval
            && interval > Duration::from_secs(3600)
        {
            return Err("`interval` is out of range: it must be from 1ms to 1h".to_owned());
        }
        if let Some(share) = self.pss_budget
            && !(0.0..=1.0).contains(&share)
        {
            return Err(
                "`pss_budget` is out of range: it is a share of one CPU, from 0 to 1".to_owned()
            );
        }
        check_labels(&self.labels)?;
        match &self.target {
            Target::Machine {} => {}
            Target::Pid { pid } => {
                if *pid < 1 {
                    return Err("`target.pid` is out of range: it must be at least 1".to_owned());
                }
            }
            Target::Cgroup { path } => {
                check_length("`target.path`", path, 1, limits::CGROUP_CHARACTERS)?;
                if !path.starts_with('/') || path.split('/').any(|name| name == "..") {
                    return Err(
                        "`target.path` is no control group: it must be an absolute path without `..`, as in \
                         /proc/PID/cgroup"
                            .to_owned(),
                    );
                }
            }
        }
        if self.limits.bytes.is_some_and(|bytes| bytes < limits::MIN_SESSION_BYTES) {
            return Err(format!(
                "`limits.bytes` is out of range: it must be at least {}",
                limits::MIN_SESSION_BYTES
            ));
        }
        Ok(())
    }
}

/// A recording that is being made, or has ended and was not stopped yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Names the session, and its recording when it is closed.
    pub id: String,
    /// Whether it is being recorded.
    pub state: SessionState,
    /// The user who started it.
    pub uid: u32,
    /// When it was started.
    pub started: Timestamp,
    /// The directory of the recording.
    pub recording: String,
    /// From one sample of every process to the next.
    pub interval: Span,
    /// Which processes are recorded.
    pub target: Target,
    /// What the client wants to find.
    pub labels: BTreeMap<String, String>,
    /// What ends it without a stop.
    pub limits: SessionLimits,
    /// Since it began, in milliseconds; when it has ended, until then.
    pub elapsed_ms: u64,
    /// What was written, and what was not.
    pub totals: SessionTotals,
    /// The largest process of the last tick.
    pub largest: Option<TopProcess>,
}

/// Whether a session is being recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// It is being recorded.
    Recording,
    /// It ended without a stop: a limit was reached, or it could not be written. The answer to stop says why.
    Ended,
}

/// What a session holds and lacks so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionTotals {
    /// Sweeps that were made, as far as they were written: while the disk does not respond it does not grow.
    pub ticks: u64,
    /// Samples that were written.
    pub samples: u64,
    /// Process images that were seen.
    pub processes: u64,
    /// Planned instants at which no sweep began in time.
    pub late: u64,
    /// Planned instants at which none began at all.
    pub missed: u64,
    /// Samples that were read and not written.
    pub dropped: u64,
    /// Readings that the kernel refused.
    pub denied: u64,
    /// Samples of processes of which another reading had not come back, because a lock of theirs was held.
    #[serde(default)]
    pub stuck: u64,
}

/// A process among the largest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopProcess {
    /// Its name.
    pub comm: String,
    /// Its process id.
    pub pid: i32,
    /// Its resident set, in bytes.
    pub rss_bytes: u64,
}

/// `GET /v1/sessions`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionList {
    /// Those that the caller may see, oldest first.
    pub sessions: Vec<Session>,
}

/// `POST /v1/sessions/{id}/stop`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stopped {
    /// The session.
    pub id: String,
    /// The directory of the closed recording.
    pub recording: String,
    /// What it holds and lacks.
    pub summary: Summary,
}
