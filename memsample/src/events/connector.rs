//! The proc connector: the kernel reports every fork, exec, exit, and change of name or user as it happens.
//!
//! `struct cn_msg` in `linux/connector.h` and `struct proc_event` in `linux/cn_proc.h`, over netlink.
//! The kernel tells only programs in the first network, user and pid namespace; before Linux 6.6 they
//! also need `CAP_NET_ADMIN`.

use rustix::io::Errno;
use rustix::net::netlink;

use super::netlink::{NetlinkMessage, NetlinkSocket, Received, field, message, messages};
use crate::clock::{Clock as _, SystemClock};
use crate::identity::Comm;

/// `CN_IDX_PROC` and `CN_VAL_PROC`: who speaks. The first is also the number of the multicast group.
const INDEX: u32 = 1;
const VALUE: u32 = 1;
const GROUPS: u32 = 1 << (INDEX - 1);
/// `NLMSG_DONE`, the type of all messages of connectors.
const TYPE_CONNECTOR: u16 = 3;
/// `PROC_CN_MCAST_LISTEN`.
const LISTEN: u32 = 1;

const CONNECTOR_HEADER_BYTES: usize = 20;
/// Of `struct proc_event` up to the union of what happened.
const EVENT_HEADER_BYTES: usize = 16;
/// The same on every machine since Linux 2.6.21: a name of 16 bytes, or six numbers, is the largest.
const MIN_EVENT_BYTES: usize = EVENT_HEADER_BYTES + 24;
const COMM_BYTES: usize = 16;

const WHAT_NONE: u32 = 0;
const WHAT_FORK: u32 = 1;
const WHAT_EXEC: u32 = 2;
const WHAT_UID: u32 = 4;
const WHAT_COMM: u32 = 0x200;
const WHAT_EXIT: u32 = 0x8000_0000;

/// More CPUs than Linux can have. An event of a higher one is not understood.
const MAX_CPUS: usize = 8192;

/// Something that a task did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProcessEvent {
    /// When, on `CLOCK_MONOTONIC` of this process.
    pub(crate) monotonic_ns: u64,
    pub(crate) kind: EventKind,
}

/// What it did. A process has the number of its first thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    /// A process began a thread of its own, or a child.
    Fork { parent: i32, tid: i32, pid: i32 },
    /// A process began another program.
    Exec { pid: i32 },
    /// A task was given another name, other than by an exec.
    Rename { tid: i32, pid: i32, comm: Comm },
    /// A task has another effective user id, as the first user namespace counts them.
    User { tid: i32, pid: i32, uid: u32 },
    /// A task ended.
    Exit { pid: i32 },
}

/// Hears of what tasks do.
pub(crate) struct ProcessEvents {
    socket: NetlinkSocket,
    numbers: Numbers,
    /// What `CLOCK_MONOTONIC` of this process shows more than the clock of the kernel, by which events are stamped: in a
    /// time namespace they differ.
    clock_offset_ns: i64,
}

/// The number of the next event of each CPU. Each CPU counts its events, so a gap is what was lost.
#[derive(Default)]
struct Numbers(Vec<Option<u32>>);

impl ProcessEvents {
    /// Asks the kernel to report them.
    ///
    /// # Errors
    ///
    /// Why it does not, as a reader of the recording should know it.
    pub(crate) fn open() -> Result<Self, String> {
        Self::try_open().map_err(|errno| {
            let reason = match errno {
                Errno::PERM | Errno::ACCESS => "it needs CAP_NET_ADMIN".to_owned(),
                Errno::INVAL | Errno::CONNREFUSED => {
                    "it reports only to the first network, user and pid namespace, and this is another one, as in a container"
                        .to_owned()
                }
                Errno::NOENT | Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT => {
                    "it has no proc connector".to_owned()
                }
                Errno::BADMSG => {
                    "its proc connector is of another layout than this program knows".to_owned()
                }
                errno => errno.to_string(),
            };
            format!(
                "the kernel does not report forks ({reason}): processes are found by their pids at \
                 each tick, and their parent is the one they have then"
            )
        })
    }

    fn try_open() -> Result<Self, Errno> {
        let socket = NetlinkSocket::open(netlink::CONNECTOR, GROUPS)?;
        // Room for the CPUs of all but the largest machines, so that no sweep has to make it.
        let numbers = Numbers(Vec::with_capacity(1024));
        let mut events = Self { socket, numbers, clock_offset_ns: 0 };
        events.listen()?;
        events.check_layout()?;
        Ok(events)
    }

