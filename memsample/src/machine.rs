//! Reading the memory of the machine as a whole.

use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::cgroup_reader::CgroupReader;
use crate::counts::CgroupCounts;
use crate::parse::{
    MountEntry, Zram, decode_path, parse_meminfo, parse_mountinfo, parse_pressure, parse_swaps,
    parse_vmstat, parse_zram,
};
use crate::proc::{MachineFile, ProcRoot, ReadBuffer};
use crate::sampler::SamplerOptions;
use crate::schema::cgroups::CgroupSample;
use crate::schema::system::SystemSample;

/// Reads the files about the machine, through kept descriptors.
pub(crate) struct MachineReader {
    root: ProcRoot,
    buffer: ReadBuffer,
    meminfo: MachineFile,
    pressure: MachineFile,
    vmstat: MachineFile,
    swaps: MachineFile,
    /// Where the statistics of each device of compressed memory would be.
    zram: Vec<CString>,
    cgroups: Option<CgroupReader>,
}

/// Devices of compressed memory are numbered from 0; distributions make one for each CPU at most, and
/// nowadays one.
const MAX_ZRAM: usize = 8;

const MEMINFO: &CStr = c"meminfo";
const PRESSURE: &CStr = c"pressure/memory";
const VMSTAT: &CStr = c"vmstat";
const SWAPS: &CStr = c"swaps";
const LOADAVG: &CStr = c"loadavg";

impl MachineReader {
    /// Opens the tree that `options` name, and the control groups that go with it.
    pub(crate) fn open(options: &SamplerOptions) -> io::Result<Self> {
        let root = options.open_root()?;
        let live = root.is_live();
        let cgroups = options.open_cgroups(live);
        let zram = |sys: &Path| {
            let path = |device| sys.join(format!("block/zram{device}/mm_stat"));
            // A path with a NUL byte names no file.
            (0..MAX_ZRAM)
                .filter_map(move |device| CString::new(path(device).as_os_str().as_bytes()).ok())
                .collect()
        };
        Ok(Self {
            zram: options.sys_path(live).map(zram).unwrap_or_default(),
            cgroups: cgroups.map(|cgroups| CgroupReader::new(cgroups, options.shared_clock())),
            root,
            buffer: ReadBuffer::new(),
            meminfo: MachineFile::new(MEMINFO),
            pressure: MachineFile::new(PRESSURE),
            vmstat: MachineFile::new(VMSTAT),
            swaps: MachineFile::new(SWAPS),
        })
    }

    /// Reads `meminfo`, `pressure` and `vmstat`, and with `swap` also what is swapped where. What cannot be read or
    /// understood is `None`.
    ///
    /// The counters are read as often as `meminfo`, although `vmstat` costs three times as much: a counter that is
    /// null in most rows cannot be joined or drawn, and a kill is to be found near its instant.
    pub(crate) fn read(&mut self, ts_ms: i64, swap: bool) -> SystemSample {
        let Self { root, buffer, meminfo, pressure, vmstat, swaps, zram, .. } = self;
        let meminfo = meminfo.read(root, buffer).ok().and_then(|bytes| parse_meminfo(bytes).ok());
        let pressure =
            pressure.read(root, buffer).ok().and_then(|bytes| parse_pressure(bytes).ok());
        let vmstat = vmstat.read(root, buffer).ok().and_then(|bytes| parse_vmstat(bytes).ok());
        let sample = SystemSample { ts_ms, meminfo, pressure, vmstat, ..SystemSample::default() };
        if !swap {
            return sample;
        }
        let swaps = swaps.read(root, buffer).ok().and_then(|bytes| parse_swaps(bytes).ok());
        let zram = read_zram(zram, buffer);
        SystemSample { swaps, zram, ..sample }
    }

    /// Returns how many processes the OOM killer has killed since boot, by `vmstat`; `None` where it does not say.
    pub(crate) fn oom_kills(&mut self) -> Option<u64> {
        let Self { root, buffer, vmstat, .. } = self;
        parse_vmstat(vmstat.read(root, buffer).ok()?).ok()?.oom_kill
    }

