//! The configuration file: what holds for every recording of this user, or of the daemon.
//!
//! ```toml
//! cmdline = "program"
//! redact = ['--password[= ]\S+']
//!
//! [[role]]
//! name = "worker ${queue}"
//! cmdline = 'celery .*-Q (?<queue>\w+)'
//!
//! [daemon.retention]
//! count = 1000
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use memsample::{KeptArguments, Redaction, RoleField, RoleRule, SamplerOptions};
use serde::Deserialize;
use toml::Spanned;

use crate::daemon::{DaemonConfig, DaemonTable};

/// The variable that names the file; empty for none.
const VARIABLE: &str = "MEMSAMPLE_CONFIG";
/// A larger file is none.
const MAX_BYTES: u64 = 1 << 20;
/// More rules would be tried for every process that begins.
const MAX_RULES: usize = 1000;

/// What is in the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    cmdline: Option<KeptArguments>,
    #[serde(default)]
    redact: Vec<Spanned<String>>,
    #[serde(default)]
    role: Vec<Role>,
    #[serde(default)]
    daemon: DaemonTable,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Role {
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
    /// The file cannot be read, or says something wrong: the message begins with its line.
    pub fn read(named: Option<&Path>) -> anyhow::Result<Self> {
        let named =
            named.map(Path::to_owned).or_else(|| std::env::var_os(VARIABLE).map(PathBuf::from));
        match named {
            Some(path) if path.as_os_str().is_empty() => Ok(Self::default()),
            Some(path) => Self::read_file(&path),
            None => match usual_path() {
                Some(path) if path.exists() => Self::read_file(&path),
                _ => Ok(Self::default()),
            },
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// The same.
    pub fn read_file(path: &Path) -> anyhow::Result<Self> {
        Self::parse(path, &read(path)?)
    }

    /// Adds what else to take out of arguments.
    #[must_use]
    pub fn redact(mut self, redactions: &[Redaction]) -> Self {
        self.redactions.extend(redactions.iter().cloned());
        self
    }

    fn parse(path: &Path, text: &str) -> anyhow::Result<Self> {
        let at = |offset: usize| {
            let before = text.as_bytes().get(..offset).unwrap_or_default();
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            format!("{}:{line}", path.display())
        };
        let file: File = toml::from_str(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            anyhow!("{}: {}", at(offset), error.message().replace('\n', ", "))
        })?;
        if file.role.len() + file.redact.len() > MAX_RULES {
            bail!("{}: more than {MAX_RULES} rules", path.display());
        }
        let redactions = file.redact.iter().map(|pattern| {
            let redaction = Redaction::new(pattern.get_ref());
            redaction.map_err(|error| anyhow!("{}: redact: {error}", at(pattern.span().start)))
        });
        let roles = file.role.iter().map(|role| {
            let patterns = role.patterns();
            let patterns: Vec<_> = patterns
                .iter()
                .filter_map(|(field, pattern)| Some((*field, pattern.as_ref()?.get_ref().as_str())))
                .collect();
            RoleRule::new(role.name.get_ref(), &patterns).map_err(|error| {
                let place = role.place_of(&error);
                anyhow!("{}: role `{}`: {error}", at(place), role.name.get_ref())
            })
        });
        let daemon = DaemonConfig::try_from(file.daemon)
            .map_err(|error| anyhow!("{}: {error}", path.display()))?;
        let described = format!("{:?}", (&file.cmdline, &file.redact, &file.role));
        Ok(Self {
            described,
            daemon,
            cmdline: file.cmdline,
            redactions: redactions.collect::<Result<_, _>>()?,
            roles: roles.collect::<Result<_, _>>()?,
        })
    }

    /// Says whether the file of the other says the same of processes and their arguments.
    pub fn describes_like(&self, other: &Self) -> bool {
        self.described == other.described
    }

    /// Names processes, and takes out of their arguments what must not be seen.
    #[must_use]
    pub fn describe(self, sampler: SamplerOptions) -> SamplerOptions {
        let sampler = self.redactions.into_iter().fold(sampler, SamplerOptions::redact);
        self.roles.into_iter().fold(sampler, SamplerOptions::role)
    }

    /// Does that, and leaves arguments out of a recording: as `cmdline` says, or else the file.
    #[must_use]
    pub fn describe_recorded(
        self,
        sampler: SamplerOptions,
        cmdline: Option<KeptArguments>,
    ) -> SamplerOptions {
        let kept = cmdline.or(self.cmdline).unwrap_or_default();
        self.describe(sampler).arguments(kept)
    }
}

impl Role {
    fn patterns(&self) -> [(RoleField, &Option<Spanned<String>>); 4] {
        [
            (RoleField::Exe, &self.exe),
            (RoleField::Comm, &self.comm),
            (RoleField::Cmdline, &self.cmdline),
            (RoleField::Cgroup, &self.cgroup),
        ]
    }

    /// Returns where in the file the value is that an error is about.
    fn place_of(&self, error: &memsample::RoleRuleError) -> usize {
        let wrong = match error {
            memsample::RoleRuleError::Pattern(field, _) => Some(*field),
            _ => None,
        };
        let mut patterns = self.patterns().into_iter();
        let pattern = patterns.find(|(field, _)| Some(*field) == wrong);
        let value = pattern.and_then(|(_, pattern)| pattern.as_ref()).unwrap_or(&self.name);
        value.span().start
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    let failed = || format!("cannot read the configuration `{}`", path.display());
    let mut text = String::new();
    let file = fs::File::open(path).with_context(failed)?;
    io::Read::read_to_string(&mut io::Read::take(file, MAX_BYTES + 1), &mut text)
        .with_context(failed)?;
    if text.len() as u64 > MAX_BYTES {
        bail!("the configuration `{}` has more than {} KiB", path.display(), MAX_BYTES >> 10);
    }
    Ok(text)
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
        let error = Config::parse(Path::new("c.toml"), text).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        check("cmdline = \"some\"", "c.toml:1: unknown variant `some`");
        check("\n\nfoo = 1", "c.toml:3: unknown field `foo`");
        check("a = ", "c.toml:1: ");
        check("redact = [\n'a',\n'(']", "c.toml:3: redact: unclosed group");
        check("[[role]]\ncomm = 'x'", "c.toml:1: missing field `name`");
        check("[[role]]\nname = 'x'", "c.toml:2: role `x`: a role needs at least one pattern");
        check(
            "[[role]]\nname = 'x'\ncomm = 'x'\nexe = '['\n",
            "c.toml:4: role `x`: `exe`: unclosed character class",
        );
        check("[[role]]\nname = '${y}'\ncomm = 'x'", "c.toml:2: role `${y}`: `${y}` is no group");
        check("[daemon]\nrns = '/x'", "c.toml:2: unknown field `rns`");
        check("[daemon]\n\nhttp = 'here'", "c.toml:3: invalid socket address");
        check(
            "[daemon.limits]\nidle = 5",
            "c.toml:2: invalid type: integer `5`, expected a length",
        );
        check("[daemon.limits]\nsessions = -1", "c.toml:2: invalid value");
        check("[daemon.limits]\nsessions = 0", "c.toml: `daemon.limits.sessions` is 0");
        check("[[role]]\nname = 'x'\npid = 7", "c.toml:3: unknown field `pid`");
    }

    #[test]
    fn a_whole_file_is_taken() {
        let text = "cmdline = \"program\"\nredact = ['a', 'b']\n[[role]]\nname = 'x'\ncomm = 'x'\n";
        let config = Config::parse(Path::new("c.toml"), text).unwrap();
        assert_eq!(config.cmdline, Some(KeptArguments::Program));
        assert_eq!((config.redactions.len(), config.roles.len()), (2, 1));
        assert_eq!(Config::parse(Path::new("c.toml"), "").unwrap().roles.len(), 0);
    }
}
