//! The values of a column: each once, and in which order they come.

use std::collections::HashMap;

use super::level_runs::{Run, add, put_runs};

/// Values as Parquet's encoding `PLAIN` has them, each once, and the runs of their numbers.
#[derive(Default)]
pub(super) struct Distinct {
    numbers: HashMap<Box<[u8]>, u32>,
    /// All of them, in the order of their numbers.
    bytes: Vec<u8>,
    /// Where each ends in `bytes`.
    ends: Vec<usize>,
    /// The number that most runs begin with again.
    last: u32,
    /// Those of the page that is filled.
    runs: Vec<Run>,
}

impl Distinct {
    /// Adds a value to `rows` rows.
    pub(super) fn push(&mut self, value: &[u8], rows: usize) {
        let number = self.number_of(value);
        add(&mut self.runs, number, rows);
    }

    fn number_of(&mut self, value: &[u8]) -> u32 {
        if self.value(self.last) == Some(value) {
            return self.last;
        }
        let next = self.numbers.len() as u32;
        let known = self.numbers.get(value).copied();
        self.last = known.unwrap_or_else(|| {
            self.numbers.insert(value.into(), next);
            self.bytes.extend_from_slice(value);
            self.ends.push(self.bytes.len());
            next
        });
        self.last
    }

    fn value(&self, number: u32) -> Option<&[u8]> {
        let end = *self.ends.get(number as usize)?;
        let before = (number as usize).checked_sub(1).and_then(|before| self.ends.get(before));
        self.bytes.get(before.copied().unwrap_or(0)..end)
    }

    /// Returns how many runs the page has.
    pub(super) fn runs(&self) -> usize {
        self.runs.len()
    }

    /// Returns whether most rows of the page have a value of their own, so that numbers of them would come to more than
    /// they spare. It is then a page by itself.
    pub(super) fn are_different(&self) -> bool {
        let rows: usize = self.runs.iter().map(|&(_, rows)| rows).sum();
        3 * self.ends.len() > 2 * rows
    }

    /// Appends the values of the page, row by row.
    pub(super) fn put_values(&self, page: &mut Vec<u8>) {
        for &(number, rows) in &self.runs {
            let value = self.value(number).unwrap_or_default();
            (0..rows).for_each(|_| page.extend_from_slice(value));
        }
    }

    /// Appends the numbers of the values of the page, and begins another.
    pub(super) fn put_numbers(&mut self, page: &mut Vec<u8>) {
        let greatest = (self.ends.len() as u32).saturating_sub(1);
        // Whole bytes, which a compressor finds again.
        let width = (u32::BITS - greatest.leading_zeros()).next_multiple_of(u8::BITS);
        page.push(width as u8);
        put_runs(page, &self.runs, width);
        self.runs.clear();
    }

    /// Returns the values in the order of their numbers: how many they are, and as `PLAIN` has them.
    pub(super) fn dictionary(&mut self) -> (u32, Vec<u8>) {
        (self.ends.len() as u32, std::mem::take(&mut self.bytes))
    }

    /// Returns all values, in no order.
    pub(super) fn all(&self) -> impl Iterator<Item = &[u8]> {
        self.numbers.keys().map(|value| &**value)
    }
}
