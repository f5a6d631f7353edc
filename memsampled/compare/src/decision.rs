//! Suspect, then confirm: what many comparisons say together.
//!
//! Three looks, each with levels of its own for each direction. They add up to 2.5 % of suites in each direction,
//! whichever of the looks are taken:
//!
//! | look | numbers a side | test | changed | suspect |
//! |---|---|---|---|---|
//! | 1 | what the runs of all tests have, 5 say | moderated t | p ≤ 0.005 / M | p ≤ 0.05, or ranks p ≤ 0.05 |
//! | 2 | from 10 on | Mann–Whitney, exact | p ≤ 0.005 / M | p ≤ 0.05 |
//! | 3 | from 20 on | Mann–Whitney, exact | p ≤ 0.015 / M | |
//!
//! M is the number of comparisons. A rank test is right for any numbers that were to come, so that selecting whom to run
//! again by what has been measured costs nothing.

use serde::{Deserialize, Serialize};

use crate::statistics::{Pooled, Prior, RankTests, Shift, moderated_t, repeats_to_tell};

/// The share of suites in which the first two looks may each call something changed that is not, in one direction.
const LEVEL: f64 = 0.005;
/// The same for the third look.
const LAST_LEVEL: f64 = 0.015;
/// What is as rare as this is suspect.
const SUSPECT_LEVEL: f64 = 0.05;
/// Numbers a side from which on the second look is taken.
const SECOND_LOOK: usize = 10;
/// The same for the third.
const THIRD_LOOK: usize = 20;
/// Numbers a side with which a comparison begins to be worth its name.
const FIRST_LOOK: usize = 5;
/// The smallest confidence of an interval by which something is called the same.
const MIN_CONFIDENCE: f64 = 0.95;

/// The numbers of both sides, as natural logarithms, in the order in which they were measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Numbers {
    /// Of the base.
    pub base: Vec<f64>,
    /// Of the head.
    pub head: Vec<f64>,
}

/// One comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// What was measured without regard to what had been measured before: the first look.
    pub first: Numbers,
    /// All, which begins with the first look.
    pub all: Numbers,
    /// The least variance that the instrument has; a share squared, since the numbers are logarithms.
    pub least_variance: f64,
    /// The least change that the instrument can tell, as a logarithm.
    pub floor: f64,
    /// Cases of one family vary alike.
    pub family: usize,
}

/// What is said of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The head is above the base, by more than noise and the floor of the instrument.
    Worse,
    /// It may be above or below: more repeats of this test decide.
    Suspect,
    /// The head is below the base.
    Better,
    /// Neither a change nor its absence is known.
    CannotTell,
    /// The whole interval is within the margin.
    Same,
}

impl Verdict {
    /// All, in the order in which they want attention.
    pub const BY_ATTENTION: [Self; 5] =
        [Self::Worse, Self::Suspect, Self::Better, Self::CannotTell, Self::Same];

    /// Returns the words for it.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Worse => "worse",
            Self::Suspect => "suspect",
            Self::Better => "better",
            Self::CannotTell => "cannot tell",
            Self::Same => "same",
        }
    }
}

/// Why more repeats are of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoUse {
    /// There is a change, below what the instrument can tell for certain.
    BelowFloor,
    /// The change is about as large as the margin.
    AtMargin,
}

/// What was decided of a case.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// What is said of it.
    pub verdict: Verdict,
    /// How far the head is above the base, as a logarithm.
    pub shift: Shift,
    /// The last look that was taken, from 1; 0 where there are too few numbers for any.
    pub look: u8,
    /// The smallest probability over the looks that the head is as far above by chance, times M and divided by the share
    /// of the level that its look has: below 0.025 it is a change.
    pub adjusted_p_worse: f64,
    /// The same for the other direction.
    pub adjusted_p_better: f64,
    /// How many repeats more of the base would decide; `None` where that is decided, and where none would.
    pub more_base: Option<u32>,
    /// The same of the head.
    pub more_head: Option<u32>,
    /// Why none would.
    pub no_use: Option<NoUse>,
}

/// Decides all comparisons together. `margin` is the largest change that is as good as none, as a logarithm.
///
/// The decisions are in the order of the cases; `None` is a case with an empty side, which counts for nothing.
#[must_use]
pub fn decide(cases: &[Case], margin: f64) -> Vec<Option<Decision>> {
    let comparisons = cases.iter().filter(|case| case.is_whole()).count();
    let mut ranks = RankTests::default();
    let priors = |of: fn(&Case) -> Option<Pooled>| -> Vec<Option<Prior>> {
        let families = cases.iter().map(|case| case.family + 1).max().unwrap_or(0);
        let of_family = |family| {
            let variances = cases.iter().filter(move |case| case.family == family).filter_map(of);
            Prior::of(&variances.collect::<Vec<_>>())
        };
        (0..families).map(of_family).collect()
    };
    let (first, all) = (priors(Case::first_variance), priors(Case::variance));
    let prior = |priors: &[Option<Prior>], case: &Case| priors.get(case.family).copied().flatten();
    let decide = |case: &Case| {
        let (first, all) = (prior(&first, case), prior(&all, case));
        case.decide(comparisons, (first, all), margin, &mut ranks)
    };
    cases.iter().map(decide).collect()
}

