//! What the fuzzers call, and nothing else.

use crate::batch::Batch;
use crate::events::{read_events, read_exits};
use crate::journal::{JournalReader, read_contents};

/// Reads a journal to its end, and returns how many batches it has.
pub fn journal(bytes: &[u8]) -> usize {
    let Ok((_, mut journal)) = JournalReader::open(bytes) else { return 0 };
    let (mut batch, mut batches) = (Batch::default(), 0);
    while journal.next(&mut batch).unwrap_or(false) {
        batch.clear();
        batches += 1;
    }
    batches
}

/// Returns what [`journal_contents`] reads, of a journal; `None` of what is none.
pub fn contents_of_journal(bytes: &[u8]) -> Option<Vec<u8>> {
    let (_, mut journal) = JournalReader::open(bytes).ok()?;
    let opening = journal.contents();
    let mut input = u16::try_from(opening.len()).ok()?.to_le_bytes().to_vec();
    input.extend_from_slice(opening);
    let mut batch = Batch::default();
    while journal.next(&mut batch).unwrap_or(false) {
        input.extend_from_slice(journal.contents());
    }
    Some(input)
}

/// Reads a capture of smemcap.
pub fn capture(bytes: &[u8]) {
    crate::import::read_bytes(bytes);
}

/// Reads a ring of the ends of processes that a BPF program wrote.
///
/// # Panics
///
/// More was read than the ring holds.
pub fn bpf_ends(bytes: &[u8]) {
    for end in memsample_bpf::ends_of(bytes) {
        assert!(end.resident_pages() >= end.anon_pages);
    }
}

/// Reads rows that a BPF program wrote, as a sweep does.
///
/// # Panics
///
/// The CPU time of a process that is read twice shrinks.
pub fn bpf_rows(bytes: &[u8]) {
    crate::sampler::read_any_rows(&memsample_bpf::rows_of(bytes));
}

/// Reads exit records, as the kernel sends them.
pub fn exits(bytes: &[u8]) {
    read_exits(bytes);
}

/// Reads events of the proc connector, as the kernel sends them.
pub fn process_events(bytes: &[u8]) {
    read_events(bytes);
}

/// Reads the contents of blocks: an opening, whose length is in the first two bytes, and a batch.
///
/// # Panics
///
/// What was read and written again is not what is read then.
pub fn journal_contents(bytes: &[u8]) {
    let Some((&[low, high], rest)) = bytes.split_first_chunk() else {
        return;
    };
    let opening = rest.len().min(usize::from(u16::from_le_bytes([low, high])));
    let (opening, contents) = rest.split_at(opening);
    read_contents(opening, contents);
}
