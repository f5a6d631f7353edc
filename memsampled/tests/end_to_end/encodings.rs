//! What people read is ASCII where the locale is not UTF-8, from every command; what programs read stays as it is.

use std::path::Path;

use tempfile::tempdir;

use crate::command::{Ended, shell};

/// A test whose name, program and output have letters of two and three bytes.
const SUITE: &str = r#"
name = "日本"
[defaults]
sandbox = "none"
[[test]]
name = "größte prüfung mit einem namen, der länger als jede spalte einer tabelle ist, 日本語"
shell = "sleep 0.5; : läufer"
[[test]]
name = "fällt"
shell = "echo 'keine Brücke'; sleep 0.3; exit 3"
"#;

/// Runs a command line in the locale C.
fn in_c(directory: &Path, line: &str) -> Ended {
    shell(directory, &format!("LC_ALL=C \"$MEMSAMPLE\" {line}"))
}

#[test]
fn without_utf8_every_text_is_ascii_and_as_wide() {
    let directory = tempdir().unwrap();
    let path = directory.path();
    std::fs::write(path.join("suite.toml"), SUITE).unwrap();
    let recorded = in_c(path, "run suite.toml --repeat 2 --name one");
    assert_eq!(recorded.code, Some(10), "{}", recorded.stderr);
    assert!((recorded.stdout + &recorded.stderr).is_ascii());
    let copied = shell(path, "cp -r runs/one runs/two");
    assert_eq!(copied.code, Some(0), "{}", copied.stderr);
    for line in [
        "run suite.toml --dry-run",
        "run suite.toml --filter 'ö['",
        "run suite.toml 'ö'",
        "record --name short -- sleep 0.2",
        "ls runs recordings",
        "summary one",
        "peaks one",
        "peaks one --by role",
        "peaks one --by test",
        "view one --by role",
        "view --by process --top 5",
        "report runs/one --text",
        "leaks one",
        "leaks one --all",
        "explain runs/one",
        "explain runs/one --test 'fällt'",
        "compare --base runs/one --head runs/two --all",
        "trend runs/one runs/two --all",
        "cut one --to 0.5s --out part-'ö'",
        "anonymize runs/one --keep-tests --out shared-'ö'",
        "doctor",
        "--help",
        "compare --help",
        "peaks absent-'ö'",
        "nothing-'ö'",
    ] {
        let ended = in_c(path, line);
        let shown = ended.stdout.clone() + &ended.stderr;
        assert!(!shown.is_empty() && shown.is_ascii(), "{line}: {shown}");
        assert!(!shown.contains('\u{1b}'), "{line}: {shown}");
    }
    // The same columns: what has no sign of its own takes as many question marks.
    for line in ["peaks one --by test", "compare --base runs/one --head runs/two --all"] {
        let (c, utf8) =
            (in_c(path, line), shell(path, &format!("LC_ALL=C.UTF-8 \"$MEMSAMPLE\" {line}")));
        assert!(!utf8.stdout.is_ascii() && utf8.stdout.contains('ö'), "{line}: {}", utf8.stdout);
        let widths = |text: &str| -> Vec<usize> {
            text.lines().map(unicode_width::UnicodeWidthStr::width).collect()
        };
        assert_eq!(widths(&c.stdout), widths(&utf8.stdout), "{line}:\n{}{}", c.stdout, utf8.stdout);
    }
    // Programs read names as they are.
    for line in [
        "peaks one --by test --json",
        "peaks one --by test --csv",
        "report runs/one --markdown",
        "run suite.toml --list",
        "export runs/one --to bencher",
    ] {
        let ended = in_c(path, line);
        assert_eq!(ended.code, Some(0), "{line}: {}", ended.stderr);
        assert!(
            ended.stdout.contains("größte") || ended.stdout.contains("\\u00f6"),
            "{line}: {}",
            ended.stdout
        );
    }
}
