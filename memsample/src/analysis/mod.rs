//! Answers from a recording: nothing here reads anything but its Parquet files and `run.json`.

mod growth;
mod lives;
mod peaks;
mod role_peaks;
mod sampled_images;
mod test_spans;
mod tests;

pub use peaks::{Bound, Composition, ProcessPeak, Source, counter_error_bytes, process_peaks};
pub use role_peaks::{RolePeak, role_peaks};
pub use tests::{SumPeak, TestRole, TestUsage, test_usages};
