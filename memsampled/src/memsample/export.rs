//! `memsample export`: a run or a recording in the formats of other tools.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::ValueEnum;
use memsample::{Recording, replace_file};
use memsample_export as export;
use memsample_export::{Figures, Groups};
use memsample_inherited::{tell, write_whole};
use memsample_input::{count, printable};
use memsample_runner::results::{FILE, Results};

use crate::exit::{ExitCode, WrongUsage};
use crate::recording_path;
use crate::run_or_recording::{RunOrRecording, ended_results, last_recording};
use crate::summary::note_recovery;

/// Tests that are named in a note.
const MAX_NAMED: usize = 5;

/// Write a run or a recording in the format of another tool
///
/// Of a run, openmetrics, gitlab, bencher and jenkins-plot have the peaks of each test, csv and arrow its table of
/// tests. Of a recording they have its roles over time (openmetrics), the peaks of its roles, or its samples. perfetto
/// and chrome have the memory of roles over time with the tests above it. docs/export.md describes each.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    memsample export runs/nightly --to gitlab -o metrics.txt\n  \
    memsample export runs/nightly --to perfetto -o nightly.pftrace\n  \
    memsample export recordings/nightly --to csv --table processes | head")]
pub(crate) struct ExportArgs {
    /// Directory or name of a run or a recording, or @latest
    #[arg(value_name = "RUN|RECORDING", default_value = "@latest")]
    run: PathBuf,

    /// Format to write
    #[arg(long, value_name = "FORMAT")]
    to: Format,

    /// File to write, which is there whole or not at all [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// What is a series (openmetrics of a recording, perfetto, chrome)
    #[arg(long, value_name = "WHAT", default_value = "role")]
    by: By,

    /// Largest roles or processes of a recording to write. Openmetrics, perfetto and chrome take up to 1000 and add the
    /// sum of all; gitlab, bencher and jenkins-plot have the peaks of these roles alone
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    top: usize,

    /// Table to write (csv, arrow): any of `memsample schema` [default: tests of a run, samples of a recording]
    #[arg(long, value_name = "NAME")]
    table: Option<String>,
}

/// A format of another tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// OpenMetrics with timestamps, for Prometheus
    Openmetrics,
    /// Metrics report of GitLab
    Gitlab,
    /// Bencher Metric Format, JSON
    Bencher,
    /// Trace for ui.perfetto.dev
    #[cfg(feature = "perfetto")]
    Perfetto,
    /// Trace in Chrome's JSON format
    Chrome,
    /// Rows of a table, as CSV
    Csv,
    /// Rows of a table, as an Arrow IPC file
    Arrow,
    /// CSV for Jenkins' Plot plugin
    JenkinsPlot,
}

/// What is a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    /// All processes that do the same
    Role,
    /// Each process image
    Process,
}

pub(crate) fn run(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let is_table = matches!(args.to, Format::Csv | Format::Arrow);
    if args.table.is_some() && !is_table {
        tell(
            "error: --table is for --to csv and --to arrow: the other formats are made of several tables",
        );
        return Ok(ExitCode::WRONG_USAGE);
    }
    let output = args.output.as_deref().filter(|path| *path != Path::new("-"));
    if output.is_none() && args.to.is_binary() && io::stdout().is_terminal() {
        bail!("this format is not for a terminal: give a file with -o, or send it into a pipe");
    }
    match RunOrRecording::find(&args.run)? {
        RunOrRecording::Run(directory) if args.is_of_results() => {
            of_run(args, &directory, &ended_results(&directory)?, output)?;
        }
        RunOrRecording::Run(directory) => {
            of_recording(args, &last_recording(&directory)?, output)?;
        }
        RunOrRecording::Recording => of_recording(args, &args.run, output)?,
    }
    Ok(ExitCode::SUCCESS)
}

impl ExportArgs {
    /// Returns whether the results of a run are written, and not its recording.
    fn is_of_results(&self) -> bool {
        match self.to {
            Format::Openmetrics | Format::Gitlab | Format::Bencher | Format::JenkinsPlot => true,
            Format::Csv | Format::Arrow => {
                let table = self.table.as_deref().unwrap_or("tests");
                let of_run = memsample::schema::result_tables();
                of_run.iter().any(|it| it.name == table)
            }
            _ => false,
        }
    }

    fn groups(&self, recording: &Recording) -> anyhow::Result<Groups> {
        let by = match self.by {
            By::Role => export::By::Role,
            By::Process => export::By::Process,
        };
        let groups = Groups::of(recording, by, self.top)?;
        if groups.left_out > 0 {
            let thing = if self.by == By::Role { "role" } else { "process image" };
            tell(format!(
                "note: {} left out, which only the sum of all processes has: see --top",
                count(groups.left_out as u64, thing)
            ));
        }
        let ticks = groups.ticks_left_out.len() as u64;
        if ticks > 0 {
            tell(format!("note: left out: {} of which samples were lost", count(ticks, "tick")));
        }
        Ok(groups)
    }
}

impl Format {
    fn is_binary(self) -> bool {
        match self {
            Self::Arrow => true,
            #[cfg(feature = "perfetto")]
            Self::Perfetto => true,
            _ => false,
        }
    }
}

