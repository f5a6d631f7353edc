//! The end of the output of a test.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// The end of what a test wrote, as text.
pub(super) struct OutputTail {
    /// Without escape sequences; what is not UTF-8 is replaced.
    pub(super) text: String,
    /// Bytes of the file before it.
    pub(super) before_bytes: u64,
}

impl OutputTail {
    /// Reads at most the last `max_bytes` of a file, from the beginning of a line if there is one.
    ///
    /// `None` where nothing was written, or nothing can be read: the file is named beside it.
    pub(super) fn read(path: &Path, max_bytes: u64) -> Option<Self> {
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
}
