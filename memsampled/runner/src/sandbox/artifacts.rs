//! Files of a test that are kept.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use glob::{MatchOptions, Pattern};
use walkdir::WalkDir;

/// Files that are kept of one attempt, at most.
const MAX_FILES: usize = 1000;
/// Bytes that are kept of one attempt, at most.
const MAX_BYTES: u64 = 1 << 30;

/// Sentences about what was not kept, at most.
const MAX_NOTES: usize = 20;
/// Files and directories that are looked at for one pattern, at most.
const MAX_VISITED: usize = 100_000;

const AS_PATHS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// What was kept of an attempt, and what was not.
#[derive(Debug, Default)]
struct Kept {
    /// Where each file is now.
    files: Vec<PathBuf>,
    /// A sentence for each thing that went wrong.
    notes: Vec<String>,
}

/// Returns where the artifacts of an attempt with this directory are kept.
pub(crate) fn artifacts_directory(directory: &Path) -> PathBuf {
    directory.join("artifacts")
}

/// Returns what was kept, in order.
pub(crate) fn kept_artifacts(directory: &Path) -> Vec<PathBuf> {
    let entries = WalkDir::new(directory).sort_by_file_name().into_iter().flatten();
    entries.filter(|entry| entry.file_type().is_file()).map(|entry| entry.into_path()).collect()
}

/// Copies what the globs match below `from`, where that is within `within`, into `directory`. Returns a
/// sentence for each thing that went wrong.
///
/// Only regular files are copied, and no link is followed: a test may run with fewer rights than we have.
pub(crate) fn keep(globs: &[String], from: &Path, within: &Path, directory: &Path) -> Vec<String> {
    let Kept { mut notes, .. } = copies(globs, from, within, directory);
    let more = notes.len().saturating_sub(MAX_NOTES);
    if more > 0 {
        notes.truncate(MAX_NOTES);
        notes.push(format!("and {more} more artifacts were not kept"));
    }
    notes
}

fn copies(globs: &[String], from: &Path, within: &Path, directory: &Path) -> Kept {
    let mut kept = Kept::default();
    let (Ok(root), Ok(within)) = (fs::canonicalize(from), fs::canonicalize(within)) else {
        return kept;
    };
    // What a test made in a root of its own may be a link.
    if !root.starts_with(within) {
        return kept;
    }
    let mut bytes = 0;
    for pattern in globs {
        let parts: Option<Vec<&str>> = Path::new(pattern)
            .components()
            .filter(|part| *part != Component::CurDir)
            .map(|part| match part {
                Component::Normal(part) => part.to_str(),
                _ => None,
            })
            .collect();
        let Some(parts) = parts else {
            kept.notes.push(format!("the artifacts `{pattern}` are not below its directory"));
            continue;
        };
        let glob = match Pattern::new(&parts.join("/")) {
            Ok(glob) => glob,
            Err(error) => {
                kept.notes.push(format!("the artifacts `{pattern}` are not a pattern: {error}"));
                continue;
            }
        };
        for (visited, entry) in walk(&root, &parts).into_iter().flatten().flatten().enumerate() {
            if visited >= MAX_VISITED {
                kept.notes.push(format!(
                    "the artifacts `{pattern}` were searched for in the first {MAX_VISITED} files only"
                ));
                break;
            }
            let Ok(below) = entry.path().strip_prefix(&root) else { continue };
            if !entry.file_type().is_file()
                || !glob.matches_with(&below.to_string_lossy(), AS_PATHS)
            {
                continue;
            }
            if below.to_str().is_none() {
                kept.notes.push(format!(
                    "the artifact `{}` was not kept: its name is not UTF-8",
                    below.display()
                ));
                continue;
            }
            let to = directory.join(below);
            if kept.files.contains(&to) {
                continue;
            }
            bytes += entry.metadata().map_or(0, |metadata| metadata.len());
            if kept.files.len() >= MAX_FILES || bytes > MAX_BYTES {
                kept.notes.push(format!(
                    "of its artifacts only {} files are kept: the bounds are {MAX_FILES} files and \
                     {MAX_BYTES} bytes",
                    kept.files.len()
                ));
                return kept;
            }
            match copy(entry.path(), &to) {
                Ok(()) => kept.files.push(to),
                Err(error) => {
                    kept.notes
                        .push(format!("the artifact `{}` was not kept: {error}", below.display()));
                }
            }
        }
    }
    kept
}

/// Walks through what the parts of a pattern may match; `None` where there is nothing.
fn walk(root: &Path, parts: &[&str]) -> Option<WalkDir> {
    let is_plain = |part: &&&str| !part.contains(['*', '?', '[']);
    // The last part is the file, also where it is plain.
    let plain = parts.iter().take(parts.len().saturating_sub(1)).take_while(is_plain).count();
    let (above, below) = parts.split_at(plain);
    let base = root.join(above.join("/"));
    let is_within = fs::canonicalize(&base).is_ok_and(|real| real == base);
    let depth = if below.contains(&"**") { usize::MAX } else { below.len() };
    is_within.then(|| WalkDir::new(base).max_depth(depth).sort_by_file_name())
}

/// Copies a file with its permissions, but for those that give the rights of who copies.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut from = File::open(from)?;
    let mode = from.metadata()?.permissions().mode() & 0o777;
    let mut to = OpenOptions::new().write(true).create_new(true).mode(mode).open(to)?;
    io::copy(&mut from, &mut to).map(drop)
}
