//! An index of all runs of a store, in one file of SQLite. All it has is in the store too: one that is lost, damaged or of
//! another version is made anew.

mod attempts;
mod fill;
mod notices;
mod query;
mod releases;
mod schema;

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags};

pub use fill::{RefreshError, Refreshed};
pub use notices::{Notice, NoticeKind, Stale};
pub use query::{
    AttemptRow, Found, HostRow, PointOfRun, QUANTITIES, RunFilter, RunRow, SuiteRow, TestKey,
    TestOfRun,
};
pub use releases::{ReleaseRow, ReleaseVerdict};

/// Connections that wait for the next question.
const MAX_IDLE: usize = 8;

/// Why the index cannot be used.
#[derive(Debug)]
pub struct IndexError(String);

impl fmt::Display for IndexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for IndexError {}

impl From<rusqlite::Error> for IndexError {
    fn from(error: rusqlite::Error) -> Self {
        Self(format!("the index cannot be read: {error}"))
    }
}

/// The index of a store. Many threads may ask it; one fills it.
#[derive(Clone)]
pub struct Index {
    path: PathBuf,
    writer: Arc<Mutex<Connection>>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Index {
    /// Opens the index of a store, or makes an empty one in place of one that is damaged or has another version. A file that
    /// a user named and that is no index is left as it is.
    ///
    /// # Errors
    ///
    /// The file cannot be made, is something else, or is the index of another store.
    pub fn open(path: &Path, is_named: bool, store: &str) -> Result<Self, IndexError> {
        let cannot = |error: &dyn fmt::Display| {
            IndexError(format!("cannot make the index `{}`: {error}", path.display()))
        };
        if let Some(parent) = path.parent().filter(|it| !it.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent).map_err(|error| cannot(&error))?;
        }
        // Before it is opened, which writes a header into an empty file.
        let is_index = is_index(path).map_err(|error| cannot(&error))?;
        let writer = match usable(path) {
            Some(connection) => connection,
            None => {
                if is_named && !is_index {
                    return Err(IndexError(format!(
                        "`{}` is no index of memsample, and is left as it is: name another file",
                        path.display()
                    )));
                }
                for suffix in ["", "-wal", "-shm"] {
                    let mut name = path.as_os_str().to_owned();
                    name.push(suffix);
                    match std::fs::remove_file(&name) {
                        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                            return Err(cannot(&error));
                        }
                        _ => {}
                    }
                }
                let connection = Connection::open(path).map_err(|error| cannot(&error))?;
                // Before there is a log beside the file, so that its header says what it is from the first moment.
                schema::create(&connection, store).map_err(|error| cannot(&error))?;
                schema::configure(&connection).map_err(|error| cannot(&error))?;
                connection
            }
        };
        let of: String = writer.query_row("SELECT address FROM store", [], |row| row.get(0))?;
        if of != store {
            return Err(IndexError(format!(
                "`{}` is the index of the store `{}`: name another file, or remove it",
                path.display(),
                of.escape_debug()
            )));
        }
        let writer = Arc::new(Mutex::new(writer));
        Ok(Self { path: path.to_owned(), writer, idle: Arc::default() })
    }

    /// Asks a question with a connection that only reads.
    fn ask<T>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, IndexError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => {
                let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                let connection = Connection::open_with_flags(&self.path, flags)?;
                connection.busy_timeout(std::time::Duration::from_secs(10))?;
                connection.pragma_update(None, "cache_size", -2048)?;
                connection
            }
        };
        let answer = question(&connection)?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE {
            idle.push(connection);
        }
        Ok(answer)
    }
}

/// Returns whether a file is an index, however damaged, or nothing. Its header says so: bytes 68 to 72.
fn is_index(path: &Path) -> std::io::Result<bool> {
    let mut header = Vec::new();
    match std::fs::File::open(path) {
        Ok(file) => file.take(72).read_to_end(&mut header)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    let is_ours = header.starts_with(b"SQLite format 3\0")
        && header.ends_with(&schema::APPLICATION_ID.to_be_bytes());
    Ok(header.is_empty() || is_ours)
}

/// Opens a file that is a whole index of this version.
fn usable(path: &Path) -> Option<Connection> {
    // What is something else is not even opened for writing.
    if !path.exists() || !is_index(path).ok()? {
        return None;
    }
    let connection = Connection::open(path).ok()?;
    schema::configure(&connection).ok()?;
    let version: i64 =
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).ok()?;
    let check: String =
        connection.pragma_query_value(None, "quick_check", |row| row.get(0)).ok()?;
    let is_usable = version == schema::VERSION && check == "ok";
    if !is_usable {
        tracing::warn!(
            "the index `{}` is damaged or of another version: it is made anew",
            path.display()
        );
    }
    is_usable.then_some(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_index_is_left_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("named");
        let other = directory.path().join("other.db");
        Connection::open(&other).unwrap().execute_batch("CREATE TABLE mine (a)").unwrap();
        for bytes in [b"what somebody wrote".to_vec(), std::fs::read(&other).unwrap()] {
            std::fs::write(&path, &bytes).unwrap();
            assert!(Index::open(&path, true, "lab").is_err());
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
        }
        // One that this program named is made anew.
        assert_eq!(Index::open(&path, false, "lab").unwrap().count().unwrap(), 0);
    }

    #[test]
    fn a_damaged_index_is_made_anew_and_that_of_another_store_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("index");
        drop(Index::open(&path, true, "lab").unwrap());
        assert!(Index::open(&path, true, "another").is_err());
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.truncate(bytes.len() / 2);
        bytes.iter_mut().skip(200).for_each(|byte| *byte = 0x55);
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(Index::open(&path, true, "lab").unwrap().count().unwrap(), 0);
    }
}
