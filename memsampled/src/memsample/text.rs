//! Counts and long names as a person reads them.

/// Formats a count and the singular or plural of a thing: `2 ticks`, `1 process`, `0 processes`.
pub(crate) fn count(count: u64, thing: &str) -> String {
    let plural = match (count, thing.ends_with('s')) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{count} {thing}{plural}")
}

/// Cuts a text that has more than `chars` characters, and marks the cut with `…`, which counts as one.
pub(crate) fn cut(text: &str, chars: usize) -> String {
    if text.chars().count() <= chars {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(chars.saturating_sub(1)).collect();
    cut.push('…');
    cut
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
    }
}
