//! `memsample record`: records until Ctrl-C, for a time, or while a command runs.

mod args;
mod descriptors;
mod live;

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::{Context, bail};
use crossbeam_channel::{Receiver, RecvError, never, select, tick};
use jiff::Timestamp;
use memsample::{MarkKind, Rate, RecordError, Recorder, RecorderOptions, SamplerOptions};

use crate::child::RunningCommand;
use crate::exit::ExitCode;
use crate::signals::signals;
use crate::summary;
pub(crate) use args::{Events, Progress, RecordArgs};
use descriptors::DescriptorLimit;
use live::Live;
use memsample_client::wire::End;
use memsample_config::Config;

pub(crate) fn run(args: &RecordArgs) -> anyhow::Result<ExitCode> {
    let descriptors = DescriptorLimit::raise(&args.proc);
    let signals = signals()?;
    let recorder = start(args, &descriptors)?;
    let mut signals_lost = false;
    let command_code = match args.command.split_first() {
        None => {
            let live = Live::new(args.progress, io::stderr().is_terminal(), args.duration);
            signals_lost = wait_for_end(&recorder, &signals, &live).is_err();
            None
        }
        Some((program, arguments)) => {
            match descriptors.with_original(|| RunningCommand::spawn(program, arguments)) {
                // A live line would be mixed with what the command writes to the same terminal.
                Ok(command) => {
                    let live = Live::new(args.progress, false, args.duration);
                    Some(wait_for_command(&recorder, command, &signals, &live))
                }
                Err(error) => return discard(recorder, program, &error),
            }
        }
    };

    let recording = recorder.stop()?;
    if args.json {
        summary::print_json(&recording)?;
    } else {
        let text = summary::text(&recording, summary::LARGEST)?;
        if args.command.is_empty() {
            write!(io::stdout(), "{text}")?;
        } else {
            // stdout belongs to the command.
            write!(io::stderr(), "{text}")?;
        }
    }
    let end = recording.manifest().end.clone().map(End::from);
    if let Some(reason) = end.as_ref().and_then(summary::early_end) {
        writeln!(io::stderr(), "error: the recording ended early: {reason}")?;
    }
    if signals_lost {
        writeln!(
            io::stderr(),
            "error: signals can no longer be received, so the recording was ended; everything sampled before is kept"
        )?;
        return Ok(ExitCode::FAILURE);
    }
    // The exit code of a failed command has precedence over that of the recording.
    Ok(match command_code {
        Some(code) if code != 0 => ExitCode::of_command(code),
        _ => ExitCode::of_end(end.as_ref()),
    })
}

fn start(args: &RecordArgs, descriptors: &DescriptorLimit) -> anyhow::Result<Recorder> {
    let mut sampler =
        SamplerOptions::default().proc_root(&args.proc).max_descriptors(descriptors.for_sampler());
    let config = Config::read(args.config.config.as_deref())?.redact(&args.config.redact);
    sampler = config.describe_recorded(sampler, args.cmdline.map(Into::into));
    if let Some(sys) = &args.sys {
        sampler = sampler.sys_root(sys);
    }
    let mut options = RecorderOptions::new()
        .interval(args.interval)
        .detail(args.detail_interval)
        .events(args.events == Events::Auto)
        .cgroups(args.cgroup_interval)
        .sampler(sampler);
    if let Some(rate) = args.pss_interval {
        options = options.pss(rate);
    }
    if let Some(share) = args.pss_budget {
        options = if share > 0.0 { options.pss_budget(share) } else { options.pss(Rate::Off) };
    }
    if let Some(duration) = args.duration {
        options = options.duration(duration);
    }
    if !args.command.is_empty() {
        options = options.command(args.command.clone());
    }
    if args.out.join("recording.json").exists() {
        bail!(
            "`{}` is itself a recording: pass the directory above it to --out",
            args.out.display()
        );
    }
    if let Some(name) = &args.name {
        let path = args.out.join(file_name(name)?);
        return Ok(Recorder::start(&path, options)?);
    }
    let now = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    // Another recorder may have started in the same second.
    for path in (1..).map(|number| numbered(args.out.join(&now), number)) {
        match Recorder::start(&path, options.clone()) {
            Err(RecordError::Exists(_)) => {}
            outcome => return Ok(outcome?),
        }
    }
    bail!("no name is free in `{}`", args.out.display())
}

pub(crate) fn numbered(path: PathBuf, number: u32) -> PathBuf {
    match number {
        1 => path,
        number => PathBuf::from(format!("{}-{number}", path.display())),
    }
}

/// Checks that a name is one directory below `--out`, and nowhere else.
pub(crate) fn file_name(name: &str) -> anyhow::Result<&str> {
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
        bail!(
            "`{name}` cannot be the name of a recording: it must not be empty, start with a dot or contain a slash"
        );
    }
    Ok(name)
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

/// Records until the command ends, and returns its exit code.
///
/// If the recording ends first, the command continues: it is not ours to stop.
fn wait_for_command(
    recorder: &Recorder,
    command: RunningCommand,
    signals: &Receiver<i32>,
    live: &Live,
) -> i32 {
    let mark = |kind| {
        // Only fails once the recording has ended, which is reported anyway.
        let _ = recorder.mark(kind, "command", None);
    };
    mark(MarkKind::Begin);
    let tick = tick(live::INTERVAL);
    let none = never();
    let mut signals = signals;
    let mut interrupted = false;
    let code = loop {
        select! {
            recv(command.ended()) -> end => break end.map_or(1, |end| end.code()),
            recv(tick) -> _ => live.show(&recorder.status()),
            recv(signals) -> signal => {
                let Ok(signal) = signal else {
                    // The command can still be stopped by itself.
                    signals = &none;
                    continue;
                };
                // At the second signal, do not wait for the command.
                if interrupted {
                    break 128 + signal;
                }
                interrupted = true;
                command.forward(signal);
            }
        }
    };
    mark(MarkKind::End);
    recorder.set_command_exit_code(code);
    code
}

/// Removes a recording whose command could not be run.
fn discard(recorder: Recorder, program: &str, error: &io::Error) -> anyhow::Result<ExitCode> {
    let path = recorder.path().to_owned();
    drop(recorder);
    fs::remove_dir_all(&path).with_context(|| format!("cannot remove `{}`", path.display()))?;
    writeln!(io::stderr(), "error: cannot run `{program}`: {error}")?;
    Ok(match error.kind() {
        io::ErrorKind::NotFound => ExitCode::COMMAND_NOT_FOUND,
        _ => ExitCode::COMMAND_NOT_EXECUTABLE,
    })
}
