//! Numbers and changed metrics as few bytes, for the journal and for the series in memory.
//!
//! Invariant: decoding never panics and never allocates more than the input can account for.

use serde::Deserialize;

use crate::metric::{Metric, Metrics};

/// The longest encoding of a 64-bit number: seven bits in each byte.
const MAX_VARINT_BYTES: usize = 10;

/// Appends `value` in LEB128: seven bits a byte, lowest first.
#[inline]
pub(crate) fn put_number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends the metrics of `now` that differ from `before`: a set of bits, then the differences.
pub(crate) fn put_changes(out: &mut Vec<u8>, before: &Metrics, now: &Metrics) {
    let mut changed = 0_u64;
    for metric in Metric::ALL {
        changed |= u64::from(before.get(metric) != now.get(metric)) << metric as u32;
    }
    put_number(out, changed);
    for metric in Metric::ALL {
        if changed >> metric as u32 & 1 == 1 {
            // Wrapping, so that every pair of numbers has a difference.
            put_number(out, zigzag(now.get(metric).wrapping_sub(before.get(metric))));
        }
    }
}

/// Folds a difference so that small ones of either sign are small numbers.
const fn zigzag(difference: u64) -> u64 {
    (difference << 1) ^ ((difference as i64 >> 63) as u64)
}

const fn unzigzag(folded: u64) -> u64 {
    (folded >> 1) ^ (folded & 1).wrapping_neg()
}

/// Reads what the functions above wrote. Every method returns `None` where the bytes end too soon or
/// cannot be what they should.
#[derive(Clone)]
pub(crate) struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    #[inline]
    pub(crate) fn number(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for index in 0..MAX_VARINT_BYTES {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            let shift = 7 * index as u32;
            // The tenth byte has room for one bit.
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    pub(crate) fn number_u32(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    /// Reads what `postcard` has written.
    pub(crate) fn item<T: Deserialize<'a>>(&mut self) -> Option<T> {
        let (item, rest) = postcard::take_from_bytes(self.rest).ok()?;
        self.rest = rest;
        Some(item)
    }

    /// Applies changed metrics to `metrics`.
    pub(crate) fn changes(&mut self, metrics: &mut Metrics) -> Option<()> {
        let changed = self.number()?;
        if changed >> Metric::COUNT != 0 {
            return None;
        }
        for metric in Metric::ALL {
            if changed >> metric as u32 & 1 == 1 {
                let value = metrics.get(metric).wrapping_add(unzigzag(self.number()?));
                metrics.set(metric, value);
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn metrics() -> impl Strategy<Value = Metrics> {
        proptest::array::uniform17(any::<u64>()).prop_map(|values| {
            let mut metrics = Metrics::default();
            for (metric, value) in Metric::ALL.into_iter().zip(values) {
                metrics.set(metric, value);
            }
            metrics
        })
    }

    proptest! {
        #[test]
        fn numbers_come_back(value: u64) {
            let mut bytes = Vec::new();
            put_number(&mut bytes, value);
            let mut decoder = Decoder::new(&bytes);
            prop_assert_eq!(decoder.number(), Some(value));
            prop_assert!(decoder.is_empty());
        }

        #[test]
        fn differences_come_back(value: u64) {
            prop_assert_eq!(unzigzag(zigzag(value)), value);
        }

        #[test]
        fn changes_come_back(before in metrics(), now in metrics()) {
            let mut bytes = Vec::new();
            put_changes(&mut bytes, &before, &now);
            let mut metrics = before;
            prop_assert!(Decoder::new(&bytes).changes(&mut metrics).is_some());
            prop_assert_eq!(metrics, now);
        }

        #[test]
        fn any_bytes_are_refused_or_read(bytes: Vec<u8>) {
            let mut decoder = Decoder::new(&bytes);
            let mut metrics = Metrics::default();
            while decoder.changes(&mut metrics).is_some() && !decoder.is_empty() {}
        }
    }

    #[test]
    fn overlong_numbers_are_refused() {
        assert_eq!(Decoder::new(&[0xff; 10]).number(), None);
        assert_eq!(Decoder::new(&[0x80; 11]).number(), None);
        assert_eq!(Decoder::new(&[0x80]).number(), None);
    }

    #[test]
    fn an_unchanged_row_is_one_byte() {
        let mut bytes = Vec::new();
        put_changes(&mut bytes, &Metrics::default(), &Metrics::default());
        assert_eq!(bytes, [0]);
    }
}
