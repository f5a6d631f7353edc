//! `memsample record`: records until Ctrl-C, for a time, or while a command runs.

mod args;
pub(crate) mod descriptors;
mod live;
mod measured;
mod place;
mod push;
mod start;

use std::io::{self, IsTerminal};

use crossbeam_channel::{Receiver, RecvError, select, tick};
use memsample::Recorder;
use memsample_inherited::{print_text, tell};

use crate::exit::ExitCode;
use crate::signals::{Printing, signals};
use crate::summary;
pub(crate) use args::{Events, Progress, RecordArgs};
use descriptors::DescriptorLimit;
use live::Live;
use memsample_client::wire::End;
pub(crate) use place::{file_name, numbered};
use push::push;
use start::{link, start};

pub(crate) fn run(args: &RecordArgs) -> anyhow::Result<ExitCode> {
    if let Some(name) = &args.name {
        file_name(name)?;
    }
    match args.command.is_empty() {
        true => until_stopped(args),
        false => measured::run(args),
    }
}

fn until_stopped(args: &RecordArgs) -> anyhow::Result<ExitCode> {
    let descriptors = DescriptorLimit::raise(&args.proc);
    let signals = signals()?;
    let recorder = start(args, &descriptors)?;
    link(args, &recorder);
    let live = Live::new(args.progress, io::stderr().is_terminal(), args.duration);
    let signals_lost = wait_for_end(&recorder, &signals, &live).is_err();
    drop(live);
    let recording = recorder.stop()?;
    let end = recording.manifest().end.clone().map(End::from);
    let code = ExitCode::of_end(end.as_ref());
    let printing = Printing::begin(code);
    let written = args.json.write(|| summary::json(&recording));
    if !args.json.is_on_stdout() {
        print_text(summary::text(
            &recording,
            summary::LARGEST,
            crate::plain_table::terminal_width(),
        )?);
    }
    if let Some(reason) = end.as_ref().and_then(summary::early_end) {
        tell(format!("error: the recording ended early: {reason}"));
    }
    if signals_lost {
        tell(
            "error: signals can no longer be received, so the recording was ended; everything sampled before is kept",
        );
        return Ok(ExitCode::FAILURE);
    }
    drop(printing);
    code.if_both_told(written, push(args, &recording))
}

/// Records until a signal arrives or the recording reaches its end.
///
/// # Errors
///
/// Signals can no longer be received, so that nothing could stop the recording.
fn wait_for_end(
    recorder: &Recorder,
    signals: &Receiver<i32>,
    live: &Live,
) -> Result<(), RecvError> {
    let (finished, tick) = (recorder.finished(), tick(live::INTERVAL));
    loop {
        select! {
            recv(signals) -> signal => return signal.map(drop),
            recv(finished) -> _ => return Ok(()),
            recv(tick) -> _ => live.show(&recorder.status()),
        }
    }
}
