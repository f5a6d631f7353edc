//! What can be typed. The help texts are here; what the words mean is in the module of each command.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use memsample::{KeptArguments, Rate, Redaction};
use regex::Regex;

use crate::peaks::PeaksBy;
use crate::run::RunArgs;
use crate::view::{By, parse_at, parse_regex};
use crate::{duration, share};
use memsample::view::At;

/// Records the memory of every process, for test runs on Linux.
#[derive(Parser)]
#[command(name = "memsample", version, propagate_version = true, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 4 disk full, 5 recording could not \
    be written; `record -- COMMAND` and `exec -- COMMAND` exit with the code of COMMAND; those of `run` \
    are in its help."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    Run(Box<RunArgs>),
    Doctor(DoctorArgs),
    Record(RecordArgs),
    Recover(RecoverArgs),
    Summary(SummaryArgs),
    Peaks(PeaksArgs),
    View(ViewArgs),
    Start(StartArgs),
    Mark(MarkArgs),
    Exec(ExecArgs),
    Stop(StopArgs),
    Dump(DumpArgs),
    Status(StatusArgs),
    Sessions(SessionsArgs),
    Import(ImportArgs),
    /// Print the tables and columns of a recording, with units and sources, as Markdown
    Schema,
    /// Print a script that completes the arguments of this command in a shell
    ///
    /// For bash: memsample completions bash > /etc/bash_completion.d/memsample
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a directory
    Man {
        /// The directory, which must exist
        directory: PathBuf,
    },
}

/// Record the memory of every process, until Ctrl-C, for a time, or while a command runs
///
/// The recording is a directory of Parquet files that DuckDB, Polars, pandas and pyarrow open, also
/// while it grows. If this program is killed, at most the last half second is lost.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    memsample record --duration 10s\n  \
    memsample record --interval 10ms --name nightly -- make check\n  \
    memsample record --json --duration 1m | jq .late")]
pub(crate) struct RecordArgs {
    /// Time from one sample of every process to the next: 1ms to 1h
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = duration::parse)]
    pub(crate) interval: Duration,

    /// Stop after this time; a command goes on without being recorded
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) duration: Option<Duration>,

    /// Directory in which the recording gets a directory of its own
    #[arg(long, value_name = "DIR", default_value = "recordings")]
    pub(crate) out: PathBuf,

    /// Name of the recording [default: the time, such as 20261122T172633Z]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// How often at least to read the kinds of memory, swap, high-water mark, faults and CPU times: a
    /// time, `every` for every tick, or `off`. With a time they are also read whenever memory changed
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration::parse_rate)]
    pub(crate) detail_interval: Rate,

    /// Share of one CPU for reading PSS and USS, which cost sixty times as much as RSS: such as `1%`,
    /// `off` or `unlimited`. Read first of the processes that changed most [default: 1%]
    #[arg(long, value_name = "SHARE", conflicts_with = "pss_interval", value_parser = share::parse)]
    pub(crate) pss_budget: Option<f64>,

    /// Instead, how often to read PSS and USS of all processes, whatever it costs: a time, `every` or
    /// `off`
    #[arg(long, value_name = "TIME", value_parser = duration::parse_rate)]
    pub(crate) pss_interval: Option<Rate>,

    /// Whether to ask the kernel to tell of every process that begins, and of every one that ends with
    /// its true peak; `auto` asks and goes on without where it does not tell (it needs CAP_NET_ADMIN)
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub(crate) events: Events,

    /// How often to read the memory of control groups: a time, `every` for every tick, or `off`
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration::parse_rate)]
    pub(crate) cgroup_interval: Rate,

    /// What to record of the arguments of processes: all, the first, or nothing. The role of a process
    /// is taken before, and may hold the name of a script [default: full]
    #[arg(long, value_name = "WHAT", value_enum)]
    pub(crate) cmdline: Option<Cmdline>,

    #[command(flatten)]
    pub(crate) config: ConfigArgs,

    /// Another /proc tree to read: a mount elsewhere, or a captured copy
    #[arg(long, value_name = "ROOT", default_value = "/proc")]
    pub(crate) proc: PathBuf,

    /// The copy of /sys that goes with a captured /proc: for control groups and compressed swap
    #[arg(long, value_name = "ROOT")]
    pub(crate) sys: Option<PathBuf>,

    /// Print the result as one JSON object
    #[arg(long)]
    pub(crate) json: bool,

    /// Whether to show a live line; `auto` shows one on a terminal where no command writes
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub(crate) progress: Progress,

    /// The command to record. Its output passes through, and its exit code becomes that of memsample
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

