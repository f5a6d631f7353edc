//! `memsample sessions`: lists the sessions of the daemon.

use std::time::Duration;

use comfy_table::Table;
use memsample_client::wire::{Session, SessionState};
use memsample_inherited::{print_text, tell};

use super::{DaemonArgs, connect, print_json};
use crate::exit::ExitCode;
use crate::plain_table::{align_right, lines, plain_table};
use memsample_input::{printable, rounded_size};

/// List the sessions of the daemon
#[derive(clap::Args)]
pub(crate) struct SessionsArgs {
    #[command(flatten)]
    pub(crate) daemon: DaemonArgs,
}

pub(crate) fn run(args: &SessionsArgs) -> anyhow::Result<ExitCode> {
    let (mut client, _) = connect(&args.daemon)?;
    let list = client.sessions()?;
    if !print_json(&args.daemon.json, &list)? {
        return Ok(ExitCode::SUCCESS);
    }
    if list.sessions.is_empty() {
        tell("no session is recording");
    } else {
        print_text(lines(&table(&list.sessions)));
    }
    Ok(ExitCode::SUCCESS)
}

fn table(sessions: &[Session]) -> Table {
    let mut table = plain_table();
    table.set_header([
        "SESSION", "STATE", "UID", "EVERY", "FOR", "SAMPLES", "LATE", "DROPPED", "LARGEST",
    ]);
    for session in sessions {
        table.add_row([
            session.id.clone(),
            match session.state {
                SessionState::Recording => "recording",
                SessionState::Ended => "ended",
            }
            .to_owned(),
            session.uid.to_string(),
            session.interval.to_string(),
            format!("{:.1}s", Duration::from_millis(session.elapsed_ms).as_secs_f64()),
            session.totals.samples.to_string(),
            session.totals.late.to_string(),
            session.totals.dropped.to_string(),
            session.largest.as_ref().map_or("-".to_owned(), |largest| {
                let (comm, rss) = (printable(&largest.comm), rounded_size(largest.rss_bytes));
                format!("{comm} ({}) {rss}", largest.pid)
            }),
        ]);
    }
    align_right(&mut table, |column| (2..8).contains(&column));
    table
}
