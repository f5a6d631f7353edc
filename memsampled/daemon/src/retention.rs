//! Removes old recordings: whole closed ones only, oldest first.

use std::sync::TryLockError;
use std::sync::atomic::Ordering;

use jiff::Timestamp;

use super::recordings::{OldRecording, RecordingsDirectory};
use memsample_config::Retention;

/// Removes what is older, more or larger than is to be kept, and returns how many recordings that was.
///
/// While another removal runs it returns at once, and the other one repeats its work: requests that wait for it
/// would take the threads of all others.
pub(super) fn remove_old(recordings: &RecordingsDirectory, retention: &Retention) -> u64 {
    recordings.remove_again.store(true, Ordering::SeqCst);
    let mut removed = 0;
    while recordings.remove_again.load(Ordering::SeqCst) {
        let _lock = match recordings.removing.try_lock() {
            Ok(lock) => lock,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => break,
        };
        recordings.remove_again.store(false, Ordering::SeqCst);
        removed += remove_once(recordings, retention);
    }
    removed
}

fn remove_once(recordings: &RecordingsDirectory, retention: &Retention) -> u64 {
    recordings.finish_removals();
    if *retention == Retention::default() {
        return 0;
    }
    let names = match recordings.names() {
        Ok(names) => names,
        Err(error) => {
            tracing::error!("cannot list the recordings to remove old ones: {error}");
            return 0;
        }
    };
    let mut closed: Vec<OldRecording> =
        names.iter().filter_map(|name| recordings.old_recording(name)).collect();
    closed.sort();
    let count = surplus(&closed, retention, Timestamp::now());
    let mut removed = 0;
    for OldRecording { id, .. } in closed.iter().take(count) {
        match recordings.remove(id) {
            Ok(()) => {
                tracing::info!("removed the recording `{id}`, as `daemon.retention` says");
                removed += 1;
            }
            Err(error) => tracing::warn!("cannot remove the recording `{id}`: {error}"),
        }
    }
    removed
}

/// Returns how many of the oldest are to be removed.
fn surplus(closed: &[OldRecording], retention: &Retention, now: Timestamp) -> usize {
    let too_old = closed
        .iter()
        .take_while(|recording| {
            let age = now.duration_since(recording.ended).unsigned_abs();
            // Of the future, as after a step of the clock, is not old.
            recording.ended < now && retention.age.is_some_and(|limit| age > limit)
        })
        .count();
    let too_many = retention.count.map_or(0, |count| closed.len().saturating_sub(count));
    let mut bytes: u64 = closed.iter().map(|recording| recording.bytes).sum();
    let too_large = closed
        .iter()
        .take_while(|recording| {
            let exceeded = retention.bytes.is_some_and(|limit| bytes > limit);
            bytes -= recording.bytes;
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
        let closed: Vec<_> = (0..5)
            .map(|hour| OldRecording { ended: at(hour), bytes: 100, id: hour.to_string() })
            .collect();
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
