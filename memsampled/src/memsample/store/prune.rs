//! `memsample prune`: removes runs from a store.

use jiff::SignedDuration;
use memsample_inherited::{print_text, tell};
use memsample_input::{count, printable, rounded_size};
use memsample_store::prune::{Prune, prune};
use memsample_store::{Address, Store};

use super::age;
use super::open::open;
use crate::exit::ExitCode;

/// Remove runs from a store: old ones, or those that are named
///
/// The manifest of a run goes first, so that nobody finds half a run. What pushes that were killed more than a
/// day ago left is removed too.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    memsample prune s3://lab/memory --keep 90d --keep-releases --dry-run\n  \
    memsample prune /srv/lab --run nightly-20261129T010000Z-4a8f3c2e9d10")]
pub(crate) struct PruneArgs {
    /// Store: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, file:///DIRECTORY or the path of a directory
    #[arg(value_name = "STORE")]
    store: Address,

    /// Keep runs that came into the store within this time, such as 90d, and remove all others
    #[arg(long, value_name = "AGE", value_parser = age::parse, required_unless_present = "run")]
    keep: Option<SignedDuration>,

    /// Keep all runs of a release, however old
    #[arg(long, requires = "keep")]
    keep_releases: bool,

    /// Remove this run, as `memsample list` names it; may be given several times
    #[arg(long, value_name = "RUN", conflicts_with = "keep")]
    run: Vec<String>,

    /// Print what would be removed, and remove nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub(crate) fn run(args: &PruneArgs) -> anyhow::Result<ExitCode> {
    let store: Store = open(&args.store)?;
    let options = Prune {
        older_than: args.keep,
        keep_releases: args.keep_releases,
        runs: args.run.iter().map(|run| store.find(run)).collect::<Result<_, _>>()?,
        dry_run: args.dry_run,
    };
    let pruned = prune(&store, &options)?;
    for manifest in &pruned.runs {
        let began =
            manifest.started.map_or("-".to_owned(), |it| it.strftime("%Y-%m-%d %H:%M").to_string());
        print_text(format!("{began}  {}\n", printable(&manifest.run)));
    }
    if pruned.unreadable > 0 {
        tell(format!(
            "note: {} cannot be read, and is left alone: `memsample verify` names what cannot be read",
            count(pruned.unreadable, "manifest")
        ));
    }
    let unnamed = match pruned.unnamed {
        0 => String::new(),
        unnamed => format!(" and {} of pushes that did not end", count(unnamed, "object")),
    };
    print_text(format!(
        "{} {}{unnamed}, {}\n",
        if args.dry_run { "would remove" } else { "removed" },
        count(pruned.runs.len() as u64, "run"),
        rounded_size(pruned.bytes)
    ));
    Ok(ExitCode::SUCCESS)
}
