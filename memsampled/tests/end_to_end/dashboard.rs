//! The dashboard for Grafana in docs: each metric that it names is exported, and each query is one of PromQL.

use std::collections::BTreeSet;
use std::process::Command;

use regex::Regex;
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::command::wait_for;
use crate::daemon::Daemon;

fn dashboard() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/grafana.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Returns the queries of all panels, with a value for each variable.
fn queries(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    let with_values = |target: &Value| {
        let query = target["expr"].as_str().unwrap().replace("$__rate_interval", "5m");
        query.replace("$instance", ".*").replace("$session", ".*")
    };
    targets.map(with_values).collect()
}

#[test]
fn each_metric_of_the_dashboard_is_exported() {
    let config =
        "[daemon]\nmetrics_roles = 5\n[daemon.flight_recorder]\nspan = '1m'\ninterval = '50ms'\n";
    let daemon = Daemon::start_with(tempdir().unwrap(), config);
    daemon.session(r#"{"interval": "50ms"}"#);
    let metrics = wait_for("all families", || {
        let metrics = daemon.get("/metrics").text();
        let is_whole = metrics.contains("memsampled_role_processes{")
            && metrics.contains("\nmemsampled_flight_kept_seconds ");
        is_whole.then_some(metrics)
    });
    let family = Regex::new(r"(?m)^# TYPE (\S+)").unwrap();
    let exported: BTreeSet<&str> =
        family.captures_iter(&metrics).map(|found| found.get(1).unwrap().as_str()).collect();
    let dashboard = dashboard();
    let text = dashboard.to_string();
    let name = Regex::new(r"\bmemsampled_\w+").unwrap();
    let named: BTreeSet<&str> = name.find_iter(&text).map(|found| found.as_str()).collect();
    let unknown: Vec<_> = named.difference(&exported).collect();
    assert!(unknown.is_empty(), "not exported: {unknown:?}");
    let not_shown: Vec<_> = exported.difference(&named).collect();
    assert!(not_shown.is_empty(), "not in the dashboard: {not_shown:?}");
}

#[test]
fn each_query_of_the_dashboard_is_promql() {
    let rules: Vec<Value> = (0..)
        .zip(queries(&dashboard()))
        .map(|(number, expr)| json!({"record": format!("query:{number}"), "expr": expr}))
        .collect();
    assert!(rules.len() > 20);
    let directory = tempdir().unwrap();
    let path = directory.path().join("rules.yml");
    // YAML has all of JSON.
    let groups = json!({"groups": [{"name": "dashboard", "rules": rules}]});
    std::fs::write(&path, groups.to_string()).unwrap();
    let checked = Command::new("promtool").args(["check", "rules"]).arg(&path).output();
    let checked = checked.expect("`make tools` installs promtool");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}
