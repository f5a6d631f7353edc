//! Where the programs find the part of a counter that each CPU has.

use std::io;
use std::os::fd::BorrowedFd;

use crate::cpus::{MAX_CPUS, possible_cpus};
use crate::refused::Refused;
use crate::system_call::{Argument, run};

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CpuArgument {
    cpu: u32,
    index: u32,
}

impl Argument for CpuArgument {}

/// Returns the numbers of the possible CPUs, where the programs have room for all of them.
pub(crate) fn cpus_with_room() -> Result<Vec<u32>, Refused> {
    let cpus = possible_cpus()
        .map_err(|error| Refused::failed("reading which CPUs there can be", &error))?;
    if cpus.len() > MAX_CPUS {
        return Err(Refused::TooManyCpus(cpus.len()));
    }
    Ok(cpus)
}

/// Has a program note where the parts of each CPU are. The parts of others are not counted.
pub(crate) fn note_cpus(note_cpu: BorrowedFd<'_>, cpus: &[u32]) -> Result<(), Refused> {
    for (index, &cpu) in cpus.iter().enumerate() {
        let mut argument = CpuArgument { cpu, index: index as u32 };
        let answer = match run(note_cpu, &mut argument) {
            Ok(0) => continue,
            Ok(other) => could_not_read("noting a CPU", other),
            Err(error) => error,
        };
        return Err(Refused::failed("noting a CPU", &answer));
    }
    Ok(())
}

/// Returns what a program means that returned something else than 0.
pub(crate) fn could_not_read(what: &str, answer: i32) -> io::Error {
    io::Error::other(format!("{what} could not read the kernel ({answer})"))
}
