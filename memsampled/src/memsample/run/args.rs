//! The options of `memsample run`.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use memsample::Rate;
use memsample_input::ByteSize;
#[cfg(feature = "devices")]
use memsample_remote::Address;
use memsample_runner::plan::{Keywords, Shard};
use memsample_runner::sandbox::Keep;
use memsample_runner::suite::Sandbox;
use regex::Regex;

use crate::config_args::ConfigArgs;
use crate::control::parse_label;
use crate::record::{Events, Progress};
use crate::{duration, pattern, share};

/// Run the tests of a suite, each in its own sandbox, and report their outcomes and memory
///
/// Creates a directory below --out with the recording, `results.json`, `junit.xml`, and the output and
/// artifacts of each test, and prints its path as the last line to stdout. Progress goes to stderr.
/// Ctrl-C or SIGTERM stops the tests and the suite in order; a second signal stops them at once. No
/// process is left running.
#[derive(clap::Args)]
#[command(after_help = "Exit codes: 0 every test passed or was skipped, 1 another failure, \
    2 wrong usage, 4 disk full, 5 recording or results could not be written, 10 a test did not pass, \
    11 the suite was aborted, 12 the suite or policy is invalid, 13 no test is selected.\n\n\
    Examples:\n  \
    memsample run\n  \
    memsample run demo/suite.toml\n  \
    memsample run suite.toml parser 'net/round trip'\n  \
    memsample run -k 'net and not slow' -j 4 --dry-run\n  \
    memsample run suite.toml --name nightly --resume --jobs 4 --peaks runs/yesterday\n  \
    memsample run suite.toml --on ssh://root@touch-1 --on ssh://root@touch-2\n  \
    memsample run suite.toml --tag smoke --fail-fast --json | jq .counts")]
pub(crate) struct RunArgs {
    /// Suite: a TOML file, or a directory in UTAH's format [default: suite.toml in this directory]
    #[arg(value_name = "SUITE")]
    pub(crate) suite: Option<PathBuf>,

    /// Run only the tests with these names. Without SUITE they are those of suite.toml in this directory
    #[arg(value_name = "TEST")]
    pub(crate) tests: Vec<String>,

    /// Directory below which to create the directory of the run
    #[arg(long, value_name = "DIR", default_value = "runs", help_heading = "Results")]
    pub(crate) out: PathBuf,

    /// Name of the run [default: the suite and the time, such as demo-20261122T172633Z]
    #[arg(long, value_name = "NAME", help_heading = "Results")]
    pub(crate) name: Option<String>,

    /// Print the results as one JSON object on one line, with the path in `run`; with --list and --dry-run the tests
    #[arg(long, help_heading = "Results")]
    pub(crate) json: bool,

    /// Variant of junit.xml
    #[arg(long, value_name = "PROFILE", default_value = "jenkins", help_heading = "Results")]
    pub(crate) junit_profile: JunitProfile,

    /// Write report.html into the directory of the run: the results and the memory over time in one file. With --json
    /// and in a log, too, its path is told on stderr
    #[arg(long, help_heading = "Results")]
    pub(crate) report: bool,

    /// Put the run into this store when it has ended: see `memsample push`. If that fails, the exit code says so only
    /// in place of success
    #[cfg(feature = "lab")]
    #[arg(long, value_name = "STORE")]
    pub(crate) push: Option<memsample_store::Address>,

    /// Keep what a failed test wrote to the file system of its sandbox
    #[arg(long, value_name = "WHAT", help_heading = "Results")]
    pub(crate) keep: Option<KeepArg>,

    /// Maximum size to keep of each output stream of a test: its beginning and its end [default: 64MiB]
    #[arg(long, value_name = "SIZE", help_heading = "Results")]
    pub(crate) output_limit: Option<ByteSize>,

    /// Print the table of all tests at the end; `auto` prints the largest tests instead where progress goes to the same
    /// log, which has told the outcome of each test then
    #[arg(long, value_name = "WHEN", default_value = "auto", help_heading = "Results")]
    pub(crate) table: When,

    /// Write colors; `auto` writes them to a terminal, and follows NO_COLOR and CLICOLOR_FORCE
    #[arg(long, value_name = "WHEN", default_value = "auto", help_heading = "Results")]
    pub(crate) color: When,

