//! Finds and reads what a test left, with the rights of the test's user.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;

use glob::{MatchOptions, Pattern};
use memsample_beneath::HeldDirectory;
use rustix::fs::FileType;
use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::spec::User;

/// Files that are kept of one attempt, at most.
const MAX_FILES: usize = 1000;
/// Bytes that are kept of one attempt, at most.
const MAX_BYTES: u64 = 1 << 30;
/// Files and directories that are looked at for one pattern, at most.
const MAX_VISITED: usize = 100_000;
/// How deep directories are searched: each on the way is held open.
const MAX_DEPTH: usize = 100;
/// Contents that are passed on at once.
const PIECE_BYTES: usize = 256 * 1024;
/// Characters of a path in a note, at most.
const MAX_SHOWN: usize = 200;

const AS_PATHS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// Where artifacts are looked for, and with whose rights.
#[derive(Clone, Debug)]
pub(super) struct ArtifactSearch {
    pub(super) globs: Vec<String>,
    /// The directory of the test.
    pub(super) from: PathBuf,
    /// What that must be in: in a root of its own, a test may have made a link of it.
    pub(super) within: PathBuf,
    /// Our own rights where it is `None`.
    pub(super) user: Option<User>,
}

/// What was found, in order.
#[derive(Debug)]
pub(super) enum FoundArtifact {
    /// A file begins, at a path below the directory of the test.
    Begin { below: PathBuf, mode: u32 },
    /// It continues.
    Piece(Vec<u8>),
    /// It is whole.
    Whole,
    /// It cannot be kept, for this reason.
    Broken(String),
    /// Something else was not kept; a sentence.
    Note(String),
}

/// Returns a path as notes show it.
pub(super) fn shown(path: &Path) -> String {
    let text = path.display().to_string();
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// Why a search ends before its end: nobody wants the rest.
struct Unwanted;

/// Searches for artifacts, on a thread of its own.
pub(super) struct ArtifactReader {
    pub(super) search: ArtifactSearch,
    pub(super) found: SyncSender<FoundArtifact>,
    /// Set when nobody wants the rest.
    pub(super) is_over: Arc<AtomicBool>,
}

impl ArtifactReader {
    /// Takes the rights of the test's user, and passes on what they may read.
    pub(super) fn run(self) {
        let searched = self
            .open()
            .map(|root| Searching { reader: &self, root, kept: HashSet::new(), bytes: 0 }.all());
        if let Err(error) = searched
            && error.kind() != io::ErrorKind::NotFound
        {
            let _ = self
                .found
                .send(FoundArtifact::Note(format!("its artifacts were not kept: {error}")));
        }
    }

    /// Opens the directory of the test.
    fn open(&self) -> io::Result<HeldDirectory> {
        let ArtifactSearch { from, within, user, .. } = &self.search;
        let below = from.strip_prefix(within).map_err(|_| io::ErrorKind::NotFound)?;
        // It is ours, and the user may have no right to pass through what is above it.
        let within = HeldDirectory::open(within)?;
        if let Some(user) = user {
            take_rights(user)?;
        }
        match below.as_os_str().is_empty() {
            true => Ok(within),
            false => within.directory_in_root(below),
        }
    }
}

/// Gives this thread the rights to files of a user. Its real and its saved user stay, so that this user can neither
/// signal nor trace it.
fn take_rights(user: &User) -> io::Result<()> {
    if geteuid().as_raw() == user.uid {
        return Ok(());
    }
    let groups: Vec<Gid> = user.groups.iter().copied().map(Gid::from_raw).collect();
    set_thread_groups(&groups)?;
    set_thread_res_gid(None, Gid::from_raw(user.gid), None)?;
    // The last: it takes the capabilities.
    set_thread_res_uid(None, Uid::from_raw(user.uid), None)?;
    Ok(())
}

/// A search, while it is made.
struct Searching<'a> {
    reader: &'a ArtifactReader,
    root: HeldDirectory,
    kept: HashSet<PathBuf>,
    bytes: u64,
}

/// A pattern, while it is searched for.
struct Searched<'a> {
    text: &'a str,
    glob: Pattern,
    depth: usize,
    visited: usize,
}

