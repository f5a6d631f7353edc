//! What to say of a command that cannot be run.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use memsample_inherited::tell;
use memsample_input::printable;

use crate::child::is_out_of_resources;
use crate::exit::ExitCode;

/// Says why a command cannot be run and what to type instead, and returns the exit code.
pub(crate) fn cannot_run(command: &[OsString], error: &io::Error) -> ExitCode {
    let program = command.first().map(|it| it.to_string_lossy()).unwrap_or_default();
    let program = program.as_ref();
    let mut message =
        format!("error: cannot run `{}`: {}\n", printable(program), reason(program, error));
    if let Some(instead) = instead(command).filter(|_| error.kind() == io::ErrorKind::NotFound) {
        message.push_str(&format!("to run it in a shell: {instead}\n"));
    }
    // Nobody is left to tell if this fails.
    tell(message.trim_end());
    match error.kind() {
        io::ErrorKind::NotFound => ExitCode::COMMAND_NOT_FOUND,
        _ if is_out_of_resources(error) => ExitCode::OWN_FAILURE,
        _ => ExitCode::COMMAND_NOT_EXECUTABLE,
    }
}

fn reason(program: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound if Path::new(program).exists() => {
            "the interpreter in its first line does not exist".to_owned()
        }
        io::ErrorKind::NotFound if program.contains('/') => "there is no such file".to_owned(),
        io::ErrorKind::NotFound => "there is no such program in PATH".to_owned(),
        _ => error.to_string(),
    }
}

/// Returns the command line that does what was probably meant, if this looks like a line of shell.
fn instead(command: &[OsString]) -> Option<String> {
    let words = command.iter().cloned().map(OsString::into_string);
    let line = shell_line(&words.collect::<Result<Vec<_>, _>>().ok()?)?;
    let before = std::env::args_os().take_while(|argument| argument != "--");
    let before = before.map(OsString::into_string).collect::<Result<Vec<_>, _>>().ok()?;
    let words = before.into_iter().chain(["--", "sh", "-c", &line].map(str::to_owned));
    let words: Vec<String> = words.collect();
    shlex::try_join(words.iter().map(String::as_str)).ok()
}

/// Returns the line of shell that a command was probably meant to be.
fn shell_line(command: &[String]) -> Option<String> {
    const OPERATORS: [&str; 7] = ["&&", "||", "|", ";", ">", "<", "&"];
    const BUILTINS: [&str; 7] = ["cd", "export", "set", "source", ".", "ulimit", "umask"];
    let (program, arguments) = command.split_first()?;
    if arguments.is_empty() {
        let is_line = |char: char| char.is_whitespace() || "&|;<>$`*?\"'(){}".contains(char);
        return program.contains(is_line).then(|| program.clone());
    }
    let sets_variable = program.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_')
    });
    let has_operator = arguments.iter().any(|it| OPERATORS.contains(&it.as_str()));
    if !sets_variable && !has_operator && !BUILTINS.contains(&program.as_str()) {
        return None;
    }
    let word = |word: &String| match OPERATORS.contains(&word.as_str()) {
        true => Some(word.clone()),
        false => shlex::try_quote(word).ok().map(std::borrow::Cow::into_owned),
    };
    // A quoted assignment would be a command.
    let first = match program.split_once('=').filter(|_| sets_variable) {
        Some((name, value)) => format!("{name}={}", shlex::try_quote(value).ok()?),
        None => program.clone(),
    };
    let rest: Vec<String> = arguments.iter().map(word).collect::<Option<_>>()?;
    Some(format!("{first} {}", rest.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::shell_line;

    #[test]
    fn a_line_of_shell_is_recognized() {
        let line = |words: &[&str]| {
            shell_line(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(line(&["a && b"]).as_deref(), Some("a && b"));
        assert_eq!(line(&["make check"]).as_deref(), Some("make check"));
        assert_eq!(line(&["make", "&&", "echo", "a b"]).as_deref(), Some("make && echo 'a b'"));
        assert_eq!(line(&["CC=my cc", "make"]).as_deref(), Some("CC='my cc' make"));
        assert_eq!(line(&["cd", "/tmp"]).as_deref(), Some("cd /tmp"));
        assert_eq!(line(&["mkae"]), None);
        assert_eq!(line(&["mkae", "-j8", "a b"]), None);
    }
}
