//! Opens a recording, and recovers one whose recorder died.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use memsample_beneath::{HeldDirectory, open_regular};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;

use super::layout::RecordingDirectory;
use super::manifest::{Manifest, RecordingState};
use super::parquet_file::ParquetFile;
use super::table::{KEY_PROVENANCE, file_name, file_number};
use super::writer::RecordingWriter;
use crate::schema;

/// A recording that belongs to somebody else is copied up to this size.
const MAX_COPIED_BYTES: u64 = 4 << 30;

/// A recording on disk.
#[derive(Debug)]
pub struct Recording {
    /// Where a person knows it.
    path: PathBuf,
    /// Where its files are: there, or in a copy.
    files: PathBuf,
    /// Its directory, where its files are opened in that whatever is at the path by then.
    held: Option<HeldDirectory>,
    /// That copy, which is gone with this.
    _copy: Option<RecordingDirectory>,
    manifest: Manifest,
}

/// What [`Recording::recover`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// The recording was whole.
    NotNeeded,
    /// Another program is writing it.
    StillRecording,
    /// It was put together from what its recorder had written.
    Recovered {
        /// The batches that were in the journal.
        batches: u64,
        /// Whether an incomplete batch behind them was left out.
        torn: bool,
    },
    /// It belongs to somebody else, and is as it was: a copy was put together, which is what is read.
    InCopy {
        /// The user who can recover it.
        owner: u32,
    },
}

/// Why a recording could not be opened or recovered.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no `recording.json` at this path.
    NotARecording(PathBuf),
    /// It was not closed, and belongs to this user: only they recover it.
    OfOther(PathBuf, u32),
    /// A file is damaged, of a newer format, or cannot be read.
    Io(PathBuf, io::Error),
    /// It was not closed, and could not be put together: a file cannot be read, or not be written. What is there stays, and
    /// the next try begins with it.
    Recover(PathBuf, io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotARecording(path) => {
                write!(f, "`{}` is not a recording: it has no recording.json", path.display())
            }
            Self::OfOther(path, owner) => write!(
                f,
                "`{0}` belongs to user {owner} and is not changed: recover it as that user, such as with \
                 `sudo -u '#{owner}' memsample recover {0}`",
                path.display()
            ),
            Self::Io(path, _) => write!(f, "cannot read the recording `{}`", path.display()),
            Self::Recover(path, _) => {
                write!(f, "cannot recover the recording `{}`", path.display())
            }
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotARecording(_) | Self::OfOther(..) => None,
            Self::Io(_, error) | Self::Recover(_, error) => Some(error),
        }
    }
}

impl Recording {
    /// The name of the file, in the directory of a recording, that says what was recorded.
    pub const FILE: &'static str = super::manifest::FILE;

    /// Opens a recording, and puts it together first if its recorder died.
    ///
    /// A recording that is still being written is opened as it is: its files hold what was sampled up
    /// to the last flush, at most thirty seconds ago. One that belongs to somebody else is not changed: a copy is put
    /// together in a private directory, which is gone with what is returned.
    ///
    /// # Errors
    ///
    /// The path is not a recording, or a file in it is damaged.
    pub fn open(path: &Path) -> Result<(Self, Recovery), OpenError> {
        let directory = open_directory(path)?;
        match Self::recover_in(&directory) {
            Err(OpenError::OfOther(_, owner)) => {
                let copy = recovered_copy(&directory)
                    .map_err(|error| OpenError::Io(path.to_owned(), error))?;
                let (files, manifest) = (copy.path().to_owned(), read_manifest(&copy)?);
                let path = path.to_owned();
                let recording = Self { path, files, held: None, _copy: Some(copy), manifest };
                Ok((recording, Recovery::InCopy { owner }))
            }
            recovery => {
                let recording = Self::from_parts(path, read_manifest(&directory)?);
                recording.check_tables()?;
                Ok((recording, recovery?))
            }
        }
    }

    /// Reads what `recording.json` says, and changes nothing: a recording whose recorder died stays as it is.
    ///
    /// # Errors
    ///
    /// The path is not a recording, or `recording.json` is damaged or of a newer format.
    pub fn manifest_of(path: &Path) -> Result<Manifest, OpenError> {
        read_manifest(&open_directory(path)?)
    }

    /// The same of a recording in a directory that is held open; `path` is where a person knows it.
    ///
    /// # Errors
    ///
    /// Those of [`Self::manifest_of`].
    pub fn manifest_in(held: &HeldDirectory, path: &Path) -> Result<Manifest, OpenError> {
        Manifest::read(held, Self::FILE, path).map_err(|error| open_error(path, error))
    }

