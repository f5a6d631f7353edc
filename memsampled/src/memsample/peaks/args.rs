//! The options of `memsample peaks`.

use std::path::PathBuf;

use clap::ValueEnum;
use regex::Regex;

use crate::json_output::JsonArgs;
use crate::pattern;

/// Print the largest resident sets of a recording, with bounds
///
/// A peak between two samples is higher than both. `412.0 MiB` is reported by the kernel, known to within
/// the error printed below the table; `380.1 MiB to 412.0 MiB` is a range that contains the peak; `≥380.1
/// MiB` has no known upper bound. AT is the latest possible time of the peak, since the first tick. SAMPLED is the largest
/// sample; the columns after it are its parts.
///
/// With `--by test`, a test that was only marked has a row for each pair of marks. COVERS names whose memory it
/// is: the processes of the test, the marked process and its descendants (`pid PID`), the target of the
/// recording, or the machine. GROWTH is what the marked process alone gained from mark to mark.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    memsample peaks recordings/nightly\n  \
    memsample peaks recordings/nightly --by role --top 5\n  \
    memsample peaks recordings/nightly --by test\n  \
    memsample peaks recordings/nightly --filter '^python3' --json | jq '.[].upper_bytes'")]
pub(crate) struct PeaksArgs {
    /// Directory or name of the recording, `@-1` for the one before the latest, or the results of a run: see `memsample ls`
    #[arg(value_name = "RECORDING", default_value = "@latest")]
    pub(crate) recording: PathBuf,

    /// What to print one row for
    #[arg(long, value_name = "WHAT", default_value = "process")]
    pub(crate) by: PeaksBy,

    /// Maximum number of rows
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    pub(crate) top: usize,

    /// Show only processes whose name or command line matches; with `--by role` or `--by test`, only
    /// roles or tests whose name matches
    #[arg(long, value_name = "REGEX", value_parser = pattern::parse)]
    pub(crate) filter: Option<Regex>,

    #[command(flatten)]
    pub(crate) json: JsonArgs,

    /// Print comma-separated values
    #[arg(long, conflicts_with = "json")]
    pub(crate) csv: bool,
}

/// What a row stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PeaksBy {
    /// One process image: a process until it exits or executes another program
    Process,
    /// All processes of a role together, at one instant
    Role,
    /// All processes of a test together, at one instant
    Test,
}
