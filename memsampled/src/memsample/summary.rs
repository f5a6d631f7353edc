//! `memsample summary`: the largest processes of a recording, its losses and its cost.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use memsample::analysis::{LargestProcess, largest_processes};
use memsample::parse::Meminfo;
use memsample::{KnownPss, Manifest, Quantiles, Recording, Recovery};
use memsample_client::wire::{End, Summary};
use memsample_inherited::{print_text, tell};
use serde::Serialize;

use crate::command_usage::CommandUsage;
use crate::exit::ExitCode;
use crate::json_output::JsonArgs;
use crate::plain_table::{Fitted, terminal_width};
use crate::recording_path;
use crate::text::AT_LEAST;
use memsample_input::{count, folded, printable, rounded_size, shortened};

/// How many of the largest processes are shown.
pub(crate) const LARGEST: usize = 10;

/// Print the largest processes of a recording, its losses and its cost
#[derive(clap::Args)]
pub(crate) struct SummaryArgs {
    /// Directory or name of the recording, `@-1` for the one before the latest, or the results of a run: see `memsample ls`
    #[arg(value_name = "RECORDING", default_value = "@latest")]
    pub(crate) recording: PathBuf,

    /// Maximum number of processes
    #[arg(long, value_name = "COUNT", default_value_t = LARGEST)]
    pub(crate) top: usize,

    #[command(flatten)]
    pub(crate) json: JsonArgs,
}

