//! Reads the memory of all processes in one pass of a BPF program.
//!
//! [`Walk::load`] loads the program in the best [`Form`] that the kernel takes, or says why it takes none. [`Walk::pass`]
//! runs it once: it comes to all processes in the kernel and writes a [`Row`] for each, which costs a third of what reading
//! `statm` of each costs.
//! [`Ends::load`] loads another one, which the kernel calls at the end of each process: it notes an [`End`] for it.
//! [`have_one_map`] asks the kernel, without BPF, whether two processes have one memory map.
//! What is read, from which member of which structure of the kernel, is in `docs/bpf.md`.
//!
//! The crate holds unsafe code, since `bpf(2)` and `mmap(2)` are system calls on plain memory. All of it is in
//! `system_call`, each call with the contract that it keeps.

#[cfg(feature = "fuzzing")]
mod array;
mod cpus;
mod each_task;
mod end;
mod ends;
mod form;
mod list;
mod parts;
mod refused;
mod ring;
mod row;
mod shared_map;
mod skeleton;
mod system_call;
mod walk;

#[cfg(feature = "fuzzing")]
pub use array::{ends_of, rows_of};
pub use end::End;
pub use ends::Ends;
pub use form::Form;
pub use refused::Refused;
pub use row::{CpuTimes, Row};
pub use shared_map::have_one_map;
pub use walk::{Pass, Walk};
