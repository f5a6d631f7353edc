//! `memsample peaks`: the largest resident sets of a recording, with bounds.

mod args;
mod print;

use std::io::{self, Write};

use memsample::analysis::{counter_error_bytes, process_peaks, role_peaks, test_peaks};

use crate::exit::ExitCode;
use crate::{recording_path, summary};
pub(crate) use args::{PeaksArgs, PeaksBy};
use print::Row;

pub(crate) fn run(args: &PeaksArgs) -> anyhow::Result<ExitCode> {
    let (recording, recovery) = recording_path::open(&args.recording)?;
    summary::note_recovery(recovery)?;
    let provenance = &recording.manifest().provenance;
    let fits = |text: &str| args.filter.as_ref().is_none_or(|filter| filter.is_match(text));
    let started = match recording.first_and_last_tick()? {
        Some((first, _)) => first,
        None => provenance.started,
    };
    let rows: Vec<Row> = match args.by {
        PeaksBy::Process => {
            let keep = |comm: &str, cmdline: Option<&str>| fits(comm) || cmdline.is_some_and(fits);
            let peaks = process_peaks(&recording, args.top, keep)?;
            peaks.into_iter().map(|peak| Row::of_process(peak, started)).collect()
        }
        PeaksBy::Role => {
            let peaks = role_peaks(&recording, args.top, fits)?;
            peaks.into_iter().map(|peak| Row::of_role(peak, started)).collect()
        }
        PeaksBy::Test => {
            let peaks = test_peaks(&recording, args.top, fits)?;
            peaks.into_iter().map(|peak| Row::of_test(peak, started)).collect()
        }
    };
    args.json.write(|| Ok(serde_json::to_string(&rows)? + "\n"))?;
    let output = match (args.json.is_on_stdout(), args.csv) {
        (true, _) => String::new(),
        (_, true) => print::csv(&rows, args.by)?,
        _ => {
            let error_bytes = counter_error_bytes(&provenance.machine);
            print::text(&rows, args.by, error_bytes)
        }
    };
    if rows.is_empty() && args.by == PeaksBy::Test && args.filter.is_none() {
        writeln!(
            io::stderr(),
            "note: no process of this recording belongs to a test: run tests with `memsample exec --test NAME`, \
             or with `memsample run`"
        )?;
    }
    io::stdout().write_all(output.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
