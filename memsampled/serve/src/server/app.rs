//! What all requests share.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use memsample_store::Store;
use tokio::sync::{Semaphore, watch};

use crate::answers::Answers;
use crate::guard::Guard;
use crate::index::Index;
use crate::link::Links;
use crate::refresh::Refresher;
use crate::reports::Reports;
use crate::webhook::{Sending, Webhook};

/// What is served, and to whom.
pub struct ServeOptions {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The path below which a reverse proxy has it.
    pub prefix: String,
    /// Who may read.
    pub guard: Guard,
    /// The store.
    pub store: Store,
    /// Its index.
    pub index: Index,
    /// The public address of this server, for who is told what got worse.
    pub public_url: Option<String>,
    /// Where what got worse is posted to.
    pub webhook: Option<Webhook>,
    /// The socket of the daemon whose sessions are shown while they go on.
    pub daemon: Option<PathBuf>,
    /// The file that says what the fleet does.
    pub fleet: Option<PathBuf>,
    /// Whether the store is compacted meanwhile.
    pub compact: bool,
}

/// What all requests share.
pub(super) struct App {
    pub(super) store: Store,
    pub(super) index: Index,
    pub(super) refresher: Refresher,
    pub(super) reports: Reports,
    pub(super) guard: Guard,
    pub(super) links: Links,
    pub(super) answers: Answers,
    pub(super) permits: Semaphore,
    pub(super) large: Semaphore,
    /// How the sending of notices goes; `None` without a webhook.
    pub(super) sending: Option<Arc<Mutex<Sending>>>,
    /// Asks the daemon; `None` without one.
    pub(super) daemon: Option<reqwest::Client>,
    /// The file that says what the fleet does; `None` without one.
    pub(super) fleet: Option<PathBuf>,
    /// Whether the server ends: what would go on for ever ends with it.
    pub(super) is_ending: watch::Receiver<bool>,
}