    /// Label of the run and of its recording; may be given several times
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label, help_heading = "Results")]
    pub(crate) labels: Vec<(String, String)>,

    /// Show the running tests in a live display below the output lines
    #[arg(long, value_name = "WHEN", default_value = "auto", help_heading = "Results")]
    pub(crate) progress: Progress,

    /// Run only tests whose name contains these parts, whatever their case, joined by `and`, `or`, `not` and
    /// parentheses, as with pytest. A part with a blank stands in quotes
    #[arg(
        short = 'k',
        value_name = "EXPRESSION",
        allow_hyphen_values = true,
        help_heading = "Selection"
    )]
    pub(crate) keywords: Option<Keywords>,

    /// Print the names of the selected tests, one a line, and run nothing
    #[arg(long, conflicts_with_all = ["dry_run", "resume"], help_heading = "Selection")]
    pub(crate) list: bool,

    /// Print which tests would be run, in which order and in which sandbox, and why others would not; run nothing
    #[arg(long, conflicts_with = "resume", help_heading = "Selection")]
    pub(crate) dry_run: bool,

    /// Run only tests whose name matches
    #[arg(long, value_name = "REGEX", value_parser = pattern::parse, help_heading = "Selection")]
    pub(crate) filter: Option<Regex>,

    /// Run only tests with one of these tags
    #[arg(long, value_name = "TAG", value_delimiter = ',', help_heading = "Selection")]
    pub(crate) tag: Vec<String>,

    /// Run only part I of N parts of the suite, such as 1/4. Tests that require each other stay together
    #[arg(long, value_name = "I/N", value_parser = parse_shard, help_heading = "Selection")]
    pub(crate) shard: Option<Shard>,

    /// Continue an interrupted run after its last completed test: the run --name, or the latest
    /// unfinished run of this suite. Starts a new run if there is none
    #[arg(long, help_heading = "Selection")]
    pub(crate) resume: bool,

    /// Maximum number of tests that run at once. A test waits until its memory fits
    #[arg(short, long, value_name = "COUNT", default_value = "1", help_heading = "Execution")]
    pub(crate) jobs: NonZeroUsize,

    /// Predict the memory of each test from an earlier run: its directory or its results.json
    #[arg(long, value_name = "RUN", help_heading = "Execution")]
    pub(crate) peaks: Option<PathBuf>,

    /// Run each test this many times; overrides the suite
    #[arg(long, value_name = "COUNT", help_heading = "Execution")]
    pub(crate) repeat: Option<NonZeroU32>,

    /// Run only the suspects of a comparison, each as often as this file of `memsample compare --suspects` says, and the
    /// tests that they require
    #[arg(long, value_name = "FILE", conflicts_with = "repeat", help_heading = "Execution")]
    pub(crate) suspects: Option<PathBuf>,

    /// Retry a failed test up to this many times; a test that then passes is `flaky`. Overrides the suite
    #[arg(long, value_name = "COUNT", help_heading = "Execution")]
    pub(crate) retries: Option<u8>,

    /// Stop the suite at the first test that does not pass
    #[arg(long, help_heading = "Execution")]
    pub(crate) fail_fast: bool,

    /// Sandbox of tests for which the suite names none: none, pidns, bwrap, bwrap:ROOT or lxc:NAME
    /// [default: the strongest that works here, see `memsample doctor`]
    #[arg(long, value_name = "WHAT", value_parser = parse_sandbox, help_heading = "Execution")]
    pub(crate) sandbox: Option<Sandbox>,

    /// Run a test in a weaker sandbox, and report it, if the one it asks for does not work here. By
    /// default such a test does not start
    #[arg(long, help_heading = "Execution")]
    pub(crate) degrade: bool,

    /// Directory of the LXC containers [default: /var/lib/lxc]
    #[arg(long, value_name = "DIR", help_heading = "Execution")]
    pub(crate) lxc_path: Option<PathBuf>,

    /// Maximum number of processes and threads of a test, where control groups can limit it [default: 4096]
    #[arg(long, value_name = "COUNT", help_heading = "Execution")]
    pub(crate) processes_max: Option<NonZeroU32>,

    /// File of budgets to apply in addition to those of the suite
    #[arg(long, value_name = "FILE", help_heading = "Memory")]
    pub(crate) policy: Option<PathBuf>,

    /// Sampling interval: 1ms to 1h
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = duration::parse, help_heading = "Memory")]
    pub(crate) interval: Duration,

    /// Share of one CPU to spend on PSS, of tests first: a percentage, `off` or `unlimited` [default: 3%]
    #[arg(long, value_name = "SHARE", conflicts_with = "pss_interval", value_parser = share::parse, help_heading = "Memory")]
    pub(crate) pss_budget: Option<f64>,

    /// Read PSS of all processes at this interval, whatever it costs; `every` reads it at every tick
    #[arg(long, value_name = "TIME|every|off", value_parser = duration::parse_rate, help_heading = "Memory")]
    pub(crate) pss_interval: Option<Rate>,

    /// Receive forks, execs, exits and true peaks of processes from the kernel
    #[arg(long, value_name = "WHEN", default_value = "auto", help_heading = "Memory")]
    pub(crate) events: Events,

    /// Run it on this device by the system's ssh, instead of here: ssh://[user@]host[:port][/directory]. May be given
    /// several times, for all at once. This program and the directory of the suite are sent, and the directory of the
    /// run comes back; nothing stays there
    #[cfg(feature = "devices")]
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["list", "dry_run", "resume"], help_heading = "Devices")]
    pub(crate) on: Vec<Address>,

    /// Send this `memsample` to the devices instead of this program or those in `../lib/memsample/devices`: for another
    /// architecture, or linked statically. May be given several times: each device gets the first that is for it
    #[cfg(feature = "devices")]
    #[arg(long, value_name = "FILE", requires = "on", help_heading = "Devices")]
    pub(crate) device_program: Vec<PathBuf>,

    /// How long to try to connect again to a device whose connection was cut. The run goes on there
    #[cfg(feature = "devices")]
    #[arg(
        long,
        value_name = "TIME",
        default_value = "10m",
        value_parser = duration::parse,
        requires = "on",
        help_heading = "Devices"
    )]
    pub(crate) reconnect_for: Duration,

    /// How long, from Ctrl-C or SIGTERM on, to try to connect again to a device that is to be told. By default as
    /// --reconnect-for
    #[cfg(feature = "devices")]
    #[arg(long, value_name = "TIME", value_parser = duration::parse, requires = "on", help_heading = "Devices")]
    pub(crate) stop_for: Option<Duration>,

    /// End the run on the device when nobody has followed it for this long, which must be longer than --reconnect-for, by
    /// a minute at least where a connection may be lost unnoticed. By default it goes on
    #[cfg(feature = "devices")]
    #[arg(long, value_name = "TIME", value_parser = duration::parse, requires = "on", help_heading = "Devices")]
    pub(crate) unfollowed_for: Option<Duration>,

    /// What the name of the run ends with: one of several devices
    #[arg(long, value_name = "SUFFIX", default_value = "", hide = true)]
    pub(crate) name_suffix: String,

    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

