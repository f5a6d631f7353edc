//! The table `[daemon]` of the configuration file.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use super::dashboard::DashboardSettings;
use super::flight::{FlightSettings, FlightTable};
use super::limits::{Limits, MAX_METRICS_ROLES, MAX_SESSIONS, Retention};
use super::wrong_value::WrongValue;
use memsample_client::wire::limits::MIN_SESSION_BYTES;
use memsample_input::{ByteSize, Span};

/// What the configuration says of the daemon; what it does not say has its default.
#[derive(Clone, Debug)]
pub struct DaemonConfig {
    /// Where clients connect.
    pub socket: Option<PathBuf>,
    /// Where recordings are made.
    pub recordings: Option<PathBuf>,
    /// A loopback address on which to serve HTTP as well.
    pub http: Option<SocketAddr>,
    /// The file with the token that clients over TCP must show.
    pub token_file: Option<PathBuf>,
    /// The user, beside root and that of the daemon, who may connect.
    pub user: Option<String>,
    /// The group whose members may connect.
    pub group: Option<String>,
    /// Whether to leave the control group it was started in, where it may.
    pub own_cgroup: bool,
    /// How many of the largest roles of each session `/metrics` reports.
    pub metrics_roles: usize,
    /// The store into which recordings are pushed when they are closed.
    pub push: Option<String>,
    /// The dashboard; `None`: there is none.
    pub dashboard: Option<DashboardSettings>,
    /// The flight recorder; `None`: there is none.
    pub flight: Option<FlightSettings>,
    /// What sessions and connections may take.
    pub limits: Limits,
    /// Which recordings are kept.
    pub retention: Retention,
}

impl Default for DaemonConfig {
    fn default() -> Self {
        Self::of(DaemonTable::default())
    }
}

impl TryFrom<DaemonTable> for DaemonConfig {
    type Error = WrongValue;

    fn try_from(table: DaemonTable) -> Result<Self, WrongValue> {
        let spans = [
            ("limits.duration", table.limits.duration),
            ("limits.idle", table.limits.idle),
            ("retention.age", table.retention.age),
        ];
        for (key, span) in spans {
            let checked = span.map(Span::whole_millis).transpose();
            checked.map_err(|wrong| WrongValue::new(key, wrong))?;
        }
        let config = Self::of(table);
        let limits = &config.limits;
        let positive = [
            ("limits.sessions", limits.sessions as u64),
            ("limits.sessions_per_user", limits.sessions_per_user as u64),
            ("limits.connections", limits.connections as u64),
            ("limits.memory", limits.memory),
        ];
        if let Some((key, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(WrongValue::new(*key, "is 0: nobody could use the daemon"));
        }
        let largest = [
            ("limits.sessions", limits.sessions, MAX_SESSIONS),
            ("limits.connections", limits.connections, MAX_CONNECTIONS),
            ("metrics_roles", config.metrics_roles, MAX_METRICS_ROLES),
        ];
        if let Some((key, _, max)) = largest.iter().find(|(_, value, max)| value > max) {
            return Err(WrongValue::new(*key, format!("must be at most {max}")));
        }
        if limits.bytes < MIN_SESSION_BYTES {
            let min = ByteSize(MIN_SESSION_BYTES);
            return Err(WrongValue::new("limits.bytes", format!("must be at least {min}")));
        }
        if let Some(flight) = &config.flight {
            flight.check().map_err(|wrong| {
                WrongValue::new(format!("flight_recorder.{}", wrong.key), wrong.message)
            })?;
        }
        Ok(config)
    }
}

/// Each has a descriptor, of which the sampler needs most.
const MAX_CONNECTIONS: usize = 16 * 1024;

/// The table as it is in the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DaemonTable {
    socket: Option<PathBuf>,
    recordings: Option<PathBuf>,
    http: Option<SocketAddr>,
    token_file: Option<PathBuf>,
    user: Option<String>,
    group: Option<String>,
    own_cgroup: Option<bool>,
    metrics_roles: Option<usize>,
    push: Option<String>,
    dashboard: Option<DashboardSettings>,
    flight_recorder: Option<FlightTable>,
    limits: LimitsTable,
    retention: RetentionTable,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsTable {
    sessions: Option<usize>,
    sessions_per_user: Option<usize>,
    duration: Option<Span>,
    bytes: Option<ByteSize>,
    idle: Option<Span>,
    memory: Option<ByteSize>,
    connections: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RetentionTable {
    age: Option<Span>,
    count: Option<usize>,
    bytes: Option<ByteSize>,
}

impl DaemonConfig {
    fn of(table: DaemonTable) -> Self {
        let defaults = Limits::default();
        let LimitsTable { sessions, sessions_per_user, duration, bytes, idle, .. } = table.limits;
        let LimitsTable { memory, connections, .. } = table.limits;
        Self {
            socket: table.socket,
            recordings: table.recordings,
            http: table.http,
            token_file: table.token_file,
            user: table.user,
            group: table.group,
            own_cgroup: table.own_cgroup.unwrap_or(true),
            metrics_roles: table.metrics_roles.unwrap_or(0),
            push: table.push,
            dashboard: table.dashboard,
            flight: table.flight_recorder.map(FlightSettings::from),
            limits: Limits {
                sessions: sessions.unwrap_or(defaults.sessions),
                sessions_per_user: sessions_per_user.unwrap_or(defaults.sessions_per_user),
                duration: duration.map_or(defaults.duration, |span| span.0),
                bytes: bytes.map_or(defaults.bytes, |size| size.0),
                idle: idle.map_or(defaults.idle, |span| span.0),
                memory: memory.map_or(defaults.memory, |size| size.0),
                connections: connections.unwrap_or(defaults.connections),
            },
            retention: Retention {
                age: table.retention.age.map(|span| span.0),
                count: table.retention.count,
                bytes: table.retention.bytes.map(|size| size.0),
            },
        }
    }
}
