//! `memsample dump`: makes a recording of what the flight recorder of the daemon keeps.

use std::time::Duration;

use memsample_client::wire::DumpRequest;
use memsample_inherited::{print, tell};

use super::{DaemonArgs, connect_within, parse_label, print_json, span};
use crate::duration;
use crate::exit::ExitCode;
use memsample_input::count;

/// Make a recording of the last minutes that the daemon keeps, and print its path
///
/// The daemon keeps them if it was started with --flight-recorder. Only root and the user of the daemon
/// may dump them, since they contain the processes of all users.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    memsample peaks \"$(memsample dump --last 2m)\"\n  \
    memsample dump --name stuck --label host=$(hostname)")]
pub(crate) struct DumpArgs {
    #[command(flatten)]
    pub(crate) daemon: DaemonArgs,

    /// Length of time to dump, up to now [default: all that is kept]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) last: Option<Duration>,

    /// Name of the recording; its id is the name and the time [default: flight]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// Label to store in recording.json; may be given several times
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    pub(crate) labels: Vec<(String, String)>,

    /// Time to wait for a daemon that is still starting
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration::parse)]
    pub(crate) wait: Duration,
}

pub(crate) fn run(args: DumpArgs) -> anyhow::Result<ExitCode> {
    let DumpArgs { daemon, last, name, labels, wait } = args;
    let labels = labels.into_iter().collect();
    let request = DumpRequest { last: last.map(span).transpose()?, name, labels };
    let (mut client, _) = connect_within(&daemon, wait)?;
    let dumped = client.dump(&request)?;
    let summary = &dumped.summary;
    if print_json(&daemon.json, &dumped)? {
        tell(format!(
            "{} contains {}, {} of {}",
            dumped.id,
            count(summary.ticks, "tick"),
            count(summary.samples, "sample"),
            count(summary.processes, "process image")
        ));
        print(format!("{}\n", dumped.recording));
    }
    Ok(ExitCode::SUCCESS)
}
