//! Which sources of the kernel a recording can draw from on this machine, by asking for each.

use std::path::Path;

use crate::cgroup_reader::OpenHierarchies;
use crate::events::{KernelLog, ProcessEvents, ProcessExits};
use crate::machine::{hidepid_note, processes_only_note};
use crate::metric::Files;
use crate::parse::parse_pressure;
use crate::sampler::{Sampler, SamplerOptions, SweepBy, memory_maps_note};

/// Where a part of a recording comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KernelSource {
    /// `/proc` of every process, also of other users.
    Processes,
    /// The proc connector: forks and execs.
    Forks,
    /// Taskstats: the true peak of every process that ends.
    Exits,
    /// `smaps_rollup`: PSS and USS.
    ProportionalSets,
    /// A BPF program that reads the numbers of all processes in one pass.
    Bpf,
    /// `pressure/memory`: how long processes waited for memory.
    Pressure,
    /// The memory files of control groups.
    ControlGroups,
    /// The log of the kernel: whom the OOM killer killed.
    OomKills,
    /// kcmp(2): which processes share a memory map.
    MemoryMaps,
}

impl KernelSource {
    /// Every source.
    pub const ALL: [Self; 9] = [
        Self::Processes,
        Self::Forks,
        Self::Exits,
        Self::ProportionalSets,
        Self::Bpf,
        Self::Pressure,
        Self::ControlGroups,
        Self::OomKills,
        Self::MemoryMaps,
    ];

    /// Asks for it on this machine, as a recording would, and lets it go again.
    ///
    /// # Errors
    ///
    /// Why it is not there and what a recording lacks without it, as a sentence.
    pub fn try_open(self) -> Result<(), String> {
        let absent = |note: Option<String>| note.map_or(Ok(()), Err);
        match self {
            Self::Processes => absent(hidepid_note(Path::new("/proc"))),
            Self::Forks => ProcessEvents::open().map(drop),
            Self::Exits => ProcessExits::open().map(drop),
            Self::ProportionalSets => {
                let sampler = Sampler::new(SamplerOptions::default());
                let sampler =
                    sampler.map_err(|error| format!("`/proc` cannot be read: {error}"))?;
                match sampler.supported_files().contains(Files::SMAPS_ROLLUP) {
                    true => Ok(()),
                    false => Err("this kernel has no smaps_rollup (it came with Linux 4.14): PSS and USS are \
                                  null"
                        .to_owned()),
                }
            }
            Self::Bpf => {
                let options = SamplerOptions::default().sweep_by(SweepBy::Bpf);
                Sampler::new(options).map(drop).map_err(|error| error.to_string())
            }
            Self::Pressure => {
                let bytes = std::fs::read("/proc/pressure/memory");
                let bytes = bytes.map_err(|error| error.to_string());
                let parsed = bytes.and_then(|bytes| {
                    parse_pressure(&bytes).map(drop).map_err(|error| error.to_string())
                });
                parsed.map_err(|error| {
                    processes_only_note(Path::new("/proc")).unwrap_or_else(|| format!(
                        "`/proc/pressure/memory` cannot be read ({error}): psi columns are null"
                    ))
                })
            }
            Self::OomKills => KernelLog::open().map(drop).ok_or_else(|| {
                "`/dev/kmsg` cannot be read: of a process that the OOM killer killed only candidates may be known"
                    .to_owned()
            }),
            Self::MemoryMaps => absent(memory_maps_note()),
            Self::ControlGroups => {
                let mounted = OpenHierarchies::mounted();
                absent(mounted.note().or_else(|| mounted.own_group_note()))
            }
        }
    }
}
