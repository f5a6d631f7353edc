//! What the JSON interface answers, beside the rows of the index: see docs/dashboard.md.

use serde::Serialize;

use crate::index::{RunRow, TestOfRun};
use crate::refresh::Progress;

/// Why there is no answer.
#[derive(Serialize)]
pub(crate) struct Failure {
    /// For people.
    pub(crate) error: String,
}

/// What is served, and how old it is.
#[derive(Serialize)]
pub(crate) struct Status {
    /// The version of this program.
    pub(crate) version: &'static str,
    /// The store.
    pub(crate) store: String,
    /// Its runs, as far as they are in the index.
    pub(crate) runs: i64,
    /// How far the index is.
    pub(crate) index: Progress,
    /// Manifests that cannot be read.
    pub(crate) damaged: Vec<Damaged>,
}

/// A manifest that cannot be read.
#[derive(Serialize)]
pub(crate) struct Damaged {
    /// Its name in the store.
    pub(crate) manifest: String,
    /// Why.
    pub(crate) reason: String,
}

/// A run, and its tests.
#[derive(Serialize)]
pub(crate) struct RunWithTests {
    #[serde(flatten)]
    pub(crate) run: RunRow,
    /// Its tests, with their attempts.
    pub(crate) tests: Vec<TestOfRun>,
}
