//! What a recording says over time.
//!
//! ```text
//! columns ─▶ images ─▶ roles ─▶ timeline
//!        └─▶ machine, marks, limits, sampling
//! ```

mod images;
pub mod limits;
pub mod machine;
pub mod marks;
mod roles;
pub mod sampling;
pub mod timeline;
