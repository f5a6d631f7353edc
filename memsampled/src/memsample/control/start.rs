//! `memsample start`: starts a session of the daemon.

use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use memsample_client::wire::{Session, SessionLimits, StartRequest, Target};
use memsample_client::{SESSION_VARIABLE, SOCKET_VARIABLE};
use memsample_inherited::{print, tell};

use super::{DaemonArgs, connect_within, parse_label, print_json, span};
use crate::command_line::FALSE;
use crate::exit::ExitCode;
use crate::{duration, share};

/// Start a session of the daemon, which records until it is stopped, and print its id
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    session=$(memsample start --name nightly --label commit=$(git rev-parse HEAD))\n  \
    eval \"$(memsample start --env)\"; memsample mark begin load; ...; memsample stop")]
pub(crate) struct StartArgs {
    #[command(flatten)]
    pub(crate) daemon: DaemonArgs,

    /// Name of the recording; the id of the session is the name and the time [default: the time alone]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// Sampling interval: 1ms to 1h [default: 100ms]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) interval: Option<Duration>,

    /// Record only this process and its descendants [default: the whole machine]
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) pid: Option<i32>,

    /// Record only the processes of this control group and of those below it: a path as in
    /// /proc/PID/cgroup
    #[arg(long, value_name = "PATH", conflicts_with = "pid")]
    pub(crate) cgroup: Option<String>,

    /// Share of one CPU to spend on PSS and USS: a percentage, `off` or `unlimited` [default: 1%]
    #[arg(long, value_name = "SHARE", value_parser = share::parse)]
    pub(crate) pss_budget: Option<f64>,

    /// Label to store in recording.json; may be given several times
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    pub(crate) labels: Vec<(String, String)>,

    /// Stop after this time [default: the limit of the daemon]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) duration: Option<Duration>,

    /// Stop after this time without a mark or a request about the session [default: the limit of the
    /// daemon]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) idle: Option<Duration>,

    /// Time to wait for a daemon that is still starting, as in `memsampled & memsample start`
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration::parse)]
    pub(crate) wait: Duration,

    /// Print shell commands that export MEMSAMPLE_SOCKET and MEMSAMPLE_SESSION, so that `mark`, `exec`
    /// and `stop` need no arguments
    #[arg(long, conflicts_with = "json")]
    pub(crate) env: bool,
}

pub(crate) fn run(args: StartArgs) -> anyhow::Result<ExitCode> {
    let is_evaluated = args.env;
    let outcome = start(args);
    if outcome.is_err() && is_evaluated {
        // Otherwise `eval` would evaluate nothing, and succeed.
        print(format!("{FALSE}\n"));
    }
    outcome
}

fn start(args: StartArgs) -> anyhow::Result<ExitCode> {
    let StartArgs { daemon, name, interval, pid, cgroup, pss_budget, labels, .. } = args;
    let StartArgs { duration, idle, wait, env, .. } = args;
    let request = StartRequest {
        name,
        interval: interval.map(span).transpose()?,
        pss_budget,
        labels: labels.into_iter().collect(),
        target: match (pid, cgroup) {
            (Some(pid), _) => Target::Pid { pid },
            (None, Some(path)) => Target::Cgroup { path },
            (None, None) => Target::Machine {},
        },
        limits: SessionLimits {
            duration: duration.map(span).transpose()?,
            bytes: None,
            idle: idle.map(span).transpose()?,
        },
    };
    let (mut client, socket) = connect_within(&daemon, wait)?;
    let session = client.start(&request)?;
    if env {
        // A program that is started may run in another directory.
        let socket = std::path::absolute(socket)?;
        print(export(SOCKET_VARIABLE, socket.as_os_str().as_bytes()));
        print(export(SESSION_VARIABLE, &session.id));
    } else if print_json(&daemon.json, &session)? {
        print(format!("{}\n", session.id));
    }
    if !daemon.json.is_on_stdout() {
        let Session { id, interval, recording, .. } = session;
        tell(format!("session {id} started: sampling every {interval} into {recording}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Quotes a text for a shell.
fn quoted(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    let quoted = shlex::bytes::Quoter::new().allow_nul(true).quote(text);
    quoted.map_or_else(|_| text.to_vec(), std::borrow::Cow::into_owned)
}

/// Returns a line that sets a variable in a shell.
fn export(variable: &str, value: impl AsRef<[u8]>) -> Vec<u8> {
    [format!("export {variable}=").into_bytes(), quoted(value), b"\n".to_vec()].concat()
}
