//! Numbers in Parquet's encoding `DELTA_BINARY_PACKED`. A run of equal numbers costs what its blocks cost: five bytes for
//! 128 numbers, which need not be looked at one by one.

/// Numbers in a block, and in each of its parts, which have a width of their own.
const BLOCK: usize = 128;
const PART: usize = 32;
const PARTS: usize = BLOCK / PART;

/// Encodes the numbers of a page.
pub(super) struct DeltaRuns {
    /// Whether the column has 32 bits, in which differences wrap.
    is_short: bool,
    count: u64,
    first: i64,
    last: i64,
    /// The differences that are not yet in `blocks`.
    deltas: Box<[i64; BLOCK]>,
    filled: usize,
    blocks: Vec<u8>,
}

impl DeltaRuns {
    pub(super) fn new(is_short: bool) -> Self {
        let (deltas, blocks) = (Box::new([0; BLOCK]), Vec::new());
        Self { is_short, count: 0, first: 0, last: 0, deltas, filled: 0, blocks }
    }

    /// Returns about how many bytes there are.
    pub(super) fn bytes(&self) -> usize {
        self.blocks.len()
    }

    /// Adds a number `times` times.
    pub(super) fn push(&mut self, value: i64, times: usize) {
        let Some(mut equal) = times.checked_sub(1) else { return };
        if self.count == 0 {
            self.first = value;
        } else {
            let delta = value.wrapping_sub(self.last);
            self.put(if self.is_short { i64::from(delta as i32) } else { delta }, 1);
        }
        self.last = value;
        self.count += times as u64;
        if self.filled > 0 {
            let beside = equal.min(BLOCK - self.filled);
            self.put(0, beside);
            equal -= beside;
        }
        if self.filled == 0 {
            // A block of zeros: the smallest difference, and the width of each part.
            let blocks = equal / BLOCK;
            self.blocks.resize(self.blocks.len() + blocks * (1 + PARTS), 0);
            self.put(0, equal % BLOCK);
        }
    }

    /// Adds differences for which there is room in the block.
    fn put(&mut self, delta: i64, times: usize) {
        if let Some(room) = self.deltas.get_mut(self.filled..self.filled + times) {
            room.fill(delta);
            self.filled += times;
        }
        if self.filled == BLOCK {
            self.end_block();
        }
    }

    fn end_block(&mut self) {
        let Self { is_short, deltas, filled, blocks, .. } = self;
        let deltas = deltas.get(..*filled).unwrap_or_default();
        let least = deltas.iter().copied().min().unwrap_or(0);
        let above = |delta: i64| {
            let above = delta.wrapping_sub(least);
            if *is_short { u64::from(above as u32) } else { above.cast_unsigned() }
        };
        put_signed(blocks, least);
        let parts = || deltas.chunks(PART);
        // Whole bytes: a compressor finds again what begins and ends with a byte, and bits that are always 0 cost little.
        let width = |part: &[i64]| {
            let all = part.iter().fold(0, |all, &delta| all | above(delta));
            (u64::BITS - all.leading_zeros()).next_multiple_of(u8::BITS)
        };
        // Parts without numbers have a width of 0.
        blocks.extend(parts().map(|part| width(part) as u8));
        blocks.resize(blocks.len() + PARTS - parts().len(), 0);
        for part in parts() {
            let padding = std::iter::repeat_n(0, PART - part.len());
            let numbers = part.iter().map(|&delta| above(delta)).chain(padding);
            pack(blocks, numbers, width(part));
        }
        self.filled = 0;
    }

    /// Appends the numbers so far, and begins anew.
    pub(super) fn finish(&mut self, page: &mut Vec<u8>) {
        if self.filled > 0 {
            self.end_block();
        }
        put_unsigned(page, BLOCK as u64);
        put_unsigned(page, PARTS as u64);
        put_unsigned(page, self.count);
        put_signed(page, self.first);
        page.append(&mut self.blocks);
        (self.count, self.first, self.last) = (0, 0, 0);
    }
}

/// Appends a number, seven bits in each byte.
pub(super) fn put_unsigned(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// The same with the sign in the lowest bit.
fn put_signed(bytes: &mut Vec<u8>, value: i64) {
    put_unsigned(bytes, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// Appends the lowest `width` bits of numbers, whose bits together are whole bytes.
pub(super) fn pack(bytes: &mut Vec<u8>, numbers: impl Iterator<Item = u64>, width: u32) {
    if width == 0 {
        return;
    }
    let (mut waiting, mut bits) = (0_u128, 0);
    for number in numbers {
        waiting |= u128::from(number) << bits;
        bits += width;
        while bits >= 8 {
            bytes.push(waiting as u8);
            waiting >>= 8;
            bits -= 8;
        }
    }
}
