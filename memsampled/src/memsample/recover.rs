//! `memsample recover`: completes recordings whose recorder was killed.

use std::path::PathBuf;

use memsample::{Recording, Recovery};
use memsample_inherited::{print_text, tell};

use crate::exit::{ExitCode, with_advice};
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
        let recovered = recording_path::resolve(named)
            .and_then(|directory| Ok((Recording::recover(&directory)?, directory)));
        let (recovery, directory) = match recovered {
            Ok(recovered) => recovered,
            Err(error) => {
                tell(format!("error: {}", with_advice(&error)));
                code = ExitCode::of(&error);
                continue;
            }
        };
        let path = directory.display();
        match recovery {
            Recovery::NotNeeded => print_text(format!("{path}: is complete\n")),
            Recovery::StillRecording => {
                print_text(format!("{path}: is still being written; not changed\n"));
            }
            Recovery::Recovered { batches, torn } => {
                let torn = if torn { "; the last one was incomplete and is lost" } else { "" };
                print_text(format!("{path}: recovered {batches} batches from its journal{torn}\n"));
            }
            // Only opening a recording makes a copy.
            Recovery::InCopy { .. } => {}
        }
    }
    Ok(code)
}
