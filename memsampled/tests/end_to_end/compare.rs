//! Releases whose memory is known, compared as a user does it.

use std::path::Path;

use crate::command::{Running, memsample, shell, wait_for, wait_for_recorded};
use crate::report_outputs::check_json;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use memsample::Recording;
use serde_json::Value;
use tempfile::tempdir;

/// Two programs; the first holds as many bytes as the file `large` beside the suite says. Each stays until its PSS was read.
const SUITE: &str = r#"
name = "known"
[defaults]
sandbox = "none"
[[test]]
name = "large"
command = ["/usr/bin/python3", "-S", "holds.py", "large"]
[[test]]
name = "small"
command = ["/usr/bin/python3", "-S", "holds.py", "small"]
"#;
const HOLDS: &str = "
import os, sys, time
held = b'x' * int(open(sys.argv[1]).read())
name = f'{os.getpid()}-{len(held)}'
open(name + '.holds', 'w').close()
while not os.path.exists(name + '.read'): time.sleep(.01)
";

/// Returns whether the PSS of a process was read when it held so many bytes.
fn is_read(recording: &Recording, pid: i32, held: i64) -> bool {
    recording.read_table("samples", &["pid", "anon_bytes", "pss_bytes"]).any(|batch| {
        let batch = batch.unwrap();
        let pids = batch["pid"].as_primitive::<Int32Type>().iter();
        let [anon, pss] =
            ["anon_bytes", "pss_bytes"].map(|name| batch[name].as_primitive::<Int64Type>());
        let mut rows = pids.zip(anon).zip(pss);
        rows.any(|((of, anon), pss)| of == Some(pid) && anon.min(pss) >= Some(held))
    })
}

