//! What a person writes and the programs read: times and sizes, always with a unit.
#![forbid(unsafe_code)]

mod printable;
pub mod quantity;
mod size;
mod span;

pub use printable::printable;
pub use size::rounded_size;
pub use span::Span;
