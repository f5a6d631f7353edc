//! Which suite is run, and how it is read.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use crossbeam_channel::Receiver;
use memsample_runner::plan::NoSuchTest;
use memsample_runner::run::{DiscoverError, discover};
use memsample_runner::suite::Suite;

use super::RunArgs;
use crate::exit::{Interrupted, NoSuite};
use crate::signals::is_preparing;

/// The suite that is run where none is named.
const DEFAULT: &str = "suite.toml";

/// The suite that is meant, and the names of the tests.
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) names: Vec<String>,
    /// It was not named.
    pub(super) is_guessed: bool,
}

/// Finds out which suite is meant. The first argument is a suite if there is such a file; otherwise it is the name of a
/// test of `suite.toml` in this directory.
pub(super) fn find(args: &RunArgs) -> anyhow::Result<Found> {
    let names = args.tests.clone();
    let has_default = Path::new(DEFAULT).is_file();
    let Some(first) = &args.suite else {
        if !has_default {
            bail!(NoSuite);
        }
        return Ok(Found { path: PathBuf::from(DEFAULT), names, is_guessed: true });
    };
    let within = first.join(DEFAULT);
    if within.is_file() {
        return Ok(Found { path: within, names, is_guessed: true });
    }
    let is_path = first.exists() || first.extension().is_some_and(|it| it == "toml");
    match first.to_str() {
        Some(name) if has_default && !is_path => {
            let names = [name.to_owned()].into_iter().chain(names).collect();
            Ok(Found { path: PathBuf::from(DEFAULT), names, is_guessed: true })
        }
        _ => Ok(Found { path: first.clone(), names, is_guessed: false }),
    }
}

impl Found {
    /// Says of a name that no test has where it was looked for.
    pub(super) fn explain(&self, error: NoSuchTest) -> anyhow::Error {
        let place = format!("in `{}`", self.path.display());
        match self.is_guessed && !self.names.is_empty() {
            true => anyhow!(error).context(format!("{place}, since no suite is named")),
            false => anyhow!(error).context(place),
        }
    }
}

/// Reads the suite. This may run a command that lists its tests.
pub(super) fn load(path: &Path, launcher: &Path, signals: &Receiver<i32>) -> anyhow::Result<Suite> {
    let interrupted = Cell::new(false);
    let suite = memsample_runner::suite::load(path, &|line, cwd, timeout| {
        // Which is to be ended in order.
        is_preparing(false);
        let listed = discover(launcher, signals, line, cwd, timeout);
        interrupted.set(matches!(listed, Err(DiscoverError::Interrupted(_))) || interrupted.get());
        listed.map_err(|error| error.to_string())
    });
    if interrupted.get() {
        bail!(Interrupted);
    }
    Ok(suite?)
}