    /// Says that this program listens. Any other that no longer does may have ended it for all.
    pub(crate) fn listen(&self) -> Result<(), Errno> {
        let mut body = Vec::with_capacity(CONNECTOR_HEADER_BYTES + 4);
        for number in [INDEX, VALUE, 0, 0] {
            body.extend_from_slice(&number.to_ne_bytes());
        }
        body.extend_from_slice(&4_u16.to_ne_bytes());
        body.extend_from_slice(&0_u16.to_ne_bytes());
        body.extend_from_slice(&LISTEN.to_ne_bytes());
        self.socket.send(&message(TYPE_CONNECTOR, 0, &body))
    }

    /// Looks for the answer, and for what this program does itself: a kernel that has its fields
    /// elsewhere, or counts pids otherwise, would mislead and give no errors.
    fn check_layout(&mut self) -> Result<(), Errno> {
        // The same name again is an event like another.
        let name = rustix::thread::name()?;
        let before_ns = monotonic_ns();
        rustix::thread::set_name(&name)?;
        let after_ns = monotonic_ns();
        let tid = rustix::thread::gettid().as_raw_pid();
        let pid = rustix::process::getpid().as_raw_pid();
        let comm = Comm::new(name.to_bytes());
        let (mut answer, mut own_rename_seen) = (None, false);
        loop {
            match self.socket.receive()? {
                Received::Bytes(bytes) => {
                    for message in messages(bytes) {
                        let event = parse(&message).ok_or(Errno::BADMSG)?;
                        answer = answer.or(event.answer);
                        let own = EventKind::Rename { tid, pid, comm };
                        if let Some(event) = event.reported.filter(|event| event.kind == own) {
                            own_rename_seen = true;
                            self.clock_offset_ns =
                                clock_offset_ns(event.monotonic_ns, before_ns, after_ns);
                        }
                    }
                }
                // What is lost here may have been the answer; the listing that follows finds the rest.
                Received::Overflow => {}
                Received::Nothing => break,
            }
        }
        match (answer, own_rename_seen) {
            (Some(0), true) => Ok(()),
            (Some(0), false) => Err(Errno::BADMSG),
            (Some(errno), _) => Err(Errno::from_raw_os_error(errno)),
            // To another namespace it does not even answer.
            (None, _) => Err(Errno::INVAL),
        }
    }

    /// Passes on what happened since the last call, and returns how many events were lost: all that
    /// the numbers of later events show, and at least one for each time that the socket was full.
    pub(crate) fn drain(&mut self, mut happened: impl FnMut(ProcessEvent)) -> u32 {
        let (mut overflows, mut lost) = (0_u32, 0_u32);
        loop {
            match self.socket.receive() {
                Ok(Received::Bytes(bytes)) => {
                    for message in messages(bytes) {
                        let Some(Event { cpu, number, reported, .. }) = parse(&message) else {
                            lost = lost.saturating_add(1);
                            continue;
                        };
                        lost = lost.saturating_add(self.numbers.lost_before(cpu, number));
                        reported.into_iter().for_each(|event| {
                            let monotonic_ns =
                                event.monotonic_ns.saturating_add_signed(self.clock_offset_ns);
                            happened(ProcessEvent { monotonic_ns, ..event });
                        });
                    }
                }
                Ok(Received::Overflow) => overflows += 1,
                Ok(Received::Nothing) | Err(_) => return lost.max(overflows),
            }
        }
    }
}

/// Returns what `CLOCK_MONOTONIC` of this process shows more than the stamp of an event that happened between two of
/// its readings: 0 where the stamp is between them too, and otherwise exact but for the time between them.
fn clock_offset_ns(stamp_ns: u64, before_ns: u64, after_ns: u64) -> i64 {
    match (before_ns..=after_ns).contains(&stamp_ns) {
        true => 0,
        false => i64::try_from(i128::from(before_ns) - i128::from(stamp_ns)).unwrap_or(0),
    }
}

fn monotonic_ns() -> u64 {
    SystemClock.now().monotonic_ns
}

