//! What a directory is that is named as the place of runs.

use std::fs;
use std::io;
use std::path::Path;

use memsample::Recording;
use memsample_runner::results::FILE;
use memsample_runner::run::PROGRESS_FILE;

use crate::layout::{FILES, MANIFESTS, NEWS, RELEASES, TABLES};

/// What a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectoryKind {
    /// A store, which `memsample push` made or begins to make; or of which all runs were removed.
    Store,
    /// A directory with runs or recordings in it, as `memsample run` and `memsample record` make them.
    Runs,
    /// A single run or recording.
    Run,
    /// Nothing is in it but what is hidden.
    Empty,
    /// Something else.
    Other,
}

impl DirectoryKind {
    /// Finds out what a directory is.
    ///
    /// # Errors
    ///
    /// There is none, or it cannot be read.
    pub fn of(directory: &Path) -> io::Result<Self> {
        let mut is_empty = true;
        let mut has_runs = false;
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            // Such as the lock and the index of a daemon.
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            is_empty = false;
            has_runs |= entry.file_type().is_ok_and(|it| it.is_dir()) && is_run(&entry.path());
        }
        Ok(if directory.join(MANIFESTS).is_dir() {
            Self::Store
        } else if is_run(directory) {
            Self::Run
        } else if has_runs {
            Self::Runs
        } else if is_empty {
            Self::Empty
        } else if [TABLES, FILES, RELEASES, NEWS].iter().any(|name| directory.join(name).is_dir()) {
            Self::Store
        } else {
            Self::Other
        })
    }
}

fn is_run(directory: &Path) -> bool {
    [FILE, Recording::FILE, PROGRESS_FILE].iter().any(|name| directory.join(name).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_known_by_what_is_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let of = |path: &Path| DirectoryKind::of(path).unwrap();
        assert_eq!(of(path), DirectoryKind::Empty);
        fs::create_dir(path.join(".hidden")).unwrap();
        assert_eq!(of(path), DirectoryKind::Empty);
        fs::create_dir(path.join("nightly")).unwrap();
        assert_eq!(of(path), DirectoryKind::Other);
        fs::write(path.join("nightly").join(FILE), "{}").unwrap();
        assert_eq!(of(path), DirectoryKind::Runs);
        assert_eq!(of(&path.join("nightly")), DirectoryKind::Run);
        fs::create_dir_all(path.join("begun").join(TABLES)).unwrap();
        assert_eq!(of(&path.join("begun")), DirectoryKind::Store);
        fs::create_dir(path.join(MANIFESTS)).unwrap();
        assert_eq!(of(path), DirectoryKind::Store);
        assert!(DirectoryKind::of(&path.join("none")).is_err());
    }
}
