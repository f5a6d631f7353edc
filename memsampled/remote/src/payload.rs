//! What is sent to a device: the program, the directory of the suite, and the files that options name.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header, HeaderMode};

use crate::error::{RemoteError, here};
use crate::program::Program;
use crate::sent::Sent;

/// Where the directory of the suite is on the device; the run is started there.
const SUITE: &str = "suite";
/// Where the files are that options name, seen from there.
const FILES: &str = "files";
/// Maximum number of names that are told.
const MAX_NAMES: usize = 3;

/// An argument of `memsample run` on the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// The same there as here.
    Word(OsString),
    /// An option and a file of this machine, which is sent: `--policy=` and its path.
    File(OsString, PathBuf),
}

/// All that is sent, made once for all devices.
#[derive(Debug)]
pub struct Payload {
    /// Programs, of which each device gets the first that it can run. There is one at least.
    pub(crate) programs: Vec<Program>,
    pub(crate) archive: Sent,
    pub(crate) arguments: Vec<OsString>,
    /// What is said of the directory: what was not sent.
    pub(crate) notes: Vec<String>,
    // Has no name, so that nothing is left of it whatever ends this program.
    _file: File,
}

impl Payload {
    /// Packs `directory`, the one of the suite, without what is in `without`, and the files of `arguments`. Each device
    /// gets the first of `programs` that it can run.
    ///
    /// # Errors
    ///
    /// A file cannot be read, changes meanwhile, or there is no room for the archive in the directory of temporary files.
    pub fn pack(
        programs: &[PathBuf],
        directory: &Path,
        without: Option<&Path>,
        arguments: &[Argument],
    ) -> Result<Self, RemoteError> {
        let programs = programs.iter().map(|path| Program::of(path));
        let programs = programs.collect::<Result<Vec<_>, _>>()?;
        let temporary = std::env::temp_dir();
        let file = tempfile::tempfile_in(&temporary).map_err(here(&temporary))?;
        let archive = file.try_clone().map_err(here(&temporary))?;
        let mut pack = Pack {
            builder: Builder::new(io::BufWriter::new(archive)),
            without: without.and_then(|path| fs::canonicalize(path).ok()),
            links: HashMap::new(),
            passed_over: Vec::new(),
        };
        let name = directory.file_name().ok_or_else(|| {
            RemoteError::Refused(
                "put the suite into a directory of its own, and not into `/`".to_owned(),
            )
        })?;
        pack.tree(directory, &Path::new(SUITE).join(name))?;
        let mut words = Vec::new();
        for (index, argument) in arguments.iter().enumerate() {
            words.push(match argument {
                Argument::Word(word) => word.clone(),
                Argument::File(option, path) => {
                    let name = path.file_name().unwrap_or(OsStr::new("file"));
                    let place = Path::new(FILES).join(index.to_string()).join(name);
                    let metadata = fs::metadata(path).map_err(here(path))?;
                    pack.file(path, &place, &metadata)?;
                    let mut word = option.clone();
                    word.push(Path::new("..").join(place));
                    word
                }
            });
        }
        let notes = pack.notes();
        let written = pack.builder.into_inner().and_then(|mut writer| writer.flush());
        written.map_err(here(&temporary))?;
        // Opened anew for each device, which reads at a place of its own.
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        Ok(Self {
            programs,
            archive: Sent {
                told: "the packed directory of the suite".to_owned(),
                ..Sent::of(path)?
            },
            arguments: words,
            notes,
            _file: file,
        })
    }

    /// Returns the program for a device that says this of `uname -m`; or that it can run none.
    pub(crate) fn program_for(&self, machine: &str) -> Result<&Program, RemoteError> {
        self.programs.iter().find(|program| program.runs_on(machine)).ok_or_else(|| {
            let machines: Vec<String> = self.programs.iter().map(Program::word).collect();
            RemoteError::Refused(format!(
                "the device is {machine}, and the program to send is for {}: pass one for {machine} to \
                 --device-program, as `make device-programs` builds in the source tree",
                machines.join(" or "),
            ))
        })
    }

