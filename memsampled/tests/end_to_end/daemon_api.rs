//! What clients can ask of the daemon, and what they are told when they ask wrongly.

use std::io::{BufRead, BufReader, Write};
use std::time::{Duration, Instant};

use crate::command::wait_for;
use crate::daemon::Daemon;
use memsample::{Recording, RecordingState, Recovery};
use memsample_client::wire::{Span, StartRequest, parse};
use memsample_daemon::Operation;
use serde_json::json;
use tempfile::tempdir;

#[test]
fn a_session_is_started_marked_and_stopped() {
    let daemon = Daemon::start();
    let request = r#"{"name": "nightly", "interval": "10ms", "labels": {"commit": "abc"}}"#;
    let answer = daemon.post("/v1/sessions", request);
    assert_eq!(answer.status, 201);
    let session = answer.json();
    let id = session["id"].as_str().unwrap();
    assert!(id.starts_with("nightly-20"), "{id}");
    assert!(answer.head.contains(&format!("location: /v1/sessions/{id}\r\n")), "{}", answer.head);
    assert_eq!((&session["state"], &session["interval"]), (&json!("recording"), &json!("10ms")));

    let marks = format!("/v1/sessions/{id}/marks");
    for mark in [
        r#"{"kind": "begin", "name": "load", "test": "test_load"}"#,
        r#"{"kind": "point", "name": "päuse \u0000 \"quoted\""}"#,
        r#"{"kind": "end", "name": "load", "test": null, "labels": {"b": "2", "a": "\"1\""}}"#,
    ] {
        let answer = daemon.post(&marks, mark);
        assert_eq!((answer.status, answer.text().as_str()), (204, ""));
    }
    let path = format!("/v1/sessions/{id}");
    wait_for("samples", || {
        daemon.get(&path).json()["totals"]["samples"].as_u64().filter(|&samples| samples > 0)
    });
    assert_eq!(daemon.get("/v1/sessions").json()["sessions"][0]["id"], id);

    let stopped = daemon.stop(id);
    assert_eq!(stopped["summary"]["end"], "stopped");
    let directory = daemon.recordings().canonicalize().unwrap().join(id);
    assert_eq!(stopped["recording"], directory.display().to_string());
    let (recording, recovery) = Recording::open(&directory).unwrap();
    assert_eq!(
        (recovery, recording.manifest().state),
        (Recovery::NotNeeded, RecordingState::Closed)
    );
    assert_eq!(recording.manifest().provenance.labels["commit"], "abc");
    let names: Vec<String> = (recording.read_table("marks", &["name"]))
        .flat_map(|batch| {
            let batch = batch.unwrap();
            let names =
                arrow_array::cast::AsArray::as_string::<i32>(batch.column(0).as_ref()).clone();
            names.iter().map(|name| name.unwrap().to_owned()).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(names, ["load", "päuse \0 \"quoted\"", "load"]);
    let labels: Vec<Option<String>> = (recording.read_table("marks", &["labels"]))
        .flat_map(|batch| {
            let batch = batch.unwrap();
            let labels =
                arrow_array::cast::AsArray::as_string::<i32>(batch.column(0).as_ref()).clone();
            labels.iter().map(|text| text.map(str::to_owned)).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(labels, [None, None, Some(r#"{"a":"\"1\"","b":"2"}"#.to_owned())]);

    assert_eq!(daemon.get("/v1/sessions").json(), json!({"sessions": []}));
    let listed = daemon.get("/v1/recordings").json();
    assert_eq!(
        (&listed["recordings"][0]["id"], &listed["recordings"][0]["state"]),
        (&json!(id), &json!("closed"))
    );
    let described = daemon.get(&format!("/v1/recordings/{id}")).json();
    assert_eq!(described["labels"], json!({"commit": "abc"}));
    for file in described["files"].as_array().unwrap() {
        let name = file["name"].as_str().unwrap();
        let served = daemon.get(&format!("/v1/recordings/{id}/{name}"));
        assert_eq!(served.status, 200);
        assert_eq!(served.body, std::fs::read(directory.join(name)).unwrap(), "{name}");
        assert_eq!(file["bytes"], served.body.len());
    }
}

#[test]
fn wrong_requests_are_told_what_is_wrong() {
    let daemon = Daemon::start();
    let id = daemon.session("{}");
    let gone = daemon.session("{}");
    daemon.stop(&gone);
    let session = |rest: &str| format!("/v1/sessions/{id}{rest}");
    let stopped = |rest: &str| format!("/v1/sessions/{gone}{rest}");
    let sessions = "/v1/sessions".to_owned();
    let long = "x".repeat(1025);
    let long_name = format!(r#"{{"kind": "point", "name": "{long}"}}"#);
    let labels: Vec<String> = (0..33).map(|label| format!(r#""{label}": """#)).collect();
    let labels = format!(r#"{{"labels": {{{}}}}}"#, labels.join(","));
    let mark_labels = labels.replacen('{', r#"{"kind": "point", "name": "x", "#, 1);
    let deep = "[".repeat(100_000);
    let cases: Vec<(String, &str, u16, &str, &str)> = vec![
        (sessions.clone(), "{", 400, "malformed_json", "the body is not JSON"),
        (sessions.clone(), "{\"name\": \"\\ud800\"}", 400, "malformed_json", "hex escape"),
        (sessions.clone(), &deep, 422, "invalid_request", "invalid type"),
        (sessions.clone(), "[]", 422, "invalid_request", "invalid"),
        (sessions.clone(), "null", 422, "invalid_request", "invalid"),
        (sessions.clone(), r#"{"nam": "x"}"#, 422, "invalid_request", "unknown field `nam`"),
        (sessions.clone(), r#"{"interval": 100}"#, 422, "invalid_request", "with its unit"),
        (sessions.clone(), r#"{"interval": "100"}"#, 422, "invalid_request", "and its unit"),
        (sessions.clone(), r#"{"interval": "0ms"}"#, 422, "invalid_request", "length of time"),
        (sessions.clone(), r#"{"interval": "2h"}"#, 422, "invalid_request", "from 1ms to 1h"),
        (sessions.clone(), r#"{"pss_budget": 1.5}"#, 422, "invalid_request", "from 0 to 1"),
        (sessions.clone(), r#"{"pss_budget": "1%"}"#, 422, "invalid_request", "invalid type"),
        (sessions.clone(), r#"{"name": "../x"}"#, 422, "invalid_request", "cannot be the name"),
        (sessions.clone(), r#"{"name": ""}"#, 422, "invalid_request", "cannot be the name"),
        (
            sessions.clone(),
            r#"{"target": {"kind": "moon"}}"#,
            422,
            "invalid_request",
            "unknown variant",
        ),
        (
            sessions.clone(),
            r#"{"limits": {"duration": "999h"}}"#,
            403,
            "beyond_limit",
            "at most 24h",
        ),
        (sessions.clone(), r#"{"limits": ["1h"]}"#, 422, "invalid_request", "expected an object"),
        (
            sessions.clone(),
            r#"{"target": ["machine"]}"#,
            422,
            "invalid_request",
            "expected an object",
        ),
        (
            sessions.clone(),
            r#"{"target": {"kind": "machine", "x": 1}}"#,
            422,
            "invalid_request",
            "unknown field",
        ),
        (sessions.clone(), r#"{"target": {"kind": "pid"}}"#, 422, "invalid_request", "missing"),
        (
            sessions.clone(),
            r#"{"target": {"kind": "pid", "pid": 0}}"#,
            422,
            "invalid_request",
            "at least 1",
        ),
        (
            sessions.clone(),
            r#"{"target": {"kind": "pid", "pid": 1.5}}"#,
            422,
            "invalid_request",
            "1.5 is no process id",
        ),
        (
            sessions.clone(),
            r#"{"target": {"kind": "pid", "pid": 2147483647.0}}"#,
            404,
            "no_such_target",
            "there is no process with pid 2147483647",
        ),
        (
            sessions.clone(),
            r#"{"target": {"kind": "cgroup", "path": "/a/../b"}}"#,
            422,
            "invalid_request",
            "without `..`",
        ),
        (
            sessions.clone(),
            r#"{"target": {"kind": "cgroup", "path": "/no/such/group"}}"#,
            404,
            "no_such_target",
            "there is no control group `/no/such/group`",
        ),
        (sessions.clone(), r#"{"limits": {"bytes": 5e6}}"#, 201, "none", "5000000"),
        (
            sessions.clone(),
            r#"{"limits": {"bytes": 4194304.5}}"#,
            422,
            "invalid_request",
            "whole number",
        ),
        (sessions.clone(), r#"{} {}"#, 400, "malformed_json", "trailing"),
        (
            sessions.clone(),
            r#"{"limits": {"bytes": 9007199254740991}}"#,
            403,
            "beyond_limit",
            "at most 4294967296",
        ),
        (sessions.clone(), r#"{"limits": {"bytes": 1}}"#, 422, "invalid_request", "at least"),
        (
            sessions.clone(),
            r#"{"labels": {"memsampled.uid": "0"}}"#,
            422,
            "invalid_request",
            "set by the daemon",
        ),
        (sessions.clone(), &labels, 422, "invalid_request", "more than 32"),
        (session("/marks"), "", 400, "malformed_json", "not JSON"),
        (
            session("/marks"),
            r#"{"kind": "clock_step", "name": "x"}"#,
            422,
            "invalid_request",
            "unknown variant",
        ),
        (session("/marks"), r#"{"kind": "point"}"#, 422, "invalid_request", "missing field `name`"),
        (session("/marks"), r#"{"kind": "point", "name": ""}"#, 422, "invalid_request", "is empty"),
        (session("/marks"), &mark_labels, 422, "invalid_request", "more than 32"),
        (session("/marks"), &long_name, 422, "invalid_request", "at most 1024"),
        (
            stopped("/marks"),
            r#"{"kind": "point", "name": "x"}"#,
            409,
            "already_stopped",
            "was stopped",
        ),
        (stopped("/stop"), "", 409, "already_stopped", "was stopped"),
        (
            "/v1/sessions/absent/stop".into(),
            "",
            404,
            "no_such_session",
            "there is no session `absent`",
        ),
        ("/v1/sessions/%2e%2e/stop".into(), "", 400, "invalid_name", "no session can have"),
        ("/v1/sessions/%ff/stop".into(), "", 400, "invalid_name", "not understood"),
        ("/v1/session".into(), "", 404, "no_such_route", "no such path"),
        ("/healthz".into(), "", 405, "method_not_allowed", "Allow"),
    ];
    for (path, body, status, code, hint) in cases {
        let answer = daemon.post(&path, body);
        let short: String = body.chars().take(60).collect();
        assert_eq!(
            answer.refusal(),
            (status, code.to_owned()),
            "{path} {short}: {}",
            answer.text()
        );
        assert!(answer.text().contains(hint), "{path} {short}: {}", answer.text());
    }
    let form = daemon.send("POST", "/v1/sessions", "Content-Type: text/plain\r\n", "{}");
    assert_eq!(form.refusal(), (415, "unsupported_media_type".to_owned()));
    let large = daemon.post("/v1/sessions", &" ".repeat(300 << 10));
    assert_eq!(large.refusal(), (413, "body_too_large".to_owned()));
    let delete = daemon.send("DELETE", "/v1/sessions", "", "");
    assert_eq!(delete.status, 405);
    assert!(delete.head.contains("allow: "), "{}", delete.head);
    // All this has begun no other session.
    assert_eq!(daemon.get("/v1/sessions").json()["sessions"].as_array().unwrap().len(), 2);
    assert_eq!(daemon.stop(&id)["summary"]["dropped"], 0);
}

#[test]
fn a_body_that_does_not_come_is_told_so() {
    let daemon = Daemon::start();
    let head = "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
                Content-Type: application/json\r\nContent-Length: 10\r\n\r\n{";
    let answer = daemon.raw(head.as_bytes());
    assert_eq!(answer.refusal(), (408, "too_slow".to_owned()));
}

#[test]
fn no_file_outside_of_the_recordings_is_served() {
    let daemon = Daemon::start();
    let id = daemon.session("{}");
    daemon.stop(&id);
    let recording = daemon.recordings().join(&id);
    let secret = daemon.directory.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    std::os::unix::fs::symlink(&secret, recording.join("link.parquet")).unwrap();
    std::fs::hard_link(&secret, recording.join("hard.parquet")).unwrap();
    std::os::unix::fs::symlink(daemon.directory.path(), daemon.recordings().join("linked"))
        .unwrap();
    std::fs::create_dir(recording.join("directory")).unwrap();
    assert!(
        std::process::Command::new("mkfifo")
            .arg(recording.join("pipe"))
            .status()
            .unwrap()
            .success()
    );
    for path in [
        format!("/v1/recordings/{id}/link.parquet"),
        format!("/v1/recordings/{id}/hard.parquet"),
        format!("/v1/recordings/{id}/directory"),
        format!("/v1/recordings/{id}/pipe"),
        format!("/v1/recordings/{id}/../../secret"),
        format!("/v1/recordings/{id}/..%2f..%2fsecret"),
        format!("/v1/recordings/{id}/%2e%2e"),
        format!("/v1/recordings/{id}/"),
        "/v1/recordings/linked/secret".to_owned(),
        "/v1/recordings/linked".to_owned(),
        "/v1/recordings/../secret".to_owned(),
        "/v1/recordings/%2e%2e/secret".to_owned(),
        "/v1/recordings/.memsampled.lock".to_owned(),
        format!("/v1/recordings/{id}/absent.parquet"),
    ] {
        let answer = daemon.get(&path);
        assert!(matches!(answer.status, 400 | 404), "{path}: {answer:?}");
        assert!(!answer.text().contains("secret\n") && answer.body != b"secret", "{path}");
    }
    let files = daemon.get(&format!("/v1/recordings/{id}")).text();
    for name in ["link.parquet", "hard.parquet", "directory", "pipe"] {
        assert!(!files.contains(name), "{files}");
    }
}

/// Asks for the events of a session, and returns the lines of the answer as they come.
fn live(daemon: &Daemon, id: &str) -> impl Iterator<Item = String> + use<> {
    let mut stream = daemon.connect();
    write!(stream, "GET /v1/sessions/{id}/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    BufReader::new(stream).lines().map(Result::unwrap)
}

#[test]
fn events_tell_of_a_session_until_it_ends() {
    let daemon = Daemon::start();
    let limited = daemon.session(r#"{"limits": {"duration": "2s"}}"#);
    let id = daemon.session("{}");
    let begin = r#"{"kind": "begin", "name": "load", "test": "test_load"}"#;
    assert_eq!(daemon.post(&format!("/v1/sessions/{id}/marks"), begin).status, 204);
    let mut told = 0;
    let told_session = |line: &str| -> Option<serde_json::Value> {
        Some(serde_json::from_str(line.strip_prefix("data: ")?).unwrap())
    };
    let mut coming = live(&daemon, &id);
    let mut lines = Vec::new();
    for line in coming.by_ref() {
        let has_tick = told_session(&line).is_some_and(|session| session["latest"].is_object());
        lines.push(line);
        if has_tick {
            break;
        }
    }
    daemon.stop(&id);
    lines.extend(coming);
    assert!(lines.iter().any(|line| line == "content-type: text/event-stream"), "{lines:?}");
    let kinds: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("event: ")).collect();
    let (last, others) = kinds.split_last().unwrap();
    assert_eq!(*last, "ended");
    assert!(!others.is_empty() && others.iter().all(|kind| *kind == "session"), "{kinds:?}");
    for session in lines.iter().filter_map(|line| told_session(line)) {
        assert_eq!(session["id"], id);
        if let Some(latest) = session["latest"].as_object() {
            told += 1;
            assert_eq!(session["tests"], json!(["test_load"]));
            let sum = |of: &str| {
                latest[of]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|row| row["rss_bytes"].as_u64().unwrap())
                    .sum::<u64>()
            };
            assert!(latest["rss_bytes"].as_u64().unwrap() >= sum("largest"));
            assert!(sum("roles") > 0 && latest["processes"].as_u64().unwrap() > 0);
        }
    }
    assert!(told > 0, "{lines:?}");
    // The other one ends by itself.
    let lines: Vec<String> = live(&daemon, &limited).collect();
    let mut kinds = lines.iter().filter_map(|line| line.strip_prefix("event: "));
    assert_eq!(kinds.next_back(), Some("ended"), "{lines:?}");
    // What it holds is still told.
    let ended = daemon.get(&format!("/v1/sessions/{limited}")).json();
    assert!(ended["totals"]["samples"].as_u64().unwrap() > 0, "{ended}");
    assert!(ended["elapsed_ms"].as_u64().unwrap() >= 1000, "{ended}");
    // Who stops it learns why it ended.
    let mark =
        daemon.post(&format!("/v1/sessions/{limited}/marks"), r#"{"kind": "point", "name": "x"}"#);
    assert_eq!(mark.refusal(), (409, "session_ended".to_owned()));
    assert_eq!(daemon.stop(&limited)["summary"]["end"], "duration");
}

#[test]
fn limits_are_kept_and_said() {
    let config = "[daemon.limits]\nsessions = 2\nidle = '24h'\nduration = '1h'";
    let daemon = Daemon::start_with(tempdir().unwrap(), config);
    let first = daemon.session("{}");
    assert_eq!(daemon.get(&format!("/v1/sessions/{first}")).json()["limits"]["duration"], "1h");
    let idle = daemon.session(r#"{"limits": {"idle": "1ms"}}"#);
    // No client asks for it; what ended makes room for others.
    let third = wait_for("room", || {
        let answer = daemon.post("/v1/sessions", "{}");
        if answer.status == 201 {
            return Some(answer.json()["id"].as_str().unwrap().to_owned());
        }
        assert_eq!(answer.refusal(), (429, "limit_reached".to_owned()));
        assert!(answer.text().contains("daemon.limits.sessions"), "{}", answer.text());
        None
    });
    let stopped = daemon.stop(&idle);
    assert_eq!(
        (&stopped["summary"]["state"], &stopped["summary"]["end"]),
        (&json!("closed"), &json!("idle"))
    );
    for id in [first, third] {
        daemon.stop(&id);
    }
}

#[test]
fn the_document_describes_every_operation_and_no_other() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let document = yaml_rust2::YamlLoader::load_from_str(&text).unwrap().remove(0);
    let mut described = Vec::new();
    for (path, methods) in document["paths"].as_hash().unwrap() {
        for (method, operation) in methods.as_hash().unwrap() {
            if method.as_str() == Some("parameters") {
                continue;
            }
            described.push(format!(
                "{} {} {}",
                method.as_str().unwrap().to_uppercase(),
                path.as_str().unwrap(),
                operation["operationId"].as_str().unwrap()
            ));
        }
    }
    let mut operations: Vec<String> = (Operation::ALL.iter())
        .map(|operation| format!("{} {} {}", operation.method, operation.path, operation.name))
        .collect();
    described.sort();
    operations.sort();
    assert_eq!(described, operations);
    // The codes of errors too.
    let codes = document["components"]["schemas"]["Error"]["properties"]["code"]["enum"].as_vec();
    let codes: Vec<&str> = codes.unwrap().iter().map(|code| code.as_str().unwrap()).collect();
    let known =
        memsample_client::wire::ErrorCode::ALL.map(|code| serde_json::to_value(code).unwrap());
    assert_eq!(codes, known.each_ref().map(|code| code.as_str().unwrap()));
}

/// Returns texts around the bounds of each part of a length of time, well and badly written.
fn lengths_of_time() -> Vec<String> {
    let numbers = [
        "",
        "0",
        "00",
        "000",
        "1",
        "05",
        "005",
        "9",
        "59",
        "60",
        "61",
        "99",
        "100",
        "999",
        "0999",
        "1000",
        "2000",
        "3599",
        "3600",
        "3601",
        "3599999",
        "3600000",
        "3600001",
        "999999999",
        "1000000000",
        "0.0",
        "0.001",
        "0.01",
        "0.010",
        "0.5",
        "1.0",
        "2.25",
        "3599.999",
        "3600.000",
        "3600.001",
        "1.0000",
        "1.",
        ".5",
        "1.5.5",
        "-1",
        "+1",
        "1e3",
        " 1",
        "1 ",
    ];
    let parts: Vec<String> = (["h", "m", "s", "ms", "us", "d", "S", ""].iter())
        .flat_map(|unit| numbers.map(|number| format!("{number}{unit}")))
        .collect();
    let few = ["0m", "00m", "5m", "59m", "60m", "0s", "00s", "05s", "59s", "60s", "0.0s", "5.25s"];
    let few = few.into_iter().chain(["0ms", "000ms", "5ms", "0999ms", "999ms", "1h", "1us"]);
    let few: Vec<String> = few.map(str::to_owned).collect();
    let mut texts = parts.clone();
    for first in &parts {
        texts.extend(few.iter().map(|second| format!("{first}{second}")));
    }
    for first in ["0h", "1h", "2h", "1m", "59m", "60m", "1s"] {
        for second in &few {
            texts.extend(few.iter().map(|third| format!("{first}{second}{third}")));
        }
    }
    texts
}

#[test]
fn lengths_of_time_are_read_as_the_patterns_of_the_documents_say() {
    let read = |name: &str| {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
        let text = std::fs::read_to_string(path).unwrap();
        // JSON is YAML.
        yaml_rust2::YamlLoader::load_from_str(&text).unwrap().remove(0)
    };
    let regex = |pattern: &yaml_rust2::Yaml| regex::Regex::new(pattern.as_str().unwrap()).unwrap();
    let schemas = &read("openapi.yaml")["components"]["schemas"];
    let span = regex(&schemas["Span"]["pattern"]);
    let interval = regex(&schemas["StartRequest"]["properties"]["interval"]["pattern"]);
    let of_suites = regex(&read("suite.schema.json")["$defs"]["duration"]["pattern"]);
    let is_taken = |key: &str, text: &str| {
        let limit = serde_json::json!({ key: text });
        let body = if key == "interval" { limit } else { serde_json::json!({ "limits": limit }) };
        parse::<StartRequest>(body.to_string().as_bytes()).is_ok()
    };
    for text in lengths_of_time() {
        assert_eq!(is_taken("duration", &text), span.is_match(&text), "{text:?}");
        assert_eq!(is_taken("interval", &text), interval.is_match(&text), "interval {text:?}");
        assert_eq!(Span::parse(&text).is_ok(), of_suites.is_match(&text), "suite {text:?}");
    }
}

#[test]
fn nothing_more_is_taken_in_when_memory_is_short() {
    let daemon = Daemon::start();
    let id = daemon.session("{}");
    let config = daemon.directory.path().join("config.toml");
    let set = |bytes: u64, round: usize| {
        std::fs::write(&config, format!("[daemon.limits]\nmemory = '{bytes}B'\n")).unwrap();
        daemon.signal("HUP");
        let read = || daemon.log().matches("was read again").count();
        wait_for("the log", || (read() == round).then_some(()));
    };
    // It has more than this before the first session.
    set(1 << 20, 1);
    let refused = daemon.post("/v1/sessions", "{}");
    assert_eq!(refused.refusal(), (429, "limit_reached".to_owned()));
    assert!(refused.text().contains("`daemon.limits.memory`"), "{}", refused.text());
    // Also where there is nothing of which one could be made.
    assert_eq!(daemon.post("/v1/dump", "").refusal(), (429, "limit_reached".to_owned()));
    let marks = format!("/v1/sessions/{id}/marks");
    let mark = r#"{"kind": "point", "name": "x"}"#;
    assert_eq!(daemon.post(&marks, mark).refusal(), (429, "too_many_marks".to_owned()));
    set(1 << 30, 2);
    assert_eq!(daemon.post(&marks, mark).status, 204);
    daemon.stop(&id);
}

#[test]
fn large_bodies_are_read_a_few_at_a_time() {
    let daemon = Daemon::start();
    let head = "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
                Content-Type: application/json\r\nContent-Length: 200000\r\n\r\n";
    let large = format!(r#"{{"name": "{}"}}"#, "x".repeat(20_000));
    // A body that does not come is given up after ten seconds: on a busy machine others have to be begun.
    let waiting = wait_for("a refusal", || {
        let waiting: Vec<_> = (0..64)
            .map(|_| {
                let mut stream = daemon.connect();
                stream.write_all(head.as_bytes()).unwrap();
                stream
            })
            .collect();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(5) {
            let refused = daemon.post("/v1/sessions", &large).refusal();
            if refused == (429, "limit_reached".to_owned()) {
                return Some(waiting);
            }
        }
        None
    });
    // Others are served all the same.
    let id = daemon.session("{}");
    daemon.stop(&id);
    drop(waiting);
    wait_for("room", || (daemon.post("/v1/sessions", &large).status == 422).then_some(()));
}
