//! The options of `memsample leaks`.

use std::path::PathBuf;

use memsample_input::ByteSize;

use crate::json_output::JsonArgs;

/// Judge whether memory leaks, of each role of each test of a run, of each role of a recording, or of any series
///
/// Anonymous memory and swap are judged, without the setup and the teardown of a test. `leaks` is said only if nothing
/// else explains the growth: warm-up, garbage collection, a cache that fills, one step. `cannot tell` says what would
/// tell. It takes 240 samples at least: record for longer, or at a shorter --interval. docs/leaks.md describes how it is
/// judged and how often it errs.
#[derive(clap::Args)]
#[command(
    after_help = "Exit codes: 0 nothing is known to leak, 20 something leaks, 1 failure, 2 wrong usage, 4 disk full.\n\n\
    Examples:\n  \
    memsample leaks runs/soak\n  \
    memsample leaks nightly --all\n  \
    memsample leaks --series heap.csv --limit 512MiB --json"
)]
pub(crate) struct LeaksArgs {
    /// Directory or name of a run or a recording, `@-1` for the one before the latest: see `memsample ls` [default:
    /// @latest]
    #[arg(value_name = "RUN|RECORDING")]
    pub(crate) recording: Option<PathBuf>,

    /// Judge the series of a CSV file instead, `-` for stdin: columns `time_s`, `bytes` and maybe `cycle`, the number of
    /// the iteration
    #[arg(long, value_name = "FILE", conflicts_with_all = ["recording", "whole", "all"])]
    pub(crate) series: Option<PathBuf>,

    /// Say when memory reaches this limit too, beside those of the tests
    #[arg(long, value_name = "SIZE", value_parser = ByteSize::parse)]
    pub(crate) limit: Option<ByteSize>,

    /// Judge the roles of the whole recording, also where it has tests
    #[arg(long)]
    pub(crate) whole: bool,

    /// List what is steady or too short too
    #[arg(long)]
    pub(crate) all: bool,

    #[command(flatten)]
    pub(crate) json: JsonArgs,
}
