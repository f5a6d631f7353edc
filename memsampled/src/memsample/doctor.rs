//! `memsample doctor`: what works on this machine.

use comfy_table::ContentArrangement;
use memsample_inherited::print_text;
use memsample_runner::doctor::{Check, checks};
use serde_json::json;

use crate::exit::ExitCode;
use crate::json_output::JsonArgs;
use crate::plain_table::{lines, plain_table, terminal_width};

/// Columns where there is no terminal.
const WIDTH: usize = 80;
/// Spaces that a table has on both sides of a line and that are not printed.
const SIDES: usize = 2;

/// Show which sandboxes, limits and counters work on this machine, and how to enable the rest
///
/// `memsample run` does not use what does not work here, and does not start a test that requires it.
#[derive(clap::Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) json: JsonArgs,
}

pub(crate) fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let checks = checks();
    args.json.write(|| Ok(json(&checks)))?;
    if !args.json.is_on_stdout() {
        print_text(text(&checks, terminal_width().unwrap_or(WIDTH)));
    }
    Ok(ExitCode::SUCCESS)
}

fn text(checks: &[Check], width: usize) -> String {
    let mut table = plain_table();
    // What does not fit goes on in the next line, below its column.
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(u16::try_from(width + SIDES).unwrap_or(u16::MAX));
    table.set_header(["", "WORKS", "FOR", ""]);
    for check in checks {
        let (works, details) = match &check.result {
            Ok(details) => ("yes", details.clone()),
            Err(missing) => ("no", missing.reason.clone()),
        };
        table.add_row([check.name, works, check.purpose, &details]);
    }
    let mut text = lines(&table);
    let mut remedies = Vec::new();
    for check in checks {
        let Err(missing) = &check.result else { continue };
        let Some(remedy) = &missing.remedy else { continue };
        remedies.push(format!("  {}: {remedy}\n", check.name));
    }
    if !remedies.is_empty() {
        text.push_str("\nTo enable the rest:\n");
        remedies.iter().for_each(|remedy| text.push_str(remedy));
    }
    text
}

fn json(checks: &[Check]) -> String {
    let check = |check: &Check| {
        let missing = check.result.as_ref().err();
        json!({
            "name": check.name,
            "purpose": check.purpose,
            "works": check.result.is_ok(),
            "details": check.result.as_ref().ok(),
            "reason": missing.map(|missing| &missing.reason),
            "remedy": missing.and_then(|missing| missing.remedy.as_ref()),
        })
    };
    let checks: Vec<_> = checks.iter().map(check).collect();
    format!("{}\n", serde_json::Value::Array(checks))
}
