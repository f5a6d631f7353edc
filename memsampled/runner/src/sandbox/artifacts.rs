//! Files of a test that are kept.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use memsample_beneath::HeldDirectory;
use walkdir::WalkDir;

use super::artifact_reader::{ArtifactReader, ArtifactSearch, FoundArtifact, shown};

/// Sentences about what was not kept, at most.
const MAX_NOTES: usize = 20;
/// How long artifacts are copied.
const MAX_TIME: Duration = Duration::from_secs(60);
/// Between two looks at whether the runner still wants them.
const PAUSE: Duration = Duration::from_millis(50);
/// Pieces that wait to be written.
const MAX_WAITING: usize = 4;

/// Returns where the artifacts of an attempt with this directory are kept.
pub(crate) fn artifacts_directory(directory: &Path) -> PathBuf {
    directory.join("artifacts")
}

/// Returns what was kept, in order.
pub(crate) fn kept_artifacts(directory: &Path) -> Vec<PathBuf> {
    let entries = WalkDir::new(directory).sort_by_file_name().into_iter().flatten();
    entries.filter(|entry| entry.file_type().is_file()).map(|entry| entry.into_path()).collect()
}

/// Copies what is searched for into `directory`, for a minute at most and until the runner wants it no more. Returns a
/// sentence for each thing that went wrong.
///
/// Files are found and read by a thread with the rights of the test's user. Whatever makes it wait, this thread goes on.
pub(super) fn keep(
    search: ArtifactSearch,
    directory: &Path,
    mut is_unwanted: impl FnMut() -> bool,
) -> Vec<String> {
    if search.globs.is_empty() {
        return Vec::new();
    }
    let deadline = Instant::now() + MAX_TIME;
    let (found, finds) = sync_channel(MAX_WAITING);
    let is_over = Arc::new(AtomicBool::new(false));
    let reader = ArtifactReader { search, found, is_over: Arc::clone(&is_over) };
    let thread = std::thread::Builder::new().name("memsample-artifacts".to_owned());
    if let Err(error) = thread.spawn(move || reader.run()) {
        return vec![format!("its artifacts were not kept: {error}")];
    }
    let mut kept = KeptArtifacts { directory, file: None, notes: Vec::new(), more: 0 };
    let mut looked = Instant::now();
    loop {
        let now = Instant::now();
        if now >= deadline {
            let seconds = MAX_TIME.as_secs();
            kept.abandon(format!(
                "its artifacts were copied for {seconds} s; the rest was not kept"
            ));
            break;
        }
        if now >= looked + PAUSE {
            looked = now;
            if is_unwanted() {
                kept.abandon("the run was ended before all of its artifacts were kept".to_owned());
                break;
            }
        }
        match finds.recv_timeout(PAUSE.min(deadline - now)) {
            Ok(found) => kept.take(found),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    is_over.store(true, Ordering::Relaxed);
    kept.into_notes()
}

/// What was kept, while it is copied.
struct KeptArtifacts<'a> {
    directory: &'a Path,
    /// The file that is written, where it is and its path below the directory.
    file: Option<(File, HeldDirectory, PathBuf)>,
    notes: Vec<String>,
    /// Notes beyond the bound.
    more: usize,
}

impl KeptArtifacts<'_> {
    fn take(&mut self, found: FoundArtifact) {
        match found {
            FoundArtifact::Begin { below, mode } => match self.create(&below, mode) {
                Ok((file, at)) => self.file = Some((file, at, below)),
                Err(error) => self.note_failure(&below, &error),
            },
            FoundArtifact::Piece(piece) => {
                if let Some((file, _, below)) = &mut self.file
                    && let Err(error) = file.write_all(&piece)
                {
                    let below = std::mem::take(below);
                    self.remove(&below);
                    self.note_failure(&below, &error);
                }
            }
            FoundArtifact::Whole => self.file = None,
            FoundArtifact::Broken(note) => self.abandon(note),
            FoundArtifact::Note(note) => self.note(note),
        }
    }

    /// Makes a file and the directories above it. What a test made is not among them.
    fn create(&self, below: &Path, mode: u32) -> io::Result<(File, HeldDirectory)> {
        fs::create_dir_all(self.directory)?;
        let mut at = HeldDirectory::open(self.directory)?;
        for name in below.parent().into_iter().flatten() {
            at = match at.create_directory(name, 0o777) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => at.directory(name)?,
                made => made?,
            };
        }
        let file = at.create_file(below.file_name().unwrap_or_default(), mode)?;
        Ok((file, at))
    }

    /// Removes a file that is not whole.
    fn remove(&mut self, below: &Path) {
        if let Some((_, at, _)) = self.file.take() {
            let _ = at.remove_file(below.file_name().unwrap_or_default());
        }
    }

    /// Gives the file up that is written, and notes why.
    fn abandon(&mut self, note: String) {
        if let Some((_, at, below)) = self.file.take() {
            let _ = at.remove_file(below.file_name().unwrap_or_default());
        }
        self.note(note);
    }

    fn note_failure(&mut self, below: &Path, error: &io::Error) {
        self.note(format!("the artifact `{}` was not kept: {error}", shown(below)));
    }

    fn note(&mut self, note: String) {
        if self.notes.len() < MAX_NOTES {
            self.notes.push(note);
        } else {
            self.more += 1;
        }
    }

    fn into_notes(mut self) -> Vec<String> {
        if self.more > 0 {
            self.notes.push(format!("and {} more artifacts were not kept", self.more));
        }
        self.notes
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use rustix::fs::{CWD, FileType, Mode, RenameFlags, mknodat, renameat_with};
    use tempfile::{TempDir, tempdir};

    use super::*;
    use crate::sandbox::spec::User;

    /// A directory of a test's user, with what it exchanges beside it.
    struct Work {
        directory: TempDir,
        user: Option<User>,
    }

    impl Work {
        fn new() -> Self {
            let directory = tempdir().unwrap();
            fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
            fs::create_dir(directory.path().join("cwd")).unwrap();
            // Only root has other users' rights to take.
            let user = rustix::process::geteuid().is_root().then(|| User {
                name: "somebody".to_owned(),
                uid: 65_534,
                gid: 65_534,
                groups: vec![65_534],
                home: "/".into(),
            });
            Self { directory, user }
        }

        fn at(&self, name: &str) -> PathBuf {
            self.directory.path().join("cwd").join(name)
        }

        fn keep(
            &self,
            globs: &[&str],
            is_unwanted: impl FnMut() -> bool,
        ) -> (Vec<Vec<u8>>, Vec<String>) {
            let search = ArtifactSearch {
                globs: globs.iter().map(|&glob| glob.to_owned()).collect(),
                from: self.directory.path().join("cwd"),
                within: "/".into(),
                user: self.user.clone(),
            };
            let kept = self.directory.path().join("kept");
            let notes = keep(search, &kept, is_unwanted);
            let contents =
                kept_artifacts(&kept).iter().map(|path| fs::read(path).unwrap()).collect();
            let _ = fs::remove_dir_all(&kept);
            (contents, notes)
        }

        /// Keeps artifacts ten thousand times while `one` and `other` are exchanged all the time, and returns how often
        /// something was kept.
        fn race(&self, one: &str, other: &str, globs: &[&str], fine: &[u8]) -> usize {
            let is_over = AtomicBool::new(false);
            let (one, other) = (self.at(one), self.at(other));
            let mut kept = 0;
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).unwrap();
                    }
                });
                // The other thread must end before a failure is told.
                let wrong = (0..10_000).find_map(|_| {
                    let (contents, _) = self.keep(globs, || false);
                    kept += usize::from(!contents.is_empty());
                    contents.into_iter().find(|contents| contents != fine)
                });
                is_over.store(true, Ordering::Relaxed);
                assert_eq!(
                    wrong.map(|contents| String::from_utf8_lossy(&contents).into_owned()),
                    None
                );
            });
            kept
        }
    }

    #[test]
    fn slow_no_link_that_is_exchanged_for_a_directory_is_ever_followed() {
        let work = Work::new();
        let secret = work.directory.path().join("secret");
        fs::create_dir(&secret).unwrap();
        fs::write(secret.join("x.log"), "SECRET").unwrap();
        fs::create_dir(work.at("sub")).unwrap();
        fs::write(work.at("sub/x.log"), "fine").unwrap();
        symlink(&secret, work.at("lnk")).unwrap();
        let globs = ["sub/*.log", "sub/x.log", "**/*.log"];
        let kept = work.race("sub", "lnk", &globs, b"fine");
        assert!(kept > 100, "the directory was there in {kept} tries");
    }

    #[test]
    fn slow_no_pipe_or_device_that_is_exchanged_for_a_file_is_ever_read() {
        for device in [false, true] {
            let work = Work::new();
            fs::write(work.at("sub"), "fine").unwrap();
            match device {
                true => symlink("/dev/zero", work.at("lnk")).unwrap(),
                false => mknodat(CWD, work.at("lnk"), FileType::Fifo, Mode::RWXU, 0).unwrap(),
            }
            let kept = work.race("sub", "lnk", &["sub", "s*"], b"fine");
            assert!(kept > 100, "the file was there in {kept} tries");
        }
    }

    #[test]
    fn what_the_user_may_not_read_is_not_kept_whoever_owns_it() {
        let work = Work::new();
        if work.user.is_none() {
            return;
        }
        let write = |name: &str, mode, owner: Option<u32>| {
            fs::write(work.at(name), name).unwrap();
            fs::set_permissions(work.at(name), fs::Permissions::from_mode(mode)).unwrap();
            chown(work.at(name), owner, owner).unwrap();
        };
        write("of-root", 0o600, None);
        write("of-root-for-all", 0o644, None);
        write("of-user", 0o600, Some(65_534));
        let (contents, notes) = work.keep(&["*"], || false);
        assert_eq!(contents, [b"of-root-for-all".to_vec(), b"of-user".to_vec()]);
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert!(
            notes[0].starts_with("the artifact `of-root` was not kept: Permission denied"),
            "{notes:?}"
        );
    }

    #[test]
    fn a_file_that_is_too_large_is_named_and_loses_no_other() {
        let work = Work::new();
        fs::write(work.at("b.log"), "fine").unwrap();
        File::create(work.at("a.log")).unwrap().set_len(1 << 40).unwrap();
        let (contents, notes) = work.keep(&["*.log"], || false);
        assert_eq!(contents, [b"fine"]);
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert!(
            notes[0].contains("`a.log` was not kept: with it there would be more"),
            "{notes:?}"
        );
    }

    #[test]
    fn a_runner_that_ends_is_not_kept_waiting() {
        let work = Work::new();
        File::create(work.at("a.log")).unwrap().set_len(1 << 29).unwrap();
        fs::set_permissions(work.at("a.log"), fs::Permissions::from_mode(0o644)).unwrap();
        let (contents, notes) = work.keep(&["*.log"], || true);
        // Nothing that is not whole stays.
        assert_eq!(contents, Vec::<Vec<u8>>::new());
        assert_eq!(notes, ["the run was ended before all of its artifacts were kept"]);
    }
}