    /// Opens a recording in a directory that is held open, as it is: nothing is recovered or changed. Its files are opened
    /// in that directory, and no link in it is followed, whatever its owner exchanges meanwhile. `path` is where a
    /// person knows it.
    ///
    /// # Errors
    ///
    /// Those of [`Self::manifest_of`].
    pub fn open_in(held: HeldDirectory, path: &Path) -> Result<Self, OpenError> {
        let manifest = Self::manifest_in(&held, path)?;
        let recording = Self { held: Some(held), ..Self::from_parts(path, manifest) };
        recording.check_tables()?;
        Ok(recording)
    }

    /// Puts a recording together whose recorder died. Does nothing to one that is whole, or that is
    /// still being written.
    ///
    /// Can be interrupted at any moment and run again.
    ///
    /// # Errors
    ///
    /// The path is not a recording, it belongs to somebody else, a file in it is damaged, or the disk is full.
    pub fn recover(path: &Path) -> Result<Recovery, OpenError> {
        Self::recover_in(&open_directory(path)?)
    }

    fn recover_in(directory: &RecordingDirectory) -> Result<Recovery, OpenError> {
        let path = directory.path();
        let failed = |error| OpenError::Recover(path.to_owned(), error);
        let manifest = read_manifest(directory)?;
        // Whoever owns it can put a link in place of what is written, at any moment.
        if let Some(owner) = directory.other_owner().map_err(failed)? {
            return match manifest.state {
                RecordingState::Recording if directory.is_written() => Ok(Recovery::StillRecording),
                RecordingState::Recording => Err(OpenError::OfOther(path.to_owned(), owner)),
                RecordingState::Closed | RecordingState::Recovered => Ok(Recovery::NotNeeded),
            };
        }
        if !directory.has_journal() {
            // The recorder died before it had written anything.
            if manifest.state == RecordingState::Recording {
                directory.create_journal().map_err(failed)?;
            } else {
                return Ok(Recovery::NotNeeded);
            }
        }
        let Some(lock) = directory.lock().map_err(failed)? else {
            return Ok(Recovery::StillRecording);
        };
        // While this program waited for the lock, the recorder may have closed the recording.
        let manifest = read_manifest(directory)?;
        if manifest.state != RecordingState::Recording {
            // It died after the last file was written and before the journal was removed.
            directory.remove_journal().map_err(failed)?;
            return Ok(Recovery::NotNeeded);
        }
        let (_, replayed) =
            RecordingWriter::recover(directory.clone(), lock, manifest).map_err(failed)?;
        Ok(Recovery::Recovered { batches: replayed.blocks, torn: replayed.torn })
    }

    pub(crate) fn from_parts(path: &Path, manifest: Manifest) -> Self {
        let (path, files) = (path.to_owned(), path.to_owned());
        Self { path, files, held: None, _copy: None, manifest }
    }

