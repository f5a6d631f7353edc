//! A store: its manifests, and the bytes of its objects.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use memsample_input::with_causes;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use tokio::runtime::Runtime;

use crate::address::Address;
use crate::answer::error_of;
use crate::connect::connect;
use crate::error::{ErrorKind, StoreError};
use crate::in_place::RunsInPlace;
use crate::layout::{MANIFESTS, NEWS, Partition};
use crate::manifest::Manifest;
use crate::parts::Parts;
use crate::run_directory::RunDirectory;

/// The largest manifest that is read: that of a hundred thousand files is below.
const MAX_MANIFEST_BYTES: u64 = 64 << 20;
/// Requests at one time.
pub(crate) const AT_ONCE: usize = 16;

/// A manifest in the store, as a listing names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ManifestKey {
    /// The object.
    pub object: String,
    /// What changes when it is written anew: the store's own tag, or its time and size.
    pub version: String,
    /// When it was written, by the clock of the store.
    pub written: Timestamp,
}

/// A store. Its functions wait for the answer; several threads may use it.
#[derive(Clone, Debug)]
pub struct Store {
    address: Address,
    pub(crate) objects: Arc<dyn ObjectStore>,
    /// What takes large objects in parts; `None` of a directory.
    pub(crate) parts: Option<Parts>,
    runtime: Arc<Runtime>,
    /// Set where it is a directory of runs that nobody pushed.
    in_place: Option<Arc<RunsInPlace>>,
}

impl Store {
    /// Opens a store. A directory that does not exist is made; of a bucket nothing is asked yet.
    ///
    /// # Errors
    ///
    /// See [`Address`]; or the directory cannot be made.
    pub fn open(address: &Address) -> Result<Self, StoreError> {
        let ((objects, parts), runtime) = (connect(address)?, runtime()?);
        Ok(Self { address: address.clone(), objects, parts, runtime, in_place: None })
    }

    /// Opens a directory of runs that nobody pushed: they are read where they are, and nothing is written. A run is found
    /// in it when it has ended, and a recording when it is closed.
    ///
    /// # Errors
    ///
    /// There can be no threads.
    pub fn of_runs(directory: &std::path::Path) -> Result<Self, StoreError> {
        let runs = Arc::new(RunsInPlace::new(directory));
        let address = Address::Directory(directory.to_owned());
        let objects: Arc<dyn ObjectStore> = runs.clone();
        Ok(Self { address, objects, parts: None, runtime: runtime()?, in_place: Some(runs) })
    }

