//! `memsample session`: a session of the daemon for as long as a command runs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use crossbeam_channel::{Receiver, never, select};
use memsample::Recording;
use memsample::analysis::{COMMAND_MARK, command_labels};
use memsample_client::wire::{MarkKind, MarkRequest, Span, StartRequest};
use memsample_client::{Client, ClientError, SESSION_VARIABLE, SOCKET_VARIABLE, default_socket};
use memsample_inherited::{patience, tell, too_few_descriptors, too_little_memory};

use crate::child::{
    FORWARDED, RunningCommand, become_command, is_out_of_resources, reaped_max_rss_bytes,
};
use crate::command_hint::cannot_run;
use crate::control::{CLIENT_DESCRIPTORS, parse_label};
use crate::exit::{ExitCode, with_advice};
use crate::json_output::JsonArgs;
use crate::plain_table::width;
use crate::signals::{ENDING, Printing, is_preparing, signals_of};
use crate::{duration, share, summary};

/// Run a command within a session of the daemon, and print what it used
///
/// At the end it prints to stderr what the command used with all its descendants, then the whole machine. Exports MEMSAMPLE_SOCKET and MEMSAMPLE_SESSION to the command, so that `memsample mark` and `exec`, and
/// clients such as the pytest plugin, need no arguments. Without a daemon on the socket, this command runs one for
/// as long as the session lasts; then the recording is below --out. If there can be no session, the command runs
/// without one, and a line on stderr says so.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    memsample session -- pytest --memsample\n  \
    memsample session --name nightly -- sh -c 'memsample exec --test load -- ./load && ./check'")]
pub(crate) struct SessionArgs {
    /// Socket of the daemon [default: /run/memsampled/memsampled.sock as root, else
    /// $XDG_RUNTIME_DIR/memsampled.sock]
    #[arg(long, value_name = "PATH", env = SOCKET_VARIABLE)]
    pub(crate) socket: Option<PathBuf>,

    /// Name of the recording; the id of the session is the name and the time [default: the time alone]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// Sampling interval: 1ms to 1h [default: 100ms]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) interval: Option<Duration>,

    /// Share of one CPU to spend on PSS and USS: a percentage, `off` or `unlimited` [default: 1%]
    #[arg(long, value_name = "SHARE", value_parser = share::parse)]
    pub(crate) pss_budget: Option<f64>,

    /// Label to store in recording.json; may be given several times
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    pub(crate) labels: Vec<(String, String)>,

    /// Directory below which to create the recording if no daemon is running
    #[arg(long, value_name = "DIR", default_value = "recordings")]
    pub(crate) out: PathBuf,

    #[command(flatten)]
    pub(crate) json: JsonArgs,

