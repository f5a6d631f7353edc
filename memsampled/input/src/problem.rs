//! What is wrong with a file: every problem with its line, the place in it and what to write instead.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use super::source::{Location, Source};

/// Problems that are kept; a file with more is no file with mistakes, but another kind of file.
const KEPT: usize = 100;
/// Problems that are printed: a screen.
const PRINTED: usize = 20;
/// Characters of a line that are shown around a problem, and of a name in a message.
const SHOWN: usize = 100;

/// Why a file cannot be understood: every problem that was found, with file, line and column.
///
/// Its display is what a person reads, several lines for each problem and no newline at the end:
///
/// ```text
/// suite.toml:7:1: unknown key `timout` in test `leak`
///    7 | timout = "30s"
///      | ^^^^^^
///      = did you mean `timeout`?
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputError {
    problems: Vec<Problem>,
    /// Problems beyond those that were kept.
    more: usize,
}

/// One problem of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file that has it.
    pub file: PathBuf,
    /// Line and column, from 1, in characters; `None` where the file as a whole is the problem.
    pub position: Option<(u32, u32)>,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    /// The line, and where in it.
    excerpt: Option<Excerpt>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Excerpt {
    line: String,
    /// Characters before the mark, and of the mark.
    before: usize,
    marked: usize,
}

impl InputError {
    /// Returns the problems, by file, line and column. There is at least one.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Makes an error of one problem of a file as a whole.
    #[must_use]
    pub fn of_file(file: &Path, message: String, help: Option<&str>) -> Self {
        let help = help.map(str::to_owned);
        let file = file.to_owned();
        Self {
            problems: vec![Problem { file, position: None, message, help, excerpt: None }],
            more: 0,
        }
    }
}

impl std::error::Error for InputError {}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().take(PRINTED).enumerate() {
            if index > 0 {
                f.write_char('\n')?;
            }
            problem.fmt(f)?;
        }
        match self.problems.len().saturating_sub(PRINTED) + self.more {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.file.to_string_lossy()))?;
        if let Some((line, column)) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)?;
        if let (Some(excerpt), Some((line, _))) = (&self.excerpt, self.position) {
            write!(f, "\n{line:>5} | {}", excerpt.line)?;
            write!(
                f,
                "\n      | {:before$}{}",
                "",
                "^".repeat(excerpt.marked),
                before = excerpt.before
            )?;
        }
        match &self.help {
            Some(help) => write!(f, "\n      = {help}"),
            None => Ok(()),
        }
    }
}

/// Problems as they are found, in one file or several: reading continues, so that all are reported at once.
#[derive(Debug, Default)]
pub struct Problems {
    found: RefCell<Vec<Problem>>,
    more: std::cell::Cell<usize>,
}

impl Problems {
    /// Adds a problem at a location.
    pub fn add(&self, source: &Source, location: Location, message: String, help: Option<String>) {
        let mut found = self.found.borrow_mut();
        if found.len() < KEPT {
            found.push(Problem {
                file: source.path().to_owned(),
                position: Some((location.line, location.column)),
                message,
                help,
                excerpt: Some(excerpt(source.line(location.line), location)),
            });
        } else {
            self.more.set(self.more.get() + 1);
        }
    }

    /// Adds all problems of another file.
    pub fn append(&self, error: InputError) {
        let mut found = self.found.borrow_mut();
        let kept = KEPT.saturating_sub(found.len()).min(error.problems.len());
        self.more.set(self.more.get() + error.more + error.problems.len() - kept);
        found.extend(error.problems.into_iter().take(kept));
    }

    /// Returns whether none was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.borrow().is_empty()
    }

    /// Returns `value` if there was no problem.
    ///
    /// # Errors
    ///
    /// The problems, by file, line and column.
    pub fn or<T>(self, value: T) -> Result<T, InputError> {
        let mut problems = self.found.into_inner();
        if problems.is_empty() {
            return Ok(value);
        }
        // Of one file: as it is read from top to bottom. Files stay in the order they were read in.
        let mut files: Vec<PathBuf> = Vec::new();
        for problem in &problems {
            if !files.contains(&problem.file) {
                files.push(problem.file.clone());
            }
        }
        problems.sort_by_key(|problem| {
            (files.iter().position(|file| *file == problem.file), problem.position)
        });
        Err(InputError { problems, more: self.more.get() })
    }
}

/// Returns text from a file as it may stand in a message: short, on one line, and without characters
/// that would move the cursor of a terminal.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut quoted = printable(text);
    if let Some((end, _)) = quoted.char_indices().nth(SHOWN) {
        quoted.truncate(end);
        quoted.push('…');
    }
    format!("`{quoted}`")
}

fn printable(text: &str) -> String {
    let mut printable = String::new();
    for c in text.chars().take(4 * SHOWN) {
        if c.is_control() {
            let _ = write!(printable, "{}", c.escape_default());
        } else {
            printable.push(c);
        }
    }
    printable
}

fn excerpt(line: &str, location: Location) -> Excerpt {
    let column = location.column.saturating_sub(1) as usize;
    // A long line is shown from a little before the problem.
    let skipped = if column + 20 > SHOWN { column.saturating_sub(SHOWN / 2) } else { 0 };
    let shown: Vec<char> = line.chars().skip(skipped).take(SHOWN).collect();
    // One column for each character, whatever it is.
    let shown: String = shown.iter().map(|c| if c.is_control() { ' ' } else { *c }).collect();
    let before = column - skipped;
    let marked =
        (location.length as usize).min(shown.chars().count().saturating_sub(before)).max(1);
    Excerpt { line: shown.trim_end().to_owned(), before, marked }
}
