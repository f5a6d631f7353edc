//! Reading the memory of the machine as a whole.

use std::ffi::CStr;
use std::path::Path;

use procfs::process::MountInfo;

use crate::parse::{parse_meminfo, parse_pressure, parse_vmstat};
use crate::proc::{MachineFile, ProcRoot, ReadBuffer};
use crate::recording::rows::system::SystemSample;

/// Reads the files about the machine, through kept descriptors.
pub(crate) struct MachineReader {
    root: ProcRoot,
    buffer: ReadBuffer,
    meminfo: MachineFile,
    pressure: MachineFile,
    vmstat: MachineFile,
}

const MEMINFO: &CStr = c"meminfo";
const PRESSURE: &CStr = c"pressure/memory";
const VMSTAT: &CStr = c"vmstat";

impl MachineReader {
    pub(crate) fn new(root: ProcRoot) -> Self {
        Self {
            root,
            buffer: ReadBuffer::new(),
            meminfo: MachineFile::new(MEMINFO),
            pressure: MachineFile::new(PRESSURE),
            vmstat: MachineFile::new(VMSTAT),
        }
    }

    /// Reads `meminfo`, and with `counters` also those of `pressure` and `vmstat`, which cost twice
    /// as much. What cannot be read or understood is `None`.
    pub(crate) fn read(&mut self, ts_ms: i64, counters: bool) -> SystemSample {
        let Self { root, buffer, meminfo, pressure, vmstat } = self;
        let meminfo = meminfo.read(root, buffer).ok().and_then(|bytes| parse_meminfo(bytes).ok());
        if !counters {
            return SystemSample { ts_ms, meminfo, pressure: None, vmstat: None };
        }
        let pressure =
            pressure.read(root, buffer).ok().and_then(|bytes| parse_pressure(bytes).ok());
        let vmstat = vmstat.read(root, buffer).ok().and_then(|bytes| parse_vmstat(bytes).ok());
        SystemSample { ts_ms, meminfo, pressure, vmstat }
    }

    /// Says which files this machine does not have, for whoever reads the recording.
    pub(crate) fn notes(&mut self) -> Vec<String> {
        let SystemSample { meminfo, pressure, vmstat, .. } = self.read(0, true);
        let file = |name: &CStr| {
            self.root.path().join(name.to_string_lossy().as_ref()).display().to_string()
        };
        let mut notes = Vec::new();
        if !self.root.is_live() {
            notes.push(format!(
                "`{}` is a copy of a /proc tree: `machine` in run.json, and the times, are those of its reader",
                self.root.path().display()
            ));
        }
        if meminfo.is_none() {
            notes.push(format!(
                "`{}` cannot be read: the memory columns of `system` are null",
                file(MEMINFO)
            ));
        }
        if pressure.is_none() {
            notes.push(format!(
                "`{}` cannot be read (no PSI in this kernel, or switched off): psi columns are null",
                file(PRESSURE)
            ));
        }
        if vmstat.is_none() {
            notes.push(format!(
                "`{}` cannot be read: the counters of `system` are null",
                file(VMSTAT)
            ));
        }
        notes
    }
}

/// Returns a note where the mount at `root` hides processes of other users.
///
/// A hidden process is not listed, so it can be neither read nor counted.
#[must_use]
pub fn hidepid_note(root: &Path) -> Option<String> {
    // Read once at the start, so a crate that allocates will do.
    let mounts = procfs::process::Process::myself().ok()?.mountinfo().ok()?;
    let root = std::fs::canonicalize(root).ok()?;
    let is_root = |mount: &MountInfo| mount.fs_type == "proc" && mount.mount_point == root;
    // The last mount at a path hides the others.
    let mount = mounts.into_iter().rfind(is_root)?;
    let hidepid = mount.super_options.get("hidepid")?.clone()?;
    // Root sees everything, and so does a member of the group that the mount names.
    let hides = !matches!(hidepid.as_str(), "0" | "off") && !rustix::process::geteuid().is_root();
    hides.then(|| {
        format!(
            "`{}` is mounted with hidepid={hidepid}: processes of other users are missing here",
            root.display()
        )
    })
}
