//! Which process a number belongs to.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::units::ClockTicks;

/// The number that a sampler gives to a process image: a process from its start, or from an exec, to
/// its end or to the next exec.
///
/// Never used twice by one sampler. A pid alone identifies nothing, since the kernel uses it again.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct ProcessId(pub u64);

/// A command name, as `stat` prints it: at most 15 bytes for a user process, any byte but NUL.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(into = "Vec<u8>", from = "Vec<u8>")]
pub struct Comm {
    length: u8,
    bytes: [u8; Self::MAX_BYTES],
}

impl Comm {
    /// The longest name that is kept; the kernel prints up to 63 bytes for its own threads.
    pub const MAX_BYTES: usize = 63;

    /// Copies `name`, cut at [`MAX_BYTES`](Self::MAX_BYTES).
    #[must_use]
    pub fn new(name: &[u8]) -> Self {
        let mut bytes = [0; Self::MAX_BYTES];
        let name = name.get(..Self::MAX_BYTES).unwrap_or(name);
        for (to, from) in bytes.iter_mut().zip(name) {
            *to = *from;
        }
        Self { length: name.len() as u8, bytes }
    }

    /// Returns the bytes of the name.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

impl From<Comm> for Vec<u8> {
    fn from(comm: Comm) -> Self {
        comm.as_bytes().to_vec()
    }
}

impl From<Vec<u8>> for Comm {
    fn from(name: Vec<u8>) -> Self {
        Self::new(&name)
    }
}

impl PartialEq for Comm {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Comm {}

impl fmt::Display for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text(self.as_bytes()))
    }
}

impl fmt::Debug for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Comm({self})")
    }
}

/// What is known of a process image: read when it is first seen; user, control group, arguments and role again later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The number that samples carry.
    pub process: ProcessId,
    /// The process id, in the pid namespace of the `/proc` that is read.
    pub pid: i32,
    /// When the process began, since boot; with the boot id and the pid it names the process.
    pub start: ClockTicks,
    /// The same in nanoseconds, with the resolution of the tick.
    pub start_ns: u64,
    /// How many execs of this process have been seen before this image: 0 for the first.
    pub exec: u32,
    /// The process id of the parent that forked the process, where the kernel reported the fork; else of
    /// the one it had when it was first seen. An exec does not change it.
    pub ppid: i32,
    /// The effective user id; `None` where `status` could not be read.
    pub uid: Option<u32>,
    /// The command name when the image was first seen.
    pub comm: Comm,
    /// The path of the executable; `None` where the kernel refuses to tell.
    pub exe: Option<Vec<u8>>,
    /// The arguments, each ended by a NUL byte, cut at [`MAX_CMDLINE_BYTES`](Self::MAX_CMDLINE_BYTES).
    /// Empty where they are not known, and where they are left out.
    pub cmdline: Vec<u8>,
    /// The control group: in the v1 memory hierarchy where there is one, else in v2.
    pub cgroup: Option<Vec<u8>>,
    /// Whether it was seen to move into another control group since the image began.
    pub moved: bool,
    /// What the process does, by a name that is the same in the next run: that of the first rule that
    /// fits, or else [`role`](crate::role()).
    pub role: String,
    /// The most that the images of this process before this one had resident, in bytes, and what an image had that a
    /// fork or vfork began with the memory of another process, as the kernel noted it at each exec; `None` where that was
    /// not read.
    pub replaced_max_rss_bytes: Option<u64>,
    /// The image that had its memory map first, of those that shared it when it was first looked at, and itself if it had one
    /// of its own; `None` where that was not compared.
    pub memory_map: Option<ProcessId>,
}

impl Identity {
    /// How much of the arguments is kept. The kernel allows megabytes.
    pub const MAX_CMDLINE_BYTES: usize = 4096;

    /// Returns the arguments with a space between them.
    #[must_use]
    pub fn cmdline_text(&self) -> String {
        Self::command(&self.cmdline)
    }

    /// Returns arguments, each ended by a NUL byte, with a space between them; cut where they are too
    /// long.
    pub(crate) fn command(arguments: &[u8]) -> String {
        let kept = arguments.get(..Self::MAX_CMDLINE_BYTES).unwrap_or(arguments);
        let mut line = Self::whole_command(kept);
        if kept.len() >= Self::MAX_CMDLINE_BYTES {
            line.push('…');
        }
        line
    }

    /// Returns the same of all arguments, however long they are.
    pub(crate) fn whole_command(arguments: &[u8]) -> String {
        let end = arguments.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        text(arguments.get(..end).unwrap_or_default()).replace('\0', " ")
    }

    /// Returns about how much memory the identity takes, in bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        let heap = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::capacity);
        size_of::<Self>()
            + heap(&self.exe)
            + self.cmdline.capacity()
            + heap(&self.cgroup)
            + self.role.capacity()
    }
}

#[cfg(test)]
impl Identity {
    /// One of which little is known.
    pub(crate) fn of(process: u64, pid: i32) -> Self {
        Self {
            process: ProcessId(process),
            pid,
            start: ClockTicks(0),
            start_ns: 0,
            exec: 0,
            ppid: 0,
            uid: None,
            comm: Comm::new(b"x"),
            exe: None,
            cmdline: Vec::new(),
            cgroup: None,
            moved: false,
            role: String::new(),
            replaced_max_rss_bytes: None,
            memory_map: None,
        }
    }
}

/// Returns bytes of the kernel as text: each byte that is not UTF-8 as `\x` and two digits.
///
/// Parquet's strings must be UTF-8, and the usual replacement character would make different names
/// equal.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_names_stay_different() {
        assert_eq!(text(b"caf\xc3\xa9"), "café");
        assert_eq!(text(b"a\xff\xfeb"), "a\\xff\\xfeb");
        assert_ne!(text(b"\xff"), text(b"\xfe"));
    }

    #[test]
    fn a_long_name_is_cut() {
        let name = [b'x'; 100];
        assert_eq!(Comm::new(&name).as_bytes(), &name[..Comm::MAX_BYTES]);
        assert_eq!(Comm::new(b"sh"), Comm::new(b"sh"));
        assert_ne!(Comm::new(b"sh"), Comm::new(b"s"));
    }

    #[test]
    fn arguments_are_separated_by_spaces() {
        let identity =
            |cmdline: &[u8]| Identity { cmdline: cmdline.to_vec(), ..Identity::of(0, 1) };
        assert_eq!(identity(b"a\0b c\0\0").cmdline_text(), "a b c");
        assert_eq!(identity(b"").cmdline_text(), "");
        assert!(identity(&[b'a'; Identity::MAX_CMDLINE_BYTES]).cmdline_text().ends_with('…'));
    }
}
