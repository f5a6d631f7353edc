//! What is kept of a process image, and by which name it is called.

use std::fmt;
use std::ops::Range;

use regex::bytes::Regex;
use serde::{Deserialize, Serialize};

use crate::identity::Comm;
use crate::pattern::{PatternError, compile};
use crate::role::role;
use crate::role_rule::RoleRule;

/// What stands in the place of what must not be recorded.
const REDACTED: &[u8] = b"[redacted]";

/// What is recorded of the arguments of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeptArguments {
    /// All, as far as [`Identity::MAX_CMDLINE_BYTES`](crate::Identity::MAX_CMDLINE_BYTES).
    #[default]
    Full,
    /// The first, by which the process calls itself.
    Program,
    /// None.
    None,
}

impl KeptArguments {
    /// Returns the part of the arguments, each ended by a NUL byte, that is kept.
    fn cut(self, cmdline: &[u8]) -> &[u8] {
        match self {
            Self::Full => cmdline,
            Self::Program => cmdline.split_inclusive(|&byte| byte == 0).next().unwrap_or_default(),
            Self::None => &[],
        }
    }
}

/// A pattern of what must not be recorded: passwords, tokens, names of customers.
///
/// It is matched on the arguments with a space between them, so that `--password \S+` finds an option
/// whose value is the next argument. What matches is replaced by `[redacted]` before anything is
/// written. The pattern itself is taken out as well: it is among the arguments of the recorder.
///
/// The command name, the path of the executable and the control group are left as they are.
#[derive(Clone)]
pub struct Redaction {
    pattern: Regex,
    itself: Regex,
}

impl Redaction {
    /// Takes a regular expression, in the syntax of the regex crate.
    ///
    /// # Errors
    ///
    /// It is none; the message says where.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        let itself =
            Regex::new(&regex::escape(pattern)).map_err(|error| PatternError::new(&error))?;
        Ok(Self { pattern: compile(pattern)?, itself })
    }

    fn ranges<'a>(&'a self, line: &'a [u8]) -> impl Iterator<Item = Range<usize>> + 'a {
        let found = self.pattern.find_iter(line).chain(self.itself.find_iter(line));
        found.map(|found| found.range()).filter(|range| !range.is_empty())
    }
}

/// Never says the pattern, which may hold what is secret.
impl fmt::Debug for Redaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redaction").finish_non_exhaustive()
    }
}

/// How an image is described, from what `/proc` says of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct IdentityRules {
    pub(crate) kept: KeptArguments,
    pub(crate) redactions: Vec<Redaction>,
    pub(crate) roles: Vec<RoleRule>,
}

