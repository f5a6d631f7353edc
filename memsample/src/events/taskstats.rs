//! Exit records: what the kernel says of every task that ends, its high-water mark included.
//!
//! `struct taskstats` in `linux/taskstats.h`, over generic netlink. The kernel sends it only to those
//! with `CAP_NET_ADMIN` in the first user and pid namespace, and only to sockets of the first network namespace; in
//! another one it accepts who registers, and is silent.

use rustix::io::Errno;
use rustix::net::netlink;

use super::exact_exit::ExactExit;
use super::netlink::{NetlinkSocket, Received, attributes, field, messages, put_attribute};
use crate::identity::Comm;
use crate::units::Kibibytes;

/// `GENL_ID_CTRL`: the family that knows the numbers of the others.
const CONTROL_FAMILY: u16 = 0x10;
const CONTROL_GET_FAMILY: u8 = 3;
const CONTROL_ATTRIBUTE_ID: u16 = 1;
const CONTROL_ATTRIBUTE_NAME: u16 = 2;
const FAMILY_NAME: &[u8] = b"TASKSTATS\0";

const COMMAND_GET: u8 = 1;
const ATTRIBUTE_PID: u16 = 1;
const ATTRIBUTE_REGISTER_CPUMASK: u16 = 3;
const TYPE_STATS: u16 = 3;
const TYPE_AGGREGATE_PID: u16 = 4;

/// The command and its version; two bytes are reserved.
const GENERIC_HEADER_BYTES: usize = 4;
/// The version with the thread group, and the flag of its last task: Linux 5.19.
const MIN_VERSION: u16 = 12;
/// CPUs that a kernel can have, at most: what `CONFIG_NR_CPUS` allows.
const MAX_CPUS: u32 = 8192;
/// Threads that end until one record is seen: on a machine where thousands of tasks end meanwhile, the first may be lost.
const MAX_TRIES: u32 = 10;
/// `AGROUP`: the last task of its process.
const FLAG_LAST_OF_PROCESS: u8 = 0x20;

/// What the kernel says of a task that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskExit {
    pub(crate) tid: i32,
    /// The process.
    pub(crate) pid: i32,
    pub(crate) ppid: i32,
    pub(crate) uid: u32,
    pub(crate) comm: Comm,
    /// As `wait` gives it: the exit code in the second byte, the signal in the first.
    pub(crate) exit_code: u32,
    /// Whether it was the last task, so that the process has ended.
    pub(crate) is_last: bool,
    /// The high-water mark of the resident set, without the parts of the CPUs; 0 of a kernel thread.
    pub(crate) hwm: Kibibytes,
    /// How long the process has lived, in microseconds, time suspended not included.
    pub(crate) process_lived_us: u64,
    /// Of the task alone.
    pub(crate) counters: Counters,
    /// What BPF says of the end of the process, where it does.
    pub(crate) exact: Option<ExactExit>,
}

/// What a task, or the tasks of a process, have used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) minflt: u64,
    pub(crate) majflt: u64,
    pub(crate) utime_us: u64,
    pub(crate) stime_us: u64,
}

impl Counters {
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            minflt: self.minflt.saturating_add(other.minflt),
            majflt: self.majflt.saturating_add(other.majflt),
            utime_us: self.utime_us.saturating_add(other.utime_us),
            stime_us: self.stime_us.saturating_add(other.stime_us),
        }
    }
}

/// Why no exit records come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExitsRefused {
    /// What the kernel answers: `PERM` without the capability, `INVAL` in a user or pid namespace, `NOENT` in a kernel
    /// without taskstats, `BADMSG` where its records are not understood.
    Errno(Errno),
    /// It accepts who registers, and sends nothing, as in a network namespace.
    Silent,
}

impl From<Errno> for ExitsRefused {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

/// Hears of every task that ends.
pub(super) struct ExitListener {
    socket: NetlinkSocket,
    family: u16,
}

impl ExitListener {
    /// Asks the kernel for exit records, and sees that they come.
    ///
    /// # Errors
    ///
    /// What the kernel answers, or that nothing comes.
    pub(super) fn open() -> Result<Self, ExitsRefused> {
        let mut socket = NetlinkSocket::open(netlink::GENERIC, 0)?;
        let family = find_family(&mut socket, FAMILY_NAME)?;
        let mut listener = Self { socket, family };
        listener.check_layout()?;
        listener.register()?;
        listener.see_a_thread_end()?;
        Ok(listener)
    }

