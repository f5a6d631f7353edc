//! How far one side is from the other: the estimate of Hodges and Lehmann, with its interval.

use super::rank::RankTests;

/// How far the head is above the base.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shift {
    /// The median of the differences of all pairs.
    pub estimate: f64,
    /// The lower end of the interval.
    pub lower: f64,
    /// The upper end of the interval.
    pub upper: f64,
    /// How often such an interval contains the true shift: 0.95 at least, or less with fewer than 4 + 4 numbers.
    pub confidence: f64,
}

/// What the interval is to miss on each side, at most.
const TAIL: f64 = 0.025;

impl Shift {
    /// Estimates it; `None` where a side is empty. The interval is between two of the ordered differences, which the
    /// distribution of [`RankTests`] selects: of 5 + 5 numbers the third and the 23rd of 25, 96.8 %.
    pub fn of(base: &[f64], head: &[f64], tests: &mut RankTests) -> Option<Self> {
        let (n, m) = (base.len(), head.len());
        let mut differences: Vec<f64> =
            head.iter().flat_map(|head| base.iter().map(move |base| head - base)).collect();
        differences.sort_by(f64::total_cmp);
        let last = differences.len().checked_sub(1)?;
        // How many differences are left out at each end.
        let mut out = 0;
        while 2 * (out + 1) <= last && tests.at_most(n, m, out + 1) <= TAIL {
            out += 1;
        }
        // U is at most `out` if the shift is outside on one side.
        let missed = tests.at_most(n, m, out);
        Some(Self {
            estimate: median_of_ordered(&differences)?,
            lower: *differences.get(out)?,
            upper: *differences.get(last - out)?,
            confidence: 1.0 - 2.0 * missed,
        })
    }
}

/// Returns the median; `None` of nothing.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let mut ordered = values.to_vec();
    ordered.sort_by(f64::total_cmp);
    median_of_ordered(&ordered)
}

fn median_of_ordered(ordered: &[f64]) -> Option<f64> {
    let last = ordered.len().checked_sub(1)?;
    let (lower, upper) = (ordered.get(last / 2)?, ordered.get(ordered.len() / 2)?);
    Some(lower + (upper - lower) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_against_five_leave_two_differences_out_at_each_end() {
        let base: Vec<f64> = [0.0, 1.0, 2.0, 3.0, 4.0].to_vec();
        let head: Vec<f64> = base.iter().map(|value| value * 10.0 + 100.0).collect();
        let mut differences: Vec<f64> =
            head.iter().flat_map(|head| base.iter().map(move |base| head - base)).collect();
        differences.sort_by(f64::total_cmp);
        let shift = Shift::of(&base, &head, &mut RankTests::default()).unwrap();
        assert_eq!((shift.lower, shift.upper), (differences[2], differences[22]));
        assert_eq!(shift.estimate, differences[12]);
        assert!((shift.confidence - (1.0 - 2.0 * 4.0 / 252.0)).abs() < 1e-12, "{shift:?}");
    }

    #[test]
    fn few_numbers_have_the_confidence_that_they_have() {
        let mut tests = RankTests::default();
        let shift = Shift::of(&[1.0, 2.0, 3.0], &[4.0, 5.0, 7.0], &mut tests).unwrap();
        assert_eq!((shift.lower, shift.upper), (1.0, 6.0));
        assert!((shift.confidence - 0.9).abs() < 1e-12, "{shift:?}");
        let one = Shift::of(&[1.0], &[3.0], &mut tests).unwrap();
        assert_eq!((one.estimate, one.lower, one.upper, one.confidence), (2.0, 2.0, 2.0, 0.0));
        assert_eq!(Shift::of(&[], &[3.0], &mut tests), None);
    }

    #[test]
    fn a_median_lies_between_the_two_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0]), Some(2.0));
        assert_eq!(median(&[3.0, 1.0, 7.0]), Some(3.0));
        assert_eq!(median(&[]), None);
    }
}
