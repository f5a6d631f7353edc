//! What a child keeps of the descriptors of its parent: what it would keep over an exec.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, RawFd};

use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use crate::system_call;

/// Standard streams of a child; each that is `None` is its parent's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Streams<'a> {
    /// Standard input.
    pub stdin: Option<BorrowedFd<'a>>,
    /// Standard output.
    pub stdout: Option<BorrowedFd<'a>>,
    /// Standard error.
    pub stderr: Option<BorrowedFd<'a>>,
}

impl Streams<'_> {
    /// Makes them the standard streams of this process.
    pub(crate) fn take_their_place(self) -> io::Result<()> {
        if let Some(stdin) = self.stdin {
            dup2_stdin(stdin)?;
        }
        if let Some(stdout) = self.stdout {
            dup2_stdout(stdout)?;
        }
        if let Some(stderr) = self.stderr {
            dup2_stderr(stderr)?;
        }
        Ok(())
    }
}

/// Replaces all descriptors that an exec would close by `/dev/null`: the files behind them are no longer this process's,
/// and their numbers are nobody else's.
pub(crate) fn replace_what_exec_closes() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let names = fs::read_dir("/proc/self/fd")?.map(|entry| Ok(entry?.file_name()));
    // The listing has a descriptor too, which is closed by then.
    let names = names.collect::<io::Result<Vec<_>>>()?;
    let numbers = names.iter().filter_map(|name| name.to_str()?.parse::<RawFd>().ok());
    for number in numbers.filter(|&number| system_call::closes_on_exec(number)) {
        system_call::replace(number, null.as_fd())?;
    }
    Ok(())
}
