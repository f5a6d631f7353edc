//! The rank test of Mann and Whitney, exact, with ties: it knows no distribution.

use std::collections::HashMap;

use statrs::distribution::{ContinuousCDF, Normal};

/// The largest product of both counts for which the distribution is counted out: 50 + 50 repeats.
const MAX_EXACT_PRODUCT: usize = 2500;
/// The largest sum of both counts for which it is counted out where values are tied.
const MAX_EXACT_SUM: usize = 100;

/// Tests by ranks. Keeps the distributions that it has counted out, one for each pair of counts.
#[derive(Debug, Default)]
pub struct RankTests {
    /// Cumulative probabilities of U.
    cumulative: HashMap<(usize, usize), Vec<f64>>,
}

/// What a rank test says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RankTestsResult {
    /// In how many pairs the head is above the base; a tie counts half.
    pub u: f64,
    /// The probability of this U or a larger one, where both sides are from one distribution.
    pub greater: f64,
    /// That of this U or a smaller one.
    pub less: f64,
}

impl RankTests {
    /// Tests whether one side tends to be above the other; `None` where a side is empty.
    ///
    /// The probabilities are exact up to 50 + 50 numbers, with ties by midranks; above, they are those of the normal
    /// approximation, corrected for ties and continuity.
    pub fn test(&mut self, base: &[f64], head: &[f64]) -> Option<RankTestsResult> {
        let (n, m) = (base.len(), head.len());
        if n == 0 || m == 0 {
            return None;
        }
        let Ranks { doubled, of_head, ties } = Ranks::of(base, head);
        let least = m * (m + 1);
        let u = of_head.saturating_sub(least) as f64 / 2.0;
        if ties == 0.0 && n * m <= MAX_EXACT_PRODUCT {
            // Without ties the sum of doubled ranks is even.
            let u_whole = of_head.saturating_sub(least) / 2;
            // The distribution is symmetric.
            let less = self.at_most(n, m, u_whole);
            let greater = self.at_most(n, m, (n * m).saturating_sub(u_whole));
            return Some(RankTestsResult { u, greater, less });
        }
        let (greater, less) = if n + m <= MAX_EXACT_SUM {
            counted(&doubled, m, of_head)
        } else {
            approximated(n, m, u, ties)
        };
        Some(RankTestsResult { u, greater, less })
    }

    /// Returns the probability that U is at most `u`, without ties. It is that of the normal approximation for more than
    /// 50 + 50 numbers.
    pub fn at_most(&mut self, n: usize, m: usize, u: usize) -> f64 {
        if n * m > MAX_EXACT_PRODUCT {
            return approximated(n, m, u as f64, 0.0).1;
        }
        let (n, m) = (n.min(m), n.max(m));
        let cumulative = self.cumulative.entry((n, m)).or_insert_with(|| cumulative(n, m));
        cumulative.get(u).or(cumulative.last()).copied().unwrap_or(1.0)
    }
}

/// Counts in how many of all orders of `n + m` numbers U is at most each value, by the recurrence over the largest number.
fn cumulative(n: usize, m: usize) -> Vec<f64> {
    // ways[j][u] of i numbers of one side and j of the other.
    let mut ways = vec![vec![0.0; n * m + 1]; m + 1];
    for row in &mut ways {
        if let Some(first) = row.first_mut() {
            *first = 1.0;
        }
    }
    for _ in 1..=n {
        let mut next: Vec<Vec<f64>> = Vec::with_capacity(m + 1);
        for (j, without) in ways.iter().enumerate() {
            // The largest is of the first side, and above all j of the other; or it is of the other.
            let shifted = std::iter::repeat_n(0.0, j).chain(without.iter().copied());
            let row: Vec<f64> = match next.last() {
                None => shifted.take(n * m + 1).collect(),
                Some(fewer) => shifted.zip(fewer).map(|(one, other)| one + other).collect(),
            };
            next.push(row);
        }
        ways = next;
    }
    let counts = ways.pop().unwrap_or_default();
    let all: f64 = counts.iter().sum();
    let mut sum = 0.0;
    let add = |count: f64| {
        sum += count;
        sum / all
    };
    counts.into_iter().map(add).collect()
}

/// The ranks of all numbers, doubled so that midranks are whole.
struct Ranks {
    doubled: Vec<usize>,
    /// The sum of those of the head.
    of_head: usize,
    /// The sum of t³ − t over all groups of t equal numbers.
    ties: f64,
}

impl Ranks {
    fn of(base: &[f64], head: &[f64]) -> Self {
        let mut all: Vec<(f64, bool)> = base.iter().map(|&value| (value, false)).collect();
        all.extend(head.iter().map(|&value| (value, true)));
        all.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut ranks = Self { doubled: Vec::with_capacity(all.len()), of_head: 0, ties: 0.0 };
        for group in all.chunk_by(|one, other| one.0 == other.0) {
            let before = ranks.doubled.len();
            // The mean of before + 1 and before + length, doubled.
            let rank = 2 * before + group.len() + 1;
            ranks.doubled.extend(std::iter::repeat_n(rank, group.len()));
            ranks.of_head += rank * group.iter().filter(|(_, is_head)| *is_head).count();
            let length = group.len() as f64;
            ranks.ties += length.powi(3) - length;
        }
        ranks
    }
}

