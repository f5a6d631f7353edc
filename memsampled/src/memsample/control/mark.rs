//! `memsample mark`: sets a mark in the recording of a session.

use clap::ValueEnum;
use memsample_client::wire::{MarkKind, MarkRequest};
use serde::Serialize;

use super::{DaemonArgs, chosen, connect, parse_label, print_json};
use crate::exit::ExitCode;

/// Set a mark in the recording of a session, at this instant
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    memsample mark begin test_load --test test_load\n  \
    memsample mark begin test_load --test test_load --pid $$\n  \
    memsample mark point 'cache dropped'")]
pub(crate) struct MarkArgs {
    #[command(flatten)]
    pub(crate) daemon: DaemonArgs,

    /// Kind of the mark
    pub(crate) kind: MarkWord,

    /// Name of the mark: what begins, ends or happened
    pub(crate) name: String,

    /// Test to which the mark belongs
    #[arg(long, value_name = "TEST")]
    pub(crate) test: Option<String>,

    /// Label to store with the mark; may be given several times
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    pub(crate) labels: Vec<(String, String)>,

    /// Process that the mark is about: its memory is read now. The difference between the begin and the end
    /// is then the growth of the test, whatever the interval; see `memsample peaks --by test`
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) pid: Option<i32>,

    /// Session to mark [default: the only one that is recording]
    #[arg(long, value_name = "ID", env = memsample_client::SESSION_VARIABLE)]
    pub(crate) session: Option<String>,
}

/// A kind of mark.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MarkWord {
    /// Something begins
    Begin,
    /// Something ends
    End,
    /// Something happens
    Point,
}

pub(crate) fn run(args: MarkArgs) -> anyhow::Result<ExitCode> {
    let MarkArgs { daemon, kind, name, test, labels, pid, session } = args;
    let labels = labels.into_iter().collect();
    let kind = match kind {
        MarkWord::Begin => MarkKind::Begin,
        MarkWord::End => MarkKind::End,
        MarkWord::Point => MarkKind::Point,
    };
    let (mut client, _) = connect(&daemon)?;
    let session = chosen(&mut client, session)?;
    let mark = MarkRequest { kind, name, test, labels, pid };
    client.mark(&session, &mark)?;
    print_json(&daemon.json, &Marked { session: &session, mark: &mark })?;
    Ok(ExitCode::SUCCESS)
}

/// What `mark --json` prints: the answer of the daemon is empty.
#[derive(Serialize)]
struct Marked<'a> {
    session: &'a str,
    #[serde(flatten)]
    mark: &'a MarkRequest,
}
