//! What happened to a test of a run, or to a recording, in plain words: why it ended, who was largest then and what had
//! grown, what the limits were, what changed against another run, and what was not seen.
//!
//! ```text
//! Results ─▶ subject: which attempt, and why it ended ─┐
//! Recording ─▶ last_second: the largest processes ─────┼─▶ Explanation ─▶ text
//! Recording ─▶ limits: of groups and of the machine ───┘
//! ```
#![forbid(unsafe_code)]

mod change;
mod explanation;
mod kills;
mod last_second;
mod limits;
mod subject;
mod text;

pub use change::{Change, RoleChange};
pub use explanation::{
    Before, ExplainError, Explanation, FORMAT_VERSION, Question, explain, explain_recording,
};
pub use last_second::LargeProcess;
pub use limits::LimitThen;
pub use text::text;
