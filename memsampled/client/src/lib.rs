//! Controls the daemon `memsampled`: the requests and answers that go over its socket, and a client.
//!
//! It links neither the sampler nor a server, so that a program that marks its own functions stays small.
#![forbid(unsafe_code)]

mod client;
#[cfg(feature = "recordings")]
mod from_library;
mod socket;
pub mod wire;

pub use client::{Client, ClientError, SESSION_VARIABLE, SOCKET_VARIABLE};
pub use socket::{NoSocket, default_socket};
