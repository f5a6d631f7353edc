//! The commands that talk to the daemon.

pub(crate) mod dump;
pub(crate) mod mark;
pub(crate) mod sessions;
pub(crate) mod start;
pub(crate) mod status;
pub(crate) mod stop;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::bail;
use memsample_client::wire::{SessionState, Span};
use memsample_client::{Client, ClientError, default_socket};
use memsample_inherited::tell;
use serde::Serialize;

use crate::exit::WrongUsage;
use crate::json_output::JsonArgs;

/// How to reach the daemon, and how to print its answer.
#[derive(clap::Args)]
pub(crate) struct DaemonArgs {
    /// Socket of the daemon [default: /run/memsampled/memsampled.sock as root, else
    /// $XDG_RUNTIME_DIR/memsampled.sock]
    #[arg(long, value_name = "PATH", env = memsample_client::SOCKET_VARIABLE)]
    pub(crate) socket: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) json: JsonArgs,
}

/// Reads `KEY=VALUE`.
pub(crate) fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".to_owned()),
    }
}

fn connect(args: &DaemonArgs) -> anyhow::Result<(Client, PathBuf)> {
    connect_to(args.socket.as_deref())
}

/// Connects to the daemon at a socket, by default at its default socket.
pub(crate) fn connect_to(socket: Option<&Path>) -> anyhow::Result<(Client, PathBuf)> {
    let socket = socket.map_or_else(default_socket, |socket| Ok(socket.to_owned()))?;
    Ok((Client::connect(&socket)?, socket))
}

/// Time between two tries to connect.
const RETRY: Duration = Duration::from_millis(20);

/// Connects to the daemon, and waits some time for one that is still starting.
fn connect_within(args: &DaemonArgs, patience: Duration) -> anyhow::Result<(Client, PathBuf)> {
    let began = Instant::now();
    let mut is_told = false;
    loop {
        let error = match connect(args) {
            Ok(connected) => return Ok(connected),
            Err(error) => error,
        };
        let is_absent = matches!(error.downcast_ref(), Some(ClientError::NoDaemon(_)));
        if !is_absent || began.elapsed() >= patience {
            return Err(error);
        }
        if !is_told && began.elapsed() > Duration::from_secs(1) {
            is_told = true;
            tell(format!("waiting for memsampled, up to {patience:?}…"));
        }
        std::thread::sleep(RETRY);
    }
}

/// Descriptors that a client of the daemon takes, with a margin: without them its runtime panics.
pub(crate) const CLIENT_DESCRIPTORS: usize = 16;

/// Returns the session that was named, else the only one that is recording; if none is, the only one that
/// has reached a limit and was not stopped yet.
pub(crate) fn chosen(client: &mut Client, named: Option<String>) -> anyhow::Result<String> {
    if let Some(named) = named {
        return Ok(named);
    }
    let sessions = client.sessions()?.sessions;
    let (recording, ended): (Vec<_>, Vec<_>) =
        sessions.into_iter().partition(|session| session.state == SessionState::Recording);
    let (verb, candidates) =
        if recording.is_empty() { ("have ended", ended) } else { ("are recording", recording) };
    match candidates.as_slice() {
        [only] => Ok(only.id.clone()),
        [] => bail!("no session is recording: start one with `memsample start`"),
        several => {
            let ids: Vec<_> = several.iter().map(|session| session.id.as_str()).collect();
            bail!("several sessions {verb}: name one of {}", ids.join(", "))
        }
    }
}

/// Converts a length of time to that of a request, which has whole milliseconds.
fn span(duration: Duration) -> Result<Span, WrongUsage> {
    let refusal = |why| WrongUsage(format!("a length of time of {duration:?}: {why}"));
    Span(duration).whole_millis().map_err(refusal)
}

/// Writes an answer as JSON where it is wanted, and returns whether the text is printed as well.
fn print_json(json: &JsonArgs, value: &impl Serialize) -> anyhow::Result<bool> {
    json.write(|| Ok(serde_json::to_string(value)? + "\n"))?;
    Ok(!json.is_on_stdout())
}
