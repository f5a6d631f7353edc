//! The files of a directory in which its owner may exchange anything at any moment.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memsample_beneath::HeldDirectory;

/// Directories below each other that are read; what is deeper is left out.
const MAX_DEPTH: usize = 64;

/// A directory that is held open. No link in it is followed, so that no file outside of it is read.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    root: Arc<HeldDirectory>,
}

impl Tree {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { root: Arc::new(HeldDirectory::open(path)?) })
    }

    /// Opens a directory in one that is held open.
    pub(crate) fn beneath(parent: &HeldDirectory, name: &OsStr) -> io::Result<Self> {
        Ok(Self { root: Arc::new(parent.directory(name)?) })
    }

    /// Opens a directory by its relative path.
    pub(crate) fn directory(&self, path: &Path) -> io::Result<HeldDirectory> {
        self.root.directory_below(path)
    }

    /// Returns the relative paths of all regular files, in order, and of what is something else or cannot be read.
    pub(crate) fn files(&self) -> io::Result<(Vec<PathBuf>, Vec<String>)> {
        let (mut files, mut left_out) = (Vec::new(), Vec::new());
        read(&self.root, Path::new(""), 0, &mut files, &mut left_out)?;
        files.sort_unstable();
        left_out.sort_unstable();
        Ok((files, left_out))
    }

    /// Opens a regular file by its relative path.
    pub(crate) fn file(&self, path: &Path) -> io::Result<File> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let directory = self.directory(path.parent().unwrap_or(Path::new("")))?;
        directory.file(name)
    }
}

fn read(
    directory: &HeldDirectory,
    place: &Path,
    depth: usize,
    files: &mut Vec<PathBuf>,
    left_out: &mut Vec<String>,
) -> io::Result<()> {
    for entry in directory.entries()? {
        let name = entry?.name;
        let path = place.join(&name);
        // What it was when the directory was read counts for nothing.
        if directory.file(&name).is_ok() {
            files.push(path);
            continue;
        }
        let below = match directory.directory(&name) {
            Ok(below) if depth < MAX_DEPTH => below,
            _ => {
                left_out.push(path.display().to_string());
                continue;
            }
        };
        if let Err(error) = read(&below, &path, depth + 1, files, left_out) {
            left_out.push(format!("{}: {error}", path.display()));
        }
    }
    Ok(())
}
