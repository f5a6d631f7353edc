//! The daemon: sessions that are started, marked and stopped over HTTP.
//!
//! ```text
//! listen ─▶ connections ─ peer, guard ─▶ routes ─▶ sessions ─▶ recorder ─▶ recordings/ID
//!                                          └─────▶ recordings (files of recordings)
//! ```
//!
//! The life of a daemon:
//!
//! 1. The program reads the configuration and puts it together with the arguments: [`Options`].
//! 2. The daemon locks the recordings directory, so that no second daemon writes there, and opens the socket.
//! 3. It protects itself from the OOM killer (`protection`), starts the flight recorder, where one is configured
//!    ([`FlightSettings`](memsample_config::FlightSettings)), and reports that it is ready.
//! 4. While it serves, it recovers recordings that another daemon left open, makes a recording of what the flight
//!    recorder of that daemon left, and removes old recordings.
//! 5. On SIGTERM or SIGINT it accepts no more connections, closes all recordings at once, and ends.
//!
//! One thread serves all clients: requests are short. A few other threads do what takes long (starting, closing,
//! reading files); one user gets no more than a part of them. Sampling and writing have threads of their own, so
//! that no client can delay them.

mod automatic_dumps;
mod beside;
mod connections;
mod dashboard;
mod disk;
mod failure;
mod flight;
mod guard;
mod listen;
mod live;
mod lock;
mod marked_pid;
mod memory_limit;
mod metrics;
mod names;
mod options;
mod peer;
mod protection;
mod push_queue;
#[cfg(feature = "push")]
mod pusher;
mod recordings;
mod recovery;
mod retention;
mod routes;
mod running_tests;
mod runtime;
mod serve;
mod session;
mod sessions;
mod signals;
mod state;
mod target;
mod watch;
mod work;

pub use options::{Arguments, Options, OptionsError, default_recordings};
pub use routes::Operation;
pub use serve::{DaemonError, run};
