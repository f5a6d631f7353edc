//! The memory of the process that a mark is about, read when the mark is set.

use crate::parse::parse_status;
use crate::proc::{ProcRoot, ReadBuffer};
use crate::schema::marks::MarkedProcess;
use crate::units::Kibibytes;

/// Reads the memory of a process from `status`. Nothing is known of a process that is gone, was not reaped yet,
/// is a thread of the kernel, or may not be looked at.
///
/// It is `status` and not `statm`, since it has the high-water mark too, of the same instant. To read it takes
/// about 15 us, and no lock of the process's memory map, so that it cannot wait.
pub(super) fn read(root: &ProcRoot, pid: i32) -> MarkedProcess {
    let unknown = MarkedProcess { pid, rss_bytes: None, anon_bytes: None, hwm_bytes: None };
    let mut buffer = ReadBuffer::new();
    let opened = root.open_process(pid).and_then(|process| process.open_file(c"status"));
    let Ok(bytes) = opened.and_then(|file| buffer.read_piece(file)) else { return unknown };
    let Ok(status) = parse_status(bytes) else { return unknown };
    let bytes = |size: Option<Kibibytes>| size.and_then(Kibibytes::bytes);
    MarkedProcess {
        rss_bytes: bytes(status.vm_rss),
        anon_bytes: bytes(status.rss_anon),
        hwm_bytes: bytes(status.vm_hwm),
        ..unknown
    }
}
