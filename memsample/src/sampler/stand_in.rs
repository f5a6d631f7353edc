//! Reads a process whose first thread has ended through another one.
//!
//! The kernel shows the memory of the first thread under the pid. Where that has called `pthread_exit` and others still
//! run, the memory is there, and one of them stands in for it. When one of them executes a program, all others end, and it
//! becomes the first thread.

use rustix::io::Errno;

use super::apply::{StatmReading, apply_statm};
use super::entry::{Addresses, Entry, Process};
use super::read_file::read_file;
use super::reading::Reader;
use super::reading_outcome::Adopted;
use crate::error::ReadError;
use crate::parse::parse_stat;
use crate::proc::ProcessDir;

/// Of threads that come and go, so many are tried.
const MAX_STAND_INS: u32 = 8;

/// A thread that has the memory of its process.
pub(super) struct StandIn {
    pub(super) tid: i32,
    pub(super) directory: ProcessDir,
    pub(super) addresses: Addresses,
}

impl Reader {
    /// Returns a thread of the process with this directory that has its memory; `None` if none has.
    ///
    /// # Errors
    ///
    /// The threads cannot be listed.
    pub(super) fn stand_in(
        &mut self,
        directory: &ProcessDir,
    ) -> Result<Option<StandIn>, ReadError> {
        let Self { root, buffer, threads, .. } = self;
        for &tid in threads.read(directory.open_tasks()?)? {
            let Ok(directory) = directory.open_thread(tid) else { continue };
            let Ok(bytes) = read_file(root, buffer, &directory, c"stat") else { continue };
            let Ok(stat) = parse_stat(bytes) else { continue };
            if stat.vsize_bytes > 0 {
                let addresses = Addresses::of(&stat);
                return Ok(Some(StandIn { tid, directory, addresses }));
            }
        }
        Ok(None)
    }

    /// Handles a `statm` of zeros, and returns how the process is read that has memory nevertheless.
    pub(super) fn adopt_thread(
        &mut self,
        entry: &mut Entry,
        process: &mut Process,
    ) -> Result<Option<Adopted>, ReadError> {
        let directory = self.root.open_process(entry.pid)?;
        let stat = parse_stat(read_file(&self.root, &mut self.buffer, &directory, c"stat")?)?;
        let (threads, is_first_alive) = (stat.num_threads, stat.state != b'Z');
        if stat.starttime != process.identity.start {
            return Ok(None);
        }
        if process.thread.is_some() && is_first_alive {
            let adopted = self.read_by(entry, process, &directory, None)?;
            if let Some(reading) = adopted {
                return Ok(Some(Adopted { reading, stand_in: None }));
            }
        }
        if threads < 2 {
            return Ok(None);
        }
        for _ in 0..MAX_STAND_INS {
            let Some(StandIn { tid, directory, addresses }) = self.stand_in(&directory)? else {
                return Ok(None);
            };
            // If it has ended meanwhile, another one may be there.
            if let Ok(Some(reading)) = self.read_by(entry, process, &directory, Some(tid)) {
                return Ok(Some(Adopted { reading, stand_in: Some(addresses) }));
            }
        }
        Err(Errno::AGAIN.into())
    }

    /// Reads a process from now on by the thread with this directory, `None` being the first one; returns what its `statm`
    /// says, or `None` if it has no memory.
    fn read_by(
        &mut self,
        entry: &mut Entry,
        process: &mut Process,
        directory: &ProcessDir,
        thread: Option<i32>,
    ) -> Result<Option<StatmReading>, ReadError> {
        let statm = directory.open_file(c"statm")?;
        let bytes = self.buffer.read_piece(&statm)?;
        let reading = match apply_statm(entry, process, bytes, &self.host)? {
            StatmReading::NoMemory => return Ok(None),
            reading @ (StatmReading::Changed { .. } | StatmReading::Unchanged) => reading,
        };
        process.thread = thread;
        if entry.statm.is_some() {
            // One descriptor takes the place of another, so their count stays.
            entry.statm = Some(statm);
        }
        if process.status.take().is_some() {
            self.descriptors.release(1);
        }
        Ok(Some(reading))
    }
}
