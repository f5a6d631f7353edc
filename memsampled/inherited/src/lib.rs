//! What a program inherits from who starts it: standard streams, the locale, ignored signals, limits, the place of PID 1.
//!
//! None of it is under our control: a stream may be closed, full, read slowly, read no more, or not block; a signal may
//! be ignored; there may be room for twelve descriptors, or for no thread. What the program does must not depend on it
//! where it need not, and what is lost is said.

mod advice;
mod arrivals;
mod heap;
mod init;
mod locale;
mod log;
mod patience;
mod queue;
mod room;
mod signals;
mod stack;
mod streams;

pub use advice::advice;
pub use arrivals::ArrivingSignals;
pub use heap::{share_one_heap, share_one_heap_if_limited};
pub use init::{is_init, run_below_init};
pub use locale::is_utf8;
pub use log::{LogOf, start_log};
pub use patience::patience;
pub use queue::{Queue, QueueWriter};
pub use room::{too_few_descriptors, too_little_memory};
pub use signals::{is_ignored, learn_ends_of_children, outlive_soft_limits};
pub use stack::with_enough_stack;
pub use streams::{harmless, lost, print, print_text, tell, write_whole};
