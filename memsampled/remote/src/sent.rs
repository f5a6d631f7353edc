//! A file that is sent.

use std::path::PathBuf;

use crate::error::{RemoteError, here};
use crate::hash;

/// A file that is sent, and what it has to be when it has arrived.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) path: PathBuf,
    /// What messages call it.
    pub(crate) told: String,
    pub(crate) hash: String,
    pub(crate) bytes: u64,
}

impl Sent {
    pub(crate) fn of(path: PathBuf) -> Result<Self, RemoteError> {
        let (hash, bytes) = hash::of_file(&path).map_err(here(&path))?;
        let told = format!("`{}`", path.display());
        Ok(Self { path, told, hash, bytes })
    }
}
