//! The end of what a program wrote.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use memsample_input::printable;

/// Lines that are shown of a stream.
const SHOWN_LINES: usize = 10;
/// Characters of such a line.
const SHOWN_CHARS: usize = 200;
/// Bytes in which they are looked for.
const SHOWN_BYTES: u64 = 4096;

/// The end of what a program wrote, as text.
pub(crate) struct OutputTail {
    /// Without escape sequences; what is not UTF-8 is replaced.
    pub(crate) text: String,
    /// Bytes of the file before it.
    pub(crate) before_bytes: u64,
}

impl OutputTail {
    /// Reads at most the last `max_bytes` of a file, from the beginning of a line if there is one.
    ///
    /// `None` where nothing was written, or nothing can be read: the file is named beside it.
    pub(crate) fn read(path: &Path, max_bytes: u64) -> Option<Self> {
        let mut file = File::open(path).ok()?;
        let size_bytes = file.metadata().ok()?.len();
        let mut before_bytes = size_bytes.saturating_sub(max_bytes);
        file.seek(SeekFrom::Start(before_bytes)).ok()?;
        let mut bytes = Vec::new();
        file.take(max_bytes).read_to_end(&mut bytes).ok()?;
        if before_bytes > 0
            && let Some(end) = bytes.iter().position(|&byte| byte == b'\n')
            && end + 1 < bytes.len()
        {
            bytes.drain(..=end);
            before_bytes += end as u64 + 1;
        }
        if bytes.is_empty() {
            return None;
        }
        let text = String::from_utf8_lossy(&bytes);
        let text = anstream::adapter::strip_str(&text).to_string();
        // A progress bar that goes back to the beginning of its line.
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        Some(Self { text, before_bytes })
    }

    /// Returns the last lines of a file, indented below a line with its name; nothing where nothing was written.
    pub(crate) fn last_lines(path: &Path, name: &str) -> Vec<String> {
        let Some(tail) = Self::read(path, SHOWN_BYTES) else { return Vec::new() };
        let text: Vec<&str> = tail.text.trim_end().lines().collect();
        let (more, last) = match text.len().checked_sub(SHOWN_LINES) {
            Some(first) if first > 0 => (true, text.get(first..).unwrap_or_default()),
            _ => (tail.before_bytes > 0, text.as_slice()),
        };
        let mut lines = vec![format!("    {}{name}", if more { "… " } else { "" })];
        for line in last {
            let cut: String = line.chars().take(SHOWN_CHARS).collect();
            let cut = printable(&cut.replace('\t', "    "));
            let more = if line.chars().nth(SHOWN_CHARS).is_some() { "…" } else { "" };
            lines.push(format!("    | {cut}{more}"));
        }
        lines
    }
}
