//! `memsample status`: shows the health of the daemon.

use std::time::Duration;

use super::{DaemonArgs, connect, print_json};
use crate::exit::ExitCode;
use memsample_inherited::print_text;
use memsample_input::{count, rounded_size};

/// Show the health of the daemon, and how it is protected
#[derive(clap::Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) daemon: DaemonArgs,
}

pub(crate) fn run(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let (mut client, socket) = connect(&args.daemon)?;
    let health = client.health()?;
    if print_json(&args.daemon.json, &health)? {
        let protection = &health.protection;
        print_text(format!(
            "memsampled {} on {}: {}, up {:?}, pid {}\n",
            health.version,
            socket.display(),
            health.status,
            Duration::from_secs(health.uptime_ms / 1000),
            health.pid
        ));
        let sessions = count(health.sessions, "session");
        print_text(format!("{sessions}; recordings in {}\n", health.recordings));
        print_text(format!(
            "protection: oom_score_adj {}, memory {}, control group {}\n",
            protection.oom_score_adj.map_or("unknown".to_owned(), |score| score.to_string()),
            if protection.memory_locked { "locked" } else { "not locked" },
            protection.cgroup.as_deref().unwrap_or("shared")
        ));
        if let Some(flight) = &health.flight_recorder {
            print_text(format!(
                "flight recorder: keeps {:.1}s of {} in {} of {}; {}\n",
                Duration::from_millis(flight.kept_ms).as_secs_f64(),
                flight.span,
                rounded_size(flight.kept_bytes),
                rounded_size(flight.max_bytes),
                count(flight.dumps, "dump")
            ));
        }
        let flight_notes = health.flight_recorder.iter().flat_map(|flight| &flight.notes);
        for note in protection.notes.iter().chain(flight_notes) {
            print_text(format!("note: {note}\n"));
        }
        for problem in &health.problems {
            print_text(format!("problem: {problem}\n"));
        }
    }
    Ok(if health.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