    /// Returns whether it is a directory of runs that nobody pushed, and nothing can be written.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        self.in_place.is_some()
    }

    /// Opens the directory of a run that is read where it is, by the name of its manifest; `None` of one that was pushed.
    ///
    /// # Errors
    ///
    /// It is gone, or is a link.
    pub fn directory_of(&self, manifest: &str) -> Result<Option<RunDirectory>, StoreError> {
        self.in_place.as_ref().map(|it| it.directory_of(manifest)).transpose()
    }

    /// Returns where it is.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Waits for what is asynchronous. Not to be called from a task of another runtime.
    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Lists the manifests, in the order of their names.
    ///
    /// # Errors
    ///
    /// The store refuses or does not answer.
    pub fn manifest_keys(&self) -> Result<Vec<ManifestKey>, StoreError> {
        self.keys_in(MANIFESTS)
    }

    /// The same of some keys of the partition, such as `project=P/suite=S`.
    pub(crate) fn manifest_keys_below(&self, keys: &str) -> Result<Vec<ManifestKey>, StoreError> {
        self.keys_in(&format!("{MANIFESTS}/{keys}"))
    }

    fn keys_in(&self, place: &str) -> Result<Vec<ManifestKey>, StoreError> {
        let mut keys: Vec<ManifestKey> =
            self.list(place)?.into_iter().filter(is_json).map(|it| key(&it)).collect();
        keys.sort_unstable();
        Ok(keys)
    }

    /// Lists what says which manifests were written or removed lately, as far as who wrote them said so: since
    /// `since`, with names to hand on. It is one request; what it does not know, [`Self::manifest_keys`] does.
    ///
    /// # Errors
    ///
    /// The store refuses or does not answer.
    pub fn news(&self, since: Timestamp) -> Result<Vec<String>, StoreError> {
        self.check()?;
        let first = uuid_before(since);
        let offset = object(&format!("{NEWS}/{first}"))?;
        let listed = self.objects.list_with_offset(Some(&object(NEWS)?), &offset);
        let listed: Vec<ObjectMeta> = self
            .wait(listed.try_collect())
            .map_err(|error| self.failed(&format!("list `{}`", self.address), error))?;
        Ok(listed.into_iter().map(|it| it.location.to_string()).collect())
    }

    /// Reads which object a piece of news of [`Self::news`] is about: a manifest, or a step of a release.
    ///
    /// # Errors
    ///
    /// It is gone, or cannot be read.
    pub fn news_of(&self, name: &str) -> Result<String, StoreError> {
        let bytes = self.read(name, 1 << 16)?;
        let text = String::from_utf8(bytes.to_vec());
        let text =
            text.map_err(|_| StoreError::new(ErrorKind::Damaged, format!("`{name}` is damaged")))?;
        Ok(text.trim_end().to_owned())
    }

    /// Returns how a listing would name a manifest now; `None` of one that is gone.
    ///
    /// # Errors
    ///
    /// The store refuses or does not answer.
    pub fn manifest_key(&self, name: &str) -> Result<Option<ManifestKey>, StoreError> {
        match self.wait(self.objects.head(&object(name)?)) {
            Ok(found) => Ok(Some(key(&found))),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(&format!("read `{name}` in `{}`", self.address), error)),
        }
    }

    /// Returns when an object was written, by the clock of the store.
    pub(crate) fn written(&self, name: &str) -> Result<Timestamp, StoreError> {
        let found = self.wait(self.objects.head(&object(name)?));
        found
            .map(|meta| instant(&meta))
            .map_err(|error| self.failed(&format!("read `{name}` in `{}`", self.address), error))
    }

    /// Reads a manifest.
    ///
    /// # Errors
    ///
    /// It is not there, cannot be read, is damaged, or stands in the place of another.
    pub fn manifest(&self, name: &str) -> Result<Manifest, StoreError> {
        self.parsed(name, &self.read(name, MAX_MANIFEST_BYTES)?).map_err(|error| {
            StoreError::new(error.kind(), format!("`{name}`: {}", with_causes(&error)))
        })
    }

    /// Reads all manifests, several at once, and calls `found` with each or why it cannot be read, in no order.
    ///
    /// # Errors
    ///
    /// The store cannot be listed.
    pub fn manifests(
        &self,
        mut found: impl FnMut(ManifestKey, Result<Manifest, StoreError>),
    ) -> Result<(), StoreError> {
        let keys = self.manifest_keys()?;
        self.read_manifests(keys, &mut found);
        Ok(())
    }

    /// Reads some manifests, several at once.
    pub fn read_manifests(
        &self,
        keys: Vec<ManifestKey>,
        mut found: impl FnMut(ManifestKey, Result<Manifest, StoreError>),
    ) {
        self.wait(async {
            let reads = keys.into_iter().map(|key| async {
                let read = self.read_async(&key.object, MAX_MANIFEST_BYTES).await;
                (key, read)
            });
            let mut reads = futures_util::stream::iter(reads).buffer_unordered(AT_ONCE);
            while let Some((key, read)) = reads.next().await {
                let manifest = read.and_then(|bytes| self.parsed(&key.object, &bytes));
                found(key, manifest);
            }
        });
    }

    /// Finds the manifest of a run by its id, or by an unambiguous beginning of it.
    ///
    /// # Errors
    ///
    /// No run has it, or several do.
    pub fn find(&self, run: &str) -> Result<Manifest, StoreError> {
        let keys = self.manifest_keys()?;
        let stem = |key: &ManifestKey| {
            let name = key.object.rsplit_once("/run=").map_or("", |(_, name)| name);
            name.trim_end_matches(".json").to_owned()
        };
        let escaped = crate::layout::escaped(run.as_bytes());
        let exact = keys.iter().find(|key| stem(key) == escaped);
        let mut beginning = keys.iter().filter(|key| stem(key).starts_with(&escaped));
        let found = match (exact, beginning.next(), beginning.next()) {
            (Some(key), _, _) | (None, Some(key), None) => key,
            (None, None, _) => {
                return Err(StoreError::new(
                    ErrorKind::NotFound,
                    format!(
                        "no run `{}` is in `{}`: `memsample list` names those that are",
                        run.escape_debug(),
                        self.address
                    ),
                ));
            }
            (None, Some(one), Some(other)) => {
                return Err(StoreError::new(
                    ErrorKind::NotFound,
                    format!(
                        "`{}` may be `{}` or `{}`: write more of it",
                        run.escape_debug(),
                        stem(one),
                        stem(other)
                    ),
                ));
            }
        };
        self.manifest(&found.object)
    }

    /// Reads a whole object.
    ///
    /// # Errors
    ///
    /// It is not there, is larger than `bytes_max`, or cannot be read.
    pub fn read(&self, name: &str, bytes_max: u64) -> Result<Bytes, StoreError> {
        self.wait(self.read_async(name, bytes_max))
    }

    pub(crate) async fn read_async(&self, name: &str, bytes_max: u64) -> Result<Bytes, StoreError> {
        let failed = |error| self.failed(&format!("read `{name}` in `{}`", self.address), error);
        let found = self.objects.get(&object(name)?).await.map_err(failed)?;
        if found.meta.size > bytes_max {
            let text = format!(
                "`{name}` has {} bytes, of which at most {bytes_max} are read",
                found.meta.size
            );
            return Err(StoreError::new(ErrorKind::Damaged, text));
        }
        found.bytes().await.map_err(failed)
    }

    /// Reads a manifest, which must not be that of another run.
    fn parsed(&self, name: &str, bytes: &[u8]) -> Result<Manifest, StoreError> {
        let manifest = Manifest::from_json(bytes)?;
        if self.in_place.is_none() && manifest.partition().manifest() != name {
            let what =
                format!("it is the manifest of another run, `{}`", manifest.run.escape_debug());
            return Err(StoreError::new(ErrorKind::Damaged, what));
        }
        Ok(manifest)
    }

    /// Refuses a directory that is gone: a listing of it would be empty.
    fn check(&self) -> Result<(), StoreError> {
        let Address::Directory(directory) = &self.address else { return Ok(()) };
        let there = directory.metadata();
        there.map(drop).map_err(|error| {
            StoreError::because(
                ErrorKind::Unavailable,
                format!("the store `{}` is gone", self.address),
                error,
            )
        })
    }

    /// Returns the error of what was done with it.
    pub(crate) fn failed(&self, what: &str, error: object_store::Error) -> StoreError {
        error_of(&self.address, what, error)
    }

    /// Lists all objects below a name.
    pub(crate) fn list(&self, below: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        self.check()?;
        let listed = self.objects.list(Some(&object(below)?));
        self.wait(listed.try_collect())
            .map_err(|error| self.failed(&format!("list `{}`", self.address), error))
    }

    /// Writes a small object. With `create` it is an error of kind [`ErrorKind::Exists`] if there is one.
    pub(crate) fn write(&self, name: &str, bytes: Vec<u8>, create: bool) -> Result<(), StoreError> {
        let mode = if create { PutMode::Create } else { PutMode::Overwrite };
        let options = PutOptions { mode, ..PutOptions::default() };
        let put =
            self.wait(self.objects.put_opts(&object(name)?, PutPayload::from(bytes), options));
        put.map(drop)
            .map_err(|error| self.failed(&format!("write `{name}` in `{}`", self.address), error))
    }

    /// Removes objects. One that is not there is removed.
    pub(crate) fn remove(&self, names: Vec<String>) -> Result<(), StoreError> {
        let paths: Vec<Path> = names.iter().map(|name| object(name)).collect::<Result<_, _>>()?;
        self.wait(async {
            let paths = futures_util::stream::iter(paths.into_iter().map(Ok)).boxed();
            let mut removed = self.objects.delete_stream(paths);
            while let Some(removed) = removed.next().await {
                match removed {
                    Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                    Err(error) => {
                        return Err(self.failed(&format!("remove from `{}`", self.address), error));
                    }
                }
            }
            Ok(())
        })
    }

    /// Tells who looks often that a manifest was written or removed. That it was is said by the manifest alone, so
    /// nothing is wrong where this fails.
    pub(crate) fn tell_news(&self, of: &Partition) {
        self.tell_news_of(&of.manifest());
    }

    /// Tells who looks often that an object was written or removed.
    pub(crate) fn tell_news_of(&self, object: &str) {
        let name = format!("{NEWS}/{}", uuid::Uuid::now_v7());
        let _ = self.write(&name, object.as_bytes().to_vec(), true);
    }
}

