//! The number that tells a recording from all others.

use jiff::Timestamp;
use uuid::{NoContext, Uuid};

/// Returns the `id` of a recording that began at `started`: 48 bits of that instant in milliseconds, and 74 random bits.
pub(crate) fn new_recording_id(started: Timestamp) -> String {
    let since = started.duration_since(Timestamp::UNIX_EPOCH);
    let seconds = u64::try_from(since.as_secs()).unwrap_or(0);
    let nanoseconds = since.subsec_nanos().unsigned_abs();
    let instant = uuid::Timestamp::from_unix(NoContext, seconds, nanoseconds);
    Uuid::new_v7(instant).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_sort_by_time() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let (one, other) =
            (new_recording_id(at(1_700_000_000)), new_recording_id(at(1_700_000_000)));
        assert_ne!(one, other);
        assert!(
            one < new_recording_id(at(1_700_000_001))
                && other < new_recording_id(at(1_700_000_001))
        );
        assert_eq!(one.len(), 36);
    }
}
