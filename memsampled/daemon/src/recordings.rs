//! The directory with the recordings, and what is served of it.

use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use memsample::{Manifest, Recording, RecordingState};
use memsample_beneath::{HeldDirectory, remove_tree};
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, StatxFlags, fchown, fstat, openat, openat2,
    renameat, statx,
};
use rustix::io::Errno;
use rustix::path::Arg;

use super::disk::Disk;
use super::failure::Failure;
use super::names::check_name;
use super::peer::Peer;
use super::push_queue::PushQueue;
use memsample_client::wire::{
    End, ErrorCode, RecordingFile, RecordingInfo, RecordingList, RecordingListEntry,
};

/// The label in `recording.json` that says who started a session.
pub(super) const UID_LABEL: &str = "memsampled.uid";
/// Recordings in one list, at most; the newest are shown.
const MAX_LISTED: usize = 1000;
/// Entries of the recordings directory that are looked at.
const MAX_ENTRIES: usize = 100_000;
/// A `recording.json` is a few kilobytes; its owner may have made another of it.
const MAX_MANIFEST_BYTES: u64 = 1 << 20;
/// What a recording is called while it is removed.
const REMOVED: &str = ".removed-";
/// Names that are remembered of what could not be removed.
const MAX_STUCK: usize = 1000;

/// The directory with the recordings. It is open all the time, and files in it are reached through it
/// name by name without following links, so that nothing outside of it is ever served.
pub(super) struct RecordingsDirectory {
    path: PathBuf,
    directory: OwnedFd,
    disk: Disk,
    /// One removal after the other.
    pub(super) removing: Mutex<()>,
    /// What could not be removed, as far as it was told.
    stuck: Mutex<BTreeSet<String>>,
    /// Whether another removal is wanted after the current one.
    pub(super) remove_again: AtomicBool,
    /// What waits to be pushed.
    pub(super) pushes: PushQueue,
}

/// A recording in the directory.
pub(super) struct StoredRecording {
    pub(super) id: String,
    pub(super) manifest: Manifest,
    /// Who started it, where that was noted by the daemon.
    pub(super) uid: Option<u32>,
    directory: OwnedFd,
    /// The user who owns its directory.
    owner: u32,
}

/// What the daemon knows of a recording that may be removed, without trust in its owner.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OldRecording {
    pub(super) ended: Timestamp,
    pub(super) bytes: u64,
    pub(super) id: String,
}

