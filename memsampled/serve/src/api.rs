//! What the JSON interface answers, beside the rows of the index: see docs/dashboard.md.

use memsample_client::wire::Session;
use serde::Serialize;

use crate::fleet::Fleet;
use crate::index::{RunRow, TestOfRun};
use crate::refresh::Progress;
use crate::webhook::Sending;

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
    /// Tests and releases of which it is not known yet whether they got worse.
    pub(crate) unexamined: i64,
    /// How the telling of what got worse goes; `None` without a webhook.
    pub(crate) webhook: Option<Webhook>,
    /// Manifests that cannot be read.
    pub(crate) damaged: Vec<Damaged>,
}

/// How the telling of what got worse goes.
#[derive(Serialize)]
pub(crate) struct Webhook {
    /// Notices that wait.
    pub(crate) waiting: i64,
    #[serde(flatten)]
    pub(crate) sending: Sending,
}

/// What the fleet does.
#[derive(Serialize)]
pub(crate) struct OfFleet {
    /// `None` where none is known.
    pub(crate) fleet: Option<Fleet>,
}

/// What goes on.
#[derive(Serialize)]
pub(crate) struct Live {
    /// The sessions of the daemon; `None` where none was named.
    pub(crate) sessions: Option<Vec<Session>>,
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
    /// Its tests, with their attempts. `tests` is their number, as in lists.
    pub(crate) tests_of_run: Vec<TestOfRun>,
}
