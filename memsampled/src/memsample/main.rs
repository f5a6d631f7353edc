//! The `memsample` command.
#![forbid(unsafe_code)]

mod child;
mod command_hint;
mod command_line;
mod command_usage;
mod config_args;
mod control;
mod doctor;
mod duration;
mod exec;
mod exit;
mod import;
mod json_output;
mod known_recordings;
mod ls;
mod pattern;
mod peaks;
mod plain_table;
mod record;
mod recording_path;
mod recover;
mod run;
mod session;
mod share;
mod signals;
mod summary;
mod text;
mod view;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};

use exit::ExitCode;

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
    View(view::ViewArgs),
    Session(session::SessionArgs),
    Start(control::start::StartArgs),
    Mark(control::mark::MarkArgs),
    Exec(exec::ExecArgs),
    Stop(control::stop::StopArgs),
    Dump(control::dump::DumpArgs),
    Status(control::status::StatusArgs),
    Sessions(control::sessions::SessionsArgs),
    Import(import::ImportArgs),
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
    // The runner starts this program as one of the processes around a test.
    if let Some(code) = memsample_runner::sandbox::internal_program(std::env::args_os()) {
        return code;
    }
    let arguments = command_line::arguments(&Args::command());
    let own_failure = command_line::own_failure(&arguments);
    let args = match Args::try_parse_from(&arguments) {
        Ok(args) => args,
        Err(error) => return command_line::refuse(&error, &arguments).into(),
    };
    let outcome = match args.command {
        Command::Record(args) => record::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Recover(args) => recover::run(&args),
        Command::Summary(args) => summary::run(&args),
        Command::Ls(args) => ls::run(&args),
        Command::Peaks(args) => peaks::run(&args),
        Command::View(args) => view::run(&args),
        Command::Session(args) => session::run(&args),
        Command::Start(args) => control::start::run(args),
        Command::Mark(args) => control::mark::run(args),
        Command::Exec(args) => exec::run(&args),
        Command::Stop(args) => control::stop::run(&args),
        Command::Dump(args) => control::dump::run(args),
        Command::Status(args) => control::status::run(&args),
        Command::Sessions(args) => control::sessions::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Schema => print(memsample::schema::document().as_bytes()),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "memsample", &mut script);
            print(&script)
        }
        Command::Man { directory } => write_manual(&directory),
    };
    match outcome {
        Ok(code) => code.into(),
        Err(error) if is_broken_pipe(&error) && own_failure.is_none() => ExitCode::SUCCESS.into(),
        Err(error) => {
            // A failure to write the message cannot be reported.
            let _ = writeln!(io::stderr(), "error: {error:#}");
            own_failure.unwrap_or_else(|| ExitCode::of(&error)).into()
        }
    }
}

fn write_manual(directory: &Path) -> anyhow::Result<ExitCode> {
    let cannot = || format!("cannot write manual pages into `{}`", directory.display());
    std::fs::create_dir_all(directory).with_context(cannot)?;
    clap_mangen::generate_to(Args::command(), directory).with_context(cannot)?;
    Ok(ExitCode::SUCCESS)
}

fn print(bytes: &[u8]) -> anyhow::Result<ExitCode> {
    io::stdout().write_all(bytes)?;
    Ok(ExitCode::SUCCESS)
}

/// Returns whether the reader has closed its end: `head` does once it has seen enough, which is no error.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
