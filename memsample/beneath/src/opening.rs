//! Opens what is in a directory, also where a signal comes meanwhile: file systems that ask a program or another machine
//! end the call then.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::{Result, retry_on_intr};
use rustix::path::Arg;

/// Opens as [`rustix::fs::openat`] does, and again if a signal ended that.
pub(crate) fn openat(
    directory: impl AsFd,
    path: impl Arg + Copy,
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd> {
    retry_on_intr(|| rustix::fs::openat(&directory, path, flags, mode))
}

/// Opens as [`rustix::fs::openat2`] does, and again if a signal ended that.
pub(crate) fn openat2(
    directory: impl AsFd,
    path: impl Arg + Copy,
    flags: OFlags,
    mode: Mode,
    resolve: ResolveFlags,
) -> Result<OwnedFd> {
    retry_on_intr(|| rustix::fs::openat2(&directory, path, flags, mode, resolve))
}
