//! `memsample pull`: brings runs back from a store.

use std::path::PathBuf;

use memsample_inherited::{print, tell};
use memsample_store::Address;
use memsample_store::pull::pull;

use super::open::open;
use super::progress::Progress;
use crate::exit::{ExitCode, with_advice};

/// Bring runs or recordings back from a store
///
/// Each file is compared with its checksum, and a directory appears when all of it is there.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    memsample pull s3://lab/memory nightly-20261129T010000Z-4a8f3c2e9d10\n  \
    memsample pull /srv/lab nightly-20261129 --out /tmp && memsample report /tmp/nightly-20261129T010000Z")]
pub(crate) struct PullArgs {
    /// Store: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, file:///DIRECTORY or the path of a directory
    #[arg(value_name = "STORE")]
    store: Address,

    /// Runs, as `memsample list` names them; a beginning that only one run has is enough
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<String>,

    /// Directory below which to create those of the runs
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

pub(crate) fn run(args: &PullArgs) -> anyhow::Result<ExitCode> {
    let store = open(&args.store)?;
    let mut code = ExitCode::SUCCESS;
    for run in &args.runs {
        let pulled = store.find(run).and_then(|manifest| {
            let receiving =
                Progress::new("receiving", Some(manifest.files.iter().map(|it| it.bytes).sum()));
            let target = args.out.join(&manifest.name);
            pull(&store, &manifest, &target, &|bytes| receiving.add(bytes))?;
            Ok(target)
        });
        match pulled {
            Ok(target) => print(format!("{}\n", target.display())),
            Err(error) => {
                let error = error.into();
                tell(format!("error: {}", with_advice(&error)));
                code = ExitCode::of(&error);
            }
        }
    }
    Ok(code)
}
