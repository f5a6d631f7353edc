//! The memory of each test over releases, and where it changed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use memsample_runner::results::Results;
use serde::{Deserialize, Serialize};

use crate::environment;
use crate::quantity::Quantity;
use crate::releases::Release;
use crate::sides::{Key, Number, numbers};
use crate::statistics::{change_points, median};

/// The version of the format of the JSON. Raised when a key changes its meaning or goes.
pub const FORMAT_VERSION: u32 = 1;
/// With fewer releases nothing is called a change.
pub const MIN_RELEASES: usize = 8;
/// The probability of a change by chance at one place, at most.
const MAX_P: f64 = 0.001;
/// The smallest change that is one, as a share.
const FLOOR: f64 = 0.01;

/// What is looked at.
#[derive(Clone, Debug)]
pub struct TrendOptions {
    /// Which quantities of each test.
    pub quantities: Vec<Quantity>,
    /// Whether the roles of tests are looked at too.
    pub roles: bool,
}

/// The memory of tests over releases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    /// [`FORMAT_VERSION`] of the program that made it.
    pub format_version: u32,
    /// The version of that program.
    pub memsample_version: String,
    /// The releases, in the order of time.
    pub releases: Vec<TrendRelease>,
    /// The tests: those that changed first, the largest change on top.
    pub tests: Vec<TestTrend>,
}

/// A release, in short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrendRelease {
    /// What it is called.
    pub name: String,
    /// When its first run began.
    pub started: Option<Timestamp>,
    /// The commit of its first run.
    pub commit: Option<String>,
    /// The number of its runs.
    pub runs: u64,
    /// For people: what is different in its environment from the release before. A change of memory there may not be one
    /// of the program.
    pub different: Vec<String>,
}

/// A quantity of a test over releases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestTrend {
    /// The name of the suite.
    pub suite: String,
    /// The name of the test.
    pub test: String,
    /// The role; `None` of the test as a whole.
    pub role: Option<String>,
    /// What is looked at of it.
    pub quantity: Quantity,
    /// One for each release; `None` where it was not measured.
    pub points: Vec<Option<TrendPoint>>,
    /// Where it changed, in the order of time.
    pub changes: Vec<TrendChange>,
}

/// What one release says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrendPoint {
    /// The median of its repeats, in bytes.
    pub bytes: u64,
    /// The smallest of them.
    pub smallest_bytes: u64,
    /// The largest of them.
    pub largest_bytes: u64,
    /// How many there are.
    pub repeats: u64,
}

/// A change that lasted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrendChange {
    /// The first release that has it.
    pub release: String,
    /// Its place in the list of releases, from 0.
    pub release_index: u64,
    /// The mean of the medians from the change before up to it, in bytes.
    pub before_bytes: u64,
    /// The mean from it up to the next change, in bytes.
    pub after_bytes: u64,
    /// The change, in percent of what was before.
    pub change_percent: f64,
    /// The probability of such a change by chance, at this place alone: a trend that is looked at long enough shows
    /// some by chance.
    pub p: f64,
    /// Whether the environment of that release is another too.
    pub environment_changed: bool,
}

/// Returns the trend of every test over releases, which are in the order of time.
#[must_use]
pub fn trend(releases: &[Release], options: &TrendOptions) -> Trend {
    let mut of_key: BTreeMap<Key, Vec<Option<TrendPoint>>> = BTreeMap::new();
    for (index, release) in releases.iter().enumerate() {
        for (key, numbers) in numbers(&release.runs, &options.quantities, options.roles) {
            let points = of_key.entry(key).or_insert_with(|| vec![None; releases.len()]);
            if let Some(place) = points.get_mut(index) {
                *place = point(&numbers.numbers);
            }
        }
    }
    let summaries = summaries(releases);
    let mut tests: Vec<TestTrend> = of_key
        .into_iter()
        .map(|(key, points)| {
            let changes = changes(&points, &summaries);
            let Key { suite, test, role, quantity } = key;
            TestTrend { suite, test, role, quantity, points, changes }
        })
        .collect();
    let largest = |test: &TestTrend| {
        test.changes.iter().map(|change| change.change_percent.abs()).fold(-1.0, f64::max)
    };
    tests.sort_by(|one, other| largest(other).total_cmp(&largest(one)));
    Trend {
        format_version: FORMAT_VERSION,
        memsample_version: env!("CARGO_PKG_VERSION").to_owned(),
        releases: summaries,
        tests,
    }
}

fn point(numbers: &[Number]) -> Option<TrendPoint> {
    let bytes: Vec<f64> = numbers.iter().map(|number| number.bytes.lower as f64).collect();
    let of = |number: Option<&Number>| number.map(|number| number.bytes.lower);
    Some(TrendPoint {
        bytes: median(&bytes)? as u64,
        smallest_bytes: of(numbers.iter().min_by_key(|number| number.bytes.lower))?,
        largest_bytes: of(numbers.iter().max_by_key(|number| number.bytes.lower))?,
        repeats: numbers.len() as u64,
    })
}

/// Returns where a series changed: `points` has one for each of `releases`, which are in the order of time.
#[must_use]
pub fn changes(points: &[Option<TrendPoint>], releases: &[TrendRelease]) -> Vec<TrendChange> {
    let known: Vec<(usize, f64)> = points
        .iter()
        .enumerate()
        .filter_map(|(index, point)| Some((index, (*point)?.bytes as f64)))
        .collect();
    if known.len() < MIN_RELEASES {
        return Vec::new();
    }
    let series: Vec<f64> = known.iter().map(|(_, bytes)| *bytes).collect();
    change_points(&series, MAX_P, FLOOR)
        .into_iter()
        .filter_map(|point| {
            let &(index, _) = known.get(point.index)?;
            let release = releases.get(index)?;
            Some(TrendChange {
                release: release.name.clone(),
                release_index: index as u64,
                before_bytes: point.mean_before as u64,
                after_bytes: point.mean_after as u64,
                change_percent: point.change() * 100.0,
                p: point.p,
                environment_changed: !release.different.is_empty(),
            })
        })
        .collect()
}

fn summaries(releases: &[Release]) -> Vec<TrendRelease> {
    let before = std::iter::once(None).chain(releases.iter().map(Some));
    before
        .zip(releases)
        .map(|(before, release)| {
            let different = before.map_or_else(Vec::new, |before| {
                environment::compare(&results_of(before), &results_of(release)).0
            });
            TrendRelease {
                name: release.name.clone(),
                started: release.started,
                commit: release.runs.iter().find_map(|run| run.results.origin.commit.clone()),
                runs: release.runs.len() as u64,
                different: different.iter().map(environment::Difference::over_time).collect(),
            }
        })
        .collect()
}

fn results_of(release: &Release) -> Vec<&Results> {
    release.runs.iter().map(|run| &run.results).collect()
}
