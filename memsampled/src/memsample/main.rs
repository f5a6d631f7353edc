//! The `memsample` command.
#![forbid(unsafe_code)]

mod args;
mod child;
mod control;
mod doctor;
mod duration;
mod exec;
mod exit;
mod import;
mod peaks;
mod plain_table;
mod record;
mod recover;
mod run;
mod share;
mod signals;
mod summary;
mod view;

use std::io::{self, Write};

use clap::{CommandFactory, Parser};

use args::{Args, Command};
use exit::ExitCode;

fn main() -> std::process::ExitCode {
    // Not a person's command: one of the processes around a test.
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
        Command::Start(args) => control::start(args),
        Command::Mark(args) => control::mark(args),
        Command::Exec(args) => exec::run(&args),
        Command::Stop(args) => control::stop(&args),
        Command::Dump(args) => control::dump(args),
        Command::Status(args) => control::status(&args),
        Command::Sessions(args) => control::sessions(&args),
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
            // Nobody is left to tell if this fails.
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::of(&error).into()
        }
    }
}

fn print(bytes: &[u8]) -> anyhow::Result<ExitCode> {
    io::stdout().write_all(bytes)?;
    Ok(ExitCode::SUCCESS)
}

/// A reader that has seen enough, such as `head`, is no error.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
