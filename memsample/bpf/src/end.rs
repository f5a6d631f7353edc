//! What a process had resident when it ended.

/// Words of a record, as in `program/ended.bpf.c`.
pub(crate) const WORDS: usize = 10;

/// A process that ended, as it was before it let go of its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// How many processes had ended before it since the program was loaded. A number that never comes is of one for which
    /// there was no room.
    pub number: u64,
    /// Its number in the first pid namespace.
    pub pid: u32,
    /// Whether the counters are of one instant: nobody changed them meanwhile.
    pub is_of_one_instant: bool,
    /// When it began, in nanoseconds since boot.
    pub start_ns: u64,
    /// How long it lived, in nanoseconds, without the time that the machine was suspended.
    pub lived_ns: u64,
    /// `rss_stat`: resident pages of files, with the part of every CPU.
    pub file_pages: u64,
    /// The same of anonymous memory.
    pub anon_pages: u64,
    /// The same of shared memory.
    pub shmem_pages: u64,
    /// `mm->hiwater_rss`: the most that was resident when memory was given back, but for what the CPUs had not yet added
    /// up; 0 where none was.
    pub hiwater_rss_pages: u64,
    /// `signal->maxrss`: the largest mark of all images of the process, and what a fork or vfork began with.
    pub maxrss_pages: u64,
}

impl End {
    pub(crate) fn from_words(words: [u64; WORDS]) -> Self {
        let [number, pid_and_state, start_ns, lived_ns, file, anon, _, shmem, hiwater, maxrss] =
            words;
        let [low, high] = halves(pid_and_state);
        // The kernel counts with a sign, and a sum that was read in a moment of change may be below 0.
        let pages = |counted: u64| u64::try_from(counted as i64).unwrap_or(0);
        Self {
            number,
            pid: low,
            is_of_one_instant: high != 0,
            start_ns,
            lived_ns,
            file_pages: pages(file),
            anon_pages: pages(anon),
            shmem_pages: pages(shmem),
            hiwater_rss_pages: hiwater,
            maxrss_pages: maxrss,
        }
    }

    /// Returns the resident pages: of files, anonymous and shared.
    #[must_use]
    pub fn resident_pages(&self) -> u64 {
        self.file_pages.saturating_add(self.anon_pages).saturating_add(self.shmem_pages)
    }
}

/// Two numbers that the kernel wrote one after the other.
fn halves(word: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = word.to_ne_bytes();
    [u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h])]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_where_the_program_writes_them() {
        let state = u64::from_ne_bytes([7, 0, 0, 0, 1, 0, 0, 0]);
        let below = u64::MAX;
        let end = End::from_words([5, state, 30, 40, 1, 2, 99, below, 8, 9]);
        let expected = End {
            number: 5,
            pid: 7,
            is_of_one_instant: true,
            start_ns: 30,
            lived_ns: 40,
            file_pages: 1,
            anon_pages: 2,
            shmem_pages: 0,
            hiwater_rss_pages: 8,
            maxrss_pages: 9,
        };
        assert_eq!((end, end.resident_pages()), (expected, 3));
    }
}
