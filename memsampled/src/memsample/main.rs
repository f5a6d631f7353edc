//! The `memsample` command.
#![forbid(unsafe_code)]

mod anonymize;
mod child;
mod command_hint;
mod command_line;
mod command_usage;
mod compare;
mod config_args;
mod control;
mod cut;
mod doctor;
mod duration;
mod exec;
mod exit;
mod explain;
mod export;
mod import;
mod instant;
mod json_output;
mod known_recordings;
mod leaks;
mod live_terminal;
mod ls;
mod pattern;
mod peaks;
mod plain_table;
mod record;
mod recording_path;
mod recover;
mod reference;
mod report;
mod run;
mod run_or_recording;
#[cfg(feature = "lab")]
mod serve;
mod session;
mod share;
mod signals;
#[cfg(feature = "lab")]
mod store;
mod summary;
mod text;
#[cfg(feature = "top")]
mod top;
mod trend;
mod view;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};
use memsample_inherited::{
    learn_ends_of_children, lost, outlive_soft_limits, print, run_below_init,
    share_one_heap_if_limited, tell, too_few_descriptors, too_little_memory, with_enough_stack,
};

use exit::{ExitCode, with_advice};

/// Files that every command may want to open at the same time, with a margin.
const MIN_DESCRIPTORS: usize = 32;

/// Record the memory of every process, for test runs on Linux
#[derive(Parser)]
#[command(name = "memsample", version, propagate_version = true, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 success, 1 failure, 2 wrong usage, 4 disk full, 5 recording could not \
    be written. `record`, `session` and `exec` with a COMMAND exit with its code; with 125 if \
    memsample itself fails, 126 if COMMAND cannot be executed, and 127 if it is not found. See \
    `memsample run --help` for those of `run`."
)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(Box<run::RunArgs>),
    Doctor(doctor::DoctorArgs),
    Record(record::RecordArgs),
    Recover(recover::RecoverArgs),
    Summary(summary::SummaryArgs),
    Ls(ls::LsArgs),
    Peaks(peaks::PeaksArgs),
    Compare(compare::CompareArgs),
    Report(report::ReportArgs),
    Trend(trend::TrendArgs),
    Leaks(leaks::LeaksArgs),
    Explain(explain::ExplainArgs),
    Export(export::ExportArgs),
    Cut(cut::CutArgs),
    Anonymize(anonymize::AnonymizeArgs),
    View(view::ViewArgs),
    #[cfg(feature = "top")]
    Top(top::TopArgs),
    Session(session::SessionArgs),
    Start(control::start::StartArgs),
    Mark(control::mark::MarkArgs),
    Exec(exec::ExecArgs),
    Stop(control::stop::StopArgs),
    Dump(control::dump::DumpArgs),
    Status(control::status::StatusArgs),
    Sessions(control::sessions::SessionsArgs),
    Import(import::ImportArgs),
    #[cfg(feature = "lab")]
    #[command(flatten)]
    Store(store::StoreCommand),
    #[cfg(feature = "lab")]
    Serve(serve::ServeArgs),
    /// Print the tables and columns of a recording, with units and sources, as Markdown
    Schema,
    /// Print a shell completion script
    ///
    /// For bash: memsample completions bash > /etc/bash_completion.d/memsample
    Completions {
        /// Shell to complete for
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a directory
    Man {
        /// Directory, which is made if it does not exist; `man -l DIRECTORY/memsample.1` shows the first page
        directory: PathBuf,
    },
}

fn main() -> std::process::ExitCode {
    with_enough_stack(program)
}

fn program() -> std::process::ExitCode {
    outlive_soft_limits();
    learn_ends_of_children();
    // The runner starts this program as one of the processes around a test.
    if let Some(code) = memsample_runner::sandbox::internal_program(std::env::args_os()) {
        return code;
    }
    share_one_heap_if_limited();
    let arguments = command_line::arguments(&Args::command());
    let own_failure = command_line::own_failure(&arguments);
    let args = match Args::try_parse_from(&arguments) {
        Ok(args) => args,
        Err(error) => return end(command_line::refuse(error, &arguments)),
    };
    if command_line::lacks_command(&arguments) {
        tell("error: no command stands behind `--`");
        return ExitCode::OWN_FAILURE.into();
    }
    if args.command.starts_others()
        && let Some(code) = run_below_init()
    {
        return code.into();
    }
    // What runs a command runs it all the same, and `record` raises its limit of open files.
    let raises_limit = matches!(args.command, Command::Record(_));
    let too_few = || (!raises_limit).then(|| too_few_descriptors(MIN_DESCRIPTORS)).flatten();
    if own_failure.is_none()
        && let Some(reason) = too_little_memory().or_else(too_few)
    {
        tell(format!("error: {reason}"));
        return ExitCode::FAILURE.into();
    }
    let code = run(args.command).unwrap_or_else(|error| {
        tell(format!("error: {}", with_advice(&error)));
        own_failure.unwrap_or_else(|| ExitCode::of(&error))
    });
    end(code)
}

/// Ends with the code of what was done. What the standard output lacks is an error in place of success.
fn end(code: ExitCode) -> std::process::ExitCode {
    let Some(error) = lost() else { return code.into() };
    tell(format!("error: cannot write to stdout: {error}"));
    code.unless_success(ExitCode::of(&error.into())).into()
}

impl Command {
    /// Returns whether the command starts programs, whose orphans PID 1 has to reap.
    fn starts_others(&self) -> bool {
        matches!(self, Self::Record(_) | Self::Run(_) | Self::Session(_) | Self::Exec(_))
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Record(args) => record::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Recover(args) => recover::run(&args),
        Command::Summary(args) => summary::run(&args),
        Command::Ls(args) => ls::run(&args),
        Command::Peaks(args) => peaks::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Trend(args) => trend::run(&args),
        Command::Leaks(args) => leaks::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Cut(args) => cut::run(&args),
        Command::Anonymize(args) => anonymize::run(&args),
        Command::View(args) => view::run(&args),
        #[cfg(feature = "top")]
        Command::Top(args) => top::run(&args),
        Command::Session(args) => session::run(&args),
        Command::Start(args) => control::start::run(args),
        Command::Mark(args) => control::mark::run(args),
        Command::Exec(args) => exec::run(&args),
        Command::Stop(args) => control::stop::run(&args),
        Command::Dump(args) => control::dump::run(args),
        Command::Status(args) => control::status::run(&args),
        Command::Sessions(args) => control::sessions::run(&args),
        Command::Import(args) => import::run(&args),
        #[cfg(feature = "lab")]
        Command::Store(command) => store::run(&command),
        #[cfg(feature = "lab")]
        Command::Serve(args) => serve::run(&args),
        Command::Schema => {
            print(memsample::schema::document());
            Ok(ExitCode::SUCCESS)
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "memsample", &mut script);
            print(script);
            Ok(ExitCode::SUCCESS)
        }
        Command::Man { directory } => write_manual(&directory),
    }
}

fn write_manual(directory: &Path) -> anyhow::Result<ExitCode> {
    let cannot = || format!("cannot write manual pages into `{}`", directory.display());
    std::fs::create_dir_all(directory).with_context(cannot)?;
    clap_mangen::generate_to(Args::command(), directory).with_context(cannot)?;
    Ok(ExitCode::SUCCESS)
}
