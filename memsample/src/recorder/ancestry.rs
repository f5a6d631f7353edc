//! Who descends from whom, also where the processes between were never sampled or have ended.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::lineage::Inherited;
use super::scopes::{SWEEPS_AFTER, Scopes, TestName, Trees};
use crate::identity::Identity;
use crate::slot::Slot;
use crate::slot_map::SlotMap;
use crate::units::ClockTicks;

/// Members of trees that have ended and whose children may still be found, at most. A child is found
/// one sweep after its parent has ended, or its exit record two.
const MAX_DEPARTED: usize = 4096;
/// Generations between a process and the ancestor that is looked for. What is deeper is not found.
pub(super) const MAX_DEPTH: usize = 4096;

/// A process image that is alive.
pub(super) struct Member {
    pub(super) identity: Arc<Identity>,
    /// `None` until it is settled.
    pub(super) has: Option<Inherited>,
    pub(super) test: Option<TestName>,
}

/// A member of trees that has ended.
pub(super) struct Departed {
    identity: Arc<Identity>,
    pub(super) has: Inherited,
}

impl Departed {
    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }
}

/// A process that was never sampled and has ended.
pub(super) struct Unsampled {
    identity: Arc<Identity>,
    /// The ancestors behind its parent that were not sampled, the nearest first.
    ancestors: Vec<i32>,
    /// Sweeps since its record came.
    sweeps: u32,
}

/// The process images that are alive, and those that ended a moment ago.
#[derive(Default)]
pub(super) struct Ancestry {
    pub(super) members: SlotMap<Member>,
    by_pid: HashMap<i32, Slot>,
    departed: VecDeque<Departed>,
    /// Processes that were never sampled and have ended, by pid: what they forked is of their trees.
    pub(super) unsampled: HashMap<i32, Unsampled>,
}

impl Ancestry {
    /// Adds an image, and returns whether there was room.
    pub(super) fn begin(&mut self, slot: Slot, identity: &Arc<Identity>) -> bool {
        let member = Member { identity: Arc::clone(identity), has: None, test: None };
        let added = self.members.insert(slot, member).is_some();
        if added {
            self.by_pid.insert(identity.pid, slot);
        }
        added
    }

    /// Removes an image that has ended.
    pub(super) fn end(&mut self, slot: Slot) -> Option<Member> {
        let member = self.members.remove(slot)?;
        if self.by_pid.get(&member.identity.pid) == Some(&slot) {
            self.by_pid.remove(&member.identity.pid);
        }
        Some(member)
    }

    /// Remembers an image that has ended, for its children and the image after an exec.
    pub(super) fn remember(&mut self, identity: Arc<Identity>, has: Inherited) {
        if self.departed.len() >= MAX_DEPARTED {
            self.departed.pop_front();
        }
        self.departed.push_back(Departed { identity, has });
    }

    /// Remembers a process that has ended and was never sampled.
    pub(super) fn note_unsampled(&mut self, identity: &Arc<Identity>, ancestors: &[i32]) {
        if self.unsampled.len() < MAX_DEPARTED {
            let (identity, ancestors) = (Arc::clone(identity), ancestors.to_vec());
            self.unsampled.insert(identity.pid, Unsampled { identity, ancestors, sweeps: 0 });
        }
    }

    /// Forgets who was never sampled after a few sweeps.
    pub(super) fn end_sweep(&mut self) {
        self.unsampled.retain(|_, unsampled| {
            unsampled.sweeps += 1;
            unsampled.sweeps < SWEEPS_AFTER
        });
    }

    /// Returns the slots of all images.
    pub(super) fn slots(&self) -> Vec<Slot> {
        self.members.iter().map(|(slot, _)| slot).collect()
    }

    /// Returns the image that has a pid now.
    pub(super) fn of_pid(&self, pid: i32) -> Option<&Member> {
        self.members.get(self.slot_of(pid)?)
    }

    /// Returns the parent of a process, if it lives.
    pub(super) fn living_parent(&self, of: &Identity) -> Option<&Member> {
        self.members.get(self.parent(of)?)
    }

    /// Returns the image that a process has now.
    pub(super) fn slot_of(&self, pid: i32) -> Option<Slot> {
        self.by_pid.get(&pid).copied()
    }

