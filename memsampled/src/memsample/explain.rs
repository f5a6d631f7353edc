//! `memsample explain`: what happened to a test, or to a recording, in plain words.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use memsample::view::At;
use memsample_explain::{Question, explain, explain_recording, text};
use memsample_inherited::{print_text, tell};
use memsample_runner::results::Results;

use crate::compare::runs;
use crate::exit::ExitCode;
use crate::instant::parse_at;
use crate::json_output::JsonArgs;
use crate::plain_table::terminal_width;
use crate::recording_path;
use crate::run_or_recording::{RunOrRecording, ended_results};
use crate::summary::{note_recovery, open_or_note};

/// Columns of a text that is read elsewhere than on a terminal.
const WIDTH: usize = 80;

/// Explain what happened to a test of a run, or to a recording
///
/// Says why it ended; who was largest in the last second before, and since when; what the limits were; what changed
/// against another run; and what was not seen.
#[derive(clap::Args)]
pub(crate) struct ExplainArgs {
    /// Directory or name of a run or a recording, or @latest
    #[arg(value_name = "RUN|RECORDING", default_value = "@latest")]
    run: PathBuf,

    /// Test to explain [default: of those that did not pass the one that tells most, out of memory before all others;
    /// else the largest; with --at, of those that ran at that instant]
    #[arg(long, value_name = "NAME")]
    test: Option<String>,

    /// Instant to look at instead of the end: a time such as 2026-11-22T20:59:38.281Z, or the time since the first tick
    /// of the recording, such as 12.5s
    #[arg(long, value_name = "TIME", value_parser = parse_at)]
    at: Option<At>,

    /// Run to compare with: what changed of the test
    #[arg(long, value_name = "RUN")]
    base: Option<PathBuf>,

    #[command(flatten)]
    json: JsonArgs,
}

pub(crate) fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let question = Question { test: args.test.clone(), at: args.at };
    let explanation = match RunOrRecording::find(&args.run)? {
        RunOrRecording::Run(directory) => {
            let results = ended_results(&directory)?;
            let base = args.base.as_deref().map(base).transpose()?;
            let open = |recording: &str| open_or_note(&directory.join(recording));
            explain(&results, &question, base.as_ref(), open)?
        }
        RunOrRecording::Recording if args.test.is_some() || args.base.is_some() => {
            tell("error: --test and --base are for a run: a recording has no results");
            return Ok(ExitCode::WRONG_USAGE);
        }
        RunOrRecording::Recording => {
            let (recording, recovery) = recording_path::open(&args.run)?;
            note_recovery(recovery);
            explain_recording(&recording, &question)?
        }
    };
    args.json.write(|| Ok(serde_json::to_string(&explanation)? + "\n"))?;
    if !args.json.is_on_stdout() {
        print_text(text(&explanation, terminal_width().unwrap_or(WIDTH)));
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads the results of the run to compare with.
fn base(named: &Path) -> anyhow::Result<Results> {
    let mut runs = runs::read(&[named.to_owned()]).context("--base")?;
    match (runs.pop(), runs.len()) {
        (Some(found), 0) => Ok(found.run.results),
        (_, more) => bail!("--base: these are {} runs, and one is compared with", more + 1),
    }
}
