//! Reports of recordings and runs that are whole, damaged, empty or hostile.

use std::fs;
use std::path::Path;

use crate::command::memsample;
use memsample::Recording;
use memsample_report::text::{TextStyle, text};
use memsample_report::{Report, Source, html, markdown};
use tempfile::tempdir;
use unicode_width::UnicodeWidthStr;

/// Makes a recording of a command, with a mark whose name is markup.
fn record(directory: &Path, name: &str) {
    let line = "sleep .3; head -c 30m /dev/zero | tail -c 30m | wc -c";
    let command = ["record", "--name", name, "--interval", "20ms", "--", "sh", "-c", line];
    let ended = memsample(directory, &command);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

fn report_of(path: &Path, name: String) -> Report {
    let (recording, _) = Recording::open(path).unwrap();
    let recordings = vec![(name.clone(), recording)];
    Report::new(Source { name, results: None, recordings, notes: Vec::new() }).unwrap()
}

#[test]
fn a_recorded_command_is_reported_in_all_forms() {
    let directory = tempdir().unwrap();
    let path = directory.path();
    record(path, "build");
    let ended = memsample(path, &["report", "build", "-o", "out.html"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "out.html\n"), "{}", ended.stderr);
    let page = fs::read_to_string(path.join("out.html")).unwrap();
    for shown in ["id=\"machine-0\"", "id=\"test=command\"", "All processes together", "</html>"] {
        assert!(page.contains(shown), "{shown}");
    }
    // What is in the directory of a run would be found there; of a recording it is here.
    assert_eq!(memsample(path, &["report", "recordings/latest"]).code, Some(0));
    assert!(path.join("report.html").exists());
    let ended = memsample(path, &["report", "--text"]);
    assert!(ended.stdout.contains("all processes together: peak RSS "), "{}", ended.stdout);
    let ended = memsample(path, &["report", "@latest", "--markdown"]);
    assert!(ended.stdout.contains("**The machine**"), "{}", ended.stdout);
}

#[test]
fn text_fits_terminals_of_any_width() {
    let directory = tempdir().unwrap();
    record(directory.path(), "narrow");
    let report = report_of(&directory.path().join("recordings/latest"), "日本語".repeat(40));
    for width in [1, 20, 39, 60, 80, 200] {
        for ascii in [false, true] {
            let text = text(&report, TextStyle { width, ascii });
            assert!(!ascii || text.is_ascii());
            let widest = text.lines().map(UnicodeWidthStr::width).max().unwrap();
            // A word is not broken, but tables and curves are within the width.
            assert!(widest <= width.max(48), "{width}: {widest}\n{text}");
        }
    }
}

#[test]
fn why_there_is_no_upper_bound_is_said_in_the_same_words_in_all_forms() {
    let directory = tempdir().unwrap();
    record(directory.path(), "bounds");
    let mut report = report_of(&directory.path().join("recordings/latest"), "bounds".into());
    for (bytes, said) in [
        (Some(0), "one was never sampled, and `cc1` followed it"),
        (Some(3 << 20), "the largest is `cc1`, which had at least 3.0 MiB"),
    ] {
        let memory = report.tests[0].memory.as_mut().unwrap();
        (memory.rss_peak_bytes_upper, memory.unbounded_images) = (None, 2);
        memory.unbounded_image = Some("cc1".to_owned());
        memory.unbounded_image_bytes = bytes;
        let memory = report.tests[0].memory.clone();
        report.tests[0].attempts[0].memory = memory;
        let text = text(&report, TextStyle { width: 500, ascii: false });
        for shown in [html::html(&report), markdown::markdown(&report).replace('\\', ""), text] {
            assert!(shown.contains(said) && shown.contains("≥: "), "{said}: {shown}");
            assert!(!shown.contains("largest known"), "{shown}");
        }
    }
}

#[test]
fn hostile_names_are_text() {
    let directory = tempdir().unwrap();
    record(directory.path(), "hostile");
    let mut report = report_of(&directory.path().join("recordings/latest"), "<b>\u{1b}[31m".into());
    let hostile = format!(
        "</script><script>alert(1)</script>--><noscript>\u{0}\u{202e}{}",
        "x".repeat(10_000)
    );
    report.tests.iter_mut().for_each(|test| test.name.clone_from(&hostile));
    for part in &mut report.parts {
        part.timeline.layers.iter_mut().for_each(|layer| layer.name.clone_from(&hostile));
        part.timeline.processes.iter_mut().for_each(|it| it.process.role.clone_from(&hostile));
        part.marks.spans.iter_mut().for_each(|span| span.test.clone_from(&hostile));
    }
    let page = html::html(&report);
    // Two scripts with data and two that run, and the two comments around styles and scripts.
    for (mark, count) in [("<script", 4), ("</script>", 4), ("-->", 2), ("<noscript>", 4)] {
        assert_eq!(page.matches(mark).count(), count, "{mark}");
    }
    assert!(
        !page.contains(['\u{0}', '\u{1b}', '\u{202e}']) && page.len() < 400_000,
        "{}",
        page.len()
    );
    let markdown = markdown::markdown(&report);
    assert!(!markdown.contains("<script") && markdown.len() < 60_000);
}

#[test]
fn what_cannot_be_reported_says_why_and_leaves_nothing() {
    let directory = tempdir().unwrap();
    let path = directory.path();
    record(path, "whole");
    let link = path.join("recordings").join("latest");
    let whole = fs::canonicalize(link).unwrap();
    let copy = |name: &str, table: &str, bytes: &[u8]| {
        let to = path.join(name);
        fs::create_dir(&to).unwrap();
        for entry in fs::read_dir(&whole).unwrap().flatten().filter(|it| it.path().is_file()) {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
        fs::write(to.join(table), bytes).unwrap();
    };
    let samples = fs::read(whole.join("samples.parquet")).unwrap();
    copy("cut", "samples.parquet", &samples[..samples.len() / 2]);
    copy("text", "processes.parquet", b"this is no table");
    fs::create_dir(path.join("empty")).unwrap();
    fs::create_dir_all(path.join("newer")).unwrap();
    fs::write(path.join("newer/results.json"), "{\"format_version\": 99}").unwrap();
    for (named, message) in [
        ("cut", "samples.parquet` is damaged"),
        ("text", "processes.parquet` is damaged"),
        ("empty", "`empty` is not a recording"),
        ("absent", "`absent` is not a recording"),
        ("newer", "use a newer memsample"),
    ] {
        let ended = memsample(path, &["report", named, "-o", "out.html"]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{named}");
        assert!(ended.stderr.contains(message), "{named}: {}", ended.stderr);
        assert!(!path.join("out.html").exists());
    }
    for (file, message) in
        [("empty", "it is a directory"), ("absent/x.html", "cannot write the report")]
    {
        let ended = memsample(path, &["report", "whole", "-o", file]);
        assert_eq!(ended.code, Some(1), "{file}");
        assert!(ended.stderr.contains(message), "{file}: {}", ended.stderr);
    }
    // Without its table of samples it would seem that nothing was sampled.
    fs::remove_file(path.join("cut/samples.parquet")).unwrap();
    let ended = memsample(path, &["report", "cut", "-o", "none.html"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("its file `samples.parquet` is missing"), "{}", ended.stderr);
    assert!(!path.join("none.html").exists());
    // Where nothing was sampled, there is none, and the report says so.
    let manifest = path.join("cut/recording.json");
    let text = fs::read_to_string(&manifest).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json["totals"]["samples"] = 0.into();
    fs::write(&manifest, json.to_string()).unwrap();
    let ended = memsample(path, &["report", "cut", "-o", "none.html"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(fs::read_to_string(path.join("none.html")).unwrap().contains("Nothing was sampled"));
}

#[test]
fn a_run_whose_recording_is_damaged_is_reported_from_its_results() {
    let directory = tempdir().unwrap();
    let path = directory.path();
    let suite =
        "name = \"short\"\n[[test]]\nname = \"one\"\nsandbox = \"none\"\nshell = \"sleep .3\"\n";
    fs::write(path.join("suite.toml"), suite).unwrap();
    let ended = memsample(path, &["run", "suite.toml", "--name", "short", "--report"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(fs::read_to_string(path.join("runs/short/report.html")).unwrap().contains("✓ passed"));
    fs::write(path.join("runs/short/recording/samples.parquet"), "nothing").unwrap();
    let ended = memsample(path, &["report", "runs/short", "--text"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.stdout.contains("passed") && ended.stdout.contains("cannot be read"),
        "{}",
        ended.stdout
    );
    // A run that has not ended has no results yet.
    record(path, "of-run");
    fs::remove_file(path.join("runs/short/results.json")).unwrap();
    fs::remove_dir_all(path.join("runs/short/recording")).unwrap();
    let latest = fs::canonicalize(path.join("recordings/latest")).unwrap();
    fs::rename(latest, path.join("runs/short/recording")).unwrap();
    let ended = memsample(path, &["report", "runs/short", "--text"]);
    assert!(ended.stdout.contains("the run has no results.json"), "{}", ended.stdout);
}
