//! Text that is no markup in Markdown.

/// Returns a text as it is in Markdown: nothing in it is a mark, an element, an address, a person or the end of a cell.
#[must_use]
pub fn markdown_escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '@' => escaped.push_str("&#64;"),
            ':' => escaped.push_str("&#58;"),
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '#' | '+' | '!' | '|' | '~' => {
                escaped.push('\\');
                escaped.push(char);
            }
            char => escaped.push(char),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::markdown_escaped;

    #[test]
    fn a_name_is_no_markup() {
        assert_eq!(
            markdown_escaped("<b>|[x](https://a.b) @me `c`"),
            r"&lt;b&gt;\|\[x\](https&#58;//a.b) &#64;me \`c\`"
        );
    }
}
