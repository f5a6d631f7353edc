//! A suite: the tests of a release, and how each shall be run.
//!
//! The readers of TOML and of directories in UTAH's format have types of their own; everything behind them knows
//! only [`Suite`].

mod budget;
mod document;
mod policy;
mod rules;
mod sandbox;
mod settings;
mod suite_file;
mod test;
mod toml;
mod utah;

use std::path::Path;

use suite_file::SUITE_FILE;

pub(crate) use document::meant;

pub use budget::{Action, Budget, LeakRule, Quantity};
pub use memsample_input::Problem;
pub use policy::{Policy, PolicyBudget, PolicyLeak};
pub use sandbox::Sandbox;
pub use suite_file::SuiteError;
pub use test::{Program, Step, Suite, Test};
pub use utah::{Discover, Tree};

/// Reads a suite: a TOML file, or a directory in the format of UTAH, the Ubuntu Test Automation
/// Harness. `docs/suite.md` describes both.
///
/// Of a directory with a `tslist.auto`, the command in it that lists the tests is run by `discover`,
/// such as [`run::discover`](crate::run::discover()).
///
/// # Errors
///
/// If it cannot be read or understood; all problems are reported at once, each with file, line and
/// column, and with what to write instead.
pub fn load(path: &Path, discover: &Discover<'_>) -> Result<Suite, SuiteError> {
    if path.is_dir() {
        return Ok(utah::read(path, &utah::Disk(discover))?);
    }
    from_toml(&SUITE_FILE.read(path)?, path)
}

/// Reads a directory in UTAH's format, wherever its files are.
///
/// # Errors
///
/// As [`load`].
pub fn from_utah(root: &Path, tree: &dyn Tree) -> Result<Suite, SuiteError> {
    Ok(utah::read(root, tree)?)
}

/// Reads a suite from the bytes of a TOML file. `path` names it in errors, and relative paths in it
/// begin in its directory.
///
/// # Errors
///
/// As [`load`], but for what comes of reading the file.
pub fn from_toml(bytes: &[u8], path: &Path) -> Result<Suite, SuiteError> {
    Ok(toml::parse(bytes, path)?)
}
