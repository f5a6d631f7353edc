//! The processes of a recording at an instant.

use super::by::By;
use super::error::ViewError;
use super::note::Note;
use super::options::{At, ViewOptions};
use super::population::Population;
use super::process::Process;
use super::user_names::UserNames;
use crate::metric::Metric;
use crate::recording::{InstantError, RecordedInstant, RecordedProcess, Recording};

/// Reads the processes that match at the last tick that is not later than `at`, by default the last of all.
pub(super) fn read(
    recording: &Recording,
    at: Option<At>,
    options: &ViewOptions,
    user_name: &dyn Fn(u32) -> Option<String>,
) -> Result<Population, ViewError> {
    let range = recording.first_and_last_tick().map_err(InstantError::Io)?;
    let (first, last) = range.ok_or(InstantError::Empty)?;
    let at = at.map_or(Some(last), |at| at.since(first)).ok_or(ViewError::OffsetTooLong)?;
    let instant = recording.instant(at)?;
    let mut notes = notes(&instant, options);
    let RecordedInstant { processes, meminfo, known_pss, .. } = instant;
    let mut users = UserNames::new(user_name);
    let matching = processes
        .into_iter()
        .filter(|process| options.matches(process.uid, &process.comm, process.cmdline.as_deref()));
    let shown = |process: &RecordedProcess, metric| {
        process.last_reading(metric).filter(|reading| !options.exact || reading.age_ms == 0)
    };
    let processes: Vec<_> = matching
        .map(|process| Process {
            pid: process.pid,
            ppid: process.ppid,
            uid: process.uid,
            user: process.uid.map(|uid| users.get(uid)),
            metrics: Metric::ALL.map(|metric| Some(shown(&process, metric)?.value)),
            pss_age_ms: shown(&process, Metric::Pss).map(|reading| reading.age_ms),
            detail_age_ms: shown(&process, Metric::Hwm).map(|reading| reading.age_ms),
            role: process.role,
            comm: process.comm,
            command: process.cmdline,
            cgroup: process.cgroup,
            maps: None,
        })
        .collect();
    if let Some(oldest_pss_ms) = processes.iter().filter_map(|it| it.pss_age_ms).max()
        && oldest_pss_ms > 0
        && options.by != By::System
    {
        notes.push(Note::CarriedForward { oldest_pss_ms });
    }
    if options.is_filtered() && processes.is_empty() {
        notes.push(Note::NoMatch);
    }
    Ok(Population { processes, meminfo, known_pss, notes })
}

/// Describes which instant this is and what is missing of it.
fn notes(instant: &RecordedInstant, options: &ViewOptions) -> Vec<Note> {
    let &RecordedInstant { ts, first, last, dropped, nearest_pss, .. } = instant;
    let mut notes = vec![Note::Instant { ts, first, last }];
    if dropped > 0 {
        notes.push(Note::Dropped(dropped));
    }
    // What was read before is shown, if anything was.
    let is_carried =
        |it: &RecordedProcess| !options.exact && it.last_reading(Metric::Pss).is_some();
    if let Some(nearest) = nearest_pss
        && options.by != By::System
        && !instant.processes.iter().any(is_carried)
    {
        notes.push(Note::PssReadAt { nearest, first });
    }
    notes
}