impl RecordingsDirectory {
    /// Opens the directory, and makes it if it is missing.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        // Owners of recordings may pass through it; only the daemon may list it.
        std::fs::DirBuilder::new().recursive(true).mode(0o711).create(path)?;
        let path = path.canonicalize()?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&path, flags, Mode::empty())?;
        Ok(Self {
            pushes: PushQueue::new(&path),
            path,
            directory,
            disk: Disk::default(),
            removing: Mutex::default(),
            stuck: Mutex::default(),
            remove_again: AtomicBool::new(false),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether there is a recording, also one that cannot be read.
    #[cfg(feature = "push")]
    pub(super) fn exists(&self, id: &str) -> bool {
        check_name(id).is_ok() && open_directory(self.directory.as_fd(), id).is_ok()
    }

    /// Returns whether recordings can be made in it, within a second.
    pub(super) fn check(&self) -> io::Result<()> {
        self.disk.check(&self.directory, self.path.clone())
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
    pub(super) fn recording(&self, id: &str) -> io::Result<StoredRecording> {
        let directory = open_directory(self.directory.as_fd(), id)?;
        let owner = fstat(&directory)?.st_uid;
        let (file, _) = open_file(directory.as_fd(), Recording::FILE)?;
        let mut text = Vec::new();
        file.take(MAX_MANIFEST_BYTES).read_to_end(&mut text)?;
        let manifest: Manifest = serde_json::from_slice(&text)?;
        // What belongs to a user they can write, so that it says nothing.
        let uid = if is_own(owner) {
            manifest.provenance.labels.get(UID_LABEL).and_then(|uid| uid.parse().ok())
        } else {
            Some(owner)
        };
        Ok(StoredRecording { id: id.to_owned(), manifest, uid, directory, owner })
    }

    /// Returns what may be removed of a name: a recording that is closed.
    ///
    /// One that was given to a user was closed before. What its files say by now is theirs, so it ended
    /// when its name says that it began, and it cannot be kept by a `recording.json` that is changed or gone.
    pub(super) fn old_recording(&self, id: &str) -> Option<OldRecording> {
        let directory = open_directory(self.directory.as_fd(), id).ok()?;
        let owner = fstat(&directory).ok()?.st_uid;
        if !is_own(owner) {
            let begun = begun_by_name(id)?;
            // The file system knows the time within the second that the name contains.
            let ended = begun_by_inode(&directory)
                .filter(|exact| (0..2).contains(&exact.duration_since(begun).as_secs()))
                .unwrap_or(begun);
            let bytes = files_of(&directory, owner)
                .map_or(0, |files| files.iter().map(|file| file.bytes).sum());
            return Some(OldRecording { ended, bytes, id: id.to_owned() });
        }
        let recording = self.recording(id).ok().filter(StoredRecording::is_closed)?;
        let ended = recording.manifest.last_tick.unwrap_or(recording.manifest.provenance.started);
        Some(OldRecording { ended, bytes: recording.bytes(), id: recording.id })
    }

    /// Gives a closed recording to the user who asked for it, so that their programs can read it.
    pub(super) fn give(&self, id: &str, owner: Peer) -> io::Result<()> {
        if !rustix::process::geteuid().is_root() || owner.is_root() {
            return Ok(());
        }
        let uid = Some(rustix::fs::Uid::from_raw(owner.uid));
        let gid = Some(rustix::fs::Gid::from_raw(owner.gid));
        let directory = open_directory(self.directory.as_fd(), id)?;
        for entry in Dir::read_from(&directory)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().to_str()
                && let Ok((file, _)) = open_file(directory.as_fd(), name)
            {
                fchown(&file, uid, gid)?;
            }
        }
        // The last: as long as it belongs to the daemon, the next start gives it again.
        fchown(&directory, uid, gid)?;
        Ok(())
    }

    /// Removes a recording. Whatever happens meanwhile, there is the whole of it or nothing under its
    /// name.
    pub(super) fn remove(&self, id: &str) -> io::Result<()> {
        let hidden = format!("{REMOVED}{id}");
        renameat(&self.directory, id, &self.directory, &hidden)?;
        remove_tree(&HeldDirectory::hold(&self.directory)?, &hidden)
    }

    /// Removes what a daemon was removing when it was killed.
    pub(super) fn finish_removals(&self) {
        let names = Dir::read_from(&self.directory).into_iter().flatten().take(MAX_ENTRIES);
        let names =
            names.filter_map(|entry| Some(entry.ok()?.file_name().to_str().ok()?.to_owned()));
        for name in names.filter(|name| name.starts_with(REMOVED)).collect::<Vec<_>>() {
            // What stays, such as a directory on which something is mounted, is told once.
            let removed =
                HeldDirectory::hold(&self.directory).and_then(|held| remove_tree(&held, &name));
            let mut stuck = self.stuck.lock().unwrap_or_else(PoisonError::into_inner);
            match removed {
                Ok(()) => drop(stuck.remove(&name)),
                Err(error) if stuck.len() < MAX_STUCK && stuck.insert(name.clone()) => {
                    tracing::warn!("cannot remove `{name}`: {error}");
                }
                Err(_) => {}
            }
        }
    }

    /// Opens a recording that the peer may see.
    fn visible(&self, peer: Peer, id: &str) -> Result<StoredRecording, Failure> {
        check_name(id)?;
        let absent = || {
            Failure::new(
                ErrorCode::NoSuchRecording,
                format!(
                    "there is no recording `{id}`: `/v1/recordings` lists those that there are"
                ),
            )
        };
        let recording = self.recording(id).map_err(|_| absent())?;
        if recording.is_visible_to(peer) { Ok(recording) } else { Err(absent()) }
    }

    /// Returns whether there is a recording that the peer may see.
    pub(super) fn is_visible(&self, peer: Peer, id: &str) -> bool {
        self.visible(peer, id).is_ok()
    }

    /// Lists the recordings that the peer may see, newest first.
    pub(super) fn list(&self, peer: Peer) -> Result<RecordingList, Failure> {
        let names =
            self.names().map_err(|error| Failure::internal("listing the recordings", error))?;
        let mut recordings: Vec<RecordingListEntry> = (names.iter())
            .filter_map(|name| self.recording(name).ok())
            .filter(|recording| recording.is_visible_to(peer))
            .map(|recording| RecordingListEntry {
                bytes: recording.bytes(),
                id: recording.id,
                state: recording.manifest.state.into(),
                started: recording.manifest.provenance.started,
            })
            .collect();
        recordings.sort_by(|a, b| b.started.cmp(&a.started).then_with(|| a.id.cmp(&b.id)));
        let truncated = recordings.len() > MAX_LISTED;
        recordings.truncate(MAX_LISTED);
        Ok(RecordingList { recordings, truncated })
    }

    /// Describes a recording.
    pub(super) fn info(&self, peer: Peer, id: &str) -> Result<RecordingInfo, Failure> {
        let recording = self.visible(peer, id)?;
        let files =
            recording.files().map_err(|error| Failure::internal("listing the files", error))?;
        let StoredRecording { id, manifest, uid, .. } = recording;
        let mut labels = manifest.provenance.labels;
        labels.remove(UID_LABEL);
        Ok(RecordingInfo {
            recording: self.path.join(&id).display().to_string(),
            id,
            state: manifest.state.into(),
            end: manifest.end.map(End::from),
            started: manifest.provenance.started,
            last_tick: manifest.last_tick,
            interval_ms: manifest.provenance.settings.interval_ms,
            uid,
            labels,
            totals: manifest.totals.into(),
            files,
        })
    }

    /// Opens a file of a recording, and returns its size.
    pub(super) fn file(&self, peer: Peer, id: &str, name: &str) -> Result<(File, u64), Failure> {
        let recording = self.visible(peer, id)?;
        let absent = |_| {
            Failure::new(
                ErrorCode::NoSuchRecording,
                format!("the recording `{id}` has no such file: `/v1/recordings/{id}` lists them"),
            )
        };
        if check_name(name).is_err() {
            return Err(absent(io::Error::from(io::ErrorKind::NotFound)));
        }
        let opened = open_file_of(recording.directory.as_fd(), name, recording.owner);
        let (file, metadata) = opened.map_err(absent)?;
        Ok((file, metadata.len()))
    }
}

impl StoredRecording {
    fn is_visible_to(&self, peer: Peer) -> bool {
        // A recording from elsewhere belongs to the owner of its directory.
        peer.may_use(self.uid.unwrap_or(self.owner))
    }

    /// Returns whether it was not given to anybody yet.
    pub(super) fn belongs_to_daemon(&self) -> bool {
        is_own(self.owner)
    }

    /// Returns whether it is whole, so that it may be removed.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.manifest.state, RecordingState::Closed | RecordingState::Recovered)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.files().map_or(0, |files| files.iter().map(|file| file.bytes).sum())
    }

    fn files(&self) -> io::Result<Vec<RecordingFile>> {
        files_of(&self.directory, self.owner)
    }
}

