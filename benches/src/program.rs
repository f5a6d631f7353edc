use std::io;
use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Returns the command `memsample`, as `cargo build --release` made it.
///
/// # Errors
///
/// It was not built.
pub fn memsample() -> io::Result<Command> {
    built("memsample")
}

/// Returns the daemon `memsampled`, as `cargo build --release` made it.
///
/// # Errors
///
/// It was not built.
pub fn memsampled() -> io::Result<Command> {
    built("memsampled")
}

fn built(name: &str) -> io::Result<Command> {
    // A benchmark stands in `target/release/deps`.
    let directory = std::env::current_exe()?;
    let program = directory.ancestors().nth(2).unwrap_or(&directory).join(name);
    if !program.exists() {
        let message = format!("no `{}`: run `cargo build --release` first", program.display());
        return Err(io::Error::new(io::ErrorKind::NotFound, message));
    }
    Ok(Command::new(program))
}

/// Raises the soft limit on open files to the hard one, for thousands of descriptors.
///
/// # Errors
///
/// The kernel refuses.
pub fn raise_descriptor_limit() -> io::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}
