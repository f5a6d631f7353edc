//! What the memory of a machine is used for, now or at an instant of a recording.
//!
//! ```text
//! /proc ──────┐
//!             ├▶ population ─ processes ─▶ rows ─ table ─▶ print
//! recording ──┘
//! ```

mod mapped;
mod population;
mod print;
mod rows;
mod table;

use std::io::{self, Write};
use std::time::Duration;

use anyhow::bail;
use clap::ValueEnum;
use jiff::Timestamp;
use memsample::{Files, Recording, SamplerOptions};
use regex::Regex;

use crate::args::ViewArgs;
use crate::duration;
use crate::exit::ExitCode;
use crate::summary;
use mapped::Mapped;
use memsample_config::Config;
use population::{Population, Wanted};
use print::Unit;
pub(crate) use print::terminal_width;
use table::Column;

/// What a row stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// One process
    Process,
    /// All processes of a user
    User,
    /// A file, or another thing that processes map
    Mapping,
    /// An area of the machine's memory
    System,
    /// All processes of a control group
    Cgroup,
    /// All processes that do the same: one program, one script, one crate that is compiled
    Role,
}

/// When to look at a recording.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum At {
    Time(Timestamp),
    /// After the first tick.
    Offset(Duration),
}

/// Reads an instant as a person types it.
pub(crate) fn parse_at(text: &str) -> Result<At, String> {
    if let Ok(time) = text.parse() {
        return Ok(At::Time(time));
    }
    duration::parse(text).map(At::Offset).map_err(|_| {
        "write a time such as 2026-11-22T20:59:38.281Z, or a length of time since the beginning such as 12.5s"
            .to_owned()
    })
}

/// Reads a regular expression. What is wrong with one fits on a line.
pub(crate) fn parse_regex(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| {
        let message = error.to_string();
        let last = message.lines().last().unwrap_or_default();
        last.trim_start_matches("error: ").to_owned()
    })
}

pub(crate) fn run(args: &ViewArgs) -> anyhow::Result<ExitCode> {
    if args.by == By::System && (args.filter.is_some() || args.user.is_some()) {
        bail!("`--by system` is about the whole machine: leave out --filter and --user");
    }
    if args.by == By::Mapping && args.recording.is_some() {
        bail!("a recording does not hold what processes map: use `--by mapping` without RUN");
    }
    if args.recording.is_some() && (args.config.config.is_some() || !args.config.redact.is_empty())
    {
        bail!(
            "a recording holds the roles and arguments of its time: leave out --config and --redact"
        );
    }
    // A wrong name should not wait until everything has been read.
    let chosen = table::choose(args.by, args.columns.as_deref(), args.json || args.csv)?;
    let sort = args.sort.as_deref().map(|name| table::column(args.by, name)).transpose()?;
    let used = |name: &str| chosen.iter().chain(&sort).any(|column| column.name == name);
    if used("maps") && args.recording.is_some() {
        bail!("a recording does not hold what processes map: leave out the column `maps`");
    }

    let mut mapped = Mapped::default();
    let mut population = match &args.recording {
        Some(run) => {
            let (recording, recovery) = Recording::open(run)?;
            summary::note_recovery(recovery)?;
            let mut population = Population::recorded(&recording, args.at, args.by)?;
            population.filter(args)?;
            population
        }
        None => {
            let options = SamplerOptions::default().proc_root(&args.proc);
            let config = Config::read(args.config.config.as_deref())?;
            let options = config.redact(&args.config.redact).describe(options);
            if args.by == By::Mapping {
                let population;
                (population, mapped) = Population::mapped(args, options)?;
                population
            } else {
                let needs_rollup = |column: &Column| {
                    column.metric().is_some_and(|metric| metric.file() == Files::SMAPS_ROLLUP)
                };
                let wanted = Wanted {
                    // To compare it with what is mapped.
                    rollup: args.by == By::System || chosen.iter().chain(&sort).any(needs_rollup),
                    command: used("command"),
                    role: used("role") || args.by == By::Role,
                    cgroup: used("cgroup") || args.by == By::Cgroup,
                    maps: used("maps"),
                };
                Population::live(args, options, wanted)?
            }
        }
    };
    if args.percent && population.meminfo.and_then(|meminfo| meminfo.mem_total).is_none() {
        bail!("the memory of the machine is not known, so there are no shares of it: no meminfo");
    }
    let mut table = match args.by {
        By::Process => rows::by_process(&population),
        By::User | By::Cgroup | By::Role => rows::by_group(&population, args.by),
        By::Mapping => rows::by_mapping(mapped),
        By::System => {
            population.note_coverage();
            rows::by_system(&population)?
        }
    };
    if let Some(column) = sort.or_else(|| table.usual_order().copied()) {
        table.sort(&column, args.reverse);
    }
    if matches!(args.by, By::Process | By::User | By::Cgroup | By::Role) {
        let sums = args.totals || args.by != By::Process;
        population.note_unknown(&table, &chosen, sums && !args.json && !args.csv);
    }

    let meminfo = population.meminfo.as_ref();
    let output = match (args.json, args.csv) {
        (true, _) => print::json(&table, &chosen)?,
        (_, true) => print::csv(&table, &chosen)?,
        _ => {
            let unit = match (args.bytes, args.percent) {
                (true, _) => Unit::Bytes,
                (_, true) => Unit::Percent,
                _ => Unit::Human,
            };
            print::text(&table, &chosen, unit, args.totals, meminfo)
        }
    };
    io::stdout().write_all(output.as_bytes())?;
    for note in &population.notes {
        writeln!(io::stderr(), "note: {note}")?;
    }
    Ok(ExitCode::SUCCESS)
}