pub(crate) fn run(args: &SummaryArgs) -> anyhow::Result<ExitCode> {
    let (recording, recovery) = recording_path::open(&args.recording)?;
    note_recovery(recovery);
    args.json.write(|| json(&recording))?;
    if !args.json.is_on_stdout() {
        print_text(text(&recording, args.top, terminal_width())?);
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a note to stderr if opening the recording recovered it, or if it is still being written.
pub(crate) fn note_recovery(recovery: Recovery) {
    match recovery {
        Recovery::Recovered { .. } => {
            tell("note: the recorder was killed; the recording has been recovered");
        }
        Recovery::InCopy { owner } => {
            tell(format!(
                "note: the recorder was killed, and the recording belongs to user {owner}: a copy has been recovered; \
                 only `memsample recover` as that user changes the recording"
            ));
        }
        Recovery::StillRecording => {
            tell("note: the recording is still being written; this is its state at the last flush");
        }
        _ => {}
    }
}

/// Opens a recording without which there is still something to say: why it cannot be opened is a note.
pub(crate) fn open_or_note(path: &Path) -> Option<Recording> {
    match Recording::open(path) {
        Ok((recording, recovery)) => {
            note_recovery(recovery);
            Some(recording)
        }
        Err(error) => {
            tell(format!("note: {:#}", anyhow::Error::from(error)));
            None
        }
    }
}

/// Returns the result as one JSON object, on one line.
pub(crate) fn json(recording: &Recording) -> anyhow::Result<String> {
    let whole =
        Whole { summary: Summary::of(recording)?, command: CommandUsage::of(recording, 0)? };
    Ok(serde_json::to_string(&whole)? + "\n")
}

/// A summary, and what the recorded command used.
#[derive(Serialize)]
struct Whole {
    #[serde(flatten)]
    summary: Summary,
    command: Option<CommandUsage>,
}

/// Returns the text that a person reads at the end of a recording, within so many columns if there is a width.
pub(crate) fn text(
    recording: &Recording,
    top: usize,
    width: Option<usize>,
) -> anyhow::Result<String> {
    Ok(folded(&unfolded(recording, top, width)?, width))
}

fn unfolded(recording: &Recording, top: usize, width: Option<usize>) -> anyhow::Result<String> {
    let largest =
        largest_processes(recording, top).context("cannot read the table of processes")?;
    let Manifest { totals, recorder, provenance, notes, end, .. } = recording.manifest();
    let mut text = String::new();
    if let Some(usage) = CommandUsage::of(recording, top)? {
        write!(text, "{}", usage.text())?;
        if !usage.largest.is_empty() {
            write!(text, "\n{}", table(&usage.largest, width))?;
        }
        text.push_str("\nthe whole machine meanwhile:\n");
    }
    if !largest.is_empty() {
        writeln!(text, "{}", table(&largest, width))?;
    }
    if largest.iter().any(|process| !process.is_exact) {
        writeln!(text, "{AT_LEAST}")?;
    }
    writeln!(
        text,
        "{} of {} in {}, every {} ms",
        count(totals.samples, "sample"),
        count(totals.processes, "process image"),
        count(totals.ticks, "tick"),
        provenance.settings.interval_ms,
    )?;
    writeln!(
        text,
        "losses: {} late, {} missed, {} dropped, {} gone, {} denied, {} unreadable{}",
        totals.late,
        totals.missed,
        totals.dropped,
        totals.gone,
        totals.denied,
        totals.unreadable,
        if totals.stuck > 0 { format!(", {} stuck", totals.stuck) } else { String::new() },
    )?;
    if provenance.settings.exits {
        writeln!(
            text,
            "exits: {} reported by the kernel, {} of them of processes too short-lived to be sampled, {} lost",
            totals.exits, totals.unsampled, totals.exits_lost,
        )?;
    }
    let coverage = recording.last_known_pss().context("cannot read the table of the system")?;
    if let Some(line) = coverage.and_then(|(known, meminfo)| coverage_line(&known, &meminfo)) {
        writeln!(text, "coverage: {line}")?;
    }
    if let Some(recorder) = recorder {
        let seconds = match recorder.elapsed_seconds {
            // A recording of an earlier version.
            0.0 => {
                totals.ticks.saturating_add(totals.missed) as f64
                    * provenance.settings.interval_ms as f64
                    / 1000.0
            }
            seconds => seconds,
        };
        let share = if seconds > 0.0 { 100.0 * recorder.cpu_seconds / seconds } else { 0.0 };
        let memory = recorder.peak_rss_bytes.map_or("unknown".to_owned(), rounded_size);
        let Quantiles { p50, p99, max } = recorder.sweep_us;
        writeln!(
            text,
            "cost: {:.2} s of CPU ({share:.1} % of one core), peak RSS {memory}; sweep time {p50} us (median), \
             {p99} us (99th percentile), {max} us (maximum)",
            recorder.cpu_seconds,
        )?;
    }
    for note in notes {
        writeln!(text, "note: {note}")?;
    }
    if let Some(end) = end
        && let Some(reason) = early_end(&End::from(end.clone()))
    {
        writeln!(text, "ended early: {reason}")?;
    }
    let size = recording.size_bytes()?;
    let each = match totals.samples {
        0 => String::new(),
        samples => format!(", {:.2} bytes per sample", size as f64 / samples as f64),
    };
    writeln!(text, "{} ({}{each})", recording.path().display(), rounded_size(size))?;
    Ok(text)
}

/// Returns the share of the mapped memory that PSS accounts for, its age, and what is missing.
pub(crate) fn coverage_line(known: &KnownPss, meminfo: &Meminfo) -> Option<String> {
    let share = known.explains(meminfo).filter(|_| known.known_processes > 0)?;
    let mapped = rounded_size(meminfo.mapped_bytes()?);
    let seconds = |ms: Option<u64>| ms.unwrap_or(0) as f64 / 1000.0;
    let mut line = format!(
        "PSS of {} accounts for {:.0} % of {mapped} of mapped memory; read {:.1} s ago on average, at most {:.1} s ago",
        count(known.known_processes.into(), "process"),
        100.0 * share,
        seconds(known.mean_age_ms),
        seconds(known.oldest_ms),
    );
    if known.unknown_processes > 0 {
        let (unknown, rss) = (
            count(known.unknown_processes.into(), "process"),
            rounded_size(known.unknown_rss_bytes),
        );
        line.push_str(&format!("; PSS unknown for {unknown} with an RSS of {rss}"));
    }
    Some(line)
}

/// Returns why a recording ended before it was stopped, if it did.
pub(crate) fn early_end(end: &End) -> Option<String> {
    match end {
        End::DiskFull => Some("the disk is full; everything written before is kept".to_owned()),
        End::WriteFailed(error) => Some(format!("{error}; everything written before is kept")),
        End::SamplingFailed(error) => Some(format!("{error}; everything sampled before is kept")),
        End::Crashed => Some("the recorder was killed".to_owned()),
        _ => None,
    }
}

/// Columns that are left out where the terminal has no room for them.
const SPARE: [&str; 3] = ["SAMPLES", "MEAN RSS", "SAMPLED"];

fn table(largest: &[LargestProcess], width: Option<usize>) -> String {
    let cells = |process: &LargestProcess| {
        let size = |bytes: Option<u64>| bytes.map_or("-".to_owned(), rounded_size);
        vec![
            printable(&process.role).to_string(),
            process.pid.to_string(),
            // The mark that the kernel reports at the exit is the peak; an earlier one is a lower bound.
            match process.is_exact {
                true => rounded_size(process.lower.bytes),
                false => format!("≥{}", rounded_size(process.lower.bytes)),
            },
            size(process.rss_peak_bytes),
            size(process.rss_mean_bytes),
            size(process.pss_peak_bytes),
            process.samples.to_string(),
        ]
    };
    let table = Fitted {
        heads: vec!["ROLE", "PID", "PEAK RSS", "SAMPLED", "MEAN RSS", "PEAK PSS", "SAMPLES"],
        rows: largest.iter().map(cells).collect(),
        name: "ROLE",
        spare: &SPARE,
        shorten: shortened,
    };
    let (text, left_out) = table.lines(width);
    match left_out.is_empty() {
        true => text,
        false => format!("{text}left out in this terminal: {}\n", left_out.join(", ")),
    }
}