impl Numbers {
    /// Returns how many events lie between the last one of a CPU and this one.
    fn lost_before(&mut self, cpu: u32, number: u32) -> u32 {
        let cpu = cpu as usize;
        if cpu >= MAX_CPUS {
            return 1;
        }
        if cpu >= self.0.len() {
            self.0.resize(cpu + 1, None);
        }
        let Some(next) = self.0.get_mut(cpu) else {
            return 1;
        };
        let expected = next.replace(number.wrapping_add(1));
        let gap = expected.map_or(0, |expected| number.wrapping_sub(expected));
        // A number that is lower than the one before is no gap, but nothing that should happen either.
        if gap > u32::MAX / 2 { 1 } else { gap }
    }
}

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Event {
    cpu: u32,
    number: u32,
    /// The error number in an answer to who wants to listen; 0 where it is granted.
    answer: Option<i32>,
    /// `None` of an event that is of no interest, such as another group id.
    reported: Option<ProcessEvent>,
}

/// Reads a message; `None` where it is none of the proc connector, or of another layout.
fn parse(message: &NetlinkMessage<'_>) -> Option<Event> {
    let body = message.body;
    let number_at = |offset| field(body, offset).map(u32::from_ne_bytes);
    let length = usize::from(u16::from_ne_bytes(field(body, 16)?));
    if message.kind != TYPE_CONNECTOR || number_at(0)? != INDEX || number_at(4)? != VALUE {
        return None;
    }
    let number = number_at(8)?;
    let event = body.get(CONNECTOR_HEADER_BYTES..)?.get(..length)?;
    if length < MIN_EVENT_BYTES {
        return None;
    }
    let (header, details) = event.split_at_checked(EVENT_HEADER_BYTES)?;
    let pid_at =
        |place: usize| field(details, 4 * place).map(i32::from_ne_bytes).filter(|&pid| pid >= 0);
    let mut answer = None;
    let kind = match u32::from_ne_bytes(field(header, 0)?) {
        WHAT_NONE => {
            answer = Some(field(details, 0).map(i32::from_ne_bytes)?);
            None
        }
        WHAT_FORK => Some(EventKind::Fork { parent: pid_at(1)?, tid: pid_at(2)?, pid: pid_at(3)? }),
        WHAT_EXEC => Some(EventKind::Exec { pid: pid_at(1)? }),
        WHAT_COMM => {
            let name: [u8; COMM_BYTES] = field(details, 8)?;
            let end = name.iter().position(|&byte| byte == 0).unwrap_or(COMM_BYTES);
            let comm = Comm::new(name.get(..end)?);
            Some(EventKind::Rename { tid: pid_at(0)?, pid: pid_at(1)?, comm })
        }
        WHAT_UID => {
            let uid = u32::from_ne_bytes(field(details, 12)?);
            Some(EventKind::User { tid: pid_at(0)?, pid: pid_at(1)?, uid })
        }
        WHAT_EXIT => Some(EventKind::Exit { pid: pid_at(1)? }),
        _ => None,
    };
    let monotonic_ns = u64::from_ne_bytes(field(header, 8)?);
    let cpu = u32::from_ne_bytes(field(header, 4)?);
    let reported = kind.map(|kind| ProcessEvent { monotonic_ns, kind });
    Some(Event { cpu, number, answer, reported })
}

