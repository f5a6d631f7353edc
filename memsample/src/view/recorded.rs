//! The processes of a recording at an instant.

use jiff::{SignedDuration, Timestamp};

use super::by::By;
use super::error::ViewError;
use super::note::Note;
use super::options::{At, ViewOptions};
use super::population::Population;
use super::process::Process;
use super::user_names::UserNames;
use crate::metric::Metric;
use crate::recording::{InstantError, RecordedInstant, Recording};

/// Reads the processes that match at the last tick that is not later than `at`, by default the last of all.
pub(super) fn read(
    recording: &Recording,
    at: Option<At>,
    options: &ViewOptions,
    user_name: &dyn Fn(u32) -> Option<String>,
) -> Result<Population, ViewError> {
    let range = recording.first_and_last_tick().map_err(InstantError::Io)?;
    let (first, last) = range.ok_or(InstantError::Empty)?;
    let instant = recording.instant(time_of(at, first, last)?)?;
    let mut notes = notes(&instant, options.by != By::System);
    let RecordedInstant { processes, meminfo, known_pss, .. } = instant;
    let mut users = UserNames::new(user_name);
    let matching = processes
        .into_iter()
        .filter(|process| options.matches(process.uid, &process.comm, process.cmdline.as_deref()));
    let processes: Vec<_> = matching
        .map(|process| Process {
            pid: process.pid,
            ppid: process.ppid,
            uid: process.uid,
            user: process.uid.map(|uid| users.get(uid)),
            metrics: Metric::ALL.map(|metric| process.get(metric)),
            role: process.role,
            comm: process.comm,
            command: process.cmdline,
            cgroup: process.cgroup,
            maps: None,
        })
        .collect();
    if options.is_filtered() && processes.is_empty() {
        notes.push(Note::NoMatch);
    }
    Ok(Population { processes, meminfo, known_pss, notes })
}

fn time_of(at: Option<At>, first: Timestamp, last: Timestamp) -> Result<Timestamp, ViewError> {
    match at {
        None => Ok(last),
        Some(At::Time(time)) => Ok(time),
        Some(At::Offset(offset)) => {
            let offset = SignedDuration::try_from(offset).ok();
            let time = offset.and_then(|offset| first.checked_add(offset).ok());
            time.ok_or(ViewError::OffsetTooLong)
        }
    }
}

/// Describes which instant this is and what is missing of it.
fn notes(instant: &RecordedInstant, shows_pss: bool) -> Vec<Note> {
    let &RecordedInstant { ts, first, last, dropped, nearest_pss, .. } = instant;
    let mut notes = vec![Note::Instant { ts, first, last }];
    if dropped > 0 {
        notes.push(Note::Dropped(dropped));
    }
    let has_pss = instant.processes.iter().any(|process| process.get(Metric::Pss).is_some());
    if let Some(nearest) = nearest_pss.filter(|_| shows_pss && !has_pss) {
        notes.push(Note::PssReadAt { nearest, first });
    }
    notes
}
