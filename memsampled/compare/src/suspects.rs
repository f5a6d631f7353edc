//! The file of suspects: which tests `memsample run --suspects` runs, and how often.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use memsample_runner::replace;
use serde::{Deserialize, Serialize};

/// The version of the format that is written.
pub const FORMAT_VERSION: u32 = 1;
/// A larger file is none.
const MAX_BYTES: u64 = 64 << 20;
/// More repeats than any comparison asks for.
const MAX_REPEATS: u32 = 1000;

/// Which tests need how many repeats more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspects {
    /// [`FORMAT_VERSION`] of the program that wrote them.
    pub format_version: u32,
    /// The version of that program.
    pub memsample_version: String,
    /// The tests, by suite and name.
    pub tests: Vec<SuspectTest>,
}

/// A test that needs more repeats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuspectTest {
    /// The name of its suite.
    pub suite: String,
    /// Its name.
    pub test: String,
    /// How many repeats the side with fewer needs: of the base and of the head where both have as many.
    pub repeats: u32,
    /// How many the base needs.
    pub base_repeats: u32,
    /// How many the head needs.
    pub head_repeats: u32,
}

impl Suspects {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// It cannot be read, is not such a file, or was written in a newer format.
    pub fn read(path: &Path) -> io::Result<Self> {
        let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let metadata = fs::metadata(path)?;
        if !metadata.is_file() || metadata.len() > MAX_BYTES {
            return Err(invalid(
                "it is not a file of suspects, which `memsample compare --suspects FILE` writes"
                    .into(),
            ));
        }
        let suspects: Self = serde_json::from_slice(&fs::read(path)?).map_err(|error| {
            invalid(format!("it is not what `memsample compare --suspects FILE` writes: {error}"))
        })?;
        if suspects.format_version > FORMAT_VERSION {
            return Err(invalid(format!(
                "memsample {} wrote it in format version {}, and this memsample reads up to version {FORMAT_VERSION}: \
                 use a newer memsample",
                suspects.memsample_version, suspects.format_version
            )));
        }
        if let Some(test) =
            suspects.tests.iter().find(|it| !(1..=MAX_REPEATS).contains(&it.repeats))
        {
            return Err(invalid(format!(
                "it asks for {} repeats of a test; from 1 to {MAX_REPEATS} are possible",
                test.repeats
            )));
        }
        Ok(suspects)
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    ///
    /// It cannot be written. What was there before is as it was.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        replace(path, &bytes)
    }

    /// Returns how often each test of a suite is to be run, by its name.
    #[must_use]
    pub fn of_suite(&self, suite: &str) -> BTreeMap<String, u32> {
        let tests = self.tests.iter().filter(|it| it.suite == suite);
        tests.map(|it| (it.test.clone(), it.repeats)).collect()
    }
}
