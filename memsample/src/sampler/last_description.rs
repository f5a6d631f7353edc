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
/// The control group is read again after this time where rows show that it has not changed, should they be wrong.
const SHOWN_NS: u64 = 60_000_000_000;

/// The last reading of what a process is, apart from its numbers.
#[derive(Clone, Copy, Default)]
pub(super) struct LastDescription {
    /// When the control group was read; 0: not since the image began.
    group_boot_ns: u64,
    /// When the arguments were read; 0: not since the image began, or since something else changed.
    arguments_boot_ns: u64,
    /// As they were then.
    signs: Signs,
    /// Of the name and the arguments that the role was made of; 0 before the first time.
    arguments_hash: u64,
}

/// What tells whether it is to be read again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Signs {
    /// With the page faults: whether the process has run.
    pub(super) rss_bytes: u64,
    pub(super) minflt: u64,
    /// Which control groups it is in; 0 where no row shows it.
    pub(super) groups: u32,
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

    /// Returns what is to be read again of an image that began at `image_boot_ns` and has these signs now.
    pub(super) fn due(
        &self,
        now_ns: u64,
        image_boot_ns: u64,
        now: &Signs,
    ) -> Option<DueDescription> {
        if now_ns.saturating_sub(image_boot_ns) < MIN_AGE_NS {
            return None;
        }
        let then = &self.signs;
        let has_run = (then.rss_bytes, then.minflt) != (now.rss_bytes, now.minflt);
        let group_age_ns = now_ns.saturating_sub(self.group_boot_ns);
        let arguments_age_ns = now_ns.saturating_sub(self.arguments_boot_ns);
        if self.arguments_boot_ns == 0 || (has_run && arguments_age_ns >= SELDOM_NS) {
            return Some(DueDescription::All);
        }
        let is_group_due = match (then.groups, now.groups) {
            (then, now) if then != 0 && now != 0 => then != now || group_age_ns >= SHOWN_NS,
            _ => group_age_ns >= SELDOM_NS || (has_run && group_age_ns >= GROUP_NS),
        };
        is_group_due.then_some(DueDescription::Group)
    }

    /// Notes a reading, of a process with these signs.
    pub(super) fn note(&mut self, due: DueDescription, now_ns: u64, signs: Signs) {
        self.group_boot_ns = now_ns;
        if due == DueDescription::All {
            self.arguments_boot_ns = now_ns;
        }
        self.signs = signs;
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
        let signs = |rss_bytes| Signs { rss_bytes, minflt: 5, groups: 0 };
        let due = |last: &LastDescription, now_ns, rss_bytes| {
            last.due(now_ns, 100 * SECOND, &signs(rss_bytes))
        };
        assert_eq!(due(&last, 100 * SECOND + 1, 7), None);
        assert_eq!(due(&last, 101 * SECOND, 7), Some(DueDescription::All));
        last.note(DueDescription::All, 101 * SECOND, signs(7));
        assert_eq!(due(&last, 109 * SECOND, 7), None);
        assert_eq!(due(&last, 102 * SECOND, 8), Some(DueDescription::Group));
        assert_eq!(due(&last, 111 * SECOND, 7), Some(DueDescription::Group));
        assert_eq!(due(&last, 111 * SECOND, 8), Some(DueDescription::All));
        last.note(DueDescription::Group, 111 * SECOND, signs(8));
        assert_eq!(due(&last, 112 * SECOND, 9), Some(DueDescription::All));
        last.note(DueDescription::All, 112 * SECOND, signs(9));
        last.forget();
        assert_eq!(due(&last, 112 * SECOND, 9), Some(DueDescription::All));
    }

    #[test]
    fn the_group_is_looked_at_when_a_row_shows_another_one_and_each_minute() {
        let mut last = LastDescription::default();
        let signs = |rss_bytes, groups| Signs { rss_bytes, minflt: 5, groups };
        last.note(DueDescription::All, 101 * SECOND, signs(7, 4));
        let due = |now_ns, rss, groups| last.due(now_ns, 100 * SECOND, &signs(rss, groups));
        // Whether or not it runs.
        assert_eq!(due(102 * SECOND, 8, 4), None);
        assert_eq!(due(112 * SECOND, 7, 4), None);
        assert_eq!(due(102 * SECOND, 7, 5), Some(DueDescription::Group));
        assert_eq!(due(161 * SECOND, 7, 4), Some(DueDescription::Group));
        // The arguments may have changed where it runs.
        assert_eq!(due(112 * SECOND, 8, 4), Some(DueDescription::All));
        // Rows come no longer.
        assert_eq!(due(102 * SECOND, 8, 0), Some(DueDescription::Group));
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
