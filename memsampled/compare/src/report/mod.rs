//! What a person reads of a comparison: text for a terminal, Markdown for a pull request.

mod markdown;
mod text;
mod wording;

pub use markdown::markdown;
pub use text::text;
