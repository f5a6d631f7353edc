//! Text that fits into so many columns of a terminal.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Cuts a text that takes more than `columns` of a terminal, and marks the cut with `…`, which counts as one.
#[must_use]
pub fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut cut = first(text.chars(), columns.saturating_sub(1));
    cut.push('…');
    cut
}

/// Returns the first characters of a text that take so many columns at most.
#[must_use]
pub fn clipped(text: &str, columns: usize) -> String {
    first(text.chars(), columns)
}

/// Shortens a name in its middle: what tells it from others is often at its end.
#[must_use]
pub fn shortened(name: &str, columns: usize) -> String {
    if name.width() <= columns {
        return name.to_owned();
    }
    let kept = columns.saturating_sub(1);
    format!("{}…{}", first(name.chars(), kept / 2), last(name, kept - kept / 2))
}

/// Returns the last characters of a text that take so many columns at most.
#[must_use]
pub fn last(text: &str, columns: usize) -> String {
    let end = first(text.chars().rev(), columns);
    end.chars().rev().collect()
}

/// Folds the lines of a text between their words, so that none takes more than `width` columns, but for a word that does.
/// What follows is indented as its line is, and by two more. Without a width the text is as it was.
#[must_use]
pub fn folded(text: &str, width: Option<usize>) -> String {
    let Some(width) = width else { return text.to_owned() };
    let mut folded = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let indent = line.len() - line.trim_start_matches(' ').len() + 2;
        let (mut used, mut has_word) = (0, false);
        for word in line.split_inclusive(' ') {
            let bare = word.trim_end();
            if has_word && used + bare.width() > width {
                folded.truncate(folded.trim_end_matches(' ').len());
                folded.push('\n');
                folded.push_str(&" ".repeat(indent));
                used = indent;
            }
            has_word |= !bare.is_empty();
            folded.push_str(word);
            used += word.trim_end_matches('\n').width();
        }
    }
    folded
}

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
    fn lines_are_folded_between_words() {
        let text = "\none two three\nfour\n";
        assert_eq!(folded(text, Some(9)), "\none two\n  three\nfour\n");
        assert_eq!(folded(text, None), text);
        assert_eq!(folded("  one two three", Some(10)), "  one two\n    three");
        assert_eq!(folded("\nnot seen:", Some(5)), "\nnot\n  seen:");
        assert_eq!(folded("a verylongword b", Some(4)), "a\n  verylongword\n  b");
    }

    #[test]
    fn a_cut_text_fits() {
        assert_eq!((cut("abc", 3), cut("äbcd", 3)), ("abc".to_owned(), "äb…".to_owned()));
        assert_eq!(cut("ab", 0), "…");
        assert_eq!((cut("日本語", 5), shortened("abcdef", 4)), ("日本…".into(), "a…ef".into()));
        assert_eq!(
            (clipped("日本語", 5), last("日本語", 5)),
            ("日本".to_owned(), "本語".to_owned())
        );
    }
}
