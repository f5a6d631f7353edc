//! The command line: what is put right before it is parsed, and what is said of one that is wrong.

use std::ffi::OsString;
use std::io::{self, IsTerminal};

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Command};
use memsample_inherited::{print, print_text, tell};

use crate::exit::ExitCode;
use crate::json_output::join_file;

/// The commands that run a command of the user.
const WRAPPERS: [&str; 3] = ["record", "session", "exec"];

/// Returns the arguments of this program, with `--json FILE` joined where a command takes it.
pub(crate) fn arguments(program: &Command) -> Vec<OsString> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let command = arguments.get(1).and_then(|name| program.find_subcommand(name));
    let takes_file = command.is_some_and(|command| {
        let mut arguments = command.get_arguments();
        arguments.any(|it| it.get_id() == "json" && matches!(it.get_action(), ArgAction::Set))
    });
    if !takes_file {
        return arguments;
    }
    let has_positional = command.is_some_and(|it| it.get_positionals().any(|it| !it.is_last_set()));
    join_file(arguments, has_positional)
}

/// Returns the exit code of a failure that is not one of the command that is run; `None` if none is run.
pub(crate) fn own_failure(arguments: &[OsString]) -> Option<ExitCode> {
    let name = arguments.get(1)?.to_str()?;
    let runs_command =
        WRAPPERS.contains(&name) && (name != "record" || arguments.iter().any(|it| it == "--"));
    runs_command.then_some(ExitCode::OWN_FAILURE)
}

/// Returns whether `--` stands at the end, and no command behind it.
pub(crate) fn lacks_command(arguments: &[OsString]) -> bool {
    own_failure(arguments).is_some()
        && arguments.iter().position(|it| it == "--") == arguments.len().checked_sub(1)
}

/// Prints why the arguments are refused, or the help that was asked for, and returns the exit code.
pub(crate) fn refuse(mut error: clap::Error, arguments: &[OsString]) -> ExitCode {
    without_false_advice(&mut error, arguments);
    let error = &error;
    // Nobody is left to tell if this fails.
    if !error.use_stderr() {
        print_text(text(error, &io::stdout()));
        return ExitCode::SUCCESS;
    }
    tell(text(error, &io::stderr()).trim_end());
    if let Some(instead) = with_dashes(error, arguments) {
        tell(format!("\nA command stands behind `--`: {instead}"));
    }
    if let Some(instead) = meant(error, arguments) {
        tell(format!("\nPerhaps you mean: {instead}"));
    }
    if is_evaluated(arguments) {
        print(format!("{FALSE}\n"));
    }
    own_failure(arguments).unwrap_or(ExitCode::WRONG_USAGE)
}

/// Takes away the advice to put an option behind `--`, where that would make it the command.
fn without_false_advice(error: &mut clap::Error, arguments: &[OsString]) {
    if own_failure(arguments).is_none() {
        return;
    }
    if let Some(ContextValue::StyledStrs(mut advice)) = error.remove(ContextKind::Suggested) {
        advice.retain(|line| !line.to_string().contains("as a value"));
        if !advice.is_empty() {
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(advice));
        }
    }
}

/// Words that people who know other tools type for a command, and what it is called here.
const OTHER_WORDS: [(&str, &str); 18] = [
    ("version", "--version"),
    ("list", "ls"),
    ("recordings", "ls"),
    ("rm", "ls"),
    ("show", "summary"),
    ("stat", "summary"),
    ("info", "summary"),
    ("open", "summary"),
    ("report", "summary"),
    ("top", "view"),
    ("ps", "view"),
    ("watch", "view"),
    ("smem", "view"),
    ("live", "view"),
    ("rec", "record"),
    ("test", "run"),
    ("check", "doctor"),
    ("begin", "mark begin"),
];

/// Returns the command line that is probably meant by one that begins with another word.
fn meant(error: &clap::Error, arguments: &[OsString]) -> Option<String> {
    // What is in a store is listed by the same word as what is here, elsewhere.
    let is_list = arguments.get(1).is_some_and(|it| it == "list");
    if is_list && error.kind() == ErrorKind::MissingRequiredArgument {
        return Some("memsample ls".to_owned());
    }
    let Some(ContextValue::String(wrong)) = error.get(ContextKind::InvalidSubcommand) else {
        return None;
    };
    let (_, here) = OTHER_WORDS.iter().find(|(word, _)| word == wrong)?;
    let rest: Vec<&str> = arguments.iter().skip(2).map(|it| it.to_str()).collect::<Option<_>>()?;
    let rest = shlex::try_join(rest).ok()?;
    Some(format!("memsample {here} {rest}").trim_end().to_owned())
}

/// Returns the help or the error, with colours for a terminal.
fn text(error: &clap::Error, stream: &(impl IsTerminal + RawStream)) -> String {
    let text = error.render();
    match IsTerminal::is_terminal(stream) && AutoStream::choice(stream) != ColorChoice::Never {
        true => text.ansi().to_string(),
        false => text.to_string(),
    }
}

/// What a shell evaluates where the commands that it was to evaluate could not be printed, so that it notices.
pub(crate) const FALSE: &str = "false";

/// Returns whether a shell evaluates what this program prints.
fn is_evaluated(arguments: &[OsString]) -> bool {
    arguments.get(1).is_some_and(|it| it == "start") && arguments.iter().any(|it| it == "--env")
}

/// Returns the command line with the `--` that was left out before a command.
fn with_dashes(error: &clap::Error, arguments: &[OsString]) -> Option<String> {
    let name = arguments.get(1)?.to_str()?;
    if error.kind() != ErrorKind::UnknownArgument
        || !WRAPPERS.contains(&name)
        || arguments.iter().any(|it| it == "--")
    {
        return None;
    }
    let Some(ContextValue::String(wrong)) = error.get(ContextKind::InvalidArg) else { return None };
    if wrong.starts_with('-') {
        return None;
    }
    let mut words: Vec<&str> = arguments.iter().map(|it| it.to_str()).collect::<Option<_>>()?;
    let index = words.iter().skip(2).position(|it| it == wrong)? + 2;
    words.insert(index, "--");
    shlex::try_join(words).ok()
}
