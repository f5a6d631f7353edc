//! Bytes of `/proc` files in, values out.
//!
//! Invariant: nothing here does I/O, reads a clock, allocates, or panics, whatever the bytes.
//! Each parser borrows its input and keeps the units of the kernel; [`Host`](crate::Host) converts.

mod scan;

mod cgroup;
mod cgroup_memory;
mod io;
mod meminfo;
mod mountinfo;
mod pressure;
mod smaps;
mod smaps_rollup;
mod stat;
mod statm;
mod status;
mod swap;
mod vmstat;

pub use cgroup::{CgroupEntry, parse_cgroup};
pub use cgroup_memory::{
    CgroupEvents, CgroupStat, parse_cgroup_events, parse_cgroup_limit, parse_cgroup_number,
    parse_cgroup_oom_control, parse_cgroup_stat, parse_cgroup_stat_v1,
};
pub use io::{Io, parse_io};
pub use meminfo::{Meminfo, parse_meminfo};
pub use mountinfo::{MountEntry, decode_path, parse_mountinfo};
pub use pressure::{Pressure, Stall, parse_pressure};
pub use smaps::{Mapping, Smaps, parse_smaps};
pub use smaps_rollup::{SmapsRollup, parse_smaps_rollup};
pub use stat::{Stat, parse_stat};
pub use statm::{Statm, parse_statm};
pub use status::{Status, parse_status};
pub use swap::{Swaps, Zram, parse_swaps, parse_zram};
pub use vmstat::{Vmstat, parse_vmstat};
