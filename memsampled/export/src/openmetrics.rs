//! OpenMetrics with timestamps: what `promtool tsdb create-blocks-from openmetrics` makes blocks of.

use std::io::{self, Write};

use jiff::Timestamp;
use memsample::Recording;
use memsample::analysis::{MemorySums, tick_instants};
use memsample_runner::results::{AttemptResults, BoundedBytes, Results};

use crate::figures::Measure;
use crate::series::{By, Groups};

/// Points that are kept at a time, since the format wants one series after the other: 64 MiB. A series that is longer is
/// kept as a whole.
const MAX_POINTS: usize = 1 << 22;

/// A family of a recording: its name without what it is of, what it is, its unit, and its value.
struct Family {
    name: &'static str,
    help: &'static str,
    value: fn(&MemorySums) -> u64,
}

const FAMILIES: [Family; 4] = [
    Family {
        name: "resident_bytes",
        help: "Sum of resident sets. A page that several processes map counts for each.",
        value: |sums| sums.rss_bytes,
    },
    Family {
        name: "anonymous_bytes",
        help: "Resident anonymous memory, without that of processes of which it was not read.",
        value: |sums| sums.anon_bytes,
    },
    Family {
        name: "swap_bytes",
        help: "Anonymous memory in swap, by the last reading of each process.",
        value: |sums| sums.swap_bytes,
    },
    Family {
        name: "processes",
        help: "Processes with a sample.",
        value: |sums| u64::from(sums.processes),
    },
];

/// Writes the memory of all processes together and of each group, tick by tick.
///
/// # Errors
///
/// A table cannot be read, or what `out` says.
pub fn write_recording(
    recording: &Recording,
    groups: &Groups,
    out: &mut impl Write,
) -> io::Result<()> {
    let ticks = tick_instants(recording)?.len().max(1);
    write_in_parts(recording, groups, (MAX_POINTS / ticks).max(1), out)
}

/// Writes with the points of `at_a_time` series in memory.
fn write_in_parts(
    recording: &Recording,
    groups: &Groups,
    at_a_time: usize,
    out: &mut impl Write,
) -> io::Result<()> {
    let provenance = &recording.manifest().provenance;
    let id = format!("recording=\"{}\"", escaped(&provenance.id));
    head(out, "memsample_recording", "info", "Where the recording was made.")?;
    writeln!(
        out,
        "memsample_recording_info{{{id},name=\"{}\",host=\"{}\",kernel=\"{}\"}} 1 {}",
        escaped(&provenance.name),
        escaped(&provenance.machine.hostname),
        escaped(&provenance.machine.kernel),
        seconds(provenance.started.as_millisecond()),
    )?;
    let all = groups.groups.len() + 1;
    let scope = match groups.by {
        By::Role => "role",
        By::Process => "process",
    };
    for family in &FAMILIES {
        let mut number = 0;
        while number < all {
            let name = match number {
                0 => format!("memsample_recorded_{}", family.name),
                _ => format!("memsample_{scope}_{}", family.name),
            };
            if number <= 1 {
                head(out, &name, "gauge", family.help)?;
            }
            // The first is a family of its own.
            let end = if number == 0 { 1 } else { all.min(number + at_a_time) };
            let points = points(recording, groups, number..end, family.value)?;
            for (group, points) in (number..end).zip(points) {
                let labels = labels(groups, group, &id);
                for (ts_ms, value) in points {
                    writeln!(out, "{name}{{{labels}}} {value} {}", seconds(ts_ms))?;
                }
            }
            number = end;
        }
    }
    writeln!(out, "# EOF")
}

/// Reads the points of some groups, each by itself: times in milliseconds, and values.
fn points(
    recording: &Recording,
    groups: &Groups,
    numbers: std::ops::Range<usize>,
    value: fn(&MemorySums) -> u64,
) -> io::Result<Vec<Vec<(i64, u64)>>> {
    let mut points = vec![Vec::new(); numbers.len()];
    groups.for_each_point_of(numbers.clone(), recording, |point| {
        if let Some(of) = points.get_mut(point.group.saturating_sub(numbers.start)) {
            of.push((point.ts_ms, value(&point.sums)));
        }
        Ok(())
    })?;
    Ok(points)
}

fn labels(groups: &Groups, number: usize, id: &str) -> String {
    let Some(group) = groups.get(number) else { return id.to_owned() };
    let role = escaped(&group.role);
    match &group.process {
        None => format!("{id},role=\"{role}\""),
        Some(own) => format!(
            "{id},role=\"{role}\",comm=\"{}\",pid=\"{}\",process=\"{}\"",
            escaped(&own.comm),
            own.pid,
            own.process
        ),
    }
}