/// Reads every event in `bytes`, and counts what is missing between them.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_events(bytes: &[u8]) {
    let mut numbers = Numbers::default();
    for event in messages(bytes).filter_map(|message| parse(&message)) {
        numbers.lost_before(event.cpu, event.number);
        if let Some(ProcessEvent { kind: EventKind::Fork { parent, tid, pid }, .. }) =
            event.reported
        {
            assert!(parent >= 0 && tid >= 0 && pid >= 0);
        }
        assert!(numbers.0.len() <= MAX_CPUS);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn body(number: u32, what: u32, details: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        for word in [INDEX, VALUE, number, 0] {
            body.extend_from_slice(&word.to_ne_bytes());
        }
        body.extend_from_slice(&(MIN_EVENT_BYTES as u16).to_ne_bytes());
        body.extend_from_slice(&[0; 2]);
        body.extend_from_slice(&what.to_ne_bytes());
        // The CPU.
        body.extend_from_slice(&3_u32.to_ne_bytes());
        body.extend_from_slice(&77_u64.to_ne_bytes());
        body.extend_from_slice(details);
        body.resize(CONNECTOR_HEADER_BYTES + MIN_EVENT_BYTES, 0);
        body
    }

    fn pids(pids: &[i32]) -> Vec<u8> {
        pids.iter().flat_map(|pid| pid.to_ne_bytes()).collect()
    }

    #[track_caller]
    fn check(what: u32, details: &[u8], expected: Option<EventKind>) {
        let body = body(9, what, details);
        let event = parse(&NetlinkMessage { kind: TYPE_CONNECTOR, body: &body }).unwrap();
        assert_eq!((event.cpu, event.number), (3, 9));
        assert_eq!(event.reported, expected.map(|kind| ProcessEvent { monotonic_ns: 77, kind }));
    }

    #[test]
    fn fields_are_where_the_kernel_has_them() {
        let fork = EventKind::Fork { parent: 11, tid: 20, pid: 21 };
        check(WHAT_FORK, &pids(&[10, 11, 20, 21]), Some(fork));
        check(WHAT_EXEC, &pids(&[30, 31]), Some(EventKind::Exec { pid: 31 }));
        check(WHAT_EXIT, &pids(&[40, 41, 256, 17, 1, 1]), Some(EventKind::Exit { pid: 41 }));
        let rename = |name: &[u8]| {
            let comm = Comm::new(name);
            Some(EventKind::Rename { tid: 50, pid: 51, comm })
        };
        check(WHAT_COMM, &[&pids(&[50, 51])[..], b"a b)\0rest"].concat(), rename(b"a b)"));
        let whole = b"0123456789abcdef";
        check(WHAT_COMM, &[&pids(&[50, 51])[..], whole].concat(), rename(whole));
        let user = EventKind::User { tid: 60, pid: 61, uid: u32::MAX - 1 };
        check(WHAT_UID, &pids(&[60, 61, 0, -2]), Some(user));
        // A change of the group id, and what later kernels may add.
        check(0x40, &pids(&[60, 61]), None);
        check(0x2000_0000, &pids(&[60, 61]), None);
    }

    #[test]
    fn another_layout_or_another_speaker_is_refused() {
        let good = body(1, WHAT_EXEC, &pids(&[1, 1]));
        let refused = |kind, body: &[u8]| parse(&NetlinkMessage { kind, body }).is_none();
        assert!(!refused(TYPE_CONNECTOR, &good));
        assert!(refused(2, &good));
        for (offset, byte) in [(0, 2), (4, 2), (16, MIN_EVENT_BYTES as u8 - 1), (16, 200)] {
            let mut bad = good.clone();
            bad[offset] = byte;
            assert!(refused(TYPE_CONNECTOR, &bad), "{offset}: {byte}");
        }
        let negative = body(1, WHAT_FORK, &pids(&[1, 1, -5, 1]));
        assert!(refused(TYPE_CONNECTOR, &negative));
    }

    #[test]
    fn the_clock_of_another_time_namespace_is_measured() {
        assert_eq!(clock_offset_ns(150, 100, 200), 0);
        assert_eq!(clock_offset_ns(150, 100_100, 100_200), 99_950);
        assert_eq!(clock_offset_ns(100_150, 100, 200), -100_050);
    }

    #[test]
    fn what_is_lost_is_the_gaps_in_the_numbers_of_each_cpu() {
        let mut numbers = Numbers::default();
        let mut lost = |cpu, number| numbers.lost_before(cpu, number);
        assert_eq!((lost(0, 100), lost(1, 7)), (0, 0));
        assert_eq!((lost(0, 101), lost(1, 10)), (0, 2));
        // It begins again from 0, and a number that goes back is one fault.
        assert_eq!((lost(2, u32::MAX - 1), lost(2, u32::MAX), lost(2, 0)), (0, 0, 0));
        assert_eq!((lost(1, 9), lost(1, 10)), (1, 0));
        assert_eq!(lost(MAX_CPUS as u32, 0), 1);
    }

    proptest! {
        #[test]
        fn a_message_that_is_cut_off_is_refused(length in 0..CONNECTOR_HEADER_BYTES + MIN_EVENT_BYTES) {
            let whole = body(1, WHAT_FORK, &pids(&[1, 1, 2, 2]));
            let message = NetlinkMessage { kind: TYPE_CONNECTOR, body: &whole[..length] };
            prop_assert_eq!(parse(&message), None);
        }
    }
}
