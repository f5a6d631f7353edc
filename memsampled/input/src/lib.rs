//! What a person writes and the programs read: times and sizes, always with a unit.
//!
//! Options of the command line, suite files, policies, the configuration and the HTTP interface all read them here.
#![forbid(unsafe_code)]

mod byte_size;
mod span;

pub use byte_size::ByteSize;
pub use span::Span;
