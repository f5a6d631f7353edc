//! The options that say what is recorded of the arguments of processes.

use std::path::PathBuf;

use clap::ValueEnum;
use memsample::{KeptArguments, Redaction};

/// The configuration file, and what a command line adds to it.
#[derive(clap::Args)]
pub(crate) struct ConfigArgs {
    /// Configuration file: patterns to redact in arguments, and rules that name roles
    /// [default: $MEMSAMPLE_CONFIG, or ~/.config/memsample/config.toml if it exists]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Replace each match in the arguments of a process, joined by spaces, with `[redacted]`; may be
    /// given several times. Example: '--password[= ]\S+'
    #[arg(long, value_name = "REGEX", value_parser = parse_redaction, allow_hyphen_values = true)]
    pub(crate) redact: Vec<Redaction>,
}

fn parse_redaction(text: &str) -> Result<Redaction, String> {
    Redaction::new(text).map_err(|error| error.to_string())
}

/// What is recorded of the arguments of a process.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Cmdline {
    /// All arguments
    Full,
    /// The first argument, which is the program
    Program,
    /// Nothing
    None,
}

impl From<Cmdline> for KeptArguments {
    fn from(cmdline: Cmdline) -> Self {
        match cmdline {
            Cmdline::Full => Self::Full,
            Cmdline::Program => Self::Program,
            Cmdline::None => Self::None,
        }
    }
}
