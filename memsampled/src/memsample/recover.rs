use std::io::{self, Write};

use memsample::{Recording, Recovery};

use crate::args::RecoverArgs;
use crate::exit::ExitCode;

/// Recovers each recording, and goes on to the next where one cannot be.
pub(crate) fn run(args: &RecoverArgs) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for run in &args.recordings {
        let path = run.display();
        match Recording::recover(run) {
            Ok(Recovery::NotNeeded) => writeln!(io::stdout(), "{path}: is whole")?,
            Ok(Recovery::StillRecording) => {
                writeln!(io::stdout(), "{path}: is still being written; left as it is")?;
            }
            Ok(Recovery::Recovered { batches, torn }) => {
                let torn = if torn { ", without the last one, which was cut off" } else { "" };
                writeln!(
                    io::stdout(),
                    "{path}: recovered from {batches} batches of its journal{torn}"
                )?;
            }
            Err(error) => {
                writeln!(io::stderr(), "error: {error}")?;
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}
