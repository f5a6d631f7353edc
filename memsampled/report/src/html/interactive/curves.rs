//! Curves for scripts: zigzag differences in bytes of seven bits, compressed, as base64.

use std::io::{self, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::DeflateEncoder;

use crate::curve::{Curve, Point};

/// A curve of one or several layers.
pub(in crate::html) struct Table {
    /// Its numbers: how many lines there are and how many points each has; and of each line the times in milliseconds
    /// since the begin, and then layer by layer the values in units.
    bytes: Vec<u8>,
    /// The unit in which they are whole: a page, or else a byte.
    pub(super) unit: u64,
}

impl Table {
    /// Encodes a curve of several layers.
    pub(in crate::html) fn stacked(
        curve: &Curve<Box<[u64]>>,
        begin_ms: i64,
        layers: usize,
        page_bytes: u64,
    ) -> Self {
        let value =
            |point: &Point<Box<[u64]>>, layer: usize| point.row.get(layer).copied().unwrap_or(0);
        Self::of(curve, begin_ms, layers, page_bytes, value)
    }

    /// Encodes a curve of one layer.
    pub(in crate::html) fn single(curve: &Curve<()>, begin_ms: i64, page_bytes: u64) -> Self {
        Self::of(curve, begin_ms, 1, page_bytes, |point, _| point.value)
    }

    fn of<R: Clone>(
        curve: &Curve<R>,
        begin_ms: i64,
        layers: usize,
        page_bytes: u64,
        value: impl Fn(&Point<R>, usize) -> u64,
    ) -> Self {
        let page = page_bytes.max(1);
        let is_whole =
            |point: &Point<R>| (0..layers).all(|layer| value(point, layer).is_multiple_of(page));
        let unit = if curve.points().all(is_whole) { page } else { 1 };
        let mut bytes = Vec::new();
        number(&mut bytes, curve.lines.len() as u64);
        for line in &curve.lines {
            number(&mut bytes, line.len() as u64);
        }
        for line in &curve.lines {
            differences(&mut bytes, line.iter().map(|point| point.ts_ms - begin_ms));
            for layer in 0..layers {
                let of = |point| i64::try_from(value(point, layer) / unit).unwrap_or(i64::MAX);
                differences(&mut bytes, line.iter().map(of));
            }
        }
        Self { bytes, unit }
    }
}

/// Returns tables, one after the other.
pub(super) fn encoded<'a>(tables: impl Iterator<Item = &'a Table>) -> io::Result<String> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    for table in tables {
        encoder.write_all(&table.bytes)?;
    }
    Ok(STANDARD.encode(encoder.finish()?))
}

fn differences(bytes: &mut Vec<u8>, values: impl Iterator<Item = i64>) {
    let mut before = 0;
    for value in values {
        let step = value.wrapping_sub(before);
        number(bytes, ((step << 1) ^ (step >> 63)).cast_unsigned());
        before = value;
    }
}

fn number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 128 {
        bytes.push((number & 127) as u8 | 128);
        number >>= 7;
    }
    bytes.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_differences() {
        let point = |ts_ms, values: [u64; 2]| Point { ts_ms, value: 0, row: values.into() };
        let curve = Curve {
            lines: vec![vec![point(10, [4, 0]), point(210, [2, 400])], vec![point(300, [0, 0])]],
        };
        // Two lines of two and one points; 0, 200; 2, -1; 0, 200; then 290; 0; 0.
        let expected = [2, 2, 1, 0, 144, 3, 4, 1, 0, 144, 3, 196, 4, 0, 0];
        let table = Table::stacked(&curve, 10, 2, 2);
        assert_eq!((table.bytes, table.unit), (expected.to_vec(), 2));
        // What is no whole number of pages is in bytes.
        let point = |ts_ms, value| Point { ts_ms, value, row: () };
        let table = Table::single(&Curve { lines: vec![vec![point(0, 4), point(1, 7)]] }, 0, 4);
        assert_eq!((table.bytes, table.unit), (vec![1, 2, 0, 2, 8, 6], 1));
    }
}
