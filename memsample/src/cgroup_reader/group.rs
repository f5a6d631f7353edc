//! One control group: its files, kept open, and the row they give.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use super::descriptors::GroupDescriptors;
use super::open::{OpenHierarchies, OpenHierarchy};
use crate::cgroups::Version;
use crate::error::{ParseError, ReadError};
use crate::parse::{
    parse_cgroup_events, parse_cgroup_limit, parse_cgroup_number, parse_cgroup_oom_control,
    parse_cgroup_stat, parse_cgroup_stat_v1, parse_pressure,
};
use crate::proc::ReadBuffer;
use crate::schema::cgroups::CgroupSample;

/// Takes a value out of the bytes of a file and into a row.
type Apply = fn(&[u8], &mut CgroupSample) -> Result<(), ParseError>;

/// The files of a group. The first must be there while the group is.
const FILES_V2: [(&str, Apply); 7] = [
    ("memory.stat", |bytes, row| {
        row.stat = parse_cgroup_stat(bytes)?;
        Ok(())
    }),
    ("memory.current", |bytes, row| {
        row.current_bytes = Some(parse_cgroup_number(bytes)?);
        Ok(())
    }),
    ("memory.max", |bytes, row| {
        row.limit_bytes = parse_cgroup_limit(bytes)?;
        Ok(())
    }),
    ("memory.peak", |bytes, row| {
        row.peak_bytes = Some(parse_cgroup_number(bytes)?);
        Ok(())
    }),
    ("memory.events", |bytes, row| {
        row.events = parse_cgroup_events(bytes)?;
        Ok(())
    }),
    ("memory.swap.current", |bytes, row| {
        row.stat.swap_bytes = Some(parse_cgroup_number(bytes)?);
        Ok(())
    }),
    PRESSURE,
];

const FILES_V1: [(&str, Apply); 7] = [
    ("memory.stat", |bytes, row| {
        row.stat = parse_cgroup_stat_v1(bytes)?;
        row.effective_limit_bytes = row.stat.hierarchical_limit_bytes;
        Ok(())
    }),
    ("memory.usage_in_bytes", |bytes, row| {
        row.current_bytes = Some(parse_cgroup_number(bytes)?);
        Ok(())
    }),
    ("memory.limit_in_bytes", |bytes, row| {
        row.limit_bytes = parse_cgroup_limit(bytes)?;
        Ok(())
    }),
    ("memory.max_usage_in_bytes", |bytes, row| {
        row.peak_bytes = Some(parse_cgroup_number(bytes)?);
        Ok(())
    }),
    ("memory.oom_control", |bytes, row| {
        row.events.oom_kill = parse_cgroup_oom_control(bytes)?;
        Ok(())
    }),
    ("memory.failcnt", |bytes, row| {
        row.events.max = Some(parse_cgroup_number(bytes)?);
        Ok(())
    }),
    ("memory.kmem.usage_in_bytes", |bytes, row| {
        row.stat.kernel_bytes = Some(parse_cgroup_number(bytes)?);
        Ok(())
    }),
];

const PRESSURE: (&str, Apply) = ("memory.pressure", |bytes, row| {
    row.pressure = Some(parse_pressure(bytes)?);
    Ok(())
});

/// What became of a group when it was read.
pub(super) enum GroupReading {
    Whole,
    /// A file could not be read or understood. That this kernel has none of that name is no failure.
    InPart,
    Gone,
}

/// One group that is followed.
#[derive(Default)]
pub(super) struct Group {
    /// How many sampled processes are in the group itself.
    pub(super) processes: u32,
    pub(super) was_read: bool,
    kept: [Option<OwnedFd>; FILES_V2.len()],
    /// Of the hierarchy of v2 where the others are of v1.
    pressure: Option<OwnedFd>,
}

/// What is used to read each group.
struct Access<'a> {
    hierarchy: &'a OpenHierarchy,
    name: &'a [u8],
    descriptors: &'a mut GroupDescriptors,
    buffer: &'a mut ReadBuffer,
    path: &'a mut Vec<u8>,
}

impl Group {
    /// Reads the files of the group at `name` into `row`.
    pub(super) fn read(
        &mut self,
        name: &[u8],
        hierarchies: &OpenHierarchies,
        descriptors: &mut GroupDescriptors,
        buffer: &mut ReadBuffer,
        path: &mut Vec<u8>,
        row: &mut CgroupSample,
    ) -> GroupReading {
        let Some(hierarchy) = &hierarchies.memory else {
            return GroupReading::Gone;
        };
        row.version = Some(hierarchy.version);
        let mut access = Access { hierarchy, name, descriptors, buffer, path };
        let files = match hierarchy.version {
            Version::V1 => &FILES_V1,
            Version::V2 => &FILES_V2,
        };
        let mut whole = true;
        for (index, ((file, apply), kept)) in files.iter().zip(&mut self.kept).enumerate() {
            match access.read(kept, file, *apply, row) {
                Ok(()) => {}
                // The root of v2 has few of the files, and an old kernel lacks some.
                Err(ReadError::Gone) if index > 0 || access.is_there() => {}
                Err(ReadError::Gone) => return GroupReading::Gone,
                Err(_) => whole = false,
            }
        }
        if hierarchy.version == Version::V1
            && let Some(hierarchy) = &hierarchies.pressure
        {
            access.hierarchy = hierarchy;
            // On a hybrid machine the group may be in one hierarchy only.
            let outcome = access.read(&mut self.pressure, PRESSURE.0, PRESSURE.1, row);
            whole &= matches!(outcome, Ok(()) | Err(ReadError::Gone));
        }
        if whole { GroupReading::Whole } else { GroupReading::InPart }
    }

    /// Returns how many descriptors are kept.
    pub(super) fn descriptors(&self) -> usize {
        self.kept.iter().flatten().count() + usize::from(self.pressure.is_some())
    }
}

impl Access<'_> {
    /// Reads one file, and keeps it open if descriptors allow.
    fn read(
        &mut self,
        kept: &mut Option<OwnedFd>,
        file: &str,
        apply: Apply,
        row: &mut CgroupSample,
    ) -> Result<(), ReadError> {
        if let Some(open) = kept {
            match self.buffer.read_piece(&*open) {
                Ok(bytes) => return Ok(apply(bytes, row)?),
                // The group was removed. If there is one at its path again, it is another.
                Err(_) => {
                    *kept = None;
                    self.descriptors.kept -= 1;
                }
            }
        }
        let open = self.hierarchy.open_file(self.name, file.as_bytes(), self.path)?;
        let bytes = self.buffer.read_piece(&open).map_err(|errno| match errno {
            // Removed in between; or, of pressure, switched off at boot.
            Errno::NODEV | Errno::OPNOTSUPP => ReadError::Gone,
            errno => errno.into(),
        })?;
        apply(bytes, row)?;
        if self.hierarchy.live && self.descriptors.kept < self.descriptors.allowed {
            self.descriptors.kept += 1;
            *kept = Some(open);
        }
        Ok(())
    }

    /// Returns whether the directory of the group is there.
    fn is_there(&mut self) -> bool {
        self.hierarchy.open_file(self.name, b"", self.path).is_ok()
    }
}
