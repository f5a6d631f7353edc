//! A report, or a comparison, as one HTML file.
//!
//! It is complete without scripts and without styles: Jenkins serves it under a policy that allows neither, nor images
//! in the file. So pictures are SVG by presentation attributes, in the colours that the page has (`currentColor`), and
//! all else is tables and `details`. Scripts only add to it.
//!
//! ```text
//! frame ─▶ shapes ─▶ chart ─▶ machine, processes, tests, compared ─▶ page
//! ```

mod anchor;
mod axis;
mod chart;
mod colours;
mod compared;
mod environment;
mod frame;
mod interactive;
mod machine;
mod numbers;
mod page;
mod processes;
mod sampling;
mod shapes;
mod stack;
mod test;
mod test_table;

pub use compared::{comparison_html, comparison_parts};
pub use page::html;
