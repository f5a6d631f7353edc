//! The request for a recording of the last minutes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Span;
use super::request::{Request, check_labels, check_recording_name, check_span};

/// `POST /v1/dump`: makes a recording of the last minutes. Every field may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DumpRequest {
    /// How much; by default all that is to be kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Span>,
    /// What the recording is called; its id is this and the time. By default `flight`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the client wants to find in `recording.json`.
    pub labels: BTreeMap<String, String>,
}

impl Request for DumpRequest {
    fn check(&self) -> Result<(), String> {
        check_span("last", self.last)?;
        check_recording_name(self.name.as_deref())?;
        check_labels(&self.labels)
    }
}
