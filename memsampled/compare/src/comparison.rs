//! The comparison of two sides of runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use memsample::analysis::counter_error_of_kernel;
use memsample_input::printable;
use memsample_runner::results::{Origin, Results};
use serde::{Deserialize, Serialize};

use crate::decision::{self, Case, Decision, NoUse, Verdict, decide};
use crate::environment::{self, Difference, Part};
use crate::history::{History, HistorySummary};
use crate::limit::Limit;
use crate::quantity::Quantity;
use crate::sides::{self, Key, Number, Numbers, Run};
use crate::statistics::{Shift, median};
use crate::suspects::{self, SuspectTest, Suspects};

/// The version of the format of the JSON. Raised when a key changes its meaning or goes.
pub const FORMAT_VERSION: u32 = 1;
/// The most numbers of one test on one side: the pairs of both sides are kept in memory.
const MAX_NUMBERS: usize = 1000;
/// The smallest change that is one, as a share.
const FLOOR: f64 = 0.01;
/// The size of a page where results do not say it.
const PAGE_BYTES: f64 = 4096.0;

/// How runs are compared.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is compared of each test. Each further quantity makes the levels of all stricter.
    pub quantities: Vec<Quantity>,
    /// Whether the roles of tests are compared too.
    pub roles: bool,
    /// The largest change that is as good as none, as a share of the base.
    pub margin: f64,
    /// Parts of the environment that may differ.
    pub allowed: BTreeSet<Part>,
    /// How much worse a test may get; where there are none, any change for the worse counts.
    pub limits: Vec<Limit>,
    /// How much builds differ of which nothing has changed. What is not more than that is no change.
    pub history: Option<History>,
}

impl Default for Options {
    /// The peak of each test, with a margin of 2 %.
    fn default() -> Self {
        Self {
            quantities: vec![Quantity::Peak],
            roles: false,
            margin: 0.02,
            allowed: BTreeSet::new(),
            limits: Vec::new(),
            history: None,
        }
    }
}

/// What became of the tests from base to head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// [`FORMAT_VERSION`] of the program that made it.
    pub format_version: u32,
    /// The version of that program.
    pub memsample_version: String,
    /// What it says as a whole.
    pub outcome: CompareOutcome,
    /// The largest change that is as good as none, in percent.
    pub margin_percent: f64,
    /// The limits of `--fail-on`.
    pub fail_on: Vec<String>,
    /// What earlier releases say about how much builds differ; `None` where none were given.
    pub history: Option<HistorySummary>,
    /// How many comparisons there are of each verdict that occurs.
    pub counts: BTreeMap<Verdict, u64>,
    /// The runs of the base.
    pub base: Vec<RunSummary>,
    /// The runs of the head.
    pub head: Vec<RunSummary>,
    /// What is different in the environment and was allowed to be.
    pub different: Vec<Difference>,
    /// Parts of the environment that not every run says, so that they could not be compared.
    pub unknown: Vec<Part>,
    /// What was compared, what wants attention first.
    pub comparisons: Vec<Compared>,
    /// What could not be compared.
    pub not_compared: Vec<NotCompared>,
}

/// What a comparison says as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CompareOutcome {
    /// Nothing is known to have got worse, beyond what is allowed.
    NotWorse,
    /// Something got worse.
    Worse,
    /// Nothing is known to have got worse, and something is suspect.
    Suspects,
}

/// A run, in short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// Its directory or file.
    pub run: String,
    /// The name of its suite.
    pub suite: String,
    /// When its first attempt began.
    pub started: Option<Timestamp>,
    /// The commit that was checked out.
    pub commit: Option<String>,
    /// Whether only suspects were run.
    pub only_suspects: bool,
}

