//! Puts a run into a store: its tables and files first, and the manifest last.
//!
//! A push that is killed leaves objects that no manifest names, which nobody reads. The next one finds them by their
//! hashes and continues with what is missing, also within a large file.

use std::fs::File;
use std::io::{self, Read};

use futures_util::StreamExt;
use jiff::Timestamp;
use memsample_beneath::open_regular;
use object_store::{
    Attribute, Attributes, GetOptions, ObjectStore, PutMultipartOptions, PutOptions, PutPayload,
    WriteMultipart,
};

use crate::address::Address;
use crate::error::{ErrorKind, StoreError};
use crate::hash::{Hash, sha256_hex};
use crate::layout::TABLES;
use crate::manifest::{Manifest, StoredFile};
use crate::parts::{PART_BYTES, PartsError};
use crate::runs::{self, RUNS};
use crate::source::{LocalFile, RunSource, hash_of};
use crate::store::{AT_ONCE, Store, object};

/// Parts of one file at one time.
const PARTS_AT_ONCE: usize = 4;
/// Under this name an object keeps its hash, where the store keeps such things.
const HASH: &str = "sha256";

/// What a push did.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// The run, as it is in the store.
    pub manifest: Manifest,
    /// Whether the store had all of it already.
    pub was_there: bool,
    /// Bytes that were sent.
    pub sent_bytes: u64,
    /// Bytes that an earlier push had sent.
    pub found_bytes: u64,
}

/// Pushes a run, and returns when the store has all of it and its manifest. `sent` is called with bytes that are done.
///
/// # Errors
///
/// A file changed or cannot be read; the store refuses, does not answer, or has another run of the same id.
pub fn push(
    store: &Store,
    source: &RunSource,
    sent: &(dyn Fn(u64) + Sync),
) -> Result<Pushed, StoreError> {
    let mut manifest = source.manifest.clone();
    let place = manifest.partition();
    if let Some(there) = existing(store, &manifest)? {
        return same(there, &manifest);
    }
    let mut made = vec![(RUNS, runs::runs(&manifest)?)];
    for table in ["tests", "test_roles"] {
        if let Some(bytes) = runs::keyed(&source.tree, &source.directory, table, &manifest)? {
            made.push((table, bytes));
        }
    }
    let made: Vec<(StoredFile, Vec<u8>)> = made
        .into_iter()
        .map(|(table, bytes)| {
            let object = format!("{TABLES}/{table}/{}/{table}.parquet", place.path());
            let (sha256, length) = (sha256_hex(&bytes), bytes.len() as u64);
            let table = Some(table.to_owned());
            (
                StoredFile { path: None, object, bytes: length, sha256, table, row_groups: None },
                bytes,
            )
        })
        .collect();
    let (mut sent_bytes, mut found_bytes) = (0, 0);
    store.wait(async {
        let uploads = source.files.iter().map(|file| async move {
            // An empty file is in the manifest alone: tests that pass often print nothing.
            let there = file.stored.bytes == 0 || is_there(store, &file.stored).await?;
            let (sent_bytes, found_bytes) = match there {
                true => (0, file.stored.bytes),
                false => upload(store, source, file).await?,
            };
            sent(file.stored.bytes);
            Ok::<_, StoreError>((sent_bytes, found_bytes))
        });
        let mut uploads = futures_util::stream::iter(uploads).buffer_unordered(AT_ONCE);
        while let Some(done) = uploads.next().await {
            let (sent, found) = done?;
            sent_bytes += sent;
            found_bytes += found;
        }
        Ok::<_, StoreError>(())
    })?;
    // Behind the samples: whoever finds a run in these tables finds its recording.
    for (file, bytes) in made {
        sent_bytes += file.bytes;
        store.write(&file.object, bytes, false)?;
        manifest.files.push(file);
    }
    manifest.pushed = Timestamp::now();
    match store.write(&place.manifest(), manifest.to_json(), true) {
        Ok(()) => {}
        // Another push of the same run was faster.
        Err(error) if error.kind() == ErrorKind::Exists => {
            if let Some(there) = existing(store, &manifest)? {
                return same(there, &manifest);
            }
            return Err(error);
        }
        Err(error) => return Err(error),
    }
    store.tell_news(&place);
    Ok(Pushed { manifest, was_there: false, sent_bytes, found_bytes })
}

