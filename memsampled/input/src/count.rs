//! Counts of things.

/// Formats a count and the singular or plural of a thing: `2 ticks`, `1 process`, `0 processes`.
#[must_use]
pub fn count(count: u64, thing: &str) -> String {
    let plural = match (count, thing.ends_with('s')) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{count} {thing}{plural}")
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn a_thing_has_a_plural() {
        let counts = [count(0, "tick"), count(1, "tick"), count(2, "process"), count(1, "process")];
        assert_eq!(counts, ["0 ticks", "1 tick", "2 processes", "1 process"]);
    }
}