/// What was compared, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// The name of the suite.
    pub suite: String,
    /// The name of the test.
    pub test: String,
    /// The role; `None` of the test as a whole.
    pub role: Option<String>,
    /// What was compared of it.
    pub quantity: Quantity,
    /// What is said of it.
    pub verdict: Verdict,
    /// Whether the outcome as a whole depends on it: whether it is above a limit, if there are limits.
    pub counts: bool,
    /// The median of the base, in bytes.
    pub base_bytes: u64,
    /// The median of the upper bounds of the base; `None` where nothing bounds half of them.
    pub base_bytes_upper: Option<u64>,
    /// The median of the head, in bytes.
    pub head_bytes: u64,
    /// The median of the upper bounds of the head.
    pub head_bytes_upper: Option<u64>,
    /// The change from base to head, in percent of the base: the estimate of Hodges and Lehmann.
    pub change_percent: f64,
    /// The lower end of its interval.
    pub change_percent_lower: f64,
    /// The upper end of its interval.
    pub change_percent_upper: f64,
    /// How often such an interval contains the true change, in percent.
    pub confidence_percent: f64,
    /// The same change in bytes: the median of the differences of all pairs.
    pub change_bytes: i64,
    /// The least change that the instrument can tell, in percent.
    pub floor_percent: f64,
    /// Whether the bounds of both sides overlap, so that the change is one of what was sampled.
    pub bounds_overlap: bool,
    /// How many numbers the base has.
    pub base_repeats: u64,
    /// How many numbers the head has.
    pub head_repeats: u64,
    /// Repeats of both sides that are left out because they did not come to their end.
    pub failed_repeats: u64,
    /// Repeats of both sides in which it was not measured.
    pub not_measured_repeats: u64,
    /// How many looks were taken.
    pub look: u8,
    /// The probability of such a growth by chance in any of the comparisons, corrected for their number and the looks:
    /// up to 0.025 it is a change.
    pub p_worse: f64,
    /// The same of a decrease.
    pub p_better: f64,
    /// How many repeats more of the base would decide; `None` where it is decided or none would.
    pub more_base_repeats: Option<u32>,
    /// How many repeats more of the head would.
    pub more_head_repeats: Option<u32>,
    /// Why none would.
    pub no_use: Option<NoUse>,
}

/// What could not be compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NotCompared {
    /// The name of the suite.
    pub suite: String,
    /// The name of the test.
    pub test: String,
    /// The role; `None` of the test as a whole.
    pub role: Option<String>,
    /// What was to be compared.
    pub quantity: Quantity,
    /// For people: why not.
    pub reason: String,
}

/// Why runs cannot be compared.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum CompareError {
    /// What may not differ does.
    Different(Vec<Difference>),
    /// No test is on both sides.
    NoCommonTest {
        /// The suites of the base.
        base: Vec<String>,
        /// The suites of the head.
        head: Vec<String>,
    },
    /// A test has more numbers than are compared.
    TooMany {
        /// The test.
        test: String,
        /// How many it has on one side.
        count: usize,
    },
}

