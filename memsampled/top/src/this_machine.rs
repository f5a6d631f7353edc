//! What is the same whoever samples: the memory of this machine, and the names of its users.

use memsample::parse::{parse_meminfo, parse_pressure};

use crate::frame::MachineMemory;

/// Reads the memory of the machine.
#[must_use]
pub fn memory_of_this_machine() -> MachineMemory {
    let meminfo = std::fs::read("/proc/meminfo").ok();
    let meminfo = meminfo.and_then(|bytes| parse_meminfo(&bytes).ok()).unwrap_or_default();
    let pressure = std::fs::read("/proc/pressure/memory").ok();
    let pressure = pressure.and_then(|bytes| parse_pressure(&bytes).ok());
    let share = |centipercent: u32| f64::from(centipercent) / 100.0;
    let shares = pressure.map(|it| {
        let full = it.full.map_or(0, |full| full.avg10_centipercent);
        (share(it.some.avg10_centipercent), share(full))
    });
    MachineMemory::of(&meminfo, shares)
}

/// Returns the name of a user, or the number.
#[must_use]
pub fn user_name(uid: u32) -> String {
    let user = uzers::get_user_by_uid(uid);
    user.map_or_else(|| uid.to_string(), |user| user.name().to_string_lossy().into_owned())
}
