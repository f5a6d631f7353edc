//! Which sandboxes, limits and kernel sources work on this machine, and what would make the others work.

use std::path::Path;

use memsample::cgroups::Hierarchies;
use memsample::{KernelSource, processes_only_note};

use crate::sandbox::{Controllers, bubblewrap, controllers, lxc_tools, pid_namespace};
pub use crate::sandbox::{LXC_PATH, Missing, available};

/// What the link of a process in the first pid namespace shows: `PROC_PID_INIT_INO` of the kernel.
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";
/// What brings what `/proc` lacks with subset=pid.
const WHOLE_PROC: &str = "mount -t proc proc /proc";

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What it is: a word of a suite file, the name of a control group's controller, or what the kernel
    /// reports.
    pub name: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    /// Whether it works.
    pub result: Result<String, Missing>,
}

/// Tries everything that the runner can use, which takes about a tenth of a second.
#[must_use]
pub fn checks() -> Vec<Check> {
    let check = |name, purpose, result| Check { name, purpose, result };
    let controllers = controllers();
    let mut checks = vec![
        check("pidns", "nothing survives a test", pid_namespace()),
        check("bwrap", "a test cannot write to the machine", host_bubblewrap()),
        check("lxc", "a container for each test", lxc_tools()),
        check("memory", "memory limits, and which test ran out of memory", memory(&controllers)),
        check("cpu", "limits on CPU time", cpu(&controllers)),
        check("pids", "limits on the number of processes", pids(&controllers)),
        check("kill", "a kill that no process escapes", kill(&controllers)),
    ];
    checks.extend(KernelSource::ALL.into_iter().filter_map(source));
    checks
}

/// Tries bwrap, which reads what `/proc` lacks with subset=pid; no right of the user changes that.
fn host_bubblewrap() -> Result<String, Missing> {
    bubblewrap(None).map_err(|missing| match missing.reason.contains("/proc/") && lacks_files() {
        true => Missing { remedy: Some(WHOLE_PROC.to_owned()), ..missing },
        false => missing,
    })
}

/// Returns whether `/proc` has the processes and nothing of the machine.
fn lacks_files() -> bool {
    processes_only_note(Path::new("/proc")).is_some()
}

/// What the recording of a suite gets from the kernel.
fn source(source: KernelSource) -> Option<Check> {
    let mount = mount_of_groups();
    let privileged = "run it as root, or: setcap cap_net_admin=ep \"$(command -v memsample)\"; outside \
                      of containers and of other network namespaces, which do not have it";
    let (name, purpose, works, remedy) = match source {
        KernelSource::Processes => (
            "processes",
            "the processes of every user",
            if in_first_pid_namespace() {
                "/proc shows all"
            } else {
                "/proc shows all of this pid namespace (a container), and none outside of it"
            },
            "run it as root, or: mount -o remount,hidepid=0 /proc",
        ),
        KernelSource::Forks => (
            "forks",
            "forks and execs, so that no process goes unseen",
            "the proc connector",
            privileged,
        ),
        KernelSource::Exits => (
            "exits",
            "the true peak of every process: upper bounds for budgets",
            "taskstats",
            privileged,
        ),
        KernelSource::ProportionalSets => (
            "pss",
            "memory in which shared pages count once",
            "smaps_rollup",
            "Linux 4.14 or later",
        ),
        KernelSource::Bpf => (
            "bpf",
            "the numbers of all processes in one pass: --sweep auto",
            "they agree with /proc",
            match Path::new("/sys/devices/system/cpu").is_dir() {
                true => {
                    "Linux 5.17 or later with BTF, not locked down for confidentiality, outside of containers; run it \
                     as root, or: setcap cap_bpf,cap_perfmon=ep \"$(command -v memsample)\""
                }
                false => "mount -t sysfs none /sys",
            },
        ),
        KernelSource::Pressure => (
            "psi",
            "how long processes waited for memory",
            "/proc/pressure/memory",
            match lacks_files() {
                true => WHOLE_PROC,
                false => "Linux 4.20 or later with CONFIG_PSI, started with psi=1",
            },
        ),
        KernelSource::ControlGroups => {
            ("cgroups", "the memory of control groups", "mounted", mount.as_str())
        }
        KernelSource::OomKills => (
            "kmsg",
            "whom the OOM killer killed, in the kernel's own words",
            "/dev/kmsg",
            "run it as root, or: sysctl kernel.dmesg_restrict=0",
        ),
        KernelSource::MemoryMaps => (
            "maps",
            "memory that processes share after vfork counts once",
            "kcmp",
            "Linux 3.5 or later with CONFIG_KCMP, and a filter of system calls that allows kcmp; for containers: \
             --cap-add SYS_PTRACE",
        ),
        // A later library may know more.
        _ => return None,
    };
    let missing = |reason| Missing { reason, remedy: Some(remedy.to_owned()) };
    let result = source.try_open().map(|()| works.to_owned()).map_err(missing);
    Some(Check { name, purpose, result })
}

/// Returns whether this is the pid namespace in which the machine started: others have other numbers.
fn in_first_pid_namespace() -> bool {
    std::fs::read_link("/proc/self/ns/pid")
        .is_ok_and(|link| link.as_os_str() == FIRST_PID_NAMESPACE)
}

fn memory(controllers: &Controllers) -> Result<String, Missing> {
    controllers
        .memory
        .map(|version| format!("control groups, version {version}"))
        .ok_or_else(no_group)
}

fn cpu(controllers: &Controllers) -> Result<String, Missing> {
    controllers.cpu.then(|| "control groups".to_owned()).ok_or_else(no_group)
}

fn pids(controllers: &Controllers) -> Result<String, Missing> {
    controllers.pids.then(|| "pids.max".to_owned()).ok_or_else(no_group)
}

fn kill(controllers: &Controllers) -> Result<String, Missing> {
    match controllers {
        Controllers { kill_file: true, .. } => Ok("cgroup.kill".to_owned()),
        Controllers { freezer: true, .. } => Ok("the freezer".to_owned()),
        _ => Err(no_group()),
    }
}

/// Says how control groups are mounted; their place is in /sys, which may not be there either.
fn mount_of_groups() -> String {
    let sys =
        if Path::new("/sys/fs/cgroup").is_dir() { "" } else { "mount -t sysfs none /sys && " };
    format!("{sys}mount -t cgroup2 none /sys/fs/cgroup")
}

fn no_group() -> Missing {
    let mounted = Hierarchies::mounted();
    let is_any_mounted = mounted.v2().is_some() || mounted.v1("memory").is_some();
    Missing {
        reason: "no control group with this controller can be made here".to_owned(),
        remedy: Some(match is_any_mounted {
            false => mount_of_groups(),
            true => "run it as root, or by `systemd-run --user --scope --property=Delegate=yes`"
                .to_owned(),
        }),
    }
}
