//! What a person writes and the programs read: times and sizes, always with a unit.
#![forbid(unsafe_code)]

pub mod quantity;
mod span;

pub use span::Span;