/// Writes the peaks of each attempt of each test, with bounds, at the time of its end.
///
/// # Errors
///
/// What `out` says.
pub fn write_run(results: &Results, out: &mut impl Write) -> io::Result<()> {
    let attempts: Vec<(String, i64, &AttemptResults)> = results
        .tests
        .iter()
        .flat_map(|test| test.attempts.iter().map(move |attempt| (&test.name, attempt)))
        .filter_map(|(test, attempt)| {
            let labels = format!(
                "suite=\"{}\",test=\"{}\",repetition=\"{}\",attempt=\"{}\"",
                escaped(&results.suite),
                escaped(test),
                attempt.repetition,
                attempt.attempt
            );
            Some((labels, ended_ms(attempt)?, attempt))
        })
        .collect();
    head(
        out,
        "memsample_test_outcome",
        "gauge",
        "1 for the word that says how the attempt ended.",
    )?;
    for (labels, ts_ms, attempt) in &attempts {
        let outcome = attempt.ended.outcome.word();
        writeln!(
            out,
            "memsample_test_outcome{{{labels},outcome=\"{outcome}\"}} 1 {}",
            seconds(*ts_ms)
        )?;
    }
    head(out, "memsample_test_duration_seconds", "gauge", "How long the attempt took.")?;
    for (labels, ts_ms, attempt) in &attempts {
        let Some(ns) = attempt.ended.duration_ns else { continue };
        let length = ns as f64 / 1e9;
        writeln!(out, "memsample_test_duration_seconds{{{labels}}} {length} {}", seconds(*ts_ms))?;
    }
    type Side = (&'static str, &'static str, fn(BoundedBytes) -> Option<u64>);
    const SIDES: [Side; 2] = [
        ("bytes", "it was this at least", |bytes| Some(bytes.lower)),
        ("upper_bytes", "it was this at most; absent where nothing bounds it", |bytes| bytes.upper),
    ];
    for measure in Measure::ALL {
        for (suffix, meaning, side) in SIDES {
            let name = format!("memsample_test_{}_{suffix}", measure.word());
            head(out, &name, "gauge", &format!("{}: {meaning}.", measure.help()))?;
            for (labels, ts_ms, attempt) in &attempts {
                if let Some(bytes) = measure.of(attempt).and_then(side) {
                    writeln!(out, "{name}{{{labels}}} {bytes} {}", seconds(*ts_ms))?;
                }
            }
        }
    }
    writeln!(out, "# EOF")
}

/// Returns when an attempt ended, in milliseconds since 1970; `None` where it was not started.
fn ended_ms(attempt: &AttemptResults) -> Option<i64> {
    let started: Timestamp = attempt.ended.started?;
    let lasted = attempt.ended.duration_ns.unwrap_or(0) / 1_000_000;
    Some(started.as_millisecond().saturating_add(i64::try_from(lasted).unwrap_or(0)))
}

/// Writes what a family is. The unit is that in which its name ends.
fn head(out: &mut impl Write, name: &str, kind: &str, help: &str) -> io::Result<()> {
    writeln!(out, "# TYPE {name} {kind}")?;
    if let Some(unit) = ["bytes", "seconds"].into_iter().find(|unit| name.ends_with(unit)) {
        writeln!(out, "# UNIT {name} {unit}")?;
    }
    writeln!(out, "# HELP {name} {}", escaped(help))
}

/// Formats milliseconds as seconds, exactly.
fn seconds(ts_ms: i64) -> String {
    format!("{}.{:03}", ts_ms.div_euclid(1000), ts_ms.rem_euclid(1000))
}

/// Returns a text as the value of a label.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use memsample::{Recorder, RecorderOptions};

    #[test]
    fn the_value_of_a_label_is_on_one_line_and_ends_at_its_quote() {
        assert_eq!(escaped("a\"b\\c\nd{e}"), "a\\\"b\\\\c\\nd{e}");
    }

    #[test]
    fn what_does_not_fit_into_memory_is_written_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let recorder = Recorder::start(&directory.path().join("run"), RecorderOptions::default());
        let recording = recorder.unwrap().stop().unwrap();
        let groups = Groups::of(&recording, By::Process, 7).unwrap();
        let text = |at_a_time| {
            let mut text = Vec::new();
            write_in_parts(&recording, &groups, at_a_time, &mut text).unwrap();
            String::from_utf8(text).unwrap()
        };
        let whole = text(1000);
        assert!(whole.contains("\nmemsample_process_resident_bytes{"), "{whole}");
        for at_a_time in [1, 2, 3] {
            assert_eq!(text(at_a_time), whole);
        }
    }

    #[test]
    fn times_are_exact() {
        assert_eq!(seconds(1_700_000_000_007), "1700000000.007");
    }
}