/// Compares the runs of two sides.
///
/// # Errors
///
/// See [`CompareError`].
pub fn compare(base: &[Run], head: &[Run], options: &Options) -> Result<Comparison, CompareError> {
    let base_results: Vec<&Results> = base.iter().map(|run| &run.results).collect();
    let head_results: Vec<&Results> = head.iter().map(|run| &run.results).collect();
    let (different, unknown) = environment::compare(&base_results, &head_results);
    if different.iter().any(|it| !options.allowed.contains(&it.part)) {
        let refused = different.into_iter().filter(|it| !options.allowed.contains(&it.part));
        return Err(CompareError::Different(refused.collect()));
    }
    let quantities: BTreeSet<Quantity> = options
        .quantities
        .iter()
        .copied()
        .chain(options.limits.iter().map(|limit| limit.quantity))
        .collect();
    let quantities: Vec<Quantity> = quantities.into_iter().collect();
    let of = |runs: &[Run]| sides::numbers(runs, &quantities, options.roles);
    let (of_base, mut of_head) = (of(base), of(head));
    let mut pairs: Vec<(Key, Numbers, Numbers)> = Vec::new();
    for (key, base) in of_base {
        let head = of_head.remove(&key).unwrap_or_default();
        pairs.push((key, base, head));
    }
    pairs.extend(of_head.into_iter().map(|(key, head)| (key, Numbers::default(), head)));
    if !pairs.iter().any(|(_, base, head)| base.repeats() > 0 && head.repeats() > 0) {
        let suites = |results: &[&Results]| {
            let suites: BTreeSet<_> = results.iter().map(|it| it.suite.clone()).collect();
            suites.into_iter().collect()
        };
        let (base, head) = (suites(&base_results), suites(&head_results));
        return Err(CompareError::NoCommonTest { base, head });
    }
    for (key, base, head) in &pairs {
        let count = base.numbers.len().max(head.numbers.len());
        if count > MAX_NUMBERS {
            return Err(CompareError::TooMany { test: key.test.clone(), count });
        }
    }
    let origins = base_results.iter().chain(&head_results);
    let error_bytes = origins.clone().filter_map(|it| counter_error(it)).max().unwrap_or(0);
    let page_bytes =
        origins.filter_map(|it| it.origin.page_bytes).max().map_or(PAGE_BYTES, |it| it as f64);
    let comparisons_count = pairs.iter().filter(|(_, base, head)| is_compared(base, head)).count();
    let build_shift =
        options.history.map_or(0.0, |history| history.least_change(comparisons_count));
    let cases: Vec<Case> = pairs
        .iter()
        .map(|(key, base, head)| {
            let case = case(key, (base, head), error_bytes as f64, page_bytes);
            Case { floor: case.floor.max(build_shift), ..case }
        })
        .collect();
    let decisions = decide(&cases, options.margin.ln_1p());
    let mut comparisons = Vec::new();
    let mut not_compared = Vec::new();
    for (((key, base, head), case), decision) in pairs.into_iter().zip(cases).zip(decisions) {
        match decision {
            Some(decision) => {
                comparisons.push(compared(key, (&base, &head), &case, decision, &options.limits));
            }
            None => not_compared.push(NotCompared::new(key, &base, &head)),
        }
    }
    comparisons.sort_by(|one, other| {
        let rank =
            |it: &Compared| Verdict::BY_ATTENTION.iter().position(|&verdict| verdict == it.verdict);
        let change = |it: &Compared| it.change_percent.abs();
        rank(one).cmp(&rank(other)).then(change(other).total_cmp(&change(one)))
    });
    let mut counts = BTreeMap::new();
    for compared in &comparisons {
        *counts.entry(compared.verdict).or_default() += 1;
    }
    let is_any = |verdict| comparisons.iter().any(|it| it.counts && it.verdict == verdict);
    let outcome = match (is_any(Verdict::Worse), is_any(Verdict::Suspect)) {
        (true, _) => CompareOutcome::Worse,
        (_, true) => CompareOutcome::Suspects,
        _ => CompareOutcome::NotWorse,
    };
    Ok(Comparison {
        format_version: FORMAT_VERSION,
        memsample_version: env!("CARGO_PKG_VERSION").to_owned(),
        outcome,
        margin_percent: options.margin * 100.0,
        fail_on: options.limits.iter().map(Limit::to_string).collect(),
        history: options.history.map(|history| history.summary(comparisons_count)),
        counts,
        base: base.iter().map(RunSummary::of).collect(),
        head: head.iter().map(RunSummary::of).collect(),
        different,
        unknown,
        comparisons,
        not_compared,
    })
}

fn is_compared(base: &Numbers, head: &Numbers) -> bool {
    !base.numbers.is_empty() && !head.numbers.is_empty()
}

/// Returns how many bytes the counters of the kernel of a run may lag behind for one process.
fn counter_error(results: &Results) -> Option<u64> {
    let Origin { kernel, cpus_online, page_bytes, .. } = &results.origin;
    counter_error_of_kernel(kernel.as_deref()?, (*cpus_online)?, (*page_bytes)?)
}

