//! The daemon: sessions that are started, marked and stopped over HTTP.
//!
//! ```text
//! listen ─▶ connections ─ peer, guard ─▶ routes ─▶ sessions ─▶ recorder ─▶ recordings/ID
//!                                          └─────▶ recordings (files of recordings)
//! ```
//!
//! The life of a daemon:
//!
//! 1. The configuration is read and put together with the arguments: [`Options`].
//! 2. It takes the lock of the recordings directory, so that no second daemon writes there, and the socket.
//! 3. It protects itself from the OOM killer ([`protection`]), and
//!    says that it is ready. The flight recorder begins, where there is to be one ([`FlightSettings`](memsample_config::FlightSettings)).
//! 4. Recordings that another daemon left open are recovered, and what its flight recorder has left is
//!    made one; old ones are removed, while it serves.
//! 5. On SIGTERM or SIGINT it accepts nothing more, closes all recordings at once, and ends.
//!
//! One thread serves all clients: a request is short, and what takes long (starting, closing, reading
//! files) is given to a few others, of which one user gets no more than a part. Sampling and writing have
//! threads of their own, so that a client cannot hold them up.

mod connections;
mod failure;
mod flight;
mod guard;
mod listen;
mod live;
mod lock;
mod memory_limit;
mod metrics;
mod options;
mod peer;
mod protection;
mod recordings;
mod recovery;
mod retention;
mod routes;
mod serve;
mod session;
mod sessions;
mod state;
mod target;
mod watch;
mod work;

pub use options::{Arguments, Options, OptionsError};
pub use routes::Operation;
pub use serve::{DaemonError, run};
