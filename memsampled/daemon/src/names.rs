//! Names of sessions and recordings, and labels, that a client may choose.

use std::collections::BTreeMap;

use jiff::Timestamp;
use memsample_client::wire::{ErrorCode, is_id};

use super::failure::Failure;

/// Refuses labels that the daemon sets itself.
pub(super) fn check_own_labels(labels: &BTreeMap<String, String>) -> Result<(), Failure> {
    if labels.keys().any(|key| key.starts_with("memsampled.")) {
        return Err(Failure::new(
            ErrorCode::InvalidRequest,
            "labels that begin with `memsampled.` are set by the daemon: choose other names",
        ));
    }
    Ok(())
}

/// Refuses what cannot be the name of a session or recording, before it becomes part of a path.
pub(super) fn check_name(id: &str) -> Result<(), Failure> {
    if is_id(id) {
        return Ok(());
    }
    Err(Failure::new(
        ErrorCode::InvalidName,
        "the path holds a name that no session can have: letters, digits, dots, underscores and hyphens",
    ))
}

/// Returns the name of a session: what the client called it, and the time.
pub(super) fn base_name(name: Option<&str>, now: Timestamp) -> String {
    let time = now.strftime("%Y%m%dT%H%M%SZ");
    match name {
        Some(name) => format!("{name}-{time}"),
        None => time.to_string(),
    }
}
