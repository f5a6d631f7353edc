//! The directory of a run.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::bail;
use jiff::Timestamp;
use memsample_runner::results::{self, Results};
use memsample_runner::run::{PROGRESS_FILE, is_run_of};
use memsample_runner::suite::Suite;

use super::RunArgs;
use crate::record::{file_name, numbered};

/// Characters of a suite's name in the name of its directory.
const MAX_SUITE_CHARS: usize = 64;
/// Maximum number of runs that start in the same second.
const MAX_RUNS: u32 = 1000;

/// Chooses the directory of the run, which the runner creates.
pub(super) fn choose(args: &RunArgs, suite: &Suite) -> anyhow::Result<PathBuf> {
    if args.out.join(results::FILE).exists() || args.out.join(memsample::Recording::FILE).exists() {
        bail!("`{}` is itself a run: pass the directory above it to --out", args.out.display());
    }
    if let Some(name) = &args.name {
        return Ok(args.out.join(file_name(&format!("{name}{}", args.name_suffix))?));
    }
    let prefix = format!("{}-", as_file_name(&suite.name));
    if args.resume
        && let Some(unfinished) = latest_unfinished(&args.out, suite)
    {
        return Ok(unfinished);
    }
    let now = Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    let path = args.out.join(format!("{prefix}{now}{}", args.name_suffix));
    // Another run may have started in the same second.
    let free = (1..=MAX_RUNS).map(|number| numbered(path.clone(), number));
    match free.into_iter().find(|path| !path.exists()) {
        Some(path) => Ok(path),
        None => bail!("no name is free in `{}`", args.out.display()),
    }
}

/// Returns the latest unfinished run of the suite with the same tests: the one whose progress was written
/// last.
fn latest_unfinished(out: &Path, suite: &Suite) -> Option<PathBuf> {
    let runs = fs::read_dir(out).ok()?.flatten().map(|entry| entry.path());
    let unfinished = runs.filter(|path| is_run_of(path, suite) && !has_ended(path));
    unfinished
        .max_by_key(|path| fs::metadata(path.join(PROGRESS_FILE)).and_then(|it| it.modified()).ok())
}

/// Returns whether a run is finished, by its results.
fn has_ended(directory: &Path) -> bool {
    let results = Results::read(&directory.join(results::FILE));
    results.is_ok_and(|results| results.aborted.is_none())
}

/// Replaces the characters of a name that cannot be in the name of a directory on every system.
fn as_file_name(name: &str) -> String {
    let part = |char: char| match char {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' => char,
        _ => '_',
    };
    name.chars().map(part).take(MAX_SUITE_CHARS).collect()
}
