//! `memsample exec`: runs a command as a test of a session.

use std::env;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crossbeam_channel::{never, select};
use memsample::analysis::EXEC_MARK;
use memsample_client::Client;
use memsample_client::wire::{MarkKind, MarkRequest};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::low_level::emulate_default_handler;

use crate::child::{CommandEnd, RunningCommand};
use crate::command_hint::cannot_run;
use crate::control::{chosen, connect_to};
use crate::exit::ExitCode;
use crate::signals::signals_of;

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
    pub(crate) command: Vec<String>,
}

/// Signals with which a person or a test runner stops or wakes a program.
const FORWARDED: [i32; 6] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];

/// How long a test waits for a daemon that does not answer. It usually answers within a millisecond, and
/// the wait counts towards the time of the test.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) fn run(args: &ExecArgs) -> anyhow::Result<ExitCode> {
    let Some((program, arguments)) = args.command.split_first() else {
        return Ok(ExitCode::WRONG_USAGE);
    };
    let Some(test) = args.test.clone().or_else(nextest_test) else {
        return Ok(become_command(&args.command, program, arguments));
    };
    let mut marker = match Marker::begin(args, test) {
        Ok(marker) => marker,
        Err(error) => {
            // A recorder must never make a test fail.
            let _ = writeln!(io::stderr(), "memsample: this test is not marked: {error:#}");
            return Ok(become_command(&args.command, program, arguments));
        }
    };
    let signals = signals_of(&FORWARDED)?;
    let command = match RunningCommand::spawn(program, arguments) {
        Ok(command) => command,
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

/// Executes the command in place of this program.
fn become_command(command: &[String], program: &str, arguments: &[String]) -> ExitCode {
    let error = Command::new(program).args(arguments).exec();
    cannot_run(command, &error)
}

/// Ends this process by the signal that ended the command, so that its parent sees the same status.
fn die_of(signal: i32) {
    // The command has dumped its core already, if it was to.
    let limit = getrlimit(Resource::Core);
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), ..limit });
    // Fails for a signal that it does not know, such as a real-time signal.
    let _ = emulate_default_handler(signal);
}

/// Marks the begin and the end of the test.
struct Marker {
    client: Client,
    session: String,
    test: String,
}

impl Marker {
    fn begin(args: &ExecArgs, test: String) -> anyhow::Result<Self> {
        let (client, _) = connect_to(args.socket.as_deref())?;
        let mut client = client.timeout(PATIENCE);
        let session = chosen(&mut client, args.session.clone())?;
        let mut marker = Self { client, session, test };
        marker.mark(MarkKind::Begin)?;
        Ok(marker)
    }

    fn end(&mut self) {
        if let Err(error) = self.mark(MarkKind::End) {
            let _ =
                writeln!(io::stderr(), "memsample: the end of this test is not marked: {error:#}");
        }
    }

    fn mark(&mut self, kind: MarkKind) -> anyhow::Result<()> {
        let name = format!("{EXEC_MARK}{}", std::process::id());
        let test = Some(self.test.clone());
        let mark = MarkRequest { kind, name, test, ..MarkRequest::default() };
        Ok(self.client.mark(&self.session, &mark)?)
    }
}
