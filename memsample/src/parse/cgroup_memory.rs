//! The memory files of a control group, of both versions.

use serde::{Deserialize, Serialize};

use super::scan::{Tokens, next_line, number};
use crate::error::ParseError;

/// What the memory of a control group and of those below it is used for, in bytes, from `memory.stat`.
///
/// A line that this kernel does not print is `None`.
/// Kernel source: `memory_stat_format` in `mm/memcontrol.c`, `memcg1_stat_format` in
/// `mm/memcontrol-v1.c`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupStat {
    /// Anonymous memory: `anon`, in v1 `total_rss`.
    pub anon_bytes: Option<u64>,
    /// Page cache, with tmpfs and shared memory: `file`, in v1 `total_cache`.
    pub file_bytes: Option<u64>,
    /// Of that, tmpfs and shared memory: `shmem`, in v1 `total_shmem` (since 4.19).
    pub shmem_bytes: Option<u64>,
    /// Of that, what processes map: `file_mapped`, in v1 `total_mapped_file`.
    pub file_mapped_bytes: Option<u64>,
    /// What the kernel took for the group: `kernel` (since 5.18). Not in the file of v1.
    pub kernel_bytes: Option<u64>,
    /// Buffers of network sockets: `sock`. Not in the file of v1.
    pub sock_bytes: Option<u64>,
    /// Swapped-out memory, only in v1 and where swap is accounted for: `total_swap`.
    pub swap_bytes: Option<u64>,
    /// The smallest limit of the group and of all above it, also where those cannot be seen; only in
    /// v1: `hierarchical_memory_limit`. `None` where there is none.
    pub hierarchical_limit_bytes: Option<u64>,
}

/// Parses `memory.stat` of cgroup v2.
///
/// # Errors
///
/// [`ParseError`] names a known line whose value is not a number, or `anon` where there is none.
pub fn parse_cgroup_stat(bytes: &[u8]) -> Result<CgroupStat, ParseError> {
    let mut stat = CgroupStat::default();
    let mut rest = bytes;
    while let Some(line) = next_line(&mut rest) {
        let mut tokens = Tokens::new(line);
        match tokens.next() {
            Some(b"anon") => stat.anon_bytes = Some(tokens.number("anon")?),
            Some(b"file") => stat.file_bytes = Some(tokens.number("file")?),
            Some(b"shmem") => stat.shmem_bytes = Some(tokens.number("shmem")?),
            Some(b"file_mapped") => stat.file_mapped_bytes = Some(tokens.number("file_mapped")?),
            Some(b"kernel") => stat.kernel_bytes = Some(tokens.number("kernel")?),
            Some(b"sock") => stat.sock_bytes = Some(tokens.number("sock")?),
            _ => {}
        }
    }
    stat.anon_bytes.ok_or(ParseError::missing("anon"))?;
    Ok(stat)
}

/// Parses `memory.stat` of cgroup v1: the lines that count the groups below it too, as v2 does.
///
/// # Errors
///
/// [`ParseError`] names a known line whose value is not a number, or `total_rss` where there is none.
pub fn parse_cgroup_stat_v1(bytes: &[u8]) -> Result<CgroupStat, ParseError> {
    let mut stat = CgroupStat::default();
    let mut rest = bytes;
    while let Some(line) = next_line(&mut rest) {
        let mut tokens = Tokens::new(line);
        match tokens.next() {
            Some(b"total_rss") => stat.anon_bytes = Some(tokens.number("total_rss")?),
            Some(b"total_cache") => stat.file_bytes = Some(tokens.number("total_cache")?),
            Some(b"total_shmem") => stat.shmem_bytes = Some(tokens.number("total_shmem")?),
            Some(b"total_mapped_file") => {
                stat.file_mapped_bytes = Some(tokens.number("total_mapped_file")?);
            }
            Some(b"total_swap") => stat.swap_bytes = Some(tokens.number("total_swap")?),
            Some(b"hierarchical_memory_limit") => {
                stat.hierarchical_limit_bytes =
                    limit_of(tokens.number("hierarchical_memory_limit")?);
            }
            _ => {}
        }
    }
    stat.anon_bytes.ok_or(ParseError::missing("total_rss"))?;
    Ok(stat)
}

/// How often a control group reached a limit of its memory, and what followed.
///
/// A line that this kernel does not print is `None`.
/// Kernel source: `__memory_events_show` in `mm/memcontrol.c`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupEvents {
    /// It was reclaimed from although below `memory.low`.
    pub low: Option<u64>,
    /// Its processes were throttled, being above `memory.high`.
    pub high: Option<u64>,
    /// It was about to go above its limit.
    pub max: Option<u64>,
    /// It could not be kept below its limit, and an allocation failed or somebody was killed.
    pub oom: Option<u64>,
    /// Its processes that were killed by the OOM killer.
    pub oom_kill: Option<u64>,
}

