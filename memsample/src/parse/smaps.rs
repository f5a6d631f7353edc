//! `/proc/[pid]/smaps`: the memory of each mapping.

use super::scan::{Tokens, kibibytes, next_line};
use crate::error::ParseError;
use crate::units::Kibibytes;

/// One mapping of a process, from `/proc/[pid]/smaps`.
///
/// Kernel source: `show_smap` in `fs/proc/task_mmu.c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping<'a> {
    /// What is mapped, as the kernel prints it: a path, with ` (deleted)` behind a file that is gone,
    /// or a name such as `[heap]`. Empty for anonymous memory.
    pub path: &'a [u8],
    /// The size of the range of addresses.
    pub size: Kibibytes,
    /// Resident set.
    pub rss: Kibibytes,
    /// Proportional set: each page divided by the number of processes that map it. Early 2.6 kernels
    /// lack it, as they do `Anonymous` and `Swap`.
    pub pss: Option<Kibibytes>,
    /// `Private_Clean`: resident pages that only this process maps, unchanged since read from disk.
    pub private_clean: Kibibytes,
    /// `Private_Dirty`: resident pages that only this process maps, changed.
    pub private_dirty: Kibibytes,
    /// `Anonymous`: resident pages of no file.
    pub anonymous: Option<Kibibytes>,
    /// Swapped-out pages, each counted in full.
    pub swap: Option<Kibibytes>,
    /// Swapped-out pages, each divided by its users (since Linux 4.3).
    pub swap_pss: Option<Kibibytes>,
    /// The size of its pages: that of a page of the machine, but for huge pages of hugetlbfs.
    pub kernel_page_size: Option<Kibibytes>,
}

impl Mapping<'_> {
    /// Returns the unique set: what would be freed if the process ended now.
    ///
    /// `None` where the sum does not fit in 64 bits.
    #[must_use]
    pub const fn uss(&self) -> Option<Kibibytes> {
        match self.private_clean.0.checked_add(self.private_dirty.0) {
            Some(sum) => Some(Kibibytes(sum)),
            None => None,
        }
    }
}

/// Parses the contents of `/proc/[pid]/smaps`, mapping by mapping.
///
/// A file without a mapping is empty: that of a process that ends, or of a kernel thread.
#[must_use]
pub fn parse_smaps(bytes: &[u8]) -> Smaps<'_> {
    Smaps { rest: bytes }
}

/// The mappings of a process, by ascending address.
///
/// After an error it is at its end, since the next mapping could only be guessed.
#[derive(Clone, Debug)]
pub struct Smaps<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Smaps<'a> {
    type Item = Result<Mapping<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        let header = next_line(&mut self.rest)?;
        let mapping = mapped_path(header)
            .ok_or(ParseError::missing("address range"))
            .and_then(|path| self.sizes(path));
        if mapping.is_err() {
            self.rest = &[];
        }
        Some(mapping)
    }
}

