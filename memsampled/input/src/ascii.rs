//! Text for a terminal that shows nothing but ASCII.

use unicode_width::UnicodeWidthChar;

/// Returns a text in ASCII that takes the same columns: the signs of tables have one that is like them, and what has
/// none is `?`.
#[must_use]
pub fn ascii(text: &str) -> String {
    let mut ascii = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            char if char.is_ascii() => ascii.push(char),
            '≥' => ascii.push('>'),
            '…' => ascii.push('~'),
            // What joins the character before it takes no column of its own.
            char => ascii.extend(std::iter::repeat_n('?', char.width().unwrap_or(1))),
        }
    }
    ascii
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr;

    use super::*;

    #[test]
    fn every_text_keeps_its_columns() {
        for (text, shown) in [
            ("plain\t\u{1b}[1m\n", "plain\t\u{1b}[1m\n"),
            ("≥1.0 MiB  a…b", ">1.0 MiB  a~b"),
            ("日本 ö e\u{301}", "???? ? e"),
        ] {
            assert_eq!(ascii(text), shown);
            assert_eq!(ascii(text).width(), text.width());
        }
    }
}