fn files_of(directory: &OwnedFd, owner: u32) -> io::Result<Vec<RecordingFile>> {
    let mut files = Vec::new();
    for entry in Dir::read_from(directory)?.take(MAX_ENTRIES) {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        if check_name(name).is_ok()
            && let Ok((_, metadata)) = open_file_of(directory.as_fd(), name, owner)
        {
            files.push(RecordingFile { name: name.to_owned(), bytes: metadata.len() });
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

fn is_own(uid: u32) -> bool {
    uid == rustix::process::geteuid().as_raw()
}

/// Returns when a recording began, as the daemon has written it into its name.
fn begun_by_name(id: &str) -> Option<Timestamp> {
    let is_number = |text: &str| text.len() < 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let base = id.rsplit_once('-').filter(|(_, number)| is_number(number)).map_or(id, |it| it.0);
    let time = base.rsplit('-').next()?;
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", time).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
}

/// Returns when a directory was made, where the file system records it: no user can set that.
fn begun_by_inode(directory: &OwnedFd) -> Option<Timestamp> {
    let stat = statx(directory, c"", AtFlags::EMPTY_PATH, StatxFlags::BTIME).ok()?;
    let has_time = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
    let time = has_time.then_some(stat.stx_btime)?;
    Timestamp::new(time.tv_sec, i32::try_from(time.tv_nsec).ok()?).ok()
}

/// Opens a directory that is really there: not a link, and nothing that was mounted over it.
fn open_directory(parent: BorrowedFd<'_>, name: impl Arg + Copy) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    match openat2(parent, name, flags, Mode::empty(), resolve) {
        // Before Linux 5.6, and where a filter does not know it.
        Err(Errno::NOSYS | Errno::PERM) => Ok(openat(parent, name, flags, Mode::empty())?),
        opened => Ok(opened?),
    }
}

/// Opens a file that is really in the directory: not a link of either kind, a pipe or a device.
fn open_file(directory: BorrowedFd<'_>, name: &str) -> io::Result<(File, Metadata)> {
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

/// The same, of a file that belongs to whom its directory belongs to: a user can move files of others
/// into a directory of their own, which they may not read.
fn open_file_of(directory: BorrowedFd<'_>, name: &str, owner: u32) -> io::Result<(File, Metadata)> {
    let (file, metadata) = open_file(directory, name)?;
    if metadata.uid() == owner || is_own(owner) {
        Ok((file, metadata))
    } else {
        Err(io::Error::from(io::ErrorKind::NotFound))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_recording_says_when_it_began() {
        let at = |text: &str| Some(text.parse::<Timestamp>().unwrap());
        for (name, begun) in [
            ("20261125T171004Z", at("2026-11-25T17:10:04Z")),
            ("20261125T171004Z-17", at("2026-11-25T17:10:04Z")),
            ("nightly-2-20261125T171004Z", at("2026-11-25T17:10:04Z")),
            ("a-20261125T171004Z-1000", at("2026-11-25T17:10:04Z")),
            ("20261325T171004Z", None),
            ("backup", None),
            ("backup-2026", None),
        ] {
            assert_eq!(begun_by_name(name), begun, "{name}");
        }
    }
}