impl<'a> Smaps<'a> {
    /// Reads the lines behind the header of a mapping, up to the next header.
    fn sizes(&mut self, path: &'a [u8]) -> Result<Mapping<'a>, ParseError> {
        let mut size = None;
        let mut rss = None;
        let mut pss = None;
        let mut private_clean = None;
        let mut private_dirty = None;
        let mut anonymous = None;
        let mut swap = None;
        let mut swap_pss = None;
        let mut kernel_page_size = None;
        loop {
            let mut rest = self.rest;
            let Some(line) = next_line(&mut rest) else {
                break;
            };
            if mapped_path(line).is_some() {
                break;
            }
            self.rest = rest;
            let Some(colon) = memchr::memchr(b':', line) else {
                continue;
            };
            let (key, value) = line.split_at(colon);
            let value = value.get(1..).unwrap_or_default();
            match key {
                b"Size" => size = Some(kibibytes(value, "Size")?),
                b"Rss" => rss = Some(kibibytes(value, "Rss")?),
                b"Pss" => pss = Some(kibibytes(value, "Pss")?),
                b"Private_Clean" => private_clean = Some(kibibytes(value, "Private_Clean")?),
                b"Private_Dirty" => private_dirty = Some(kibibytes(value, "Private_Dirty")?),
                b"Anonymous" => anonymous = Some(kibibytes(value, "Anonymous")?),
                b"Swap" => swap = Some(kibibytes(value, "Swap")?),
                b"SwapPss" => swap_pss = Some(kibibytes(value, "SwapPss")?),
                b"KernelPageSize" => {
                    kernel_page_size = Some(kibibytes(value, "KernelPageSize")?);
                }
                _ => {}
            }
        }
        Ok(Mapping {
            path,
            size: size.ok_or(ParseError::missing("Size"))?,
            rss: rss.ok_or(ParseError::missing("Rss"))?,
            pss,
            private_clean: private_clean.ok_or(ParseError::missing("Private_Clean"))?,
            private_dirty: private_dirty.ok_or(ParseError::missing("Private_Dirty"))?,
            anonymous,
            swap,
            swap_pss,
            kernel_page_size,
        })
    }
}

/// Returns the path in the first line of a mapping, such as
/// `7f01-7f02 r-xp 00001000 fd:01 1234      /usr/lib/a b.so`; `None` for any other line.
///
/// A path may hold blanks, and the kernel writes a newline in it as `\012`.
fn mapped_path(line: &[u8]) -> Option<&[u8]> {
    let mut tokens = Tokens::new(line);
    let range = tokens.next()?;
    let dash = range.iter().position(|&byte| byte == b'-')?;
    let is_hex = |digits: &[u8]| !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
    if !is_hex(range.get(..dash)?) || !is_hex(range.get(dash + 1..)?) {
        return None;
    }
    // Permissions, offset, device and inode.
    tokens.skip(4, "inode").ok()?;
    Some(tokens.rest().trim_ascii_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &[u8] = b"\
55e0d0a00000-55e0d0a02000 r--p 00000000 fd:01 1234                       /opt/a b/prog (deleted)\n\
Size:                  8 kB\nKernelPageSize:        4 kB\nRss:                   8 kB\n\
Pss:                   4 kB\nPss_Dirty:             0 kB\nPrivate_Clean:         1 kB\n\
Private_Dirty:         2 kB\nSwap:                  3 kB\nSwapPss:               2 kB\n\
THPeligible:           0\nVmFlags: rd mr mw me \n\
7ffc0000-7ffc1000 rw-p 00000000 00:00 0 \n\
Size:                  4 kB\nRss:                   0 kB\nPss:                   0 kB\n\
Private_Clean:         0 kB\nPrivate_Dirty:         0 kB\nVmFlags: rd\n";

    #[test]
    fn each_range_is_a_mapping() {
        let mappings: Vec<_> = parse_smaps(SMAPS).collect::<Result<_, _>>().unwrap();
        let [file, anonymous] = mappings[..] else { panic!("{mappings:?}") };
        assert_eq!(file.path, b"/opt/a b/prog (deleted)");
        assert_eq!(
            (file.size, file.rss, file.pss),
            (Kibibytes(8), Kibibytes(8), Some(Kibibytes(4)))
        );
        assert_eq!(file.uss(), Some(Kibibytes(3)));
        assert_eq!((file.swap, file.swap_pss), (Some(Kibibytes(3)), Some(Kibibytes(2))));
        assert_eq!((anonymous.path, anonymous.size), (&b""[..], Kibibytes(4)));
        assert_eq!(anonymous.swap, None);
        assert_eq!(file.kernel_page_size, Some(Kibibytes(4)));
        assert_eq!(parse_smaps(b"").count(), 0);
    }

    #[test]
    fn an_error_is_the_last_item() {
        let cut = &SMAPS[..SMAPS.len() - 40];
        let outcomes: Vec<_> = parse_smaps(cut).map(|mapping| mapping.is_ok()).collect();
        assert_eq!(outcomes, [true, false]);
        let outcomes: Vec<_> = parse_smaps(b"Rss: 1 kB\n1-2 r--p 0 0 0\n").collect();
        assert_eq!(outcomes, [Err(ParseError::missing("address range"))]);
    }
}
