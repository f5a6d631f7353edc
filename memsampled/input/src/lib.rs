//! What a person writes and the programs read: times and sizes, always with a unit, and files with their mistakes. And
//! what a person reads: sizes and counts, names that are safe on a terminal or in Markdown and fit into its columns.
//!
//! Files with secrets are read here too, and errors told with their causes.
//!
//! The feature `tables` adds tables for a terminal, which not all who read times and sizes print.
//!
//! Options of the command line, suite files, policies, the configuration and the HTTP interface read times and sizes
//! here. Suite files, policies and the configuration report their mistakes by [`Problems`].
#![forbid(unsafe_code)]

mod ascii;
mod byte_size;
mod causes;
mod column_block;
mod count;
mod file;
mod markdown;
mod printable;
mod problem;
mod rounded_size;
mod secret_file;
mod source;
mod span;
#[cfg(feature = "tables")]
pub mod table;
mod width;

pub use ascii::ascii;
pub use byte_size::ByteSize;
pub use causes::with_causes;
pub use column_block::column_block;
pub use count::count;
pub use file::FileKind;
pub use markdown::markdown_escaped;
pub use printable::printable;
pub use problem::{InputError, Problem, Problems, quoted};
pub use rounded_size::rounded_size;
pub use secret_file::{SecretFile, SecretFileError};
pub use source::{Location, Source};
pub use span::Span;
pub use width::{clipped, cut, folded, last, shortened};
