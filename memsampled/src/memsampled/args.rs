//! The options of the daemon.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{CommandFactory, Parser};
use memsample_daemon::Arguments;
use memsample_inherited::print;
use memsample_input::{ByteSize, Span};

/// Record the memory of every process on request, over a socket.
///
/// Clients are `memsample start`, `mark` and `stop`, and `curl --unix-socket`; docs/control-api.md describes the
/// requests. SIGTERM closes all recordings and ends the daemon. On SIGHUP the daemon reads its configuration again.
#[derive(Parser)]
#[command(name = "memsampled", version, max_term_width = 100)]
#[command(after_help = "Examples:\n  \
    memsampled\n  \
    memsampled --socket /tmp/m.sock --recordings ./recordings\n  \
    memsampled --flight-recorder 5m\n  \
    memsampled --http 127.0.0.1:8021 --token-file token")]
pub(crate) struct Args {
    /// Listen on this socket [default: /run/memsampled/memsampled.sock as root, else
    /// $XDG_RUNTIME_DIR/memsampled.sock], unless systemd passes one
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,

    /// Write recordings into this directory [default: /var/lib/memsampled/recordings as root, else
    /// $XDG_STATE_HOME/memsampled/recordings]
    #[arg(long, value_name = "DIR")]
    recordings: Option<PathBuf>,

    /// Serve HTTP on this loopback address too; needs --token-file
    #[arg(long, value_name = "127.0.0.1:PORT")]
    http: Option<SocketAddr>,

    /// Read the token that clients over TCP send as `Authorization: Bearer TOKEN` from this file, which only
    /// its owner may read; it also opens the dashboard
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Let the members of this group connect to the socket
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,

    /// Report this many of the largest roles of each session in /metrics, at most 100: a series each for
    /// resident set, anonymous memory and processes [default: 0]
    #[arg(long, value_name = "N")]
    metrics_roles: Option<usize>,

    /// Push each recording into this store when it is closed, in the background, again and again until the store
    /// takes it: see `memsample push`
    #[arg(long, value_name = "STORE")]
    push: Option<String>,

    /// Serve the dashboard of the recordings on this address, in a process of its own with a lower priority; needs
    /// --token-file: see `memsample serve`
    #[arg(long, value_name = "ADDRESS:PORT")]
    serve: Option<SocketAddr>,

    /// Show the runs of this directory or store on the dashboard [default: the recordings of this daemon]
    #[arg(long, value_name = "DIR|STORE")]
    serve_runs: Option<String>,

    /// Keep the last minutes of everything, such as `5m`: `memsample dump` makes a recording of them. The daemon
    /// makes one automatically when memory is short, and after the OOM killer has killed
    #[arg(long, value_name = "TIME")]
    flight_recorder: Option<Span>,

    /// Limit the size of the last minutes on disk [default: 256MiB]
    #[arg(long, value_name = "SIZE")]
    flight_recorder_bytes: Option<ByteSize>,

    /// Read this configuration, in TOML: its table [daemon], which arguments override
    #[arg(long, value_name = "FILE", env = "MEMSAMPLED_CONFIG")]
    config: Option<PathBuf>,

    /// End when the other end of the socket that is the standard input is closed
    #[arg(long, hide = true)]
    ends_with_stdin: bool,

    /// Print a script that completes the arguments in a shell, and exit
    #[arg(long, value_name = "SHELL", exclusive = true)]
    completions: Option<clap_complete::Shell>,

    /// Write the manual page into a directory, and exit
    #[arg(long, value_name = "DIR", exclusive = true)]
    man: Option<PathBuf>,
}

impl Args {
    /// Prints what describes the arguments, if asked to; then there is nothing else to do.
    pub(crate) fn print_documents(&self) -> anyhow::Result<bool> {
        if let Some(shell) = self.completions {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Self::command(), "memsampled", &mut script);
            print(script);
            return Ok(true);
        }
        if let Some(directory) = &self.man {
            clap_mangen::generate_to(Self::command(), directory)?;
            return Ok(true);
        }
        Ok(false)
    }

    pub(crate) fn into_arguments(self) -> Arguments {
        let Self {
            socket, recordings, http, token_file, group, metrics_roles, push, config, ..
        } = self;
        let Self { serve, serve_runs, flight_recorder, flight_recorder_bytes, .. } = self;
        let ends_with_stdin = self.ends_with_stdin;
        Arguments {
            socket,
            recordings,
            http,
            token_file,
            push,
            serve,
            serve_runs,
            group,
            metrics_roles,
            flight_recorder: flight_recorder.map(|span| span.0),
            flight_recorder_bytes: flight_recorder_bytes.map(|size| size.0),
            config,
            ends_with_stdin,
        }
    }
}