/// Runs each test five times.
#[track_caller]
fn run_five_times(path: &Path, name: &str) {
    let arguments = ["run", "suite.toml", "--repeat", "5", "--name", name];
    let running = Running::start(path, &arguments);
    let recording = path.join("runs").join(name).join("recording");
    for _ in 0..10 {
        let holds = wait_for("an attempt", || {
            let mut files = std::fs::read_dir(path).unwrap().map(|file| file.unwrap().path());
            files.find(|file| file.extension().is_some_and(|it| it == "holds"))
        });
        let (pid, held) = holds.file_stem().and_then(|it| it.to_str()?.split_once('-')).unwrap();
        let (pid, held) = (pid.parse().unwrap(), held.parse().unwrap());
        wait_for_recorded("its PSS", &recording, |recording| {
            is_read(recording, pid, held).then_some(())
        });
        std::fs::rename(&holds, holds.with_extension("read")).unwrap();
    }
    let ended = running.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn slow_a_growth_of_five_percent_is_found_and_none_is_not() {
    let directory = tempdir().unwrap();
    let path = directory.path();
    std::fs::write(path.join("suite.toml"), SUITE).unwrap();
    std::fs::write(path.join("holds.py"), HOLDS).unwrap();
    std::fs::write(path.join("small"), (48_u64 << 20).to_string()).unwrap();
    let base = 96_u64 << 20;
    for (name, bytes) in [("base", base), ("same", base), ("head", base * 105 / 100)] {
        std::fs::write(path.join("large"), bytes.to_string()).unwrap();
        run_five_times(path, name);
    }
    let compared = |head: &str| {
        let ended = memsample(path, &["compare", "--base", "base", "--head", head, "--json"]);
        let verdicts = ended.json()["comparisons"].as_array().unwrap().clone();
        (ended.code, verdicts)
    };
    let verdict = |verdicts: &[Value], test: &str| {
        verdicts.iter().find(|it| it["test"] == test).unwrap()["verdict"].clone()
    };
    let (code, verdicts) = compared("runs/same");
    assert_ne!(code, Some(20), "{verdicts:#?}");
    let (code, verdicts) = compared("runs/hea*");
    assert_eq!(code, Some(20), "{verdicts:#?}");
    assert_eq!(verdict(&verdicts, "large"), "worse", "{verdicts:#?}");
    assert_ne!(verdict(&verdicts, "small"), "worse", "{verdicts:#?}");
    let change = verdicts[0]["change_percent"].as_f64().unwrap();
    assert!((3.5..5.5).contains(&change), "{verdicts:#?}");
    // The other quantities and the roles, and limits above which a growth counts.
    let sides = ["compare", "--base", "base", "--head", "head", "--json", "--roles"];
    for (limit, code) in [("pss_peak > 1MiB", 20), ("peak > 64MiB", 0), ("peak > 20%", 0)] {
        let wanted = ["--fail-on", limit, "--quantity", "anon_peak", "--suspects", "suspects.json"];
        let ended = memsample(path, &[&sides[..], &wanted].concat());
        let comparison = check_json("compare", ended.stdout.as_bytes());
        assert_eq!(ended.code, Some(code), "{limit}: {comparison:#}");
        let compared = comparison["comparisons"].as_array().unwrap();
        assert!(compared.iter().any(|it| it["role"].is_string() && it["verdict"] == "worse"));
        assert!(
            compared.iter().any(|it| it["quantity"] == "anon_peak" && it["verdict"] == "worse")
        );
        check_json("suspects", &std::fs::read(path.join("suspects.json")).unwrap());
    }
}

/// A program that holds 192 MiB, by some percent more or less at each run, which are the same five on both sides. `grown`
/// holds 5 % more on the side `head`. So 5 + 5 repeats of it are suspect, 10 + 10 still are, and 20 + 20 are proof; no
/// two sums are nearer to each other than 0.7 %, which no other part of the program comes up to.
const SWINGING: &str = r#"
import pathlib, sys, time
test = sys.argv[1]
side = pathlib.Path("side").read_text()
counter = pathlib.Path(f"{side}-{test}")
turn = int(counter.read_text()) if counter.exists() else 0
counter.write_text(str(turn + 1))
swing = (-3.6, -2.4, -1.0, 3.2, 5.0)[turn % 5]
growth = 1.05 if (test, side) == ("grown", "head") else 1
held = b"x" * int((192 << 20) * (1 + swing / 100) * growth)
time.sleep(0.15)
"#;

/// Slow: sixty runs of a fifth of a second.
#[test]
fn slow_what_is_suspect_is_decided_by_the_third_look() {
    let directory = tempdir().unwrap();
    let path = directory.path();
    std::fs::write(path.join("program.py"), SWINGING).unwrap();
    let place = path.to_str().unwrap();
    let mut suite = String::from("name = \"swinging\"\n[defaults]\nsandbox = \"none\"\n");
    for test in ["grown", "alike"] {
        suite.push_str(&format!(
            "[[test]]\nname = \"{test}\"\ncwd = \"{place}\"\ncommand = [\"/usr/bin/python3\", \"-S\", \"program.py\", \"{test}\"]\n"
        ));
    }
    std::fs::write(path.join("suite.toml"), suite).unwrap();
    // Returns the tests that were run, each with the number of its attempts.
    let run = |side: &str, name: &str, how: &[&str]| {
        std::fs::write(path.join("side"), side).unwrap();
        let ended = memsample(path, &[&["run", "suite.toml", "--name", name], how].concat());
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let results = std::fs::read(path.join("runs").join(name).join("results.json")).unwrap();
        let results: Value = serde_json::from_slice(&results).unwrap();
        let tests = results["tests"].as_array().unwrap().iter();
        let ran = tests.filter(|test| test["outcome"] == "passed");
        ran.map(|test| {
            let attempts = test["attempts"].as_array().unwrap().len();
            (test["name"].as_str().unwrap().to_owned(), attempts)
        })
        .collect::<Vec<_>>()
    };
    // Compares runs, each named by its look; returns the code, and the verdict of both tests.
    let look = |base: &[&str], head: &[&str]| {
        let sides = [&["compare", "--base"], base, &["--head"], head].concat();
        let ended =
            memsample(path, &[&sides[..], &["--suspects", "suspects.json", "--json"]].concat());
        let comparison = check_json("compare", ended.stdout.as_bytes());
        let of = |test: &str| {
            let all = comparison["comparisons"].as_array().unwrap();
            all.iter().find(|it| it["test"] == test).unwrap()["verdict"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        (ended.code, of("grown"), of("alike"))
    };
    // Returns the suspects of the last comparison, with the repeats that both sides need.
    let suspects = || {
        let suspects = check_json("suspects", &std::fs::read(path.join("suspects.json")).unwrap());
        let tests = suspects["tests"].as_array().unwrap().iter();
        tests
            .map(|it| (it["test"].as_str().unwrap().to_owned(), it["repeats"].as_u64().unwrap()))
            .collect::<Vec<_>>()
    };
    for (side, name) in [("base", "b1"), ("same", "s1"), ("head", "h1")] {
        let ran = run(side, name, &["--repeat", "5"]);
        assert_eq!(ran, [("grown".to_owned(), 5), ("alike".to_owned(), 5)]);
    }
    // The same twice.
    let (code, grown, alike) = look(&["b1"], &["s1"]);
    let undecided = ["same", "cannot_tell"];
    assert!(undecided.contains(&&*grown) && undecided.contains(&&*alike), "{grown} {alike}");
    assert_eq!((code, suspects()), (Some(0), Vec::new()));
    // 5 % more in one of them.
    let (code, grown, alike) = look(&["b1"], &["h1"]);
    assert_eq!((code, &*grown), (Some(21), "suspect"));
    assert!(undecided.contains(&&*alike), "{alike}");
    assert_eq!(suspects(), [("grown".to_owned(), 5)]);
    let again = ["--suspects", "suspects.json"];
    for (side, name) in [("base", "b2"), ("head", "h2")] {
        assert_eq!(run(side, name, &again), [("grown".to_owned(), 5)]);
    }
    let (code, grown, _) = look(&["b1", "b2"], &["h1", "h2"]);
    assert_eq!((code, &*grown), (Some(21), "suspect"));
    assert_eq!(suspects(), [("grown".to_owned(), 10)]);
    for (side, name) in [("base", "b3"), ("head", "h3")] {
        assert_eq!(run(side, name, &again), [("grown".to_owned(), 10)]);
    }
    let (code, grown, alike) = look(&["b1", "b2", "b3"], &["h1", "h2", "h3"]);
    assert_eq!((code, &*grown), (Some(20), "worse"));
    assert!(undecided.contains(&&*alike), "{alike}");
    assert_eq!(suspects(), []);
}

#[test]
fn what_cannot_be_compared_says_why() {
    let directory = tempdir().unwrap();
    let path = directory.path();
    std::fs::create_dir_all(path.join("bad")).unwrap();
    std::fs::write(path.join("bad/results.json"), "{\"format_version\": 1").unwrap();
    std::fs::write(path.join("newer.json"), "{\"format_version\": 99}").unwrap();
    std::fs::write(path.join("older.json"), "{\"format_version\": 0}").unwrap();
    std::fs::write(path.join("other.json"), "{\"format_version\": 1}").unwrap();
    for (named, message) in [
        ("bad", "cannot read results from `bad/results.json`"),
        ("newer.json", "use a newer memsample"),
        ("older.json", "format version 0, and this memsample reads from version 1 on"),
        ("other.json", "does not hold the results of a run"),
        ("absent", "`absent` is no run"),
        ("x*", "no run matches `x*`"),
        ("@latest", "`@latest` is no run: there are 0 in `runs`"),
    ] {
        let suspects = ["--suspects", "suspects.json", "--html", "compare.html"];
        let sides = ["compare", "--base", named, "--head", named];
        let ended = memsample(path, &[&sides[..], &suspects].concat());
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{named}");
        assert!(ended.stderr.contains(message), "{named}: {}", ended.stderr);
        assert!(!path.join("suspects.json").exists() && !path.join("compare.html").exists());
    }
}

/// Returns how often a text is in another one.
fn count(page: &str, text: &str) -> usize {
    page.matches(text).count()
}

#[test]
fn a_comparison_is_one_file_and_says_what_it_lacks() {
    let directory = tempdir().unwrap();
    let path = directory.path();
    let hostile = "</script><b>--> \u{202e}\\\"x";
    let suite = format!(
        "name = \"one\"\n[defaults]\nsandbox = \"none\"\n[[test]]\nname = {}\ncommand = [\"sleep\", \"0.3\"]\n",
        serde_json::to_string(hostile).unwrap()
    );
    std::fs::write(path.join("suite.toml"), suite).unwrap();
    for name in ["base", "head"] {
        let ended = memsample(path, &["run", "suite.toml", "--name", name]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
    let sides = ["compare", "--base", "base", "--head", "head", "--html"];
    let page = |file: &str| std::fs::read_to_string(path.join(file)).unwrap();

    // One repeat a side has no interval, and both curves.
    let ended = memsample(path, &[&sides[..], &["one.html"]].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let one = page("one.html");
    for said in ["? cannot tell", "too few repeats for an interval", "compared-0", "</html>"] {
        assert!(one.contains(said), "{said}");
    }
    // Two scripts with data and two that run; nothing in a name ends them or the comment around them.
    for (mark, times) in [("<script", 4), ("</script>", 4), ("-->", 2), ("<noscript>", 4)] {
        assert_eq!(count(&one, mark), times, "{mark}");
    }
    assert!(!one.contains(['\u{202e}', '\u{0}']) && !one.contains("is not known: no recording"));

    // Without the recording of a side its curve is missing, and that is said.
    let recording = path.join("runs/head/recording");
    std::fs::rename(&recording, path.join("away")).unwrap();
    let ended = memsample(path, &[&sides[..], &["half.html"]].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("note: "), "{}", ended.stderr);
    assert!(page("half.html").contains("The memory over time of the head is not known"));
    std::fs::rename(path.join("away"), &recording).unwrap();
    std::fs::write(recording.join("samples.parquet"), "nothing").unwrap();
    let ended = memsample(path, &[&sides[..], &["damaged.html"]].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(page("damaged.html").contains("cannot be read, so that memory over time is missing"));

    // What cannot be written is said, and nothing is left.
    std::fs::create_dir(path.join("directory")).unwrap();
    for (file, message) in [("directory", "it is a directory"), ("absent/x.html", "cannot write")] {
        let ended = memsample(path, &[&sides[..], &[file]].concat());
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{file}");
        assert!(ended.stderr.contains(message), "{file}: {}", ended.stderr);
    }
    assert_eq!(std::fs::read_dir(path.join("directory")).unwrap().count(), 0);

    // Whatever becomes of the text beside it.
    let line = "$MEMSAMPLE compare --base base --head head --html piped.html | true; $MEMSAMPLE compare --base base --head \
                head --html two.html > /dev/full; echo $?";
    let ended = shell(path, line);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    assert!(page("piped.html").ends_with("</html>") && page("two.html").ends_with("</html>"));
    assert_ne!(ended.stdout.trim(), "0", "{}", ended.stderr);
}

/// Puts `value` in place of every value of a key.
fn replace(json: &mut Value, key: &str, value: &Value) {
    match json {
        Value::Object(object) => {
            for (name, inner) in object.iter_mut() {
                match name == key {
                    true => *inner = value.clone(),
                    false => replace(inner, key, value),
                }
            }
        }
        Value::Array(array) => array.iter_mut().for_each(|inner| replace(inner, key, value)),
        _ => {}
    }
}

#[test]
fn releases_have_a_trend_and_a_history() {
    let directory = tempdir().unwrap();
    let path = directory.path();
    let suite = "name = \"one\"\n[defaults]\nsandbox = \"none\"\n[[test]]\nname = \"hold\"\ncommand = [\"sleep\", \"0.3\"]\n";
    std::fs::write(path.join("suite.toml"), suite).unwrap();
    let ended = memsample(path, &["run", "suite.toml", "--label", "release=v", "--name", "first"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let results = std::fs::read(path.join("runs/first/results.json")).unwrap();
    let results: Value = serde_json::from_slice(&results).unwrap();
    for release in 0..12_u64 {
        let mut results = results.clone();
        // It grows by a tenth in the seventh release.
        let bytes = if release < 7 { 100_u64 << 20 } else { 110 << 20 } + release % 3 * 4096;
        replace(&mut results, "rss_peak_bytes", &bytes.into());
        replace(&mut results, "release", &format!("v{release}").into());
        replace(&mut results, "started", &format!("2026-01-{:02}T00:00:00Z", release + 1).into());
        let run = path.join(format!("archive/r{release}"));
        std::fs::create_dir_all(&run).unwrap();
        std::fs::write(run.join("results.json"), results.to_string()).unwrap();
    }
    let ended = memsample(path, &["trend", "archive", "--json"]);
    let trend = check_json("trend", ended.stdout.as_bytes());
    let changes = &trend["tests"][0]["changes"];
    assert_eq!((ended.code, changes.as_array().unwrap().len()), (Some(0), 1), "{trend:#}");
    assert_eq!(changes[0]["release"], "v7");
    assert!((changes[0]["change_percent"].as_f64().unwrap() - 10.0).abs() < 0.1);
    let text = memsample(path, &["trend", "archive"]).stdout;
    assert!(text.contains("+10.0 % at v7"), "{text}");
    assert_eq!(memsample(path, &["trend", "archive", "--test", "none"]).code, Some(1));

    let sides = ["compare", "--base", "archive/r10", "--head", "archive/r11"];
    let with_history =
        |history: &str| memsample(path, &[&sides[..], &["--history", history, "--json"]].concat());
    let ended = with_history("archive");
    let comparison = check_json("compare", ended.stdout.as_bytes());
    // Those that are compared are not in it.
    assert_eq!(comparison["history"]["releases"], 10, "{}", ended.stderr);
    let ended = with_history("archive/r0");
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("3 are the least"), "{}", ended.stderr);
}
