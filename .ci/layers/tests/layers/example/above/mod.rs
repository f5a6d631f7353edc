//! The upper layer, which passes names on.
mod first;
mod second;
pub(crate) use first::First;
pub(crate) use second::Second;