    /// Command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// How long a daemon may take to begin a session, and one of our own to listen and to end: the command waits for it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time between two looks at it.
const RETRY: Duration = Duration::from_millis(10);
/// How long after such a daemon the command begins at least: by their starts, which the kernel counts in clock ticks, the
/// two children of this program are told apart.
const APART: Duration = Duration::from_millis(50);

pub(crate) fn run(args: &SessionArgs) -> anyhow::Result<ExitCode> {
    if args.json.is_on_stdout() {
        bail!("stdout belongs to the command: write the JSON into a file, with `--json FILE`");
    }
    let Some((program, arguments)) = args.command.split_first() else {
        return Ok(ExitCode::WRONG_USAGE);
    };
    let request = StartRequest {
        name: args.name.clone(),
        interval: args
            .interval
            .map(|it| Span(it).whole_millis())
            .transpose()
            .map_err(anyhow::Error::msg)?,
        pss_budget: args.pss_budget,
        labels: args.labels.iter().cloned().collect(),
        ..StartRequest::default()
    };
    let signals = match signals_of(&FORWARDED) {
        Ok(signals) => signals,
        Err(error) => {
            warn(&format!("the command runs without a session: {}", with_advice(&error)));
            return Ok(cannot_run(&args.command, &become_command(program, arguments)));
        }
    };
    let started = match too_little_memory().or_else(|| too_few_descriptors(CLIENT_DESCRIPTORS)) {
        Some(reason) => Err(anyhow!(reason)),
        None => Session::start(args, &request),
    };
    let mut session = match started {
        Ok(session) => Some(session),
        Err(error) => {
            warn(&format!("the command runs without a session: {}", with_advice(&error)));
            None
        }
    };
    let environment = session.iter().flat_map(Session::environment).collect::<Vec<_>>();
    if let Some(session) = &mut session {
        session.mark(MarkKind::Begin, BTreeMap::new());
    }
    let code = match RunningCommand::spawn_with(program, arguments, environment) {
        Ok(command) => {
            let code = wait(&command, &signals);
            if let Some(session) = &mut session {
                session.mark(MarkKind::End, command_labels(code, reaped_max_rss_bytes()));
            }
            ExitCode::of_command(code)
        }
        Err(error) if is_out_of_resources(&error) => {
            drop(session);
            warn(&format!(
                "the command runs without a session: there can be no other process: {error}"
            ));
            return Ok(cannot_run(&args.command, &become_command(program, arguments)));
        }
        Err(error) => cannot_run(&args.command, &error),
    };
    let stopped = session.map(|session| session.stop(args, code));
    let _printing = Printing::begin(code);
    if let Some(Err(error)) = stopped {
        warn(&format!("{error:#}"));
    }
    Ok(code)
}

/// Waits for the command, to which signals are forwarded.
fn wait(command: &RunningCommand, signals: &Receiver<i32>) -> i32 {
    let none = never();
    let mut signals = signals;
    let mut interrupted = false;
    loop {
        select! {
            recv(command.ended()) -> end => return end.map_or(1, |end| end.code()),
            recv(signals) -> signal => {
                let Ok(signal) = signal else {
                    // No more can be received; the command can still be stopped by itself.
                    signals = &none;
                    continue;
                };
                // At the second signal to end, do not wait for the command.
                if ENDING.contains(&signal) && std::mem::replace(&mut interrupted, true) {
                    return 128 + signal;
                }
                command.forward(signal);
            }
        }
    }
}

/// A session, and the daemon that was started for it.
struct Session {
    client: Client,
    id: String,
    socket: PathBuf,
    /// Ended when it is dropped.
    _daemon: Option<OwnDaemon>,
}

impl Session {
    fn start(args: &SessionArgs, request: &StartRequest) -> anyhow::Result<Self> {
        let socket = match &args.socket {
            Some(socket) => Ok(socket.clone()),
            None => default_socket(),
        };
        let (client, socket, daemon) = match socket.map(|it| (Client::connect(&it), it)) {
            Ok((Ok(client), socket)) => (client, socket, None),
            Ok((Err(ClientError::NoDaemon(_)), _)) | Err(_) => {
                let mut daemon = OwnDaemon::start(&args.out)?;
                (daemon.connect()?, daemon.socket(), Some(daemon))
            }
            Ok((Err(error), _)) => return Err(error.into()),
        };
        // There is nothing to stop yet but a daemon of our own, which a signal would leave without its end.
        is_preparing(daemon.is_none());
        let mut client = client.timeout(patience(PATIENCE));
        let id = client.start(request);
        is_preparing(false);
        let (id, client) = (id?.id, client.timeout(Client::TIMEOUT));
        if let Some(daemon) = &daemon {
            std::thread::sleep(APART.saturating_sub(daemon.started.elapsed()));
        }
        // The command may run in another directory.
        let socket = std::path::absolute(socket)?;
        Ok(Self { client, id, socket, _daemon: daemon })
    }