    /// Reads the control groups at `paths`, one for each process, and appends a row for each group.
    pub(crate) fn read_cgroups<'a>(
        &mut self,
        ts_ms: i64,
        paths: impl Iterator<Item = &'a [u8]>,
        rows: &mut Vec<CgroupSample>,
    ) -> CgroupCounts {
        let cgroups = self.cgroups.as_mut();
        cgroups.map_or(CgroupCounts::default(), |cgroups| cgroups.read(ts_ms, paths, rows))
    }

    /// Describes that the group of this program is not among them, if so.
    pub(crate) fn own_group_note(&self) -> Option<String> {
        self.cgroups.as_ref()?.own_group_note()
    }

    /// Describes why there are no control groups, if so.
    pub(crate) fn cgroups_note(&self) -> Option<String> {
        match &self.cgroups {
            Some(cgroups) => cgroups.note(),
            None => Some(
                "no /sys goes with this copy of a /proc tree: the table `cgroups` is empty"
                    .to_owned(),
            ),
        }
    }

    /// Describes which files this machine does not have, for the reader of the recording.
    pub(crate) fn notes(&mut self) -> Vec<String> {
        let SystemSample { meminfo, pressure, vmstat, .. } = self.read(0, true);
        let file = |name: &CStr| {
            self.root.path().join(name.to_string_lossy().as_ref()).display().to_string()
        };
        let mut notes = Vec::new();
        if !self.root.is_live() {
            notes.push(format!(
                "`{}` is a copy of a /proc tree: `machine` in recording.json, and the times, are those of its reader",
                self.root.path().display()
            ));
        }
        if let Some(note) = processes_only_note(self.root.path()) {
            notes.push(note);
            notes.extend(self.not_of_the_kernel());
            return notes;
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
        notes.extend(self.not_of_the_kernel());
        notes
    }

    /// Describes the files that something has mounted over those of the kernel, as LXCFS does in a container.
    fn not_of_the_kernel(&mut self) -> Option<String> {
        let Self { root, meminfo, pressure, vmstat, swaps, .. } = self;
        let mut loadavg = MachineFile::new(LOADAVG);
        let mut names = Vec::new();
        for (name, file) in [
            (MEMINFO, meminfo),
            (PRESSURE, pressure),
            (VMSTAT, vmstat),
            (SWAPS, swaps),
            (LOADAVG, &mut loadavg),
        ] {
            if !file.is_of_the_kernel(root) {
                names.push(name.to_string_lossy().into_owned());
            }
        }
        (!names.is_empty()).then(|| {
            let at = root.path().display();
            format!(
                "of `{at}`, these files are not the kernel's, but mounted over them as LXCFS does in a container: {}; \
                 their columns in `system` are of the container, as whoever makes the files says",
                names.join(", ")
            )
        })
    }
}

/// Returns the sum over the devices of compressed memory; `None` where there is none.
fn read_zram(paths: &[CString], buffer: &mut ReadBuffer) -> Option<Zram> {
    let mut sum: Option<Zram> = None;
    for path in paths {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let Ok(file) = openat(CWD, path.as_c_str(), flags, Mode::empty()) else {
            continue;
        };
        // A sum that lacks a device would be wrong.
        let device = parse_zram(buffer.read_piece(file).ok()?).ok()?;
        sum = Some(sum.unwrap_or_default().checked_add(device)?);
    }
    sum
}

/// Returns a note where the mount at `root` hides processes of other users.
///
/// A hidden process is not listed, so it can be neither read nor counted.
#[must_use]
pub fn hidepid_note(root: &Path) -> Option<String> {
    let options = mount_options(root)?;
    let option = |wanted: &str| {
        let mut options = options.split(',').filter_map(|option| option.split_once('='));
        options.find(|(name, _)| *name == wanted).map(|(_, value)| value)
    };
    let hidepid = option("hidepid")?;
    // Whoever may trace all processes sees everything, and so does a member of the group that the mount names.
    let sees_all =
        may_trace_all() || option("gid").is_some_and(|group| group.parse().is_ok_and(is_member));
    let hides = !matches!(hidepid, "0" | "off") && !sees_all;
    hides.then(|| {
        format!(
            "`{}` is mounted with hidepid={hidepid}: processes of other users are missing here",
            root.display()
        )
    })
}

/// Returns a note where the mount at `root` has the processes and nothing of the machine (`subset=pid`, from Linux 5.8), as
/// some containers have it.
#[must_use]
pub fn processes_only_note(root: &Path) -> Option<String> {
    let options = mount_options(root)?;
    options.split(',').any(|option| option == "subset=pid").then(|| {
        format!(
            "`{}` is mounted with subset=pid, without what is of the machine: the columns of `system` that come from \
             meminfo, pressure, vmstat, swaps and loadavg are null, whatever the kernel has",
            root.display()
        )
    })
}

/// Returns the options of the `proc` that is mounted at `root`.
fn mount_options(root: &Path) -> Option<String> {
    let mounts = std::fs::read("/proc/self/mountinfo").ok()?;
    let root = std::fs::canonicalize(root).ok()?;
    let is_root = |mount: &MountEntry<'_>| {
        mount.fs_type == b"proc"
            && decode_path(mount.mount_point).eq(root.as_os_str().as_bytes().iter().copied())
    };
    // The last mount at a path hides the others.
    let mount = parse_mountinfo(&mounts).filter_map(Result::ok).filter(is_root).last()?;
    Some(String::from_utf8_lossy(mount.super_options).into_owned())
}

/// Returns whether this process has `CAP_SYS_PTRACE` over the processes of every user: root in a user namespace has it over
/// its own only, and root in a container often not at all.
fn may_trace_all() -> bool {
    const SYS_PTRACE: u64 = 1 << 19;
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let status = read("/proc/self/status");
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    let map = read("/proc/self/uid_map");
    let is_first_namespace = map.split_ascii_whitespace().eq(["0", "0", "4294967295"]);
    mask & SYS_PTRACE != 0 && is_first_namespace
}

fn is_member(group: u32) -> bool {
    let groups = rustix::process::getgroups().unwrap_or_default();
    groups.into_iter().chain([rustix::process::getegid()]).any(|of| of.as_raw() == group)
}
