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

/// Folds a text between its words, so that no line takes more than `width` columns, but for a word that does.
pub(crate) fn folded(text: &str, width: Option<usize>) -> String {
    let Some(width) = width else { return text.to_owned() };
    let mut folded = String::new();
    for line in text.split_inclusive('\n') {
        let mut used = 0;
        for word in line.split_inclusive(' ') {
            let wide = word.trim_end().width();
            if used > 0 && used + wide > width {
                folded.truncate(folded.trim_end_matches(' ').len());
                folded.push_str("\n  ");
                used = 2;
            }
            folded.push_str(word);
            used += word.trim_end_matches('\n').width();
        }
    }
    folded
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

    #[test]
    fn lines_are_folded_between_words() {
        let text = "\none two three\nfour\n";
        assert_eq!(folded(text, Some(9)), "\none two\n  three\nfour\n");
        assert_eq!(folded(text, None), text);
    }
}