/// Whether something is done that can be left to the program.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    /// Where it makes sense
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum JunitProfile {
    /// Valid against the schema of Jenkins' xUnit plugin
    Jenkins,
    /// With properties for each test case
    Extended,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeepArg {
    /// As a directory
    Failed,
    /// As a `.tar.gz`, for a CI server to collect
    FailedArchive,
}

impl From<KeepArg> for Keep {
    fn from(keep: KeepArg) -> Self {
        match keep {
            KeepArg::Failed => Self::Directory,
            KeepArg::FailedArchive => Self::Archive,
        }
    }
}

fn parse_sandbox(word: &str) -> Result<Sandbox, String> {
    Sandbox::parse(word)
        .ok_or_else(|| "allowed are none, pidns, bwrap, bwrap:ROOT and lxc:NAME".to_owned())
}

fn parse_shard(text: &str) -> Result<Shard, String> {
    let number = |text: &str| text.parse().ok().filter(|&number: &u32| number > 0);
    let parts = text
        .split_once('/')
        .and_then(|(index, count)| Some(Shard { index: number(index)?, count: number(count)? }));
    parts
        .filter(|shard| shard.index <= shard.count)
        .ok_or_else(|| "write which part and how many there are, such as 1/4".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_one_of_its_parts() {
        assert_eq!(parse_shard("2/3"), Ok(Shard { index: 2, count: 3 }));
        for wrong in ["", "1", "0/3", "4/3", "1/0", "-1/3", "1/3/3", "a/b", "1/99999999999"] {
            assert!(parse_shard(wrong).is_err(), "{wrong}");
        }
    }
}
