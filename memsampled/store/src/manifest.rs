//! The manifest of a run in a store: what it is, and which objects it has.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::error::{ErrorKind, StoreError};
use crate::layout::Partition;

/// The version of the format that is written. A new key does not raise it.
pub const FORMAT_VERSION: u32 = 1;

/// What was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An execution of a suite, with its recordings.
    Run,
    /// A recording that is of no suite.
    Recording,
}

/// A recording of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingOf {
    /// Its directory in that of the run; empty of a recording by itself.
    pub path: String,
    /// Its id: `recording` in each of its rows.
    pub id: String,
}

/// Row groups of a file that has those of several runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowGroups {
    /// The first one, from 0.
    pub first: u64,
    /// How many there are.
    pub count: u64,
    /// The bytes of the run's own file, before it was put together with others.
    #[serde(default)]
    pub bytes: u64,
    /// What the run's own file said of itself, which the shared one cannot.
    #[serde(default)]
    pub key_values: BTreeMap<String, Option<String>>,
}

/// A file of a run, and the object that has its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFile {
    /// The path in the directory of the run, as [`crate::layout::path_text`] writes it; `None` of what was made for
    /// the store alone.
    pub path: Option<String>,
    /// The object, from the root of the store. An empty file has none.
    pub object: String,
    /// The bytes of the object.
    pub bytes: u64,
    /// The SHA-256 of the object.
    pub sha256: String,
    /// The table of which it has rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// Which of its row groups are of this run, where it has those of others too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row_groups: Option<RowGroups>,
}

/// What a run is, and which objects it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT_VERSION`] of the program that wrote it.
    pub format: u32,
    /// The version of that program.
    pub memsample: String,
    /// What it is.
    pub kind: Kind,
    /// The run, unique in the store.
    pub run: String,
    /// The name of its directory.
    pub name: String,
    /// What is tested.
    pub project: String,
    /// The suite.
    pub suite: String,
    /// The day on which it began, in UTC.
    pub date: Date,
    /// The machine.
    pub host: String,
    /// The release: the label `release`.
    pub release: Option<String>,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The commit that was checked out.
    pub commit: Option<String>,
    /// The release of the kernel.
    pub kernel: Option<String>,
    /// The memory of the machine, in bytes.
    pub memory_bytes: Option<u64>,
    /// The CPUs on which it could run.
    pub cpus: Option<u64>,
    /// When it began.
    pub started: Option<Timestamp>,
    /// How long it took, in nanoseconds.
    pub duration_ns: Option<u64>,
    /// How it ended, in the word of `results.json`; `None` of a recording.
    pub outcome: Option<String>,
    /// How many tests there are of each verdict.
    #[serde(default)]
    pub counts: BTreeMap<String, u64>,
    /// Its recordings.
    pub recordings: Vec<RecordingOf>,
    /// When it was pushed, by the clock of who did.
    pub pushed: Timestamp,
    /// Its files.
    pub files: Vec<StoredFile>,
}

impl Manifest {
    /// Reads one.
    ///
    /// # Errors
    ///
    /// It is none, or of a later format, or names objects outside the store.
    pub fn from_json(bytes: &[u8]) -> Result<Self, StoreError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let damaged = |error: serde_json::Error| {
            StoreError::because(ErrorKind::Damaged, "a manifest is damaged", error)
        };
        let Format { format } = serde_json::from_slice(bytes).map_err(damaged)?;
        if format > FORMAT_VERSION {
            return Err(StoreError::new(
                ErrorKind::Damaged,
                format!(
                    "a manifest has format {format}, which is newer than this program reads ({FORMAT_VERSION}): \
                     install a newer memsample"
                ),
            ));
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(damaged)?;
        let below = |file: &&StoredFile| {
            let mut parts = file.object.split('/');
            !parts.any(|part| part.is_empty() || part == "." || part == "..")
        };
        let outside = manifest.files.iter().find(|file| !below(file));
        if let Some(StoredFile { object, .. }) = outside {
            return Err(StoreError::new(
                ErrorKind::Damaged,
                format!(
                    "a manifest names `{}`, which is no object of the store",
                    object.escape_debug()
                ),
            ));
        }
        Ok(manifest)
    }

    /// Writes it.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Maps with keys of text, numbers and text: it cannot fail.
        let mut json = serde_json::to_vec_pretty(self).unwrap_or_default();
        json.push(b'\n');
        json
    }

    /// Returns where it stands in the store.
    #[must_use]
    pub fn partition(&self) -> Partition {
        Partition {
            project: self.project.clone(),
            suite: self.suite.clone(),
            date: self.date,
            host: self.host.clone(),
            run: self.run.clone(),
        }
    }

    /// Returns the bytes that it has in the store: of what it shares with other runs, its own part.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let own = |file: &StoredFile| file.row_groups.as_ref().map_or(file.bytes, |it| it.bytes);
        self.files.iter().map(own).sum()
    }

    /// Returns the bytes of all its objects that are its alone, and are free when it is gone.
    #[must_use]
    pub fn bytes_alone(&self) -> u64 {
        let own = self.files.iter().filter(|file| file.row_groups.is_none());
        own.map(|file| file.bytes).sum()
    }
}
