//! `memsample run`: runs the tests of a suite.

mod args;
mod directory;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use crossbeam_channel::Receiver;
use indicatif::ProgressDrawTarget;
use memsample::{Rate, RecorderOptions, SamplerOptions};
use memsample_runner::plan::Selection;
use memsample_runner::replace;
use memsample_runner::report::terminal::{Terminal, table};
use memsample_runner::report::{Collector, SuiteResult, junit};
use memsample_runner::results::{self, Abort, Results, SuiteOutcome};
use memsample_runner::run::{DiscoverError, RunOptions, discover};
use memsample_runner::suite::{Policy, Program, Step, Suite};

use args::JunitProfile;
pub(crate) use args::RunArgs;

use crate::exit::{ExitCode, Interrupted, NoTests};
use crate::record::{Events, Progress};
use crate::signals::signals;
use memsample_config::Config;

pub(crate) fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let launcher = std::env::current_exe().context("cannot find this program")?;
    let signals = signals()?;
    let suite = load(&args.suite, &launcher, &signals)?;
    let options = match prepare(args, &suite, launcher.clone()) {
        Ok(options) => options,
        Err(error) => {
            clean_up(&suite, &launcher, &signals);
            return Err(error);
        }
    };
    let mut terminal = terminal(args);
    let mut collector = Collector::default();
    let mut ended = None;
    let outcome = memsample_runner::run::run(&suite, &options, signals, &mut |event| {
        terminal.show(&event);
        if let Some(result) = collector.take(&event) {
            ended = Some(result);
        }
    });
    let Some(ended) = ended else {
        outcome?;
        bail!("the run ended without a result");
    };
    let written = write_files(&ended, args);
    print(&ended, args)?;
    // Print the results first: the outcomes are known even if the disk is full.
    outcome?;
    written?;
    Ok(code(&ended))
}

/// Returns how to run a suite, if it has something to run.
fn prepare(args: &RunArgs, suite: &Suite, launcher: PathBuf) -> anyhow::Result<RunOptions> {
    let options = options(args, suite, launcher)?;
    // A shard may be empty; the whole selection may not.
    let whole = Selection { shard: None, ..options.selection.clone() };
    if whole.of(&suite.tests).is_empty() {
        bail!(NoTests);
    }
    Ok(options)
}

/// Runs the teardown of a suite that was set up to be read, and is not run.
fn clean_up(suite: &Suite, launcher: &Path, signals: &Receiver<i32>) {
    if suite.is_set_up
        && let Some(Step { program: Program::Shell(line), timeout }) = &suite.teardown
    {
        // What is reported is why the suite is not run.
        let _ = discover(launcher, signals, line, &suite.directory, *timeout);
    }
}

/// Reads the suite. This may run a command that lists its tests.
fn load(path: &Path, launcher: &Path, signals: &Receiver<i32>) -> anyhow::Result<Suite> {
    let interrupted = Cell::new(false);
    let suite = memsample_runner::suite::load(path, &|line, cwd, timeout| {
        let listed = discover(launcher, signals, line, cwd, timeout);
        interrupted.set(matches!(listed, Err(DiscoverError::Interrupted(_))) || interrupted.get());
        listed.map_err(|error| error.to_string())
    });
    if interrupted.get() {
        bail!(Interrupted);
    }
    Ok(suite?)
}

fn code(suite: &SuiteResult) -> ExitCode {
    match (suite.results.outcome, suite.aborted) {
        (SuiteOutcome::Passed, _) => ExitCode::SUCCESS,
        (SuiteOutcome::Failed, _) => ExitCode::TESTS_FAILED,
        (SuiteOutcome::Aborted, Some(Abort::Disk { full: true })) => ExitCode::DISK_FULL,
        (SuiteOutcome::Aborted, Some(Abort::Disk { full: false })) => ExitCode::WRITE_FAILED,
        (SuiteOutcome::Aborted, _) => ExitCode::SUITE_ABORTED,
    }
}

