//! What the memory of processes consists of at a tick.

use std::io;

use arrow_array::types::Int64Type;
use arrow_array::{PrimitiveArray, RecordBatch};
use jiff::Timestamp;

use crate::columns::{known, numbers};

/// The parts of the memory at the tick with the largest sample, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Composition {
    /// The planned instant of the tick.
    pub ts: Timestamp,
    /// Resident.
    pub rss_bytes: u64,
    /// Resident anonymous memory; `None` where it was not read, like the following parts.
    pub anon_bytes: Option<u64>,
    /// Resident pages of files.
    pub file_bytes: Option<u64>,
    /// Resident shared memory.
    pub shmem_bytes: Option<u64>,
    /// In swap, and so not resident.
    pub swap_bytes: Option<u64>,
}

impl Composition {
    /// Returns the sum of no process, to which others are added.
    pub(super) fn of_none(ts: Timestamp) -> Self {
        let none = Some(0);
        Self {
            ts,
            rss_bytes: 0,
            anon_bytes: none,
            file_bytes: none,
            shmem_bytes: none,
            swap_bytes: none,
        }
    }

    /// Adds what another process has at the same tick. A part that is not known of one is not known of the sum.
    pub(super) fn add(&mut self, other: &Self) {
        self.rss_bytes = self.rss_bytes.saturating_add(other.rss_bytes);
        for (sum, part) in [
            (&mut self.anon_bytes, other.anon_bytes),
            (&mut self.file_bytes, other.file_bytes),
            (&mut self.shmem_bytes, other.shmem_bytes),
            (&mut self.swap_bytes, other.swap_bytes),
        ] {
            *sum = sum.zip(part).map(|(sum, bytes)| sum.saturating_add(bytes));
        }
    }
}

/// The columns of a batch of `samples` that tell the parts.
pub(super) struct Parts<'a> {
    rss: &'a PrimitiveArray<Int64Type>,
    anon: &'a PrimitiveArray<Int64Type>,
    file: &'a PrimitiveArray<Int64Type>,
    shmem: &'a PrimitiveArray<Int64Type>,
    swap: &'a PrimitiveArray<Int64Type>,
}

impl<'a> Parts<'a> {
    /// Takes the columns out of a batch.
    ///
    /// # Errors
    ///
    /// The batch lacks one.
    pub(super) fn of(batch: &'a RecordBatch) -> io::Result<Self> {
        let column = |name| numbers::<Int64Type>(batch, name);
        Ok(Self {
            rss: column("rss_bytes")?,
            anon: column("anon_bytes")?,
            file: column("file_bytes")?,
            shmem: column("shmem_bytes")?,
            swap: column("swap_bytes")?,
        })
    }

    /// Returns the resident set in a row.
    pub(super) fn rss_bytes(&self, row: usize) -> u64 {
        known(self.rss, row).unwrap_or(0)
    }

    /// Returns the parts in a row, which is of the tick `ts`.
    pub(super) fn at(&self, row: usize, ts: Timestamp) -> Composition {
        Composition {
            ts,
            rss_bytes: self.rss_bytes(row),
            anon_bytes: known(self.anon, row),
            file_bytes: known(self.file, row),
            shmem_bytes: known(self.shmem, row),
            swap_bytes: known(self.swap, row),
        }
    }
}
