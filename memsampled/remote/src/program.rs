//! A program for devices, and which machines it is for, by its header.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use crate::error::{RemoteError, here};
use crate::sent::Sent;

/// The words of `uname -m` and the number of the machine in ELF.
const MACHINES: [(&str, u16); 14] = [
    ("x86_64", 62),
    ("i686", 3),
    ("i586", 3),
    ("i486", 3),
    ("i386", 3),
    ("aarch64", 183),
    ("armv8l", 40),
    ("armv7l", 40),
    ("armv6l", 40),
    ("riscv64", 243),
    ("ppc64le", 21),
    ("ppc64", 21),
    ("s390x", 22),
    ("loongarch64", 258),
];

/// A `memsample` for devices of one architecture.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) sent: Sent,
    /// The number of the machine that it is for, as ELF has it.
    machine: u16,
}

impl Program {
    pub(crate) fn of(path: &Path) -> Result<Self, RemoteError> {
        let machine = machine_of(path).map_err(here(path))?.ok_or_else(|| {
            RemoteError::Refused(format!(
                "`{}` is no ELF program: --device-program is a `memsample` built for the device",
                path.display()
            ))
        })?;
        Ok(Self { sent: Sent::of(path.to_owned())?, machine })
    }

    /// Returns whether a device runs it that says this of `uname -m`.
    pub(crate) fn runs_on(&self, machine: &str) -> bool {
        runs(machine, self.machine)
    }

    /// Returns the word for the machine that it is for.
    pub(crate) fn word(&self) -> String {
        word(self.machine)
    }
}

/// Returns the number in the header of a program; `None` if it is no ELF file.
fn machine_of(path: &Path) -> io::Result<Option<u16>> {
    let mut header = [0; 20];
    match File::open(path)?.read_exact(&mut header) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let [0x7f, b'E', b'L', b'F', _, order, .., low, high] = header else { return Ok(None) };
    // 2 is big-endian.
    Ok(Some(if order == 2 {
        u16::from_be_bytes([low, high])
    } else {
        u16::from_le_bytes([low, high])
    }))
}

/// Returns whether a machine can run a program; of a machine that is not known it is found out by running it.
fn runs(machine: &str, program: u16) -> bool {
    let Some((_, number)) = MACHINES.iter().find(|(word, _)| *word == machine) else { return true };
    // Most 64-bit kernels run programs of 32 bits.
    *number == program || matches!((*number, program), (62, 3) | (183, 40))
}

/// Returns the word for a number.
fn word(program: u16) -> String {
    let found = MACHINES.iter().find(|(_, number)| *number == program);
    found.map_or_else(|| format!("machine {program} of ELF"), |(word, _)| (*word).to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn this_program_is_for_this_machine() {
        let here = rustix::system::uname();
        let here = here.machine().to_str().unwrap();
        let own = machine_of(Path::new("/proc/self/exe")).unwrap().unwrap();
        assert!(runs(here, own), "{here} {own}");
        assert!(!runs(if here == "aarch64" { "x86_64" } else { "aarch64" }, own));
        assert_eq!(machine_of(Path::new("/proc/self/comm")).unwrap(), None);
    }
}
