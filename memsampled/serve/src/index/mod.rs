//! An index of all runs of a store, in one file of SQLite. All it has is in the store too: one that is lost, damaged or of
//! another version is made anew.

mod attempts;
mod fill;
mod query;
mod schema;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags};

pub use fill::Refreshed;
pub use query::{
    AttemptRow, Found, HostRow, PointOfRun, ReleaseRow, RunFilter, RunRow, SuiteRow, TestKey,
    TestOfRun,
};

/// Connections that wait for the next question.
const MAX_IDLE: usize = 16;

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
    /// Opens an index, or makes an empty one in place of a file that is none, is damaged, or has another version.
    ///
    /// # Errors
    ///
    /// The file cannot be made.
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        let cannot = |error: &dyn fmt::Display| {
            IndexError(format!("cannot make the index `{}`: {error}", path.display()))
        };
        if let Some(parent) = path.parent().filter(|it| !it.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent).map_err(|error| cannot(&error))?;
        }
        let writer = match usable(path) {
            Some(connection) => connection,
            None => {
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
                schema::configure(&connection).map_err(|error| cannot(&error))?;
                schema::create(&connection).map_err(|error| cannot(&error))?;
                connection
            }
        };
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
                connection.pragma_update(None, "cache_size", -4096)?;
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

/// Opens a file that is a whole index of this version.
fn usable(path: &Path) -> Option<Connection> {
    if !path.exists() {
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