/// What holds for every run of a user, and what is added to it.
#[derive(clap::Args)]
pub(crate) struct ConfigArgs {
    /// The configuration, with what to take out of arguments and rules that name roles
    /// [default: $MEMSAMPLE_CONFIG, or ~/.config/memsample/config.toml if it exists]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Write `[redacted]` in place of what matches in the arguments of a process, between which a space
    /// stands: such as '--password[= ]\S+'. May be given several times
    #[arg(long, value_name = "REGEX", value_parser = parse_redaction, allow_hyphen_values = true)]
    pub(crate) redact: Vec<Redaction>,
}

fn parse_redaction(text: &str) -> Result<Redaction, String> {
    Redaction::new(text).map_err(|error| error.to_string())
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Cmdline {
    Full,
    Program,
    None,
}

impl From<Cmdline> for KeptArguments {
    fn from(cmdline: Cmdline) -> Self {
        match cmdline {
            Cmdline::Full => Self::Full,
            Cmdline::Program => Self::Program,
            Cmdline::None => Self::None,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Events {
    Auto,
    Off,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Progress {
    Auto,
    Always,
    Never,
}

/// Say which sandboxes, limits and counters work on this machine, and what would make the rest work
///
/// What does not work here is not used by `memsample run`, or refused if a suite asks for it.
#[derive(clap::Args)]
pub(crate) struct DoctorArgs {
    /// Print one JSON array
    #[arg(long)]
    pub(crate) json: bool,
}

/// Put together a recording whose recorder was killed
///
/// This also happens by itself when the recording is next opened. A recording that is whole, or that
/// is still being written, is left as it is.
#[derive(clap::Args)]
pub(crate) struct RecoverArgs {
    /// Directories of recordings
    #[arg(required = true, value_name = "RECORDING")]
    pub(crate) recordings: Vec<PathBuf>,
}

/// Print the largest processes of a recording, and what it could not see
#[derive(clap::Args)]
pub(crate) struct SummaryArgs {
    /// The directory of a recording
    #[arg(value_name = "RECORDING")]
    pub(crate) recording: PathBuf,

    /// How many processes to print
    #[arg(long, value_name = "COUNT", default_value_t = crate::summary::LARGEST)]
    pub(crate) top: usize,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Print the largest resident sets of a recording, with bounds
///
/// A peak between two samples is higher than both. `412.0 MiB` was told by the kernel itself;
/// `380.1 MiB to 412.0 MiB` lies between; `at least 380.1 MiB` is all that was seen. AT is when the peak
/// was at the latest, since the first tick; SAMPLED is the largest sample, and what follows its parts.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    memsample peaks recordings/nightly\n  \
    memsample peaks recordings/nightly --by role --top 5\n  \
    memsample peaks recordings/nightly --by test\n  \
    memsample peaks recordings/nightly --filter '^python3' --json | jq '.[].upper_bytes'")]
pub(crate) struct PeaksArgs {
    /// The directory of a recording
    #[arg(value_name = "RECORDING")]
    pub(crate) recording: PathBuf,

    /// What a row stands for
    #[arg(long, value_name = "WHAT", default_value = "process")]
    pub(crate) by: PeaksBy,

    /// How many rows to print
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    pub(crate) top: usize,

    /// Only processes whose name or command line matches, or roles or tests that do
    #[arg(long, value_name = "REGEX", value_parser = parse_regex)]
    pub(crate) filter: Option<Regex>,

    /// Print one JSON array with an object for each row
    #[arg(long, conflicts_with = "csv")]
    pub(crate) json: bool,

    /// Print comma-separated values
    #[arg(long)]
    pub(crate) csv: bool,
}

/// Make a recording of captures that smemcap wrote
///
/// A capture is a tar, plain or compressed with gzip, with smaps, cmdline and stat of every process.
/// Several become one recording, each of them one tick at its time. High-water marks, control groups
/// and paths of executables are not in a capture, and null in the recording. A file that is damaged, cut
/// off or no capture is refused, and nothing is left behind.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    memsample import --name before capture.tar\n  \
    memsample import --name night captures/*.tgz && memsample view recordings/night --by user")]
pub(crate) struct ImportArgs {
    /// The captures, in any order
    #[arg(required = true, value_name = "CAPTURE")]
    pub(crate) captures: Vec<PathBuf>,

    /// Directory in which the recording gets a directory of its own
    #[arg(long, value_name = "DIR", default_value = "recordings")]
    pub(crate) out: PathBuf,

    /// Name of the recording [default: that of the first capture, without what is behind its first dot]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// What to record of the arguments of processes: all, the first, or nothing [default: full]
    #[arg(long, value_name = "WHAT", value_enum)]
    pub(crate) cmdline: Option<Cmdline>,

    #[command(flatten)]
    pub(crate) config: ConfigArgs,

    /// Print the result as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show the memory of every process, now or at an instant of a recording
///
/// The rows are processes, or sums over those of one user, control group or role; what processes map;
/// or the areas of the machine's memory. The largest are first. RSS counts shared pages in full for
/// every process, so only PSS adds up. `-` (null, or empty, for machines) is what is not known, and a
/// sum that lacks a process says so.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    memsample view --by user --totals\n  \
    memsample view --columns pid,role,pss,command --sort rss --filter cargo\n  \
    memsample view --by mapping --filter '^python3' | head\n  \
    memsample view recordings/nightly --at 12.5s --by role\n  \
    memsample view --json | jq 'map(select(.pss_bytes > 100e6))'")]
pub(crate) struct ViewArgs {
    /// The directory of a recording [default: this machine, now]
    #[arg(value_name = "RECORDING")]
    pub(crate) recording: Option<PathBuf>,

    /// The instant of the recording: a time such as 2026-11-22T20:59:38.281Z, or a length of time
    /// since its first tick, such as 12.5s. Shows the last tick that is not later [default: the last]
    #[arg(long, value_name = "TIME", requires = "recording", value_parser = parse_at)]
    pub(crate) at: Option<At>,

    /// What a row stands for
    #[arg(long, value_name = "WHAT", default_value = "process")]
    pub(crate) by: By,

    /// The columns, separated by commas; a wrong name lists those that there are
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) columns: Option<Vec<String>>,

    /// The column to sort by, largest first, words from A to Z; unknown values come last [default: pss]
    #[arg(long, value_name = "COLUMN")]
    pub(crate) sort: Option<String>,

    /// Sort the other way round
    #[arg(long)]
    pub(crate) reverse: bool,

    /// Only processes whose name or command line matches, and not this one
    #[arg(long, value_name = "REGEX", value_parser = parse_regex)]
    pub(crate) filter: Option<Regex>,

    /// Only processes of this user: a name or a number
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,

    /// Add a row with the sums
    #[arg(long, conflicts_with_all = ["json", "csv"])]
    pub(crate) totals: bool,

    /// Print shares of the machine's memory, and of its swap space for swap
    #[arg(long, conflicts_with_all = ["json", "csv", "bytes"])]
    pub(crate) percent: bool,

    /// Print bytes as plain numbers, as JSON and CSV always do
    #[arg(long)]
    pub(crate) bytes: bool,

    /// Print one JSON array with an object for each row
    #[arg(long, conflicts_with = "csv")]
    pub(crate) json: bool,

    /// Print comma-separated values
    #[arg(long)]
    pub(crate) csv: bool,

    #[command(flatten)]
    pub(crate) config: ConfigArgs,

    /// Another /proc tree to read: a mount elsewhere, or a captured copy
    #[arg(long, value_name = "ROOT", default_value = "/proc", conflicts_with = "recording")]
    pub(crate) proc: PathBuf,
}

/// How to reach the daemon, and how to print what it says.
#[derive(clap::Args)]
pub(crate) struct DaemonArgs {
    /// Socket of the daemon [default: /run/memsampled/memsampled.sock as root, else
    /// $XDG_RUNTIME_DIR/memsampled.sock]
    #[arg(long, value_name = "PATH", env = memsample_client::SOCKET_VARIABLE)]
    pub(crate) socket: Option<PathBuf>,

    /// Print what the daemon says as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Start a recording in the daemon, and print the id of the session
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    session=$(memsample start --name nightly --label commit=$(git rev-parse HEAD))\n  \
    eval \"$(memsample start --env)\"; memsample mark begin load; ...; memsample stop")]
pub(crate) struct StartArgs {
    #[command(flatten)]
    pub(crate) daemon: DaemonArgs,

    /// Name of the recording; its id is this and the time [default: the time alone]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// Time from one sample of every process to the next: 1ms to 1h [default: 100ms]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) interval: Option<Duration>,

    /// Record only this process and all that descend from it, instead of the whole machine
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) pid: Option<i32>,

    /// Record only the processes of this control group and of those below it: a path as in
    /// /proc/PID/cgroup
    #[arg(long, value_name = "PATH", conflicts_with = "pid")]
    pub(crate) cgroup: Option<String>,

    /// Share of one CPU for reading PSS and USS, such as `1%` or `off` [default: 1%]
    #[arg(long, value_name = "SHARE", value_parser = share::parse)]
    pub(crate) pss_budget: Option<f64>,

    /// A label to find in recording.json; may be given more than once
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = crate::control::parse_label)]
    pub(crate) labels: Vec<(String, String)>,

    /// Stop after this time [default: what the daemon allows]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) duration: Option<Duration>,

    /// Stop when nobody has marked the session or asked for it for this time [default: what the daemon
    /// allows]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) idle: Option<Duration>,

    /// Print lines for the shell that export MEMSAMPLE_SOCKET and MEMSAMPLE_SESSION, so that `mark` and
    /// `stop` need no arguments, here and in programs that are started
    #[arg(long, conflicts_with = "json")]
    pub(crate) env: bool,
}

/// Set a mark in a recording of the daemon, at this instant
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    memsample mark begin test_load --test test_load\n  \
    memsample mark point 'cache dropped'")]
pub(crate) struct MarkArgs {
    #[command(flatten)]
    pub(crate) daemon: DaemonArgs,

    /// What the mark says
    pub(crate) kind: MarkWord,

    /// What begins, ends or happened
    pub(crate) name: String,

    /// The test that the mark belongs to
    #[arg(long, value_name = "TEST")]
    pub(crate) test: Option<String>,

    /// A label to find in the row of the mark; may be given more than once
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = crate::control::parse_label)]
    pub(crate) labels: Vec<(String, String)>,

    /// The session [default: the only one that goes on]
    #[arg(long, value_name = "ID", env = memsample_client::SESSION_VARIABLE)]
    pub(crate) session: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MarkWord {
    Begin,
    End,
    Point,
}

/// Run a command as a test of a recording that goes on: mark its begin and its end
///
/// The test is what the command does and every process that it starts: `memsample peaks --by test` adds
/// them up. Output, exit code and signals pass through untouched. Without a daemon or a session the
/// command runs all the same, and a line on the error stream says that it is not marked.
///
/// Under cargo-nextest it needs no name: see clients/nextest.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    eval \"$(memsample start --env)\"; memsample exec --test load -- ./load --users 100; memsample stop\n  \
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER='memsample exec --' cargo nextest run")]
pub(crate) struct ExecArgs {
    /// Socket of the daemon [default: /run/memsampled/memsampled.sock as root, else
    /// $XDG_RUNTIME_DIR/memsampled.sock]
    #[arg(long, value_name = "PATH", env = memsample_client::SOCKET_VARIABLE)]
    pub(crate) socket: Option<PathBuf>,

    /// Name of the test [default: of the test that cargo-nextest runs; where there is none, the command
    /// runs without marks]
    #[arg(long, value_name = "NAME")]
    pub(crate) test: Option<String>,

    /// The session [default: the only one that goes on]
    #[arg(long, value_name = "ID", env = memsample_client::SESSION_VARIABLE)]
    pub(crate) session: Option<String>,

    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

/// Stop a recording of the daemon, and print its path
#[derive(clap::Args)]
pub(crate) struct StopArgs {
    #[command(flatten)]
    pub(crate) daemon: DaemonArgs,

    /// The session [default: the only one that goes on]
    #[arg(value_name = "SESSION", env = memsample_client::SESSION_VARIABLE)]
    pub(crate) session: Option<String>,
}

/// Make a recording of the last minutes that the daemon keeps, and print its path
///
/// The daemon keeps them where it was started with --flight-recorder. Only root and the user of the
/// daemon may do this, since it holds the processes of all.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    memsample peaks \"$(memsample dump --last 2m)\"\n  \
    memsample dump --name stuck --label host=$(hostname)")]
pub(crate) struct DumpArgs {
    #[command(flatten)]
    pub(crate) daemon: DaemonArgs,

    /// How much [default: all that is kept]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) last: Option<Duration>,

    /// Name of the recording; its id is this and the time [default: flight]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// A label to find in recording.json; may be given more than once
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = crate::control::parse_label)]
    pub(crate) labels: Vec<(String, String)>,
}

/// Say how the daemon is, and what protects it
#[derive(clap::Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) daemon: DaemonArgs,
}

/// List the recordings that go on in the daemon
#[derive(clap::Args)]
pub(crate) struct SessionsArgs {
    #[command(flatten)]
    pub(crate) daemon: DaemonArgs,
}
