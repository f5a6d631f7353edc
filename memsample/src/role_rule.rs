//! Rules of a configuration that name the role of a process.

use std::fmt;

use regex::bytes::{Captures, Regex};

use crate::identity::text;
use crate::pattern::{PatternError, compile};

/// A rule that names the processes that fit its patterns.
///
/// The patterns are regular expressions; each that is given must match somewhere in its text: the path
/// of the executable, the command name, the arguments with a space between them, the control group.
/// In the name `${group}` stands for what a named group of any of the patterns matched, `${1}` for the
/// first group of the only pattern that has groups, and `$$` for a dollar sign.
///
/// ```
/// use memsample::{RoleField, RoleRule};
///
/// let patterns = [(RoleField::Cmdline, r"celery .*-Q (?<queue>\w+)")];
/// let rule = RoleRule::new("worker ${queue}", &patterns)?;
/// # Ok::<(), memsample::RoleRuleError>(())
/// ```
#[derive(Clone, Debug)]
pub struct RoleRule {
    name: Vec<Piece>,
    /// In the order of [`RoleField`].
    patterns: Vec<(RoleField, Regex)>,
}

/// What a pattern of a [`RoleRule`] is matched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RoleField {
    /// The path of the executable.
    Exe,
    /// The command name.
    Comm,
    /// The arguments, redacted, with a space between them.
    Cmdline,
    /// The control group.
    Cgroup,
}

impl RoleField {
    /// Returns the name of the key in a configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exe => "exe",
            Self::Comm => "comm",
            Self::Cmdline => "cmdline",
            Self::Cgroup => "cgroup",
        }
    }
}

/// A part of a name.
#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    /// A group of the pattern at an index.
    Group(usize, String),
}

/// Why a rule is none.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RoleRuleError {
    /// It has no pattern, and would name every process.
    NoPattern,
    /// A pattern is no regular expression.
    Pattern(RoleField, PatternError),
    /// The name is empty, or a `$` in it is followed by neither `{group}` nor `$`.
    Name(String),
    /// The name refers to a group that no pattern has, or by its number to one of several patterns.
    Group(String),
}

impl fmt::Display for RoleRuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPattern => f.write_str(
                "a role needs at least one pattern: `exe`, `comm`, `cmdline` or `cgroup`",
            ),
            Self::Pattern(field, error) => write!(f, "`{}`: {error}", field.name()),
            Self::Name(name) => write!(
                f,
                "`{name}` is not a name: it is empty, or a `$` is followed by neither `{{group}}` nor `$`"
            ),
            Self::Group(group) => write!(
                f,
                "`${{{group}}}` is no group of a pattern: name it, such as `(?<{group}>…)`, or refer to it by number if \
                 one pattern alone has groups"
            ),
        }
    }
}

impl std::error::Error for RoleRuleError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // Displayed as it is.
            Self::Pattern(..) | Self::NoPattern | Self::Name(_) | Self::Group(_) => None,
        }
    }
}

impl RoleRule {
    /// Makes a rule of a name and of patterns.
    ///
    /// # Errors
    ///
    /// There is no pattern, one is malformed, or the name refers to what is not there.
    pub fn new(name: &str, patterns: &[(RoleField, &str)]) -> Result<Self, RoleRuleError> {
        let compiled = patterns.iter().map(|&(field, pattern)| {
            let pattern = compile(pattern);
            pattern.map(|it| (field, it)).map_err(|error| RoleRuleError::Pattern(field, error))
        });
        let mut patterns = compiled.collect::<Result<Vec<_>, _>>()?;
        if patterns.is_empty() {
            return Err(RoleRuleError::NoPattern);
        }
        patterns.sort_by_key(|(field, _)| *field);
        let name = pieces(name, &patterns)?;
        Ok(Self { name, patterns })
    }

    /// Returns the name, where every pattern matches. `cmdline` has a NUL byte behind each argument.
    pub(crate) fn apply(
        &self,
        comm: &[u8],
        exe: Option<&[u8]>,
        cmdline: &[u8],
        cgroup: Option<&[u8]>,
    ) -> Option<String> {
        let end = cmdline.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let mut line = cmdline.get(..end).unwrap_or_default().to_vec();
        line.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b' ');
        let captures = self.patterns.iter().map(|(field, pattern)| {
            pattern.captures(match field {
                RoleField::Exe => exe?,
                RoleField::Comm => comm,
                RoleField::Cmdline => &line,
                RoleField::Cgroup => cgroup?,
            })
        });
        let captures = captures.collect::<Option<Vec<_>>>()?;
        let mut name = String::new();
        for piece in &self.name {
            match piece {
                Piece::Text(part) => name.push_str(part),
                Piece::Group(pattern, group) => {
                    let matched = captures.get(*pattern).and_then(|it| group_of(it, group));
                    // A group that is optional may have matched nothing.
                    name.push_str(&text(matched.unwrap_or_default()));
                }
            }
        }
        Some(name)
    }
}

