//! `memsample compare`: compares the memory of the tests of two releases.

mod args;
pub(crate) mod runs;

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Context, bail};
use memsample_compare::comparison::CompareOutcome;
use memsample_compare::{History, Options, Run, compare, releases, report};
use memsample_inherited::{print, print_text, tell};
use memsample_input::printable;
use memsample_report::SideBySide;
use memsample_report::html::comparison_html;

use crate::exit::ExitCode;
use crate::plain_table::terminal_width;
use crate::summary::open_or_note;
pub(crate) use args::CompareArgs;

/// Columns of a text that is read elsewhere than on a terminal.
const WIDTH: usize = 120;

pub(crate) fn run(args: &CompareArgs) -> anyhow::Result<ExitCode> {
    let base = runs::read(&args.base).context("--base")?;
    let head = runs::read(&args.head).context("--head")?;
    if let Some(both) = base.iter().find(|run| head.iter().any(|other| other.is_same(run))) {
        bail!("`{}` is in the base and in the head", printable(&both.run.name));
    }
    let directories: HashMap<String, PathBuf> = base
        .iter()
        .chain(&head)
        .map(|it| (it.run.name.clone(), it.directory().to_owned()))
        .collect();
    let options = Options {
        quantities: args.quantity.clone(),
        roles: args.roles,
        margin: args.margin,
        allowed: args.allow_different.iter().copied().collect(),
        limits: args.fail_on.clone(),
        history: history(args, &base, &head)?,
    };
    let of = |side: Vec<runs::Found>| side.into_iter().map(|found| found.run).collect::<Vec<Run>>();
    let (base, head) = (of(base), of(head));
    let comparison = compare(&base, &head, &options)?;
    if let Some(path) = &args.suspects {
        let written = comparison.suspects().write(path);
        written.with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    if let Some(path) = &args.html {
        let open = |run: &Run, name: &str| open_or_note(&directories.get(&run.name)?.join(name));
        let sides = SideBySide::new(comparison.clone(), &base, &head, open);
        crate::report::write(&comparison_html(&sides), path)?;
    }
    args.json.write(|| Ok(serde_json::to_string(&comparison)? + "\n"))?;
    if !args.json.is_on_stdout() {
        match args.markdown {
            true => print(report::markdown(&comparison)),
            false => {
                let width = terminal_width().unwrap_or(WIDTH);
                print_text(report::text(&comparison, width, args.all));
            }
        }
    }
    Ok(match comparison.outcome {
        CompareOutcome::NotWorse => ExitCode::SUCCESS,
        CompareOutcome::Worse => ExitCode::WORSE,
        CompareOutcome::Suspects => {
            if args.suspects.is_none() {
                tell(
                    "note: --suspects FILE writes what to run again, for `memsample run --suspects FILE`",
                );
            }
            ExitCode::SUSPECTS
        }
    })
}

/// Reads how much builds differ from the runs of `--history`, but for those that are compared.
fn history(
    args: &CompareArgs,
    base: &[runs::Found],
    head: &[runs::Found],
) -> anyhow::Result<Option<History>> {
    if args.history.is_empty() {
        return Ok(None);
    }
    let mut grouped = runs::grouped(&args.history).context("--history")?;
    let is_compared = |run: &runs::Found| base.iter().chain(head).any(|it| it.is_same(run));
    grouped.retain(|(_, run)| !is_compared(run));
    let grouped = grouped.into_iter().map(|(group, found)| (group, found.run));
    let releases = releases(grouped, &args.history_label);
    let history = History::of(&releases, &args.quantity).map_err(anyhow::Error::msg);
    history.context("--history").map(Some)
}
