//! The lower layer.
pub(crate) struct Row;
