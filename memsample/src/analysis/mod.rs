//! Answers from a recording. Reads nothing but its Parquet files and `recording.json`.
//!
//! ```text
//! bound, composition ─▶ largest, sampled_image ─▶ process_peaks
//!                   sampled_image ─▶ lifetimes, upper_sum ─▶ role_peaks
//!             sweep_windows ─▶ pss_sums, process_family ─┴▶ test_attempt ─▶ test_sums
//! span_marks ─▶ test_spans, marked_spans
//! marked_spans, process_trees, composition ─▶ marked_sums ─▶ marked_tests
//! test_membership, largest, test_sums ─▶ launched_command
//! both_at_once ─▶ role_peaks
//! test_membership, test_spans, sampled_image ─▶ attempt_roles; lifetimes, tick_series ─▶ sums_over_time
//! ```

mod attempt_roles;
mod borrowed_maps;
mod both_at_once;
mod bound;
mod composition;
mod forked_memory;
mod growth;
mod largest;
mod launched_command;
mod lifetimes;
mod limits_left;
mod marked_spans;
mod marked_sums;
mod marked_tests;
mod pressure;
mod process_family;
mod process_peaks;
mod process_trees;
mod pss_sums;
mod reaped;
mod recorded_images;
mod recorded_marks;
mod replaced;
mod role_peaks;
mod role_sums;
mod sampled_image;
mod shared_maps;
mod slope;
mod span_marks;
mod sums_over_time;
mod sweep_windows;
mod test_attempt;
mod test_membership;
mod test_pss;
mod test_spans;
mod test_sums;
mod test_usage;
mod tick_series;
mod unattributed;
mod unseen_images;
mod upper_sum;

pub use attempt_roles::{AttemptRole, attempt_roles, recording_roles};
pub use both_at_once::both_at_once;
pub use bound::{Bound, Source, counter_error_bytes, counter_error_of_kernel};
pub use composition::Composition;
pub use largest::{LargestProcess, largest_processes, largest_processes_of_test};
pub use launched_command::{COMMAND_MARK, LaunchedCommand, command_labels, launched_command};
pub use limits_left::left_to_limits;
pub use marked_spans::{ATTEMPT_MARK, EndWithoutBegin, attempt_mark};
pub use marked_tests::{Covers, MarkedTest, MarkedTests, marked_tests};
pub use pressure::pressure_between;
pub use process_peaks::{ProcessPeak, process_peaks};
pub use reaped::reaped_label;
pub use recorded_images::{RecordedImage, for_each_image};
pub use recorded_marks::{RecordedMark, for_each_mark};
pub use role_peaks::{RolePeak, role_peaks, test_peaks};
pub use shared_maps::{CountedOnce, SharedMaps};
pub use span_marks::MarkedState;
pub use sums_over_time::{
    GroupMemory, MemorySums, TickInstant, sums_between, sums_over_time, tick_instants,
};
pub use test_membership::EXEC_MARK;
pub use test_pss::{PssMissing, PssPeak};
pub use test_sums::test_usages;
pub use test_usage::{SumPeak, TestRole, TestUsage, UnboundedImage, pss_of_attempts};
