//! Runs that belong together: those of one release.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::sides::Run;

/// A release, and its runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Release {
    /// What it is called.
    pub name: String,
    /// When its first run began; `None` where none did.
    pub started: Option<Timestamp>,
    /// Its runs, in the order of their begin.
    pub runs: Vec<Run>,
}

/// Groups runs into releases, in the order of time.
///
/// A run is of the release that its label `label` names; without one, of the group that it was given in, such as the
/// directory that all runs of the release are in; else it is a release by itself.
#[must_use]
pub fn releases(
    runs: impl IntoIterator<Item = (Option<String>, Run)>,
    label: &str,
) -> Vec<Release> {
    let mut of_name: BTreeMap<String, Vec<Run>> = BTreeMap::new();
    for (group, run) in runs {
        let labelled = run.results.origin.labels.get(label).cloned();
        let name = labelled.or(group).unwrap_or_else(|| run.name.clone());
        of_name.entry(name).or_default().push(run);
    }
    let mut releases: Vec<Release> = of_name
        .into_iter()
        .map(|(name, mut runs)| {
            runs.sort_by_key(|run| run.results.started);
            let started = runs.iter().filter_map(|run| run.results.started).min();
            Release { name, started, runs }
        })
        .collect();
    releases.sort_by(|one, other| (one.started, &one.name).cmp(&(other.started, &other.name)));
    releases
}
