//! The line of a program's output that says most about why it failed.

use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;

use super::tail::OutputTail;

/// Bytes at the end of each stream in which the line is looked for.
const MAX_BYTES: u64 = 64 << 10;
/// The longest line that is told, in characters.
const MAX_CHARS: usize = 200;

/// Lines that say why by their form, whatever else is written.
static TELLING: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    regexes(&[
        // pytest: the line that it marks.
        r"^E\s+\S",
        // A compiler, and what follows its conventions: `main.c:3:5: error: …`.
        r"^\S[^:]*:\d+(:\d+)?:? (fatal )?error\b",
        // rustc, cargo, ld and many others.
        r"^(fatal )?error(\[\w+\])?: ",
        r"\bundefined reference to\b",
        // assert(3): `a.out: main.c:3: main: Assertion `x' failed.`
        r"\b[Aa]ssertion .*\bfailed\b",
        // A sanitizer, and the JavaScript, Java and Go that end by an exception.
        r"^==\d+==\s*ERROR: |\bruntime error: ",
        r"^(Exception in thread|Uncaught |panic: |fatal error: |--- FAIL: )",
        r"^(\w+\.)*\w*(Error|Exception)( \[\w+\])?: ",
        // TAP, but for what is marked as to do.
        r"^not ok\b",
    ])
});
/// Lines that say why more often than others.
static LIKELY: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    regexes(&[r"(?i)\b(error|fail(ed|ure)?|fatal|exception|assert(ion)?|panic(ked)?)\b"])
});
/// What looks like those, and is not: a count of nothing, what TAP expects, and make's echo of another program's end.
static NOT_TELLING: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    regexes(&[
        r"(?i)\b(0|no|without) (error|fail|exception)",
        r"(?i)\b(errors?|fail(ed|ures?)?)\s*[:=]\s*0\b",
        r"(?i)^not ok\b.*# *(todo|skip)",
        r"^make(\[\d+\])?: \*\*\* ",
        r"^error: aborting due to",
    ])
});

/// Returns the line in the output of a program that failed which says most about why: an assertion, a panic, the error
/// of a compiler, the last line of a traceback, a test of TAP that is not well. Where there is none, the last line of
/// the error stream, or else of the output.
///
/// `None` where nothing was written, or nothing can be read.
pub(crate) fn telling_line(stdout: Option<&Path>, stderr: Option<&Path>) -> Option<String> {
    let read = |path: Option<&Path>| Some(OutputTail::read(path?, MAX_BYTES)?.text);
    let texts: Vec<String> = [read(stderr), read(stdout)].into_iter().flatten().collect();
    let line = of_texts(&texts.iter().map(String::as_str).collect::<Vec<_>>())?;
    let line = memsample_input::printable(&line.replace('\t', " "));
    let mut told: String = line.chars().take(MAX_CHARS).collect();
    if line.chars().nth(MAX_CHARS).is_some() {
        told.push('…');
    }
    Some(told)
}

/// The same for the texts of streams, the one to trust more first.
fn of_texts(texts: &[&str]) -> Option<String> {
    let first = |find: fn(&str) -> Option<String>| texts.iter().find_map(|text| find(text));
    let last = |text: &str| Some(text.lines().rfind(|line| !line.trim().is_empty())?.trim().into());
    first(panic)
        .or_else(|| first(traceback))
        .or_else(|| first(telling))
        .or_else(|| first(likely))
        .or_else(|| first(last))
}

/// The message of a panic in Rust: `panicked at src/main.rs:3:5: …`, of which newer versions write two lines.
fn panic(text: &str) -> Option<String> {
    let mut lines = text.lines();
    let first =
        lines.find(|line| line.starts_with("thread '") && line.contains(" panicked at "))?;
    let (_, panicked) = first.split_once(" panicked at ")?;
    match panicked.strip_suffix(':') {
        Some(place) => {
            let message = lines.next().map(str::trim).unwrap_or_default();
            Some(format!("panicked at {place}: {message}"))
        }
        None => Some(format!("panicked at {panicked}")),
    }
}

/// The last line of a traceback of Python: `ValueError: …`. Of several the last, which is the one that was not caught.
fn traceback(text: &str) -> Option<String> {
    let (_, behind) = text.rsplit_once("Traceback (most recent call last):\n")?;
    let is_frame = |line: &&str| line.starts_with([' ', '\t', '|', '+']) || line.trim().is_empty();
    behind.lines().find(|line| !is_frame(line)).map(|line| line.trim().to_owned())
}

