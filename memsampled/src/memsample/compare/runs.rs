//! Which runs a person means: directories, files, directories of runs, patterns, names, `@latest`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use memsample_compare::Run;
use memsample_inherited::tell;
use memsample_input::printable;
use memsample_runner::results::{FILE, Results};
use memsample_runner::run::PROGRESS_FILE;

use crate::reference::{back, is_named};

/// Where names are looked up.
const PLACE: &str = "runs";

/// A run, and where it really is.
pub(crate) struct Found {
    pub(crate) run: Run,
    file: PathBuf,
}

impl Found {
    /// Returns the directory that has the results, and what they name.
    pub(crate) fn directory(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("/"))
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.file == other.file
    }
}

/// Reads the results of all runs that are named, each once.
pub(crate) fn read(named: &[PathBuf]) -> anyhow::Result<Vec<Found>> {
    let mut found: Vec<Found> = Vec::new();
    for named in named {
        for path in resolve(named)? {
            let file = fs::canonicalize(&path)
                .with_context(|| format!("cannot read `{}`", shown(&path)))?;
            if found.iter().any(|other| other.file == file) {
                continue;
            }
            let results = Results::read(&file)
                .with_context(|| format!("cannot read results from `{}`", shown(&path)))?;
            let run = path.parent().filter(|_| path.ends_with(FILE)).unwrap_or(&path);
            found.push(Found { run: Run { name: run.display().to_string(), results }, file });
        }
    }
    Ok(found)
}

/// Reads the results of all runs that are named, each once, with the directory that it was found in if several are named:
/// each is then a release. The name of a run is that of its directory alone.
pub(crate) fn grouped(named: &[PathBuf]) -> anyhow::Result<Vec<(Option<String>, Found)>> {
    let mut grouped: Vec<(Option<String>, Found)> = Vec::new();
    for path in named {
        let found = read(std::slice::from_ref(path))?;
        // One directory of runs has those of all releases.
        let is_release = named.len() > 1 && found.len() > 1;
        let group = is_release.then(|| name_of(path));
        for mut run in found {
            run.run.name = name_of(Path::new(&run.run.name));
            if !grouped.iter().any(|(_, other)| other.is_same(&run)) {
                grouped.push((group.clone(), run));
            }
        }
    }
    Ok(grouped)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// Returns the files of results that are named.
fn resolve(named: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if named.exists() {
        return below(named);
    }
    let text = named.to_string_lossy();
    if text.contains(['*', '?', '[']) {
        let paths =
            glob::glob(&text).with_context(|| format!("`{}` is no pattern", shown(named)))?;
        let mut files = Vec::new();
        for path in paths {
            let path = path.with_context(|| format!("cannot look for `{}`", shown(named)))?;
            match file_of(&path)? {
                Some(file) => files.push(file),
                None => note_left_out(&path),
            }
        }
        if files.is_empty() {
            bail!("no run matches `{}`", shown(named));
        }
        return Ok(files);
    }
    let runs = by_start()?;
    if let Some(reference) = text.strip_prefix('@') {
        let back = back(reference).with_context(|| {
            format!(
                "`{}` is no run: write @latest, @-1 for the one before it, and so on",
                shown(named)
            )
        })?;
        let Some(file) = runs.get(back) else {
            bail!("`{}` is no run: there are {} in `{PLACE}`", shown(named), runs.len());
        };
        return Ok(vec![file.clone()]);
    }
    let has_name = |file: &&PathBuf| {
        let name = file.parent().and_then(Path::file_name).unwrap_or_default();
        is_named(&name.to_string_lossy(), &text)
    };
    match runs.iter().find(has_name) {
        Some(file) => Ok(vec![file.clone()]),
        None => bail!(
            "`{}` is no run: there is no such directory, and no run of this name in `{PLACE}`",
            shown(named)
        ),
    }
}

/// Returns the results of a run, or of all runs in a directory of them.
fn below(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    if let Some(file) = file_of(path)? {
        return Ok(vec![file]);
    }
    let files = in_directory(path)?;
    if files.is_empty() {
        bail!("`{}` is no run, and has none: there is no {FILE} in it", shown(path));
    }
    Ok(files)
}

fn in_directory(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    // What is left out because it cannot be read would be compared without a word.
    let cannot = || format!("cannot read `{}`", shown(path));
    let mut files = Vec::new();
    for entry in fs::read_dir(path).with_context(cannot)? {
        let entry = entry.with_context(cannot)?;
        // Links lead to one of the others.
        if !entry.file_type().with_context(cannot)?.is_dir() {
            continue;
        }
        let directory = entry.path();
        match file_of(&directory)? {
            Some(file) => files.push(file),
            None if directory.join(PROGRESS_FILE).exists() => note_left_out(&directory),
            None => {}
        }
    }
    files.sort();
    Ok(files)
}

/// Returns the runs here, newest first. One whose results cannot be read has no place among them, which is said: the one
/// before it would be taken for it.
fn by_start() -> anyhow::Result<Vec<PathBuf>> {
    let place = Path::new(PLACE);
    if !place.try_exists()? {
        return Ok(Vec::new());
    }
    let started = |file: PathBuf| match Results::read(&file) {
        Ok(results) => Some((results.started, file)),
        Err(error) => {
            tell(format!("note: `{}` is left out: {error}", shown(&file)));
            None
        }
    };
    let mut runs: Vec<_> = in_directory(place)?.into_iter().filter_map(started).collect();
    runs.sort();
    Ok(runs.into_iter().rev().map(|(_, file)| file).collect())
}

/// Returns the results of a run, if it has any.
fn file_of(path: &Path) -> anyhow::Result<Option<PathBuf>> {
    let is_file = path.is_file() && path.extension().is_some_and(|it| it == "json");
    let file = if is_file { path.to_owned() } else { path.join(FILE) };
    match fs::metadata(&file) {
        Ok(metadata) => Ok(metadata.is_file().then_some(file)),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("cannot read `{}`", shown(&file))),
    }
}

fn note_left_out(path: &Path) {
    tell(format!("note: `{}` has no {FILE}, since it is no finished run: left out", shown(path)));
}

fn shown(path: &Path) -> String {
    printable(&path.display().to_string())
}
