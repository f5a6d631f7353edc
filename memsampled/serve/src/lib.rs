//! The dashboard of a store.
//!
//! ```text
//! manifests, tables ─▶ index (SQLite) ─▶ history ─▶ pages (HTML), api (JSON)
//!                                           └─▶ notices ─▶ feed (Atom), webhook
//! recordings ─▶ reports ─────────────────────────▶ pages
//! ```
//!
//! - [`index`]: all runs of a store in one file, which is made anew when it is lost.
//! - [`history`]: a test over releases, with the change points of `memsample trend`.
//! - [`refresh`]: keeps the index up to date, and finds out what got worse.
//! - `compaction`: puts the files of many runs together.
//! - `fleet`: what a fleet says of itself.
//! - [`webhook`]: tells other programs what got worse.
//! - [`mod@server`]: who may ask, and what is answered.
//!
//! docs/dashboard.md describes what is served.
#![forbid(unsafe_code)]

mod answers;
mod api;
mod badge;
mod compaction;
pub mod compared;
mod feed;
mod fleet;
pub mod guard;
pub mod history;
pub mod index;
mod link;
mod notices;
mod pages;
pub mod refresh;
pub mod reports;
pub mod server;
pub mod webhook;
mod wording;

pub use guard::Guard;
pub use index::Index;
pub use server::{ServeOptions, serve};
pub use webhook::Webhook;