/// Counts how many choices of `m` of the doubled ranks have a sum as large, and as small, as that of the head.
fn counted(doubled: &[usize], m: usize, of_head: usize) -> (f64, f64) {
    let total: usize = doubled.iter().sum();
    // Choosing the head or the base is the same choice; the smaller one is less work.
    let n = doubled.len() - m;
    let (chosen, sum, is_head) =
        if m <= n { (m, of_head, true) } else { (n, total - of_head, false) };
    let mut ways = vec![vec![0.0; total + 1]; chosen + 1];
    if let Some(first) = ways.first_mut().and_then(|row| row.first_mut()) {
        *first = 1.0;
    }
    for (seen, &rank) in doubled.iter().enumerate() {
        for count in (1..=chosen.min(seen + 1)).rev() {
            let (fewer, more) = ways.split_at_mut(count);
            let (Some(from), Some(to)) = (fewer.last(), more.first_mut()) else { continue };
            for (to, from) in to.iter_mut().skip(rank).zip(from) {
                *to += from;
            }
        }
    }
    let counts = ways.pop().unwrap_or_default();
    let all: f64 = counts.iter().sum();
    let at_least: f64 = counts.iter().skip(sum).sum::<f64>() / all;
    let at_most: f64 = counts.iter().take(sum + 1).sum::<f64>() / all;
    if is_head { (at_least, at_most) } else { (at_most, at_least) }
}

fn approximated(n: usize, m: usize, u: f64, ties: f64) -> (f64, f64) {
    let (n, m) = (n as f64, m as f64);
    let all = n + m;
    let variance = n * m / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)));
    let Ok(normal) = Normal::new(0.0, 1.0) else { return (1.0, 1.0) };
    if variance <= 0.0 {
        return (1.0, 1.0);
    }
    let z = |above: f64| (above - 0.5) / variance.sqrt();
    let above = u - n * m / 2.0;
    (normal.sf(z(above)), normal.sf(z(-above)))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Counts out all choices, one by one.
    fn naive(base: &[f64], head: &[f64]) -> (f64, f64) {
        let all: Vec<f64> = base.iter().chain(head).copied().collect();
        let u = |is_head: &dyn Fn(usize) -> bool| {
            let mut u = 0.0;
            for (i, x) in all.iter().enumerate().filter(|(i, _)| is_head(*i)) {
                for (_, y) in all.iter().enumerate().filter(|(j, _)| !is_head(*j)) {
                    u += if x > y {
                        1.0
                    } else if x == y {
                        0.5
                    } else {
                        0.0
                    };
                }
                let _ = i;
            }
            u
        };
        let observed = u(&|i| i >= base.len());
        let choices =
            (0..1_u32 << all.len()).filter(|bits| bits.count_ones() as usize == head.len());
        let us: Vec<f64> = choices.map(|bits| u(&|i| bits >> i & 1 == 1)).collect();
        let share = |count: usize| count as f64 / us.len() as f64;
        let greater = us.iter().filter(|&&other| other >= observed).count();
        let less = us.iter().filter(|&&other| other <= observed).count();
        (share(greater), share(less))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn counting_by_ranks_equals_counting_all_orders(
            // Few values, so that most are tied; and many, so that few are.
            base in vec(0_u32..6, 1..6), head in vec(0_u32..6, 1..6), scale in 1_u32..4000
        ) {
            let spread = |values: &[u32]| -> Vec<f64> {
                values.iter().enumerate().map(|(i, &v)| f64::from(v * scale % 4001) + if scale > 2000 { i as f64 / 64.0 } else { 0.0 }).collect()
            };
            let (base, head) = (spread(&base), spread(&head));
            let result = RankTests::default().test(&base, &head).unwrap();
            let (greater, less) = naive(&base, &head);
            prop_assert!((result.greater - greater).abs() < 1e-12, "{result:?} {greater}");
            prop_assert!((result.less - less).abs() < 1e-12, "{result:?} {less}");
        }
    }

    #[test]
    fn the_ends_of_five_against_five_are_known() {
        let mut tests = RankTests::default();
        let base: Vec<f64> = (0..5).map(f64::from).collect();
        let head: Vec<f64> = (5..10).map(f64::from).collect();
        let result = tests.test(&base, &head).unwrap();
        assert_eq!((result.u, result.greater, result.less), (25.0, 1.0 / 252.0, 1.0));
        assert_eq!(tests.at_most(5, 5, 4), 12.0 / 252.0);
        assert_eq!(tests.test(&base, &[]), None);
        let equal = tests.test(&[1.0; 30], &[1.0; 30]).unwrap();
        assert_eq!((equal.greater, equal.less), (1.0, 1.0));
        let many = tests.test(&[1.0; 300], &[1.0; 300]).unwrap();
        assert_eq!((many.greater, many.less), (1.0, 1.0));
    }

    #[test]
    fn the_approximation_begins_where_it_is_near() {
        let base: Vec<f64> = (0..50).map(|i| f64::from(i * 7 % 50)).collect();
        let head: Vec<f64> = base.iter().map(|value| value + 11.3).collect();
        let exact = RankTests::default().test(&base, &head).unwrap();
        let (greater, less) = approximated(50, 50, exact.u, 0.0);
        assert!((exact.greater - greater).abs() < 2e-4, "{exact:?} {greater}");
        assert!((exact.less - less).abs() < 2e-4, "{exact:?} {less}");
    }
}
