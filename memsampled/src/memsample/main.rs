//! The `memsample` command.
#![forbid(unsafe_code)]

mod child;
mod config_args;
mod control;
mod doctor;
mod duration;
mod exec;
mod exit;
mod import;
mod pattern;
mod peaks;
mod plain_table;
mod record;
mod recover;
mod run;
mod share;
mod signals;
mod summary;
mod text;
mod view;

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{CommandFactory, Parser, Subcommand};

use exit::ExitCode;

/// Record the memory of every process, for test runs on Linux
#[derive(Parser)]
#[command(name = "memsample", version, propagate_version = true, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 success, 1 failure, 2 wrong usage, 4 disk full, 5 recording could not \
    be written; `record -- COMMAND` and `exec -- COMMAND` exit with the code of COMMAND; see \
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
    Peaks(peaks::PeaksArgs),
    View(view::ViewArgs),
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
        /// Existing directory
        directory: PathBuf,
    },
}

fn main() -> std::process::ExitCode {
    // The runner starts this program as one of the processes around a test.
    if let Some(code) = memsample_runner::sandbox::internal_program(std::env::args_os()) {
        return code;
    }
    let outcome = match Args::parse().command {
        Command::Record(args) => record::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Recover(args) => recover::run(&args),
        Command::Summary(args) => summary::run(&args),
        Command::Peaks(args) => peaks::run(&args),
        Command::View(args) => view::run(&args),
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
        Command::Man { directory } => clap_mangen::generate_to(Args::command(), directory)
            .map(|()| ExitCode::SUCCESS)
            .map_err(anyhow::Error::from),
    };
    match outcome {
        Ok(code) => code.into(),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS.into(),
        Err(error) => {
            // A failure to write the message cannot be reported.
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::of(&error).into()
        }
    }
}

fn print(bytes: &[u8]) -> anyhow::Result<ExitCode> {
    io::stdout().write_all(bytes)?;
    Ok(ExitCode::SUCCESS)
}

/// Returns whether the reader has closed its end: `head` does once it has seen enough, which is no error.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
