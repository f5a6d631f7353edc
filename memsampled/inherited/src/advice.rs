//! What to do about an error that comes from an inherited limit.

use rustix::io::Errno;

/// Returns what to do about an error, if its text says that it comes from a limit that who started this program has set:
/// the standard library writes `(os error 24)`, whatever error it becomes a part of.
///
/// Nothing, if the text has the advice already: a daemon gives it about its own limit, of which this program knows
/// nothing.
#[must_use]
pub fn advice(error: &str) -> Option<&'static str> {
    let is_of = |errno: Errno| error.contains(&format!("(os error {})", errno.raw_os_error()));
    let limits = [
        (Errno::MFILE, "raise the limit of open files with `ulimit -n`"),
        (Errno::FBIG, "raise the limit of the file size with `ulimit -f`"),
        (
            Errno::AGAIN,
            "there can be no other process or thread: see `ulimit -u`, `pids.max` and `ulimit -v`",
        ),
    ];
    limits
        .into_iter()
        .find_map(|(errno, advice)| is_of(errno).then_some(advice))
        .filter(|advice| !error.contains(advice))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn only_a_limit_has_advice() {
        let advice_on = |errno: Errno| advice(&format!("no: {}", io::Error::from(errno)));
        assert!(advice_on(Errno::MFILE).is_some_and(|it| it.contains("ulimit -n")));
        assert!(advice_on(Errno::FBIG).is_some_and(|it| it.contains("ulimit -f")));
        assert_eq!(advice_on(Errno::NOENT), None);
        let told = format!(
            "it failed: {}; {}",
            io::Error::from(Errno::FBIG),
            advice_on(Errno::FBIG).unwrap()
        );
        assert_eq!(advice(&told), None);
    }
}