fn runtime() -> Result<Arc<Runtime>, StoreError> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map(Arc::new).map_err(|error| StoreError::local("cannot start threads", error))
}

/// The first name of news of an instant: UUIDs of version 7 begin with their time in milliseconds.
fn uuid_before(instant: Timestamp) -> uuid::Uuid {
    let ms = u64::try_from(instant.as_millisecond()).unwrap_or(0);
    uuid::Uuid::from_u128(u128::from(ms & 0xffff_ffff_ffff) << 80)
}

fn is_json(meta: &ObjectMeta) -> bool {
    meta.location.as_ref().ends_with(".json")
}

/// When an object was written, by the clock of the store.
pub(crate) fn instant(meta: &ObjectMeta) -> Timestamp {
    Timestamp::from_millisecond(meta.last_modified.timestamp_millis())
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

fn key(meta: &ObjectMeta) -> ManifestKey {
    let ObjectMeta { location, last_modified, size, e_tag, .. } = meta;
    let version =
        e_tag.clone().unwrap_or_else(|| format!("{}-{size}", last_modified.timestamp_micros()));
    ManifestKey { object: location.to_string(), version, written: instant(meta) }
}

/// Returns the path of an object whose name is escaped already.
pub(crate) fn object(name: &str) -> Result<Path, StoreError> {
    Path::parse(name).map_err(|error| {
        StoreError::because(
            ErrorKind::Damaged,
            format!("`{}` is no name of an object", name.escape_debug()),
            error,
        )
    })
}
