//! Brings a run back: each file is compared with the hash of the manifest, and the directory appears whole or not at
//! all.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use memsample_beneath::{HeldDirectory, NewDirectory};
use parquet::file::metadata::KeyValue;
use parquet::file::reader::{FileReader, SerializedFileReader};

use crate::download::{read_pieces, verified};
use crate::error::{ErrorKind, StoreError};
use crate::layout::relative_path;
use crate::manifest::{Manifest, StoredFile};
use crate::row_groups::copy_row_groups;
use crate::store::Store;

/// Brings a run into the directory `target`, which must not exist. `received` is called with bytes that are done.
///
/// # Errors
///
/// The target exists or cannot be written; the store refuses or does not answer; what it has is not what the manifest
/// says.
pub fn pull(
    store: &Store,
    manifest: &Manifest,
    target: &Path,
    received: &dyn Fn(u64),
) -> Result<(), StoreError> {
    let local = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            StoreError::new(ErrorKind::Exists, format!("`{}` exists already", target.display()))
        }
        _ => StoreError::local(format!("cannot write `{}`", target.display()), error),
    };
    let new = NewDirectory::create(target).map_err(local)?;
    let directory = new.hold().map_err(local)?;
    into(store, manifest, &directory, received)?;
    new.finish().map_err(local)
}

fn into(
    store: &Store,
    manifest: &Manifest,
    directory: &HeldDirectory,
    received: &dyn Fn(u64),
) -> Result<(), StoreError> {
    for stored in &manifest.files {
        let Some(text) = &stored.path else { continue };
        let path = relative_path(text).ok_or_else(|| {
            let what = format!(
                "the manifest of `{}` names a file outside its directory: `{}`",
                manifest.run,
                text.escape_debug()
            );
            StoreError::new(ErrorKind::Damaged, what)
        })?;
        let local = |error| StoreError::local(format!("cannot write `{}`", path.display()), error);
        let mut file = create(directory, &path).map_err(local)?;
        match &stored.row_groups {
            None => whole(store, stored, &mut file, received)?,
            Some(groups) => {
                let bytes = verified(store, stored)?;
                let damaged = |error| {
                    StoreError::because(
                        ErrorKind::Damaged,
                        format!("`{}` is damaged", stored.object),
                        error,
                    )
                };
                let reader = SerializedFileReader::new(bytes.clone()).map_err(damaged)?;
                let first = usize::try_from(groups.first).unwrap_or(usize::MAX);
                let count = usize::try_from(groups.count).unwrap_or(usize::MAX);
                if first.saturating_add(count) > reader.metadata().num_row_groups() {
                    return Err(StoreError::new(
                        ErrorKind::Damaged,
                        format!("`{}` has fewer row groups than its manifest says", stored.object),
                    ));
                }
                let pairs = groups.key_values.iter();
                let pairs =
                    pairs.map(|(key, value)| KeyValue { key: key.clone(), value: value.clone() });
                copy_row_groups(&mut file, &[(bytes, first..first + count)], Some(pairs.collect()))
                    .map_err(damaged)?;
                received(stored.bytes);
            }
        }
        file.sync_all().map_err(local)?;
    }
    Ok(())
}

fn create(directory: &HeldDirectory, path: &Path) -> io::Result<File> {
    let mut held = directory.try_clone()?;
    let names: Vec<&OsStr> = path.iter().collect();
    let Some((file, directories)) = names.split_last() else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    for name in directories {
        held = match held.create_directory(name, 0o777) {
            Ok(made) => made,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => held.directory(name)?,
            Err(error) => return Err(error),
        };
    }
    held.create_file(file, 0o666)
}

/// Reads an object piece by piece into a file, and compares its hash.
fn whole(
    store: &Store,
    stored: &StoredFile,
    file: &mut File,
    received: &dyn Fn(u64),
) -> Result<(), StoreError> {
    read_pieces(store, stored, |piece| {
        file.write_all(piece).map_err(|error| StoreError::local("cannot write", error))?;
        received(piece.len() as u64);
        Ok(())
    })
}
