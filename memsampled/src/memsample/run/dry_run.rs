//! `--list` and `--dry-run`: what would be run.

use std::time::Duration;

use memsample_inherited as inherited;
use memsample_input::{printable, rounded_size};
use memsample_runner::run::{Decision, PlannedTest, RunOptions, dry_run};
use memsample_runner::suite::Suite;
use serde::Serialize;

use super::RunArgs;
use crate::exit::ExitCode;
use crate::plain_table::{align_right, lines, plain_table};

/// What `--json` prints.
#[derive(Serialize)]
struct Listed<'a> {
    suite: &'a str,
    tests: Vec<&'a PlannedTest>,
    notes: &'a [String],
}

/// Prints what would be run.
pub(super) fn print(
    suite: &Suite,
    options: &RunOptions,
    args: &RunArgs,
) -> anyhow::Result<ExitCode> {
    let (planned, notes) = dry_run(suite, options);
    let is_selected = |test: &&PlannedTest| test.decision != Decision::NotSelected;
    let shown: Vec<&PlannedTest> = match args.list {
        // As the suite has them.
        true => {
            let of = |name: &String| planned.iter().find(|test| test.name == *name);
            suite.tests.iter().filter_map(|test| of(&test.name)).filter(is_selected).collect()
        }
        false => planned.iter().collect(),
    };
    if args.json {
        let listed = Listed { suite: &suite.name, tests: shown, notes: &notes };
        inherited::print(serde_json::to_string(&listed)? + "\n");
        return Ok(ExitCode::SUCCESS);
    }
    if args.list {
        for test in shown {
            inherited::print(format!("{}\n", printable(&test.name)));
        }
        return Ok(ExitCode::SUCCESS);
    }
    for note in suite.notes.iter().chain(&notes) {
        inherited::tell(format!("note: {}", printable(note)));
    }
    inherited::print_text(table(&shown));
    let selected = planned.iter().filter(is_selected).count();
    let run = planned.iter().filter(|test| test.decision == Decision::Run).count();
    let jobs = options.jobs;
    inherited::print_text(format!(
        "\n{run} of {} tests would be run, at most {jobs} at once; {} would be skipped, {} are not selected\n",
        planned.len(),
        selected - run,
        planned.len() - selected
    ));
    Ok(ExitCode::SUCCESS)
}

fn table(tests: &[&PlannedTest]) -> String {
    let mut table = plain_table();
    // Few suites have such limits, and a terminal has few columns.
    let limits_cpu_time = tests.iter().any(|test| test.cpu_limit_ns.is_some());
    let mut head = vec!["", "TEST", "TIMES", "SANDBOX", "TIMEOUT", "MEMORY LIMIT", "WHY"];
    if limits_cpu_time {
        head.insert(6, "CPU LIMIT");
    }
    table.set_header(head);
    for test in tests {
        let unknown = || "-".to_owned();
        let is_run = test.decision == Decision::Run;
        let number = test.position.map_or_else(unknown, |position| position.to_string());
        let times = if is_run { test.repeat.to_string() } else { unknown() };
        let word = match test.decision {
            Decision::Run | Decision::NotSelected => "",
            Decision::Skip => "skipped: ",
            Decision::NotStarted => "cannot be started: ",
        };
        let duration = |ns| format!("{:?}", Duration::from_nanos(ns));
        let mut cells = vec![
            number,
            printable(&test.name),
            times,
            test.sandbox.clone().unwrap_or_else(unknown),
            duration(test.timeout_ns),
            test.memory_limit_bytes.map_or_else(unknown, rounded_size),
            format!("{word}{}", printable(test.reason.as_deref().unwrap_or_default())),
        ];
        if limits_cpu_time {
            cells.insert(6, test.cpu_limit_ns.map_or_else(unknown, duration));
        }
        table.add_row(cells);
    }
    align_right(&mut table, |index| {
        matches!(index, 0 | 2 | 4 | 5) || (limits_cpu_time && index == 6)
    });
    lines(&table)
}
