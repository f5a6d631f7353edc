//! Which recording a person means: a path, a name, `@latest`, the id of a session, or the results of a run.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use memsample::{Recording, Recovery};
use memsample_inherited::tell;
use memsample_input::printable;

use crate::known_recordings::{KnownRecordings, recordings_of_run};
use crate::reference::{back, is_named};

/// How many recordings an error names.
const MAX_NAMED: usize = 5;

/// Opens the recording that is named, and prints its path to stderr if that is not what was typed.
pub(crate) fn open(named: &Path) -> anyhow::Result<(Recording, Recovery)> {
    let path = resolve(named)?;
    if path != behind_link(named) {
        let (named, path) = (named.display().to_string(), path.display().to_string());
        tell(format!("note: `{}` is `{}`", printable(&named), printable(&path)));
    }
    Ok(Recording::open(&path)?)
}

/// Returns the path of the recording that is named.
pub(crate) fn resolve(named: &Path) -> anyhow::Result<PathBuf> {
    if named.join(Recording::FILE).exists() {
        return Ok(behind_link(named));
    }
    if let Some(last) = recordings_of_run(named).into_iter().next() {
        return Ok(last);
    }
    // A file of a recording stands for it.
    if let Some(parent) =
        named.parent().filter(|it| named.is_file() && it.join(Recording::FILE).exists())
    {
        return Ok(parent.to_owned());
    }
    let text = named.to_str().filter(|text| !text.contains('/'));
    let Some(text) = text else { return Err(not_found(named, None)) };
    let known = KnownRecordings::find();
    if let Some(reference) = text.strip_prefix('@') {
        let back = back(reference).with_context(|| {
            format!(
                "`{}` is no recording: write @latest, @-1 for the one before it, and so on",
                printable(text)
            )
        })?;
        let Some(found) = known.recordings.get(back) else {
            bail!("`{text}` is no recording: {}", what_there_is(&known));
        };
        return Ok(found.path.clone());
    }
    let mut recordings = known.recordings.iter();
    // As the link beside them, unless one has this name.
    let newest = known.recordings.first().filter(|_| text == "latest");
    match recordings.find(|it| is_named(&it.name, text)).or(newest) {
        Some(found) => Ok(found.path.clone()),
        None => Err(not_found(named, Some(&known))),
    }
}

/// Returns the recording to which a link such as `recordings/latest` leads, which may lead to another one later.
fn behind_link(path: &Path) -> PathBuf {
    match (path.parent(), path.read_link()) {
        (Some(parent), Ok(target)) => parent.join(target),
        _ => path.to_owned(),
    }
}

fn not_found(named: &Path, known: Option<&KnownRecordings>) -> anyhow::Error {
    let text = named.display().to_string();
    let text = printable(&text);
    let inside = KnownRecordings::below(vec![named.to_owned()]);
    if !inside.recordings.is_empty() {
        return anyhow::anyhow!(
            "`{text}` is not a recording, but a directory of them: {}",
            names(&inside)
        );
    }
    if is_archive(named) {
        return anyhow::anyhow!(
            "`{text}` is an archive: if it is a capture of smemcap, `memsample import {text}` makes a recording of it; \
             if it has a recording, unpack it first"
        );
    }
    let why = match (named.is_dir(), named.join(Recording::FILE).try_exists()) {
        (_, Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
            return anyhow::anyhow!(
                "cannot look into `{text}`: {error} (read it as its owner, or as root)"
            );
        }
        (true, _) => "it has no recording.json",
        (false, _) if named.exists() => "it is not a directory",
        (false, _) => "there is no such directory",
    };
    match known {
        Some(known) => {
            anyhow::anyhow!("`{text}` is not a recording: {why}; {}", what_there_is(known))
        }
        None => anyhow::anyhow!(
            "`{text}` is not a recording: {why}; `memsample ls` lists those that there are"
        ),
    }
}

/// Whether the name of a file says that it is a tar, plain or compressed.
fn is_archive(named: &Path) -> bool {
    let name = named.file_name().map(|name| name.to_string_lossy().to_lowercase());
    let ends = [".tar", ".tgz", ".gz"];
    named.is_file() && name.is_some_and(|name| ends.iter().any(|end| name.ends_with(end)))
}

fn what_there_is(known: &KnownRecordings) -> String {
    let places: Vec<_> =
        known.places.iter().map(|place| format!("`{}`", place.display())).collect();
    let places = places.join(", ");
    match known.recordings.is_empty() {
        true => format!("there is none in {places}"),
        false => format!("{places} have {}", names(known)),
    }
}

fn names(known: &KnownRecordings) -> String {
    let newest = known.recordings.iter().take(MAX_NAMED);
    let newest: Vec<_> = newest.map(|it| printable(&it.name)).collect();
    let more = match known.recordings.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more: see `memsample ls`"),
    };
    format!("{}{more}", newest.join(", "))
}