fn telling(text: &str) -> Option<String> {
    let line = matching(text, &TELLING)?;
    // pytest's mark says nothing by itself.
    let marked = line.strip_prefix("E ").map_or(line, str::trim_start);
    Some(marked.trim().to_owned())
}

fn likely(text: &str) -> Option<String> {
    matching(text, &LIKELY).map(|line| line.trim().to_owned())
}

fn matching<'a>(text: &'a str, patterns: &[Regex]) -> Option<&'a str> {
    let is_any = |line: &str, patterns: &[Regex]| patterns.iter().any(|it| it.is_match(line));
    text.lines().find(|line| is_any(line, patterns) && !is_any(line, &NOT_TELLING))
}

fn regexes(patterns: &[&str]) -> Vec<Regex> {
    patterns.iter().filter_map(|pattern| Regex::new(pattern).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each program wrote is as it wrote it: `stderr`, `stdout`, and the line that says why.
    #[test]
    fn the_line_that_says_why_is_found() {
        let cases = [
            (
                "thread 'main' panicked at src/main.rs:2:5:\nassertion `left == right` failed\n  left: 1\n right: 2\nnote: run with `RUST_BACKTRACE=1`\n",
                "",
                "panicked at src/main.rs:2:5: assertion `left == right` failed",
            ),
            (
                "thread 'main' (77) panicked at 'old', src/main.rs:2:5\n",
                "",
                "panicked at 'old', src/main.rs:2:5",
            ),
            (
                "Traceback (most recent call last):\n  File \"<string>\", line 1, in <module>\nZeroDivisionError: division by zero\n",
                "about to divide\n",
                "ZeroDivisionError: division by zero",
            ),
            (
                "Traceback (most recent call last):\n  File \"a\", line 1\nKeyError: 'x'\n\nDuring handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n  File \"a\", line 2\n    f(\n     ~^^\nRuntimeError\n",
                "",
                "RuntimeError",
            ),
            (
                "main.c: In function 'main':\nmain.c:3:5: warning: unused\nmain.c:4:9: error: expected ';' before 'return'\nmake: *** [Makefile:2: all] Error 1\n",
                "cc main.c\n",
                "main.c:4:9: error: expected ';' before 'return'",
            ),
            (
                "cc1: fatal error: main.c: No such file\n",
                "",
                "cc1: fatal error: main.c: No such file",
            ),
            (
                "warning: x\nerror[E0308]: mismatched types\n --> src/lib.rs:1:2\nerror: aborting due to 1 previous error\n",
                "",
                "error[E0308]: mismatched types",
            ),
            (
                "t: t.c:3: main: Assertion `1 == 2' failed.\n",
                "",
                "t: t.c:3: main: Assertion `1 == 2' failed.",
            ),
            (
                "==9==ERROR: AddressSanitizer: heap-use-after-free on address 0x1\n    #0 main\n",
                "",
                "==9==ERROR: AddressSanitizer: heap-use-after-free on address 0x1",
            ),
            ("", "1..3\nok 1 - a\nnot ok 2 - later # TODO\nnot ok 3 - b\n", "not ok 3 - b"),
            (
                "",
                "def test_a():\n>       assert 1 == 2\nE       assert 1 == 2\n\ntest_a.py:2: AssertionError\n",
                "assert 1 == 2",
            ),
            (
                "",
                "=== RUN TestA\n    a_test.go:5: got 1\n--- FAIL: TestA (0.00s)\nFAIL\n",
                "--- FAIL: TestA (0.00s)",
            ),
            (
                "0 errors, no failures\nconnection failed: refused\nbye\n",
                "",
                "connection failed: refused",
            ),
            ("sh: 1: nothing: not found\n", "starting\n", "sh: 1: nothing: not found"),
            ("\n \n", "one\ntwo\n\n", "two"),
        ];
        for (stderr, stdout, expected) in cases {
            let texts = [stderr, stdout].map(|text| text);
            assert_eq!(of_texts(&texts).as_deref(), Some(expected), "{stderr}{stdout}");
        }
        assert_eq!(of_texts(&["", "\n"]), None);
    }

    #[test]
    fn every_pattern_is_one() {
        assert_eq!((TELLING.len(), LIKELY.len(), NOT_TELLING.len()), (9, 1, 5));
    }
}