fn of_run(
    args: &ExportArgs,
    directory: &Path,
    results: &Results,
    output: Option<&Path>,
) -> anyhow::Result<()> {
    let table = args.table.as_deref().unwrap_or("tests");
    match args.to {
        Format::Openmetrics => write(output, |out| export::openmetrics::write_run(results, out)),
        Format::Csv => {
            let rows = export::rows_of_run(directory, table).map_err(no_table)?;
            write(output, |out| export::csv::write(rows, out))
        }
        Format::Arrow => {
            let rows = export::rows_of_run(directory, table).map_err(no_table)?;
            write(output, |out| export::arrow::write(rows, out))
        }
        _ => {
            let figures = export::figures_of_run(results);
            note_what_is_missing(&figures);
            if figures.is_empty() {
                bail!(
                    "`{}` has no peak of any test: see its {FILE} for why",
                    printable(&directory.display().to_string())
                );
            }
            write_figures(args.to, &figures, output)
        }
    }
}

/// Tells a name of a table that there is not from a file that cannot be read.
fn no_table(error: io::Error) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::InvalidInput => WrongUsage(error.to_string()).into(),
        _ => error.into(),
    }
}

fn of_recording(args: &ExportArgs, named: &Path, output: Option<&Path>) -> anyhow::Result<()> {
    let (recording, recovery) = recording_path::open(named)?;
    note_recovery(recovery);
    let recording = &recording;
    let table = args.table.as_deref().unwrap_or("samples");
    match args.to {
        Format::Openmetrics => {
            let groups = args.groups(recording)?;
            write(output, |out| export::openmetrics::write_recording(recording, &groups, out))
        }
        Format::Chrome => {
            let groups = args.groups(recording)?;
            write(output, |out| export::chrome::write(recording, &groups, out))
        }
        #[cfg(feature = "perfetto")]
        Format::Perfetto => {
            let groups = args.groups(recording)?;
            write(output, |out| export::perfetto::write(recording, &groups, out))
        }
        Format::Csv => {
            let rows = export::rows_of_recording(recording, table).map_err(no_table)?;
            write(output, |out| export::csv::write(rows, out))
        }
        Format::Arrow => {
            let rows = export::rows_of_recording(recording, table).map_err(no_table)?;
            write(output, |out| export::arrow::write(rows, out))
        }
        Format::Gitlab | Format::Bencher | Format::JenkinsPlot => {
            let figures = export::figures_of_recording(recording, args.top)?;
            if figures.is_empty() {
                bail!("the recording has no process");
            }
            note_what_is_missing(&figures);
            write_figures(args.to, &figures, output)
        }
    }
}

fn write_figures(to: Format, figures: &Figures, output: Option<&Path>) -> anyhow::Result<()> {
    write(output, |out| match to {
        Format::Gitlab => export::gitlab::write(figures, out),
        Format::Bencher => export::bencher::write(figures, out),
        _ => export::jenkins_plot::write(figures, out),
    })
}

fn note_what_is_missing(figures: &Figures) {
    if !figures.without.is_empty() {
        let named: Vec<String> =
            figures.without.iter().take(MAX_NAMED).map(|name| printable(name)).collect();
        let more = match figures.without.len().saturating_sub(MAX_NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        tell(format!(
            "note: left out, since they did not come to their end or were not measured: {}{more}",
            named.join(", ")
        ));
    }
    if figures.left_out > 0 {
        let roles = count(figures.left_out as u64, "smaller role");
        tell(format!(
            "note: left out: {roles}, and there is no sum of all in this format: see --top"
        ));
    }
    if figures.cut_short > 0 {
        let repeats = count(figures.cut_short, "repetition");
        tell(format!("note: left out: {repeats} that did not come to their end"));
    }
}

/// Writes into a file, whole or not at all, or to the standard output.
fn write(
    output: Option<&Path>,
    write: impl FnOnce(&mut BufWriter<Sink<'_>>) -> io::Result<()>,
) -> anyhow::Result<()> {
    let whole = |sink: Sink<'_>| {
        let mut out = BufWriter::with_capacity(64 << 10, sink);
        write(&mut out)?;
        out.flush()
    };
    let (written, name) = match output {
        None => (whole(Sink::Stdout), "stdout".to_owned()),
        Some(path) => {
            let name = format!("`{}`", printable(&path.display().to_string()));
            // A pipe or a device is no file that could be replaced.
            let is_special = fs::metadata(path).is_ok_and(|it| !it.is_file() && !it.is_dir());
            let written = if is_special {
                OpenOptions::new().write(true).open(path).and_then(|file| whole(Sink::File(&file)))
            } else {
                replace_file(path, |file| whole(Sink::File(file)))
            };
            (written, name)
        }
    };
    match written {
        // Its reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.with_context(|| format!("cannot write {name}")),
    }
}

/// Where an export is written.
enum Sink<'a> {
    Stdout,
    File(&'a File),
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout => {
                write_whole(io::stdout().as_fd(), bytes)?;
                Ok(bytes.len())
            }
            Self::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
