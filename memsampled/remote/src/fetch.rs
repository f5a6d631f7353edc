//! The directory of a run as it comes back: an archive that is unpacked beside its place and takes it when it is whole.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use memsample_beneath::HeldDirectory;
use tar::{Archive, EntryType};
use tempfile::TempDir;

use crate::error::{RemoteError, here};

/// The file that names the paths of other files, for CI servers.
const WITH_PATHS: &str = "junit.xml";
/// Maximum number of runs of one name.
const MAX_NUMBER: u32 = 1000;

/// A hidden directory beside the runs, which is removed with this.
pub(crate) struct Fetched {
    out: PathBuf,
    work: TempDir,
}

impl Fetched {
    pub(crate) fn new(out: &Path) -> Result<Self, RemoteError> {
        let made = tempfile::Builder::new().prefix(".memsample-fetch-").tempdir_in(out);
        Ok(Self { out: out.to_owned(), work: made.map_err(here(out))? })
    }

    /// Returns where the archive is put.
    pub(crate) fn archive(&self) -> PathBuf {
        self.work.path().join("run.tar")
    }

    /// Unpacks the archive and gives what is in it its place; `there` is where it was on the device. Returns the place.
    pub(crate) fn unpack(&self, there: &[u8]) -> Result<PathBuf, RemoteError> {
        let runs = self.work.path().join("run");
        fs::create_dir(&runs).map_err(here(&runs))?;
        let archive = self.archive();
        unpack(&archive, &runs).map_err(here(&archive))?;
        let names: io::Result<Vec<OsString>> = fs::read_dir(&runs)
            .and_then(|it| it.map(|entry| entry.map(|it| it.file_name())).collect());
        let names = names.map_err(here(&runs))?;
        let [name] = names.as_slice() else {
            return Err(RemoteError::Failed(format!(
                "the device has {} runs in place of one",
                names.len()
            )));
        };
        let run = runs.join(name);
        rewrite(&run.join(WITH_PATHS), there, &self.out).map_err(here(run.join(WITH_PATHS)))?;
        // It is removed from the device once it is here.
        let synced = File::open(&run).and_then(|run| Ok(rustix::fs::syncfs(run)?));
        synced.map_err(here(&run))?;
        let from = HeldDirectory::open(&runs).map_err(here(&runs))?;
        self.place(&from, name)
    }

    fn place(&self, from: &HeldDirectory, name: &OsString) -> Result<PathBuf, RemoteError> {
        for number in 1..=MAX_NUMBER {
            let mut place = name.clone();
            if number > 1 {
                place.push(format!("-{number}"));
            }
            let to = self.out.join(&place);
            match rustix::fs::renameat_with(
                from,
                name.as_os_str(),
                rustix::fs::CWD,
                &to,
                rustix::fs::RenameFlags::NOREPLACE,
            ) {
                Err(rustix::io::Errno::EXIST) => {}
                // A file system without that flag.
                Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if to.exists() => {}
                Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                    rustix::fs::renameat(from, name.as_os_str(), rustix::fs::CWD, &to)
                        .map_err(|error| here(&to)(error.into()))?;
                    return Ok(to);
                }
                Err(error) => return Err(here(to)(error.into())),
                Ok(()) => return Ok(to),
            }
        }
        Err(RemoteError::Failed(format!("no name is free in `{}`", self.out.display())))
    }
}

/// Unpacks files, directories and links, and nothing beyond the directory.
fn unpack(archive: &Path, to: &Path) -> io::Result<()> {
    let mut archive = Archive::new(io::BufReader::new(File::open(archive)?));
    archive.set_preserve_permissions(true);
    archive.set_preserve_mtime(true);
    let mut directories = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        match entry.header().entry_type() {
            // Last: one that cannot be written to has to be filled first.
            EntryType::Directory => directories.push(entry),
            EntryType::Regular | EntryType::Continuous | EntryType::Symlink | EntryType::Link => {
                entry.unpack_in(to)?;
            }
            _ => {}
        }
    }
    for mut directory in directories.into_iter().rev() {
        directory.unpack_in(to)?;
    }
    Ok(())
}

/// Gives the paths in a file their place here.
fn rewrite(file: &Path, there: &[u8], out: &Path) -> io::Result<()> {
    let text = match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        text => text?,
    };
    // As a run here has them: from the working directory, where the run is below it.
    // One that was removed meanwhile holds nothing.
    let cwd = std::env::current_dir().unwrap_or_default();
    let told = out.strip_prefix(cwd).unwrap_or(out);
    let told = if told.as_os_str().is_empty() { Path::new(".") } else { told };
    let (Ok(there), Some(out)) = (std::str::from_utf8(there), told.to_str()) else { return Ok(()) };
    let text = text.replace(&escaped(there), &escaped(out));
    fs::write(file, text)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
