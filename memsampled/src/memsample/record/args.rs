//! The options of `memsample record`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use memsample::{Rate, SweepBy};

use crate::config_args::{Cmdline, ConfigArgs};
use crate::json_output::JsonArgs;
use crate::{duration, share};

/// Record the memory of every process until Ctrl-C, for a time, or while a command runs
///
/// Writes a directory of Parquet files, which DuckDB, Polars, pandas and pyarrow can open even while it
/// grows. If this program is killed, at most the last half second is lost. At the end it prints the
/// largest processes, losses and cost to stdout; of a command, what it used, to stderr. Exits with 125 if
/// it fails itself with a command, with 126 or 127 if the command cannot be executed or is not found.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    memsample record --duration 10s\n  \
    memsample record --interval 10ms --name nightly -- make check\n  \
    memsample record --json memory.json -- sh -c 'make && make check'\n  \
    memsample record --pid 4711 --duration 1m\n  \
    memsample record --json --duration 1m | jq .late")]
pub(crate) struct RecordArgs {
    /// Sampling interval: 1ms to 1h
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = duration::parse)]
    pub(crate) interval: Duration,

    /// Stop recording after this time; the command continues to run
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) duration: Option<Duration>,

    /// Directory below which to create the recording
    #[arg(long, value_name = "DIR", default_value = "recordings")]
    pub(crate) out: PathBuf,

    /// Put the recording into this store when it is closed: see `memsample push`. If that fails, the exit code says so
    /// only in place of success, and not with COMMAND
    #[cfg(feature = "lab")]
    #[arg(long, value_name = "STORE")]
    pub(crate) push: Option<memsample_store::Address>,

    /// Name of the recording, before the time [default: the time alone, such as 20261122T172633Z]. In DIR, the
    /// links `latest` and NAME lead to the newest recording
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// Record only this process and its descendants [default: the whole machine]
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) pid: Option<i32>,

    /// Record only the processes of this control group and of those below it: a path as in
    /// /proc/PID/cgroup
    #[arg(long, value_name = "PATH", conflicts_with = "pid")]
    pub(crate) cgroup: Option<PathBuf>,

    /// Maximum time between readings of the kinds of memory, swap, the high-water mark, faults and CPU
    /// times, which are also read when memory changes; `every` reads them at every tick
    #[arg(long, value_name = "TIME|every|off", default_value = "1s", value_parser = duration::parse_rate)]
    pub(crate) detail_interval: Rate,

    /// Share of one CPU to spend on PSS and USS, which cost sixty times as much as RSS: a percentage,
    /// `off` or `unlimited`. Processes that changed most are read first [default: 1%]
    #[arg(long, value_name = "SHARE", conflicts_with = "pss_interval", value_parser = share::parse)]
    pub(crate) pss_budget: Option<f64>,

    /// Read PSS and USS of all processes at this interval, whatever it costs; `every` reads them at
    /// every tick
    #[arg(long, value_name = "TIME|every|off", value_parser = duration::parse_rate)]
    pub(crate) pss_interval: Option<Rate>,

    /// Receive forks, execs, exits and true peaks of processes from the kernel
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub(crate) events: Events,

    /// Where to read the numbers of processes: the files in /proc, or one pass of a BPF program, at a third of the cost
    /// and with the same values [default: proc, or `sweep` of the configuration file]
    #[arg(long, value_name = "WAY", value_enum)]
    pub(crate) sweep: Option<Sweep>,

    /// Interval between readings of the memory of control groups; `every` reads it at every tick
    #[arg(long, value_name = "TIME|every|off", default_value = "1s", value_parser = duration::parse_rate)]
    pub(crate) cgroup_interval: Rate,

    /// How much of the arguments of a process to record. The role is derived from all of them, and may
    /// contain the name of a script [default: full]
    #[arg(long, value_name = "WHAT", value_enum)]
    pub(crate) cmdline: Option<Cmdline>,

    #[command(flatten)]
    pub(crate) config: ConfigArgs,

    /// Read another /proc tree: a mount elsewhere, or a captured copy
    #[arg(long, value_name = "ROOT", default_value = "/proc")]
    pub(crate) proc: PathBuf,

    /// Read control groups and compressed swap from this copy of /sys, which belongs to a captured /proc
    #[arg(long, value_name = "ROOT")]
    pub(crate) sys: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) json: JsonArgs,

    /// Show a live status line
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub(crate) progress: Progress,

    /// Command to run. Its output passes through, and its exit code becomes that of memsample; it runs
    /// even if it cannot be recorded
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// Whether the kernel reports processes.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Events {
    /// If the kernel allows it, which needs CAP_NET_ADMIN
    Auto,
    /// Never
    Off,
}

/// Where the numbers of processes are read.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sweep {
    /// By BPF where that works and agrees with /proc (`memsample doctor` says whether), and else from /proc
    Auto,
    /// The files in /proc
    Proc,
    /// By BPF, or not at all
    Bpf,
}

impl From<Sweep> for SweepBy {
    fn from(sweep: Sweep) -> Self {
        match sweep {
            Sweep::Auto => Self::Auto,
            Sweep::Proc => Self::Proc,
            Sweep::Bpf => Self::Bpf,
        }
    }
}

/// Whether there is a live status line.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Progress {
    /// On a terminal, unless a recorded command writes to it
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}
