//! The option `--json`, which writes to stdout or into a file.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use memsample_inherited::print;

/// Whether and where JSON is written.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct JsonArgs {
    /// Print JSON to stdout instead of the text; with a file, write it there and print the text too
    #[arg(
        long,
        value_name = "FILE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "-"
    )]
    pub(crate) json: Option<PathBuf>,
}

impl JsonArgs {
    /// Returns whether JSON takes the place of the text.
    pub(crate) fn is_on_stdout(&self) -> bool {
        self.json.as_deref() == Some(Path::new("-"))
    }

    /// Writes JSON where it is wanted, if it is.
    pub(crate) fn write(
        &self,
        json: impl FnOnce() -> anyhow::Result<String>,
    ) -> anyhow::Result<()> {
        match &self.json {
            None => {}
            Some(_) if self.is_on_stdout() => print(json()?),
            Some(path) => match fs::write(path, json()?) {
                // Its reader has seen enough.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                written => written
                    .with_context(|| format!("cannot write JSON into `{}`", path.display()))?,
            },
        }
        Ok(())
    }
}

/// Joins `--json FILE` to `--json=FILE`, which the parser of arguments demands, since the file may be missing.
///
/// What follows is taken for the file if nothing else can follow, as for `record`, or if it ends in `.json` or is
/// `-` or below `/dev`. Otherwise it is an argument of the command.
pub(crate) fn join_file(
    arguments: impl IntoIterator<Item = OsString>,
    has_positional: bool,
) -> Vec<OsString> {
    let mut joined: Vec<OsString> = Vec::new();
    let mut arguments = arguments.into_iter().peekable();
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            joined.push(argument);
            joined.extend(arguments);
            return joined;
        }
        let file = (argument == "--json")
            .then(|| arguments.next_if(|next| is_file(next, has_positional)))
            .flatten();
        joined.push(match file {
            Some(file) => {
                let mut whole = OsString::from("--json=");
                whole.push(file);
                whole
            }
            None => argument,
        });
    }
    joined
}

fn is_file(argument: &OsStr, has_positional: bool) -> bool {
    let text = argument.to_string_lossy();
    let is_option = text.starts_with('-') && text != "-";
    let looks_like_one = text == "-" || text.ends_with(".json") || text.starts_with("/dev/");
    !is_option && (looks_like_one || !has_positional)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(arguments: &[&str], has_positional: bool) -> Vec<String> {
        let arguments = arguments.iter().map(OsString::from);
        let joined = join_file(arguments, has_positional).into_iter();
        joined.map(|it| it.into_string().unwrap_or_default()).collect()
    }

    #[test]
    fn a_file_after_json_is_joined_to_it() {
        assert_eq!(joined(&["--json", "x.json", "run"], true), ["--json=x.json", "run"]);
        assert_eq!(joined(&["--json", "recordings/x"], true), ["--json", "recordings/x"]);
        assert_eq!(joined(&["--json", "out", "--", "a"], false), ["--json=out", "--", "a"]);
        assert_eq!(joined(&["--json", "--", "a"], false), ["--json", "--", "a"]);
        assert_eq!(joined(&["--json", "-"], true), ["--json=-"]);
        assert_eq!(joined(&["--json", "--top", "3"], false), ["--json", "--top", "3"]);
        let behind = ["--", "tool", "--json", "x.json"];
        assert_eq!(joined(&behind, true), behind);
    }
}
