//! `memsample serve`: the dashboard of a store, or of a directory of runs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use memsample_inherited::{LogOf, start_log, tell};
use memsample_serve::{Guard, Index, ServeOptions, Webhook, serve};
use memsample_store::layout::{MANIFESTS, escaped};
use memsample_store::{Address, DirectoryKind, Store};
use rustix::process::{Pid, Signal, getppid, nice, set_parent_process_death_signal};

use crate::exit::ExitCode;
use crate::signals::signals;

/// How much less of a CPU it takes where a daemon wants it.
const NICER: i32 = 10;
/// Where `memsample run` puts its runs.
const DEFAULT_RUNS: &str = "runs";

/// Serve the dashboard of runs: releases, runs, reports, and each test over time
///
/// The runs are those of a directory into which `memsample run` and `memsample record` write, where they are read and
/// left as they are, or those of a store, into which `memsample push` puts the runs of many machines.
///
/// Pages need no script, and what they show is also served as JSON below /api/v1. Anybody who can connect may
/// read, unless there is a token file; a server on any other address than that of this machine needs one. Who has a
/// token that may write can begin and close releases of a store, and `--compact` puts its small files together; nothing
/// else is changed. An index of the runs is kept in a file, and made anew when that is lost.
/// docs/dashboard.md describes what is served.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    memsample serve                                     # the runs in `runs`\n  \
    memsample serve --runs /srv/lab\n  \
    memsample serve --runs s3://lab/memory --listen 0.0.0.0:8080 --token-file tokens\n  \
    memsample serve --runs /srv/lab --prefix /memory    # behind a reverse proxy")]
pub(crate) struct ServeArgs {
    /// Directory of runs or recordings, or a store: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, or its directory
    #[arg(long, value_name = "DIR|STORE", default_value = DEFAULT_RUNS)]
    runs: Address,

    /// Address to listen on
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,

    /// Path below which a reverse proxy has it, such as /memory
    #[arg(long, value_name = "PATH", default_value = "")]
    prefix: String,

    /// Name by which a reverse proxy is reached, such as lab.example.org; may be given several times
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,

    /// File with the tokens of those who may read, one on each line, which only its owner may read; ` write` after a
    /// token lets who has it begin and close releases
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// File with the address to which what got worse is posted, which only its owner may read; a second line is the
    /// secret with which it is signed
    #[arg(long, value_name = "FILE")]
    webhook_file: Option<PathBuf>,

    /// Address of this server for its readers, which is told with what got worse, such as https://lab.example.org/memory
    #[arg(long, value_name = "URL", value_parser = public_url)]
    public_url: Option<String>,

    /// Socket of the daemon whose sessions are shown while they go on
    #[arg(long, value_name = "SOCKET")]
    daemon: Option<PathBuf>,

    /// File that `memsample-fleet board` keeps, from which workers, queues and what runs are shown
    #[arg(long, value_name = "FILE")]
    fleet: Option<PathBuf>,

    /// File of the index [default: below $XDG_CACHE_HOME/memsample, by the name of the directory or store]
    #[arg(long, value_name = "FILE")]
    index: Option<PathBuf>,

    /// Compact the store meanwhile, as `memsample compact` does: days that are over once a day, and of any other day a
    /// hundred runs as soon as there are as many
    #[arg(long)]
    compact: bool,

    /// Serve for the daemon of this process id: yield to it, and end with it
    #[arg(long, value_name = "PID", hide = true)]
    beside: Option<i32>,
}

/// How long who reads what is told may take for its end.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let log = start_log(LogOf::Command);
    let served = serve_with_log(args);
    log.finish_within(PATIENCE);
    served
}