impl IdentityRules {
    /// Returns the arguments, each ended by a NUL byte, without what must not be recorded.
    ///
    /// They are given whole, or as far as they were read: a secret that is cut in two is not found.
    pub(crate) fn redact(&self, cmdline: &[u8]) -> Vec<u8> {
        let end = cmdline.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let mut line = cmdline.get(..end).unwrap_or_default().to_vec();
        line.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b' ');
        let mut ranges: Vec<_> =
            self.redactions.iter().flat_map(|redaction| redaction.ranges(&line)).collect();
        ranges.sort_unstable_by_key(|range| range.start);
        let mut redacted = Vec::with_capacity(cmdline.len());
        let mut done = 0;
        for Range { start, end } in ranges {
            if start >= done {
                redacted.extend_from_slice(cmdline.get(done..start).unwrap_or_default());
                redacted.extend_from_slice(REDACTED);
            }
            done = done.max(end);
        }
        redacted.extend_from_slice(cmdline.get(done..).unwrap_or_default());
        redacted
    }

    /// Returns the part of redacted arguments that is recorded.
    pub(crate) fn keep<'a>(&self, redacted: &'a [u8]) -> &'a [u8] {
        self.kept.cut(redacted)
    }

    /// Returns the role that the first rule that fits gives to an image; `None` where none fits.
    pub(crate) fn ruled_role(
        &self,
        comm: &Comm,
        exe: Option<&[u8]>,
        redacted: &[u8],
        cgroup: Option<&[u8]>,
    ) -> Option<String> {
        self.roles.iter().find_map(|rule| rule.apply(comm.as_bytes(), exe, redacted, cgroup))
    }

    /// Returns the role of an image, from its redacted arguments: that of the first rule that fits,
    /// or else the usual one.
    ///
    /// It may hold the name of a script, also where arguments are left out.
    pub(crate) fn role(
        &self,
        comm: &Comm,
        exe: Option<&[u8]>,
        redacted: &[u8],
        cgroup: Option<&[u8]>,
    ) -> String {
        self.ruled_role(comm, exe, redacted, cgroup).unwrap_or_else(|| {
            let comm = comm.as_bytes();
            let arguments = redacted.split(|&byte| byte == 0);
            role(comm, exe, arguments)
        })
    }

    /// Returns a command to be recorded, as its arguments will be.
    pub(crate) fn command(&self, command: &[String]) -> Option<Vec<String>> {
        let joined: Vec<u8> =
            command.iter().flat_map(|argument| argument.bytes().chain([0])).collect();
        let redacted = self.redact(&joined);
        let kept = self.keep(&redacted);
        let arguments = kept.strip_suffix(b"\0").unwrap_or(kept).split(|&byte| byte == 0);
        (self.kept != KeptArguments::None).then(|| arguments.map(crate::text).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(kept: KeptArguments, patterns: &[&str]) -> IdentityRules {
        let redactions = patterns.iter().map(|pattern| Redaction::new(pattern).unwrap()).collect();
        IdentityRules { kept, redactions, roles: Vec::new() }
    }

    /// `|` stands for the NUL byte behind each argument.
    #[track_caller]
    fn check(patterns: &[&str], cmdline: &str, expected: &str) {
        let rules = rules(KeptArguments::Full, patterns);
        let redacted = rules.redact(cmdline.replace('|', "\0").as_bytes());
        assert_eq!(String::from_utf8(redacted).unwrap().replace('\0', "|"), expected);
    }

    #[test]
    fn what_matches_is_replaced() {
        check(&[], "a|b c|", "a|b c|");
        check(&[r"hunter\d"], "psql|hunter2|x|", "psql|[redacted]|x|");
        // An option with its value behind it is two arguments, and becomes one.
        check(&[r"--password[= ]\S+"], "db|--password|s3cret|-v|", "db|[redacted]|-v|");
        check(&[r"--password[= ]\S+"], "db|--password=s3cret|-v|", "db|[redacted]|-v|");
        check(&[r"(?i)token=\S+$"], "curl|-H|Token=abc|", "curl|-H|[redacted]|");
        // Whatever the order of patterns that overlap.
        check(&["b c", "a b"], "a|b|c|d|", "[redacted]|d|");
        check(&["a b", "b c"], "a|b|c|d|", "[redacted]|d|");
        check(&["", "x*"], "a|b|", "a|b|");
        check(&["."], "|", "|");
    }

    #[test]
    fn the_pattern_is_not_recorded_either() {
        check(
            &[r"hunter\d"],
            r"memsample|record|--redact|hunter\d|",
            "memsample|record|--redact|[redacted]|",
        );
        assert!(!format!("{:?}", Redaction::new("hunter2").unwrap()).contains("hunter"));
    }

    #[test]
    fn arguments_are_left_out() {
        let cmdline = b"/usr/bin/python3\0serve.py\0--port=80\0";
        let kept = |kept| rules(kept, &[]).keep(cmdline).to_vec();
        assert_eq!(kept(KeptArguments::Full), cmdline);
        assert_eq!(kept(KeptArguments::Program), b"/usr/bin/python3\0");
        assert_eq!(kept(KeptArguments::None), b"");
        let command = ["db", "--password", "s3cret"].map(str::to_owned);
        let of = |kept| rules(kept, &["--password .*"]).command(&command);
        assert_eq!(of(KeptArguments::Full).unwrap(), ["db", "[redacted]"]);
        assert_eq!(of(KeptArguments::Program).unwrap(), ["db"]);
        assert_eq!(of(KeptArguments::None), None);
    }

    #[test]
    fn what_is_wrong_with_a_pattern_fits_on_a_line() {
        assert_eq!(Redaction::new("(a").unwrap_err().to_string(), "unclosed group");
    }

    proptest::proptest! {
        #[test]
        fn what_is_left_has_no_match_but_for_the_mark(cmdline in "[a-c|]{0,40}") {
            let cmdline = cmdline.replace('|', "\0");
            let redacted = rules(KeptArguments::Full, &["b+"]).redact(cmdline.as_bytes());
            let text = String::from_utf8(redacted).unwrap();
            proptest::prop_assert!(!text.replace("[redacted]", "").contains('b'));
        }
    }
}
