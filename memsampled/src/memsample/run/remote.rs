//! `--on`: runs the suite on devices, and brings the runs here.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use clap::parser::ValueSource;
use clap::{ArgAction, Args, Command};
use crossbeam_channel::Receiver;
use memsample_config::Config;
use memsample_inherited::{print, tell};
use memsample_input::Span;
use memsample_remote::{Argument, Job, Outcome, Patience, Payload, Returned};
use memsample_runner::results::{self, Results};

use super::RunArgs;
use super::args::When;
use super::output;
use super::suite::{self, Found};
use crate::exit::{ExitCode, with_advice};
use crate::signals::{is_preparing, work_is_done};

/// Options that are about this machine, or that are given in another form.
const NOT_SENT: [&str; 15] = [
    "suite",
    "tests",
    "out",
    "push",
    "on",
    "device_program",
    "reconnect_for",
    "stop_for",
    "unfollowed_for",
    "name_suffix",
    "table",
    "color",
    "progress",
    "peaks",
    "config",
];
/// Options whose value is a file of this machine.
const FILES: [&str; 2] = ["policy", "suspects"];
/// This program, also after it was replaced by another version.
const OWN: &str = "/proc/self/exe";
/// Where programs for devices are installed, seen from the directory of this program.
const INSTALLED: &str = "../lib/memsample/devices";

/// Runs the suite on all devices at once, and prints what came of each.
pub(super) fn run(
    args: &RunArgs,
    found: &Found,
    launcher: &Path,
    signals: &Receiver<i32>,
) -> anyhow::Result<ExitCode> {
    // All that is beside it is sent: what is no suite would send anything. To read a directory in UTAH's format executes
    // commands of it, which are for the device.
    if !found.path.is_dir() {
        suite::load(&found.path, launcher, signals)?;
    }
    if let Some(name) = args.name.as_ref().filter(|_| args.on.len() == 1)
        && args.out.join(name).exists()
    {
        bail!("`{}` exists: give another --name", args.out.join(name).display());
    }
    if let Some(unfollowed) = args.unfollowed_for.filter(|it| *it <= args.reconnect_for) {
        bail!(
            "--unfollowed-for {} must be longer than --reconnect-for {}: the run would have ended when it is reached again",
            Span(unfollowed),
            Span(args.reconnect_for)
        );
    }
    fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot create `{}`", args.out.display()))?;
    // As a run here tells where it is.
    let out = std::path::absolute(&args.out).context("cannot find the working directory")?;
    is_preparing(false);
    let programs = match args.device_program.as_slice() {
        [] => programs(),
        given => given.to_vec(),
    };
    let (directory, word) = what_is_sent(&found.path)?;
    let arguments = arguments(args, found, word)?;
    let payload = Payload::pack(&programs, &directory, Some(&out), &arguments)?;
    let patience = Patience {
        reconnect_for: args.reconnect_for,
        stop_for: args.stop_for.unwrap_or(args.reconnect_for),
    };
    let job = Job { payload, out, patience, unfollowed_for: args.unfollowed_for };
    let is_one = args.on.len() == 1;
    let outcomes = memsample_remote::run(&args.on, &job, signals, &|device, line| match is_one {
        false if !device.is_empty() => tell(format!("{device}: {line}")),
        _ => tell(line),
    });
    drop(job);
    let mut code = ExitCode::SUCCESS;
    for outcome in outcomes {
        let device = outcome.device.clone();
        let one = one(outcome, args, is_one).unwrap_or_else(|error| {
            let prefix = if is_one { String::new() } else { format!("{device}: ") };
            tell(format!("{prefix}error: {}", with_advice(&error)));
            ExitCode::of(&error)
        });
        code = code.or_worse(one);
    }
    work_is_done();
    Ok(code)
}