fn group_of<'a>(captures: &Captures<'a>, group: &str) -> Option<&'a [u8]> {
    let matched = match group.parse() {
        Ok(number) => captures.get(number),
        Err(_) => captures.name(group),
    };
    matched.map(|matched| matched.as_bytes())
}

/// Cuts a name into text and the groups that it refers to.
fn pieces(name: &str, patterns: &[(RoleField, Regex)]) -> Result<Vec<Piece>, RoleRuleError> {
    let malformed = || RoleRuleError::Name(name.to_owned());
    if name.is_empty() {
        return Err(malformed());
    }
    let mut pieces = Vec::new();
    let mut rest = name;
    while let Some((before, after)) = rest.split_once('$') {
        pieces.push(Piece::Text(before.to_owned()));
        if let Some(after) = after.strip_prefix('$') {
            pieces.push(Piece::Text("$".to_owned()));
            rest = after;
            continue;
        }
        let reference = after.strip_prefix('{').and_then(|it| it.split_once('}'));
        let (group, after) = reference.ok_or_else(malformed)?;
        pieces.push(Piece::Group(pattern_with(group, patterns)?, group.to_owned()));
        rest = after;
    }
    pieces.push(Piece::Text(rest.to_owned()));
    Ok(pieces)
}

/// Returns the index of the pattern that has a group.
fn pattern_with(group: &str, patterns: &[(RoleField, Regex)]) -> Result<usize, RoleRuleError> {
    let unknown = || RoleRuleError::Group(group.to_owned());
    let mut patterns = patterns.iter().map(|(_, pattern)| pattern).enumerate();
    match group.parse::<usize>() {
        Ok(number) => {
            // The whole match counts as one.
            let mut with_groups = patterns.filter(|(_, pattern)| pattern.captures_len() > 1);
            match (with_groups.next(), with_groups.next()) {
                (Some((index, pattern)), None) if number < pattern.captures_len() => Ok(index),
                _ => Err(unknown()),
            }
        }
        Err(_) => {
            let has = |pattern: &Regex| pattern.capture_names().flatten().any(|name| name == group);
            patterns.find(|(_, pattern)| has(pattern)).map(|(index, _)| index).ok_or_else(unknown)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RoleField::*;
    use super::*;

    /// The role of a celery worker in a container, if the rule fits.
    fn apply(name: &str, patterns: &[(RoleField, &str)]) -> Result<Option<String>, RoleRuleError> {
        let cmdline = b"python3\0-m\0celery\0-Q\0mail\0";
        let rule = RoleRule::new(name, patterns)?;
        Ok(rule.apply(b"celery", Some(b"/usr/bin/python3.13"), cmdline, Some(b"/pod7/worker")))
    }

    #[test]
    fn all_patterns_must_match() {
        let fits = |patterns: &[(RoleField, &str)]| apply("x", patterns).unwrap().is_some();
        assert!(fits(&[(Comm, "^celery$")]));
        assert!(fits(&[(Comm, "^celery$"), (Exe, "python3")]));
        assert!(!fits(&[(Comm, "^celery$"), (Exe, "ruby")]));
        assert!(fits(&[(Cmdline, "celery -Q mail$")]));
        assert!(fits(&[(Cgroup, "^/pod[0-9]+/")]));
        let rule = RoleRule::new("x", &[(Exe, "")]).unwrap();
        assert_eq!(rule.apply(b"x", None, b"", None), None, "what is unknown matches nothing");
    }

    #[test]
    fn a_name_is_made_of_what_matched() {
        let name = |name, patterns: &[_]| apply(name, patterns).unwrap().unwrap();
        assert_eq!(name("${1} worker", &[(Cmdline, r"-Q (\w+)"), (Comm, "celery")]), "mail worker");
        let both = [(Cgroup, "/(?<pod>pod)"), (Cmdline, r"-Q (?<queue>\w+)")];
        assert_eq!(name("${queue} in ${pod}", &both), "mail in pod");
        assert_eq!(name("$$ ${0}", &[(Comm, "(c)elery")]), "$ celery");
        assert_eq!(name("a${1}b", &[(Comm, "celery(x)?")]), "ab");
    }

    #[test]
    fn a_rule_that_cannot_be_meant_is_refused() {
        let error = |name, patterns: &[_]| apply(name, patterns).unwrap_err();
        assert_eq!(error("x", &[]), RoleRuleError::NoPattern);
        for name in ["", "a $", "${", "$x", "${queue"] {
            assert!(matches!(error(name, &[(Comm, "x")]), RoleRuleError::Name(_)), "{name}");
        }
        for name in ["${queue}", "${1}", "${}"] {
            assert!(matches!(error(name, &[(Comm, "x")]), RoleRuleError::Group(_)), "{name}");
        }
        let two = [(Comm, "(x)"), (Exe, "(y)")];
        assert!(matches!(error("${1}", &two), RoleRuleError::Group(_)));
        let wrong = error("x", &[(Comm, "(")]);
        assert_eq!(wrong.to_string(), "`comm`: unclosed group");
    }
}
