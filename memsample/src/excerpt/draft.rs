//! A recording that is made of another one: its directory, and its manifest at the end.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memsample_beneath::{HeldDirectory, NewDirectory};

use super::error::ExcerptError;
use crate::recording::{
    Manifest, NewTable, Origin, Recording, RecordingState, new_recording_id, write_manifest,
};
use crate::schema::{self, FORMAT_VERSION, Table};

/// Tables without which nothing can be said of a recording.
const NEEDED: [&str; 3] = ["samples", "processes", "ticks"];

/// A recording that is being made of another one. Dropped before it is finished, it leaves nothing.
pub(super) struct Draft<'a> {
    /// Where the other one is, for messages.
    source: PathBuf,
    path: &'a Path,
    directory: NewDirectory,
    held: HeldDirectory,
    manifest: Manifest,
    origin: Origin,
}

impl<'a> Draft<'a> {
    /// Begins a recording at `path` whose manifest is that of `source` but for what `change` makes of it.
    pub(super) fn begin(
        source: &Recording,
        path: &'a Path,
        change: impl FnOnce(&mut Manifest),
    ) -> Result<Self, ExcerptError> {
        let unread = |error| ExcerptError::Read(source.path().to_owned(), error);
        check(source)?;
        let failed = ExcerptError::writing(path);
        let directory = NewDirectory::create(path).map_err(&failed)?;
        let held = directory.hold().map_err(&failed)?;
        let mut manifest = source.manifest().clone();
        // Each table has one file here.
        manifest.files.clear();
        change(&mut manifest);
        let provenance = &mut manifest.provenance;
        provenance.format = FORMAT_VERSION;
        provenance.id = new_recording_id(provenance.started);
        provenance.name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = serde_json::to_string(provenance).map_err(io::Error::other).map_err(unread)?;
        let origin = Origin { id: provenance.id.as_str().into(), provenance: Arc::from(text) };
        let source = source.path().to_owned();
        Ok(Self { source, path, directory, held, manifest, origin })
    }

    /// Returns the manifest, whose provenance is settled.
    pub(super) fn manifest(&mut self) -> &mut Manifest {
        &mut self.manifest
    }

    /// Describes what an error of writing means: rows that cannot be, such as a null where there is none, are those of
    /// the other recording.
    pub(super) fn failed(&self) -> impl Fn(io::Error) -> ExcerptError + 'a {
        let (source, writing) = (self.source.clone(), ExcerptError::writing(self.path));
        move |error| match error.kind() {
            io::ErrorKind::InvalidData => ExcerptError::Read(source.clone(), error),
            _ => writing(error),
        }
    }

    /// Begins a table.
    pub(super) fn table(&self, table: Table) -> Result<NewTable, ExcerptError> {
        let table = NewTable::create(&self.held, table, Some(self.origin.clone()));
        table.map_err(ExcerptError::writing(self.path))
    }

    /// Completes it, and gives it its name.
    pub(super) fn finish(mut self) -> Result<Recording, ExcerptError> {
        let failed = ExcerptError::writing(self.path);
        self.manifest.state = match self.manifest.state {
            RecordingState::Recovered => RecordingState::Recovered,
            _ => RecordingState::Closed,
        };
        write_manifest(&self.held, &self.manifest).map_err(&failed)?;
        self.directory.finish().map_err(&failed)?;
        Ok(Recording::from_parts(self.path, self.manifest))
    }
}

/// Checks that a recording is whole.
pub(super) fn check(source: &Recording) -> Result<(), ExcerptError> {
    let path = source.path().to_owned();
    if source.manifest().state == RecordingState::Recording {
        return Err(ExcerptError::InProgress(path));
    }
    match NEEDED.iter().find(|name| source.table_files(name).is_empty()) {
        None => Ok(()),
        Some(name) => {
            let missing = format!("its table `{name}` is missing");
            Err(ExcerptError::Read(path, io::Error::new(io::ErrorKind::NotFound, missing)))
        }
    }
}

/// Returns a table of a recording by its name, and its columns.
pub(super) fn table(name: &str) -> Option<(Table, Vec<&'static str>)> {
    let table = schema::tables().into_iter().find(|table| table.name == name)?;
    let columns = table.columns.iter().map(|column| column.name).collect();
    Some((table, columns))
}
