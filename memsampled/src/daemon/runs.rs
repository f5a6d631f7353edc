//! The directory with the recordings, and what is served of it.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use memsample::{Manifest, RunState};
use rustix::fs::{Dir, FileType, Mode, OFlags, fchown, openat};

use super::failure::Failure;
use super::peer::Peer;
use super::sessions::check_name;
use crate::api::{ErrorCode, RunFile, RunInfo, RunList, RunListEntry};

/// The label in `run.json` that says who started a session.
pub(super) const UID_LABEL: &str = "memsampled.uid";
/// Recordings in one list, at most; the newest are shown.
const MAX_LISTED: usize = 1000;
/// Entries of the runs directory that are looked at.
const MAX_ENTRIES: usize = 100_000;
/// A `run.json` is a few kilobytes; its owner may have made another of it.
const MAX_MANIFEST_BYTES: u64 = 1 << 20;

/// The directory with the recordings. It is open all the time, and files in it are reached through it
/// name by name without following links, so that nothing outside of it is ever served.
pub(super) struct RunsDirectory {
    path: PathBuf,
    directory: OwnedFd,
}

/// A recording in the directory.
pub(super) struct Run {
    pub(super) id: String,
    pub(super) manifest: Manifest,
    pub(super) uid: Option<u32>,
    directory: OwnedFd,
}

impl RunsDirectory {
    /// Opens the directory, and makes it if it is missing.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        // To be passed through by who owns a recording in it, and listed by nobody else.
        std::fs::DirBuilder::new().recursive(true).mode(0o711).create(path)?;
        let path = path.canonicalize()?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&path, flags, Mode::empty())?;
        Ok(Self { path, directory })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Says whether recordings can be made in it.
    pub(super) fn check(&self) -> io::Result<()> {
        let now = std::fs::metadata(&self.path)?;
        let opened = rustix::fs::fstat(&self.directory)?;
        if (now.dev(), now.ino()) != (opened.st_dev, opened.st_ino) {
            return Err(io::Error::other("it was replaced by another one: restart the daemon"));
        }
        rustix::fs::access(&self.path, rustix::fs::Access::WRITE_OK)?;
        Ok(())
    }

    /// Returns the names of what may be recordings.
    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.directory)?.take(MAX_ENTRIES) {
            let entry = entry?;
            if !matches!(entry.file_type(), FileType::Directory | FileType::Unknown) {
                continue;
            }
            if let Ok(name) = entry.file_name().to_str()
                && check_name(name).is_ok()
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// Opens a recording of any user.
    pub(super) fn run(&self, id: &str) -> io::Result<Run> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = openat(&self.directory, id, flags, Mode::empty())?;
        let (file, _) = open_file(directory.as_fd(), "run.json")?;
        let mut text = Vec::new();
        file.take(MAX_MANIFEST_BYTES).read_to_end(&mut text)?;
        let manifest: Manifest = serde_json::from_slice(&text)?;
        let uid = manifest.provenance.labels.get(UID_LABEL).and_then(|uid| uid.parse().ok());
        Ok(Run { id: id.to_owned(), manifest, uid, directory })
    }

    /// Opens a recording that the peer may see.
    fn visible(&self, peer: Peer, id: &str) -> Result<Run, Failure> {
        check_name(id)?;
        let absent = || {
            Failure::new(
                ErrorCode::NoSuchRun,
                format!("there is no recording `{id}`: `/v1/runs` lists those that there are"),
            )
        };
        let run = self.run(id).map_err(|_| absent())?;
        if run.is_visible_to(peer) { Ok(run) } else { Err(absent()) }
    }

    /// Says whether there is a recording that the peer may see.
    pub(super) fn is_visible(&self, peer: Peer, id: &str) -> bool {
        self.visible(peer, id).is_ok()
    }

    /// Lists the recordings that the peer may see, newest first.
    pub(super) fn list(&self, peer: Peer) -> Result<RunList, Failure> {
        let names =
            self.names().map_err(|error| Failure::internal("listing the recordings", error))?;
        let mut runs: Vec<RunListEntry> = (names.iter())
            .filter_map(|name| self.run(name).ok())
            .filter(|run| run.is_visible_to(peer))
            .map(|run| RunListEntry {
                bytes: run.bytes(),
                id: run.id,
                state: run.manifest.state,
                started: run.manifest.provenance.started,
            })
            .collect();
        runs.sort_by(|a, b| b.started.cmp(&a.started).then_with(|| a.id.cmp(&b.id)));
        let truncated = runs.len() > MAX_LISTED;
        runs.truncate(MAX_LISTED);
        Ok(RunList { runs, truncated })
    }

    /// Describes a recording.
    pub(super) fn info(&self, peer: Peer, id: &str) -> Result<RunInfo, Failure> {
        let run = self.visible(peer, id)?;
        let files = run.files().map_err(|error| Failure::internal("listing the files", error))?;
        let Run { id, manifest, uid, .. } = run;
        let mut labels = manifest.provenance.labels;
        labels.remove(UID_LABEL);
        Ok(RunInfo {
            run: self.path.join(&id).display().to_string(),
            id,
            state: manifest.state,
            end: manifest.end,
            started: manifest.provenance.started,
            last_tick: manifest.last_tick,
            interval_ms: manifest.provenance.settings.interval_ms,
            uid,
            labels,
            totals: manifest.totals,
            files,
        })
    }

    /// Opens a file of a recording, and returns its size.
    pub(super) fn file(&self, peer: Peer, id: &str, name: &str) -> Result<(File, u64), Failure> {
        let run = self.visible(peer, id)?;
        let absent = |_| {
            Failure::new(
                ErrorCode::NoSuchRun,
                format!("the recording `{id}` has no such file: `/v1/runs/{id}` lists them"),
            )
        };
        if check_name(name).is_err() {
            return Err(absent(io::Error::from(io::ErrorKind::NotFound)));
        }
        let (file, metadata) = open_file(run.directory.as_fd(), name).map_err(absent)?;
        Ok((file, metadata.len()))
    }
}

