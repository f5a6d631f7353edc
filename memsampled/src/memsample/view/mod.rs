//! `memsample view`: what the memory of a machine is used for, now or at an instant of a recording.

mod args;
mod notes;
mod print;

use std::path::Path;

use anyhow::{Context, bail};
use clap::ValueEnum;
use memsample::SamplerOptions;
use memsample::view::{self, Column, View, ViewOptions};
use memsample_config::Config;
use memsample_inherited::{print, print_text, tell};

use crate::exit::{ExitCode, WrongUsage};
use crate::{recording_path, summary};
use args::By;
pub(crate) use args::ViewArgs;
use print::Unit;

pub(crate) fn run(args: &ViewArgs) -> anyhow::Result<ExitCode> {
    refuse_contradictions(args)?;
    // A wrong name must not wait until everything has been read.
    let for_program = args.csv || args.json.is_on_stdout();
    let chosen = chosen_columns(args, for_program)?;
    let in_json = chosen_columns(args, true)?;
    let sort = args.sort.as_deref().map(|name| column(args.by, name)).transpose()?;
    let mut used: Vec<Column> = chosen.iter().chain(&sort).copied().collect();
    if args.json.json.is_some() {
        used.extend(&in_json);
    }
    if args.recording.is_some() && used.iter().any(|column| column.name == "maps") {
        bail!("a recording does not hold what processes map: leave out the column `maps`");
    }
    let mut view = read(args, used)?;
    if args.percent && view.meminfo.and_then(|meminfo| meminfo.mem_total).is_none() {
        bail!("the memory of the machine is not known, so there are no shares of it: no meminfo");
    }
    match sort {
        Some(column) => view.table.sort(&column, args.reverse),
        None => view.table.sort_by_default(args.reverse),
    }
    let (table, meminfo) = (&view.table, view.meminfo.as_ref());
    args.json.write(|| print::json(table, &in_json))?;
    match (args.json.is_on_stdout(), args.csv) {
        (true, _) => {}
        (_, true) => print(print::csv(table, &chosen)?),
        _ => {
            let unit = match (args.bytes, args.percent) {
                (true, _) => Unit::Bytes,
                (_, true) => Unit::Percent,
                _ => Unit::Human,
            };
            print_text(print::text(table, &chosen, unit, args.totals, meminfo));
        }
    }
    let mut notes: Vec<String> =
        view.notes.iter().map(|note| notes::text(note, args.recording.as_deref())).collect();
    match args.by {
        By::System => notes.extend(
            view.known_pss
                .as_ref()
                .and_then(|(known, meminfo)| summary::coverage_line(known, meminfo)),
        ),
        By::Mapping => {}
        by => {
            let shows_sums = (args.totals || by != By::Process) && !for_program;
            notes.extend(notes::unknown(&view, &chosen, shows_sums));
            let pss = chosen.iter().find(|column| column.name == "pss_bytes");
            if sort.is_none() && pss.is_some_and(|pss| view.table.unknown(pss) > 0) {
                notes.push(notes::DEFAULT_ORDER.to_owned());
            }
        }
    }
    for note in notes {
        tell(format!("note: {note}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Refuses arguments that contradict each other in a way that the parser of arguments cannot express.
fn refuse_contradictions(args: &ViewArgs) -> Result<(), WrongUsage> {
    let refusal = if args.by == By::System && (args.filter.is_some() || args.user.is_some()) {
        "`--by system` is about the whole machine: leave out --filter and --user"
    } else if args.by == By::Mapping && args.recording.is_some() {
        "a recording does not hold what processes map: use `--by mapping` without RECORDING"
    } else if args.recording.is_some()
        && (args.config.config.is_some() || !args.config.redact.is_empty())
    {
        "a recording holds the roles and arguments of its time: leave out --config and --redact"
    } else {
        return Ok(());
    };
    Err(WrongUsage(refusal.to_owned()))
}

fn read(args: &ViewArgs, columns: Vec<Column>) -> anyhow::Result<View> {
    let mut options = ViewOptions::new(args.by.into()).columns(columns).exact(args.exact);
    if let Some(user) = &args.user {
        options = options.user(uid(user)?);
    }
    if let Some(name) = &args.filter {
        options = options.name(name.clone());
    }
    match &args.recording {
        Some(path) => {
            let (recording, recovery) = recording_path::open(path)?;
            summary::note_recovery(recovery);
            Ok(View::recorded(&recording, args.at, &options, &user_name)?)
        }
        None => {
            // This program has the expression among its arguments, and is not what a person looks for.
            if args.filter.is_some() && args.proc == Path::new("/proc") {
                options = options.except(rustix::process::getpid().as_raw_nonzero().get());
            }
            let sampler = SamplerOptions::default().proc_root(&args.proc);
            let config = Config::read(args.config.config.as_deref())?;
            let sampler = config.redact(&args.config.redact).describe(sampler);
            Ok(View::live(sampler, &options, &user_name)?)
        }
    }
}

/// Returns the columns to print: those that are named, or the default ones.
fn chosen_columns(args: &ViewArgs, for_program: bool) -> anyhow::Result<Vec<Column>> {
    match &args.columns {
        Some(names) => names.iter().map(|name| Ok(column(args.by, name)?)).collect(),
        None => {
            let is_default = |column: &&Column| match for_program {
                true => column.is_default_for_a_program(),
                // Of this machine, everything is read now.
                false if column.name == "pss_age_ms" => args.recording.is_some() && !args.exact,
                false => column.is_default_for_a_person(),
            };
            Ok(view::columns(args.by.into()).iter().filter(is_default).copied().collect())
        }
    }
}

fn column(by: By, name: &str) -> Result<Column, WrongUsage> {
    let Some(column) = view::column(by.into(), name.trim()) else {
        let known: Vec<_> = view::columns(by.into()).iter().map(|column| column.short).collect();
        let by = by.to_possible_value();
        let by = by.map_or_else(String::new, |by| by.get_name().to_owned());
        let known = known.join(", ");
        return Err(WrongUsage(format!("no column `{name}` in `--by {by}`, which has {known}")));
    };
    Ok(*column)
}

/// Returns the id of a user by a number or a name.
fn uid(user: &str) -> anyhow::Result<u32> {
    if let Ok(uid) = user.parse() {
        return Ok(uid);
    }
    let user = uzers::get_user_by_name(user)
        .with_context(|| format!("this machine has no user `{user}`"))?;
    Ok(user.uid())
}

fn user_name(uid: u32) -> Option<String> {
    uzers::get_user_by_uid(uid).map(|user| user.name().to_string_lossy().into_owned())
}
