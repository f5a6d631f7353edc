//! Names that nobody can know before they are made.

use std::ffi::{OsStr, OsString};
use std::hash::{BuildHasher, Hasher as _, RandomState};
use std::os::unix::ffi::OsStrExt as _;

const PREFIX: &[u8] = b".";
const SUFFIX: &[u8] = b".tmp";
/// Hexadecimal digits of 64 random bits, with the dot before them.
const RANDOM_BYTES: usize = 17;

/// Returns a hidden name that begins with `.NAME.`, so that `*.parquet` does not match it.
pub(crate) fn temporary_name(name: &OsStr) -> OsString {
    // The keys of each are random, and so is what they make of nothing.
    let random = RandomState::new().build_hasher().finish();
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{random:016x}.tmp"));
    temporary
}

/// Returns whether a name is one under which a file was written by a program that was killed before the file had
/// its own.
#[must_use]
pub fn is_temporary(name: &OsStr) -> bool {
    let name = name.as_bytes().strip_prefix(PREFIX).and_then(|name| name.strip_suffix(SUFFIX));
    name.and_then(|name| name.split_at_checked(name.len().checked_sub(RANDOM_BYTES)?)).is_some_and(
        |(_, random)| match random.split_first() {
            Some((b'.', digits)) => digits.iter().all(u8::is_ascii_hexdigit),
            _ => false,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_name_is_known_again_and_no_other_is() {
        let names: std::collections::HashSet<_> =
            (0..1000).map(|_| temporary_name(OsStr::new("samples.parquet"))).collect();
        assert_eq!(names.len(), 1000);
        assert!(names.iter().all(|name| is_temporary(name)));
        for name in
            ["samples.parquet", ".samples.parquet.tmp", ".tmp", "", ".x.0123456789abcdeg.tmp"]
        {
            assert!(!is_temporary(OsStr::new(name)), "{name}");
        }
    }
}
