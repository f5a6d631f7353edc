//! `memsample leaks`: judges whether memory leaks, of runs, recordings and series.

mod args;
mod found;
mod limits;
mod print;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use memsample::Recording;
use memsample_inherited::print_text;
use memsample_input::printable;
use memsample_leaks::{Verdict, judge, judge_roles, read_csv};

use crate::exit::ExitCode;
use crate::known_recordings::recordings_of_run;
use crate::plain_table::terminal_width;
use crate::{recording_path, summary};
pub(crate) use args::LeaksArgs;
use found::{Found, Reached, Told, ToldSeries};
use limits::{Attempts, Limit, LimitKind};

pub(crate) fn run(args: &LeaksArgs) -> anyhow::Result<ExitCode> {
    let limit = args.limit.map(|size| Limit { limit_bytes: size.0, limit: LimitKind::Option });
    if let Some(path) = &args.series {
        return series(args, path, limit);
    }
    let latest = PathBuf::from("@latest");
    let named = args.recording.as_ref().unwrap_or(&latest);
    let (recordings, attempts) = recordings(named)?;
    let judged = attempts.judged(args.whole);
    let mut judgements = Vec::new();
    for recording in &recordings {
        let path = recording.path().display();
        let of = judge_roles(recording, &judged)
            .with_context(|| format!("cannot judge `{}`", printable(&path.to_string())))?;
        judgements.extend(of.into_iter().map(|of| {
            let reached = Reached::of(&of.judgement, [limit, attempts.limit(&of)]);
            Told { of, reached }
        }));
    }
    let paths = recordings.iter().map(|recording| recording.path().display().to_string());
    let found = Found::new(paths.collect(), judgements);
    args.json.write(|| Ok(serde_json::to_string(&found)? + "\n"))?;
    if !args.json.is_on_stdout() {
        print_text(print::text(&found, terminal_width(), args.all));
    }
    Ok(if found.leaks() { ExitCode::LEAKS } else { ExitCode::SUCCESS })
}

/// Opens the recording that is named, or all parts of the run, and reads the results of the run that it is of.
fn recordings(named: &Path) -> anyhow::Result<(Vec<Recording>, Attempts)> {
    let (last, recovery) = recording_path::open(named)?;
    summary::note_recovery(recovery);
    let Some(run) = last.path().parent().map(Path::to_owned) else {
        return Ok((vec![last], Attempts::default()));
    };
    let parts = recordings_of_run(&run);
    if !parts.iter().any(|part| part == last.path()) {
        return Ok((vec![last], Attempts::default()));
    }
    let attempts = Attempts::read(&run);
    // One part was named, and not the run.
    if named.join(Recording::FILE).exists() {
        return Ok((vec![last], attempts));
    }
    let mut recordings = Vec::new();
    for part in parts.iter().filter(|part| *part != last.path()).rev() {
        let (recording, recovery) = Recording::open(part)?;
        summary::note_recovery(recovery);
        recordings.push(recording);
    }
    recordings.push(last);
    Ok((recordings, attempts))
}

/// Judges the series of a file.
fn series(args: &LeaksArgs, path: &Path, limit: Option<Limit>) -> anyhow::Result<ExitCode> {
    let name = || printable(&path.display().to_string());
    let read = match path == Path::new("-") {
        true => read_csv(io::stdin().lock()),
        false => {
            let file = File::open(path).with_context(|| format!("cannot open `{}`", name()))?;
            read_csv(file)
        }
    };
    let (series, unmeasured) = read.with_context(|| format!("`{}` is no series", name()))?;
    let judgement = judge(&series);
    let leaks = judgement.verdict == Verdict::Leaks;
    let reached = Reached::of(&judgement, [limit, None]);
    let told = ToldSeries { judgement, reached, unmeasured };
    args.json.write(|| Ok(serde_json::to_string(&told)? + "\n"))?;
    if !args.json.is_on_stdout() {
        print_text(print::series(&told, terminal_width()));
    }
    Ok(if leaks { ExitCode::LEAKS } else { ExitCode::SUCCESS })
}
