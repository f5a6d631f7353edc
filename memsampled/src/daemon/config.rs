//! The table `[daemon]` of the configuration file. Other tables are for the command `memsample`.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::limits::{Limits, Retention};
use crate::api::{Span, limits::MIN_SESSION_BYTES};

/// A configuration that is larger is none.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// What the configuration says; what it does not say has its default.
#[derive(Clone, Debug)]
pub struct Config {
    pub(super) socket: Option<PathBuf>,
    pub(super) runs: Option<PathBuf>,
    pub(super) http: Option<SocketAddr>,
    pub(super) token_file: Option<PathBuf>,
    pub(super) user: Option<String>,
    pub(super) group: Option<String>,
    pub(super) own_cgroup: bool,
    pub(super) limits: Limits,
    pub(super) retention: Retention,
}

impl Default for Config {
    fn default() -> Self {
        DaemonTable::default().into()
    }
}

/// Why a configuration cannot be used.
#[derive(Debug)]
pub enum ConfigError {
    /// It cannot be read.
    Read(PathBuf, io::Error),
    /// It says something wrong: the message shows the line and the key.
    Parse(PathBuf, String),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(path, _) => write!(f, "cannot read the configuration `{}`", path.display()),
            Self::Parse(path, message) => write!(f, "`{}`: {message}", path.display()),
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read(_, error) => Some(error),
            Self::Parse(..) => None,
        }
    }
}

/// Reads a configuration file.
///
/// # Errors
///
/// The file cannot be read, or says something wrong.
pub fn read_config(path: &Path) -> Result<Config, ConfigError> {
    let read = || {
        let mut text = String::new();
        File::open(path)?.take(MAX_CONFIG_BYTES + 1).read_to_string(&mut text)?;
        if text.len() as u64 > MAX_CONFIG_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 1 MiB"));
        }
        Ok(text)
    };
    let text = read().map_err(|error| ConfigError::Read(path.to_owned(), error))?;
    parse(&text).map_err(|message| ConfigError::Parse(path.to_owned(), message))
}

fn parse(text: &str) -> Result<Config, String> {
    let document: Document = toml::from_str(text).map_err(|error| error.to_string())?;
    let config = Config::from(document.daemon);
    let positive = [
        ("limits.sessions", config.limits.sessions),
        ("limits.sessions_per_user", config.limits.sessions_per_user),
        ("limits.connections", config.limits.connections),
    ];
    for (key, value) in positive {
        if value == 0 {
            return Err(format!("`daemon.{key}` is 0: nobody could use the daemon"));
        }
    }
    if config.limits.sessions > MAX_SESSIONS {
        return Err(format!("`daemon.limits.sessions` is larger than {MAX_SESSIONS}"));
    }
    if config.limits.connections > MAX_CONNECTIONS {
        return Err(format!("`daemon.limits.connections` is larger than {MAX_CONNECTIONS}"));
    }
    if config.limits.bytes < MIN_SESSION_BYTES {
        return Err(format!("`daemon.limits.bytes` is smaller than {MIN_SESSION_BYTES}"));
    }
    Ok(config)
}

/// Each has a thread.
const MAX_SESSIONS: usize = 1024;
/// Each has a descriptor, of which the sampler needs most.
const MAX_CONNECTIONS: usize = 16 * 1024;

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    daemon: DaemonTable,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DaemonTable {
    socket: Option<PathBuf>,
    runs: Option<PathBuf>,
    http: Option<SocketAddr>,
    token_file: Option<PathBuf>,
    user: Option<String>,
    group: Option<String>,
    own_cgroup: Option<bool>,
    limits: LimitsTable,
    retention: RetentionTable,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsTable {
    sessions: Option<usize>,
    sessions_per_user: Option<usize>,
    duration: Option<Span>,
    bytes: Option<u64>,
    idle: Option<Span>,
    connections: Option<usize>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RetentionTable {
    age: Option<Span>,
    count: Option<usize>,
    bytes: Option<u64>,
}

impl From<DaemonTable> for Config {
    fn from(table: DaemonTable) -> Self {
        let defaults = Limits::default();
        let LimitsTable { sessions, sessions_per_user, duration, bytes, idle, connections } =
            table.limits;
        Self {
            socket: table.socket,
            runs: table.runs,
            http: table.http,
            token_file: table.token_file,
            user: table.user,
            group: table.group,
            own_cgroup: table.own_cgroup.unwrap_or(true),
            limits: Limits {
                sessions: sessions.unwrap_or(defaults.sessions),
                sessions_per_user: sessions_per_user.unwrap_or(defaults.sessions_per_user),
                duration: duration.map_or(defaults.duration, |span| span.0),
                bytes: bytes.unwrap_or(defaults.bytes),
                idle: idle.map_or(defaults.idle, |span| span.0),
                connections: connections.unwrap_or(defaults.connections),
            },
            retention: Retention {
                age: table.retention.age.map(|span| span.0),
                count: table.retention.count,
                bytes: table.retention.bytes,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_not_said_has_its_default() {
        let config = parse("[[role]]\nname = 'x'\n[daemon.retention]\nage = '24h'").unwrap();
        assert_eq!(config.limits, Limits::default());
        assert_eq!(config.retention.age, Some(Duration::from_secs(86_400)));
    }

    #[test]
    fn errors_point_to_the_line_and_the_key() {
        let cases = [
            ("[daemon]\nrns = '/x'", "line 2", "unknown field `rns`"),
            ("[daemon]\n\nhttp = 'here'", "line 3", "http = 'here'"),
            ("[daemon.limits]\nidle = 5", "line 2", "a length of time with its unit"),
            ("[daemon.limits]\nsessions = -1", "line 2", "sessions = -1"),
            ("[daemon\n", "line 1", "[daemon"),
            ("[daemon.limits]\nsessions = 0", "", "`daemon.limits.sessions` is 0"),
        ];
        for (text, line, hint) in cases {
            let message = parse(text).unwrap_err();
            assert!(message.contains(line) && message.contains(hint), "{text}: {message}");
        }
    }
}