/// Parses `memory.events` of cgroup v2.
///
/// # Errors
///
/// [`ParseError`] names a known line whose value is not a number, or `max` where there is none.
pub fn parse_cgroup_events(bytes: &[u8]) -> Result<CgroupEvents, ParseError> {
    let mut events = CgroupEvents::default();
    let mut rest = bytes;
    while let Some(line) = next_line(&mut rest) {
        let mut tokens = Tokens::new(line);
        match tokens.next() {
            Some(b"low") => events.low = Some(tokens.number("low")?),
            Some(b"high") => events.high = Some(tokens.number("high")?),
            Some(b"max") => events.max = Some(tokens.number("max")?),
            Some(b"oom") => events.oom = Some(tokens.number("oom")?),
            Some(b"oom_kill") => events.oom_kill = Some(tokens.number("oom_kill")?),
            _ => {}
        }
    }
    events.max.ok_or(ParseError::missing("max"))?;
    Ok(events)
}

/// Parses `memory.oom_control` of cgroup v1 and returns how many processes of the group were killed
/// by the OOM killer; `None` before Linux 4.13.
///
/// Kernel source: `mem_cgroup_oom_control_read` in `mm/memcontrol-v1.c`.
///
/// # Errors
///
/// [`ParseError`] names a known line whose value is not a number, or `under_oom` where there is none.
pub fn parse_cgroup_oom_control(bytes: &[u8]) -> Result<Option<u64>, ParseError> {
    let (mut oom_kill, mut under_oom) = (None, None);
    let mut rest = bytes;
    while let Some(line) = next_line(&mut rest) {
        let mut tokens = Tokens::new(line);
        match tokens.next() {
            Some(b"oom_kill") => oom_kill = Some(tokens.number("oom_kill")?),
            Some(b"under_oom") => under_oom = Some(tokens.number("under_oom")?),
            _ => {}
        }
    }
    under_oom.ok_or(ParseError::missing("under_oom"))?;
    Ok(oom_kill)
}

/// Parses a file of a control group that holds one number, such as `memory.current`.
///
/// # Errors
///
/// [`ParseError`] where it holds none.
pub fn parse_cgroup_number(bytes: &[u8]) -> Result<u64, ParseError> {
    number(bytes, "value")
}

/// Parses a limit, such as `memory.max` or `memory.limit_in_bytes`; `None` where there is none.
///
/// # Errors
///
/// [`ParseError`] where it is neither a number nor `max`.
pub fn parse_cgroup_limit(bytes: &[u8]) -> Result<Option<u64>, ParseError> {
    let mut tokens = Tokens::new(bytes);
    match tokens.next() {
        Some(b"max") => Ok(None),
        _ => number(bytes, "limit").map(limit_of),
    }
}

/// v1 prints as "no limit" the largest number that is a whole number of pages, whatever their size.
fn limit_of(bytes: u64) -> Option<u64> {
    (bytes < 1 << 62).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v1_counts_the_groups_below_too() {
        let text = b"cache 1\nrss 2\nrss_huge 0\nhierarchical_memory_limit 9223372036854771712\n\
                     total_cache 30\ntotal_rss 40\ntotal_rss_huge 7\ntotal_shmem 5\ntotal_mapped_file 6\n";
        let stat = parse_cgroup_stat_v1(text).unwrap();
        let expected = CgroupStat {
            anon_bytes: Some(40),
            file_bytes: Some(30),
            shmem_bytes: Some(5),
            file_mapped_bytes: Some(6),
            ..CgroupStat::default()
        };
        assert_eq!(stat, expected);
        assert_eq!(parse_cgroup_stat(text), Err(ParseError::missing("anon")));
    }

    #[test]
    fn v2_names_are_whole_words() {
        let text =
            b"anon 10\nfile 20\nkernel 30\nkernel_stack 1\nsock 7\nshmem 5\nfile_mapped 6\nanon_thp 9\n";
        let stat = parse_cgroup_stat(text).unwrap();
        assert_eq!((stat.anon_bytes, stat.file_bytes), (Some(10), Some(20)));
        assert_eq!((stat.kernel_bytes, stat.swap_bytes), (Some(30), None));
        assert_eq!(stat.sock_bytes, Some(7));
        assert_eq!(parse_cgroup_stat_v1(text), Err(ParseError::missing("total_rss")));
        assert!(parse_cgroup_stat(b"anon many").is_err());
    }

    #[test]
    fn no_limit_has_two_spellings() {
        for (text, expected) in [
            (&b"max\n"[..], None),
            (b"9223372036854771712\n", None),
            (b"9223372036854710272\n", None),
            (b"104857600\n", Some(104_857_600)),
            (b"0\n", Some(0)),
        ] {
            assert_eq!(parse_cgroup_limit(text), Ok(expected));
        }
        for text in [&b""[..], b"\n", b"maximum", b"-1", b"1.5"] {
            assert!(parse_cgroup_limit(text).is_err());
        }
    }

    #[test]
    fn events_are_counted_in_two_files() {
        let text = b"low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\noom_group_kill 6\n";
        let events = parse_cgroup_events(text).unwrap();
        assert_eq!((events.max, events.oom, events.oom_kill), (Some(3), Some(4), Some(5)));
        assert_eq!(parse_cgroup_events(b"low 0\n"), Err(ParseError::missing("max")));
        let text = b"oom_kill_disable 0\nunder_oom 0\noom_kill 7\n";
        assert_eq!(parse_cgroup_oom_control(text), Ok(Some(7)));
        assert_eq!(parse_cgroup_oom_control(b"oom_kill_disable 0\nunder_oom 0\n"), Ok(None));
        assert!(parse_cgroup_oom_control(b"").is_err());
    }
}