impl Run {
    fn is_visible_to(&self, peer: Peer) -> bool {
        // What was put here by other means belongs to whom its directory belongs to.
        let owner = self.uid.or_else(|| Some(rustix::fs::fstat(&self.directory).ok()?.st_uid));
        owner.map_or(peer.is_root(), |owner| peer.may_use(owner))
    }

    /// Says whether it was not given to anybody yet.
    pub(super) fn belongs_to_daemon(&self) -> bool {
        rustix::fs::fstat(&self.directory)
            .is_ok_and(|directory| directory.st_uid == rustix::process::geteuid().as_raw())
    }

    /// Says whether it is whole, so that it may be removed.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.manifest.state, RunState::Closed | RunState::Recovered)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.files().map_or(0, |files| files.iter().map(|file| file.bytes).sum())
    }

    fn files(&self) -> io::Result<Vec<RunFile>> {
        let mut files = Vec::new();
        for entry in Dir::read_from(&self.directory)?.take(MAX_ENTRIES) {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if check_name(name).is_ok()
                && let Ok((_, metadata)) = open_file(self.directory.as_fd(), name)
            {
                files.push(RunFile { name: name.to_owned(), bytes: metadata.len() });
            }
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(files)
    }
}

/// Opens a file that is really in the directory: not a link of either kind, a pipe or a device.
fn open_file(directory: std::os::fd::BorrowedFd<'_>, name: &str) -> io::Result<(File, Metadata)> {
    // Without waiting: a pipe would wait for its writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(directory, name, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    // A second name may be that of a file elsewhere which the peer may not read.
    if metadata.is_file() && metadata.nlink() == 1 {
        Ok((file, metadata))
    } else {
        Err(io::Error::from(io::ErrorKind::NotFound))
    }
}

/// Gives a closed recording to the user who asked for it, so that their programs can read it.
pub(super) fn give_to(run: &Path, owner: Peer) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() || owner.is_root() {
        return Ok(());
    }
    let uid = Some(rustix::fs::Uid::from_raw(owner.uid));
    let gid = Some(rustix::fs::Gid::from_raw(owner.gid));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::open(run, flags, Mode::empty())?;
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        if let Ok(name) = entry.file_name().to_str()
            && let Ok((file, _)) = open_file(directory.as_fd(), name)
        {
            fchown(&file, uid, gid)?;
        }
    }
    fchown(&directory, uid, gid)?;
    Ok(())
}
