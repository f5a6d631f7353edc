//! Whether the limits of this process leave room for its work.

use std::{fs, io};

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use rustix::io::fcntl_dupfd_cloexec;

/// The least that sampling, an encoder and the stacks of a few threads take, with a margin, on a machine with some
/// hundred processes.
const WORK_BYTES: u64 = 64 << 20;

/// Returns what to say if the address space of this process is limited to less than a recording takes.
///
/// A program that is refused memory ends by SIGABRT, which says nothing to who set the limit.
#[must_use]
pub fn too_little_address_space() -> Option<String> {
    let (limit, _) = getrlimit(Resource::RLIMIT_AS).ok()?;
    let needed = own_address_space().saturating_add(WORK_BYTES);
    (limit != RLIM_INFINITY && limit < needed).then(|| {
        format!(
            "the address space is limited to {} MiB, and at least {} MiB are needed: raise it with `ulimit -v`, or \
             limit the memory of a control group instead",
            limit >> 20,
            needed >> 20
        )
    })
}

/// Returns what the program and its libraries take; 0 where `/proc` does not say it.
fn own_address_space() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().next().and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0).saturating_mul(rustix::param::page_size() as u64)
}

/// Returns what to say if fewer than `needed` more files can be open: some may have been open already when the program
/// began.
///
/// Most of what can be read is only looked at, and would seem not to be there.
#[must_use]
pub fn too_few_descriptors(needed: usize) -> Option<String> {
    let stderr = io::stderr();
    let opened = (0..needed).map(|_| fcntl_dupfd_cloexec(&stderr, 3));
    if opened.collect::<Result<Vec<_>, _>>().is_ok() {
        return None;
    }
    let limit = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, _)) => format!("only {soft} files may be open, and "),
        Err(_) => String::new(),
    };
    Some(format!(
        "{limit}fewer than {needed} more can be opened: raise the limit of open files with `ulimit -n`"
    ))
}
