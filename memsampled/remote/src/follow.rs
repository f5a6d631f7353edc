//! What a run on a device prints, by the offset of each byte.

use std::mem;

/// Maximum length of a line between pieces.
const MAX_HEAD: usize = 64;

/// What was followed so far. It is kept over cut connections: what is told again has another offset.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    /// All of it.
    pub(crate) stdout: Vec<u8>,
    /// Bytes that were taken.
    pub(crate) stderr_bytes: u64,
    /// The last line of stderr, which has no end yet.
    partial: Vec<u8>,
    pub(crate) end: Option<End>,
}

/// How the run on the device ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Exited(i32),
    /// It is no longer there, and has left no exit code.
    Gone,
}

/// Reads what one connection prints: lines with a letter, and behind some the bytes that they announce.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    head: Vec<u8>,
    /// What is announced: whether of stderr, and how many bytes.
    announced: Option<(bool, u64)>,
    /// Words that are none of ours: this connection is not to be believed any more.
    is_broken: bool,
    /// It has told for as long as it may, and is to be asked again.
    pub(crate) is_to_be_renewed: bool,
}

impl Reader {
    /// Takes bytes as they come, and tells whole lines of stderr.
    pub(crate) fn take(
        &mut self,
        mut bytes: &[u8],
        followed: &mut Followed,
        line: &mut dyn FnMut(&[u8]),
    ) {
        while !bytes.is_empty() && !self.is_broken {
            if let Some((is_stderr, left)) = self.announced {
                let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                let (piece, rest) = bytes.split_at(count);
                followed.add(is_stderr, piece, line);
                let left = left - count as u64;
                self.announced = (left > 0).then_some((is_stderr, left));
                bytes = rest;
                continue;
            }
            let Some(feed) = bytes.iter().position(|&byte| byte == b'\n') else {
                self.head.extend_from_slice(bytes);
                self.is_broken = self.head.len() > MAX_HEAD;
                return;
            };
            let (head, rest) = bytes.split_at(feed);
            self.head.extend_from_slice(head);
            bytes = rest.get(1..).unwrap_or_default();
            let head = mem::take(&mut self.head);
            self.obey(&head, followed);
        }
    }

    fn obey(&mut self, head: &[u8], followed: &mut Followed) {
        let head = String::from_utf8_lossy(head);
        let mut words = head.split_whitespace();
        let (letter, number) = (words.next(), words.next());
        let bytes = number.and_then(|number| number.parse::<u64>().ok()).filter(|&bytes| bytes > 0);
        match (letter, bytes) {
            (Some("P"), _) => {}
            (Some("A"), None) => self.is_to_be_renewed = true,
            (Some("O"), Some(bytes)) => self.announced = Some((false, bytes)),
            (Some("E"), Some(bytes)) => self.announced = Some((true, bytes)),
            (Some("G"), _) => followed.end = Some(End::Gone),
            (Some("X"), _) => match number.and_then(|number| number.parse().ok()) {
                Some(code) => followed.end = Some(End::Exited(code)),
                None => self.is_broken = true,
            },
            _ => self.is_broken = true,
        }
    }
}

impl Followed {
    fn add(&mut self, is_stderr: bool, piece: &[u8], line: &mut dyn FnMut(&[u8])) {
        if !is_stderr {
            self.stdout.extend_from_slice(piece);
            return;
        }
        self.stderr_bytes += piece.len() as u64;
        self.partial.extend_from_slice(piece);
        let Some(last) = self.partial.iter().rposition(|&byte| byte == b'\n') else { return };
        let rest = self.partial.split_off(last + 1);
        let whole = mem::replace(&mut self.partial, rest);
        for told in whole.strip_suffix(b"\n").unwrap_or(&whole).split(|&byte| byte == b'\n') {
            line(told);
        }
    }

    /// Tells a last line that has no end.
    pub(crate) fn finish(&mut self, line: &mut dyn FnMut(&[u8])) {
        if !self.partial.is_empty() {
            line(&mem::take(&mut self.partial));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the script prints for a stderr of which `from` bytes are known.
    fn said(stderr: &[u8], from: u64) -> Vec<u8> {
        let rest = stderr.get(usize::try_from(from).unwrap_or(0)..).unwrap_or_default();
        let mut said = b"P\n".to_vec();
        for piece in rest.chunks(5) {
            said.extend_from_slice(format!("E {}\n", piece.len()).as_bytes());
            said.extend_from_slice(piece);
        }
        said.extend_from_slice(b"O 3\nabcX 10\n");
        said
    }

    #[test]
    fn a_cut_anywhere_loses_no_line_and_tells_none_twice() {
        let stderr = b"one\ntwo E 5\n\nX 3\nlast";
        let whole = said(stderr, 0).len();
        for cut in 0..whole - "O 3\nabcX 10\n".len() {
            let (mut followed, mut lines) = (Followed::default(), Vec::new());
            let mut line = |bytes: &[u8]| lines.push(bytes.to_vec());
            let first = said(stderr, 0);
            Reader::default().take(first.get(..cut).unwrap_or_default(), &mut followed, &mut line);
            let mut reader = Reader::default();
            for byte in said(stderr, followed.stderr_bytes) {
                reader.take(&[byte], &mut followed, &mut line);
            }
            followed.finish(&mut line);
            assert_eq!(lines.join(&b'\n'), stderr, "cut at {cut}");
            assert_eq!(followed.stdout, b"abc");
            assert_eq!(followed.end, Some(End::Exited(10)));
        }
    }

    #[test]
    fn what_is_no_word_of_ours_ends_nothing() {
        let mut followed = Followed::default();
        let mut reader = Reader::default();
        reader.take(b"Welcome!\nX 0\n", &mut followed, &mut |_| {});
        assert_eq!(followed.end, None);
        assert!(reader.is_broken);
    }
}
