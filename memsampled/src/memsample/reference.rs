//! How a person names one of several recordings or runs: by how many are newer, or by a name without its time.

use std::sync::LazyLock;

use regex::Regex;

/// Returns how many are newer than the one that is meant by what stands behind `@`: `latest` or `-1`.
pub(crate) fn back(reference: &str) -> Option<usize> {
    match reference {
        "latest" => Some(0),
        number => number.strip_prefix('-')?.parse().ok(),
    }
}

/// Returns whether a recording or a run has this name, with or without the time behind it.
pub(crate) fn is_named(name: &str, typed: &str) -> bool {
    name == typed || without_time(name) == Some(typed)
}

/// Returns a name without the time behind it, which it has from `--name` or its suite.
fn without_time(name: &str) -> Option<&str> {
    static TIME: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"^(.+)-\d{8}T\d{6}Z(-\d+)?$").ok());
    Some(TIME.as_ref()?.captures(name)?.get(1)?.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_have_a_time_behind_it() {
        assert_eq!(without_time("nightly-20261128T173000Z"), Some("nightly"));
        assert_eq!(without_time("a-b-20261128T173000Z-2"), Some("a-b"));
        assert_eq!(without_time("20261128T173000Z"), None);
        assert_eq!(without_time("nightly"), None);
    }

    #[test]
    fn references_count_back_from_the_latest() {
        assert_eq!([back("latest"), back("-1"), back("-12")], [Some(0), Some(1), Some(12)]);
        assert_eq!([back(""), back("1"), back("--1"), back("newest")], [None; 4]);
    }
}
