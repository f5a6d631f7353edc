//! `/proc/[pid]/status`: parts of the resident set, swap and the high-water mark.

use super::scan::{KeyValues, Tokens, kibibytes, number};
use crate::error::ParseError;
use crate::units::Kibibytes;

/// What `/proc/[pid]/status` says of a process.
///
/// The memory lines are `None` for a kernel thread and a zombie, which have no memory map.
/// Kernel source: `proc_pid_status` in `fs/proc/array.c`, `task_mem` in `fs/proc/task_mmu.c`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status<'a> {
    /// The command name as the kernel escapes it here: newline as `\n`, backslash as `\\`.
    pub name: &'a [u8],
    /// The thread group, which is the process: differs from the pid of a thread that was opened as one.
    pub tgid: Option<u64>,
    /// The parent's process id.
    pub ppid: Option<u64>,
    /// Effective user id.
    pub euid: Option<u64>,
    /// The pids of the process, from the namespace of the mount that was read to its own.
    pub nspid: &'a [u8],
    /// `VmSize`: virtual size.
    pub vm_size: Option<Kibibytes>,
    /// `VmHWM`: the largest resident set so far. Lost when the process ends.
    pub vm_hwm: Option<Kibibytes>,
    /// `VmRSS`: the sum of the three below.
    pub vm_rss: Option<Kibibytes>,
    /// `RssAnon`: resident anonymous memory (since Linux 4.5).
    pub rss_anon: Option<Kibibytes>,
    /// `RssFile`: resident pages of mapped files (since Linux 4.5).
    pub rss_file: Option<Kibibytes>,
    /// `RssShmem`: resident shared memory: System V, tmpfs, shared anonymous (since Linux 4.5).
    pub rss_shmem: Option<Kibibytes>,
    /// `VmPTE`: memory for page tables.
    pub vm_pte: Option<Kibibytes>,
    /// `VmSwap`: swapped-out anonymous memory; shared memory in swap is not counted.
    pub vm_swap: Option<Kibibytes>,
    /// `HugetlbPages`: mapped huge pages of the reserved pool, which no resident set counts (since Linux 4.4). A kernel
    /// without such pages prints no line.
    pub hugetlb: Option<Kibibytes>,
    /// Threads of the process.
    pub threads: Option<u64>,
}

/// Parses the contents of `/proc/[pid]/status`. The result borrows `bytes`.
///
/// # Errors
///
/// [`ParseError`] names a known line whose value is not a number. A line that is absent is `None`;
/// a file without a `Name` line is an error, since it is not a `status` file.
pub fn parse_status(bytes: &[u8]) -> Result<Status<'_>, ParseError> {
    let mut status = Status::default();
    let mut named = false;
    for (key, value) in KeyValues::new(bytes) {
        match key {
            b"Name" => {
                status.name = value.strip_prefix(b"\t").unwrap_or(value);
                named = true;
            }
            b"Tgid" => status.tgid = Some(number(value, "Tgid")?),
            b"PPid" => status.ppid = Some(number(value, "PPid")?),
            b"Uid" => {
                let mut ids = Tokens::new(value);
                ids.skip(1, "Uid")?;
                status.euid = Some(ids.number("Uid")?);
            }
            b"NSpid" => status.nspid = value.trim_ascii(),
            b"VmSize" => status.vm_size = Some(kibibytes(value, "VmSize")?),
            b"VmHWM" => status.vm_hwm = Some(kibibytes(value, "VmHWM")?),
            b"VmRSS" => status.vm_rss = Some(kibibytes(value, "VmRSS")?),
            b"RssAnon" => status.rss_anon = Some(kibibytes(value, "RssAnon")?),
            b"RssFile" => status.rss_file = Some(kibibytes(value, "RssFile")?),
            b"RssShmem" => status.rss_shmem = Some(kibibytes(value, "RssShmem")?),
            b"VmPTE" => status.vm_pte = Some(kibibytes(value, "VmPTE")?),
            b"VmSwap" => status.vm_swap = Some(kibibytes(value, "VmSwap")?),
            b"HugetlbPages" => status.hugetlb = Some(kibibytes(value, "HugetlbPages")?),
            b"Threads" => {
                status.threads = Some(number(value, "Threads")?);
                // Signals, capabilities and CPU masks follow: half of the file, none of it ours.
                break;
            }
            _ => {}
        }
    }
    if named { Ok(status) } else { Err(ParseError::missing("Name")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ParseErrorKind;

    const USER: &[u8] = b"Name:\ta\\nb\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t70\nNgid:\t0\nPid:\t70\nPPid:\t1\n\
        TracerPid:\t0\nUid:\t1000\t1001\t1000\t1000\nGid:\t0\t0\t0\t0\nFDSize:\t64\nGroups:\t0 \nNStgid:\t70\n\
        NSpid:\t70\t3\nVmPeak:\t    4000 kB\nVmSize:\t    3996 kB\nVmLck:\t       0 kB\nVmPin:\t       0 kB\n\
        VmHWM:\t    3500 kB\nVmRSS:\t    3400 kB\nRssAnon:\t     400 kB\nRssFile:\t    2900 kB\n\
        RssShmem:\t     100 kB\nVmData:\t     500 kB\nVmStk:\t     132 kB\nVmExe:\t     100 kB\n\
        VmLib:\t    1700 kB\nVmPTE:\t      48 kB\nVmSwap:\t       8 kB\nHugetlbPages:\t    4096 kB\n\
        CoreDumping:\t0\nThreads:\t2\nSigQ:\tgarbage that is never looked at\n";

    #[test]
    fn a_user_process_has_every_line() {
        let status = parse_status(USER).unwrap();
        assert_eq!(status.name, b"a\\nb");
        assert_eq!((status.tgid, status.ppid, status.euid), (Some(70), Some(1), Some(1001)));
        assert_eq!(status.nspid, b"70\t3");
        assert_eq!(status.vm_size, Some(Kibibytes(3996)));
        assert_eq!(status.vm_hwm, Some(Kibibytes(3500)));
        assert_eq!(status.vm_rss, Some(Kibibytes(3400)));
        let parts = [status.rss_anon, status.rss_file, status.rss_shmem];
        assert_eq!(parts, [400, 2900, 100].map(|kib| Some(Kibibytes(kib))));
        assert_eq!(status.vm_pte, Some(Kibibytes(48)));
        assert_eq!((status.vm_swap, status.threads), (Some(Kibibytes(8)), Some(2)));
        assert_eq!(status.hugetlb, Some(Kibibytes(4096)));
    }

    #[test]
    fn a_kernel_thread_has_no_memory_lines() {
        let status =
            parse_status(b"Name:\tkthreadd\nTgid:\t2\nUid:\t0\t0\t0\t0\nThreads:\t1\n").unwrap();
        assert_eq!((status.vm_rss, status.vm_hwm, status.rss_anon), (None, None, None));
    }

    #[test]
    fn garbage_is_an_error_and_absence_is_not() {
        assert_eq!(parse_status(b""), Err(ParseError::missing("Name")));
        assert_eq!(
            parse_status(b"Name:\tx\nVmRSS:\t kB\n").unwrap_err().kind,
            ParseErrorKind::NotANumber
        );
        assert_eq!(parse_status(b"Name:\tx\nUid:\t5").unwrap_err().kind, ParseErrorKind::Missing);
        assert_eq!(parse_status(b"Name:\tx\nVmR").unwrap().vm_rss, None);
    }
}
