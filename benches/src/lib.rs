//! What the benchmarks share: a population of processes, CPU clocks, and tables.
//!
//! `make bench` runs them and keeps what they print in `results/`.

mod cpu;
mod population;
mod program;
mod table;

pub use cpu::{cpu_seconds_of_thread, cpu_seconds_when_ended, median};
pub use population::Population;
pub use program::{memsample, memsampled, raise_descriptor_limit};
pub use table::Table;
