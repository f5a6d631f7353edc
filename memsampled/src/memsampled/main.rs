//! The daemon `memsampled`.
#![deny(unsafe_code)]

mod args;
mod heap;
mod log;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use memsample_config::Config;
use memsample_daemon::Options;

use args::Args;

fn main() -> ExitCode {
    heap::share_one_heap();
    let args = Args::parse();
    match args.print_documents().map(|done| if done { Ok(()) } else { serve(args) }) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) | Err(error) => {
            // Nobody is left to tell if this fails.
            let _ = writeln!(io::stderr(), "memsampled: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(args: Args) -> anyhow::Result<()> {
    log::start();
    let arguments = args.into_arguments();
    let config = match &arguments.config {
        Some(path) => Config::read_file(path)?,
        None => Config::default(),
    };
    let options = Options::new(arguments.clone(), config)?;
    memsample_daemon::run(options, &arguments)?;
    Ok(())
}
