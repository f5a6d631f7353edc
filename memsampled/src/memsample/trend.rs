//! `memsample trend`: the memory of each test over releases.

use std::path::PathBuf;

use anyhow::bail;
use memsample_compare::report::{trend_markdown, trend_text};
use memsample_compare::{Quantity, Release, TrendOptions, releases, trend};
use memsample_inherited::{is_utf8, print, print_text};

use crate::compare::runs;
use crate::exit::ExitCode;
use crate::json_output::JsonArgs;
use crate::plain_table::terminal_width;

/// Columns of a text that is read elsewhere than on a terminal.
const WIDTH: usize = 120;

/// Show the memory of each test over releases, and mark where it changed
///
/// Takes the median of each release, and marks a change that lasts: by 1 % or more, and unlikely by chance (p < 0.001
/// at that place), from eight releases on. It marks, and never fails: `memsample compare` decides about a release.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    memsample trend runs                              # runs with the label `release`, else each by itself\n  \
    memsample trend archive/v1.*                      # a directory of runs for each release\n  \
    memsample trend runs --test '^net/' --roles\n  \
    memsample trend runs --json | jq '.tests[] | select(.changes != []) | .test'")]
pub(crate) struct TrendArgs {
    /// Runs: directories of runs, their results.json, directories of such, patterns, names or @latest. If several
    /// directories of runs are given, each is a release
    #[arg(value_name = "DIR", required = true)]
    runs: Vec<PathBuf>,

    /// Label of runs that names their release
    #[arg(long, value_name = "LABEL", default_value = "release")]
    label: String,

    /// What to show: peak (of resident sets), pss_peak, anon_peak
    #[arg(long, value_name = "WHAT", value_delimiter = ',', default_value = "peak")]
    quantity: Vec<Quantity>,

    /// Show the roles of each test too
    #[arg(long)]
    roles: bool,

    /// Show only tests whose name matches
    #[arg(long, value_name = "REGEX", value_parser = crate::pattern::parse)]
    test: Option<regex::Regex>,

    /// List what did not change too, however much it is
    #[arg(long)]
    all: bool,

    /// Print Markdown, for a pull request
    #[arg(long, conflicts_with = "json")]
    markdown: bool,

    #[command(flatten)]
    json: JsonArgs,
}

pub(crate) fn run(args: &TrendArgs) -> anyhow::Result<ExitCode> {
    let releases = read(&args.runs, &args.label)?;
    let options = TrendOptions { quantities: args.quantity.clone(), roles: args.roles };
    let mut trend = trend(&releases, &options);
    if let Some(test) = &args.test {
        trend.tests.retain(|it| test.is_match(&it.test));
    }
    if trend.tests.is_empty() {
        bail!("the runs have no test that is to be shown");
    }
    args.json.write(|| Ok(serde_json::to_string(&trend)? + "\n"))?;
    if !args.json.is_on_stdout() {
        let width = terminal_width().unwrap_or(WIDTH);
        match args.markdown {
            true => print(trend_markdown(&trend)),
            false => print_text(trend_text(&trend, width, args.all, is_utf8())),
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads runs and groups them into releases.
fn read(named: &[PathBuf], label: &str) -> anyhow::Result<Vec<Release>> {
    let grouped = runs::grouped(named)?;
    let grouped = grouped.into_iter().map(|(group, found)| (group, found.run));
    Ok(releases(grouped, label))
}
