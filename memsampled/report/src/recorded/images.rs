//! The process images of a recording, with their roles.

use std::collections::HashMap;
use std::io;

use arrow_array::types::{Int64Type, TimestampMillisecondType as Millisecond};
use memsample::Recording;
use memsample::columns::{known, numbers, strings};

/// A process image, as far as a stack by role needs it.
pub(super) struct Image {
    pub(super) process: u64,
    /// The position of its role in [`Images::roles`].
    pub(super) role: usize,
    pub(super) first_ms: i64,
    pub(super) last_ms: i64,
    /// The largest sampled resident set, in bytes; 0 of an image without samples.
    pub(super) rss_max_bytes: u64,
}

/// All images of a recording.
#[derive(Default)]
pub(super) struct Images {
    pub(super) roles: Vec<String>,
    pub(super) images: Vec<Image>,
}

impl Images {
    pub(super) fn read(recording: &Recording) -> io::Result<Self> {
        const COLUMNS: [&str; 5] = ["process", "role", "first_ts", "last_ts", "rss_max_bytes"];
        let mut images = Self::default();
        let mut places: HashMap<String, usize> = HashMap::new();
        for batch in recording.read_table("processes", &COLUMNS) {
            let batch = batch?;
            let (process, largest) =
                (numbers::<Int64Type>(&batch, "process")?, numbers(&batch, "rss_max_bytes")?);
            let times = |name| numbers::<Millisecond>(&batch, name);
            let (first, last) = (times("first_ts")?, times("last_ts")?);
            let roles = strings(&batch, "role")?;
            for row in 0..batch.num_rows() {
                let name = roles.value(row);
                let role = match places.get(name) {
                    Some(role) => *role,
                    None => {
                        places.insert(name.to_owned(), images.roles.len());
                        images.roles.push(name.to_owned());
                        images.roles.len() - 1
                    }
                };
                images.images.push(Image {
                    process: process.value(row).unsigned_abs(),
                    role,
                    first_ms: first.value(row),
                    last_ms: last.value(row),
                    rss_max_bytes: known(largest, row).unwrap_or(0),
                });
            }
        }
        Ok(images)
    }
}
