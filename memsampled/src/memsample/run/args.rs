use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use memsample::Rate;
use memsample_input::quantity::parse_bytes;
use memsample_runner::runner::{Keep, Shard};
use memsample_runner::suite::Sandbox;
use regex::Regex;

use crate::args::{ConfigArgs, Events, Progress};
use crate::view::parse_regex;
use crate::{duration, share};

/// Run the tests of a suite, each in its own sandbox, and say what became of each and what it used
///
/// A directory below --out gets the recording, `results.json`, `junit.xml`, and the output and
/// artifacts of each test. Its path is the last line on the standard output; what happens meanwhile
/// is on the error stream. Ctrl-C or SIGTERM ends the tests and the suite in order, a second one at
/// once; nothing is left running.
#[derive(clap::Args)]
#[command(
    after_help = "Exit codes: 0 every test passed or was skipped, 1 failed for another reason, \
    2 wrong usage, 4 disk full, 5 recording or results could not be written, 10 a test did not pass, \
    11 the suite was aborted, 12 the suite or policy cannot be understood, 13 no test is selected.\n\n\
    Examples:\n  \
    memsample run demo/suite.toml\n  \
    memsample run suite.toml --name nightly --resume --jobs 4 --peaks runs/yesterday\n  \
    memsample run suite.toml --tag smoke --fail-fast --json | jq .counts"
)]
pub(crate) struct RunArgs {
    /// A suite: a TOML file, or a directory in UTAH's format
    #[arg(value_name = "SUITE")]
    pub(crate) suite: PathBuf,

    /// Directory in which the results get a directory of their own
    #[arg(long, value_name = "DIR", default_value = "runs", help_heading = "Results")]
    pub(crate) out: PathBuf,

    /// Name of that directory [default: the suite and the time, such as demo-20261122T172633Z]
    #[arg(long, value_name = "NAME", help_heading = "Results")]
    pub(crate) name: Option<String>,

    /// Print the results as one JSON object on one line, with the path in `directory`
    #[arg(long, help_heading = "Results")]
    pub(crate) json: bool,

    /// `jenkins` is valid against the schema of Jenkins' xUnit plugin; `extended` adds properties to
    /// each test case
    #[arg(long, value_name = "PROFILE", default_value = "jenkins", help_heading = "Results")]
    pub(crate) junit_profile: JunitProfile,

    /// Keep what a failed test wrote into the file system of its sandbox
    #[arg(long, value_name = "WHAT", help_heading = "Results")]
    pub(crate) keep: Option<KeepArg>,

    /// Most bytes kept of each stream of a test; the beginning and the end [default: 64MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, help_heading = "Results")]
    pub(crate) output_limit: Option<u64>,

    /// Whether to show what runs now below the lines; `auto` does on a terminal
    #[arg(long, value_name = "WHEN", default_value = "auto", help_heading = "Results")]
    pub(crate) progress: Progress,

    /// Only tests whose name matches
    #[arg(long, value_name = "REGEX", value_parser = parse_regex, help_heading = "Which tests")]
    pub(crate) filter: Option<Regex>,

    /// Only tests with one of these tags
    #[arg(long, value_name = "TAG", value_delimiter = ',', help_heading = "Which tests")]
    pub(crate) tag: Vec<String>,

    /// Only one of several parts of the suite, such as 1/4; tests that require each other stay together
    #[arg(long, value_name = "I/N", value_parser = parse_shard, help_heading = "Which tests")]
    pub(crate) shard: Option<Shard>,

    /// Go on with a run that was cut short, behind the last test that ended: that of --name, or the
    /// latest of this suite that did not come to its end. Begins anew where there is none
    #[arg(long, help_heading = "Which tests")]
    pub(crate) resume: bool,

    /// How many tests run at once, at most. A test waits until its memory fits
    #[arg(long, value_name = "COUNT", default_value = "1", help_heading = "How they are run")]
    pub(crate) jobs: NonZeroUsize,

    /// An earlier run, from whose peaks is predicted what fits: its directory or its results.json
    #[arg(long, value_name = "RUN", help_heading = "How they are run")]
    pub(crate) peaks: Option<PathBuf>,

    /// Run each test this often, whatever the suite says
    #[arg(long, value_name = "COUNT", help_heading = "How they are run")]
    pub(crate) repeat: Option<NonZeroU32>,

    /// Try a test that fails again this often, whatever the suite says; if it passes it is `flaky`
    #[arg(long, value_name = "COUNT", help_heading = "How they are run")]
    pub(crate) retries: Option<u8>,

    /// End the suite with the first test that does not pass
    #[arg(long, help_heading = "How they are run")]
    pub(crate) fail_fast: bool,

    /// What is between a test and the machine where the suite does not say: none, pidns, bwrap,
    /// bwrap:ROOT or lxc:NAME [default: the best that works here, see `memsample doctor`]
    #[arg(long, value_name = "WHAT", value_parser = parse_sandbox, help_heading = "How they are run")]
    pub(crate) sandbox: Option<Sandbox>,

    /// Run a test with less sandbox where what it asks for does not work here, and say so, instead
    /// of not starting it
    #[arg(long, help_heading = "How they are run")]
    pub(crate) degrade: bool,

    /// Directory of LXC's containers [default: /var/lib/lxc]
    #[arg(long, value_name = "DIR", help_heading = "How they are run")]
    pub(crate) lxc_path: Option<PathBuf>,

    /// Most processes and threads of a test, where control groups can tell [default: 4096]
    #[arg(long, value_name = "COUNT", help_heading = "How they are run")]
    pub(crate) processes_max: Option<NonZeroU32>,

    /// A file of budgets beside those of the suite
    #[arg(long, value_name = "FILE", help_heading = "Memory")]
    pub(crate) policy: Option<PathBuf>,

    /// Time from one sample of every process to the next: 1ms to 1h
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = duration::parse, help_heading = "Memory")]
    pub(crate) interval: Duration,

    /// Share of one CPU for reading PSS: such as `1%`, `off` or `unlimited` [default: 1%]
    #[arg(long, value_name = "SHARE", conflicts_with = "pss_interval", value_parser = share::parse, help_heading = "Memory")]
    pub(crate) pss_budget: Option<f64>,

    /// Instead, how often to read PSS of all processes, whatever it costs: a time, `every` or `off`
    #[arg(long, value_name = "TIME", value_parser = duration::parse_rate, help_heading = "Memory")]
    pub(crate) pss_interval: Option<Rate>,

    /// Whether to ask the kernel for forks, execs, exits and true peaks of processes
    #[arg(long, value_name = "WHEN", default_value = "auto", help_heading = "Memory")]
    pub(crate) events: Events,

    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum JunitProfile {
    Jenkins,
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