    /// Returns the room that it takes on a device with one of the programs while it is unpacked, in bytes.
    pub(crate) fn device_bytes(&self, program: &Program) -> u64 {
        program.sent.bytes.saturating_add(self.archive.bytes.saturating_mul(2))
    }
}

struct Pack<W: io::Write> {
    builder: Builder<W>,
    without: Option<PathBuf>,
    /// Where a file with several names is in the archive.
    links: HashMap<(u64, u64), PathBuf>,
    passed_over: Vec<PathBuf>,
}

impl<W: io::Write> Pack<W> {
    fn tree(&mut self, directory: &Path, place: &Path) -> Result<(), RemoteError> {
        let mut waiting = vec![(directory.to_owned(), place.to_owned())];
        while let Some((path, place)) = waiting.pop() {
            // A link to the directory of a suite is followed, and none within it.
            let metadata = match path == directory {
                true => fs::metadata(&path),
                false => fs::symlink_metadata(&path),
            };
            let metadata = metadata.map_err(here(&path))?;
            if metadata.is_dir() {
                self.directory(&place, &metadata).map_err(here(&path))?;
                for entry in fs::read_dir(&path).map_err(here(&path))? {
                    let entry = entry.map_err(here(&path))?;
                    if !self.is_left_out(&entry.path()) {
                        waiting.push((entry.path(), place.join(entry.file_name())));
                    }
                }
            } else if metadata.is_symlink() {
                let target = fs::read_link(&path).map_err(here(&path))?;
                let mut header = header(&metadata, EntryType::Symlink, 0);
                self.builder.append_link(&mut header, &place, target).map_err(here(&path))?;
            } else if metadata.is_file() {
                self.file(&path, &place, &metadata)?;
            } else {
                self.passed_over.push(path);
            }
        }
        Ok(())
    }

    fn is_left_out(&self, path: &Path) -> bool {
        let Some(without) = &self.without else { return false };
        without.file_name() == path.file_name()
            && fs::canonicalize(path).is_ok_and(|it| it == *without)
    }

    fn directory(&mut self, place: &Path, metadata: &Metadata) -> io::Result<()> {
        let mut header = header(metadata, EntryType::Directory, 0);
        self.builder.append_data(&mut header, place, io::empty())
    }

    fn file(&mut self, path: &Path, place: &Path, metadata: &Metadata) -> Result<(), RemoteError> {
        if metadata.nlink() > 1 {
            let id = (metadata.dev(), metadata.ino());
            if let Some(first) = self.links.get(&id) {
                let mut header = header(metadata, EntryType::Link, 0);
                return self.builder.append_link(&mut header, place, first).map_err(here(path));
            }
            self.links.insert(id, place.to_owned());
        }
        let file = File::open(path).map_err(here(path))?;
        let size = metadata.len();
        let mut header = header(metadata, EntryType::Regular, size);
        let mut content = Counted { content: file.take(size), bytes: 0 };
        self.builder.append_data(&mut header, place, &mut content).map_err(here(path))?;
        if content.bytes != size {
            let error = io::Error::other("the file became shorter while it was read: run again");
            return Err(RemoteError::Here(path.to_owned(), error));
        }
        Ok(())
    }

    fn notes(&self) -> Vec<String> {
        if self.passed_over.is_empty() {
            return Vec::new();
        }
        let named: Vec<String> = self
            .passed_over
            .iter()
            .take(MAX_NAMES)
            .map(|it| format!("`{}`", it.display()))
            .collect();
        let count = memsample_input::count(self.passed_over.len() as u64, "file");
        vec![format!(
            "note: {count} not sent, since only files, directories and links are: {}",
            named.join(", ")
        )]
    }
}

/// Returns the header of an entry, which belongs to nobody in particular: on the device it is of who logs in.
fn header(metadata: &Metadata, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_metadata_in_mode(metadata, HeaderMode::Complete);
    header.set_entry_type(kind);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size);
    header
}

struct Counted<R> {
    content: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.content.read(buffer)?;
        self.bytes += count as u64;
        Ok(count)
    }
}
