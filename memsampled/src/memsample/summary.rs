//! What a recording comes to: the largest processes, what it could not see, and what it cost.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context;
use bytesize::ByteSize;
use comfy_table::{CellAlignment, Table};
use memsample::analysis::{LargestProcess, largest_processes};
use memsample::parse::Meminfo;
use memsample::{KnownPss, Manifest, Quantiles, Recording, Recovery};
use memsample_client::wire::{End, Summary};

use crate::exit::ExitCode;
use crate::plain_table::{lines, plain_table};

/// How many of the largest processes are shown.
pub(crate) const LARGEST: usize = 10;

/// Print the largest processes of a recording, its losses and its cost
#[derive(clap::Args)]
pub(crate) struct SummaryArgs {
    /// Directory of the recording
    #[arg(value_name = "RECORDING")]
    pub(crate) recording: PathBuf,

    /// Maximum number of processes
    #[arg(long, value_name = "COUNT", default_value_t = LARGEST)]
    pub(crate) top: usize,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(args: &SummaryArgs) -> anyhow::Result<ExitCode> {
    let (recording, recovery) = Recording::open(&args.recording)?;
    note_recovery(recovery)?;
    if args.json {
        print_json(&recording)?;
    } else {
        write!(io::stdout(), "{}", text(&recording, args.top)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Says on the error stream what opening the recording did to it.
pub(crate) fn note_recovery(recovery: Recovery) -> io::Result<()> {
    match recovery {
        Recovery::Recovered { .. } => {
            writeln!(
                io::stderr(),
                "note: the recorder had been killed; the recording was put together"
            )?;
        }
        Recovery::StillRecording => {
            writeln!(io::stderr(), "note: still being recorded; this is as of the last flush")?;
        }
        _ => {}
    }
    Ok(())
}

/// Prints the result as one JSON object.
pub(crate) fn print_json(recording: &Recording) -> anyhow::Result<()> {
    writeln!(io::stdout(), "{}", serde_json::to_string(&Summary::of(recording)?)?)?;
    Ok(())
}

/// Returns what a person reads at the end of a recording.
pub(crate) fn text(recording: &Recording, top: usize) -> anyhow::Result<String> {
    let largest =
        largest_processes(recording, top).context("cannot read the table of processes")?;
    let Manifest { totals, recorder, provenance, notes, end, .. } = recording.manifest();
    let mut text = String::new();
    if !largest.is_empty() {
        writeln!(text, "{}", lines(&table(&largest)))?;
    }
    let seconds = totals.ticks as f64 * provenance.settings.interval_ms as f64 / 1000.0;
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
        "honesty: {} late, {} missed, {} dropped, {} gone, {} denied, {} unreadable",
        totals.late, totals.missed, totals.dropped, totals.gone, totals.denied, totals.unreadable,
    )?;
    if provenance.settings.exits {
        writeln!(
            text,
            "ends: {} told by the kernel, {} of processes that lived between two ticks, {} lost",
            totals.exits, totals.unsampled, totals.exits_lost,
        )?;
    }
    let coverage = recording.last_known_pss().context("cannot read the table of the system")?;
    if let Some(line) = coverage.and_then(|(known, meminfo)| coverage_line(&known, &meminfo)) {
        writeln!(text, "coverage: {line}")?;
    }
    if let Some(recorder) = recorder {
        let share = if seconds > 0.0 { 100.0 * recorder.cpu_seconds / seconds } else { 0.0 };
        let memory = recorder.peak_rss_bytes.map_or("?".to_owned(), bytes);
        let Quantiles { p50, p99, max } = recorder.sweep_us;
        writeln!(
            text,
            "cost: {:.2} s of CPU ({share:.1} % of one core), {memory} resident; sweep {p50} us at the median, \
             {p99} us at 99 %, {max} us at most",
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
        samples => format!(", {:.2} bytes a sample", size as f64 / samples as f64),
    };
    writeln!(text, "{} ({}{each})", recording.path().display(), bytes(size))?;
    Ok(text)
}

/// Says which part of the mapped memory PSS explains, how old it is, and what is missing.
pub(crate) fn coverage_line(known: &KnownPss, meminfo: &Meminfo) -> Option<String> {
    let share = known.explains(meminfo).filter(|_| known.known_processes > 0)?;
    let mapped = bytes(meminfo.mapped_bytes()?);
    let seconds = |ms: Option<u64>| ms.unwrap_or(0) as f64 / 1000.0;
    let mut line = format!(
        "PSS of {} explains {:.0} % of {mapped} that are mapped; read {:.1} s ago on average, {:.1} s at most",
        processes(known.known_processes),
        100.0 * share,
        seconds(known.mean_age_ms),
        seconds(known.oldest_ms),
    );
    if known.unknown_processes > 0 {
        let (unknown, rss) = (processes(known.unknown_processes), bytes(known.unknown_rss_bytes));
        line.push_str(&format!("; not known of {unknown} with an RSS of {rss}"));
    }
    Some(line)
}

fn processes(count: u32) -> String {
    format!("{count} process{}", if count == 1 { "" } else { "es" })
}

pub(crate) fn early_end(end: &End) -> Option<String> {
    match end {
        End::DiskFull => Some("the disk is full; everything up to then was kept".to_owned()),
        End::WriteFailed(error) => Some(format!("{error}; everything up to then was kept")),
        End::Crashed => Some("the recorder was killed".to_owned()),
        _ => None,
    }
}

fn table(largest: &[LargestProcess]) -> Table {
    let mut table = plain_table();
    table.set_header(["ROLE", "PID", "PEAK RSS", "SAMPLED", "MEAN RSS", "PEAK PSS", "SAMPLES"]);
    for process in largest {
        table.add_row([
            // A name may hold anything, also what moves the cursor.
            process.role.escape_debug().to_string(),
            process.pid.to_string(),
            // What the kernel told at the end is the peak; what it told before is a lower bound.
            match process.is_exact {
                true => bytes(process.lower.bytes),
                false => format!("≥{}", bytes(process.lower.bytes)),
            },
            process.rss_peak_bytes.map_or("-".to_owned(), bytes),
            process.rss_mean_bytes.map_or("-".to_owned(), bytes),
            process.pss_peak_bytes.map_or("-".to_owned(), bytes),
            process.samples.to_string(),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Formats a size: `1.5 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

pub(crate) fn count(count: u64, thing: &str) -> String {
    let plural = match (count, thing.ends_with('s')) {
        (1, _) => "",
        _ => "s",
    };
    format!("{count} {thing}{plural}")
}
