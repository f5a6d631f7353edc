//! The table `[daemon.dashboard]`.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

/// The dashboard that the daemon has served.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DashboardSettings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The directory of runs or the store that it shows; `None`: the recordings of the daemon.
    pub runs: Option<String>,
    /// The file with the tokens of those who may read; `None`: the one of the daemon.
    pub token_file: Option<PathBuf>,
    /// The path below which a reverse proxy has it.
    pub prefix: Option<String>,
    /// The names by which a reverse proxy is reached.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// The file that says what the fleet does.
    pub fleet: Option<PathBuf>,
}

impl DashboardSettings {
    /// Listens there, with the defaults of everything else.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        Self { listen, runs: None, token_file: None, prefix: None, hosts: Vec::new(), fleet: None }
    }
}
