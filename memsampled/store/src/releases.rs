//! Releases that somebody begins and closes: before its first run a release is known, and after its last one it is
//! known to be whole.
//!
//! Each step is an object that is written once, so that two servers of one store agree on it.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{ErrorKind, StoreError};
use crate::layout::{RELEASES, escaped};
use crate::store::Store;

/// The version of what is written here.
const FORMAT: u32 = 1;
/// An object with more bytes is none of this kind.
const MAX_BYTES: u64 = 1 << 16;
/// The longest name of a project or a release, in characters.
const MAX_NAME: usize = 200;

/// What can be said of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Runs are to come.
    Begun,
    /// All its runs are there.
    Closed,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Begun => "begun",
            Self::Closed => "closed",
        })
    }
}

/// A step of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseStep {
    format: u32,
    /// What is tested.
    pub project: String,
    /// The release.
    pub release: String,
    /// What became of it.
    pub step: Step,
    /// When, by the clock of who wrote it.
    pub at: Timestamp,
}

impl ReleaseStep {
    /// Returns a step that is taken now.
    ///
    /// # Errors
    ///
    /// A name is empty, too long, or has control characters.
    pub fn now(project: &str, release: &str, step: Step) -> Result<Self, StoreError> {
        for (what, name) in [("project", project), ("release", release)] {
            let length = name.chars().count();
            if length == 0 || length > MAX_NAME || name.chars().any(char::is_control) {
                let text = format!(
                    "the name of the {what} must have 1 to {MAX_NAME} characters, none of them control characters"
                );
                return Err(StoreError::new(ErrorKind::Address, text));
            }
        }
        let (project, release) = (project.to_owned(), release.to_owned());
        Ok(Self { format: FORMAT, project, release, step, at: Timestamp::now() })
    }

    /// Returns the object that says so.
    #[must_use]
    pub fn object(&self) -> String {
        let Self { project, release, step, .. } = self;
        let (project, release) = (escaped(project.as_bytes()), escaped(release.as_bytes()));
        format!("{RELEASES}/project={project}/release={release}/{step}.json")
    }

    fn from_json(bytes: &[u8]) -> Result<Self, String> {
        let step: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        match step.format {
            FORMAT => Ok(step),
            other => Err(format!("it has the format {other}: this program knows {FORMAT}")),
        }
    }
}

impl Store {
    /// Writes a step of a release, unless it was taken before, and returns the one that counts.
    ///
    /// # Errors
    ///
    /// The store refuses or does not answer.
    pub fn take_step(&self, step: ReleaseStep) -> Result<ReleaseStep, StoreError> {
        let name = step.object();
        let json = serde_json::to_vec(&step).unwrap_or_default();
        match self.write(&name, json, true) {
            Ok(()) => {
                self.tell_news_of(&name);
                Ok(step)
            }
            Err(error) if error.kind() == ErrorKind::Exists => self.release_step(&name),
            Err(error) => Err(error),
        }
    }

    /// Lists the objects of all steps of all releases.
    ///
    /// # Errors
    ///
    /// The store refuses or does not answer.
    pub fn release_steps(&self) -> Result<Vec<String>, StoreError> {
        let listed = self.list(RELEASES)?;
        Ok(listed.into_iter().map(|it| it.location.to_string()).collect())
    }

    /// Reads a step of a release.
    ///
    /// # Errors
    ///
    /// It is not there, cannot be read, is damaged, or stands in the place of another.
    pub fn release_step(&self, name: &str) -> Result<ReleaseStep, StoreError> {
        let bytes = self.read(name, MAX_BYTES)?;
        let step = ReleaseStep::from_json(&bytes).and_then(|step| match step.object() == name {
            true => Ok(step),
            false => Err("it is about another release".to_owned()),
        });
        step.map_err(|error| StoreError::new(ErrorKind::Damaged, format!("`{name}`: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Address;

    #[test]
    fn the_first_step_counts() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&Address::Directory(directory.path().to_owned())).unwrap();
        let take = |step| store.take_step(ReleaseStep::now("p/ü", "1.0", step).unwrap()).unwrap();
        let first = take(Step::Begun);
        assert_eq!(take(Step::Begun), first);
        let closed = take(Step::Closed);
        assert_ne!(closed.object(), first.object());
        assert_eq!(store.release_steps().unwrap().len(), 2);
        assert_eq!(store.release_step(&closed.object()).unwrap(), closed);
    }

    #[test]
    fn what_is_no_step_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&Address::Directory(directory.path().to_owned())).unwrap();
        let step = ReleaseStep::now("p", "1.0", Step::Begun).unwrap();
        for (format, release) in [(2, "1.0"), (1, "2.0")] {
            let other = ReleaseStep { format, release: release.to_owned(), ..step.clone() };
            let json = serde_json::to_vec(&other).unwrap();
            store.write(&step.object(), json, false).unwrap();
            assert_eq!(store.release_step(&step.object()).unwrap_err().kind(), ErrorKind::Damaged);
        }
        for name in ["", "a\nb", &"x".repeat(201)] {
            assert!(ReleaseStep::now("p", name, Step::Begun).is_err());
        }
    }
}
