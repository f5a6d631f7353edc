//! Counts and long names as a person reads them.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Formats a count and the singular or plural of a thing: `2 ticks`, `1 process`, `0 processes`.
pub(crate) fn count(count: u64, thing: &str) -> String {
    let plural = match (count, thing.ends_with('s')) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{count} {thing}{plural}")
}

/// What the sign before a size means.
pub(crate) const AT_LEAST: &str = "≥: at least; no upper bound is known";

/// Cuts a text that takes more than `columns` of a terminal, and marks the cut with `…`, which counts as one.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut cut = first(text.chars(), columns.saturating_sub(1));
    cut.push('…');
    cut
}

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

/// Shortens a name in its middle: what tells it from others is often at its end.
pub(crate) fn shortened(name: &str, columns: usize) -> String {
    if name.width() <= columns {
        return name.to_owned();
    }
    let kept = columns.saturating_sub(1);
    let end = first(name.chars().rev(), kept - kept / 2);
    let end: String = end.chars().rev().collect();
    format!("{}…{end}", first(name.chars(), kept / 2))
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

/// Returns the first characters that take so many columns at most.
fn first(chars: impl Iterator<Item = char>, columns: usize) -> String {
    let mut used = 0;
    let fits = |char: &char| {
        used += char.width().unwrap_or(0);
        used <= columns
    };
    chars.take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_has_a_plural() {
        let counts = [count(0, "tick"), count(1, "tick"), count(2, "process"), count(1, "process")];
        assert_eq!(counts, ["0 ticks", "1 tick", "2 processes", "1 process"]);
    }

    #[test]
    fn a_cut_text_fits() {
        assert_eq!((cut("abc", 3), cut("äbcd", 3)), ("abc".to_owned(), "äb…".to_owned()));
        assert_eq!(cut("ab", 0), "…");
        assert_eq!((cut("日本語", 5), shortened("abcdef", 4)), ("日本…".into(), "a…ef".into()));
    }

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
