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
