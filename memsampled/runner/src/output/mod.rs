//! What a program of a run wrote: its end, and the line that says most.

mod tail;
mod telling_line;

pub(crate) use tail::OutputTail;
pub(crate) use telling_line::telling_line;
