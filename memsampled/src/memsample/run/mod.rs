//! `memsample run`: runs the tests of a suite.

mod args;
mod directory;
mod dry_run;
mod output;
#[cfg(feature = "devices")]
mod remote;
mod suite;
mod suspects;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use crossbeam_channel::Receiver;
use memsample::{Rate, RecorderOptions, SamplerOptions};
use memsample_inherited::{Queue, tell};
use memsample_runner::plan::Selection;
use memsample_runner::report::{Collector, SuiteResult};
use memsample_runner::results::{self, Abort, Origin, Results, SuiteOutcome};
use memsample_runner::run::{RunOptions, discover};
use memsample_runner::suite::{Policy, Program, Step, Suite};

pub(crate) use args::RunArgs;

use crate::exit::{ExitCode, NoTests};
use crate::record::Events;
use crate::report;
use crate::signals::{Printing, is_preparing, signals};
use memsample_config::Config;
use suite::Found;

pub(crate) fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let launcher = std::env::current_exe().context("cannot find this program")?;
    // A large suite takes a while to be read. Before the signals, since one may have come when they are handled.
    is_preparing(true);
    let signals = signals()?;
    let found = suite::find(args)?;
    #[cfg(feature = "devices")]
    if !args.on.is_empty() {
        return remote::run(args, &found, &launcher, &signals);
    }
    let suite = suite::load(&found.path, &launcher, &signals)?;
    let options = match prepare(args, &suite, &found, launcher.clone()) {
        Ok(options) if !(args.list || args.dry_run) => options,
        other => {
            clean_up(&suite, &launcher, &signals);
            return dry_run::print(&suite, &other?, args);
        }
    };
    is_preparing(false);
    if found.is_guessed {
        tell(format!("runs {}", found.path.display()));
    }
    let cwd = std::env::current_dir().context("cannot find the working directory")?;
    // A terminal that was stopped, or a log that nobody reads, must not stop the run.
    let stderr = Queue::of_stderr("note: ");
    let mut terminal = output::terminal(args, &stderr);
    let arguments = std::env::args_os().skip(1);
    let arguments: Vec<String> =
        arguments.map(|argument| argument.to_string_lossy().into_owned()).collect();
    let arguments = options.sampler.recorded_command(&arguments).unwrap_or_default();
    let labels = args.labels.iter().cloned().collect();
    let origin = Origin {
        interval_ns: u64::try_from(args.interval.as_nanos()).ok(),
        only_suspects: args.suspects.is_some(),
        ..Origin::here(&cwd, arguments, labels)
    };
    let mut collector = Collector::new(origin);
    let mut ended = None;
    let outcome = memsample_runner::run::run(&suite, &options, signals, &mut |event| {
        terminal.show(&event);
        if let Some(result) = collector.take(&event) {
            ended = Some(result);
        }
    });
    drop(terminal);
    let written = ended.as_ref().map(|ended| output::write_files(ended, args, &cwd));
    let report = match (&ended, &written) {
        (Some(ended), Some(Ok(()))) if args.report => Some(report::of_run(&ended.directory)),
        _ => None,
    };
    let printing = Printing::begin(ended.as_ref().map_or(ExitCode::FAILURE, code));
    // Waits for who reads what was told meanwhile.
    drop(stderr);
    let (Some(ended), Some(written)) = (ended, written) else {
        outcome?;
        bail!("the run ended without a result");
    };
    match report {
        Some(Ok(path)) => tell(format!("report: {}", path.display())),
        // What was run counts, and not a picture of it.
        Some(Err(error)) => report::tell_failure(&error),
        None => {}
    }
    output::print(&ended, args)?;
    let told = output::github(&ended, &found.path, &cwd);
    drop(printing);
    // Print the results first: the outcomes are known even if the disk is full.
    outcome?;
    written?;
    #[cfg(feature = "lab")]
    if let Some(store) = &args.push {
        let pushed = crate::store::push_after(store, &ended.directory);
        return code(&ended).if_both_told(told, pushed);
    }
    code(&ended).if_told(told)
}

/// Returns how to run a suite, if it has something to run.
fn prepare(
    args: &RunArgs,
    suite: &Suite,
    found: &Found,
    launcher: PathBuf,
) -> anyhow::Result<RunOptions> {
    let mut options = options(args, suite, launcher)?;
    options.selection.names.clone_from(&found.names);
    if let Some(path) = &args.suspects {
        suspects::select(path, suite, &mut options)?;
    }
    if let Err(error) = options.selection.check(&suite.tests) {
        return Err(found.explain(error));
    }
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
    options.selection = Selection {
        names: Vec::new(),
        keywords: args.keywords.clone(),
        filter: args.filter.clone(),
        tags: args.tag.clone(),
        shard: args.shard,
    };
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
        options.policy = Policy::load(path)?;
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

/// Tests are large, short and many, and it is their PSS that a run is for.
const PSS_SHARE: f64 = 0.03;

fn recorder_options(args: &RunArgs) -> RecorderOptions {
    let mut options = RecorderOptions::new()
        .interval(args.interval)
        .events(args.events == Events::Auto)
        .pss_budget(PSS_SHARE);
    options = options.labels(args.labels.iter().cloned().collect());
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
