//! `memsample recover`: completes recordings whose recorder was killed.

use std::io::{self, Write};
use std::path::PathBuf;

use memsample::{Recording, Recovery};

use crate::exit::ExitCode;
use crate::recording_path;

/// Complete a recording whose recorder was killed
///
/// Opening a recording does the same. A recording that is complete, or that is still being written, is
/// not changed.
#[derive(clap::Args)]
pub(crate) struct RecoverArgs {
    /// Directories or names of recordings: see `memsample ls`
    #[arg(required = true, value_name = "RECORDING")]
    pub(crate) recordings: Vec<PathBuf>,
}

/// Recovers each recording, and continues with the next if one cannot be recovered.
pub(crate) fn run(args: &RecoverArgs) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for named in &args.recordings {
        let directory = match recording_path::resolve(named) {
            Ok(directory) => directory,
            Err(error) => {
                writeln!(io::stderr(), "error: {error:#}")?;
                code = ExitCode::FAILURE;
                continue;
            }
        };
        let path = directory.display();
        match Recording::recover(&directory) {
            Ok(Recovery::NotNeeded) => writeln!(io::stdout(), "{path}: is complete")?,
            Ok(Recovery::StillRecording) => {
                writeln!(io::stdout(), "{path}: is still being written; not changed")?;
            }
            Ok(Recovery::Recovered { batches, torn }) => {
                let torn = if torn { "; the last one was incomplete and is lost" } else { "" };
                writeln!(
                    io::stdout(),
                    "{path}: recovered {batches} batches from its journal{torn}"
                )?;
            }
            // Only opening a recording makes a copy.
            Ok(Recovery::InCopy { .. }) => {}
            Err(error) => {
                writeln!(io::stderr(), "error: {error}")?;
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}
