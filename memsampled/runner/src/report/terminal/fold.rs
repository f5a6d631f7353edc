//! Lines that are folded between words, and names that are shortened.

use unicode_width::UnicodeWidthStr;

/// A line, and what its continuations begin with where it is folded.
pub(super) struct Line {
    pub(super) text: String,
    pub(super) hang: String,
}

impl Line {
    /// Returns a line whose continuations are indented by some columns.
    pub(super) fn hanging(text: String, columns: usize) -> Self {
        Self { text, hang: " ".repeat(columns) }
    }
}

/// Folds a line so that none is wider than `width` columns, but for a word that is: words are never broken.
pub(super) fn fold(line: &Line, width: usize) -> Vec<String> {
    // In a narrow window there would be no room beside it.
    let hang = if columns(&line.hang) * 2 > width { "    " } else { line.hang.as_str() };
    let mut folded = Vec::new();
    let (mut current, mut used, mut has_word) = (String::new(), 0, false);
    for (index, word) in line.text.split(' ').enumerate() {
        let wide = columns(word);
        if has_word && used + 1 + wide > width {
            folded.push(current.trim_end().to_owned());
            (current, used) = (hang.to_owned(), columns(hang));
        } else if index > 0 {
            current.push(' ');
            used += 1;
        }
        current.push_str(word);
        used += wide;
        has_word |= wide > 0 && word != "|";
    }
    folded.push(current);
    folded
}

/// Returns how many columns of a terminal a text takes, without its escape sequences.
pub(super) fn columns(text: &str) -> usize {
    anstream::adapter::strip_str(text).to_string().width()
}

/// Shortens a name in its middle: what tells it from others is often at its end.
pub(super) fn shortened(name: &str, max_columns: usize) -> String {
    if columns(name) <= max_columns {
        return name.to_owned();
    }
    let kept = max_columns.saturating_sub(1);
    let chars: Vec<char> = name.chars().collect();
    let (head, tail) = (kept / 2, kept - kept / 2);
    let first = chars.iter().take(head);
    let last = chars.iter().skip(chars.len().saturating_sub(tail));
    first.chain(&['…']).chain(last).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_kept_whole() {
        let cases = [
            ("a short line", 4, 80, "a short line"),
            ("    one two three", 4, 12, "    one two\n    three"),
            (
                "a/path/that/is/wider/than/the/window is kept",
                2,
                10,
                "a/path/that/is/wider/than/the/window\n  is kept",
            ),
            ("\u{1b}[31mfailed\u{1b}[0m  it was", 8, 13, "\u{1b}[31mfailed\u{1b}[0m  it\n    was"),
            ("日本 日本 日本", 0, 9, "日本 日本\n日本"),
            ("", 4, 80, ""),
        ];
        for (text, hang, width, expected) in cases {
            let folded = fold(&Line::hanging(text.to_owned(), hang), width);
            assert_eq!(folded.join("\n"), expected);
        }
    }
}
