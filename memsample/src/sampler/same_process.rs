//! Whether a pid still stands for the process that had it.

use std::os::fd::OwnedFd;

use super::read_file::read_file;
use super::reading::Reader;
use crate::error::ReadError;
use crate::parse::{Statm, parse_stat, parse_statm};
use crate::units::ClockTicks;

impl Reader {
    /// Returns whether the pid of a zombie stands for something else by now.
    ///
    /// What looked like a zombie may have been a helper of the kernel before its exec, and have
    /// memory now.
    pub(super) fn is_no_zombie(
        &mut self,
        pid: i32,
        start: ClockTicks,
        statm: Option<&OwnedFd>,
    ) -> bool {
        match statm {
            Some(statm) => match self.buffer.read_piece(statm) {
                Ok(bytes) => parse_statm(bytes).is_ok_and(|statm| statm != Statm::default()),
                Err(_) => true,
            },
            // What cannot be told without a descriptor is told in a later sweep.
            None => self.is_still(pid, start).is_ok_and(|is_still| !is_still),
        }
    }

    /// Reads whether `pid` is still that of the process that began at `start`.
    ///
    /// # Errors
    ///
    /// [`ReadError::NoDescriptor`] if that cannot be told.
    pub(super) fn is_still(&mut self, pid: i32, start: ClockTicks) -> Result<bool, ReadError> {
        let read = self.root.open_process(pid).map_err(ReadError::from).and_then(|directory| {
            let bytes = read_file(&self.root, &mut self.buffer, &directory, c"stat")?;
            Ok(parse_stat(bytes)?.starttime)
        });
        match read {
            Ok(now) => Ok(now == start),
            Err(error @ ReadError::NoDescriptor) => Err(error),
            Err(_) => Ok(false),
        }
    }
}
