//! Which machine a program is for, by its header.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

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

/// Returns the number in the header of a program; `None` if it is no ELF file.
pub(crate) fn machine_of(path: &Path) -> io::Result<Option<u16>> {
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
pub(crate) fn runs(machine: &str, program: u16) -> bool {
    let Some((_, number)) = MACHINES.iter().find(|(word, _)| *word == machine) else { return true };
    // Most 64-bit kernels run programs of 32 bits.
    *number == program || matches!((*number, program), (62, 3) | (183, 40))
}

/// Returns the word for a number.
pub(crate) fn word(program: u16) -> String {
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
