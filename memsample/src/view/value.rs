//! The value of one cell, and sums that count what they lack.

use std::cmp::Ordering;

/// The value of one row in one column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// No value, and the text that a person reads instead.
    Absent(String),
    /// A number.
    Number(i64),
    /// A size in bytes.
    Size(u64),
    /// A time since something was read, in milliseconds.
    Age(u64),
    /// A sum over processes, in bytes.
    Sum(Sum),
    /// Not known.
    Unknown,
}

impl Value {
    pub(super) fn text(text: Option<&str>) -> Self {
        text.map_or(Self::Unknown, |text| Self::Text(text.to_owned()))
    }

    pub(super) fn number(number: Option<impl Into<i64>>) -> Self {
        number.map_or(Self::Unknown, |number| Self::Number(number.into()))
    }

    pub(super) fn count(count: usize) -> Self {
        Self::Number(i64::try_from(count).unwrap_or(i64::MAX))
    }

    pub(super) fn size(bytes: Option<u64>) -> Self {
        bytes.map_or(Self::Unknown, Self::Size)
    }

    pub(super) fn age(ms: Option<u64>) -> Self {
        ms.map_or(Self::Unknown, Self::Age)
    }

    /// Returns what the value adds to a sum.
    #[must_use]
    pub fn as_sum(&self) -> Sum {
        match self {
            Self::Sum(sum) => *sum,
            Self::Size(bytes) => Sum { known: Some(*bytes), unknown: 0 },
            Self::Number(number) => Sum { known: u64::try_from(*number).ok(), unknown: 0 },
            Self::Text(_) | Self::Absent(_) | Self::Age(_) | Self::Unknown => {
                Sum { known: None, unknown: 1 }
            }
        }
    }

    /// Returns whether a process is missing in the value.
    pub(super) fn lacks_some(&self) -> bool {
        self.is_unknown() || matches!(self, Self::Sum(Sum { unknown: 1.., .. }))
    }

    pub(super) fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown | Self::Sum(Sum { known: None, .. }))
    }

    pub(super) fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Text(one) | Self::Absent(one), Self::Text(other) | Self::Absent(other)) => {
                one.cmp(other)
            }
            (Self::Number(one), Self::Number(other)) => one.cmp(other),
            (Self::Age(one), Self::Age(other)) => one.cmp(other),
            (one, other) => one.as_sum().known.cmp(&other.as_sum().known),
        }
    }
}

/// A sum over processes, and the number of processes that it lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// The sum over the processes whose value is known; `None` where none is.
    pub known: Option<u64>,
    /// The number of processes whose value is not known.
    pub unknown: u64,
}

impl Sum {
    /// Adds another sum.
    pub fn add(&mut self, other: Self) {
        self.known = match (self.known, other.known) {
            (Some(one), Some(other)) => Some(one.saturating_add(other)),
            (one, other) => one.or(other),
        };
        self.unknown = self.unknown.saturating_add(other.unknown);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(known: Option<u64>, unknown: u64) -> Sum {
        Sum { known, unknown }
    }

    #[test]
    fn a_sum_says_what_it_lacks() {
        let mut total = Sum::default();
        for value in [Value::Size(3), Value::Unknown, Value::Sum(sum(Some(4), 2))] {
            total.add(value.as_sum());
        }
        assert_eq!(total, sum(Some(7), 3));
        let mut nothing = Sum::default();
        nothing.add(Value::Unknown.as_sum());
        assert_eq!(nothing, sum(None, 1));
    }
}
