//! What was found in directories of the kernel, and whether that is all.

use std::fs::{self, DirEntry};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// How often a directory is listed that could not be listed.
const TRIES: u32 = 3;
/// Links of the directory of a control group that has none below it: its name, and its `.`.
const LINKS_WITHOUT_GROUPS: u64 = 2;

/// What was found, and whether that is all.
#[derive(Debug)]
pub(super) struct Listed<T> {
    pub(super) found: Vec<T>,
    /// Why there may be more.
    pub(super) error: Option<io::Error>,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self { found: Vec::new(), error: None }
    }
}

/// Lists the paths in a directory. One that is gone has none.
pub(super) fn paths(directory: &Path) -> Listed<PathBuf> {
    paths_if(directory, |_| true)
}

/// Lists the groups in the directory of a control group.
///
/// It has as many links as groups, and two; and forty files, of which the kernel tells with each name that it is none.
pub(super) fn groups(directory: &Path) -> Listed<PathBuf> {
    if fs::symlink_metadata(directory).is_ok_and(|it| it.nlink() == LINKS_WITHOUT_GROUPS) {
        return Listed::default();
    }
    paths_if(directory, |entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
}

fn paths_if(directory: &Path, is_wanted: impl Fn(&DirEntry) -> bool) -> Listed<PathBuf> {
    let mut tries = 1;
    loop {
        let mut listed = Listed::default();
        match fs::read_dir(directory) {
            Ok(entries) => {
                for entry in entries {
                    match entry {
                        Ok(entry) if is_wanted(&entry) => listed.found.push(entry.path()),
                        Ok(_) => {}
                        Err(error) => {
                            listed.error = Some(error);
                            break;
                        }
                    }
                }
            }
            Err(error) => listed.error = Some(error),
        }
        listed.error = listed.error.filter(|error| !is_gone(error));
        if listed.error.is_none() || tries >= TRIES {
            return listed;
        }
        tries += 1;
    }
}

/// Lists the ids that are the names in a directory.
pub(super) fn ids(directory: &Path) -> Listed<i32> {
    let Listed { found, error } = paths(directory);
    let id = |path: PathBuf| path.file_name()?.to_str()?.parse().ok();
    Listed { found: found.into_iter().filter_map(id).collect(), error }
}

/// Returns whether a process, a thread or a control group has gone.
pub(super) fn is_gone(error: &io::Error) -> bool {
    let gone = [Errno::NOENT, Errno::SRCH, Errno::NODEV].map(|errno| Some(errno.raw_os_error()));
    gone.contains(&error.raw_os_error())
}
