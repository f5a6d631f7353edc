//! What a person reads of a comparison or a trend: text for a terminal, Markdown for a pull request.

mod markdown;
mod text;
mod trend;
pub mod wording;

pub use markdown::markdown;
pub use text::text;
pub use trend::{trend_markdown, trend_text};
