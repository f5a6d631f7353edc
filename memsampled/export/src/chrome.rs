//! Chrome's JSON trace format, for ui.perfetto.dev, chrome://tracing and speedscope.

use std::io::{self, Write};

use memsample::Recording;
use memsample::analysis::{MemorySums, tick_instants};
use serde_json::{Value, json};

use crate::series::Groups;
use crate::trace::{marks, test_spans};

/// The rows of the trace, as processes of it.
const TESTS: u32 = 1;
const MEMORY: u32 = 2;
const SAMPLING: u32 = 3;

/// Writes counters for all processes together and for each group, the tests, the marks, and late or missed ticks.
///
/// Times are microseconds since the first tick; sizes are bytes.
///
/// # Errors
///
/// A table cannot be read, or what `out` says.
pub fn write(recording: &Recording, groups: &Groups, out: &mut impl Write) -> io::Result<()> {
    let provenance = &recording.manifest().provenance;
    let ticks = tick_instants(recording)?;
    let begin_ms =
        ticks.first().map_or_else(|| provenance.started.as_millisecond(), |tick| tick.ts_ms);
    let micros = |ts_ms: i64| ts_ms.saturating_sub(begin_ms).saturating_mul(1000);
    let other = json!({
        "recording": provenance.id,
        "name": provenance.name,
        "host": provenance.machine.hostname,
        "begin_ms_since_1970": begin_ms,
        "unit": "bytes",
        "groups_left_out": groups.left_out,
        "ticks_left_out": groups.ticks_left_out.len(),
    });
    writeln!(out, "{{\"displayTimeUnit\":\"ms\",\"otherData\":{other},\"traceEvents\":[")?;
    let rows = [(TESTS, "tests"), (MEMORY, "memory"), (SAMPLING, "sampling")];
    for (index, (pid, name)) in rows.into_iter().enumerate() {
        let comma = if index == 0 { "" } else { ",\n" };
        let event = json!({"ph": "M", "name": "process_name", "pid": pid, "args": {"name": name}});
        write!(out, "{comma}{event}")?;
    }
    let mut event = |event: Value| write!(out, ",\n{event}");
    for span in test_spans(recording)? {
        event(json!({
            "ph": "X", "cat": "test", "name": span.name, "pid": TESTS, "tid": span.row + 1,
            "ts": micros(span.begin_ms), "dur": span.end_ms.saturating_sub(span.begin_ms).saturating_mul(1000),
        }))?;
    }
    for mark in marks(recording)? {
        event(json!({
            "ph": "i", "s": "g", "cat": "mark", "name": mark.name, "pid": TESTS, "tid": 1, "ts": micros(mark.ts_ms),
        }))?;
    }
    for tick in ticks.iter().filter(|tick| tick.late > 0) {
        event(json!({
            "ph": "i", "s": "p", "cat": "late", "name": "late or missed ticks before", "pid": SAMPLING, "tid": 1,
            "ts": micros(tick.ts_ms), "args": {"ticks": tick.late},
        }))?;
    }
    let names: Vec<String> = (0..=groups.groups.len()).map(|number| name(groups, number)).collect();
    groups.for_each_point(recording, |point| {
        event(json!({
            "ph": "C", "name": names.get(point.group), "pid": MEMORY, "ts": micros(point.ts_ms),
            "args": parts(&point.sums),
        }))
    })?;
    out.write_all(b"\n]}\n")
}

/// Names a group; each has another name.
pub(crate) fn name(groups: &Groups, number: usize) -> String {
    match groups.get(number) {
        None => "(all recorded processes)".to_owned(),
        Some(group) => match &group.process {
            None => group.role.clone(),
            // A process that executes another program is another image with the same pid.
            Some(own) => format!("{} {} #{}", group.role, own.pid, own.process),
        },
    }
}

/// Returns the parts of which a viewer makes layers: together they are the resident sets and what is swapped out.
fn parts(sums: &MemorySums) -> Value {
    json!({
        "anonymous": sums.anon_bytes,
        "file and shared": sums.rss_bytes.saturating_sub(sums.anon_bytes),
        "swap": sums.swap_bytes,
    })
}
