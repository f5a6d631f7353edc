//! `memsample record -- COMMAND`: runs a command, whatever happens to its recording.

use std::ffi::{OsStr, OsString};
use std::fs;

use anyhow::{anyhow, bail};
use crossbeam_channel::{Receiver, never, select, tick};
use memsample::analysis::reaped_label;
use memsample::{MarkKind, RecordError, Recorder, Scope};
use memsample_client::wire::End;
use memsample_inherited::{tell, too_little_memory};
use serde_json::json;

use super::args::RecordArgs;
use super::descriptors::DescriptorLimit;
use super::live::{self, Live};
use super::push::push;
use super::start::{link, start};
use crate::child::{
    FORWARDED, RunningCommand, become_command, is_out_of_resources, reaped_max_rss_bytes,
};
use crate::command_hint::cannot_run;
use crate::command_usage::COMMAND_TEST;
use crate::exit::{ExitCode, with_advice};
use crate::plain_table::width;
use crate::signals::{ENDING, Printing, signals_of};
use crate::summary;

/// Runs the command and returns its exit code. An error is one of usage, and the command was not run.
pub(super) fn run(args: &RecordArgs) -> anyhow::Result<ExitCode> {
    let Some((program, arguments)) = args.command.split_first() else {
        return Ok(ExitCode::WRONG_USAGE);
    };
    if args.json.is_on_stdout() {
        bail!("stdout belongs to the command: write the JSON into a file, with `--json FILE`");
    }
    let descriptors = DescriptorLimit::raise(&args.proc);
    let signals = match signals_of(&FORWARDED) {
        Ok(signals) => signals,
        Err(error) => {
            warn(&format!("the command runs without a recording: {}", with_advice(&error)));
            return Ok(run_in_place(args, &descriptors, program, arguments));
        }
    };
    let started = match too_little_memory() {
        Some(reason) => Err(anyhow!(reason)),
        None => start(args, &descriptors),
    };
    let recorder = match started {
        Ok(recorder) => Ok(recorder),
        Err(error) if matches!(error.downcast_ref(), Some(RecordError::Options(_))) => {
            return Err(error);
        }
        Err(error) => {
            let reason = with_advice(&error);
            warn(&format!("the command runs without a recording: {reason}"));
            Err(reason)
        }
    };
    if let Ok(recorder) = &recorder {
        begin(recorder);
    }
    let command = match descriptors.with_original(|| RunningCommand::spawn(program, arguments)) {
        Ok(command) => command,
        Err(error) => {
            if let Ok(recorder) = recorder {
                discard(recorder);
            }
            if is_out_of_resources(&error) {
                warn(&format!(
                    "the command runs without a recording: there can be no other process: {error}"
                ));
                return Ok(run_in_place(args, &descriptors, program, arguments));
            }
            return Ok(cannot_run(&args.command, &error));
        }
    };
    if let Ok(recorder) = &recorder {
        link(args, recorder);
    }
    // A live line would be mixed with what the command writes to the same terminal.
    let live = Live::new(args.progress, false, args.duration);
    let code = wait_for_command(recorder.as_ref().ok(), &command, &signals, &live);
    drop(live);
    let own_code = ExitCode::of_command(code);
    let reported = recorder.map(|recorder| report(args, recorder, own_code));
    let _printing = Printing::begin(own_code);
    let reported = reported.unwrap_or_else(|reason| {
        args.json.write(|| {
            let nothing = json!({"recording": null, "error": reason, "command_exit_code": code});
            Ok(format!("{nothing}\n"))
        })
    });
    if let Err(error) = reported {
        warn(&format!("{error:#}"));
    }
    Ok(own_code)
}

/// Becomes the command, where there is no room for this program beside it; returns only if that fails.
fn run_in_place(
    args: &RecordArgs,
    descriptors: &DescriptorLimit,
    program: &OsStr,
    arguments: &[OsString],
) -> ExitCode {
    let error = descriptors.with_original(|| become_command(program, arguments));
    cannot_run(&args.command, &error)
}

/// Lets what this program starts belong to a test, so that its processes are told from all others.
fn begin(recorder: &Recorder) {
    let launcher = rustix::process::getpid().as_raw_nonzero().get();
    // Fails where another tree is recorded, to which this program does not belong.
    let _ = recorder.assign(&Scope::Launched { by: launcher, group: None }, COMMAND_TEST);
    // Only fails once the recording has ended, which is reported anyway.
    let _ = recorder.mark(MarkKind::Begin, COMMAND_TEST, Some(COMMAND_TEST));
}

/// Marks the end of the command, with what its first process had at most, if that has ended.
fn mark_end(recorder: &Recorder) {
    let own_pid = rustix::process::getpid().as_raw_nonzero().get();
    let labels = reaped_max_rss_bytes().map(reaped_label).unwrap_or_default();
    let name = COMMAND_TEST;
    let _ = recorder.mark_with(MarkKind::End, name, Some(name), labels, Some(own_pid));
}

/// Waits until the command ends, and returns its exit code.
///
/// If the recording ends first, the command continues: it is not ours to stop.
fn wait_for_command(
    recorder: Option<&Recorder>,
    command: &RunningCommand,
    signals: &Receiver<i32>,
    live: &Live,
) -> i32 {
    let tick = tick(live::INTERVAL);
    let none = never();
    let mut signals = signals;
    let mut interrupted = false;
    let code = loop {
        select! {
            recv(command.ended()) -> end => break end.map_or(1, |end| end.code()),
            recv(tick) -> _ => if let Some(recorder) = recorder {
                live.show(&recorder.status());
            },
            recv(signals) -> signal => {
                let Ok(signal) = signal else {
                    // No more can be received; the command can still be stopped by itself.
                    signals = &none;
                    continue;
                };
                // At the second signal to end, do not wait for the command.
                if ENDING.contains(&signal) && std::mem::replace(&mut interrupted, true) {
                    break 128 + signal;
                }
                command.forward(signal);
            }
        }
    };
    if let Some(recorder) = recorder {
        mark_end(recorder);
        recorder.set_command_exit_code(code);
    }
    code
}

/// Closes the recording, and prints what it holds to stderr: stdout belongs to the command.
fn report(args: &RecordArgs, recorder: Recorder, code: ExitCode) -> anyhow::Result<()> {
    let recording = recorder.stop()?;
    let printing = Printing::begin(code);
    let end = recording.manifest().end.clone().map(End::from);
    if let Some(reason) = end.as_ref().and_then(summary::early_end) {
        warn(&format!("the recording ended before the command: {reason}"));
    }
    let written = args.json.write(|| summary::json(&recording));
    let text = summary::text(&recording, summary::LARGEST, width(&std::io::stderr()))?;
    tell(text.trim_end());
    drop(printing);
    if let Err(error) = push(args, &recording) {
        warn(&format!("{error:#}"));
    }
    written
}

/// Removes a recording whose command could not be run.
fn discard(recorder: Recorder) {
    let path = recorder.path().to_owned();
    drop(recorder);
    if let Err(error) = fs::remove_dir_all(&path) {
        warn(&format!("cannot remove `{}`: {error}", path.display()));
    }
}

fn warn(message: &str) {
    // Nobody is left to tell if this fails.
    tell(format!("warning: {message}"));
}
