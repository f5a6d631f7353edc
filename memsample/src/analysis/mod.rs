//! Answers from a recording: nothing here reads anything but its Parquet files and `recording.json`.

mod growth;
mod largest;
mod lives;
mod peaks;
mod role_peaks;
mod sampled_images;
mod test_of_image;
mod test_spans;
mod tests;

pub use largest::{LargestProcess, largest_processes};
pub use peaks::{Bound, Composition, ProcessPeak, Source, counter_error_bytes, process_peaks};
pub use role_peaks::{RolePeak, role_peaks, test_peaks};
pub use test_of_image::EXEC_MARK;
pub use tests::{SumPeak, TestRole, TestUsage, test_usages};