fn options(args: &RunArgs, suite: &Suite, launcher: PathBuf) -> anyhow::Result<RunOptions> {
    let directory = directory::choose(args, suite)?;
    let mut options = RunOptions::new(directory, launcher);
    options.jobs = args.jobs;
    options.repeat = args.repeat.map(NonZeroU32::get);
    options.retries = args.retries.map(u32::from);
    options.selection =
        Selection { filter: args.filter.clone(), tags: args.tag.clone(), shard: args.shard };
    options.fail_fast = args.fail_fast;
    options.resume = args.resume;
    options.keep_failed = args.keep.map(Into::into);
    options.sandbox = args.sandbox.clone();
    options.degrade = args.degrade;
    if let Some(path) = &args.lxc_path {
        options.lxc_path.clone_from(path);
    }
    options.recorder = recorder_options(args);
    let config = Config::read(args.config.config.as_deref())?.redact(&args.config.redact);
    options.sampler = config.describe_recorded(SamplerOptions::default(), None);
    if let Some(path) = &args.policy {
        options.policy = Policy::load(path)?.budgets;
    }
    options.predicted_bytes = match &args.peaks {
        Some(path) => peaks(path)?,
        None => BTreeMap::new(),
    };
    if let Some(size) = args.output_limit {
        options.output_limit_bytes = size.0;
    }
    if let Some(processes) = args.processes_max {
        options.processes_max = Some(processes.get().into());
    }
    Ok(options)
}

fn recorder_options(args: &RunArgs) -> RecorderOptions {
    let mut options =
        RecorderOptions::new().interval(args.interval).events(args.events == Events::Auto);
    if let Some(rate) = args.pss_interval {
        options = options.pss(rate);
    }
    if let Some(share) = args.pss_budget {
        options = if share > 0.0 { options.pss_budget(share) } else { options.pss(Rate::Off) };
    }
    options
}

/// Reads the peaks of an earlier run, from its directory or from its results.
fn peaks(path: &Path) -> anyhow::Result<BTreeMap<String, u64>> {
    let file = if path.is_dir() { path.join(results::FILE) } else { path.to_owned() };
    let results = Results::read(&file)
        .with_context(|| format!("cannot read the results of a run from `{}`", file.display()))?;
    Ok(results.rss_peaks())
}

fn terminal(args: &RunArgs) -> Terminal<io::Stderr> {
    let live = match args.progress {
        Progress::Auto => io::stderr().is_terminal(),
        Progress::Always => true,
        Progress::Never => false,
    };
    let color = colors(&io::stderr());
    if live {
        Terminal::live(io::stderr(), color, ProgressDrawTarget::stderr())
    } else {
        Terminal::lines(io::stderr(), color)
    }
}

/// Returns whether to write colours to a stream: to a terminal, unless `NO_COLOR` is set; to a file, if
/// `CLICOLOR_FORCE` is set.
fn colors<S: anstream::stream::RawStream>(stream: &S) -> bool {
    anstream::AutoStream::choice(stream) != anstream::ColorChoice::Never
}

/// Writes what programs read, in whole files, one after the other.
fn write_files(suite: &SuiteResult, args: &RunArgs) -> anyhow::Result<()> {
    let write = |name: &str, contents: &[u8]| {
        let path = suite.directory.join(name);
        replace(&path, contents).with_context(|| format!("cannot write `{}`", path.display()))
    };
    write(results::FILE, &suite.results.to_json()?)?;
    let profile = match args.junit_profile {
        JunitProfile::Jenkins => junit::Profile::Jenkins,
        JunitProfile::Extended => junit::Profile::Extended,
    };
    write(junit::FILE, &junit::xml(suite, profile)?)
}

fn print(suite: &SuiteResult, args: &RunArgs) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if args.json {
        out.write_all(&suite.results.to_json_line(&suite.directory)?)?;
        return Ok(out.flush()?);
    }
    let width = crate::plain_table::terminal_width();
    write!(out, "{}", table::text(suite, colors(&io::stdout()), width))?;
    writeln!(out, "{}", suite.directory.display())?;
    Ok(out.flush()?)
}
