//! Recordings made of recordings, for others: a span of one, or one without names.
//!
//! ```text
//! tables of a recording ─ rows, batch by batch ─▶ kept, changed ─▶ tables of another one
//! ```
//!
//! Both stream: memory grows with the processes and not with the samples. The new recording is written under a hidden
//! name and has its own only when it is whole.

mod anonymize;
mod columns;
mod cut;
mod cut_image;
mod draft;
mod error;
mod pseudonyms;

pub use anonymize::{anonymize, anonymize_test_tables};
pub use cut::cut;
pub use error::ExcerptError;
pub use pseudonyms::{KeyError, Pseudonyms};