/// What the looks say of one direction.
#[derive(Clone, Copy)]
struct Direction {
    adjusted_p: f64,
    is_suspect: bool,
}

impl Direction {
    fn take(&mut self, p: f64, level: f64, comparisons: usize) {
        let share = level / (2.0 * LEVEL + LAST_LEVEL);
        let adjusted = (p * comparisons as f64 / share).min(1.0);
        self.adjusted_p = self.adjusted_p.min(adjusted);
    }

    fn is_changed(self) -> bool {
        self.adjusted_p <= 2.0 * LEVEL + LAST_LEVEL
    }
}

impl Case {
    fn is_whole(&self) -> bool {
        !self.all.base.is_empty() && !self.all.head.is_empty()
    }

    fn first_variance(&self) -> Option<Pooled> {
        Pooled::of(&self.first.base, &self.first.head, self.least_variance)
    }

    fn variance(&self) -> Option<Pooled> {
        Pooled::of(&self.all.base, &self.all.head, self.least_variance)
    }

    fn decide(
        &self,
        comparisons: usize,
        (first_prior, prior): (Option<Prior>, Option<Prior>),
        margin: f64,
        ranks: &mut RankTests,
    ) -> Option<Decision> {
        let (base, head) = (&self.all.base, &self.all.head);
        let shift = Shift::of(base, head, ranks)?;
        let least = base.len().min(head.len());
        let none = Direction { adjusted_p: 1.0, is_suspect: false };
        let (mut worse, mut better, mut look) = (none, none, 0);
        // The first look: two numbers a side are the fewest of which each side varies.
        let first = &self.first;
        if first.base.len().min(first.head.len()) >= 2
            && let Some(own) = self.first_variance()
            && let Some(t) =
                moderated_t(&first.base, &first.head, Prior::moderate(first_prior, own))
            && let Some(u) = ranks.test(&first.base, &first.head)
        {
            look = 1;
            worse.take(t.greater, LEVEL, comparisons);
            better.take(t.less, LEVEL, comparisons);
            worse.is_suspect = t.greater.min(u.greater) <= SUSPECT_LEVEL;
            better.is_suspect = t.less.min(u.less) <= SUSPECT_LEVEL;
        }
        if look == 1 && least >= SECOND_LOOK {
            let until = |numbers: &[f64], first: usize| numbers.len().min(first.max(SECOND_LOOK));
            let base = base.get(..until(base, first.base.len())).unwrap_or(base);
            let head = head.get(..until(head, first.head.len())).unwrap_or(head);
            if let Some(u) = ranks.test(base, head) {
                look = 2;
                worse.take(u.greater, LEVEL, comparisons);
                better.take(u.less, LEVEL, comparisons);
                worse.is_suspect = u.greater <= SUSPECT_LEVEL;
                better.is_suspect = u.less <= SUSPECT_LEVEL;
            }
        }
        if look == 2
            && least >= THIRD_LOOK
            && let Some(u) = ranks.test(base, head)
        {
            look = 3;
            worse.take(u.greater, LAST_LEVEL, comparisons);
            better.take(u.less, LAST_LEVEL, comparisons);
            (worse.is_suspect, better.is_suspect) = (false, false);
        }
        let is_changed = worse.is_changed() || better.is_changed();
        let is_within =
            shift.confidence >= MIN_CONFIDENCE && shift.lower >= -margin && shift.upper <= margin;
        let verdict = if worse.is_changed() && shift.estimate >= self.floor {
            Verdict::Worse
        } else if better.is_changed() && shift.estimate <= -self.floor {
            Verdict::Better
        } else if is_within {
            Verdict::Same
        } else if (worse.is_suspect || better.is_suspect) && !is_changed {
            Verdict::Suspect
        } else {
            Verdict::CannotTell
        };
        let mut decision = Decision {
            verdict,
            shift,
            look,
            adjusted_p_worse: worse.adjusted_p,
            adjusted_p_better: better.adjusted_p,
            more_base: None,
            more_head: None,
            no_use: None,
        };
        let wanted = match verdict {
            Verdict::Worse | Verdict::Better | Verdict::Same => return Some(decision),
            Verdict::Suspect if look >= 2 => THIRD_LOOK,
            Verdict::Suspect => SECOND_LOOK,
            Verdict::CannotTell if is_changed => {
                decision.no_use = Some(NoUse::BelowFloor);
                return Some(decision);
            }
            Verdict::CannotTell => match self.variance() {
                None => FIRST_LOOK,
                Some(own) => {
                    let noise = Prior::moderate(prior, own).variance.sqrt();
                    (repeats_to_tell(noise, margin, comparisons) as usize).max(FIRST_LOOK)
                }
            },
        };
        if wanted <= least {
            decision.no_use = Some(NoUse::AtMargin);
            return Some(decision);
        }
        let more = |has: usize| u32::try_from(wanted.saturating_sub(has)).ok();
        (decision.more_base, decision.more_head) = (more(base.len()), more(head.len()));
        Some(decision)
    }
}