fn existing(store: &Store, manifest: &Manifest) -> Result<Option<Manifest>, StoreError> {
    match store.manifest(&manifest.partition().manifest()) {
        Ok(there) => Ok(Some(there)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The same run may have been pushed before. What was made of it since is another matter.
fn same(there: Manifest, manifest: &Manifest) -> Result<Pushed, StoreError> {
    let of = |manifest: &Manifest, path: &str| {
        let file = manifest.files.iter().find(|file| file.path.as_deref() == Some(path));
        file.map(|file| (file.bytes, file.sha256.clone(), file.row_groups.is_some()))
    };
    for file in &manifest.files {
        let Some(path) = &file.path else { continue };
        let differs = match of(&there, path) {
            None => true,
            // It is in a file with others, whose hash says nothing of it.
            Some((_, _, true)) => false,
            Some((bytes, sha256, false)) => (bytes, &sha256) != (file.bytes, &file.sha256),
        };
        if differs {
            return Err(StoreError::new(
                ErrorKind::Exists,
                format!(
                    "the store has this run since {}, and `{path}` was not the same: `memsample prune --run {}` \
                     removes what is there",
                    there.pushed, there.run
                ),
            ));
        }
    }
    let found_bytes = there.bytes();
    Ok(Pushed { manifest: there, was_there: true, sent_bytes: 0, found_bytes })
}

/// Returns whether the store has these bytes already.
async fn is_there(store: &Store, file: &StoredFile) -> Result<bool, StoreError> {
    let name = object(&file.object)?;
    let options = GetOptions { head: true, ..GetOptions::default() };
    let found = match store.objects.get_opts(&name, options).await {
        Ok(found) => found,
        Err(object_store::Error::NotFound { .. }) => return Ok(false),
        Err(error) => {
            return Err(store.failed(&format!("look into `{}`", store.address()), error));
        }
    };
    if found.meta.size != file.bytes {
        return Ok(false);
    }
    if let Address::Directory(directory) = store.address() {
        let file_there = open_regular(&directory.join(&file.object));
        let hash = file_there.and_then(|there| hash_of(there, &|_| ()));
        return Ok(hash.is_ok_and(|(_, sha256)| sha256 == file.sha256));
    }
    let hash = found.attributes.get(&Attribute::Metadata(HASH.into()));
    Ok(hash.is_some_and(|hash| hash.as_ref() == file.sha256))
}

/// Sends a file, and returns how many bytes of it were sent and how many an earlier push had sent.
async fn upload(
    store: &Store,
    source: &RunSource,
    file: &LocalFile,
) -> Result<(u64, u64), StoreError> {
    let LocalFile { path, stored } = file;
    let local = source.directory.join(path);
    let unreadable = |error| StoreError::local(format!("cannot read `{}`", local.display()), error);
    let changed = || {
        let what = format!(
            "`{}` changed while it was pushed: push it when nobody writes it",
            local.display()
        );
        StoreError::new(ErrorKind::Unfinished, what)
    };
    let refused = |error| {
        store.failed(&format!("write `{}` into `{}`", stored.object, store.address()), error)
    };
    let name = object(&stored.object)?;
    let attributes: Attributes = match store.address() {
        // A file has none; its bytes are compared instead.
        Address::Directory(_) => Attributes::new(),
        _ => [(Attribute::Metadata(HASH.into()), stored.sha256.clone())].into_iter().collect(),
    };
    if let Some(parts) = store.parts.as_ref().filter(|_| stored.bytes > PART_BYTES) {
        let address = store.address().to_string();
        let sent = parts.send(&address, stored, attributes, || source.tree.file(path));
        return sent.await.map_err(|error| match error {
            PartsError::Store(error) | PartsError::NotCompleted(error) => refused(error),
            PartsError::File(error) => unreadable(error),
            PartsError::Changed => changed(),
        });
    }
    let mut opened = source.tree.file(path).map_err(unreadable)?;
    if stored.bytes <= PART_BYTES {
        let mut bytes = Vec::with_capacity(usize::try_from(stored.bytes).unwrap_or(0));
        (&mut opened).take(stored.bytes + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if sha256_hex(&bytes) != stored.sha256 {
            return Err(changed());
        }
        let options = PutOptions { attributes, ..PutOptions::default() };
        return store
            .objects
            .put_opts(&name, PutPayload::from(bytes), options)
            .await
            .map(|_| (stored.bytes, 0))
            .map_err(refused);
    }
    let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
    let parts = store.objects.put_multipart_opts(&name, options).await.map_err(refused)?;
    let mut parts = WriteMultipart::new_with_chunk_size(parts, PART_BYTES as usize);
    let mut hash = Hash::default();
    loop {
        let part = match part(&mut opened) {
            Ok(part) => part,
            Err(error) => {
                let _ = parts.abort().await;
                return Err(unreadable(error));
            }
        };
        if part.is_empty() {
            break;
        }
        hash.update(&part);
        if let Err(error) = parts.wait_for_capacity(PARTS_AT_ONCE).await {
            let _ = parts.abort().await;
            return Err(refused(error));
        }
        parts.put(part.into());
    }
    if hash.hex() != stored.sha256 {
        let _ = parts.abort().await;
        return Err(changed());
    }
    parts.finish().await.map(|_| (stored.bytes, 0)).map_err(refused)
}

/// Reads a part of a file; less than a whole one only at its end.
fn part(file: &mut File) -> io::Result<Vec<u8>> {
    let mut part = Vec::with_capacity(PART_BYTES as usize);
    file.take(PART_BYTES).read_to_end(&mut part)?;
    Ok(part)
}
