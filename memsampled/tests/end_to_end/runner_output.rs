//! What tests write: kept within bounds, and never in their way.

use std::fs;

use crate::running::{options, result, shell};
use memsample_runner::results::{Outcome, TestResult};
use memsample_runner::run::RunOptions;
use tempfile::tempdir;

/// Runs a line and returns its result, standard output and standard error.
#[track_caller]
fn written(line: &str, limit_bytes: u64) -> (TestResult, Vec<u8>, Vec<u8>) {
    let directory = tempdir().unwrap();
    let results = directory.path().join("results");
    let options = RunOptions { output_limit_bytes: limit_bytes, ..options(&results) };
    let result = result(shell("test", line), &options);
    assert_eq!(result.outcome, Outcome::Passed, "{result:#?}");
    let read = |path: &Option<std::path::PathBuf>| {
        let path = results.join(path.as_ref().unwrap());
        // Nothing else is left beside it.
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 2);
        fs::read(path).unwrap()
    };
    let (stdout, stderr) = (read(&result.stdout), read(&result.stderr));
    (result, stdout, stderr)
}

#[test]
fn a_gibibyte_is_cut_to_its_bound() {
    let (result, stdout, stderr) = written("head -c 1073741824 /dev/zero; echo end", 1 << 20);
    assert_eq!(result.output_cut_bytes, (1 << 30) + 4 - (1 << 20));
    let cut =
        format!("\n[memsample: {} bytes of output are cut out here]\n", result.output_cut_bytes);
    assert_eq!(stdout.len(), (1 << 20) + cut.len());
    assert_eq!(&stdout[1 << 19..][..cut.len()], cut.as_bytes());
    assert_eq!(stdout[stdout.len() - 4..], *b"end\n");
    assert!(stderr.is_empty());
}

#[test]
fn the_first_and_the_last_are_kept_in_order() {
    let all: String = (1..=20_000).map(|number| format!("{number}\n")).collect();
    // Around the length itself, where the end goes round, and where it goes round often.
    for limit in
        [100_u64, 1001, 54_321, all.len() as u64 - 1, all.len() as u64, all.len() as u64 + 1]
    {
        let (result, stdout, stderr) = written("seq 1 20000; seq 1 20000 >&2", limit);
        let cut = (all.len() as u64).saturating_sub(limit);
        assert_eq!(result.output_cut_bytes, 2 * cut);
        let expected = if cut == 0 {
            all.clone()
        } else {
            let head = usize::try_from(limit / 2).unwrap();
            let tail = usize::try_from(limit - limit / 2).unwrap();
            let notice = format!("\n[memsample: {cut} bytes of output are cut out here]\n");
            format!("{}{notice}{}", &all[..head], &all[all.len() - tail..])
        };
        assert_eq!(String::from_utf8(stdout).unwrap(), expected, "{limit}");
        assert_eq!(String::from_utf8(stderr).unwrap(), expected, "{limit}");
    }
}

#[test]
fn any_bytes_are_kept_as_they_are() {
    let bytes: Vec<u8> = (0..=255).collect();
    let octal: String = bytes.iter().map(|byte| format!("\\{byte:03o}")).collect();
    let (_, stdout, stderr) = written(&format!("printf '{octal}' | tee /dev/stderr"), 1 << 20);
    assert_eq!((&stdout, &stderr), (&bytes, &bytes));
}

#[test]
fn the_steps_of_a_test_write_to_the_same_files() {
    let directory = tempdir().unwrap();
    let mut test = shell("test", "echo program");
    let step = |line: &str| memsample_runner::suite::Step {
        program: memsample_runner::suite::Program::Shell(line.to_owned()),
        timeout: crate::running::LONG,
    };
    test.setup = vec![step("echo setup")];
    test.cleanup = vec![step("echo cleanup")];
    let results = directory.path().join("results");
    let result = result(test, &options(&results));
    let text = fs::read_to_string(results.join(result.stdout.unwrap())).unwrap();
    assert_eq!(text, "setup\nprogram\ncleanup\n");
}
