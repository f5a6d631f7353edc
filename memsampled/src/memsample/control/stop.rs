//! `memsample stop`: stops a session of the daemon.

use memsample_inherited::{print, tell};

use super::{DaemonArgs, chosen, connect, print_json};
use crate::exit::ExitCode;
use memsample_input::count;

/// Stop a session of the daemon, and print the path of its recording
#[derive(clap::Args)]
pub(crate) struct StopArgs {
    #[command(flatten)]
    pub(crate) daemon: DaemonArgs,

    /// Session to stop [default: the only one that is recording]
    #[arg(value_name = "SESSION", env = memsample_client::SESSION_VARIABLE)]
    pub(crate) session: Option<String>,
}

pub(crate) fn run(args: &StopArgs) -> anyhow::Result<ExitCode> {
    let (mut client, _) = connect(&args.daemon)?;
    let session = chosen(&mut client, args.session.clone())?;
    let stopped = client.stop(&session)?;
    let summary = &stopped.summary;
    let code = ExitCode::of_end(summary.end.as_ref());
    let printed = print_json(&args.daemon.json, &stopped);
    if !args.daemon.json.is_on_stdout() {
        tell(format!(
            "session {} stopped: {}, {} of {}, {} late, {} dropped",
            stopped.id,
            count(summary.ticks, "tick"),
            count(summary.samples, "sample"),
            count(summary.processes, "process image"),
            summary.late,
            summary.dropped
        ));
        print(format!("{}\n", stopped.recording));
    }
    if let Some(reason) = summary.end.as_ref().and_then(crate::summary::early_end) {
        tell(format!("error: the recording ended early: {reason}"));
    }
    code.if_told(printed.map(|_| ()))
}
