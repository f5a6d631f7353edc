//! What images had at most that an exec replaced, by what the kernel noted at the exec, as it says at a later exec or at the
//! end.

use std::collections::HashMap;
use std::io;

use arrow_array::types::{Int32Type, Int64Type};

use crate::columns::{known, numbers};
use crate::recording::{ImageRow, Recording};

/// What the images of a recording say of those before them.
#[derive(Default)]
pub(super) struct Replaced {
    /// By pid and start: the execs before an image, and what those images had at most, in bytes.
    noted: HashMap<(i32, u64), Vec<(i32, u64)>>,
}

impl Replaced {
    /// Nothing is known where the processes were not read by BPF.
    pub(super) fn read(recording: &Recording) -> io::Result<Self> {
        let mut replaced = Self::default();
        for batch in recording.read_table("processes", &COLUMNS) {
            let batch = batch?;
            // A recording of an older version lacks it.
            let Ok(bytes) = numbers::<Int64Type>(&batch, "replaced_max_rss_bytes") else {
                continue;
            };
            let (pid, exec) =
                (numbers::<Int32Type>(&batch, "pid")?, numbers::<Int32Type>(&batch, "exec")?);
            let start_ns = numbers::<Int64Type>(&batch, "start_ns")?;
            for row in 0..batch.num_rows() {
                if let Some(bytes) = known(bytes, row) {
                    let process = (pid.value(row), start_ns.value(row).unsigned_abs());
                    replaced.note(process, exec.value(row), bytes);
                }
            }
        }
        for batch in recording.read_table("exits", &["pid", "start_ns", "process_max_rss_bytes"]) {
            let batch = batch?;
            // As above.
            let Ok(bytes) = numbers::<Int64Type>(&batch, "process_max_rss_bytes") else { continue };
            let pid = numbers::<Int32Type>(&batch, "pid")?;
            let start_ns = numbers::<Int64Type>(&batch, "start_ns")?;
            for row in 0..batch.num_rows() {
                if let Some(bytes) = known(bytes, row) {
                    let process = (pid.value(row), start_ns.value(row).unsigned_abs());
                    replaced.note(process, AT_EXIT, bytes);
                }
            }
        }
        Ok(replaced)
    }

    fn note(&mut self, process: (i32, u64), exec: i32, bytes: u64) {
        self.noted.entry(process).or_default().push((exec, bytes));
    }

    /// Returns what an image had at most, in bytes, by what any image after it says, or the end of the process.
    pub(super) fn max_rss_bytes(&self, row: &ImageRow) -> Option<u64> {
        let noted = self.noted.get(&(row.pid, row.start_ns))?;
        let later = noted.iter().filter(|(exec, _)| *exec > row.exec);
        later.map(|&(_, bytes)| bytes).min()
    }

    /// Returns what all images before one had at most, in bytes, by what it says itself.
    pub(super) fn max_rss_bytes_before(&self, row: &ImageRow) -> Option<u64> {
        let noted = self.noted.get(&(row.pid, row.start_ns))?;
        // At the end all images were before.
        let own = noted.iter().find(|(exec, _)| *exec == row.exec);
        let at_exit = || noted.iter().find(|(exec, _)| *exec == AT_EXIT);
        own.or_else(at_exit).map(|&(_, bytes)| bytes)
    }
}

/// In place of the execs before an image: the end of the process.
const AT_EXIT: i32 = i32::MAX;

const COLUMNS: [&str; 4] = ["pid", "start_ns", "exec", "replaced_max_rss_bytes"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_image_that_says_it_bounds_those_before_it() {
        let mut replaced = Replaced::default();
        replaced.note((7, 0), 1, 500);
        replaced.note((7, 0), 3, 800);
        let row = |exec, start_ns| ImageRow { exec, start_ns, ..ImageRow::unseen(0, 7, 1) };
        let of = |replaced: &Replaced, exec| replaced.max_rss_bytes(&row(exec, 0));
        assert_eq!(
            [0, 1, 2, 3].map(|exec| of(&replaced, exec)),
            [Some(500), Some(800), Some(800), None]
        );
        assert_eq!(replaced.max_rss_bytes_before(&row(3, 0)), Some(800));
        assert_eq!(replaced.max_rss_bytes_before(&row(2, 0)), None);
        // The end of the process bounds what no later image does.
        replaced.note((7, 0), AT_EXIT, 900);
        assert_eq!([2, 3].map(|exec| of(&replaced, exec)), [Some(800), Some(900)]);
        assert_eq!(replaced.max_rss_bytes_before(&row(2, 0)), Some(900));
        assert_eq!(replaced.max_rss_bytes_before(&row(3, 0)), Some(800));
        // Another process that has the pid later.
        assert_eq!(replaced.max_rss_bytes(&row(0, 5)), None);
    }
}
