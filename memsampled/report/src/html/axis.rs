//! Round values and times to draw lines at.

/// Lines of values, about.
const VALUES: u64 = 5;
/// Texts of times, at most: a narrow page has room for these.
const TIMES: i64 = 5;

/// Returns round sizes up to `top`, without 0.
pub(super) fn sizes(top: u64) -> Vec<u64> {
    multiples(step(top), top)
}

/// Returns round sizes from `least` to `most`.
pub(super) fn sizes_between(least: u64, most: u64) -> Vec<u64> {
    let step = step(most.saturating_sub(least)).max(1);
    (least.div_ceil(step)..=most / step).map(|count| count * step).collect()
}

/// Returns round shares in 1/10000 up to `top`, without 0.
pub(super) fn shares(top: u64) -> Vec<u64> {
    const STEPS: [u64; 12] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000];
    let step = STEPS.into_iter().find(|step| step * 3 >= top).unwrap_or(top.div_ceil(3));
    multiples(step, top)
}

fn step(top: u64) -> u64 {
    /// Below a thousand; from a hundred on they divide the next unit.
    const STEPS: [u64; 9] = [1, 2, 5, 10, 20, 50, 128, 256, 512];
    let mut unit = 1_u64;
    // Divided, not multiplied: what a damaged recording says may be 16 EiB.
    while top / VALUES / unit >= 1024 {
        unit *= 1024;
    }
    let least = top.div_ceil(VALUES).div_ceil(unit).max(1);
    let step = STEPS.into_iter().find(|step| *step >= least);
    step.unwrap_or_else(|| least.next_power_of_two()).saturating_mul(unit)
}

fn multiples(step: u64, top: u64) -> Vec<u64> {
    (1..=top / step.max(1)).map(|count| count * step).collect()
}

/// Returns round times from 0 to `span_ms`.
pub(super) fn times(span_ms: i64) -> Vec<i64> {
    const SECOND: i64 = 1000;
    const MINUTE: i64 = 60 * SECOND;
    const HOUR: i64 = 60 * MINUTE;
    const STEPS: [i64; 24] = [
        100,
        200,
        500,
        SECOND,
        2 * SECOND,
        5 * SECOND,
        10 * SECOND,
        20 * SECOND,
        30 * SECOND,
        MINUTE,
        2 * MINUTE,
        5 * MINUTE,
        10 * MINUTE,
        20 * MINUTE,
        30 * MINUTE,
        HOUR,
        2 * HOUR,
        3 * HOUR,
        6 * HOUR,
        12 * HOUR,
        24 * HOUR,
        48 * HOUR,
        96 * HOUR,
        168 * HOUR,
    ];
    let fits = |step: &i64| span_ms / step < TIMES;
    let step = STEPS.into_iter().find(fits).unwrap_or_else(|| (span_ms / TIMES).max(1));
    (0..=span_ms / step).map(|count| count * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_at_round_values() {
        let mib = |counts: &[u64]| counts.iter().map(|count| count << 20).collect::<Vec<u64>>();
        assert_eq!(sizes(90 << 20), mib(&[20, 40, 60, 80]));
        assert_eq!(sizes(70 << 20), mib(&[20, 40, 60]));
        assert_eq!(sizes(1300 << 20), mib(&[512, 1024]));
        assert_eq!(sizes(7 << 30), [2 << 30, 4 << 30, 6 << 30]);
        assert_eq!((sizes(0), sizes(3)), (vec![], vec![1, 2, 3]));
        assert_eq!(sizes_between(99 << 20, 109 << 20), mib(&[100, 102, 104, 106, 108]));
        assert_eq!(sizes_between(5, 5), [5]);
        assert_eq!(times(12_000), [0, 5000, 10_000]);
        assert_eq!(times(0), [0]);
        assert_eq!(times(86_400_000).len(), 5);
    }
}