fn case(key: &Key, (base, head): (&Numbers, &Numbers), error_bytes: f64, page_bytes: f64) -> Case {
    let logarithms = |numbers: &Numbers, only_first: bool| -> Vec<f64> {
        let chosen = numbers.numbers.iter().filter(|it| it.is_first || !only_first);
        chosen.map(|number| (number.bytes.lower as f64).ln()).collect()
    };
    let numbers = |only_first| decision::Numbers {
        base: logarithms(base, only_first),
        head: logarithms(head, only_first),
    };
    let (all, mut first) = (numbers(false), numbers(true));
    // Of a test that only runs of suspects have, these are the first.
    if first.base.is_empty() || first.head.is_empty() {
        first = all.clone();
    }
    let level = median(&all.base).map_or(1.0, f64::exp);
    let error = if key.quantity.is_counted() { error_bytes } else { 0.0 };
    Case {
        // A number is a whole number of pages.
        least_variance: (page_bytes / level).powi(2) / 12.0,
        floor: (error / level).max(FLOOR).ln_1p(),
        family: key.quantity as usize * 2 + usize::from(key.role.is_some()),
        first,
        all,
    }
}

fn compared(
    key: Key,
    (base, head): (&Numbers, &Numbers),
    case: &Case,
    decision: Decision,
    limits: &[Limit],
) -> Compared {
    let Key { suite, test, role, quantity } = key;
    let Decision { verdict, shift, look, .. } = decision;
    let Shift { estimate, lower, upper, confidence } = shift;
    let percent = |logarithm: f64| logarithm.exp_m1() * 100.0;
    let of = |numbers: &[Number]| {
        let lower: Vec<f64> = numbers.iter().map(|it| it.bytes.lower as f64).collect();
        // Without a bound it may be anything.
        let upper = |it: &Number| it.bytes.upper.map_or(f64::INFINITY, |upper| upper as f64);
        let upper: Vec<f64> = numbers.iter().map(upper).collect();
        let upper = median(&upper).filter(|upper| upper.is_finite());
        (median(&lower).unwrap_or(0.0), upper)
    };
    let ((base_bytes, base_upper), (head_bytes, head_upper)) =
        (of(&base.numbers), of(&head.numbers));
    let mut differences = Vec::with_capacity(base.numbers.len() * head.numbers.len());
    for head in &head.numbers {
        let above = |base: &Number| head.bytes.lower as f64 - base.bytes.lower as f64;
        differences.extend(base.numbers.iter().map(above));
    }
    let change_bytes = median(&differences).unwrap_or(0.0);
    let is_below = |upper: Option<f64>, lower: f64| upper.is_some_and(|upper| upper < lower);
    let bounds_overlap = match estimate > 0.0 {
        true => !is_below(base_upper, head_bytes),
        false => !is_below(head_upper, base_bytes),
    };
    // A suspect counts if the change may be above a limit.
    let at_most = if verdict == Verdict::Suspect { upper } else { estimate };
    let at_most_bytes = match verdict {
        Verdict::Suspect => differences.iter().copied().fold(f64::MIN, f64::max),
        _ => change_bytes,
    };
    let is_above = |limit: &Limit| {
        role.is_none()
            && limit.quantity == quantity
            && limit.is_exceeded(percent(at_most), at_most_bytes)
    };
    Compared {
        suite,
        test,
        counts: limits.is_empty() || limits.iter().any(is_above),
        role,
        quantity,
        verdict,
        base_bytes: base_bytes as u64,
        base_bytes_upper: base_upper.map(|upper| upper as u64),
        head_bytes: head_bytes as u64,
        head_bytes_upper: head_upper.map(|upper| upper as u64),
        change_percent: percent(estimate),
        change_percent_lower: percent(lower),
        change_percent_upper: percent(upper),
        confidence_percent: confidence * 100.0,
        change_bytes: change_bytes as i64,
        floor_percent: percent(case.floor),
        bounds_overlap,
        base_repeats: base.numbers.len() as u64,
        head_repeats: head.numbers.len() as u64,
        failed_repeats: base.failed + head.failed,
        not_measured_repeats: base.not_measured + head.not_measured,
        look,
        p_worse: decision.adjusted_p_worse,
        p_better: decision.adjusted_p_better,
        more_base_repeats: decision.more_base,
        more_head_repeats: decision.more_head,
        no_use: decision.no_use,
    }
}

