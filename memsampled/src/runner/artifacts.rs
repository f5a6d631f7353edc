use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::suite::Test;

/// Files that are kept of one attempt, at most.
const MAX_FILES: usize = 1000;
/// Bytes that are kept of one attempt, at most.
const MAX_BYTES: u64 = 1 << 30;

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
/// Only regular files are copied, never what a link points to outside: a test may run with fewer
/// rights than we have.
pub(super) fn keep(test: &Test, directory: &Path) -> Kept {
    let mut kept = Kept::default();
    let Ok(root) = fs::canonicalize(&test.cwd) else { return kept };
    let mut bytes = 0;
    for pattern in &test.artifacts {
        let leaves = Path::new(pattern)
            .components()
            .any(|part| !matches!(part, Component::Normal(_) | Component::CurDir));
        if leaves {
            kept.notes.push(format!("the artifacts `{pattern}` are not below its directory"));
            continue;
        }
        let escaped = glob::Pattern::escape(&root.to_string_lossy());
        let paths = match glob::glob(&format!("{escaped}/{pattern}")) {
            Ok(paths) => paths,
            Err(error) => {
                kept.notes.push(format!("the artifacts `{pattern}` are no pattern: {error}"));
                continue;
            }
        };
        for path in paths.flatten() {
            // A link in between may lead anywhere.
            let Ok(real) = fs::canonicalize(&path) else { continue };
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            if !metadata.is_file() || !real.starts_with(&root) {
                continue;
            }
            bytes += metadata.len();
            if kept.files.len() >= MAX_FILES || bytes > MAX_BYTES {
                kept.notes.push(format!(
                    "of its artifacts only {} files are kept: the bounds are {MAX_FILES} files and \
                     {MAX_BYTES} bytes",
                    kept.files.len()
                ));
                return kept;
            }
            let to = directory.join(real.strip_prefix(&root).unwrap_or(&real));
            match copy(&real, &to) {
                Ok(()) => kept.files.push(to),
                Err(error) => {
                    kept.notes
                        .push(format!("the artifact `{}` was not kept: {error}", path.display()));
                }
            }
        }
    }
    kept.files.sort();
    kept.files.dedup();
    kept
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::copy(from, to).map(drop)
}
