//! Long commands and lines as a person reads them.

use memsample_input::cut;
use unicode_width::UnicodeWidthStr;

/// What the sign before a size means.
pub(crate) const AT_LEAST: &str = "≥: at least; no upper bound is known";

/// Cuts a command, of which the name of the program says more than the directory that it is in.
pub(crate) fn cut_command(command: &str, columns: usize) -> String {
    let program = command.split(' ').next().unwrap_or_default();
    match program.rsplit_once('/') {
        Some((directory, _)) if command.width() > columns && !directory.is_empty() => {
            cut(&format!("…{}", command.get(directory.len()..).unwrap_or_default()), columns)
        }
        _ => cut(command, columns),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_command_the_program_is_kept() {
        assert_eq!(cut_command("/usr/bin/rustc --crate-name a", 20), "…/rustc --crate-nam…");
        assert_eq!(cut_command("/bin/a b", 20), "/bin/a b");
        assert_eq!(cut_command("python3 /a/b/c/d/e", 10), "python3 /…");
    }
}
