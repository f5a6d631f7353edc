//! What an array of rows, or a ring of ends, holds as bytes: what a fuzzer makes up.

use crate::each_task::settle;
use crate::end::End;
use crate::ring::{PlainRing, drain};
use crate::row::Row;

/// Reads as many rows as there are bytes for, as a pass reads them where threads have rows of their own.
#[must_use]
pub fn rows_of(bytes: &[u8]) -> Vec<Row> {
    let (mut rows, mut threads, mut met) = (Vec::new(), Vec::new(), Vec::new());
    let written = bytes.as_chunks::<{ size_of::<Row>() }>().0.iter().map(row_of);
    settle(written, &mut rows, &mut threads, &mut met);
    rows
}

/// Reads a ring, whose positions come first, as long as it moves on, and returns what it held.
#[must_use]
pub fn ends_of(bytes: &[u8]) -> Vec<End> {
    let mut words = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_ne_bytes(*word));
    let (consumed, produced) = (words.next().unwrap_or(0), words.next().unwrap_or(0));
    let ring = PlainRing { words: words.collect(), consumed: consumed.into(), produced };
    let mut ends = Vec::new();
    drain(&ring, |words| ends.push(End::from_words(words)));
    // Each record takes room, and no place is left behind that is not the kernel's.
    assert!(ring.consumed.get() <= produced.max(consumed) && ends.len() <= ring.words.len());
    ends
}

/// Reads the fields one after the other.
fn row_of(bytes: &[u8; size_of::<Row>()]) -> Row {
    let mut rest = Fields(bytes);
    Row {
        pid: rest.u32(),
        parent: rest.u32(),
        kind: rest.u32(),
        threads: rest.u32(),
        start_ns: rest.u64(),
        comm: rest.take(),
        file_pages: rest.u64(),
        anon_pages: rest.u64(),
        shmem_pages: rest.u64(),
        swap_pages: rest.u64(),
        hiwater_rss_pages: rest.u64(),
        total_vm_pages: rest.u64(),
        data_vm_pages: rest.u64(),
        stack_vm_pages: rest.u64(),
        exec_vm_pages: rest.u64(),
        start_code: rest.u64(),
        end_code: rest.u64(),
        start_stack: rest.u64(),
        page_table_bytes: rest.u64(),
        hugetlb_pages: rest.u64(),
        minor_faults: rest.u64(),
        major_faults: rest.u64(),
        utime_ns: rest.u64(),
        stime_ns: rest.u64(),
        runtime_ns: rest.u64(),
        shown_utime_ns: rest.u64(),
        shown_stime_ns: rest.u64(),
        maxrss_pages: rest.u64(),
        state: rest.u32(),
        euid: rest.u32(),
        sequence: rest.u32(),
        groups: rest.u32(),
    }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const BYTES: usize>(&mut self) -> [u8; BYTES] {
        let (taken, rest) = self.0.split_first_chunk().unwrap_or((&[0; BYTES], &[]));
        self.0 = rest;
        *taken
    }

    fn u32(&mut self) -> u32 {
        u32::from_ne_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_ne_bytes(self.take())
    }
}