    fn environment(&self) -> [(&'static str, OsString); 2] {
        [(SOCKET_VARIABLE, self.socket.clone().into()), (SESSION_VARIABLE, self.id.clone().into())]
    }

    /// Marks the begin or the end of the command in the recording: what this program starts in between is the command.
    fn mark(&mut self, kind: MarkKind, labels: BTreeMap<String, String>) {
        let pid = Some(std::process::id().cast_signed());
        let mark = MarkRequest { kind, name: COMMAND_MARK.to_owned(), test: None, labels, pid };
        if let Err(error) = self.client.mark(&self.id, &mark) {
            warn(&format!("what the command uses is not told apart: {error:#}"));
        }
    }

    /// Stops the session, and prints what it recorded.
    fn stop(mut self, args: &SessionArgs, code: ExitCode) -> anyhow::Result<()> {
        let stopped = self.client.stop(&self.id).context("the session was not stopped")?;
        // With its daemon: a signal that ends the printing leaves none.
        drop(self);
        let _printing = Printing::begin(code);
        if let Some(reason) = stopped.summary.end.as_ref().and_then(summary::early_end) {
            warn(&format!("the recording ended before the command: {reason}"));
        }
        let (recording, _) = Recording::open(Path::new(&stopped.recording))?;
        let written = args.json.write(|| summary::json(&recording));
        let text = summary::text(&recording, summary::LARGEST, width(&std::io::stderr()))?;
        tell(text.trim_end());
        written
    }
}

/// A daemon for one session, in a directory that only this user can reach.
struct OwnDaemon {
    daemon: Child,
    /// The daemon ends when this is closed, be it by the kernel: no signal reaches one that ignores it, and nobody sends
    /// one for a program that was killed.
    open: Option<UnixStream>,
    started: Instant,
    directory: tempfile::TempDir,
}

impl OwnDaemon {
    fn start(recordings: &Path) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("memsample-").tempdir()?;
        fs::create_dir_all(recordings)
            .with_context(|| format!("cannot make `{}`", recordings.display()))?;
        let beside = std::env::current_exe()?.with_file_name("memsampled");
        let program = if beside.exists() { beside } else { PathBuf::from("memsampled") };
        let (open, of_daemon) = UnixStream::pair()?;
        let daemon = Command::new(&program)
            .arg("--ends-with-stdin")
            .arg("--socket")
            .arg(directory.path().join("socket"))
            .arg("--recordings")
            .arg(std::path::absolute(recordings)?)
            .stdin(Stdio::from(OwnedFd::from(of_daemon)))
            .stdout(Stdio::null())
            .stderr(fs::File::create(directory.path().join("log"))?)
            // Ctrl-C is for the command: what it does then is to be recorded too.
            .process_group(0)
            .spawn()
            .with_context(|| {
                format!("no daemon is running, and `{}` cannot be started", program.display())
            })?;
        Ok(Self { daemon, open: Some(open), started: Instant::now(), directory })
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    fn connect(&mut self) -> anyhow::Result<Client> {
        let began = Instant::now();
        loop {
            // One that could not begin will not answer.
            let has_ended = !matches!(self.daemon.try_wait(), Ok(None));
            match Client::connect(&self.socket()) {
                Ok(client) => return Ok(client),
                Err(error) if has_ended || began.elapsed() > patience(PATIENCE) => {
                    let log = fs::read_to_string(self.directory.path().join("log"));
                    let last =
                        log.unwrap_or_default().lines().last().unwrap_or_default().to_owned();
                    if has_ended && !last.is_empty() {
                        bail!(last);
                    }
                    return Err(anyhow::Error::from(error).context(format!("memsampled: {last}")));
                }
                Err(_) => std::thread::sleep(RETRY),
            }
        }
    }
}

impl Drop for OwnDaemon {
    fn drop(&mut self) {
        self.open = None;
        let began = Instant::now();
        while matches!(self.daemon.try_wait(), Ok(None)) {
            if began.elapsed() > patience(PATIENCE) {
                let _ = self.daemon.kill();
                let _ = self.daemon.wait();
                return;
            }
            std::thread::sleep(RETRY);
        }
    }
}

fn warn(message: &str) {
    // Nobody is left to tell if this fails.
    tell(format!("warning: {message}"));
}
