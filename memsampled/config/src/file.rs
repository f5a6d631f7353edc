//! The configuration file: what holds for every recording of this user, or of the daemon.
//!
//! ```toml
//! cmdline = "program"
//! sweep = "auto"
//! redact = ['--password[= ]\S+']
//!
//! [[role]]
//! name = "worker ${queue}"
//! cmdline = 'celery .*-Q (?<queue>\w+)'
//!
//! [daemon.retention]
//! count = 1000
//! ```

use std::io::{self, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::Context;
use memsample::{
    KeptArguments, Redaction, RoleField, RoleRule, RoleRuleError, SamplerOptions, SweepBy,
};
use memsample_beneath::open_regular;
use memsample_input::{FileKind, InputError, Problems, quoted};
use serde::Deserialize;
use toml::Spanned;
use toml::de::DeTable;

use crate::daemon::{DaemonConfig, DaemonTable};
use crate::wrong_value::WrongValue;

/// The variable that names the file; empty for none.
const VARIABLE: &str = "MEMSAMPLE_CONFIG";
/// What the file may be.
const CONFIGURATION: FileKind = FileKind {
    bytes_max: 1 << 20,
    too_large_help: "a configuration of that size is another file",
    absent_help: "name another file, or write this one",
};
/// More rules would be tried for every process that begins.
const MAX_RULES: usize = 1000;

/// What is in the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    cmdline: Option<KeptArguments>,
    #[serde(default)]
    sweep: SweepBy,
    #[serde(default)]
    redact: Vec<Spanned<String>>,
    #[serde(default)]
    role: Vec<RoleTable>,
    #[serde(default)]
    daemon: DaemonTable,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleTable {
    name: Spanned<String>,
    exe: Option<Spanned<String>>,
    comm: Option<Spanned<String>>,
    cmdline: Option<Spanned<String>>,
    cgroup: Option<Spanned<String>>,
}

/// What holds, from the file and from the command line.
#[derive(Clone, Debug, Default)]
pub struct Config {
    cmdline: Option<KeptArguments>,
    sweep: SweepBy,
    redactions: Vec<Redaction>,
    roles: Vec<RoleRule>,
    /// All these as they stand in the file, to be compared.
    described: String,
    /// What the daemon shall do.
    pub daemon: DaemonConfig,
}

impl Config {
    /// Reads the file that was `named`, or that the variable names, or that of the user if there is one.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is wrong: an [`InputError`] with every problem, its line and column.
    pub fn read(named: Option<&Path>) -> anyhow::Result<Self> {
        match Self::path(named) {
            Some(path) => Self::read_file(&path),
            None => Ok(Self::default()),
        }
    }

    /// Returns which file [`Self::read`] reads, if any.
    #[must_use]
    pub fn path(named: Option<&Path>) -> Option<PathBuf> {
        let named =
            named.map(Path::to_owned).or_else(|| std::env::var_os(VARIABLE).map(PathBuf::from));
        match named {
            Some(path) => Some(path).filter(|path| !path.as_os_str().is_empty()),
            None => usual_path().filter(|path| path.exists()),
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// The same.
    pub fn read_file(path: &Path) -> anyhow::Result<Self> {
        Ok(Self::parse(path, &read(path)?)?)
    }

    /// Adds what else to take out of arguments.
    #[must_use]
    pub fn redact(mut self, redactions: &[Redaction]) -> Self {
        self.redactions.extend(redactions.iter().cloned());
        self
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self, InputError> {
        let source = CONFIGURATION.decode(path, bytes)?;
        let problems = Problems::default();
        let add = |range: Range<usize>, message: String| {
            problems.add(&source, source.location(range), message, None);
        };
        let file: ConfigFile = match toml::from_str(source.text()) {
            Ok(file) => file,
            Err(error) => {
                let range = error.span().unwrap_or(0..0);
                add(range, error.message().replace('\n', ", "));
                return problems.or(Self::default());
            }
        };
        let rules = file.role.len() + file.redact.len();
        if rules > MAX_RULES {
            let message = format!("{rules} rules in all, more than {MAX_RULES}");
            return Err(InputError::of_file(path, message, None));
        }
        let described = format!("{:?}", (&file.cmdline, &file.sweep, &file.redact, &file.role));
        let mut redactions = Vec::new();
        for pattern in &file.redact {
            match Redaction::new(pattern.get_ref()) {
                Ok(redaction) => redactions.push(redaction),
                Err(error) => add(pattern.span(), format!("redact: {error}")),
            }
        }
        let mut roles = Vec::new();
        for role in &file.role {
            match role.rule() {
                Ok(rule) => roles.push(rule),
                Err(error) => {
                    let name = quoted(role.name.get_ref());
                    add(role.span_of(&error), format!("role {name}: {error}"));
                }
            }
        }
        let mut daemon = DaemonConfig::default();
        match DaemonConfig::try_from(file.daemon) {
            Ok(config) => daemon = config,
            Err(WrongValue { key, message }) => {
                let key = format!("daemon.{key}");
                add(span_of(source.text(), &key), format!("`{key}`: {message}"));
            }
        }
        problems.or(Self {
            cmdline: file.cmdline,
            sweep: file.sweep,
            redactions,
            roles,
            described,
            daemon,
        })
    }

    /// Returns whether the file of the other says the same of processes and their arguments.
    pub fn describes_like(&self, other: &Self) -> bool {
        self.described == other.described
    }

    /// Names processes, and takes out of their arguments what must not be seen.
    #[must_use]
    pub fn describe(self, sampler: SamplerOptions) -> SamplerOptions {
        let sampler = self.redactions.into_iter().fold(sampler, SamplerOptions::redact);
        self.roles.into_iter().fold(sampler, SamplerOptions::role)
    }

    /// Does that, says how to sweep, and leaves arguments out of a recording: as `cmdline` says, or else the file.
    #[must_use]
    pub fn describe_recorded(
        self,
        sampler: SamplerOptions,
        cmdline: Option<KeptArguments>,
    ) -> SamplerOptions {
        let kept = cmdline.or(self.cmdline).unwrap_or_default();
        let sweep = self.sweep;
        self.describe(sampler).arguments(kept).sweep_by(sweep)
    }
}

impl RoleTable {
    fn patterns(&self) -> [(RoleField, &Option<Spanned<String>>); 4] {
        [
            (RoleField::Exe, &self.exe),
            (RoleField::Comm, &self.comm),
            (RoleField::Cmdline, &self.cmdline),
            (RoleField::Cgroup, &self.cgroup),
        ]
    }

    fn rule(&self) -> Result<RoleRule, RoleRuleError> {
        let patterns = self.patterns();
        let patterns: Vec<_> = patterns
            .iter()
            .filter_map(|(field, pattern)| Some((*field, pattern.as_ref()?.get_ref().as_str())))
            .collect();
        RoleRule::new(self.name.get_ref(), &patterns)
    }

    /// Returns the bytes of the value that an error is about.
    fn span_of(&self, error: &RoleRuleError) -> Range<usize> {
        let wrong = match error {
            RoleRuleError::Pattern(field, _) => Some(*field),
            _ => None,
        };
        let mut patterns = self.patterns().into_iter();
        let pattern = patterns.find(|(field, _)| Some(*field) == wrong);
        let value = pattern.and_then(|(_, pattern)| pattern.as_ref()).unwrap_or(&self.name);
        value.span()
    }
}

/// Returns the bytes of the value of a key with dots; where it is not there, those of the table above it.
fn span_of(text: &str, key: &str) -> Range<usize> {
    let Ok(root) = DeTable::parse(text) else { return 0..0 };
    let mut span = 0..0;
    let mut table = Some(root.get_ref());
    for name in key.split('.') {
        let Some(value) = table.and_then(|table| table.get(name)) else { break };
        span = value.span();
        table = value.get_ref().as_table();
    }
    span
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let failed = || format!("cannot read the configuration `{}`", path.display());
    let mut bytes = Vec::new();
    let file = open_regular(path).with_context(failed)?;
    let bytes_max = CONFIGURATION.bytes_max as u64;
    io::Read::take(file, bytes_max + 1).read_to_end(&mut bytes).with_context(failed)?;
    Ok(bytes)
}

/// Returns where the file of the user would be.
fn usual_path() -> Option<PathBuf> {
    let absolute =
        |variable| std::env::var_os(variable).map(PathBuf::from).filter(|it| it.is_absolute());
    let directory =
        absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?;
    Some(directory.join("memsample/config.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let error = Config::parse(Path::new("c.toml"), text.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line_and_column() {
        check("cmdline = \"some\"", "c.toml:1:11: unknown variant `some`");
        check("sweep = \"some\"", "c.toml:1:9: unknown variant `some`");
        check("\n\nfoo = 1", "c.toml:3:1: unknown field `foo`");
        check("a = ", "c.toml:1:5: ");
        check("redact = [\n'a',\n'(']", "c.toml:3:1: redact: unclosed group");
        check("[[role]]\ncomm = 'x'", "c.toml:1:1: missing field `name`");
        check("[[role]]\nname = 'x'", "c.toml:2:8: role `x`: a role needs at least one pattern");
        check(
            "[[role]]\nname = 'x'\ncomm = 'x'\nexe = '['\n",
            "c.toml:4:7: role `x`: `exe`: unclosed character class",
        );
        check("[[role]]\nname = '${y}'\ncomm = 'x'", "c.toml:2:8: role `${y}`: `${y}` is no group");
        check("[daemon]\nrns = '/x'", "c.toml:2:1: unknown field `rns`");
        check("[daemon]\n\nhttp = 'here'", "c.toml:3:8: invalid socket address");
        check(
            "[daemon.limits]\nidle = 5",
            "c.toml:2:8: invalid type: integer `5`, expected a length",
        );
        check(
            "[daemon.limits]\nidle = '1h30'",
            "c.toml:2:8: expected a number and its unit, not `1h30`: not a length of time",
        );
        check("[daemon.limits]\nidle = '0s'", "c.toml:2:8: `daemon.limits.idle`: must be a whole");
        check("[daemon.limits]\nsessions = -1", "c.toml:2:12: invalid value");
        check("[daemon.limits]\nsessions = 0", "c.toml:2:12: `daemon.limits.sessions`: is 0");
        check("[[role]]\nname = 'x'\npid = 7", "c.toml:3:1: unknown field `pid`");
        check(
            "[daemon.retention]\nbytes = 50000000000",
            "c.toml:2:9: a unit is missing: write \"50GB\"",
        );
        check(
            "[daemon]\nflight_recorder = { span = '1m', gap = '1ms' }",
            "c.toml:2:40: `daemon.flight_recorder.gap`: must be at least 1s",
        );
    }

    #[test]
    fn a_problem_shows_its_line_and_points_at_the_value() {
        let text = "redact = ['(', 'a', ')']\n[daemon.limits]\nbytes = '1MiB'\n";
        let error = Config::parse(Path::new("c.toml"), text.as_bytes()).unwrap_err().to_string();
        let lines: Vec<&str> = error.lines().collect();
        assert_eq!(lines.len(), 9, "{error}");
        assert_eq!(
            lines.get(1..3),
            Some(&["    1 | redact = ['(', 'a', ')']", "      |           ^^^"][..])
        );
        assert_eq!(
            lines.get(6..),
            Some(
                &[
                    "c.toml:3:9: `daemon.limits.bytes`: must be at least 4MiB",
                    "    3 | bytes = '1MiB'",
                    "      |         ^^^^^^"
                ][..]
            )
        );
    }

    #[test]
    fn a_whole_file_is_taken() {
        let text = "cmdline = \"program\"\nsweep = \"auto\"\nredact = ['a', 'b']\n[[role]]\nname = 'x'\ncomm = 'x'\n\
                    [daemon.retention]\nage = '720h'\nbytes = '50GB'\n";
        let config = Config::parse(Path::new("c.toml"), text.as_bytes()).unwrap();
        assert_eq!(config.cmdline, Some(KeptArguments::Program));
        assert_eq!(config.sweep, SweepBy::Auto);
        assert_eq!((config.redactions.len(), config.roles.len()), (2, 1));
        assert_eq!(config.daemon.retention.bytes, Some(50_000_000_000));
        assert_eq!(Config::parse(Path::new("c.toml"), b"").unwrap().roles.len(), 0);
    }
}
