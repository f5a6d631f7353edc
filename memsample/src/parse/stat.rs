//! `/proc/[pid]/stat`: name, parent, start, faults and CPU time.

use super::scan::{Tokens, number};
use crate::error::ParseError;
use crate::units::{ClockTicks, Pages};

/// Set in [`Stat::flags`] of a kernel thread. Kernel source: `include/linux/sched.h`.
const PF_KTHREAD: u64 = 0x0020_0000;

/// What `/proc/[pid]/stat` says of a process; the numbers are those of `proc_pid_stat(5)`.
///
/// Kernel source: `do_task_stat` in `fs/proc/array.c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat<'a> {
    /// The process id, in the pid namespace of the mount that was read.
    pub pid: i32,
    /// The command name, at most 15 bytes for a user process. May hold any byte but NUL.
    pub comm: &'a [u8],
    /// The state letter: `R`, `S`, `D`, `Z` (ended, not yet reaped), `T`, …
    pub state: u8,
    /// The parent's process id; 0 for a process without one in this namespace.
    pub ppid: i32,
    /// Kernel flags of the task; see [`is_kernel_thread`](Self::is_kernel_thread).
    pub flags: u64,
    /// Page faults that needed no I/O, since the process began.
    pub minflt: u64,
    /// Page faults that waited for I/O, since the process began.
    pub majflt: u64,
    /// CPU time in user mode, of all threads.
    pub utime: ClockTicks,
    /// CPU time in kernel mode, of all threads.
    pub stime: ClockTicks,
    /// Threads of the process.
    pub num_threads: u64,
    /// When the process began, since boot. With the pid and the boot id it identifies a process.
    pub starttime: ClockTicks,
    /// Virtual size, in bytes.
    pub vsize_bytes: u64,
    /// Resident set, with the error that [`Statm`](super::Statm) describes.
    pub rss: Pages,
    /// Where the code begins; 0 or 1 where the kernel hides addresses from the reader.
    pub startcode: u64,
    /// The bottom of the stack, random for each exec; 0 where the kernel hides addresses.
    pub startstack: u64,
}

impl Stat<'_> {
    /// Returns whether the task is a kernel thread, which has no memory of its own.
    #[must_use]
    pub const fn is_kernel_thread(&self) -> bool {
        self.flags & PF_KTHREAD != 0
    }
}

/// Parses the contents of `/proc/[pid]/stat`. The result borrows `bytes`.
///
/// # Errors
///
/// [`ParseError`] names the first field that is absent or malformed, up to and including
/// `startstack`, the last one that is read.
pub fn parse_stat(bytes: &[u8]) -> Result<Stat<'_>, ParseError> {
    // A command name may hold spaces, parentheses and newlines, so it ends at the last `)`.
    let open = memchr::memchr(b'(', bytes).ok_or(ParseError::missing("comm"))?;
    let close = memchr::memrchr(b')', bytes).ok_or(ParseError::missing("comm"))?;
    // `get`, since `)(` is a legal sequence of bytes.
    let comm = bytes.get(open + 1..close).ok_or(ParseError::missing("comm"))?;
    let head = bytes.get(..open).ok_or(ParseError::missing("pid"))?;
    let tail = bytes.get(close + 1..).ok_or(ParseError::missing("state"))?;

    let mut tokens = Tokens::new(tail);
    let state = match tokens.next() {
        Some(&[state]) if state.is_ascii_alphabetic() => state,
        Some(_) => return Err(ParseError::out_of_range("state")),
        None => return Err(ParseError::missing("state")),
    };
    let ppid = tokens.signed("ppid")?;
    tokens.skip(4, "tpgid")?;
    let flags = tokens.number("flags")?;
    let minflt = tokens.number("minflt")?;
    tokens.skip(1, "cminflt")?;
    let majflt = tokens.number("majflt")?;
    tokens.skip(1, "cmajflt")?;
    let utime = tokens.number("utime")?;
    let stime = tokens.number("stime")?;
    // cutime, cstime, priority and nice may be negative.
    tokens.skip(4, "nice")?;
    let num_threads = tokens.number("num_threads")?;
    tokens.skip(1, "itrealvalue")?;
    let starttime = tokens.number("starttime")?;
    let vsize_bytes = tokens.number("vsize")?;
    let rss = tokens.number("rss")?;
    tokens.skip(1, "rsslim")?;
    let startcode = tokens.number("startcode")?;
    tokens.skip(1, "endcode")?;
    let startstack = tokens.number("startstack")?;

    Ok(Stat {
        pid: pid(number(head, "pid")?, "pid")?,
        comm,
        state,
        ppid: i32::try_from(ppid).map_err(|_| ParseError::out_of_range("ppid"))?,
        flags,
        minflt,
        majflt,
        utime: ClockTicks(utime),
        stime: ClockTicks(stime),
        num_threads,
        starttime: ClockTicks(starttime),
        vsize_bytes,
        rss: Pages(rss),
        startcode,
        startstack,
    })
}

fn pid(value: u64, field: &'static str) -> Result<i32, ParseError> {
    i32::try_from(value).map_err(|_| ParseError::out_of_range(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAIL: &str = "S 1 2 3 4 -1 4194560 11 0 13 0 14 15 0 0 20 0 3 0 2200 4096000 24 18446744073709551615 \
                        1 1 140726 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0";

    #[track_caller]
    fn check_comm(comm: &str) {
        let line = format!("7 ({comm}) {TAIL}");
        let stat = parse_stat(line.as_bytes()).unwrap();
        assert_eq!(stat.comm, comm.as_bytes());
        assert_eq!((stat.pid, stat.ppid, stat.state), (7, 1, b'S'));
        assert_eq!((stat.minflt, stat.majflt), (11, 13));
        assert_eq!((stat.utime, stat.stime), (ClockTicks(14), ClockTicks(15)));
        assert_eq!((stat.num_threads, stat.starttime), (3, ClockTicks(2200)));
        assert_eq!((stat.vsize_bytes, stat.rss), (4_096_000, Pages(24)));
        assert_eq!((stat.startcode, stat.startstack), (1, 140_726));
        assert!(!stat.is_kernel_thread());
    }

    #[test]
    fn a_comm_may_hold_any_byte() {
        for comm in ["sh", "a b", "a) R (b", ")", "(", "", "new\nline", "((()", "x) S 1 2 3"] {
            check_comm(comm);
        }
    }

    #[test]
    fn malformed_lines_are_errors() {
        for line in ["", "1", "1 (a)", ") (", "1 (a", "1 a) R", "x (a) R 1", "1 (a) RR 1 2"] {
            assert!(parse_stat(line.as_bytes()).is_err(), "{line:?}");
        }
        let huge_pid = format!("4294967296 (a) {TAIL}");
        assert_eq!(parse_stat(huge_pid.as_bytes()), Err(ParseError::out_of_range("pid")));
    }

    #[test]
    fn kernel_threads_carry_the_flag() {
        let line = format!("2 (kthreadd) {TAIL}").replace("4194560", "2129984");
        assert!(parse_stat(line.as_bytes()).unwrap().is_kernel_thread());
    }
}