fn serve_with_log(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    if !args.listen.ip().is_loopback() && args.token_file.is_none() {
        bail!(
            "`{}` can be reached from other machines: name a file of tokens with --token-file (make one with \
             `(umask 077; head -c 32 /dev/urandom | base64 > FILE)`)",
            args.listen
        );
    }
    if let Some(daemon) = args.beside {
        yield_to(daemon)?;
    }
    let guard = match &args.token_file {
        Some(file) => Guard::read(file)?,
        None => Guard::default(),
    };
    let guard = guard.hosts(args.host.clone());
    let store = open(&args.runs)?;
    if args.compact && store.is_in_place() {
        bail!(
            "`{}` is a directory of runs, which is only read: `memsample push` makes a store of it, which --compact is for",
            args.runs
        );
    }
    let index = match &args.index {
        Some(path) => path.clone(),
        None => default_index(&args.runs)?,
    };
    let index = Index::open(&index, args.index.is_some(), &address_text(&args.runs)?)?;
    let signals = signals()?;
    let webhook = args.webhook_file.as_deref().map(Webhook::read).transpose()?;
    let options = ServeOptions {
        listen: args.listen,
        prefix: args.prefix.clone(),
        guard,
        store,
        index,
        public_url: args.public_url.clone(),
        webhook,
        daemon: args.daemon.clone(),
        fleet: args.fleet.clone(),
        compact: args.compact,
    };
    let listening = |address: SocketAddr, prefix: &str| {
        tell(format!("serving `{}` on http://{address}{prefix}/", args.runs));
    };
    let end = move || {
        let _ = signals.recv();
    };
    serve(options, listening, end).with_context(|| format!("cannot serve on {}", args.listen))?;
    Ok(ExitCode::SUCCESS)
}

/// Lets a daemon go first in all things: with the CPU, and when memory is short. When it ends, this program is told to.
fn yield_to(daemon: i32) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::TERM))?;
    // It may have ended before the kernel knew that this program wants to be told.
    if Pid::as_raw(getppid()) != daemon {
        bail!("the daemon {daemon} has ended");
    }
    // Whoever may do neither, as in a service that is shut off, still has a dashboard.
    if let Err(error) = nice(NICER) {
        tell(format!("warning: the dashboard has the priority of the daemon: {error}"));
    }
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", "1000") {
        tell(format!("warning: the OOM killer is not told to take the dashboard first: {error}"));
    }
    Ok(())
}

fn public_url(text: &str) -> Result<String, String> {
    match text.starts_with("https://") || text.starts_with("http://") {
        true => Ok(text.to_owned()),
        false => Err("it must begin with https:// or http://".to_owned()),
    }
}

/// Opens what is served, by what it is.
fn open(runs: &Address) -> anyhow::Result<Store> {
    let Address::Directory(directory) = runs else { return Ok(Store::open(runs)?) };
    let shown = directory.display();
    let kind = match DirectoryKind::of(directory) {
        Ok(kind) => kind,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
            "there is no directory `{shown}`: `memsample run` makes one of runs, and `memsample push` a store; name it \
             with --runs"
        ),
        Err(error) => return Err(error).with_context(|| format!("cannot read `{shown}`")),
    };
    match kind {
        DirectoryKind::Store => Ok(Store::open(runs)?),
        DirectoryKind::Runs | DirectoryKind::Empty => Ok(Store::of_runs(directory)?),
        DirectoryKind::Run => bail!(
            "`{shown}` is a single run or recording: `memsample report {shown}` shows it, and `--runs` takes the \
             directory above it"
        ),
        DirectoryKind::Other => bail!(
            "`{shown}` is neither a directory of runs nor a store: no directory in it is a run or a recording, and it has \
             no `{MANIFESTS}`"
        ),
    }
}

fn default_index(store: &Address) -> anyhow::Result<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    let cache = cache
        .context("neither XDG_CACHE_HOME nor HOME is set: name the index with --index FILE")?;
    let name = address_text(store)?;
    Ok(cache.join("memsample").join(format!("{}.index", escaped(name.as_bytes()))))
}

/// The store as text that is the same in every working directory.
fn address_text(store: &Address) -> anyhow::Result<String> {
    Ok(match store {
        Address::Directory(directory) => std::path::absolute(directory)?.display().to_string(),
        bucket => bucket.to_string(),
    })
}
