//! Where and how a run or a recording was made.

use maud::{Markup, html};
use memsample_input::{printable, rounded_size};

use crate::report::Report;
use crate::wording::{name, since, utc};

/// Lists the environment.
pub(super) fn environment(report: &Report) -> Markup {
    let rows = rows(report);
    html! {
        table border="0" cellpadding="4" rules="rows" {
            tbody {
                @for (what, value) in &rows {
                    tr { th scope="row" align="left" valign="top" { (what) } td { (value) } }
                }
            }
        }
    }
}

fn rows(report: &Report) -> Vec<(String, String)> {
    let mut rows: Vec<(String, String)> = Vec::new();
    let mut add = |what: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            rows.push((what.to_owned(), value));
        }
    };
    if let Some(results) = &report.results {
        let origin = &results.origin;
        let number = |number: Option<u64>| number.map(|number| number.to_string());
        add("suite", Some(name(&results.suite, 200)));
        add("commit", origin.commit.as_deref().map(printable));
        let arguments: Vec<String> = origin.arguments.iter().map(|it| printable(it)).collect();
        add("arguments", Some(name(&arguments.join(" "), 500)));
        add("machine", origin.host.as_deref().map(printable));
        add("kernel", origin.kernel.as_deref().map(printable));
        add("CPUs", number(origin.cpus));
        add("memory", origin.memory_bytes.map(rounded_size));
        add("page size", origin.page_bytes.map(rounded_size));
        add("huge pages", origin.huge_pages.as_deref().map(printable));
        add("memsample", Some(printable(&results.memsample_version)));
        for (key, value) in &origin.labels {
            add(&format!("label {}", name(key, 60)), Some(name(value, 300)));
        }
    }
    for part in &report.parts {
        let provenance = &part.manifest.provenance;
        let machine = &provenance.machine;
        add("recording", Some(name(&part.name, 200)));
        add("id", Some(printable(&provenance.id)));
        let begin = part.timeline.begin_ms;
        add(
            "sampled",
            Some(format!("from {}, {}", utc(begin), since(part.timeline.end_ms - begin))),
        );
        let command = provenance.settings.command.as_ref();
        add("command", command.map(|command| name(&command.join(" "), 500)));
        if report.results.is_none() {
            add("machine", Some(printable(&machine.hostname)));
            add("kernel", Some(printable(&machine.kernel)));
            add("architecture", Some(printable(&machine.architecture)));
            add("CPUs", machine.cpus.map(|cpus| cpus.to_string()));
            add("page size", machine.page_bytes.map(rounded_size));
            add("memsample", Some(printable(&provenance.memsample)));
            for (key, value) in &provenance.labels {
                add(&format!("label {}", name(key, 60)), Some(name(value, 300)));
            }
        }
        let end = part.manifest.end.as_ref().and_then(|end| serde_json::to_string(end).ok());
        let end = end.map(|end| name(end.trim_matches('"'), 200).replace('_', " "));
        add("ended", Some(end.unwrap_or_else(|| "not yet: it is still being written".to_owned())));
    }
    rows
}
