//! `memsample cut` and `memsample anonymize`, of recordings and runs whose names and memory are known.

use std::fs;
use std::path::Path;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use jiff::{SignedDuration, Timestamp};
use memsample::schema::{ColumnKind, result_tables, tables};
use memsample::{Recording, read_test_table};
use tempfile::tempdir;

use crate::command::{Running, memsample, wait_for, wait_for_tick};
use crate::report_outputs::check_junit;

/// What stands in every place that a test controls.
const CANARY: &str = "canary";

/// A test that holds 60 MiB for some ticks and nothing of it afterwards, in a program, a directory and arguments with the
/// canary.
const SUITE: &str = r#"
name = "canary-suite"
[[test]]
name = "canary-test"
tags = ["canary-tag"]
cwd = "canary-directory"
command = ["./canary-program", "-S", "-c", '''
import os, time
def stay(name):
    open(name, "w").close()
    while not os.path.exists(name + "-sampled"): time.sleep(.01)
canary = bytearray(60 << 20)
stay("held")
del canary
stay("freed")
raise SystemExit("canary of the output")
''', "--canary=/home/canary/canary"]
[[test]]
name = "other"
shell = "sleep 0.5"
"#;

/// Runs the suite with `program`, which tells its processes from those of another test on the same machine. Returns two
/// ticks, three intervals apart at least, from when all was freed.
fn run(directory: &Path, program: &str) -> (Timestamp, Timestamp) {
    let place = directory.join("canary-directory");
    fs::create_dir(&place).unwrap();
    fs::copy("/usr/bin/python3", place.join(program)).unwrap();
    fs::write(directory.join("suite.toml"), SUITE.replace("canary-program", program)).unwrap();
    let arguments = ["run", "suite.toml", "--name", "canary-run", "--label", "canary=canary"];
    let running = Running::start(directory, &arguments);
    let recording = directory.join("runs/canary-run/recording");
    let is_there = |name: &str| place.join(name).exists().then_some(());
    wait_for("what it holds", || is_there("held"));
    wait_for_tick(&recording);
    fs::write(place.join("held-sampled"), "").unwrap();
    wait_for("what it frees", || is_there("freed"));
    let from = wait_for_tick(&recording);
    let to = wait_for("a later tick", || {
        let tick = wait_for_tick(&recording);
        (tick.duration_since(from) >= SignedDuration::from_millis(300)).then_some(tick)
    });
    fs::write(place.join("freed-sampled"), "").unwrap();
    let ended = running.wait();
    assert_eq!(ended.code, Some(10), "{}", ended.stderr);
    (from, to)
}

/// Returns the texts of a batch.
fn texts(batch: &RecordBatch, texts: &mut Vec<String>) {
    for column in batch.columns() {
        let Some(column) = column.as_string_opt::<i32>() else { continue };
        texts.extend(column.iter().flatten().map(str::to_owned));
    }
}

/// Returns every text of the tables and JSON files of a run.
fn all_texts(run: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let (recording, _) = Recording::open(&run.join("recording")).unwrap();
    for table in tables() {
        let names: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
        for batch in recording.read_table(table.name, &names) {
            texts(&batch.unwrap(), &mut found);
        }
    }
    for table in result_tables() {
        let names = table.columns.iter().filter(|column| column.kind == ColumnKind::Text);
        let names: Vec<&str> = names.map(|column| column.name).collect();
        for batch in read_test_table(run, table.name, &names).unwrap() {
            texts(&batch.unwrap(), &mut found);
        }
    }
    for file in ["results.json", "junit.xml", "recording/recording.json"] {
        found.push(fs::read_to_string(run.join(file)).unwrap());
    }
    found
}

