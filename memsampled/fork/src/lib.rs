//! Forks a process that has one thread, and gives the child what an exec would leave it.
//!
//! To execute a program of 15 MB again takes 2 ms, most of it for its relocations. A fork has them done.
//!
//! A child of a fork has only the thread that called it. Of any other thread the locks would stay as they were, for ever;
//! so a process with more than one thread is refused ([`fork`]).
//! A child has all descriptors of its parent, too: it would hold the other end of its own channels. So what an exec would
//! close is replaced by `/dev/null` in the child, which no owner of such a descriptor can confuse with another file.
//!
//! All unsafe code is in `system_call`, each call with the contract that it keeps.

mod child;
mod descriptors;
mod system_call;
mod threads;

pub use child::{Streams, fork, fork_beside, fork_in_namespaces, fork_into};
