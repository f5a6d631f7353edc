//! A directory that has its name only when it is whole.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::directory::HeldDirectory;
use crate::removal::remove_tree;
use crate::temporary::temporary_name;

/// A directory that is being filled under a hidden name beside its final one. Dropped before [`Self::finish`], it is
/// removed with all that is in it; what a killed program leaves has the hidden name.
#[derive(Debug)]
pub struct NewDirectory {
    above: HeldDirectory,
    temporary: OsString,
    name: OsString,
    path: PathBuf,
    is_finished: bool,
}

impl NewDirectory {
    /// Makes it, and the directories above it.
    ///
    /// # Errors
    ///
    /// Of kind `AlreadyExists`, if there is something at `path`; or it cannot be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        // One without a name is there, such as `..`.
        let name = path.file_name().ok_or(io::ErrorKind::AlreadyExists)?.to_owned();
        let parent = path.parent().unwrap_or(Path::new(""));
        fs::create_dir_all(parent).map_err(|error| match error.kind() {
            // Said of what should have been a directory; kept apart from a path that exists.
            io::ErrorKind::AlreadyExists => io::ErrorKind::NotADirectory.into(),
            _ => error,
        })?;
        let above = HeldDirectory::open(parent)?;
        if above.contains(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let temporary = temporary_name(&name);
        above.create_directory(&temporary, 0o777)?;
        let path = parent.join(&temporary);
        Ok(Self { above, temporary, name, path, is_finished: false })
    }

    /// Returns where it is until it is finished.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the directory itself.
    ///
    /// # Errors
    ///
    /// Somebody took it away.
    pub fn hold(&self) -> io::Result<HeldDirectory> {
        self.above.directory(&self.temporary)
    }

    /// Gives it its name.
    ///
    /// # Errors
    ///
    /// Of kind `AlreadyExists`, if something has got that name meanwhile; or it cannot be renamed. It is removed then.
    pub fn finish(mut self) -> io::Result<()> {
        self.hold()?.sync()?;
        self.above.rename_new(&self.temporary, &self.name)?;
        self.is_finished = true;
        let synced = self.above.sync();
        if synced.is_err() {
            // Whoever is told that it could not be made makes it again.
            self.is_finished = self.above.rename_new(&self.name, &self.temporary).is_err();
        }
        synced
    }
}

impl Drop for NewDirectory {
    fn drop(&mut self) {
        if !self.is_finished {
            let _ = remove_tree(&self.above, &self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_its_name_when_it_is_whole_and_nothing_is_left_of_one_that_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b");
        let entries = || fs::read_dir(directory.path().join("a")).unwrap().count();
        let new = NewDirectory::create(&path).unwrap();
        fs::write(new.path().join("file"), "x").unwrap();
        assert!(!path.exists());
        drop(new);
        assert_eq!(entries(), 0);

        let new = NewDirectory::create(&path).unwrap();
        fs::write(new.path().join("file"), "x").unwrap();
        new.finish().unwrap();
        assert_eq!(fs::read(path.join("file")).unwrap(), b"x");
        let exists = NewDirectory::create(&path).unwrap_err();
        assert_eq!(exists.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(entries(), 1);
    }

    #[test]
    fn what_has_got_its_name_meanwhile_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("b");
        let new = NewDirectory::create(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let error = new.finish().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        let names: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "{names:?}");
    }
}
