//! A test over releases, as `memsample trend` has it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use memsample_compare::statistics::median;
use memsample_compare::trend::{TrendChange, TrendPoint, TrendRelease, changes};
use serde::Serialize;

use crate::index::{Index, IndexError, PointOfRun, TestKey};

/// A quantity of a test over releases, in the order of time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct History {
    /// What is tested.
    pub project: String,
    /// The suite.
    pub suite: String,
    /// The test.
    pub test: String,
    /// The role; `None` of the test as a whole.
    pub role: Option<String>,
    /// What is looked at of it.
    pub quantity: String,
    /// The releases.
    pub releases: Vec<TrendRelease>,
    /// One for each release; `None` where it was not measured.
    pub points: Vec<Option<TrendPoint>>,
    /// The last run of each release.
    pub runs: Vec<String>,
    /// Where it changed.
    pub changes: Vec<TrendChange>,
    /// Releases before the first of these, which are left out.
    pub left_out: u64,
}

/// Returns the history of a test or of one of its roles, over the last releases; `None` if there is no such test or
/// quantity.
///
/// # Errors
///
/// The index cannot be read.
pub fn history(
    index: &Index,
    key: &TestKey,
    quantity: &str,
    releases_max: usize,
) -> Result<Option<History>, IndexError> {
    let Some(points) = index.history(key, quantity)? else { return Ok(None) };
    let mut of_release: BTreeMap<&str, Vec<&PointOfRun>> = BTreeMap::new();
    for point in &points {
        of_release.entry(&point.release).or_default().push(point);
    }
    let mut releases: Vec<(i64, &str, Vec<&PointOfRun>)> = of_release
        .into_iter()
        .map(|(name, points)| (points.first().map_or(0, |point| point.started_ms), name, points))
        .collect();
    releases.sort_by_key(|(started, name, _)| (*started, *name));
    let left_out = releases.len().saturating_sub(releases_max);
    releases.drain(..left_out);
    let mut summaries: Vec<TrendRelease> = Vec::with_capacity(releases.len());
    let mut medians = Vec::with_capacity(releases.len());
    let mut runs = Vec::with_capacity(releases.len());
    let mut before: Option<&PointOfRun> = None;
    for (started, name, points) in &releases {
        let Some(first) = points.first() else { continue };
        summaries.push(TrendRelease {
            name: (*name).to_owned(),
            started: Timestamp::from_millisecond(*started).ok(),
            commit: points.iter().find_map(|point| point.commit.clone()),
            runs: distinct(points),
            different: before.map_or_else(Vec::new, |before| different(before, first)),
        });
        medians.push(point(points));
        runs.push(points.last().map_or_else(String::new, |point| point.run.clone()));
        before = Some(first);
    }
    let changes = changes(&medians, &summaries);
    Ok(Some(History {
        project: key.project.clone(),
        suite: key.suite.clone(),
        test: key.test.clone(),
        role: Some(key.role.clone()).filter(|role| !role.is_empty()),
        quantity: quantity.to_owned(),
        releases: summaries,
        points: medians,
        runs,
        changes,
        left_out: left_out as u64,
    }))
}

fn distinct(points: &[&PointOfRun]) -> u64 {
    let mut runs: Vec<&str> = points.iter().map(|point| point.run.as_str()).collect();
    runs.dedup();
    runs.len() as u64
}

/// What may be why memory is another, for people.
fn different(before: &PointOfRun, after: &PointOfRun) -> Vec<String> {
    let mut different = Vec::new();
    if before.environment.0 != after.environment.0 {
        let name = |kernel: &Option<String>| kernel.clone().unwrap_or_else(|| "unknown".to_owned());
        let (before, after) = (name(&before.environment.0), name(&after.environment.0));
        different.push(format!("kernel {before} → {after}"));
    }
    if before.environment.1 != after.environment.1 {
        let count = |cpus: Option<i64>| cpus.map_or("unknown".to_owned(), |cpus| cpus.to_string());
        different.push(format!(
            "CPUs {} → {}",
            count(before.environment.1),
            count(after.environment.1)
        ));
    }
    different
}

fn point(points: &[&PointOfRun]) -> Option<TrendPoint> {
    let known: Vec<u64> = points
        .iter()
        .filter_map(|point| point.bytes.and_then(|bytes| u64::try_from(bytes).ok()))
        .collect();
    let bytes: Vec<f64> = known.iter().map(|bytes| *bytes as f64).collect();
    Some(TrendPoint {
        bytes: median(&bytes)? as u64,
        smallest_bytes: known.iter().copied().min()?,
        largest_bytes: known.iter().copied().max()?,
        repeats: known.len() as u64,
    })
}