impl Comparison {
    /// Returns what to run again, and how often.
    #[must_use]
    pub fn suspects(&self) -> Suspects {
        let mut tests: BTreeMap<(&str, &str), (u32, u32)> = BTreeMap::new();
        for it in self.comparisons.iter().filter(|it| it.verdict == Verdict::Suspect && it.counts) {
            let (base, head) = tests.entry((&it.suite, &it.test)).or_default();
            *base = it.more_base_repeats.unwrap_or(0).max(*base);
            *head = it.more_head_repeats.unwrap_or(0).max(*head);
        }
        let tests =
            tests.into_iter().map(|((suite, test), (base_repeats, head_repeats))| SuspectTest {
                suite: suite.to_owned(),
                test: test.to_owned(),
                repeats: base_repeats.max(head_repeats),
                base_repeats,
                head_repeats,
            });
        Suspects {
            format_version: suspects::FORMAT_VERSION,
            memsample_version: env!("CARGO_PKG_VERSION").to_owned(),
            tests: tests.collect(),
        }
    }

    /// Returns how many comparisons have a verdict.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> u64 {
        self.counts.get(&verdict).copied().unwrap_or(0)
    }
}

impl RunSummary {
    fn of(run: &Run) -> Self {
        let Results { suite, started, origin, .. } = &run.results;
        Self {
            run: run.name.clone(),
            suite: suite.clone(),
            started: *started,
            commit: origin.commit.clone(),
            only_suspects: origin.only_suspects,
        }
    }
}

impl NotCompared {
    fn new(key: Key, base: &Numbers, head: &Numbers) -> Self {
        let why = |side: &str, numbers: &Numbers| {
            if !numbers.numbers.is_empty() {
                return None;
            }
            Some(match (numbers.failed, numbers.not_measured) {
                (0, 0) => format!("not in the {side}"),
                (0, _) => format!("not measured in the {side}"),
                (_, 0) => format!("did not pass in the {side}"),
                _ => format!("did not pass or was not measured in the {side}"),
            })
        };
        let reasons: Vec<String> =
            [why("base", base), why("head", head)].into_iter().flatten().collect();
        let Key { suite, test, role, quantity } = key;
        Self { suite, test, role, quantity, reason: reasons.join(", ") }
    }
}

impl fmt::Display for CompareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Different(differences) => {
                let said: Vec<String> =
                    differences.iter().map(|it| printable(&it.to_string())).collect();
                let words: Vec<&str> = differences.iter().map(|it| it.part.word()).collect();
                write!(
                    f,
                    "the runs are not of one environment, so that a difference may not be one of the program ({}): \
                     compare runs of one environment, or pass `--allow-different {}`",
                    said.join("; "),
                    words.join(",")
                )
            }
            Self::NoCommonTest { base, head } => {
                let names = |suites: &[String]| {
                    let names: Vec<String> =
                        suites.iter().map(|suite| format!("`{}`", printable(suite))).collect();
                    names.join(", ")
                };
                write!(
                    f,
                    "no test is in both: the base is of suite {}, the head of suite {}; a test is the same if its name \
                     and the name of its suite are",
                    names(base),
                    names(head)
                )
            }
            Self::TooMany { test, count } => {
                write!(
                    f,
                    "test `{}` has {count} repeats on one side: compare at most {MAX_NUMBERS}, which are fewer runs",
                    printable(test)
                )
            }
        }
    }
}

impl std::error::Error for CompareError {}
