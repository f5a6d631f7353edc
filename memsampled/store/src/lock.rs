//! That one at a time changes what is in a store.

use jiff::Timestamp;

use crate::error::{ErrorKind, StoreError};
use crate::store::Store;

/// The object that says that somebody changes what there is.
const LOCK: &str = "locks/change";
/// A lock that is older is of somebody who was killed.
const STALE_SECONDS: i64 = 6 * 3600;

/// That nobody else changes what there is, as long as it is held.
pub(crate) struct Lock<'a> {
    store: &'a Store,
    /// When it was taken, by the clock of the store: that of who takes it may be wrong.
    pub(crate) taken: Timestamp,
}

impl<'a> Lock<'a> {
    /// Takes it.
    ///
    /// # Errors
    ///
    /// Of kind [`ErrorKind::Exists`] if somebody has it.
    pub(crate) fn take(store: &'a Store) -> Result<Self, StoreError> {
        let now = Timestamp::now();
        let text = format!("{now}\n");
        match store.write(LOCK, text.clone().into_bytes(), true) {
            Ok(()) => return Self::held(store),
            Err(error) if error.kind() == ErrorKind::Exists => {}
            Err(error) => return Err(error),
        }
        let since = store.read(LOCK, 1 << 10)?;
        let since =
            std::str::from_utf8(&since).ok().and_then(|text| text.trim().parse::<Timestamp>().ok());
        match since {
            Some(since) if now.as_second().saturating_sub(since.as_second()) < STALE_SECONDS => {
                Err(StoreError::new(
                    ErrorKind::Exists,
                    format!(
                        "somebody prunes or compacts `{}` since {since}; if that was killed, remove the object `{LOCK}`",
                        store.address()
                    ),
                ))
            }
            _ => {
                store.write(LOCK, text.into_bytes(), false)?;
                Self::held(store)
            }
        }
    }

    fn held(store: &'a Store) -> Result<Self, StoreError> {
        let written = store.written(LOCK);
        // It is removed if that fails.
        let mut lock = Self { store, taken: Timestamp::now() };
        lock.taken = written?;
        Ok(lock)
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        // A lock that stays is stale some hours later.
        let _ = self.store.remove(vec![LOCK.to_owned()]);
    }
}
