//! Reading what a process maps.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::io::Errno;

use crate::error::ReadError;
use crate::identity::Identity;
use crate::parse::{Smaps, parse_smaps, parse_stat};
use crate::proc::{ProcRoot, ReadBuffer};

/// No process has as much text in `smaps`: it would be a million mappings. A crafted tree must not
/// fill the memory.
const MAX_BYTES: u64 = 1 << 30;

/// Reads the mappings of one process after another, into memory that it uses again.
///
/// `smaps` costs several times as much as `smaps_rollup`, for the kernel and for the process that is
/// read, so nothing here is for a loop.
///
/// ```
/// use memsample::{Files, MappingReader, Sampler, SamplerOptions};
///
/// let mut sampler = Sampler::new(SamplerOptions::default())?;
/// let mut reader = MappingReader::open("/proc".as_ref())?;
/// for sample in sampler.sweep(Files::STATM).samples() {
///     let Ok(mappings) = reader.read(sample.identity()) else { continue };
///     let pss_kib: u64 = mappings.flatten().map(|mapping| mapping.pss.0).sum();
///     println!("{}: {pss_kib} KiB", sample.pid());
/// }
/// # std::io::Result::Ok(())
/// ```
pub struct MappingReader {
    root: ProcRoot,
    buffer: ReadBuffer,
    text: Vec<u8>,
}

impl MappingReader {
    /// Opens a `/proc` tree.
    ///
    /// # Errors
    ///
    /// The directory cannot be opened.
    pub fn open(proc_root: &Path) -> io::Result<Self> {
        let root = ProcRoot::open(proc_root)?;
        Ok(Self { root, buffer: ReadBuffer::new(), text: Vec::new() })
    }

    /// Reads the mappings of a process.
    ///
    /// # Errors
    ///
    /// [`ReadError::Gone`] where the process ended, also where another one has its pid by now;
    /// [`ReadError::Denied`] where the kernel refuses, as it does for processes of other users.
    pub fn read(&mut self, process: &Identity) -> Result<Smaps<'_>, ReadError> {
        Ok(parse_smaps(self.read_file(process, c"smaps")?))
    }

    /// Counts the mappings of a process, from `maps`: for that the kernel looks at no page.
    ///
    /// # Errors
    ///
    /// As for [`read`](Self::read).
    pub fn count(&mut self, process: &Identity) -> Result<usize, ReadError> {
        let maps = self.read_file(process, c"maps")?;
        Ok(memchr::memchr_iter(b'\n', maps).count())
    }

    fn read_file(&mut self, process: &Identity, name: &CStr) -> Result<&[u8], ReadError> {
        let Self { root, buffer, text } = self;
        let directory = root.open_process(process.pid)?;
        // The open directory never shows another process, so one look at the start will do.
        let stat = parse_stat(buffer.read_piece(directory.open_file(c"stat")?)?)?;
        if stat.starttime != process.start {
            return Err(ReadError::Gone);
        }
        let file = match directory.open_file(name) {
            Ok(file) => File::from(file),
            // A captured tree lacks the file; a live process had it, and has ended.
            Err(Errno::NOENT) if !root.is_live() => return Err(ReadError::Io(Errno::NOENT.into())),
            Err(errno) => return Err(errno.into()),
        };
        text.clear();
        match file.take(MAX_BYTES).read_to_end(text) {
            Ok(_) => Ok(text),
            Err(error) => Err(match Errno::from_io_error(&error) {
                Some(errno) => errno.into(),
                None => ReadError::Io(error),
            }),
        }
    }
}
