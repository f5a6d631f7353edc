//! What the daemon shall do: arguments and configuration put together.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use memsample_client::default_socket;
use memsample_config::Config;
use memsample_config::{DashboardSettings, FlightSettings, Limits, MAX_METRICS_ROLES, Retention};

/// What can be typed, and overrides the configuration.
#[derive(Clone, Debug, Default)]
pub struct Arguments {
    /// Where clients connect.
    pub socket: Option<PathBuf>,
    /// Where recordings are made.
    pub recordings: Option<PathBuf>,
    /// A loopback address on which to serve HTTP as well.
    pub http: Option<SocketAddr>,
    /// The file with the token that clients over TCP must show.
    pub token_file: Option<PathBuf>,
    /// The group whose members may connect.
    pub group: Option<String>,
    /// How many of the largest roles `/metrics` reports.
    pub metrics_roles: Option<usize>,
    /// The store into which recordings are pushed.
    pub push: Option<String>,
    /// Where the dashboard listens.
    pub serve: Option<SocketAddr>,
    /// The directory of runs or the store that it shows.
    pub serve_runs: Option<String>,
    /// How much the flight recorder keeps.
    pub flight_recorder: Option<Duration>,
    /// The most that this may take on disk, in bytes.
    pub flight_recorder_bytes: Option<u64>,
    /// The configuration, also read again on SIGHUP.
    pub config: Option<PathBuf>,
    /// Whether the daemon ends when its standard input, a socket, is closed at the other end: then whom it serves has
    /// ended, by whatever.
    pub ends_with_stdin: bool,
}

/// What the daemon shall do.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where clients connect.
    pub socket: PathBuf,
    /// Where recordings are made.
    pub recordings: PathBuf,
    /// A loopback address on which to serve HTTP as well.
    pub http: Option<SocketAddr>,
    /// The file with the token that clients over TCP must show; only its owner may read it.
    pub token_file: Option<PathBuf>,
    /// The user, beside root and that of the daemon, who may connect.
    pub user: Option<u32>,
    /// The group whose members may connect, and to which the socket belongs.
    pub group: Option<u32>,
    /// Whether to leave the control group it was started in, where it may.
    pub own_cgroup: bool,
    /// How many of the largest roles of each session `/metrics` reports.
    pub metrics_roles: usize,
    /// The flight recorder; `None`: there is none.
    pub flight: Option<FlightSettings>,
    /// The store into which recordings are pushed when they are closed.
    pub push: Option<String>,
    /// The dashboard; `None`: there is none.
    pub dashboard: Option<DashboardSettings>,
    /// What sessions and connections may take.
    pub limits: Limits,
    /// Which recordings are kept.
    pub retention: Retention,
    /// What is left out of arguments, and rules that name roles.
    pub recording: Config,
    /// The configuration, read again on SIGHUP.
    pub config: Option<PathBuf>,
}

/// What does not go together, or does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionsError(String);

impl fmt::Display for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for OptionsError {}

impl Options {
    /// Puts the arguments and the configuration together.
    ///
    /// # Errors
    ///
    /// What does not go together, or does not exist.
    pub fn new(arguments: Arguments, config: Config) -> Result<Self, OptionsError> {
        let recording = config.clone();
        let config = config.daemon;
        let flight = flight(&arguments, config.flight)?;
        let dashboard = dashboard(&arguments, config.dashboard, config.token_file.as_ref())?;
        let Arguments {
            socket,
            recordings,
            http,
            token_file,
            group,
            metrics_roles,
            push,
            config: path,
            ..
        } = arguments;
        let socket = socket.or(config.socket).map_or_else(
            || default_socket().map_err(|error| OptionsError(error.to_string())),
            Ok,
        )?;
        let recordings = recordings.or(config.recordings).unwrap_or_else(default_recordings);
        let http = http.or(config.http);
        if token_file.is_some() && http.is_none() && dashboard.is_none() {
            return Err(OptionsError(
                "`--token-file` needs `--http 127.0.0.1:8021` or `--serve 127.0.0.1:8080`: the socket is of those who may \
                 open it"
                    .to_owned(),
            ));
        }
        let token_file = token_file.or(config.token_file);
        if let Some(address) = http {
            if !address.ip().is_loopback() {
                return Err(OptionsError(format!(
                    "`{address}` is not a loopback address: HTTP is served to this machine alone, as \
                     127.0.0.1:PORT (to reach it from elsewhere, forward the port with ssh)"
                )));
            }
            if token_file.is_none() {
                return Err(OptionsError(
                    "HTTP over TCP needs a token: name its file with --token-file (make one with \
                     `(umask 077; head -c 32 /dev/urandom | base64 > FILE)`)"
                        .to_owned(),
                ));
            }
        }
        let metrics_roles = metrics_roles.unwrap_or(config.metrics_roles);
        if metrics_roles > MAX_METRICS_ROLES {
            return Err(OptionsError(format!(
                "`--metrics-roles {metrics_roles}` is too many: at most {MAX_METRICS_ROLES}"
            )));
        }
        let push = push.or(config.push);
        if push.is_some() && !cfg!(feature = "push") {
            return Err(OptionsError(
                "this daemon was built without stores: `cargo install --features lab` builds one that pushes"
                    .to_owned(),
            ));
        }
        let user = config.user.as_deref().map(user_id).transpose()?;
        let group = group.or(config.group).as_deref().map(group_id).transpose()?;
        Ok(Self {
            socket,
            recordings,
            http,
            token_file,
            user,
            group,
            own_cgroup: config.own_cgroup,
            metrics_roles,
            flight,
            push,
            dashboard,
            limits: config.limits,
            retention: config.retention,
            recording,
            config: path,
        })
    }
}

