//! The library's types as those of the wire, for programs that link both.

use std::io;

use memsample::{
    Latest, LatestProcess, LatestRole, Manifest, ProcessState, ProcessStates, Recording, text,
};

use crate::wire::{
    End, ListedProcess, LiveMemory, LiveProcess, LiveRole, MarkKind, ProcessList, Quantiles,
    RecordingState, Summary, Totals,
};

impl Summary {
    /// Sums a recording up.
    ///
    /// # Errors
    ///
    /// Its directory cannot be read.
    pub fn of(recording: &Recording) -> io::Result<Self> {
        let Manifest { state, end, provenance, totals, recorder, command_exit_code, notes, .. } =
            recording.manifest();
        Ok(Self {
            recording: recording.path().display().to_string(),
            state: (*state).into(),
            end: end.clone().map(End::from),
            interval_ms: provenance.settings.interval_ms,
            ticks: totals.ticks,
            samples: totals.samples,
            processes: totals.processes,
            late: totals.late,
            missed: totals.missed,
            dropped: totals.dropped,
            gone: totals.gone,
            exits: totals.exits,
            exits_lost: totals.exits_lost,
            unsampled: totals.unsampled,
            unseen: totals.unseen,
            events_lost: totals.events_lost,
            denied: totals.denied,
            unreadable: totals.unreadable,
            reopened: totals.reopened,
            pss_skipped: totals.pss_skipped,
            stuck: totals.stuck,
            sweep_us: recorder.map(|recorder| recorder.sweep_us.into()),
            lateness_us: recorder.map(|recorder| recorder.lateness_us.into()),
            cpu_seconds: recorder.map(|recorder| recorder.cpu_seconds),
            peak_rss_bytes: recorder.and_then(|recorder| recorder.peak_rss_bytes),
            bytes: recording.size_bytes()?,
            command_exit_code: *command_exit_code,
            notes: notes.clone(),
        })
    }
}

impl From<MarkKind> for memsample::MarkKind {
    fn from(kind: MarkKind) -> Self {
        match kind {
            MarkKind::Begin => Self::Begin,
            MarkKind::End => Self::End,
            MarkKind::Point => Self::Point,
        }
    }
}

impl From<memsample::RecordingState> for RecordingState {
    fn from(state: memsample::RecordingState) -> Self {
        match state {
            memsample::RecordingState::Closed => Self::Closed,
            memsample::RecordingState::Recovered => Self::Recovered,
            // What else there may be later is not whole.
            _ => Self::Recording,
        }
    }
}

impl From<memsample::End> for End {
    fn from(end: memsample::End) -> Self {
        match end {
            memsample::End::Stopped => Self::Stopped,
            memsample::End::Duration => Self::Duration,
            memsample::End::Size => Self::Size,
            memsample::End::Idle => Self::Idle,
            memsample::End::DiskFull => Self::DiskFull,
            memsample::End::WriteFailed(reason) => Self::WriteFailed(reason),
            memsample::End::SamplingFailed(reason) => Self::SamplingFailed(reason),
            memsample::End::Crashed => Self::Crashed,
            memsample::End::Imported => Self::Imported,
            memsample::End::Dumped => Self::Dumped,
            memsample::End::Cut => Self::Cut,
            other => Self::WriteFailed(format!("{other:?}")),
        }
    }
}

impl From<memsample::Quantiles> for Quantiles {
    fn from(quantiles: memsample::Quantiles) -> Self {
        let memsample::Quantiles { p50, p99, max } = quantiles;
        Self { p50, p99, max }
    }
}

impl From<memsample::Totals> for Totals {
    fn from(totals: memsample::Totals) -> Self {
        let memsample::Totals {
            ticks,
            samples,
            processes,
            exits,
            unsampled,
            exits_lost,
            events_lost,
            unseen,
            unattributed,
            late,
            missed,
            dropped,
            outside,
            gone,
            denied,
            unreadable,
            reopened,
            pss_skipped,
            stuck,
        } = totals;
        Self {
            ticks,
            samples,
            processes,
            exits,
            unsampled,
            exits_lost,
            events_lost,
            unseen,
            unattributed,
            late,
            missed,
            dropped,
            outside,
            gone,
            denied,
            unreadable,
            reopened,
            pss_skipped,
            stuck,
        }
    }
}

