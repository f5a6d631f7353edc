//! `memsample cut`: a span of a recording as a recording of its own.

use std::path::PathBuf;

use anyhow::Context;
use jiff::Timestamp;
use memsample::analysis::for_each_mark;
use memsample::view::At;
use memsample::{MarkKind, Recording};
use memsample_inherited::{print_text, tell};
use memsample_input::{count, printable, rounded_size};

use crate::exit::ExitCode;
use crate::instant::parse_at;
use crate::recording_path;
use crate::run_or_recording::{RunOrRecording, last_recording};
use crate::summary::note_recovery;

/// Names that an error lists.
const MAX_NAMED: usize = 10;

/// Cut a span out of a recording, as a recording of its own
///
/// The new recording has the samples, ticks, exits, marks, control groups and processes of the span, both ends
/// included, and every command reads it like any other. What is summed up is summed up of the span; what may have been
/// reached before the span, such as a high-water mark, is not known in it. Of a run, its recording is cut.
/// docs/share.md says what changes.
///
/// TIME is a time such as 2026-11-22T20:59:38.281Z, the time since the first tick such as 12.5s, or a mark such as
/// mark:NAME.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    memsample cut recordings/nightly --from 30s --to 90s --out recordings/minute\n  \
    memsample cut runs/nightly --test parse --out parse-alone")]
pub(crate) struct CutArgs {
    /// Directory or name of a recording or a run, or @latest
    #[arg(value_name = "RECORDING|RUN", default_value = "@latest")]
    recording: PathBuf,

    /// Begin of the span [default: the first tick]
    #[arg(long, value_name = "TIME", value_parser = parse_bound, conflicts_with = "test")]
    from: Option<SpanBound>,

    /// End of the span [default: the last tick]
    #[arg(long, value_name = "TIME", value_parser = parse_bound, conflicts_with = "test")]
    to: Option<SpanBound>,

    /// Test whose span to take: from the first mark of its begin to the last one of its end
    #[arg(long, value_name = "NAME")]
    test: Option<String>,

    /// Directory to make, which must not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// One end of a span.
#[derive(Clone, Debug)]
enum SpanBound {
    /// An instant of the recording.
    At(At),
    /// The first mark of this name.
    Mark(String),
}

fn parse_bound(text: &str) -> Result<SpanBound, String> {
    match text.strip_prefix("mark:") {
        Some(name) => Ok(SpanBound::Mark(name.to_owned())),
        None => parse_at(text)
            .map(SpanBound::At)
            .map_err(|error| format!("{error}, or the name of a mark such as mark:NAME")),
    }
}

pub(crate) fn run(args: &CutArgs) -> anyhow::Result<ExitCode> {
    if args.from.is_none() && args.to.is_none() && args.test.is_none() {
        tell("error: no span is given: use --from, --to or --test");
        return Ok(ExitCode::WRONG_USAGE);
    }
    let named = match RunOrRecording::find(&args.recording)? {
        RunOrRecording::Recording => args.recording.clone(),
        RunOrRecording::Run(directory) => last_recording(&directory)?,
    };
    let (recording, recovery) = recording_path::open(&named)?;
    note_recovery(recovery);
    let (from, to) = span(args, &recording)?;
    let cut = memsample::cut(&recording, from, to, &args.out)?;
    print_text(summary(&cut)?);
    Ok(ExitCode::SUCCESS)
}

fn span(args: &CutArgs, recording: &Recording) -> anyhow::Result<(Timestamp, Timestamp)> {
    let ticks = recording.first_and_last_tick().context("cannot read the ticks")?;
    let (first, last) = ticks.context("the recording has no tick")?;
    if let Some(test) = &args.test {
        return span_of_test(recording, test, last);
    }
    let instant = |bound: &Option<SpanBound>, default: Timestamp| -> anyhow::Result<Timestamp> {
        match bound {
            None => Ok(default),
            Some(SpanBound::At(at)) => {
                at.since(first).context("the instant is after the end of time")
            }
            Some(SpanBound::Mark(name)) => mark(recording, name),
        }
    };
    Ok((instant(&args.from, first)?, instant(&args.to, last)?))
}

/// Returns when a mark was set for the first time.
fn mark(recording: &Recording, name: &str) -> anyhow::Result<Timestamp> {
    let mut found = None;
    let mut names = Vec::new();
    for_each_mark(recording, |mark| {
        if mark.name == name {
            found = found.or(Some(mark.ts_ms));
        } else if !names.contains(&mark.name) {
            names.push(mark.name);
        }
    })?;
    let found = found.with_context(|| {
        format!("the recording has no mark `{}`{}", printable(name), there_are(&names))
    })?;
    Ok(Timestamp::from_millisecond(found)?)
}

/// Returns the span from the first begin of a test to its last end.
fn span_of_test(
    recording: &Recording,
    test: &str,
    last: Timestamp,
) -> anyhow::Result<(Timestamp, Timestamp)> {
    let (mut begin, mut end, mut open) = (None, None, false);
    let mut names = Vec::new();
    for_each_mark(recording, |mark| {
        let Some(of) = mark.test else { return };
        if of != test {
            if !names.contains(&of) {
                names.push(of);
            }
        } else if mark.kind == MarkKind::Begin {
            begin = begin.or(Some(mark.ts_ms));
            open = true;
        } else if mark.kind == MarkKind::End {
            end = Some(mark.ts_ms);
            open = false;
        }
    })?;
    let begin = begin.with_context(|| {
        format!("the recording has no begin of a test `{}`{}", printable(test), there_are(&names))
    })?;
    let end = end.filter(|_| !open).map(Timestamp::from_millisecond).transpose()?;
    Ok((Timestamp::from_millisecond(begin)?, end.unwrap_or(last)))
}

fn there_are(names: &[String]) -> String {
    if names.is_empty() {
        return ": there is none".to_owned();
    }
    let named: Vec<_> = names.iter().take(MAX_NAMED).map(|it| printable(it)).collect();
    let more = match names.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(": there are {}{more}", named.join(", "))
}

fn summary(cut: &Recording) -> anyhow::Result<String> {
    let manifest = cut.manifest();
    let totals = &manifest.totals;
    let path = cut.path().display().to_string();
    let size = rounded_size(cut.size_bytes().context("cannot read what was written")?);
    let mut text = format!(
        "{}: {}, {}, {}, {size}\n",
        printable(&path),
        count(totals.ticks, "tick"),
        count(totals.samples, "sample"),
        count(totals.processes, "process image"),
    );
    for note in manifest.notes.iter().filter(|note| note.starts_with("only a part of these")) {
        text.push_str(&format!("note: {}\n", printable(note)));
    }
    Ok(text)
}
