//! Why the program could not be loaded.

use std::error::Error;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use rustix::io::Errno;

use crate::cpus::MAX_CPUS;

const BTF: &str = "/sys/kernel/btf/vmlinux";

/// Why the kernel, or this machine, does not take the program. Each says what would have to be different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The kernel has no description of its structures.
    NoBtf,
    /// The program may not load BPF programs: it lacks these capabilities.
    MissingCapabilities(Vec<&'static str>),
    /// The kernel is locked down, so that no program may read its memory.
    LockedDown,
    /// The kernel has no BPF.
    NoBpf,
    /// The kernel lacks what the program needs, or its structures are others than the program knows.
    Unsuitable {
        /// The last line that the verifier said, or the kernel's answer.
        verifier: String,
        /// The release of the kernel.
        release: String,
        /// The release that the program needs.
        needs: &'static str,
    },
    /// There is not enough memory for the programs and the rows.
    NoMemory,
    /// The machine can have more CPUs than the program has room for.
    TooManyCpus(usize),
    /// Something else failed.
    Failed {
        /// What was done.
        what: &'static str,
        /// What the kernel answered.
        answer: String,
    },
    /// Each form of the program is refused for a reason of its own, the best form first.
    EachForm(Vec<Refused>),
}

impl Refused {
    /// Returns what a failed system call means, of which the kernel alone does not say enough.
    pub(crate) fn from_call(what: &'static str, error: &io::Error) -> Self {
        let errno = Errno::from_io_error(error);
        if errno == Some(Errno::NOSYS) {
            return Self::NoBpf;
        }
        // Without CAP_PERFMON the verifier refuses what it would take, with EINVAL and other errors.
        let missing = missing_capabilities();
        if !missing.is_empty() {
            return Self::MissingCapabilities(missing);
        }
        match errno {
            // The kernel then has no helper that reads its memory, and the verifier says of that with EINVAL.
            Some(Errno::PERM | Errno::ACCESS | Errno::INVAL) if is_locked_down() => {
                Self::LockedDown
            }
            Some(Errno::NOMEM | Errno::TOOBIG) => Self::NoMemory,
            _ => Self::failed(what, error),
        }
    }

    /// Returns that the kernel has no description of its structures where that is so: it answers in one way or another.
    pub(crate) fn or_no_btf(self) -> Self {
        match self {
            Self::Unsuitable { .. } | Self::Failed { .. } if !Path::new(BTF).exists() => {
                Self::NoBtf
            }
            refused => refused,
        }
    }

    /// Returns why no form is taken, of the reasons for each.
    pub(crate) fn of_forms(mut reasons: Vec<Self>) -> Self {
        reasons.dedup();
        match <[Self; 1]>::try_from(reasons) {
            Ok([reason]) => reason,
            Err(reasons) => Self::EachForm(reasons),
        }
    }

    pub(crate) fn failed(what: &'static str, error: &io::Error) -> Self {
        Self::Failed { what, answer: error.to_string() }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBtf => write!(
                f,
                "the kernel does not describe its structures: there is no /sys/kernel/btf/vmlinux (CONFIG_DEBUG_INFO_BTF)"
            ),
            Self::MissingCapabilities(names) => {
                write!(f, "it needs {}, which this program lacks", names.join(" and "))
            }
            Self::LockedDown => write!(
                f,
                "the kernel is locked down (/sys/kernel/security/lockdown says confidentiality)"
            ),
            Self::NoBpf => write!(f, "the kernel has no BPF (CONFIG_BPF_SYSCALL)"),
            Self::Unsuitable { verifier, release, needs } => write!(
                f,
                "Linux {release} does not take the BPF program, which needs {needs} and the structures that it knows: \
                 {verifier}"
            ),
            Self::NoMemory => {
                write!(f, "there is not enough memory for the BPF program and its rows")
            }
            Self::TooManyCpus(cpus) => write!(
                f,
                "the machine can have {cpus} CPUs, and the BPF program has room for {}",
                MAX_CPUS
            ),
            Self::Failed { what, answer } => write!(f, "{what} failed: {answer}"),
            Self::EachForm(reasons) => {
                for (index, reason) in reasons.iter().enumerate() {
                    f.write_str(if index == 0 { "" } else { "; in the form for older kernels: " })?;
                    reason.fmt(f)?;
                }
                Ok(())
            }
        }
    }
}

impl Error for Refused {}

/// Returns which of the capabilities that are needed the program does not have.
fn missing_capabilities() -> Vec<&'static str> {
    // The bits of `CapEff`. CAP_SYS_ADMIN stands for either.
    const SYS_ADMIN: u32 = 21;
    const NEEDED: [(u32, &str); 2] = [(38, "CAP_PERFMON"), (39, "CAP_BPF")];
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
    let Some(effective) = effective else { return Vec::new() };
    let has = |bit: u32| effective >> bit & 1 != 0;
    let missing = NEEDED.iter().filter(|(bit, _)| !has(*bit) && !has(SYS_ADMIN));
    missing.map(|&(_, name)| name).collect()
}

fn is_locked_down() -> bool {
    fs::read_to_string("/sys/kernel/security/lockdown")
        .is_ok_and(|levels| levels.contains("[confidentiality]"))
}

#[cfg(test)]
mod tests {
    use super::Refused;

    #[test]
    fn the_reason_of_each_form_is_told_and_one_for_both_once() {
        let unsuitable = |needs| Refused::Unsuitable {
            verifier: "unknown func".to_owned(),
            release: "5.10.0".to_owned(),
            needs,
        };
        let both = Refused::of_forms(vec![unsuitable("Linux 6.4"), unsuitable("Linux 5.17")]);
        let said = both.to_string();
        assert!(said.contains("needs Linux 6.4") && said.contains("needs Linux 5.17"), "{said}");
        assert_eq!(Refused::of_forms(vec![Refused::NoBtf, Refused::NoBtf]), Refused::NoBtf);
    }
}
