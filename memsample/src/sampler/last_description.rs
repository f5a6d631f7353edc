//! When it was last read what a process is, apart from its numbers, and how it was then.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::identity::Comm;

/// Who has just begun may not have moved, or given itself a title, yet.
const MIN_AGE_NS: u64 = 500_000_000;
/// The control group is read again after this time if the memory of the process has changed since: it runs.
const GROUP_NS: u64 = 900_000_000;
/// The control group is read again after this time in any case, since others can move a process; and the arguments, which
/// are in the memory of the process, if that has changed.
const SELDOM_NS: u64 = 10_000_000_000;

/// The last reading of what a process is, apart from its numbers.
#[derive(Clone, Copy, Default)]
pub(super) struct LastDescription {
    /// When the control group was read; 0: not since the image began.
    group_boot_ns: u64,
    /// When the arguments were read; 0: not since the image began, or since something else changed.
    arguments_boot_ns: u64,
    /// What tells whether the process has run since.
    rss_bytes: u64,
    minflt: u64,
    /// Of the name and the arguments that the role was made of; 0 before the first time.
    arguments_hash: u64,
}

/// What is to be read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DueDescription {
    Group,
    /// And the arguments.
    All,
}

impl LastDescription {
    /// That of an image that begins.
    pub(super) fn of_beginning(arguments_hash: u64) -> Self {
        Self { arguments_hash, ..Self::default() }
    }

    /// Returns what is to be read again of an image that began at `image_boot_ns` and has these numbers now.
    pub(super) fn due(
        &self,
        now_ns: u64,
        image_boot_ns: u64,
        rss_bytes: u64,
        minflt: u64,
    ) -> Option<DueDescription> {
        if now_ns.saturating_sub(image_boot_ns) < MIN_AGE_NS {
            return None;
        }
        let has_run = (self.rss_bytes, self.minflt) != (rss_bytes, minflt);
        let group_age_ns = now_ns.saturating_sub(self.group_boot_ns);
        let arguments_age_ns = now_ns.saturating_sub(self.arguments_boot_ns);
        if self.arguments_boot_ns == 0 || (has_run && arguments_age_ns >= SELDOM_NS) {
            Some(DueDescription::All)
        } else if group_age_ns >= SELDOM_NS || (has_run && group_age_ns >= GROUP_NS) {
            Some(DueDescription::Group)
        } else {
            None
        }
    }

    /// Notes a reading, of a process with these numbers.
    pub(super) fn note(&mut self, due: DueDescription, now_ns: u64, rss_bytes: u64, minflt: u64) {
        self.group_boot_ns = now_ns;
        if due == DueDescription::All {
            self.arguments_boot_ns = now_ns;
        }
        (self.rss_bytes, self.minflt) = (rss_bytes, minflt);
    }

    /// Lets all be read at the next opportunity.
    pub(super) fn forget(&mut self) {
        self.arguments_boot_ns = 0;
    }

    /// Notes the [`arguments_hash`] of a name and arguments, and returns whether they are others than those that were noted
    /// before.
    pub(super) fn note_arguments(&mut self, hash: u64) -> bool {
        std::mem::replace(&mut self.arguments_hash, hash) != hash
    }

    /// Forgets of what the role was made, since something else that it depends on has changed.
    pub(super) fn forget_arguments(&mut self) {
        (self.arguments_hash, self.arguments_boot_ns) = (0, 0);
    }
}

/// Returns a number that tells a name and arguments from others; never 0.
pub(super) fn arguments_hash(comm: &Comm, arguments: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (comm.as_bytes(), arguments).hash(&mut hasher);
    hasher.finish().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn who_runs_is_looked_at_each_second_and_who_does_not_now_and_then() {
        let mut last = LastDescription::default();
        let due = |last: &LastDescription, now_ns, rss| last.due(now_ns, 100 * SECOND, rss, 5);
        assert_eq!(due(&last, 100 * SECOND + 1, 7), None);
        assert_eq!(due(&last, 101 * SECOND, 7), Some(DueDescription::All));
        last.note(DueDescription::All, 101 * SECOND, 7, 5);
        assert_eq!(due(&last, 109 * SECOND, 7), None);
        assert_eq!(due(&last, 102 * SECOND, 8), Some(DueDescription::Group));
        assert_eq!(due(&last, 111 * SECOND, 7), Some(DueDescription::Group));
        assert_eq!(due(&last, 111 * SECOND, 8), Some(DueDescription::All));
        last.note(DueDescription::Group, 111 * SECOND, 8, 5);
        assert_eq!(due(&last, 112 * SECOND, 9), Some(DueDescription::All));
        last.note(DueDescription::All, 112 * SECOND, 9, 5);
        last.forget();
        assert_eq!(due(&last, 112 * SECOND, 9), Some(DueDescription::All));
    }

    #[test]
    fn a_name_and_arguments_are_told_once() {
        let mut last = LastDescription::of_beginning(arguments_hash(&Comm::new(b"one"), b"a"));
        let mut is_news =
            |comm: &Comm, arguments: &[u8]| last.note_arguments(arguments_hash(comm, arguments));
        let (one, two) = (Comm::new(b"one"), Comm::new(b"two"));
        assert!(!is_news(&one, b"a"));
        assert!(is_news(&one, b"a\0b"));
        assert!(!is_news(&one, b"a\0b"));
        assert!(is_news(&two, b"a\0b"));
        assert!(is_news(&two, b"a\0c"));
        last.forget_arguments();
        assert!(last.note_arguments(arguments_hash(&two, b"a\0c")));
    }
}