    /// Returns the directory. Where a copy is read, [`Self::table_files`] are not in it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the contents of `recording.json`.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Returns the Parquet files of a table, such as `samples`, in their order.
    #[must_use]
    pub fn table_files(&self, name: &str) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for number in 1.. {
            let file = file_name(name, number);
            let is_there = match &self.held {
                Some(held) => held.try_contains(&file),
                None => self.files.join(&file).try_exists(),
            };
            match is_there {
                Ok(true) => files.push(self.files.join(file)),
                Ok(false) => break,
                // Who opens it is told why: it would seem to be all that there is.
                Err(_) => {
                    files.push(self.files.join(file));
                    break;
                }
            }
        }
        files
    }

    /// Checks that a recording that was closed has the files of its tables: one that was copied in part would be read as one
    /// that has less in it.
    fn check_tables(&self) -> Result<(), OpenError> {
        // What is recovered may lack a damaged file, which was set aside and is said in its notes.
        if self.manifest.state != RecordingState::Closed {
            return Ok(());
        }
        match self.missing_file() {
            Ok(None) => Ok(()),
            Ok(Some(file)) => {
                let missing = format!(
                    "it is not whole: its file `{file}` is missing, so copy the whole directory again from where it was \
                     recorded"
                );
                let error = io::Error::new(io::ErrorKind::InvalidData, missing);
                Err(OpenError::Io(self.path.clone(), error))
            }
            Err(error) => Err(OpenError::Io(self.path.clone(), error)),
        }
    }

    /// Returns the first file that is missing of a table: one that `recording.json` counts, the only one of a table that has
    /// rows, or one before another that is there.
    fn missing_file(&self) -> io::Result<Option<String>> {
        let held = match &self.held {
            Some(held) => held.try_clone()?,
            None => HeldDirectory::open(&self.files)?,
        };
        let names = held.entries()?.map(|entry| Ok(entry?.name));
        let names = names.collect::<io::Result<Vec<_>>>()?;
        let Manifest { totals, files, .. } = &self.manifest;
        for table in schema::tables() {
            let table = table.name;
            let numbers = names.iter().filter_map(|file| file_number(table, file.to_str()?));
            let numbers: BTreeSet<u32> = numbers.collect();
            let rows = match table {
                "ticks" => totals.ticks,
                "processes" => totals.processes,
                "samples" => totals.samples,
                _ => 0,
            };
            let counted = files.get(table).copied().unwrap_or(u32::from(rows > 0));
            let last = numbers.last().copied().unwrap_or(0).max(counted);
            if let Some(number) = (1..=last).find(|number| !numbers.contains(number)) {
                return Ok(Some(file_name(table, number)));
            }
        }
        Ok(None)
    }

    /// Returns the size of all files, in bytes.
    ///
    /// # Errors
    ///
    /// The directory cannot be read.
    pub fn size_bytes(&self) -> io::Result<u64> {
        match &self.held {
            Some(held) => held.files_bytes(),
            None => HeldDirectory::open(&self.files)?.files_bytes(),
        }
    }

    /// Reads some columns of a table, batch by batch.
    ///
    /// # Errors
    ///
    /// Each batch is one where the file is damaged.
    pub fn read_table<'a>(
        &'a self,
        name: &str,
        columns: &'a [&'a str],
    ) -> impl Iterator<Item = io::Result<RecordBatch>> + 'a {
        self.read_table_between(name, columns, i64::MIN..=i64::MAX)
    }

    /// The same, without the row groups that lie outside a span of `ts`, in milliseconds since 1970.
    /// What is read may have rows outside of it, too.
    pub fn read_table_between<'a>(
        &'a self,
        name: &str,
        columns: &'a [&'a str],
        span: RangeInclusive<i64>,
    ) -> impl Iterator<Item = io::Result<RecordBatch>> + 'a {
        let files = self.table_files(name);
        files.into_iter().flat_map(move |path| match self.open_table(&path, columns, &span) {
            Ok(batches) => batches,
            Err(error) => Box::new(std::iter::once(Err(error))),
        })
    }

    fn open_table(
        &self,
        path: &Path,
        columns: &[&str],
        span: &RangeInclusive<i64>,
    ) -> io::Result<Batches> {
        let unread = |error: io::Error| {
            io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
        };
        let opened = match &self.held {
            Some(held) => held.file(path.file_name().unwrap_or_default()),
            None => open_regular(path),
        };
        let file = ParquetFile::new(opened.map_err(unread)?)?;
        let path = path.to_owned();
        // Of several files of many recordings: which one.
        let named = move |error: io::Error| {
            let what = match error.kind() {
                io::ErrorKind::Unsupported => "cannot be read",
                _ => "is damaged",
            };
            io::Error::new(error.kind(), format!("`{}` {what}: {error}", path.display()))
        };
        let id = self.manifest.provenance.id.as_str();
        let rows = file.rows(columns, span, |metadata| is_of(metadata, id)).map_err(&named)?;
        Ok(Box::new(rows.map(move |batch| batch.map_err(&named))))
    }
}

/// Refuses a table that says of itself that it is of another recording: its rows have nothing to do with the others.
fn is_of(metadata: &ParquetMetaData, id: &str) -> Result<(), ParquetError> {
    #[derive(serde::Deserialize)]
    struct Origin {
        id: String,
    }
    let pairs = metadata.file_metadata().key_value_metadata();
    let origin = pairs.and_then(|pairs| pairs.iter().find(|pair| pair.key == KEY_PROVENANCE));
    // What another program has written anew says nothing.
    let Some(origin) = origin.and_then(|pair| pair.value.as_deref()) else { return Ok(()) };
    match serde_json::from_str::<Origin>(origin) {
        Ok(origin) if origin.id != id => {
            let message =
                format!("it is of the recording {}, and recording.json of {id}", origin.id);
            let error = io::Error::new(io::ErrorKind::InvalidData, message);
            Err(ParquetError::External(error.into()))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

type Batches = Box<dyn Iterator<Item = io::Result<RecordBatch>>>;

/// Puts a copy of a recording together.
fn recovered_copy(original: &RecordingDirectory) -> io::Result<RecordingDirectory> {
    let copy = RecordingDirectory::create_private()?;
    original.copy_to(&copy, MAX_COPIED_BYTES)?;
    let manifest = copy.manifest()?;
    let lock = copy.lock()?.ok_or_else(|| io::Error::other("another program has its copy"))?;
    RecordingWriter::recover(copy.clone(), lock, manifest)?;
    Ok(copy)
}

fn open_directory(path: &Path) -> Result<RecordingDirectory, OpenError> {
    RecordingDirectory::existing(path).map_err(|error| open_error(path, error))
}

fn read_manifest(directory: &RecordingDirectory) -> Result<Manifest, OpenError> {
    directory.manifest().map_err(|error| open_error(directory.path(), error))
}

fn open_error(path: &Path, error: io::Error) -> OpenError {
    match error.kind() {
        io::ErrorKind::NotFound => OpenError::NotARecording(path.to_owned()),
        _ => OpenError::Io(path.to_owned(), error),
    }
}