/// Prints what came of one device, and returns its code.
fn one(outcome: Outcome, args: &RunArgs, is_one: bool) -> anyhow::Result<ExitCode> {
    let Returned { code, stdout, directory } = outcome.result?;
    let results = directory.as_ref().map(|it| (it, Results::read(&it.join(results::FILE))));
    match results {
        Some((directory, Ok(results))) if args.json => print(results.to_json_line(directory)?),
        _ if is_one => print(stdout),
        _ => {
            for line in String::from_utf8_lossy(&stdout).lines() {
                print(format!("{}: {line}\n", outcome.device));
            }
        }
    }
    let code = code.map_or(ExitCode::FAILURE, ExitCode::of_command);
    #[cfg(feature = "lab")]
    if let (Some(store), Some(directory)) = (&args.push, &directory) {
        return code.if_told(crate::store::push_after(store, directory));
    }
    Ok(code)
}

/// Returns what there is to send: the programs that are installed for devices, which are linked statically, and this one.
fn programs() -> Vec<PathBuf> {
    let directory = std::env::current_exe().ok();
    let directory = directory.as_deref().and_then(Path::parent).map(|it| it.join(INSTALLED));
    let entries = directory.and_then(|it| fs::read_dir(it).ok()).into_iter().flatten().flatten();
    let is_one = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default();
        name.as_encoded_bytes().starts_with(b"memsample-")
    };
    let mut programs: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_one).collect();
    programs.sort();
    programs.push(PathBuf::from(OWN));
    programs
}

/// Returns the directory of a suite, and what the suite is called above it.
fn what_is_sent(suite: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    let (directory, file) = match suite.is_dir() {
        true => (suite, None),
        false => (suite.parent().unwrap_or(Path::new("/")), suite.file_name()),
    };
    let directory = match directory.file_name() {
        Some(_) => directory.to_owned(),
        // It is `.` or ends with `..`.
        None => {
            let here = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
            fs::canonicalize(here).with_context(|| format!("cannot find `{}`", here.display()))?
        }
    };
    let name = directory
        .file_name()
        .ok_or_else(|| anyhow!("put the suite into a directory of its own, and not into `/`"))?;
    let word = match file {
        Some(file) => Path::new(name).join(file),
        None => PathBuf::from(name),
    };
    Ok((directory, word))
}

/// Returns the arguments of `run` on a device: those that were given here, as far as they are about the run.
fn arguments(args: &RunArgs, found: &Found, word: PathBuf) -> anyhow::Result<Vec<Argument>> {
    let command = RunArgs::augment_args(Command::new("run"));
    let given = command.clone().try_get_matches_from(std::env::args_os().skip(1))?;
    let mut arguments = Vec::new();
    for argument in command.get_arguments() {
        let id = argument.get_id().as_str();
        let is_given = given.value_source(id).is_some_and(|it| it != ValueSource::DefaultValue);
        let Some(long) = argument.get_long().filter(|_| is_given && !NOT_SENT.contains(&id)) else {
            continue;
        };
        if matches!(argument.get_action(), ArgAction::SetTrue) {
            arguments.push(Argument::Word(OsString::from(format!("--{long}"))));
            continue;
        }
        for value in given.get_raw(id).into_iter().flatten() {
            let option = OsString::from(format!("--{long}="));
            arguments.push(match FILES.contains(&id) {
                true => Argument::File(option, PathBuf::from(value)),
                false => Argument::Word([option.as_os_str(), value].into_iter().collect()),
            });
        }
    }
    if let Some(peaks) = &args.peaks {
        let file = if peaks.is_dir() { peaks.join(results::FILE) } else { peaks.clone() };
        arguments.push(Argument::File(OsString::from("--peaks="), file));
    }
    if let Some(config) = Config::path(args.config.config.as_deref()) {
        // A mistake in it is told before anything is sent.
        Config::read_file(&config)?;
        arguments.push(Argument::File(OsString::from("--config="), config));
    }
    let is_told = args.table == When::Never || (args.table == When::Auto && output::is_one_log());
    let has_colors = output::colors(&std::io::stdout(), args.color)
        && output::colors(&std::io::stderr(), args.color);
    let when = |is: bool| if is { "always" } else { "never" };
    for option in [
        format!("--table={}", when(!is_told)),
        format!("--color={}", when(has_colors)),
        "--progress=never".to_owned(),
        "--".to_owned(),
    ] {
        arguments.push(Argument::Word(OsString::from(option)));
    }
    arguments.push(Argument::Word(word.into_os_string()));
    arguments.extend(found.names.iter().map(|name| Argument::Word(OsString::from(name))));
    Ok(arguments)
}
