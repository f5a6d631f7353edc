//! The CPUs that this machine can have.

use std::fs;
use std::io;

/// The most that the program has room for. As in `program/kept.h`.
pub(crate) const MAX_CPUS: usize = 4096;
const POSSIBLE: &str = "/sys/devices/system/cpu/possible";

/// Returns the numbers of the possible CPUs, ascending. They do not change while the kernel runs.
///
/// # Errors
///
/// The file cannot be read, or is no list of CPUs.
pub(crate) fn possible_cpus() -> io::Result<Vec<u32>> {
    let list = fs::read_to_string(POSSIBLE)?;
    parse_list(list.trim_end())
        .ok_or_else(|| io::Error::other(format!("{POSSIBLE} is no list of CPUs: {list:?}")))
}

/// Parses a list such as `0-3,8,10-11`.
fn parse_list(list: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        cpus.extend(first.parse::<u32>().ok()?..=last.parse().ok()?);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_read() {
        assert_eq!(parse_list("0"), Some(vec![0]));
        assert_eq!(parse_list("0-3,8,10-11"), Some(vec![0, 1, 2, 3, 8, 10, 11]));
        assert_eq!(parse_list(""), None);
        assert_eq!(parse_list("0-"), None);
    }
}
