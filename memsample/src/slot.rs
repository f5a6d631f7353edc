//! The number of a process image in the tables of a writer.

use serde::{Deserialize, Serialize};

/// Where a process image stands in the tables of the writer: a small number, used again when the
/// image has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Slot(pub(crate) u32);
