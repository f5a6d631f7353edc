//! The curves of the machine for scripts: zigzag differences in bytes of seven bits, compressed, as base64.

use std::io::{self, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::DeflateEncoder;

use crate::curve::{Curve, Point};
use crate::report::{Part, Report};

/// Returns the unit in which the numbers of a part are whole: a page, or else a byte.
pub(super) fn unit(part: &Part) -> u64 {
    let page = part.manifest.provenance.machine.page_bytes.unwrap_or(1).max(1);
    let numbers = part.timeline.machine.points().flat_map(|point| point.row.iter());
    if numbers.into_iter().all(|bytes| bytes.is_multiple_of(page)) { page } else { 1 }
}

/// Returns the curves of all parts, whose numbers are whole in these units.
pub(super) fn encoded(report: &Report, units: &[u64]) -> io::Result<String> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    for (part, unit) in report.parts.iter().zip(units) {
        encoder.write_all(&of_part(
            &part.timeline.machine,
            part.timeline.begin_ms,
            part.timeline.layers.len(),
            *unit,
        ))?;
    }
    Ok(STANDARD.encode(encoder.finish()?))
}

/// Returns how many lines there are and how many points each has; and of each line the times in milliseconds since the
/// begin, and then layer by layer the values.
fn of_part(curve: &Curve<Box<[u64]>>, begin_ms: i64, layers: usize, unit: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    number(&mut bytes, curve.lines.len() as u64);
    for line in &curve.lines {
        number(&mut bytes, line.len() as u64);
    }
    for line in &curve.lines {
        differences(&mut bytes, line.iter().map(|point| point.ts_ms - begin_ms));
        for layer in 0..layers {
            let value = |point: &Point<Box<[u64]>>| {
                let value = point.row.get(layer).copied().unwrap_or(0) / unit;
                i64::try_from(value).unwrap_or(i64::MAX)
            };
            differences(&mut bytes, line.iter().map(value));
        }
    }
    bytes
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
        assert_eq!(of_part(&curve, 10, 2, 2), expected);
    }
}
