//! The daemon `memsampled`.
#![deny(unsafe_code)]

mod args;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Parser;
use memsample_config::Config;
use memsample_daemon::{Options, OptionsError};
use memsample_inherited::{
    LogOf, advice, learn_ends_of_children, lost, outlive_soft_limits, share_one_heap, start_log,
    tell, too_little_memory, with_enough_stack,
};

use args::Args;

/// What `clap` ends with when it refuses an argument by itself.
const WRONG_USAGE: u8 = 2;
/// How long who reads the log may take for its end.
const PATIENCE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    // Before any other thread begins.
    share_one_heap();
    with_enough_stack(program)
}

fn program() -> ExitCode {
    outlive_soft_limits();
    learn_ends_of_children();
    let args = Args::parse();
    let done = args.print_documents().and_then(|is_done| match (is_done, lost()) {
        (true, Some(error)) => Err(anyhow::Error::from(error).context("cannot write to stdout")),
        (true, None) => Ok(()),
        (false, _) => serve(args),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text = format!("{error:#}");
            let advice = advice(&text).map_or(String::new(), |advice| format!("; {advice}"));
            tell(format!("memsampled: error: {text}{advice}"));
            match error.is::<OptionsError>() {
                true => ExitCode::from(WRONG_USAGE),
                false => ExitCode::FAILURE,
            }
        }
    }
}

fn serve(args: Args) -> anyhow::Result<()> {
    if let Some(reason) = too_little_memory() {
        bail!(reason);
    }
    let log = start_log(LogOf::Daemon);
    let served = serve_with_log(args);
    log.finish_within(PATIENCE);
    served
}

fn serve_with_log(args: Args) -> anyhow::Result<()> {
    let arguments = args.into_arguments();
    let config = match &arguments.config {
        Some(path) => Config::read_file(path)?,
        None => Config::default(),
    };
    let options = Options::new(arguments.clone(), config)?;
    memsample_daemon::run(options, &arguments)?;
    Ok(())
}
