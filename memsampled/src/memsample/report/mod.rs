//! `memsample report`: a run or a recording as one HTML file, Markdown or text.

mod source;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use memsample_inherited::{is_utf8, print, print_text, tell};
use memsample_input::printable;
use memsample_report::text::{TextStyle, text};
use memsample_report::{Report, html, markdown};
use memsample_runner::replace;

use crate::exit::ExitCode;
use crate::plain_table::terminal_width;

/// The file that is written where no other one is named.
const FILE: &str = "report.html";
/// Columns of a text that is read elsewhere than on a terminal.
const WIDTH: usize = 80;

/// Write what became of a run or a recording into one HTML file: verdicts, memory over time, peaks, losses
///
/// The file needs no network, and is complete without scripts, as on Jenkins. Where scripts run it can be zoomed and
/// filtered. `--text` and `--markdown` print a short form instead, for a terminal, a report of a bug, a pull request or
/// $GITHUB_STEP_SUMMARY. docs/report.md describes what is shown.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    memsample report\n  \
    memsample report runs/nightly-20261128T173000Z -o report.html\n  \
    memsample report --markdown >> \"$GITHUB_STEP_SUMMARY\"\n  \
    memsample report recordings/latest --text")]
pub(crate) struct ReportArgs {
    /// Run or recording: its directory, its results.json, its name, or `@-1` for the one before the latest: see
    /// `memsample ls`
    #[arg(value_name = "RUN", default_value = "@latest")]
    pub(crate) run: PathBuf,

    /// File to write [default: report.html in the directory of the run, or here for a recording]
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["markdown", "text"])]
    pub(crate) output: Option<PathBuf>,

    /// Print Markdown, and write no file
    #[arg(long, conflicts_with = "text")]
    pub(crate) markdown: bool,

    /// Print text with a curve for each test, and write no file
    #[arg(long)]
    pub(crate) text: bool,
}

pub(crate) fn run(args: &ReportArgs) -> anyhow::Result<ExitCode> {
    let found = source::find(&args.run)?;
    let directory = found.directory.clone();
    let report = Report::new(found.source).context("cannot read the recording")?;
    if args.markdown {
        print(markdown::markdown(&report));
    } else if args.text {
        print_text(text(&report, text_style()));
    } else {
        let path = match (&args.output, directory) {
            (Some(path), _) => path.clone(),
            (None, Some(directory)) => directory.join(FILE),
            (None, None) => PathBuf::from(FILE),
        };
        write(&html::html(&report), &path)?;
        report.notes.iter().for_each(|note| tell(format!("note: {note}")));
        print(format!("{}\n", path.display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the report of a run that has just ended into its directory.
pub(crate) fn of_run(run: &Path) -> anyhow::Result<PathBuf> {
    let found = source::find(run)?;
    let report = Report::new(found.source).context("cannot read the recording")?;
    let path = run.join(FILE);
    write(&html::html(&report), &path)?;
    Ok(path)
}

/// Writes a report, whole or not at all.
pub(crate) fn write(page: &str, path: &Path) -> anyhow::Result<()> {
    let shown = || format!("cannot write the report `{}`", printable(&path.display().to_string()));
    if path.is_dir() {
        bail!("{}: it is a directory", shown());
    }
    replace(path, page.as_bytes()).with_context(shown)
}

fn text_style() -> TextStyle {
    TextStyle { width: terminal_width().unwrap_or(WIDTH), ascii: !is_utf8() }
}

/// Says that a report could not be written, which changes nothing of what was run.
pub(crate) fn tell_failure(error: &anyhow::Error) {
    tell(format!("warning: {error:#}"));
}
