//! Objects that are replaced only if they are as they were seen last, so that of several who do so one succeeds.

use std::fs::File;

use bytes::Bytes;
use jiff::Timestamp;
use object_store::{
    GetResult, ObjectStoreExt, PutMode, PutOptions, PutPayload, PutResult, UpdateVersion,
};

use crate::address::Address;
use crate::error::{ErrorKind, StoreError};
use crate::store::{Store, instant, object};

/// What tells whether an object was written since.
#[derive(Clone, Debug)]
pub(crate) struct Version(UpdateVersion);

/// An object as it is at one moment.
pub(crate) struct Seen {
    pub(crate) bytes: Bytes,
    /// When it was written, by the clock of the store.
    pub(crate) written: Timestamp,
    pub(crate) version: Version,
}

impl Store {
    /// Makes a small object; an error of kind [`ErrorKind::Exists`] if there is one.
    pub(crate) fn create(&self, name: &str, bytes: Vec<u8>) -> Result<Version, StoreError> {
        self.put_as(name, bytes, PutMode::Create)
    }

    /// Reads a small object.
    pub(crate) fn see(&self, name: &str, bytes_max: u64) -> Result<Seen, StoreError> {
        let path = object(name)?;
        let failed = |error| self.failed(&format!("read `{name}` in `{}`", self.address()), error);
        self.wait(async {
            let found: GetResult = self.objects.get(&path).await.map_err(failed)?;
            let meta = found.meta.clone();
            if meta.size > bytes_max {
                let text = format!("`{name}` has {} bytes: remove it", meta.size);
                return Err(StoreError::new(ErrorKind::Damaged, text));
            }
            let bytes = found.bytes().await.map_err(failed)?;
            let written = instant(&meta);
            let version = Version(UpdateVersion { e_tag: meta.e_tag, version: meta.version });
            Ok(Seen { bytes, written, version })
        })
    }

    /// Writes a small object that was seen; an error of kind [`ErrorKind::Exists`] if somebody has written or removed it
    /// since.
    pub(crate) fn replace(
        &self,
        name: &str,
        bytes: Vec<u8>,
        seen: &Version,
    ) -> Result<Version, StoreError> {
        let Address::Directory(directory) = self.address() else {
            return self.put_as(name, bytes, PutMode::Update(seen.0.clone()));
        };
        // A directory has no such request, so that who compares and writes must be alone. Where a file system has no
        // locks, two of them at one moment may both succeed.
        let above = directory.join(name);
        let guard = above.parent().and_then(|above| File::open(above).ok());
        let _locked = guard.as_ref().map(File::lock);
        let changed = || {
            let text = format!("somebody has changed `{name}` in `{}`", self.address());
            StoreError::new(ErrorKind::Exists, text)
        };
        match self.wait(self.objects.head(&object(name)?)) {
            Ok(meta) if meta.e_tag == seen.0.e_tag => self.put_as(name, bytes, PutMode::Overwrite),
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Err(changed()),
            Err(error) => {
                Err(self.failed(&format!("read `{name}` in `{}`", self.address()), error))
            }
        }
    }

    /// Asks the store for its clock, by an object that is made and removed.
    pub(crate) fn now(&self, name: &str) -> Result<Timestamp, StoreError> {
        self.create(name, Vec::new())?;
        let now = self.written(name);
        self.remove(vec![name.to_owned()])?;
        now
    }

    fn put_as(&self, name: &str, bytes: Vec<u8>, mode: PutMode) -> Result<Version, StoreError> {
        let options = PutOptions { mode, ..PutOptions::default() };
        let put =
            self.wait(self.objects.put_opts(&object(name)?, PutPayload::from(bytes), options));
        let PutResult { e_tag, version, .. } = put.map_err(|error| {
            self.failed(&format!("write `{name}` in `{}`", self.address()), error)
        })?;
        Ok(Version(UpdateVersion { e_tag, version }))
    }
}
