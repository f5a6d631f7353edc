//! `memsample ls`: lists recordings.

use std::path::PathBuf;

use anyhow::Context;
use jiff::Timestamp;
use memsample::RecordingState;
use memsample_inherited::{print_text, tell};
use memsample_input::{printable, rounded_size};
use serde::Serialize;

use crate::exit::ExitCode;
use crate::json_output::JsonArgs;
use crate::known_recordings::{KnownRecording, KnownRecordings};
use crate::plain_table::{align_right, lines, plain_table};

/// List recordings, newest first
///
/// Lists those in `recordings` and `runs` here and in the directory of the daemon. Every command that reads
/// a recording takes its NAME, with or without the time; `@latest`, `@-1` (the one before) and so on; or the path
/// of a recording or of the results of a run.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    memsample ls\n  \
    memsample summary @latest\n  \
    memsample ls --json | jq -r '.[0].path'")]
pub(crate) struct LsArgs {
    /// Directories of recordings or runs [default: recordings, runs and that of the daemon]
    #[arg(value_name = "DIR")]
    pub(crate) places: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) json: JsonArgs,
}

/// A row. Its keys are part of the interface: see docs/commands.md.
#[derive(Serialize)]
struct Row {
    name: String,
    path: String,
    started: Timestamp,
    seconds: Option<f64>,
    processes: u64,
    samples: u64,
    bytes: Option<u64>,
    state: RecordingState,
}

impl Row {
    fn of(known: KnownRecording) -> Self {
        let KnownRecording { name, path, manifest } = known;
        let started = manifest.provenance.started;
        let seconds = manifest.last_tick.map(|last| last.duration_since(started).as_secs_f64());
        Self {
            name,
            bytes: size_bytes(&path),
            path: path.display().to_string(),
            started,
            seconds: seconds.map(|seconds| seconds.max(0.0)),
            processes: manifest.totals.processes,
            samples: manifest.totals.samples,
            state: manifest.state,
        }
    }
}

pub(crate) fn run(args: &LsArgs) -> anyhow::Result<ExitCode> {
    let known = match args.places.is_empty() {
        true => KnownRecordings::find(),
        false => KnownRecordings::below(args.places.clone()),
    };
    for place in &args.places {
        std::fs::metadata(place).with_context(|| format!("cannot list `{}`", place.display()))?;
    }
    // Those of other users, of which there may be many.
    if let Some((path, error)) = known.unread.first() {
        let also = match known.unread.len() - 1 {
            0 => String::new(),
            more => format!(", nor {more} more"),
        };
        let path = path.display();
        tell(format!("note: there may be more recordings: cannot read `{path}`{also}: {error}"));
    }
    let places = known.places;
    let rows: Vec<Row> = known.recordings.into_iter().map(Row::of).collect();
    args.json.write(|| Ok(serde_json::to_string(&rows)? + "\n"))?;
    if args.json.is_on_stdout() {
        return Ok(ExitCode::SUCCESS);
    }
    if rows.is_empty() {
        let places: Vec<_> = places.iter().map(|it| format!("`{}`", it.display())).collect();
        tell(format!("no recording in {}", places.join(", ")));
        return Ok(ExitCode::SUCCESS);
    }
    print_text(text(&rows));
    Ok(ExitCode::SUCCESS)
}

fn text(rows: &[Row]) -> String {
    let mut table = plain_table();
    table.set_header(["STARTED (UTC)", "DURATION", "PROCESSES", "SIZE", "STATE", "NAME"]);
    for row in rows {
        table.add_row([
            row.started.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            row.seconds.map_or("-".to_owned(), |seconds| format!("{seconds:.1} s")),
            row.processes.to_string(),
            row.bytes.map_or("-".to_owned(), rounded_size),
            match row.state {
                RecordingState::Closed => "closed",
                RecordingState::Recovered => "recovered",
                // Being written, or its recorder was killed: to tell them apart, it would have to be locked.
                _ => "not closed",
            }
            .to_owned(),
            printable(&row.name),
        ]);
    }
    align_right(&mut table, |column| (1..=3).contains(&column));
    lines(&table)
}

/// Returns the size of the files, without the journal.
fn size_bytes(path: &std::path::Path) -> Option<u64> {
    let entries = std::fs::read_dir(path).ok()?.flatten();
    let files = entries.filter_map(|entry| entry.metadata().ok()).filter(|it| it.is_file());
    Some(files.map(|it| it.len()).sum())
}
