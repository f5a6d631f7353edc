//! `memsample start`, `mark`, `stop`, `status` and `sessions`: clients of the daemon.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use bytesize::ByteSize;
use comfy_table::{CellAlignment, Table};
use memsample_client::wire::{
    DumpRequest, MarkKind, MarkRequest, Session, SessionLimits, SessionState, Span, StartRequest,
    Target,
};
use memsample_client::{Client, SESSION_VARIABLE, SOCKET_VARIABLE, default_socket};
use serde::Serialize;

use crate::args::{
    DaemonArgs, DumpArgs, MarkArgs, MarkWord, SessionsArgs, StartArgs, StatusArgs, StopArgs,
};
use crate::exit::ExitCode;
use crate::plain_table::{lines, plain_table};
use crate::summary::count;

pub(crate) fn start(args: StartArgs) -> anyhow::Result<ExitCode> {
    let StartArgs { daemon, name, interval, pid, cgroup, pss_budget, labels, .. } = args;
    let StartArgs { duration, idle, env, .. } = args;
    let request = StartRequest {
        name,
        interval: interval.map(span).transpose()?,
        pss_budget,
        labels: labels.into_iter().collect(),
        target: match (pid, cgroup) {
            (Some(pid), _) => Target::Pid { pid },
            (None, Some(path)) => Target::Cgroup { path },
            (None, None) => Target::Machine {},
        },
        limits: SessionLimits {
            duration: duration.map(span).transpose()?,
            bytes: None,
            idle: idle.map(span).transpose()?,
        },
    };
    let (mut client, socket) = connect(&daemon)?;
    let session = client.start(&request)?;
    let mut out = io::stdout();
    if env {
        // A program that is started may run in another directory.
        let socket = std::path::absolute(socket)?;
        writeln!(out, "export {SOCKET_VARIABLE}={}", quoted(&socket.display().to_string()))?;
        writeln!(out, "export {SESSION_VARIABLE}={}", quoted(&session.id))?;
    } else if daemon.json {
        print_json(&session)?;
    } else {
        writeln!(out, "{}", session.id)?;
    }
    if !daemon.json {
        let Session { id, interval, recording, .. } = session;
        writeln!(io::stderr(), "session {id} started: every {interval}, writing {recording}")?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn mark(args: MarkArgs) -> anyhow::Result<ExitCode> {
    let MarkArgs { daemon, kind, name, test, labels, session } = args;
    let labels = labels.into_iter().collect();
    let kind = match kind {
        MarkWord::Begin => MarkKind::Begin,
        MarkWord::End => MarkKind::End,
        MarkWord::Point => MarkKind::Point,
    };
    let (mut client, _) = connect(&daemon)?;
    let session = chosen(&mut client, session)?;
    let mark = MarkRequest { kind, name, test, labels };
    client.mark(&session, &mark)?;
    if daemon.json {
        print_json(&Marked { session: &session, mark: &mark })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What `mark --json` prints: the daemon answers nothing.
#[derive(Serialize)]
struct Marked<'a> {
    session: &'a str,
    #[serde(flatten)]
    mark: &'a MarkRequest,
}

pub(crate) fn stop(args: &StopArgs) -> anyhow::Result<ExitCode> {
    let (mut client, _) = connect(&args.daemon)?;
    let session = chosen(&mut client, args.session.clone())?;
    let stopped = client.stop(&session)?;
    let summary = &stopped.summary;
    if args.daemon.json {
        print_json(&stopped)?;
    } else {
        writeln!(
            io::stderr(),
            "session {} stopped: {}, {} of {}, {} late, {} dropped",
            stopped.id,
            count(summary.ticks, "tick"),
            count(summary.samples, "sample"),
            count(summary.processes, "process image"),
            summary.late,
            summary.dropped,
        )?;
        writeln!(io::stdout(), "{}", stopped.recording)?;
    }
    if let Some(reason) = summary.end.as_ref().and_then(crate::summary::early_end) {
        writeln!(io::stderr(), "error: the recording ended early: {reason}")?;
    }
    Ok(ExitCode::of_end(summary.end.as_ref()))
}

pub(crate) fn dump(args: DumpArgs) -> anyhow::Result<ExitCode> {
    let DumpArgs { daemon, last, name, labels } = args;
    let labels = labels.into_iter().collect();
    let request = DumpRequest { last: last.map(span).transpose()?, name, labels };
    let (mut client, _) = connect(&daemon)?;
    let dumped = client.dump(&request)?;
    let summary = &dumped.summary;
    if daemon.json {
        print_json(&dumped)?;
    } else {
        writeln!(
            io::stderr(),
            "{} holds {} ticks, {} samples of {} process images",
            dumped.id,
            summary.ticks,
            summary.samples,
            summary.processes,
        )?;
        writeln!(io::stdout(), "{}", dumped.recording)?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn status(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let (mut client, socket) = connect(&args.daemon)?;
    let health = client.health()?;
    if args.daemon.json {
        print_json(&health)?;
    } else {
        let protection = &health.protection;
        let mut out = io::stdout();
        writeln!(
            out,
            "memsampled {} on {}: {}, for {:?}, pid {}",
            health.version,
            socket.display(),
            health.status,
            Duration::from_secs(health.uptime_ms / 1000),
            health.pid,
        )?;
        let sessions = count(health.sessions, "session");
        writeln!(out, "{sessions}, recordings in {}", health.recordings)?;
        writeln!(
            out,
            "protection: oom_score_adj {}, memory {}, control group {}",
            protection.oom_score_adj.map_or("unknown".to_owned(), |score| score.to_string()),
            if protection.memory_locked { "locked" } else { "not locked" },
            protection.cgroup.as_deref().unwrap_or("shared"),
        )?;
        if let Some(flight) = &health.flight_recorder {
            writeln!(
                out,
                "flight recorder: {:.1}s of {} kept in {} of {}, {} dumps",
                Duration::from_millis(flight.kept_ms).as_secs_f64(),
                flight.span,
                ByteSize::b(flight.kept_bytes).display().iec(),
                ByteSize::b(flight.max_bytes).display().iec(),
                flight.dumps,
            )?;
        }
        let flight_notes = health.flight_recorder.iter().flat_map(|flight| &flight.notes);
        for note in protection.notes.iter().chain(flight_notes) {
            writeln!(out, "note: {note}")?;
        }
        for problem in &health.problems {
            writeln!(out, "problem: {problem}")?;
        }
    }
    Ok(if health.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub(crate) fn sessions(args: &SessionsArgs) -> anyhow::Result<ExitCode> {
    let (mut client, _) = connect(&args.daemon)?;
    let list = client.sessions()?;
    if args.daemon.json {
        print_json(&list)?;
    } else if list.sessions.is_empty() {
        writeln!(io::stderr(), "no session goes on")?;
    } else {
        write!(io::stdout(), "{}", lines(&table(&list.sessions)))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads `KEY=VALUE`.
pub(crate) fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".to_owned()),
    }
}

fn connect(args: &DaemonArgs) -> anyhow::Result<(Client, PathBuf)> {
    connect_to(args.socket.as_deref())
}

/// Connects to the daemon at a socket, by default where it listens unless it is told otherwise.
pub(crate) fn connect_to(socket: Option<&Path>) -> anyhow::Result<(Client, PathBuf)> {
    let socket = socket.map_or_else(default_socket, |socket| Ok(socket.to_owned()))?;
    Ok((Client::connect(&socket)?, socket))
}

/// Returns the session that is meant: the one that was named, else the only one that goes on; where none
/// does, the only one that has ended by itself and was not stopped yet.
pub(crate) fn chosen(client: &mut Client, named: Option<String>) -> anyhow::Result<String> {
    if let Some(named) = named {
        return Ok(named);
    }
    let sessions = client.sessions()?.sessions;
    let (going, ended): (Vec<_>, Vec<_>) =
        sessions.into_iter().partition(|session| session.state == SessionState::Recording);
    let (verb, candidates) =
        if going.is_empty() { ("have ended", ended) } else { ("go on", going) };
    match candidates.as_slice() {
        [only] => Ok(only.id.clone()),
        [] => bail!("no session goes on: start one with `memsample start`"),
        several => {
            let ids: Vec<_> = several.iter().map(|session| session.id.as_str()).collect();
            bail!("several sessions {verb}: name one of {}", ids.join(", "))
        }
    }
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
                // A name may hold anything, also what moves the cursor.
                let bytes = ByteSize::b(largest.rss_bytes).display().iec();
                format!("{} ({}) {bytes}", largest.comm.escape_debug(), largest.pid)
            }),
        ]);
    }
    for column in table.column_iter_mut().skip(2).take(6) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Puts a text between quotes that a shell takes off again, and nothing else.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Returns a length of time as it is written in a request.
fn span(duration: Duration) -> anyhow::Result<Span> {
    let whole = !duration.is_zero() && duration.subsec_nanos().is_multiple_of(1_000_000);
    Some(Span(duration))
        .filter(|_| whole)
        .with_context(|| format!("{duration:?} is not a whole number of milliseconds"))
}

fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    writeln!(io::stdout(), "{}", serde_json::to_string(value)?)?;
    Ok(())
}
