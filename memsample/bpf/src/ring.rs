//! Reads the records in a ring buffer of the kernel, in the order in which room was made for them.

/// While the kernel, or a program in it, writes the record.
const IS_BUSY: u32 = 1 << 31;
/// Who made room for the record gave it up.
const IS_DISCARDED: u32 = 1 << 30;
/// Of the head of a record.
const HEADER_BYTES: u64 = 8;

/// The memory of a ring buffer. Positions only grow; a place is a position without its multiples of the room.
pub(crate) trait Ring {
    /// How many bytes of records it has room for.
    fn room_bytes(&self) -> u64;
    /// Up to where the reader has read.
    fn consumed(&self) -> u64;
    /// Gives the room up to a position back to the kernel.
    fn set_consumed(&self, position: u64);
    /// Up to where the kernel has made room for records.
    fn produced(&self) -> u64;
    /// The length of a record in bytes, and what state it is in.
    fn header(&self, position: u64) -> u32;
    /// A word of a record.
    fn word(&self, position: u64) -> u64;
}

/// Passes on the first words of each record that is whole, and gives its room back. A shorter record is passed over.
pub(crate) fn drain<const WORDS: usize>(ring: &impl Ring, mut each: impl FnMut([u64; WORDS])) {
    let mut at = ring.consumed();
    let end = ring.produced();
    // No kernel does so: what is there cannot be told apart.
    if end.wrapping_sub(at) > ring.room_bytes() {
        ring.set_consumed(end);
        return;
    }
    while at < end {
        let header = ring.header(at);
        if header & IS_BUSY != 0 {
            return;
        }
        let bytes = u64::from(header & !(IS_BUSY | IS_DISCARDED));
        let first = at.saturating_add(HEADER_BYTES);
        if header & IS_DISCARDED == 0 && bytes >= (WORDS * size_of::<u64>()) as u64 {
            each(std::array::from_fn(|word| {
                ring.word(first.saturating_add((word * size_of::<u64>()) as u64))
            }));
        }
        at = end.min(first.saturating_add(bytes.next_multiple_of(size_of::<u64>() as u64)));
        ring.set_consumed(at);
    }
}

/// A ring in plain memory: what a fuzzer or a test makes up.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) struct PlainRing {
    pub(crate) words: Vec<u64>,
    pub(crate) consumed: std::cell::Cell<u64>,
    pub(crate) produced: u64,
}

#[cfg(any(test, feature = "fuzzing"))]
impl Ring for PlainRing {
    fn room_bytes(&self) -> u64 {
        (self.words.len() * size_of::<u64>()) as u64
    }

    fn consumed(&self) -> u64 {
        self.consumed.get()
    }

    fn set_consumed(&self, position: u64) {
        self.consumed.set(position);
    }

    fn produced(&self) -> u64 {
        self.produced
    }

    fn header(&self, position: u64) -> u32 {
        let [a, b, c, d, ..] = self.word(position).to_ne_bytes();
        u32::from_ne_bytes([a, b, c, d])
    }

    fn word(&self, position: u64) -> u64 {
        let index = position as usize / size_of::<u64>() % self.words.len().max(1);
        self.words.get(index).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(words: Vec<u64>, consumed: u64, produced: u64) -> PlainRing {
        PlainRing { words, consumed: consumed.into(), produced }
    }

    fn drained(ring: &PlainRing) -> Vec<[u64; 2]> {
        let mut records = Vec::new();
        drain(ring, |record| records.push(record));
        records
    }

    fn header(bytes: u32) -> u64 {
        let [a, b, c, d] = bytes.to_ne_bytes();
        u64::from_ne_bytes([a, b, c, d, 9, 9, 9, 9])
    }

    #[test]
    fn records_are_read_in_order_up_to_one_that_is_being_written() {
        let words = vec![header(16), 1, 2, header(17), 3, 4, 5, header(16 | IS_BUSY), 6, 7];
        let ring = ring(words, 0, 80);
        assert_eq!(drained(&ring), [[1, 2], [3, 4]]);
        assert_eq!(ring.consumed(), 56);
        assert_eq!(drained(&ring), [[0; 2]; 0]);
    }

    #[test]
    fn one_that_was_given_up_or_is_too_short_is_passed_over() {
        let words = vec![header(16 | IS_DISCARDED), 1, 2, header(8), 3, header(16), 4, 5];
        let ring = ring(words, 0, 64);
        assert_eq!(drained(&ring), [[4, 5]]);
        assert_eq!(ring.consumed(), 64);
    }

    #[test]
    fn a_record_goes_on_at_the_begin_of_the_room() {
        let ring = ring(vec![1, 2, 0, header(16)], 24 + 32, 48 + 32);
        assert_eq!(drained(&ring), [[1, 2]]);
        assert_eq!(ring.consumed(), 80);
    }

    #[test]
    fn positions_that_no_kernel_has_end_the_reading() {
        let ring = ring(vec![header(16); 4], 0, 33);
        assert_eq!(drained(&ring), [[0; 2]; 0]);
        assert_eq!(ring.consumed(), 33);
    }
}
