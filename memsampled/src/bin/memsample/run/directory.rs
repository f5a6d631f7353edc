use std::fs;
use std::path::{Path, PathBuf};

use anyhow::bail;
use jiff::Timestamp;
use memsampled::report::results;
use memsampled::suite::Suite;

use super::RunArgs;
use crate::record::{file_name, numbered};

/// Characters of a suite's name in the name of its directory.
const MAX_SUITE_CHARS: usize = 64;
/// Runs that begin in the same second, at most.
const MAX_RUNS: u32 = 1000;

/// Chooses the directory of results, which the runner makes.
pub(super) fn choose(args: &RunArgs, suite: &Suite) -> anyhow::Result<PathBuf> {
    if args.out.join(results::FILE).exists() || args.out.join("run.json").exists() {
        bail!("`{}` is itself a run: give the directory above it to --out", args.out.display());
    }
    if let Some(name) = &args.name {
        return Ok(args.out.join(file_name(name)?));
    }
    let prefix = format!("{}-", as_file_name(&suite.name));
    if args.resume
        && let Some(unfinished) = latest_unfinished(&args.out, &prefix)
    {
        return Ok(unfinished);
    }
    let now = Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    let path = args.out.join(format!("{prefix}{now}"));
    // Another run may have begun in the same second.
    let free = (1..=MAX_RUNS).map(|number| numbered(path.clone(), number));
    match free.into_iter().find(|path| !path.exists()) {
        Some(path) => Ok(path),
        None => bail!("no name is free in `{}`", args.out.display()),
    }
}

/// Returns the latest run of a suite that has begun and not come to its end. Names end in the time, so
/// that the last is the latest.
fn latest_unfinished(out: &Path, prefix: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(out).ok()?.flatten();
    let runs = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    let runs = runs.map(|entry| entry.path());
    runs.filter(|path| path.join("progress.jsonl").exists() && !has_ended(path)).max()
}

/// Says whether a run came to its end: its results say so.
fn has_ended(directory: &Path) -> bool {
    let results = fs::read(directory.join(results::FILE)).ok();
    let results =
        results.and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    results.is_some_and(|results| results.get("aborted").is_some_and(serde_json::Value::is_null))
}

/// Returns what of a name can be the name of a directory anywhere.
fn as_file_name(name: &str) -> String {
    let part = |char: char| match char {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' => char,
        _ => '_',
    };
    name.chars().map(part).take(MAX_SUITE_CHARS).collect()
}
