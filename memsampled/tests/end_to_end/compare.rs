//! Two releases whose memory is known, compared as a user does it. Slow: fifteen seconds.

use crate::command::memsample;
use crate::report_outputs::check_json;
use serde_json::Value;
use tempfile::tempdir;

/// Two programs; the first holds as many bytes as the file `large` beside the suite says.
const SUITE: &str = r#"
name = "known"
[defaults]
sandbox = "none"
[[test]]
name = "large"
command = ["/usr/bin/python3", "-S", "-c", "import time; a = b'x' * int(open('LARGE').read()); time.sleep(.25)"]
[[test]]
name = "small"
command = ["/usr/bin/python3", "-S", "-c", "import time; a = b'x' * (48 << 20); time.sleep(.25)"]
"#;

#[test]
fn slow_a_growth_of_five_percent_is_found_and_none_is_not() {
    let directory = tempdir().unwrap();
    let path = directory.path();
    let file = path.join("large");
    let suite = SUITE.replace("LARGE", file.to_str().unwrap());
    std::fs::write(path.join("suite.toml"), suite).unwrap();
    let base = 96_u64 << 20;
    for (name, bytes) in [("base", base), ("same", base), ("head", base * 105 / 100)] {
        std::fs::write(&file, bytes.to_string()).unwrap();
        let ended = memsample(path, &["run", "suite.toml", "--repeat", "5", "--name", name]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
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

#[test]
fn what_cannot_be_compared_says_why() {
    let directory = tempdir().unwrap();
    let path = directory.path();
    std::fs::create_dir_all(path.join("bad")).unwrap();
    std::fs::write(path.join("bad/results.json"), "{\"format_version\": 1").unwrap();
    std::fs::write(path.join("newer.json"), "{\"format_version\": 99}").unwrap();
    for (named, message) in [
        ("bad", "cannot read results from `bad/results.json`"),
        ("newer.json", "use a newer memsample"),
        ("absent", "`absent` is no run"),
        ("x*", "no run matches `x*`"),
        ("@latest", "`@latest` is no run: there are 0 in `runs`"),
    ] {
        let suspects = ["--suspects", "suspects.json"];
        let sides = ["compare", "--base", named, "--head", named];
        let ended = memsample(path, &[&sides[..], &suspects].concat());
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{named}");
        assert!(ended.stderr.contains(message), "{named}: {}", ended.stderr);
        assert!(!path.join("suspects.json").exists());
    }
}