/// Slow: four seconds.
#[test]
fn slow_no_name_is_left_in_an_anonymous_run() {
    let directory = tempdir().unwrap();
    let at = directory.path();
    run(at, "canary-program");
    let before = all_texts(&at.join("runs/canary-run"));
    assert!(before.iter().filter(|text| text.contains(CANARY)).count() > 20);
    fs::write(at.join("key"), "0123456789abcdef").unwrap();
    for out in ["one", "two"] {
        let arguments = ["anonymize", "canary-run", "--key-file", "key", "--out", out];
        let ended = memsample(at, &arguments);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        for text in all_texts(&at.join(out)) {
            assert!(!text.to_lowercase().contains(CANARY), "{text}");
        }
        // Whatever else is in the directory.
        for entry in walkdir::WalkDir::new(at.join(out)) {
            let path = entry.unwrap().into_path();
            assert!(!path.strip_prefix(at).unwrap().to_str().unwrap().contains(CANARY));
            if path.is_file() {
                let bytes = fs::read(&path).unwrap();
                assert!(!bytes.windows(CANARY.len()).any(|it| it == CANARY.as_bytes()), "{path:?}");
            }
        }
    }
    let file = |run: &str, file: &str| fs::read(at.join(run).join(file)).unwrap();
    let results = |run: &str| file(run, "results.json");
    assert_eq!(results("one"), results("two"), "the same key gives the same pseudonyms");
    // A CI server reads the same of it as of the run, but for names and words.
    let counted = |run: &str| {
        let xml = file(run, "junit.xml");
        check_junit(&xml).unwrap();
        let xml = String::from_utf8(xml).unwrap();
        let document = roxmltree::Document::parse(&xml).unwrap();
        let suite = document.descendants().find(|it| it.has_tag_name("testsuite")).unwrap();
        let counts = ["tests", "failures", "errors", "skipped", "time"];
        let counts = counts.map(|name| suite.attribute(name).unwrap().to_owned());
        let cases = suite.children().filter(|it| it.has_tag_name("testcase"));
        let ends = cases.map(|case| case.children().find_map(|it| it.attribute("type")));
        (counts, ends.map(|end| end.map(str::to_owned)).collect::<Vec<_>>())
    };
    let counts = counted("runs/canary-run");
    assert_eq!(counts.1, [Some("failed".to_owned()), None]);
    assert_eq!(counted("one"), counts);
    for command in ["report", "peaks", "leaks", "explain"] {
        let text =
            if command == "report" { &["report", "one", "--text"][..] } else { &[command, "one"] };
        let ended = memsample(at, text);
        assert_eq!(ended.code, Some(0), "{command}: {}", ended.stderr);
        assert!(!ended.stdout.contains(CANARY), "{}", ended.stdout);
    }
    let random = memsample(at, &["anonymize", "canary-run", "--keep-tests", "--out", "three"]);
    assert_eq!(random.code, Some(0), "{}", random.stderr);
    let kept = String::from_utf8(results("three")).unwrap();
    assert!(kept.contains("\"canary-test\"") && !kept.contains("canary-program"));
}

/// Slow: four seconds.
#[test]
fn slow_a_peak_before_the_cut_is_none_of_the_cut() {
    let directory = tempdir().unwrap();
    let at = directory.path();
    let (from, to) = run(at, "held-program");
    let cut = |arguments: &[&str]| memsample(at, &[&["cut", "canary-run"], arguments].concat());
    let peak = |name: &str| {
        let ended = memsample(at, &["peaks", name, "--top", "1000", "--json"]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended.stdout
    };
    let whole = cut(&["--test", "canary-test", "--out", "whole"]);
    assert_eq!(whole.code, Some(0), "{}", whole.stderr);
    assert!(peak("whole").contains("held-program"));
    let (from, to) = (from.to_string(), to.to_string());
    let later = cut(&["--from", &from, "--to", &to, "--out", "later"]);
    assert_eq!(later.code, Some(0), "{}", later.stderr);
    assert!(later.stdout.contains("only a part of these tests is in the cut: canary-test"));
    let (recording, _) = Recording::open(&at.join("later")).unwrap();
    let mut found = 0;
    let peaks =
        memsample::analysis::process_peaks(&recording, 1000, |comm, _| comm == "held-program");
    for peak in peaks.unwrap() {
        found += 1;
        assert!(peak.lower.unwrap().bytes < 50 << 20, "{peak:?}");
        assert_eq!(peak.upper, None, "{peak:?}");
    }
    assert_eq!(found, 1);
    for arguments in [
        &["summary", "later"][..],
        &["view", "later", "--at", "0.2s"],
        &["report", "later", "--text"],
        &["explain", "later"],
        &["leaks", "later"],
        &["peaks", "later", "--by", "test"],
        &["export", "later", "--to", "csv"],
    ] {
        let ended = memsample(at, arguments);
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.stderr);
    }
    for (arguments, code, message) in [
        (&["--from", "1s", "--out", "later"][..], 1, "`later` exists"),
        (&["--from", "200ms", "--to", "100ms", "--out", "x"], 1, "ends before it begins"),
        (&["--from", "100s", "--out", "x"], 1, "the last tick of the recording is at"),
        (
            &["--to", "2001-01-01T00:00:00Z", "--out", "x"],
            1,
            "the first tick of the recording is at",
        ),
        (&["--from", "mark:nothing", "--out", "x"], 1, "no mark `nothing`"),
        (&["--test", "nothing", "--out", "x"], 1, "there are canary-test, other"),
        (&["--from", "12", "--out", "x"], 2, "a unit is missing"),
        (&["--out", "x"], 2, "no span is given"),
    ] {
        let refused = cut(arguments);
        assert_eq!(refused.code, Some(code), "{arguments:?}: {}", refused.stderr);
        assert!(refused.stderr.contains(message), "{arguments:?}: {}", refused.stderr);
        assert!(!at.join("x").exists());
    }
}
