//! `/proc/[pid]/mountinfo`: what is mounted where, as a process sees it.

use crate::error::ParseError;

use super::scan::next_line;

/// One line of `/proc/[pid]/mountinfo`.
///
/// Paths are as the kernel prints them; [`decode_path`] decodes them. Kernel source: `show_mountinfo` in
/// `fs/proc_namespace.c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountEntry<'a> {
    /// The directory of the file system that is mounted, encoded. A path of cgroups is relative to the cgroup
    /// namespace of the reader, so it may begin with `/..`.
    pub root: &'a [u8],
    /// Where it is mounted, relative to the root of the process, encoded.
    pub mount_point: &'a [u8],
    /// The type of the file system, such as `cgroup2`.
    pub fs_type: &'a [u8],
    /// The options of the file system, separated by commas.
    pub super_options: &'a [u8],
}

impl<'a> MountEntry<'a> {
    /// Iterates over the options of the file system: each name, with what follows its `=`.
    pub fn options(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        self.super_options.split(|&byte| byte == b',').map(|option| {
            let mut parts = option.splitn(2, |&byte| byte == b'=');
            (parts.next().unwrap_or_default(), parts.next())
        })
    }

    fn parse(line: &'a [u8]) -> Result<Self, ParseError> {
        let mut fields = line.split(|&byte| byte == b' ');
        let mut next = |field| fields.next().ok_or(ParseError::missing(field));
        for skipped in ["mount ID", "parent ID", "major:minor"] {
            next(skipped)?;
        }
        let (root, mount_point) = (next("root")?, next("mount point")?);
        next("mount options")?;
        // Any number of optional fields ends with a single hyphen.
        while next("separator")? != b"-" {}
        let fs_type = next("filesystem type")?;
        next("mount source")?;
        Ok(Self { root, mount_point, fs_type, super_options: next("super options")? })
    }
}

/// Iterates over the lines of `/proc/[pid]/mountinfo`.
///
/// Each malformed line is one [`ParseError`]; the lines behind it are still read.
pub fn parse_mountinfo(bytes: &[u8]) -> impl Iterator<Item = Result<MountEntry<'_>, ParseError>> {
    let mut rest = bytes;
    std::iter::from_fn(move || next_line(&mut rest)).map(MountEntry::parse)
}

/// Decodes a path of mountinfo: the kernel prints a space, a tab, a newline and a backslash as a backslash and
/// three octal digits.
pub fn decode_path(encoded: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let mut rest = encoded;
    std::iter::from_fn(move || {
        let digit = |byte: &u8| (b'0'..=b'7').contains(byte).then(|| u32::from(byte - b'0'));
        let (byte, left) = match rest {
            [b'\\', a, b, c, left @ ..]
                if let (Some(a), Some(b), Some(c)) = (digit(a), digit(b), digit(c))
                    && let Ok(byte) = u8::try_from(a * 64 + b * 8 + c) =>
            {
                (byte, left)
            }
            [byte, left @ ..] => (*byte, left),
            [] => return None,
        };
        rest = left;
        Some(byte)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn optional_fields_may_be_there_or_not() {
        let text = b"33 29 0:28 / /a rw,relatime shared:9 master:2 - cgroup cgroup rw,cpu,memory\n\
                     33 29 0:28 /.. /b rw - proc none rw,hidepid=2\n";
        let entries: Vec<_> = parse_mountinfo(text).map(Result::unwrap).collect();
        let (fs_type, super_options) = (&b"cgroup"[..], &b"rw,cpu,memory"[..]);
        assert_eq!(
            entries[0],
            MountEntry { root: b"/", mount_point: b"/a", fs_type, super_options }
        );
        assert_eq!((entries[1].root, entries[1].mount_point), (&b"/.."[..], &b"/b"[..]));
        let options: Vec<_> = entries[1].options().collect();
        assert_eq!(options, [(&b"rw"[..], None), (b"hidepid", Some(&b"2"[..]))]);
    }

    #[test]
    fn a_malformed_line_does_not_hide_the_next() {
        let text = b"33 29 0:28 / / rw shared:9\n\nx\n33 29 0:28 / /b rw - proc none rw";
        let entries: Vec<_> = parse_mountinfo(text).collect();
        assert!(entries[..3].iter().all(Result::is_err), "{entries:?}");
        assert_eq!(entries[3].unwrap().mount_point, b"/b");
    }

    #[test]
    fn escapes_are_decoded_and_all_else_is_kept() {
        for (encoded, path) in [
            (&br"/a\040b\011\012\134"[..], &b"/a b\t\n\\"[..]),
            (br"/plain", b"/plain"),
            (br"\04", br"\04"),
            (br"\048", br"\048"),
            (br"\777", br"\777"),
            (br"\\040", br"\ "),
            (b"", b""),
        ] {
            assert_eq!(decode_path(encoded).collect::<Vec<_>>(), path);
        }
    }
}