    /// Returns the image of the parent of a process, if it lives.
    pub(super) fn parent(&self, of: &Identity) -> Option<Slot> {
        let slot = *self.by_pid.get(&of.ppid).filter(|_| of.ppid != of.pid)?;
        // Who began later has only got the pid of the parent.
        (self.members.get(slot)?.identity.start <= of.start).then_some(slot)
    }

    /// Returns whether an image is another or descends from it, by parents that live.
    pub(super) fn descends(&self, slot: Slot, from: Slot) -> bool {
        let mut at = Some(slot);
        for _ in 0..MAX_DEPTH {
            match at {
                Some(slot) if slot == from => return true,
                Some(slot) => {
                    at = self.members.get(slot).and_then(|member| self.parent(&member.identity));
                }
                None => return false,
            }
        }
        false
    }

    /// Returns the image that an exec has ended.
    pub(super) fn image_before(&self, identity: &Identity) -> Option<&Departed> {
        let same = |ended: &&Departed| {
            (ended.identity.pid, ended.identity.start) == (identity.pid, identity.start)
        };
        self.departed.iter().rev().find(same).filter(|_| identity.exec > 0)
    }

    /// Returns the parent of a process that began at `child_start`, if it has ended.
    pub(super) fn departed(&self, pid: i32, child_start: ClockTicks) -> Option<&Departed> {
        let is_parent =
            |ended: &&Departed| ended.identity.pid == pid && ended.identity.start <= child_start;
        self.departed.iter().rev().find(is_parent)
    }

    fn unsampled(&self, pid: i32, child_start: ClockTicks) -> Option<&Unsampled> {
        self.unsampled.get(&pid).filter(|it| it.identity.start <= child_start)
    }

    /// Returns the nearest ancestor that is there, where all between were never sampled and none of
    /// them is the root of a tree.
    pub(super) fn living_ancestor(&self, identity: &Identity, scopes: &Scopes) -> Option<Slot> {
        let (mut pid, mut start) = (identity.ppid, identity.start);
        for _ in 0..MAX_DEPTH {
            if self.departed(pid, start).is_some() || scopes.roots(pid, start).next().is_some() {
                return None;
            }
            let unsampled = &self.unsampled(pid, start)?.identity;
            if let Some(slot) = self.parent(unsampled) {
                return Some(slot);
            }
            (pid, start) = (unsampled.ppid, unsampled.start);
        }
        None
    }

    /// Returns what a child inherits whose parent is not there any more, or never was seen; `None` where nothing is
    /// known of that. `ancestors` are the ancestors behind it, as far as they are known.
    pub(super) fn of_departed_parent(
        &self,
        ppid: i32,
        child_start: ClockTicks,
        ancestors: &[i32],
        scopes: &Scopes,
    ) -> Option<Inherited> {
        let (mut trees, mut inside) = (Vec::new(), false);
        let (mut unknown_since_ns, mut is_known) = (None, false);
        let (mut pid, mut start) = (ppid, child_start);
        let mut ancestors = ancestors.iter();
        for _ in 0..MAX_DEPTH {
            if let Some(parent) = self.departed(pid, start) {
                trees.extend_from_slice(&parent.has.trees);
                inside |= parent.has.inside;
                (unknown_since_ns, is_known) = (parent.has.unknown_since_ns, true);
                break;
            }
            for root in scopes.roots(pid, start) {
                is_known = true;
                trees.extend(root);
                inside |= root.is_none();
            }
            let unsampled = self.unsampled(pid, start);
            pid = match (ancestors.next(), unsampled) {
                (Some(&pid), _) => pid,
                (None, Some(unsampled)) => {
                    ancestors = unsampled.ancestors.iter();
                    unsampled.identity.ppid
                }
                (None, None) => break,
            };
            start = unsampled.map_or(start, |it| it.identity.start);
            let member = self.by_pid.get(&pid).and_then(|&slot| self.members.get(slot));
            if let Some(member) = member.filter(|member| member.identity.start <= start) {
                is_known = true;
                if let Some(has) = &member.has {
                    trees.extend_from_slice(&has.trees);
                    inside |= has.inside;
                    unknown_since_ns = has.unknown_since_ns;
                }
                break;
            }
        }
        let joined = Trees::default();
        is_known.then(|| Inherited { trees: trees.into(), joined, inside, unknown_since_ns })
    }
}
