//! The request that sets a mark.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::limits::MARK_CHARACTERS;
use super::request::{Request, check_labels, check_length};
use super::session::optional_whole_pid;

/// `POST /v1/sessions/{id}/marks`: an instant that means something to whoever reads the recording.
///
/// The instant is that at which the daemon reads the request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarkRequest {
    /// What the mark says.
    pub kind: MarkKind,
    /// What begins, ends or happened.
    pub name: String,
    /// The test that the mark belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<String>,
    /// What else the client wants to find in the row of the mark.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The process that the mark is about, as the client counts: its memory at the mark is in the row. Over TCP,
    /// where nobody can tell whose pid it is, nothing is read.
    #[serde(
        default,
        deserialize_with = "optional_whole_pid",
        skip_serializing_if = "Option::is_none"
    )]
    pub pid: Option<i32>,
}

/// What a mark says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MarkKind {
    /// Something begins, such as a test.
    Begin,
    /// What began under the same name ends.
    End,
    /// Something happened at this instant.
    #[default]
    Point,
}

impl Request for MarkRequest {
    fn check(&self) -> Result<(), String> {
        check_labels(&self.labels)?;
        check_length("the name of the mark", &self.name, 1, MARK_CHARACTERS)?;
        if self.pid.is_some_and(|pid| pid < 1) {
            return Err("`pid` is out of range: it must be at least 1".to_owned());
        }
        match &self.test {
            Some(test) => check_length("the name of the test", test, 1, MARK_CHARACTERS),
            None => Ok(()),
        }
    }
}
