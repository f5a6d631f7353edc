//! The commands about a store, where the runs and recordings of many machines are.

mod age;
mod compact;
mod list;
mod open;
mod progress;
mod prune;
mod pull;
mod push;
mod verify;

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
