//! Whether the limits of this process leave room for its work.

use std::{fs, io};

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use rustix::io::fcntl_dupfd_cloexec;

/// The least that sampling, an encoder and the stacks of a few threads take, with a margin, on a machine with some
/// hundred processes.
const WORK_BYTES: u64 = 64 << 20;

/// A limit of memory that a process inherits.
struct MemoryLimit {
    resource: Resource,
    /// What it limits.
    name: &'static str,
    /// The option of `ulimit` that raises it.
    option: char,
    /// The field of `/proc/self/statm` that counts it, in pages.
    field: usize,
}

const MEMORY_LIMITS: [MemoryLimit; 2] = [
    MemoryLimit { resource: Resource::RLIMIT_AS, name: "address space", option: 'v', field: 0 },
    // Since Linux 4.7 all that is private and writable, stacks of threads too.
    MemoryLimit { resource: Resource::RLIMIT_DATA, name: "private memory", option: 'd', field: 5 },
];

/// Returns what to say if the address space or the private memory of this process is limited to less than a recording
/// takes.
///
/// A program that is refused memory ends by SIGABRT, which says nothing to who set the limit, or waits for ever for a
/// thread that did.
#[must_use]
pub fn too_little_memory() -> Option<String> {
    MEMORY_LIMITS.iter().find_map(|it| {
        let (limit, _) = getrlimit(it.resource).ok()?;
        let needed = own_bytes(it.field).saturating_add(WORK_BYTES);
        (limit != RLIM_INFINITY && limit < needed).then(|| {
            format!(
                "the {} is limited to {} MiB, and at least {} MiB are needed: raise it with `ulimit -{}`, or limit the \
                 memory of a control group instead",
                it.name,
                limit >> 20,
                needed >> 20,
                it.option
            )
        })
    })
}

/// Returns what the program and its libraries take by a field of `statm`; 0 where `/proc` does not say it.
fn own_bytes(field: usize) -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(field).and_then(|pages| pages.parse::<u64>().ok());
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
