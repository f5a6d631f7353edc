//! `memsample peaks`: the largest resident sets of a recording, with bounds.

mod args;
mod print;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io;

use memsample::analysis::{
    Covers, MarkedTests, TestUsage, counter_error_bytes, marked_tests, process_peaks,
    pss_of_attempts, role_peaks, test_peaks, test_usages,
};
use memsample_inherited::{print, print_text, tell};

use crate::exit::ExitCode;
use crate::plain_table::{terminal_width, width};
use crate::{recording_path, summary};
pub(crate) use args::{PeaksArgs, PeaksBy};
use memsample_input::{folded, printable};
use print::Row;

/// Marks without a counterpart that are named.
const MAX_PROBLEMS: usize = 5;

pub(crate) fn run(args: &PeaksArgs) -> anyhow::Result<ExitCode> {
    let (recording, recovery) = recording_path::open(&args.recording)?;
    summary::note_recovery(recovery);
    let provenance = &recording.manifest().provenance;
    let fits = |text: &str| args.filter.as_ref().is_none_or(|filter| filter.is_match(text));
    let started = match recording.first_and_last_tick()? {
        Some((first, _)) => first,
        None => provenance.started,
    };
    let mut marked = MarkedTests::default();
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
            marked = marked_tests(&recording, fits)?;
            let usages = if peaks.is_empty() { Vec::new() } else { test_usages(&recording)? };
            let mut attempts: HashMap<&str, Vec<&TestUsage>> = HashMap::new();
            usages.iter().for_each(|usage| attempts.entry(&usage.test).or_default().push(usage));
            let own = peaks.into_iter().map(|peak| {
                let attempts = attempts.get(peak.role.as_str()).map_or(&[][..], Vec::as_slice);
                let pss = pss_of_attempts(attempts);
                Row::of_test(peak, pss, started)
            });
            let marked = marked.tests.iter().map(|test| Row::of_marked_test(test, started));
            let mut rows: Vec<Row> = own.chain(marked).collect();
            rows.sort_by_key(|row| Reverse(row.lower_bytes()));
            rows.truncate(args.top);
            rows
        }
    };
    args.json.write(|| Ok(serde_json::to_string(&rows)? + "\n"))?;
    let csv = args.csv.then(|| print::csv(&rows, args.by)).transpose()?;
    if rows.is_empty() && args.by == PeaksBy::Test && args.filter.is_none() {
        note(
            "note: no test ran or was marked in this recording: run tests with `memsample exec --test NAME` or with \
             `memsample run`, or mark them with `memsample mark begin NAME --test NAME`",
        );
    }
    match csv {
        _ if args.json.is_on_stdout() => {}
        Some(csv) => print(csv),
        None => {
            let error_bytes = counter_error_bytes(&provenance.machine);
            print_text(print::text(&rows, args.by, error_bytes, terminal_width()));
        }
    }
    note_missing_pss(&rows);
    note_marked(&marked);
    Ok(ExitCode::SUCCESS)
}

/// Says on stderr why tests have no PSS.
fn note_missing_pss(rows: &[Row]) {
    let missing: Vec<_> = rows.iter().filter_map(Row::missing_pss).collect();
    for (test, reason) in missing.iter().take(MAX_PROBLEMS) {
        note(format!("note: no PSS of test `{}`: {reason}", printable(test)));
    }
    match missing.len().saturating_sub(MAX_PROBLEMS) {
        0 => {}
        more => note(format!("note: and {more} more tests without PSS")),
    }
}

/// Says on stderr what the rows of marked tests are of, and which marks have no counterpart.
fn note_marked(marked: &MarkedTests) {
    let is_whole = |covers: Covers| !matches!(covers, Covers::MarkedProcess(_));
    let whole: Vec<_> = marked.tests.iter().filter(|test| is_whole(test.covers)).collect();
    if let Some(first) = whole.first() {
        let what = match first.covers {
            Covers::Target => "the target of the recording",
            _ => "the whole machine",
        };
        let count = match whole.len() {
            1 => "1 test was only marked: its row is".to_owned(),
            count => format!("{count} tests were only marked: their rows are"),
        };
        note(format!(
            "note: {count} of {what} between the marks. For the test alone, run it with `memsample exec`, or \
             give the marks its process with `--pid`"
        ));
    }
    let unended = marked.tests.iter().filter(|test| !test.is_ended);
    let unended = unended.map(|test| {
        let (test, mark) = (printable(&test.test), printable(&test.mark));
        format!("no mark ends `{mark}` of test `{test}`: its row lasts until it begins again, or to the end")
    });
    let unbegun = marked.without_begin.iter().map(|end| {
        let (test, mark) = (printable(&end.test), printable(&end.mark));
        format!("a mark ends `{mark}` of test `{test}`, which no mark began: it has no row")
    });
    let problems: Vec<String> = unended.chain(unbegun).collect();
    for problem in problems.iter().take(MAX_PROBLEMS) {
        note(format!("note: {problem}"));
    }
    let more = problems.len().saturating_sub(MAX_PROBLEMS);
    if more > 0 {
        note(format!("note: and {more} more marks without a counterpart"));
    }
}

/// Says something on stderr, folded where that is a terminal.
fn note(text: impl AsRef<str>) {
    tell(folded(text.as_ref(), width(&io::stderr())));
}
