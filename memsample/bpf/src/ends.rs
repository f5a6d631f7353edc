//! The program that the kernel calls at the end of each process, and what it wrote.

use std::os::fd::{AsFd, OwnedFd};

use crate::end::End;
use crate::parts::{cpus_with_room, note_cpus};
use crate::refused::Refused;
use crate::ring::drain;
use crate::skeleton::{ENDED, Loaded};
use crate::system_call::{MappedRing, link_tracepoint};

/// Room for five thousand ends.
const ROOM_BYTES: u32 = 1 << 20;

/// A BPF program that notes what each process had resident when it ended. Dropping it unloads it.
///
/// It needs Linux 6.16: older kernels come to a task that ends when it has no memory any more.
pub struct Ends {
    ring: MappedRing,
    received: u64,
    /// One more than the largest number that was received.
    numbered: u64,
    _link: OwnedFd,
    _loaded: Loaded<2>,
}

impl Ends {
    /// Loads the program. The ends of processes are noted from then on.
    ///
    /// # Errors
    ///
    /// Why the kernel does not take it, as a clause for a person.
    pub fn load() -> Result<Self, Refused> {
        Self::with_room(ROOM_BYTES)
    }

    /// Loads the program with room for so many bytes: a power of two, and one page at least.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn with_room(room_bytes: u32) -> Result<Self, Refused> {
        let cpus = cpus_with_room()?;
        let loaded = Loaded::load(&ENDED, room_bytes).map_err(Refused::or_no_btf)?;
        let [note_cpu, note_end] = &loaded.programs;
        note_cpus(note_cpu.as_fd(), &cpus)?;
        let ring = MappedRing::map(loaded.rows.as_fd(), room_bytes as usize)
            .map_err(|error| Refused::from_call("mapping the ends of processes", &error))?;
        let link = link_tracepoint(note_end.as_fd())
            .map_err(|error| Refused::from_call("attaching to the ends of processes", &error))?;
        Ok(Self { ring, received: 0, numbered: 0, _link: link, _loaded: loaded })
    }

    /// Passes on the processes that have ended since the last call. Allocates nothing.
    pub fn drain(&mut self, mut each: impl FnMut(End)) {
        let Self { ring, received, numbered, .. } = self;
        drain(ring, |words| {
            let end = End::from_words(words);
            *received += 1;
            *numbered = (*numbered).max(end.number.saturating_add(1));
            each(end);
        });
    }

    /// Returns for how many processes there was no room, as far as an end after them shows it.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.numbered.saturating_sub(self.received)
    }
}
