//! The commands about a store, where the runs and recordings of many machines are.

mod compact;
mod list;
mod progress;
mod prune;
mod pull;
mod push;
mod verify;

use memsample_store::{Address, Store};

pub(crate) use compact::CompactArgs;
pub(crate) use list::ListArgs;
pub(crate) use prune::PruneArgs;
pub(crate) use pull::PullArgs;
pub(crate) use push::{PushArgs, push_after};
pub(crate) use verify::VerifyArgs;

use crate::exit::ExitCode;

/// A command about a store.
#[derive(clap::Subcommand)]
pub(crate) enum StoreCommand {
    Push(PushArgs),
    Pull(PullArgs),
    List(ListArgs),
    Verify(VerifyArgs),
    Prune(PruneArgs),
    Compact(CompactArgs),
}

pub(crate) fn run(command: &StoreCommand) -> anyhow::Result<ExitCode> {
    match command {
        StoreCommand::Push(args) => push::run(args),
        StoreCommand::Pull(args) => pull::run(args),
        StoreCommand::List(args) => list::run(args),
        StoreCommand::Verify(args) => verify::run(args),
        StoreCommand::Prune(args) => prune::run(args),
        StoreCommand::Compact(args) => compact::run(args),
    }
}

fn open(address: &Address) -> anyhow::Result<Store> {
    // A directory that is only read is not made.
    if let Address::Directory(directory) = address
        && !directory.is_dir()
    {
        anyhow::bail!("there is no store at `{address}`: `memsample push` makes one");
    }
    Ok(Store::open(address)?)
}
