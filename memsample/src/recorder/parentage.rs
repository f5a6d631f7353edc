//! Which process image the parent of a process image is, also where it ended a moment ago.

use std::collections::HashMap;

use crate::identity::{Identity, ProcessId};
use crate::units::ClockTicks;

/// Ticks of the recording for which an image that ended is remembered. A child is found one sweep after its parent has
/// ended, or its exit record two.
const TICKS_AFTER: u64 = 8;

/// The present image of each process, and the last one of those that ended a moment ago.
#[derive(Default)]
pub(super) struct Parentage {
    images: HashMap<i32, Known>,
    /// Ticks of the recording so far.
    ticks: u64,
}

/// What is known of the image of a process.
struct Known {
    process: ProcessId,
    start: ClockTicks,
    /// The image of the parent, once the image or one before it is in the recording.
    parent: Option<ProcessId>,
    is_recorded: bool,
    /// The tick before which it ended.
    ended: Option<u64>,
}

impl Parentage {
    /// An image was found. An exec does not change the parent.
    pub(super) fn begin(&mut self, identity: &Identity) {
        let Identity { process, pid, start, .. } = *identity;
        let before = self.images.get(&pid).filter(|before| before.start == start);
        let parent = before.and_then(|before| before.parent);
        let known = Known { process, start, parent, is_recorded: false, ended: None };
        self.images.insert(pid, known);
    }

    /// An image has ended.
    pub(super) fn end(&mut self, identity: &Identity) {
        let ticks = self.ticks;
        if let Some(known) = self.of(identity) {
            known.ended = Some(ticks);
        }
    }

    /// A process has ended that was never sampled.
    pub(super) fn note_unsampled(&mut self, identity: &Identity) {
        if self.of(identity).is_none() {
            self.begin(identity);
        }
        self.end(identity);
    }

    /// The image is in the recording, so that its children may refer to it.
    pub(super) fn record(&mut self, identity: &Identity) {
        if let Some(known) = self.of(identity) {
            known.is_recorded = true;
        }
    }

    /// Returns the image of the parent of an image; `None` where that is not in the recording.
    pub(super) fn parent_of(&mut self, identity: &Identity) -> Option<ProcessId> {
        let Identity { pid, ppid, start, .. } = *identity;
        let parent = self.images.get(&ppid).filter(|parent| {
            // Who began later has only got the pid of the parent.
            parent.is_recorded && ppid != pid && parent.start <= start
        });
        let found = parent.map(|parent| parent.process);
        let Some(known) = self.of(identity) else { return found };
        known.parent = known.parent.or(found);
        known.parent
    }

    /// A tick of the recording is over.
    pub(super) fn end_tick(&mut self) {
        self.ticks += 1;
        let ticks = self.ticks;
        self.images.retain(|_, known| known.ended.is_none_or(|ended| ticks - ended <= TICKS_AFTER));
    }

    fn of(&mut self, identity: &Identity) -> Option<&mut Known> {
        let known = self.images.get_mut(&identity.pid);
        known.filter(|known| known.process == identity.process)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(process: u64, pid: i32, ppid: i32, start: u64, exec: u32) -> Identity {
        Identity { ppid, exec, start: ClockTicks(start), ..Identity::of(process, pid) }
    }

    #[test]
    fn a_parent_is_an_image_of_the_recording_and_outlives_an_exec() {
        let mut parentage = Parentage::default();
        let shell = identity(1, 10, 1, 5, 0);
        let child = identity(2, 11, 10, 7, 0);
        parentage.begin(&shell);
        parentage.begin(&child);
        // The shell is outside of the target as yet.
        assert_eq!(parentage.parent_of(&child), None);
        parentage.record(&shell);
        assert_eq!(parentage.parent_of(&child), Some(ProcessId(1)));
        // Both execute another program: who forked the child stays the same.
        parentage.end(&shell);
        let exec = identity(3, 10, 1, 5, 1);
        parentage.begin(&exec);
        parentage.record(&exec);
        parentage.end(&child);
        let program = identity(4, 11, 10, 7, 1);
        parentage.begin(&program);
        assert_eq!(parentage.parent_of(&program), Some(ProcessId(1)));
        assert_eq!(parentage.parent_of(&identity(5, 12, 10, 9, 0)), Some(ProcessId(3)));
    }

    #[test]
    fn a_pid_that_is_used_again_is_no_parent_and_what_ended_is_forgotten() {
        let mut parentage = Parentage::default();
        let brief = identity(1, 10, 1, 5, 0);
        parentage.note_unsampled(&brief);
        parentage.record(&brief);
        let child = identity(2, 11, 10, 5, 0);
        assert_eq!(parentage.parent_of(&child), Some(ProcessId(1)));
        (0..=TICKS_AFTER).for_each(|_| parentage.end_tick());
        assert_eq!(parentage.parent_of(&child), None);
        let later = identity(3, 10, 1, 6, 0);
        parentage.begin(&later);
        parentage.record(&later);
        assert_eq!(parentage.parent_of(&child), None);
        // A process with itself as parent, as a copy of /proc may have it.
        let own = identity(4, 12, 12, 6, 0);
        parentage.begin(&own);
        parentage.record(&own);
        assert_eq!(parentage.parent_of(&own), None);
    }
}