impl From<Latest> for LiveMemory {
    fn from(latest: Latest) -> Self {
        Self {
            ts: latest.ts,
            processes: latest.processes as u64,
            rss_bytes: latest.rss_bytes,
            anon_bytes: latest.anon_bytes,
            pss_bytes: latest.pss_bytes,
            pss_processes: latest.pss_processes as u64,
            largest: latest.largest.into_iter().map(LiveProcess::from).collect(),
            roles: latest.roles.into_iter().map(LiveRole::from).collect(),
        }
    }
}

impl From<LatestProcess> for LiveProcess {
    fn from(process: LatestProcess) -> Self {
        Self {
            process: process.process.0,
            pid: process.pid,
            comm: process.comm.to_string(),
            role: process.role,
            test: process.test,
            rss_bytes: process.rss_bytes,
            anon_bytes: process.anon_bytes,
            pss_bytes: process.pss_bytes,
        }
    }
}

impl From<ProcessStates> for ProcessList {
    fn from(states: ProcessStates) -> Self {
        Self {
            ts: Some(states.ts),
            processes: states.processes.into_iter().map(ListedProcess::from).collect(),
        }
    }
}

impl From<ProcessState> for ListedProcess {
    fn from(state: ProcessState) -> Self {
        let identity = &state.identity;
        Self {
            process: identity.process.0,
            pid: identity.pid,
            ppid: identity.ppid,
            uid: identity.uid,
            comm: state.comm.to_string(),
            cmdline: identity.cmdline_text(),
            role: identity.role.clone(),
            cgroup: identity.cgroup.as_deref().map(text),
            test: state.test,
            rss_bytes: state.rss_bytes,
            anon_bytes: state.anon_bytes,
            swap_bytes: state.swap_bytes,
            hwm_bytes: state.hwm_bytes,
            pss_bytes: state.pss.map(|pss| pss.pss_bytes),
            uss_bytes: state.pss.map(|pss| pss.uss_bytes),
            pss_ts: state.pss.map(|pss| pss.read),
        }
    }
}

impl From<LatestRole> for LiveRole {
    fn from(role: LatestRole) -> Self {
        Self {
            role: role.role,
            processes: role.processes as u64,
            rss_bytes: role.rss_bytes,
            anon_bytes: role.anon_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use serde::de::DeserializeOwned;
    use serde_json::Value;

    use super::*;

    /// Returns a value of the library with another number for each key, and its JSON.
    fn numbered<L: Default + Serialize + DeserializeOwned>() -> (L, Value) {
        let mut json = serde_json::to_value(L::default()).unwrap();
        for (index, value) in json.as_object_mut().unwrap().values_mut().enumerate() {
            *value = Value::from(index + 1);
        }
        (serde_json::from_value(json.clone()).unwrap(), json)
    }

    #[test]
    fn the_json_of_the_wire_is_that_of_the_library() {
        let (totals, json) = numbered::<memsample::Totals>();
        assert_eq!(serde_json::to_value(Totals::from(totals)).unwrap(), json);
        assert_eq!(serde_json::from_value::<Totals>(json).unwrap(), Totals::from(totals));
        let (quantiles, json) = numbered::<memsample::Quantiles>();
        assert_eq!(serde_json::to_value(Quantiles::from(quantiles)).unwrap(), json);
        for state in [
            memsample::RecordingState::Recording,
            memsample::RecordingState::Closed,
            memsample::RecordingState::Recovered,
        ] {
            let json = serde_json::to_value(state).unwrap();
            assert_eq!(serde_json::to_value(RecordingState::from(state)).unwrap(), json);
        }
        for end in [
            memsample::End::Stopped,
            memsample::End::Duration,
            memsample::End::Size,
            memsample::End::Idle,
            memsample::End::DiskFull,
            memsample::End::WriteFailed("no such device".to_owned()),
            memsample::End::Crashed,
            memsample::End::Imported,
            memsample::End::Dumped,
            memsample::End::Cut,
        ] {
            let json = serde_json::to_value(&end).unwrap();
            let wire = End::from(end);
            assert_eq!(serde_json::to_value(&wire).unwrap(), json);
            assert_eq!(serde_json::from_value::<End>(json).unwrap(), wire);
        }
        for (kind, wire) in [
            (memsample::MarkKind::Begin, MarkKind::Begin),
            (memsample::MarkKind::End, MarkKind::End),
            (memsample::MarkKind::Point, MarkKind::Point),
        ] {
            assert_eq!(memsample::MarkKind::from(wire), kind);
        }
    }
}
