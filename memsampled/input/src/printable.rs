//! Text that is safe to print on a terminal.

/// Returns text in which nothing moves the cursor or changes colours: a name of a process or of a test may hold
/// anything. Quotes and backslashes stay as they are.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\'' | '"' | '\\' => printable.push(char),
            char => printable.extend(char.escape_debug()),
        }
    }
    printable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_the_cursor_is_escaped_and_quotes_are_not() {
        assert_eq!(printable("a\u{1b}[31m\r\nb\u{202e}"), "a\\u{1b}[31m\\r\\nb\\u{202e}");
        assert_eq!(printable("it's \"ö\" \\ 日本"), "it's \"ö\" \\ 日本");
    }
}
