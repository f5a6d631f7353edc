use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use glob::{MatchOptions, Pattern};
use walkdir::WalkDir;

use crate::suite::Test;

/// Files that are kept of one attempt, at most.
const MAX_FILES: usize = 1000;
/// Bytes that are kept of one attempt, at most.
const MAX_BYTES: u64 = 1 << 30;

/// Files and directories that are looked at for one pattern, at most.
const MAX_VISITED: usize = 100_000;

const AS_PATHS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// What was kept of an attempt, and what was not.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Where each file is now.
    pub(super) files: Vec<PathBuf>,
    /// A sentence for each thing that went wrong.
    pub(super) notes: Vec<String>,
}

/// Copies what the globs of a test match below its directory into `directory`.
///
/// Only regular files are copied, and no link is followed: a test may run with fewer rights than we have.
pub(super) fn keep(test: &Test, directory: &Path) -> Kept {
    let mut kept = Kept::default();
    let Ok(root) = fs::canonicalize(&test.cwd) else { return kept };
    let mut bytes = 0;
    for pattern in &test.artifacts {
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
                kept.notes.push(format!("the artifacts `{pattern}` are no pattern: {error}"));
                continue;
            }
        };
        for (visited, entry) in walk(&root, &parts).into_iter().flatten().flatten().enumerate() {
            if visited >= MAX_VISITED {
                kept.notes.push(format!(
                    "the artifacts `{pattern}` were looked for among {MAX_VISITED} files, and no more"
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
    kept.files.sort();
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

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::copy(from, to).map(drop)
}
