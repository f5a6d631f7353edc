//! Reads objects, and compares them with the hashes of their manifest.

use bytes::Bytes;
use futures_util::StreamExt;
use object_store::ObjectStoreExt;

use crate::error::{ErrorKind, StoreError};
use crate::hash::Hash;
use crate::manifest::StoredFile;
use crate::store::{Store, object};

/// The largest object that is read as a whole: twice a compacted file.
const MAX_BYTES: u64 = 512 << 20;

/// Reads a whole object, and compares its hash: what is damaged is not decoded.
///
/// # Errors
///
/// It is not there, is not what the manifest says, or cannot be read.
pub fn verified(store: &Store, stored: &StoredFile) -> Result<Bytes, StoreError> {
    if stored.bytes > MAX_BYTES {
        let what = format!(
            "`{}` has {} bytes, of which at most {MAX_BYTES} are read at once",
            stored.object, stored.bytes
        );
        return Err(StoreError::new(ErrorKind::Damaged, what));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(stored.bytes).unwrap_or(0));
    read_pieces(store, stored, |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(bytes.into())
}

/// Reads an object piece by piece. When all pieces were seen, their hash was compared with that of the manifest.
pub(crate) fn read_pieces(
    store: &Store,
    stored: &StoredFile,
    mut piece: impl FnMut(&[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let failed =
        |error| store.failed(&format!("read `{}` in `{}`", stored.object, store.address()), error);
    let differs = |what: String| {
        StoreError::new(ErrorKind::Damaged, format!("`{}` is damaged: {what}", stored.object))
    };
    let mut hash = Hash::default();
    if stored.bytes == 0 && hash.clone().hex() == stored.sha256 {
        return Ok(());
    }
    let name = object(&stored.object)?;
    store.wait(async {
        let found = store.objects.get(&name).await.map_err(failed)?;
        if found.meta.size != stored.bytes {
            return Err(differs(format!(
                "it has {} bytes and not {}",
                found.meta.size, stored.bytes
            )));
        }
        let mut pieces = found.into_stream();
        while let Some(bytes) = pieces.next().await {
            let bytes = bytes.map_err(failed)?;
            hash.update(&bytes);
            piece(&bytes)?;
        }
        Ok(())
    })?;
    if hash.hex() != stored.sha256 {
        return Err(differs("its bytes are not those that were pushed".to_owned()));
    }
    Ok(())
}
