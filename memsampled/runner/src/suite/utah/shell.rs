//! Setups and cleanups of several test suites as one line of shell.

use std::path::PathBuf;
use std::time::Duration;

use crate::suite::settings::TIMEOUT_MAX;
use crate::suite::{Program, Step};

/// A command of a test suite, which is run in its directory.
pub(super) struct Part {
    pub(super) directory: PathBuf,
    pub(super) command: String,
    pub(super) timeout: Duration,
}

impl Part {
    /// Returns its command without what it prints to standard output.
    pub(super) fn silent(&self) -> String {
        format!("exec >/dev/null\n{}", self.command)
    }

    /// Returns a line that runs it in a shell of its own: a mistake in it ends only that.
    fn line(&self) -> String {
        let directory = word(&self.directory.to_string_lossy());
        format!("(cd {directory} && exec /bin/sh -c {})", word(&self.command))
    }
}

/// Makes one step of commands of which each needs those before it. They share their time.
pub(super) fn all_or_nothing(parts: &[Part]) -> Option<Step> {
    step(parts, |part| format!("{} || exit", part.line()), "")
}

/// Makes one step of commands that are run whatever the others return. They share their time.
pub(super) fn one_after_the_other(parts: &[Part]) -> Option<Step> {
    step(parts, |part| format!("{} || failed=$?", part.line()), "\nexit ${failed:-0}")
}

fn step(parts: &[Part], line: impl Fn(&Part) -> String, end: &str) -> Option<Step> {
    if parts.is_empty() {
        return None;
    }
    let lines: Vec<String> = parts.iter().map(line).collect();
    let timeout: Duration = parts.iter().map(|part| part.timeout).sum();
    let program = Program::Shell(format!("{}{end}", lines.join("\n")));
    Some(Step { program, timeout: timeout.min(TIMEOUT_MAX) })
}

/// Returns a text as one word of a shell.
pub(super) fn word(text: &str) -> String {
    // A NUL stays as it is: what is run with it cannot be started, and says so.
    let quoted = shlex::Quoter::new().allow_nul(true).quote(text);
    quoted.map_or_else(|_| text.to_owned(), std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_word_is_what_a_shell_hands_on() {
        for text in ["plain/word.py", "two words", "it's", "$HOME `x` \"y\"\n*", "", "-n", "\\"] {
            let line = format!("printf %s {}", word(text));
            let output = Command::new("/bin/sh").args(["-c", &line]).output().unwrap();
            // printf takes an option where a word begins with a dash; its operand is the same.
            if text != "-n" {
                assert_eq!(String::from_utf8_lossy(&output.stdout), text);
            }
        }
    }

    #[test]
    fn a_setup_ends_at_the_first_failure_and_a_cleanup_at_none() {
        let part = |command: &str| Part {
            directory: PathBuf::from("/"),
            command: command.to_owned(),
            timeout: Duration::from_secs(1),
        };
        let run = |step: Option<Step>| {
            let Some(Step { program: Program::Shell(line), timeout }) = step else {
                panic!("none")
            };
            assert_eq!(timeout, Duration::from_secs(3));
            let output = Command::new("/bin/sh").args(["-c", &line]).output().unwrap();
            (String::from_utf8(output.stdout).unwrap(), output.status.code())
        };
        let parts = [part("pwd"), part("echo it\\'s; exit 3"), part("echo last")];
        assert_eq!(run(all_or_nothing(&parts)), ("/\nit's\n".to_owned(), Some(3)));
        assert_eq!(run(one_after_the_other(&parts)), ("/\nit's\nlast\n".to_owned(), Some(3)));
        assert!(all_or_nothing(&[]).is_none());
    }
}
