//! Removes old recordings: whole closed ones only, oldest first.

use std::path::Path;
use std::{fs, io};

use jiff::Timestamp;
use rustix::fs::{Mode, OFlags};

use super::limits::Retention;
use super::log;
use super::runs::RunsDirectory;

/// Removes what is older, more or larger than is to be kept, and returns how many recordings that was.
pub(super) fn remove_old(runs: &RunsDirectory, retention: &Retention) -> u64 {
    if *retention == Retention::default() {
        return 0;
    }
    let names = match runs.names() {
        Ok(names) => names,
        Err(error) => {
            log::error(format_args!("cannot list the recordings to remove old ones: {error}"));
            return 0;
        }
    };
    let mut closed: Vec<(Timestamp, u64, String)> = (names.iter())
        .filter_map(|name| runs.run(name).ok())
        .filter(|run| run.is_closed())
        .map(|run| {
            let ended = run.manifest.last_tick.unwrap_or(run.manifest.provenance.started);
            (ended, run.bytes(), run.id)
        })
        .collect();
    closed.sort();
    let count = surplus(&closed, retention, Timestamp::now());
    let mut removed = 0;
    for (_, _, id) in closed.iter().take(count) {
        match remove(&runs.path().join(id)) {
            Ok(()) => {
                log::info(format_args!("removed the recording `{id}`, as `daemon.retention` says"));
                removed += 1;
            }
            Err(error) => log::warning(format_args!("cannot remove the recording `{id}`: {error}")),
        }
    }
    removed
}

/// Removes a recording, which may have been given to its owner: without CAP_DAC_OVERRIDE root removes
/// nothing from a directory of somebody else.
fn remove(run: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::open(run, flags, Mode::empty())?;
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    if rustix::fs::fstat(&directory)?.st_uid != uid.as_raw() {
        rustix::fs::fchown(&directory, Some(uid), Some(gid))?;
    }
    fs::remove_dir_all(run)
}

/// Returns how many of the oldest are to be removed.
fn surplus(closed: &[(Timestamp, u64, String)], retention: &Retention, now: Timestamp) -> usize {
    let too_old = closed
        .iter()
        .take_while(|(ended, _, _)| {
            let age = now.duration_since(*ended).unsigned_abs();
            // Of the future, as after a step of the clock, is not old.
            *ended < now && retention.age.is_some_and(|limit| age > limit)
        })
        .count();
    let too_many = retention.count.map_or(0, |count| closed.len().saturating_sub(count));
    let mut bytes: u64 = closed.iter().map(|(_, bytes, _)| bytes).sum();
    let too_large = closed
        .iter()
        .take_while(|(_, of_run, _)| {
            let exceeded = retention.bytes.is_some_and(|limit| bytes > limit);
            bytes -= of_run;
            exceeded
        })
        .count();
    too_old.max(too_many).max(too_large)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_oldest_go_first_whatever_limit_is_narrowest() {
        let at = |hour: i64| Timestamp::from_second(hour * 3600).unwrap();
        let closed: Vec<_> = (0..5).map(|hour| (at(hour), 100, hour.to_string())).collect();
        let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
        let cases = [
            (Retention::default(), 0),
            (Retention { age: hours(3), ..Retention::default() }, 2),
            (Retention { count: Some(4), ..Retention::default() }, 1),
            (Retention { bytes: Some(300), ..Retention::default() }, 2),
            (Retention { bytes: Some(299), ..Retention::default() }, 3),
            (Retention { bytes: Some(0), ..Retention::default() }, 5),
            (Retention { age: hours(3), count: Some(1), bytes: Some(400) }, 4),
        ];
        for (retention, expected) in cases {
            assert_eq!(surplus(&closed, &retention, at(5)), expected, "{retention:?}");
        }
        // The clock was set back.
        let by_age = Retention { age: hours(0), ..Retention::default() };
        assert_eq!(surplus(&closed, &by_age, at(0)), 0);
    }
}