impl Searching<'_> {
    fn all(mut self) {
        for pattern in &self.reader.search.globs {
            if self.pattern(pattern).is_err() {
                return;
            }
        }
    }

    fn pattern(&mut self, pattern: &str) -> Result<(), Unwanted> {
        let parts: Option<Vec<&str>> = Path::new(pattern)
            .components()
            .filter(|part| *part != Component::CurDir)
            .map(|part| match part {
                Component::Normal(part) => part.to_str(),
                _ => None,
            })
            .collect();
        let Some(parts) = parts else {
            return self.note(format!("the artifacts `{pattern}` are not below its directory"));
        };
        let glob = match Pattern::new(&parts.join("/")) {
            Ok(glob) => glob,
            Err(error) => {
                return self.note(format!("the artifacts `{pattern}` are not a pattern: {error}"));
            }
        };
        let is_plain = |part: &&&str| !part.contains(['*', '?', '[']);
        // The last part is the file, also where it is plain.
        let plain = parts.iter().take(parts.len().saturating_sub(1)).take_while(is_plain).count();
        let (above, below) = parts.split_at(plain);
        let mut searched: Option<HeldDirectory> = None;
        for name in above {
            let from = searched.as_ref().unwrap_or(&self.root);
            match from.directory(name) {
                Ok(directory) => searched = Some(directory),
                // There is nothing, or a link.
                Err(_) => return Ok(()),
            }
        }
        let depth = if below.contains(&"**") { MAX_DEPTH } else { below.len() };
        let mut pattern = Searched { text: pattern, glob, depth, visited: 0 };
        let above: PathBuf = above.iter().collect();
        let searched = searched.map_or_else(|| self.root.try_clone(), Ok);
        match searched {
            Ok(directory) => self.directory(&mut pattern, &directory, &above, 1),
            Err(error) => self.note(format!("its artifacts were not kept: {error}")),
        }
    }

    fn directory(
        &mut self,
        pattern: &mut Searched<'_>,
        directory: &HeldDirectory,
        at: &Path,
        depth: usize,
    ) -> Result<(), Unwanted> {
        let left = MAX_VISITED.saturating_sub(pattern.visited);
        let entries = match directory.entries() {
            Ok(entries) => entries.take(left + 1).filter_map(Result::ok),
            Err(error) => {
                return self
                    .note(format!("`{}` was not searched for artifacts: {error}", shown(at)));
            }
        };
        let mut entries: Vec<(OsString, FileType)> = entries.map(|it| (it.name, it.kind)).collect();
        entries.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        for (name, kind) in entries {
            if pattern.visited > MAX_VISITED {
                return Ok(());
            }
            pattern.visited += 1;
            if pattern.visited > MAX_VISITED {
                return self.note(format!(
                    "the artifacts `{}` were searched for in the first {MAX_VISITED} files only",
                    pattern.text
                ));
            }
            if self.reader.is_over.load(Ordering::Relaxed) {
                return Err(Unwanted);
            }
            let below = at.join(&name);
            let may_be_file = matches!(kind, FileType::RegularFile | FileType::Unknown);
            let may_be_directory = matches!(kind, FileType::Directory | FileType::Unknown);
            if may_be_directory && let Ok(within) = directory.directory(&name) {
                if depth < pattern.depth {
                    self.directory(pattern, &within, &below, depth + 1)?;
                } else if depth >= MAX_DEPTH {
                    self.note(format!(
                        "`{}` is {MAX_DEPTH} directories deep and was not searched for artifacts",
                        shown(&below)
                    ))?;
                }
            } else if may_be_file && pattern.glob.matches_with(&below.to_string_lossy(), AS_PATHS) {
                self.file(directory, &name, below)?;
            }
        }
        Ok(())
    }

    fn file(
        &mut self,
        directory: &HeldDirectory,
        name: &OsString,
        below: PathBuf,
    ) -> Result<(), Unwanted> {
        let not_kept = |why: &dyn std::fmt::Display| {
            format!("the artifact `{}` was not kept: {why}", shown(&below))
        };
        if below.to_str().is_none() {
            return self.note(not_kept(&"its name is not UTF-8"));
        }
        if self.kept.contains(&below) {
            return Ok(());
        }
        if self.kept.len() >= MAX_FILES {
            return self.note(not_kept(&format!("{MAX_FILES} files are kept of an attempt")));
        }
        let opened = directory.file(name).and_then(|file| Ok((file.metadata()?, file)));
        let (metadata, mut file) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.note(not_kept(&error)),
        };
        let bytes_left = MAX_BYTES - self.bytes;
        let too_large = || not_kept(&format!("with it there would be more than {MAX_BYTES} bytes"));
        // So that a sparse file is not read in vain. What is read counts, whatever this says.
        if metadata.len() > bytes_left {
            return self.note(too_large());
        }
        let mode = metadata.permissions().mode() & 0o777;
        self.send(FoundArtifact::Begin { below: below.clone(), mode })?;
        let mut bytes = 0;
        loop {
            let mut piece = vec![0; PIECE_BYTES];
            match file.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => {
                    bytes += length as u64;
                    if bytes > bytes_left {
                        return self.send(FoundArtifact::Broken(too_large()));
                    }
                    piece.truncate(length);
                    self.send(FoundArtifact::Piece(piece))?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.send(FoundArtifact::Broken(not_kept(&error))),
            }
        }
        self.bytes += bytes;
        self.kept.insert(below);
        self.send(FoundArtifact::Whole)
    }

    fn note(&self, note: String) -> Result<(), Unwanted> {
        self.send(FoundArtifact::Note(note))
    }

    fn send(&self, found: FoundArtifact) -> Result<(), Unwanted> {
        self.reader.found.send(found).map_err(|_| Unwanted)
    }
}
