//! What is shown of a run, and the files that are written of it.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::Context;
use memsample_inherited::{self as inherited, Queue, QueueWriter, tell};
use memsample_runner::replace;
use memsample_runner::report::terminal::{Terminal, table};
use memsample_runner::report::{SuiteResult, github, junit};
use memsample_runner::results;
use rustix::fs::FileType;

use super::RunArgs;
use super::args::{JunitProfile, When};
use crate::live_terminal::live_target;
use crate::record::Progress;

/// Returns what shows a run while it goes on.
pub(super) fn terminal(args: &RunArgs, stderr: &Queue) -> Terminal<QueueWriter> {
    let live = match args.progress {
        Progress::Auto => io::stderr().is_terminal() && has_control_sequences(),
        Progress::Always => true,
        Progress::Never => false,
    };
    let color = colors(&io::stderr(), args.color);
    let terminal = if live {
        Terminal::live(stderr.writer(), color, live_target(stderr))
    } else {
        Terminal::lines(stderr.writer(), color)
    };
    terminal.fold_at(crate::plain_table::width(&io::stderr()))
}

/// Returns whether the terminal can do more than print lines.
fn has_control_sequences() -> bool {
    std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
}

/// Returns whether to write colours to a stream: to a terminal, unless `NO_COLOR` is set; to a file, if
/// `CLICOLOR_FORCE` is set.
pub(super) fn colors<S: anstream::stream::RawStream>(stream: &S, when: When) -> bool {
    match when {
        When::Always => return true,
        When::Never => return false,
        When::Auto => {}
    }
    anstream::AutoStream::choice(stream) != anstream::ColorChoice::Never
}

/// Writes what programs read, in whole files, one after the other.
pub(super) fn write_files(suite: &SuiteResult, args: &RunArgs, cwd: &Path) -> anyhow::Result<()> {
    let write = |name: &str, contents: &[u8]| {
        let path = suite.directory.join(name);
        replace(&path, contents).with_context(|| format!("cannot write `{}`", path.display()))
    };
    write(results::FILE, &suite.results.to_json()?)?;
    let profile = match args.junit_profile {
        JunitProfile::Jenkins => junit::Profile::Jenkins,
        JunitProfile::Extended => junit::Profile::Extended,
    };
    write(junit::FILE, &junit::xml(suite, profile, cwd)?)
}

/// Prints what became of the suite, and where its files are.
pub(super) fn print(suite: &SuiteResult, args: &RunArgs) -> anyhow::Result<()> {
    if args.json {
        inherited::print(suite.results.to_json_line(&suite.directory)?);
        return Ok(());
    }
    let is_told = match args.table {
        When::Auto => is_one_log(),
        When::Always => false,
        When::Never => true,
    };
    let text = match is_told {
        true => table::largest(suite),
        false => {
            let width = crate::plain_table::terminal_width();
            table::text(suite, colors(&io::stdout(), args.color), width)
        }
    };
    inherited::print_text(text);
    inherited::print(format!("{}\n", suite.directory.display()));
    Ok(())
}

/// Returns whether stdout and stderr go to one log, as in a CI job: to one file, or to pipes that nobody but the CI
/// server reads.
pub(super) fn is_one_log() -> bool {
    let (stdout, stderr) = (io::stdout(), io::stderr());
    if stdout.is_terminal() || stderr.is_terminal() {
        return false;
    }
    let (Ok(out), Ok(err)) = (rustix::fs::fstat(stdout.as_fd()), rustix::fs::fstat(stderr.as_fd()))
    else {
        return false;
    };
    let is_stream =
        |mode| matches!(FileType::from_raw_mode(mode), FileType::Fifo | FileType::Socket);
    (out.st_dev, out.st_ino) == (err.st_dev, err.st_ino)
        || (is_stream(out.st_mode) && is_stream(err.st_mode))
}

/// Tells GitHub Actions, where it runs us: errors beside the source, and the summary of the step.
pub(super) fn github(suite: &SuiteResult, suite_file: &Path, cwd: &Path) -> anyhow::Result<()> {
    if std::env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true") {
        // On stderr: with --json stdout is one object.
        let annotations = github::annotations(suite, suite_file, cwd);
        if !annotations.is_empty() {
            tell(annotations.trim_end());
        }
    }
    if let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) {
        let mut file = OpenOptions::new().append(true).create(true).open(&path)?;
        let written = file.write_all(github::summary(suite).as_bytes());
        written.with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    Ok(())
}
