//! What is where in a store.
//!
//! ```text
//! manifests/project=P/suite=S/date=D/host=H/run=R.json        what counts
//! tables/TABLE/project=P/suite=S/date=D/host=H/run=R/*.parquet  one glob for each table of a lab
//! files/project=P/suite=S/date=D/host=H/run=R/…               all else of a run, as it was
//! news/ID                                                     which manifests came last, for who looks often
//! releases/project=P/release=R/STEP.json                      when a release was begun and closed
//! ```
//!
//! Values of partitions are escaped as Hive does: all but ASCII letters, digits, `.`, `_` and `-` is `%` and two
//! hexadecimal digits for each byte.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::hash::sha256_hex;

/// The manifests are below.
pub const MANIFESTS: &str = "manifests";
/// The tables are below.
pub const TABLES: &str = "tables";
/// All other files are below.
pub const FILES: &str = "files";
/// What says which manifests came last is below.
pub const NEWS: &str = "news";
/// When releases were begun and closed is below.
pub const RELEASES: &str = "releases";

/// The longest escaped value of a partition and name of a file, in bytes, so that every file system has room.
const LONGEST_NAME: usize = 200;
/// How much of a longer one is kept.
const KEPT_OF_LONGER: usize = 160;

/// Where a run stands in a store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Partition {
    /// What is tested: `--project`, the label `project`, or `default`.
    pub project: String,
    /// The name of the suite; `_none` of a recording that is of no suite.
    pub suite: String,
    /// The day on which it began, in UTC, by the clock of its machine.
    pub date: Date,
    /// The name of the machine; `unknown` where it is not known.
    pub host: String,
    /// The run: the name of its directory, and a part of the id of its first recording.
    pub run: String,
}

impl Partition {
    /// Returns the path of the partition, as below every table.
    #[must_use]
    pub fn path(&self) -> String {
        let Self { project, suite, date, host, run } = self;
        let (project, suite) = (escaped(project.as_bytes()), escaped(suite.as_bytes()));
        let (host, run) = (escaped(host.as_bytes()), escaped(run.as_bytes()));
        format!("project={project}/suite={suite}/date={date}/host={host}/run={run}")
    }

    /// Returns the object that is the manifest.
    #[must_use]
    pub fn manifest(&self) -> String {
        format!("{MANIFESTS}/{}.json", self.path())
    }
}

/// Escapes a value for a partition or the name of a file. One that is too long ends in its hash.
#[must_use]
pub fn escaped(value: &[u8]) -> String {
    let mut escaped = String::with_capacity(value.len());
    for &byte in value {
        if byte.is_ascii_alphanumeric() || b"._-".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    if escaped.is_empty() {
        return "__HIVE_DEFAULT_PARTITION__".to_owned();
    }
    if escaped.len() > LONGEST_NAME {
        let mut kept = KEPT_OF_LONGER;
        // Not in the middle of an escaped byte.
        while escaped.get(..kept).is_some_and(|it| it.bytes().rev().take(2).any(|b| b == b'%')) {
            kept -= 1;
        }
        escaped.truncate(kept);
        escaped.push('-');
        escaped.push_str(sha256_hex(value).get(..16).unwrap_or_default());
    }
    escaped
}

/// Writes a relative path as text from which [`relative_path`] makes the same bytes again.
///
/// `None` where it is not relative, or leads upwards.
#[must_use]
pub fn path_text(path: &Path) -> Option<String> {
    let mut text = String::new();
    for component in path.components() {
        let Component::Normal(name) = component else { return None };
        if !text.is_empty() {
            text.push('/');
        }
        for &byte in name.as_bytes() {
            if byte.is_ascii_graphic() && byte != b'%' {
                text.push(char::from(byte));
            } else {
                text.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    (!text.is_empty()).then_some(text)
}

/// Reads what [`path_text`] wrote. `None` of anything else, as of a path that leads out of its directory.
#[must_use]
pub fn relative_path(text: &str) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    for part in text.split('/') {
        let mut name = Vec::with_capacity(part.len());
        let mut bytes = part.bytes();
        while let Some(byte) = bytes.next() {
            if byte == b'%' {
                let digits = [bytes.next()?, bytes.next()?];
                let digits = std::str::from_utf8(&digits).ok()?;
                name.push(u8::from_str_radix(digits, 16).ok()?);
            } else {
                name.push(byte);
            }
        }
        if name.is_empty()
            || name == b"."
            || name == b".."
            || name.contains(&b'/')
            || name.contains(&0)
        {
            return None;
        }
        path.push(OsString::from_vec(name));
    }
    path.components().all(|it| matches!(it, Component::Normal(_))).then_some(path)
}

/// Escapes each part of a relative path for the name of an object.
pub(crate) fn object_path(path: &Path) -> String {
    let parts = path.components().map(|part| escaped(part.as_os_str().as_bytes()));
    parts.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_partition_is_escaped_as_hive_does() {
        let partition = Partition {
            project: "Ünï/x=1".to_owned(),
            suite: "a b".to_owned(),
            date: jiff::civil::date(2026, 11, 29),
            host: String::new(),
            run: "r.1".to_owned(),
        };
        assert_eq!(
            partition.path(),
            "project=%C3%9Cn%C3%AF%2Fx%3D1/suite=a%20b/date=2026-11-29/host=__HIVE_DEFAULT_PARTITION__/run=r.1"
        );
    }

    proptest! {
        #[test]
        fn every_path_comes_back(parts in prop::collection::vec(prop::collection::vec(1_u8.., 1..20), 1..4)) {
            let parts: Vec<_> = parts.into_iter().map(std::ffi::OsString::from_vec).collect();
            let path: PathBuf = parts.iter().collect();
            if let Some(text) = path_text(&path) {
                let normal: PathBuf = path.components().collect();
                prop_assert_eq!(relative_path(&text), Some(normal));
            }
        }

        #[test]
        fn no_text_leads_out(text in "[./%2eEfF0-9a-z]{0,12}") {
            if let Some(path) = relative_path(&text) {
                prop_assert!(path.components().all(|it| matches!(it, Component::Normal(_))));
            }
        }

        #[test]
        fn no_name_is_too_long(value in prop::collection::vec(any::<u8>(), 0..2000)) {
            let escaped = escaped(&value);
            prop_assert!(escaped.len() <= LONGEST_NAME && !escaped.is_empty());
        }
    }
}