/// Puts together what was typed and what is configured.
fn flight(
    arguments: &Arguments,
    configured: Option<FlightSettings>,
) -> Result<Option<FlightSettings>, OptionsError> {
    let mut settings = match (configured, arguments.flight_recorder) {
        (Some(configured), span) => {
            Some(FlightSettings { span: span.unwrap_or(configured.span), ..configured })
        }
        (None, span) => span.map(FlightSettings::new),
    };
    if let Some(bytes) = arguments.flight_recorder_bytes {
        let settings = settings.as_mut().ok_or_else(|| {
            OptionsError("`--flight-recorder-bytes` needs `--flight-recorder 5m`".to_owned())
        })?;
        settings.bytes = bytes;
    }
    if let Some(settings) = &settings {
        settings.check().map_err(|wrong| OptionsError(wrong.to_string()))?;
    }
    Ok(settings)
}

/// Puts together what was typed and what is configured.
fn dashboard(
    arguments: &Arguments,
    configured: Option<DashboardSettings>,
    token_file: Option<&PathBuf>,
) -> Result<Option<DashboardSettings>, OptionsError> {
    let mut settings = match (configured, arguments.serve) {
        (Some(configured), listen) => {
            Some(DashboardSettings { listen: listen.unwrap_or(configured.listen), ..configured })
        }
        (None, listen) => listen.map(DashboardSettings::new),
    };
    if let Some(runs) = &arguments.serve_runs {
        let settings = settings.as_mut().ok_or_else(|| {
            OptionsError("`--serve-runs` needs `--serve 127.0.0.1:8080`".to_owned())
        })?;
        settings.runs = Some(runs.clone());
    }
    let Some(settings) = &mut settings else { return Ok(None) };
    if !cfg!(feature = "push") {
        return Err(OptionsError(
            "this daemon was built without the dashboard: `cargo install --features lab` builds one that serves it"
                .to_owned(),
        ));
    }
    let of_daemon = arguments.token_file.as_ref().or(token_file);
    settings.token_file = settings.token_file.take().or_else(|| of_daemon.cloned());
    // On a loopback address too: it shows the recordings of all users, and each of them can connect there.
    if settings.token_file.is_none() {
        return Err(OptionsError(
            "the dashboard needs a token, since it shows the recordings of all users: name its file with --token-file \
             (make one with `(umask 077; head -c 32 /dev/urandom | base64 > FILE)`)"
                .to_owned(),
        ));
    }
    Ok(Some(settings.clone()))
}

/// Returns where recordings are made by default: `/var/lib/memsampled/recordings` as root, else
/// `memsampled/recordings` in `$XDG_STATE_HOME` or `~/.local/state`.
#[must_use]
pub fn default_recordings() -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let state = || std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/memsampled/recordings");
    }
    state()
        .or_else(home)
        .map_or_else(|| "recordings".into(), |state| state.join("memsampled/recordings"))
}

fn user_id(name: &str) -> Result<u32, OptionsError> {
    let known = || uzers::get_user_by_name(name).map(|user| user.uid());
    name.parse().ok().or_else(known).ok_or_else(|| {
        OptionsError(format!("there is no user `{name}`: give a name or a number that exists"))
    })
}

fn group_id(name: &str) -> Result<u32, OptionsError> {
    let known = || uzers::get_group_by_name(name).map(|group| group.gid());
    name.parse().ok().or_else(known).ok_or_else(|| {
        OptionsError(format!(
            "there is no group `{name}`: make it with `groupadd --system {name}`, or give another one"
        ))
    })
}
