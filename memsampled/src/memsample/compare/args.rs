//! The options of `memsample compare`.

use std::path::PathBuf;

use memsample_compare::environment::Part;
use memsample_compare::{Limit, Quantity};

use crate::json_output::JsonArgs;

/// Compare the memory of the tests of two releases: which got worse, by how much, and is it noise?
///
/// Give each side runs of `memsample run` with at least five repeats of each test together (--repeat 5, or several
/// runs). What is suspect is run again with `memsample run --suspects`, and compared again with all runs. False alarms
/// are in at most 5 % of suites of a hundred tests; docs/compare.md describes how.
#[derive(clap::Args)]
#[command(
    after_help = "Exit codes: 0 nothing is known to have got worse, 20 something got worse, 21 something is \
    suspect, 1 failure, 2 wrong usage, 4 disk full.\n\n\
    Examples:\n  \
    memsample compare --base runs/v1 --head runs/v2\n  \
    memsample compare --base 'runs/v1*' --head 'runs/v2*' --suspects suspects.json\n  \
    memsample compare --base runs/v1 --head runs/v2 --html compare.html\n  \
    memsample compare --base runs/v1 --head runs/v2 --fail-on 'peak > 5%' --markdown"
)]
pub(crate) struct CompareArgs {
    /// Runs of the base: directories of runs, their results.json, directories of such, patterns, names or @latest
    #[arg(long, value_name = "RUN", required = true, num_args = 1..)]
    pub(crate) base: Vec<PathBuf>,

    /// Runs of the head
    #[arg(long, value_name = "RUN", required = true, num_args = 1..)]
    pub(crate) head: Vec<PathBuf>,

    /// What to compare: peak (of resident sets), pss_peak, anon_peak. More quantities make each harder to prove
    #[arg(long, value_name = "WHAT", value_delimiter = ',', default_value = "peak")]
    pub(crate) quantity: Vec<Quantity>,

    /// Compare the roles of each test too
    #[arg(long)]
    pub(crate) roles: bool,

    /// Largest change that is as good as none
    #[arg(long, value_name = "SHARE", default_value = "2%", value_parser = parse_margin)]
    pub(crate) margin: f64,

    /// Fail only if a quantity got worse by more than this, such as 'peak > 5%' or 'pss_peak > 16MiB'; may be given
    /// several times
    #[arg(long, value_name = "LIMIT")]
    pub(crate) fail_on: Vec<Limit>,

    /// Parts of the environment that may differ: kernel, cpus, memory, page-size, huge-pages, interval
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    pub(crate) allow_different: Vec<Part>,

    /// Earlier runs that tell how much builds differ of which nothing has changed: directories of runs, grouped into
    /// releases by their label. Smaller changes are not called one; a history never calls anything worse
    #[arg(long, value_name = "DIR", num_args = 1..)]
    pub(crate) history: Vec<PathBuf>,

    /// Label of runs that names their release in the history
    #[arg(long, value_name = "LABEL", default_value = "release", requires = "history")]
    pub(crate) history_label: String,

    /// Write which tests need how many repeats more, for `memsample run --suspects`
    #[arg(long, value_name = "FILE")]
    pub(crate) suspects: Option<PathBuf>,

    /// Write a report into one HTML file too: both sides over each other for each test, the peaks of all repeats, and the
    /// verdicts. It needs no network, and is complete without scripts, as on Jenkins
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,

    /// List what is the same too, however much it is
    #[arg(long)]
    pub(crate) all: bool,

    /// Print Markdown, for a pull request
    #[arg(long, conflicts_with = "json")]
    pub(crate) markdown: bool,

    #[command(flatten)]
    pub(crate) json: JsonArgs,
}

/// Reads a share such as `2%`, below that of a doubling.
fn parse_margin(text: &str) -> Result<f64, String> {
    let number =
        text.strip_suffix('%').map(str::trim).and_then(|number| number.parse::<f64>().ok());
    let percent = number.filter(|percent| *percent > 0.0 && *percent <= 50.0);
    percent
        .map(|percent| percent / 100.0)
        .ok_or_else(|| "write a percentage up to 50%, such as 2%".to_owned())
}