    /// Registers for each CPU that the kernel knows, by asking for one after the other: a list of them in `/sys` need not
    /// be there, nor be the kernel's own.
    fn register(&mut self) -> Result<(), Errno> {
        for cpu in 0..MAX_CPUS {
            let name = format!("{cpu}\0");
            match self.ask(ATTRIBUTE_REGISTER_CPUMASK, name.as_bytes()) {
                Ok(_) => {}
                // Beyond the last number. The first CPU is always there.
                Err(Errno::RANGE | Errno::OVERFLOW) if cpu > 0 => break,
                // A number that no CPU of this machine has.
                Err(Errno::INVAL) if cpu > 0 => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Ends a thread, and looks for its record: the kernel lets anybody register, but sends the records to the first
    /// network namespace only. It sends them before whoever waits for the thread hears of its end.
    fn see_a_thread_end(&mut self) -> Result<(), ExitsRefused> {
        for _ in 0..MAX_TRIES {
            let thread = std::thread::Builder::new()
                .name("memsample-ends".to_owned())
                .spawn(|| rustix::thread::gettid().as_raw_pid());
            let thread = thread.map_err(|_| Errno::AGAIN)?;
            let tid = thread.join().map_err(|_| Errno::AGAIN)?;
            let mut seen = false;
            let overflows = self.drain(|task| seen |= task.tid == tid);
            if seen {
                return Ok(());
            }
            // What was lost may have been the record.
            if overflows == 0 {
                break;
            }
        }
        Err(ExitsRefused::Silent)
    }

    /// Passes on the tasks that have ended since the last call, and returns how many messages were
    /// lost: one for each time that the socket was full, however many that were.
    pub(super) fn drain(&mut self, mut exited: impl FnMut(TaskExit)) -> u32 {
        let mut overflows = 0;
        loop {
            match self.socket.receive() {
                Ok(Received::Bytes(bytes)) => {
                    let of_tasks = messages(bytes).filter(|message| message.kind == self.family);
                    of_tasks.filter_map(|message| parse(message.body)).for_each(&mut exited);
                }
                Ok(Received::Overflow) => overflows += 1,
                Ok(Received::Nothing) | Err(_) => return overflows,
            }
        }
    }

    /// Asks for this very task, and compares: a kernel that has its fields elsewhere would give wrong
    /// numbers, not errors.
    fn check_layout(&mut self) -> Result<(), Errno> {
        let tid = rustix::thread::gettid().as_raw_pid();
        let answer = self.ask(ATTRIBUTE_PID, &tid.to_ne_bytes())?;
        let task = answer.as_deref().and_then(parse).ok_or(Errno::BADMSG)?;
        let pid = rustix::process::getpid().as_raw_pid();
        let is_sane = (task.tid, task.pid) == (tid, pid)
            && task.uid == rustix::process::getuid().as_raw()
            && (1 << 8..1 << 40).contains(&task.hwm.0);
        if is_sane { Ok(()) } else { Err(Errno::BADMSG) }
    }

    fn ask(&mut self, attribute: u16, value: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
        let mut body = vec![COMMAND_GET, 1, 0, 0];
        put_attribute(&mut body, attribute, value);
        self.socket.ask(self.family, &body)
    }
}

fn find_family(socket: &mut NetlinkSocket, name: &[u8]) -> Result<u16, Errno> {
    let mut body = vec![CONTROL_GET_FAMILY, 1, 0, 0];
    put_attribute(&mut body, CONTROL_ATTRIBUTE_NAME, name);
    let answer = socket.ask(CONTROL_FAMILY, &body)?.ok_or(Errno::BADMSG)?;
    let found = answer.get(GENERIC_HEADER_BYTES..).unwrap_or_default();
    attributes(found)
        .find(|&(kind, _)| kind == CONTROL_ATTRIBUTE_ID)
        .and_then(|(_, id)| field(id, 0).map(u16::from_ne_bytes))
        .ok_or(Errno::BADMSG)
}

/// Reads the task in a message; `None` where it holds none, or one of an older version.
fn parse(body: &[u8]) -> Option<TaskExit> {
    let found =
        |bytes, wanted| attributes(bytes).find(|&(kind, _)| kind == wanted).map(|(_, value)| value);
    let aggregate = found(body.get(GENERIC_HEADER_BYTES..)?, TYPE_AGGREGATE_PID)?;
    parse_stats(found(aggregate, TYPE_STATS)?)
}

/// Reads every record in `bytes`.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_exits(bytes: &[u8]) {
    messages(bytes).filter_map(|message| parse(message.body)).for_each(|task| {
        assert!(task.pid >= 0 && task.tid >= 0);
    });
}

/// Reads `struct taskstats`, whose fields are where every 64-bit and 32-bit machine has them.
fn parse_stats(stats: &[u8]) -> Option<TaskExit> {
    let u32_at = |offset| field(stats, offset).map(u32::from_ne_bytes);
    let u64_at = |offset| field(stats, offset).map(u64::from_ne_bytes);
    let pid_at = |offset| i32::try_from(u32_at(offset)?).ok();
    if u16::from_ne_bytes(field(stats, 0)?) < MIN_VERSION {
        return None;
    }
    let comm = stats.get(80..112)?;
    let end = comm.iter().position(|&byte| byte == 0).unwrap_or(comm.len());
    let [flags] = field(stats, 8)?;
    Some(TaskExit {
        tid: pid_at(128)?,
        pid: pid_at(368)?,
        ppid: pid_at(132)?,
        uid: u32_at(120)?,
        comm: Comm::new(comm.get(..end)?),
        exit_code: u32_at(4)?,
        is_last: flags & FLAG_LAST_OF_PROCESS != 0,
        hwm: Kibibytes(u64_at(200)?),
        process_lived_us: u64_at(376)?,
        counters: Counters {
            minflt: u64_at(168)?,
            majflt: u64_at(176)?,
            utime_us: u64_at(152)?,
            stime_us: u64_at(160)?,
        },
        exact: None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stats() -> Vec<u8> {
        let mut stats = vec![0; 416];
        let mut put = |offset: usize, bytes: &[u8]| {
            stats[offset..offset + bytes.len()].copy_from_slice(bytes);
        };
        put(0, &13_u16.to_ne_bytes());
        put(4, &(7_u32 << 8).to_ne_bytes());
        put(8, &[FLAG_LAST_OF_PROCESS | 1]);
        put(80, b"a) R (b\0rest");
        put(120, &1000_u32.to_ne_bytes());
        put(128, &43_u32.to_ne_bytes());
        put(132, &1_u32.to_ne_bytes());
        for (offset, value) in
            [(152, 20_u64), (160, 30), (168, 5), (176, 6), (200, 2048), (376, 900)]
        {
            put(offset, &value.to_ne_bytes());
        }
        put(368, &42_u32.to_ne_bytes());
        stats
    }

    #[test]
    fn fields_are_where_the_kernel_has_them() {
        let expected = TaskExit {
            tid: 43,
            pid: 42,
            ppid: 1,
            uid: 1000,
            comm: Comm::new(b"a) R (b"),
            exit_code: 7 << 8,
            is_last: true,
            hwm: Kibibytes(2048),
            process_lived_us: 900,
            counters: Counters { minflt: 5, majflt: 6, utime_us: 20, stime_us: 30 },
            exact: None,
        };
        assert_eq!(parse_stats(&stats()), Some(expected));
    }

    #[test]
    fn a_family_that_the_kernel_lacks_is_told_by_it() {
        // What a kernel without taskstats says to the question for them.
        let family = NetlinkSocket::open(netlink::GENERIC, 0)
            .and_then(|mut socket| find_family(&mut socket, b"NO_SUCH_FAMILY\0"));
        assert!(matches!(family, Err(Errno::NOENT | Errno::PROTONOSUPPORT)), "{family:?}");
    }

    #[test]
    fn an_older_version_is_not_read() {
        let mut old = stats();
        old[..2].copy_from_slice(&11_u16.to_ne_bytes());
        assert_eq!(parse_stats(&old), None);
    }

    proptest! {
        #[test]
        fn a_record_that_is_cut_off_is_none(length in 0..384_usize) {
            prop_assert_eq!(parse_stats(&stats()[..length]), None);
        }
    }
}
