//! `memsample exec`: runs a command as a test of a session.

use std::env;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use crossbeam_channel::{never, select};
use memsample::analysis::EXEC_MARK;
use memsample_client::Client;
use memsample_client::wire::{MarkKind, MarkRequest};
use memsample_inherited::{patience, tell, too_few_descriptors};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::child::{CommandEnd, FORWARDED, RunningCommand, become_command, is_out_of_resources};
use crate::command_hint::cannot_run;
use crate::control::{CLIENT_DESCRIPTORS, chosen, connect_to};
use crate::exit::ExitCode;
use crate::signals::{end_by, signals_of};

/// Run a command as a test of a session, and mark its begin and end
///
/// The test consists of the command and all its descendants: `memsample peaks --by test` adds them up.
/// Output, exit code and signals pass through unchanged. Without a daemon or a session the command runs
/// without marks, and a line on stderr says so.
///
/// cargo-nextest provides the name of the test: see clients/nextest.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    eval \"$(memsample start --env)\"; memsample exec --test load -- ./load --users 100; memsample stop\n  \
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER='memsample exec --' cargo nextest run")]
pub(crate) struct ExecArgs {
    /// Socket of the daemon [default: /run/memsampled/memsampled.sock as root, else
    /// $XDG_RUNTIME_DIR/memsampled.sock]
    #[arg(long, value_name = "PATH", env = memsample_client::SOCKET_VARIABLE)]
    pub(crate) socket: Option<PathBuf>,

    /// Name of the test [default: the test that cargo-nextest runs; without one, the command runs
    /// without marks]
    #[arg(long, value_name = "NAME")]
    pub(crate) test: Option<String>,

    /// Session to mark [default: the only one that is recording]
    #[arg(long, value_name = "ID", env = memsample_client::SESSION_VARIABLE)]
    pub(crate) session: Option<String>,

    /// Command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// How long a test waits for a daemon that does not answer. It usually answers within a millisecond, and
/// the wait counts towards the time of the test.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) fn run(args: &ExecArgs) -> anyhow::Result<ExitCode> {
    let Some((program, arguments)) = args.command.split_first() else {
        return Ok(ExitCode::WRONG_USAGE);
    };
    let Some(test) = args.test.clone().or_else(nextest_test) else {
        return Ok(cannot_run(&args.command, &become_command(program, arguments)));
    };
    let mut marker = match Marker::begin(args, test) {
        Ok(marker) => marker,
        Err(error) => {
            // A recorder must never make a test fail.
            tell(format!("memsample: this test is not marked: {error:#}"));
            return Ok(cannot_run(&args.command, &become_command(program, arguments)));
        }
    };
    let started = signals_of(&FORWARDED)
        .map_err(|error| io::Error::new(io::ErrorKind::WouldBlock, format!("{error:#}")))
        .and_then(|signals| Ok((RunningCommand::spawn(program, arguments)?, signals)));
    let (command, signals) = match started {
        Ok(started) => started,
        Err(error) if is_out_of_resources(&error) => {
            marker.end();
            tell(format!(
                "memsample: this test is not marked: there can be no other process: {error}"
            ));
            return Ok(cannot_run(&args.command, &become_command(program, arguments)));
        }
        Err(error) => {
            marker.end();
            return Ok(cannot_run(&args.command, &error));
        }
    };
    let none = never();
    let mut signals = &signals;
    let end = loop {
        select! {
            recv(command.ended()) -> end => break end.unwrap_or(CommandEnd::Exited(1)),
            // A signal to the process group has reached the command too, which then receives it twice:
            // the two cases cannot be distinguished.
            recv(signals) -> signal => match signal {
                Ok(signal) => command.forward(signal),
                // No more can be received.
                Err(_) => signals = &none,
            },
        }
    };
    marker.end();
    if let CommandEnd::Signaled(signal) = end {
        die_of(signal);
    }
    Ok(ExitCode::of_command(end.code()))
}

/// Returns the name of the test that cargo-nextest has started this process for, as it prints it.
///
/// It also starts programs to list their tests; then there is none.
fn nextest_test() -> Option<String> {
    let (binary, test) = (env::var("NEXTEST_BINARY_ID").ok()?, env::var("NEXTEST_TEST_NAME").ok()?);
    Some(format!("{binary} {test}"))
}

/// Ends this process by the signal that ended the command, so that its parent sees the same status.
fn die_of(signal: i32) {
    // The command has dumped its core already, if it was to.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    end_by(signal);
}

/// Marks the begin and the end of the test.
struct Marker {
    client: Client,
    session: String,
    test: String,
}

impl Marker {
    fn begin(args: &ExecArgs, test: String) -> anyhow::Result<Self> {
        if let Some(reason) = too_few_descriptors(CLIENT_DESCRIPTORS) {
            bail!(reason);
        }
        let (client, _) = connect_to(args.socket.as_deref())?;
        let mut client = client.timeout(patience(PATIENCE));
        let session = chosen(&mut client, args.session.clone())?;
        let mut marker = Self { client, session, test };
        marker.mark(MarkKind::Begin)?;
        Ok(marker)
    }

    fn end(&mut self) {
        if let Err(error) = self.mark(MarkKind::End) {
            tell(format!("memsample: the end of this test is not marked: {error:#}"));
        }
    }

    fn mark(&mut self, kind: MarkKind) -> anyhow::Result<()> {
        let name = format!("{EXEC_MARK}{}", std::process::id());
        let test = Some(self.test.clone());
        let mark = MarkRequest { kind, name, test, ..MarkRequest::default() };
        Ok(self.client.mark(&self.session, &mark)?)
    }
}
