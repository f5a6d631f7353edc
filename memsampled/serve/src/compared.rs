//! Two releases compared, with the numbers of `memsample compare`.

use std::collections::BTreeSet;

use memsample_compare::{CompareError, Comparison, Options, Run, compare};
use memsample_store::{Store, StoreError};

use crate::index::{Index, IndexError, RunFilter};
use crate::reports::results;

/// Runs of a side that are read, at most.
const MAX_RUNS: u32 = 200;

/// Why two releases are not compared.
pub enum CompareProblem {
    /// The index cannot be read.
    Index(IndexError),
    /// The store does not answer, or what it has is damaged.
    Store(StoreError),
    /// A side has no runs.
    None(String),
    /// They cannot be compared, and why.
    Refused(String),
}

/// Compares all runs of two releases of a project.
///
/// # Errors
///
/// See [`CompareProblem`].
pub fn compared(
    store: &Store,
    index: &Index,
    project: &str,
    base: &str,
    head: &str,
) -> Result<Comparison, CompareProblem> {
    let side = |release: &str| {
        let filter = RunFilter {
            project: Some(project.to_owned()),
            release: Some(release.to_owned()),
            ..RunFilter::default()
        };
        let rows = index.runs(&filter, MAX_RUNS, 0).map_err(CompareProblem::Index)?;
        let mut runs: Vec<Run> = Vec::with_capacity(rows.len());
        for row in rows.iter().rev() {
            runs.extend(results(store, &row.manifest).map_err(CompareProblem::Store)?);
        }
        match runs.is_empty() {
            true => Err(CompareProblem::None(format!(
                "No run of `{project}` is of the release `{release}`."
            ))),
            false => Ok(runs),
        }
    };
    let (base, head) = (side(base)?, side(head)?);
    let options = Options { allowed: BTreeSet::new(), ..Options::default() };
    compare(&base, &head, &options)
        .map_err(|error: CompareError| CompareProblem::Refused(error.to_string()))
}
