//! A report as text, for a terminal and for a report of a bug.

use std::fmt::Write as _;
use std::time::Duration;

use memsample_input::table::{align_right, lines, plain_table};
use memsample_input::{ascii, clipped, count, folded, printable, rounded_size};
use memsample_runner::results::wording::duration;
use unicode_width::UnicodeWidthStr;

use crate::report::{Part, Report, TestReport};
use crate::sparkline::sparkline;
use crate::wording::{
    UNKNOWN, at_least, bounds, by_attention, counts, event, losses, name, nanoseconds, percent,
    share, since, verdict, without_upper_bound,
};

/// Tests up to which all are listed; of more, those that want attention and the largest.
const MAX_TESTS: usize = 40;
/// Notes and events of a recording.
const MAX_LINES: usize = 10;
/// Reasons why tests have no upper bound.
const MAX_REASONS: usize = 5;
/// Columns of a curve in a table, at least and at most.
const CURVE: (usize, usize) = (9, 24);
/// Columns of a name in a table, at least and at most.
const NAME: (usize, usize) = (10, 40);

/// How a text is shown.
#[derive(Clone, Copy, Debug)]
pub struct TextStyle {
    /// The columns that there are.
    pub width: usize,
    /// Whether only ASCII can be shown.
    pub ascii: bool,
}

/// Returns a report as text.
#[must_use]
pub fn text(report: &Report, style: TextStyle) -> String {
    let mut text = Text { style, text: String::new() };
    text.heading(report);
    for part in &report.parts {
        text.machine(part, report.parts.len() > 1);
    }
    text.tests(report);
    for part in &report.parts {
        text.sampling(part);
    }
    let notes = report.results.iter().flat_map(|results| &results.notes).chain(&report.notes);
    for note in notes.take(MAX_LINES) {
        text.line(&format!("note: {}", printable(note)));
    }
    if style.ascii {
        return ascii(&text.text);
    }
    text.text
}

/// A column of a table.
struct Column {
    head: &'static str,
    cells: Vec<String>,
    /// Whether it is a name, which takes what room there is.
    is_name: bool,
}

struct Text {
    style: TextStyle,
    text: String,
}

impl Text {
    fn heading(&mut self, report: &Report) {
        let title = name(&report.title, self.style.width.max(8) - 1);
        let Some(results) = &report.results else {
            self.line(&title);
            return;
        };
        self.line(&title);
        let lasted = duration(Duration::from_nanos(results.duration_ns));
        let tests = count(results.tests.len() as u64, "test");
        self.line(&format!(
            "{}: {tests}, {}, in {lasted}",
            results.outcome.word(),
            counts(results)
        ));
        let origin = &results.origin;
        let machine = [
            origin.host.as_deref().map(printable),
            origin.kernel.as_deref().map(|kernel| format!("Linux {}", printable(kernel))),
            origin.cpus.map(|cpus| count(cpus, "CPU")),
            origin.memory_bytes.map(rounded_size),
            origin
                .commit
                .as_deref()
                .map(|it| format!("commit {}", it.chars().take(12).collect::<String>())),
        ];
        let machine: Vec<String> = machine.into_iter().flatten().collect();
        self.line(&machine.join(", "));
    }

    fn machine(&mut self, part: &Part, is_named: bool) {
        self.text.push('\n');
        let timeline = &part.timeline;
        let Some(peak) = &timeline.peak else {
            self.line("nothing was sampled: the recording has no sample");
            return;
        };
        let of = if is_named { format!("{}: ", name(&part.name, 40)) } else { String::new() };
        self.line(&format!(
            "{of}all processes together: peak RSS {} after {}, in {}",
            rounded_size(peak.sums.rss_bytes),
            since(peak.ts_ms - timeline.begin_ms),
            count(peak.sums.processes.into(), "process")
        ));
        let span = (timeline.begin_ms, timeline.end_ms);
        let columns = self.style.width.saturating_sub(1).clamp(8, 79);
        let line =
            sparkline(&timeline.machine, span, peak.sums.rss_bytes, columns, self.style.ascii);
        self.line(line.trim_end());
        let end = since(timeline.end_ms - timeline.begin_ms);
        let room = columns.saturating_sub("0 s".len() + end.width());
        self.line(&format!("0 s{}{end}", " ".repeat(room)));
        self.limits(part);
        let layers = || timeline.layers.iter().zip(&peak.layers);
        let peak_of = |bytes: Option<u64>| bytes.map_or_else(|| UNKNOWN.to_owned(), rounded_size);
        let columns = vec![
            Column::name("ROLE", layers().map(|(layer, _)| layer.name.clone())),
            Column::new(
                "PEAK RSS",
                layers().map(|(layer, _)| peak_of(layer.peak.map(|it| it.bytes))),
            ),
            Column::new("AT PEAK", layers().map(|(_, sums)| rounded_size(sums.rss_bytes))),
        ];
        self.text.push('\n');
        let is_ascii = self.style.ascii;
        self.table(columns, |row, columns| {
            let layer = timeline.machine.layer(row);
            let top = layer.peak().map_or(0, |point| point.value);
            sparkline(&layer, span, top, columns, is_ascii)
        });
        for it in part.marks.events.iter().take(MAX_LINES) {
            self.line(&format!("after {}: {}", since(it.ts_ms - timeline.begin_ms), event(it)));
        }
    }

    fn limits(&mut self, part: &Part) {
        let machine = &part.machine;
        let used = machine.used.peak().map(|point| point.value);
        if let (Some(used), Some(total)) = (used, machine.total_bytes) {
            self.line(&format!(
                "the machine used {} of {} at most ({})",
                rounded_size(used),
                rounded_size(total),
                share(used, total)
            ));
        }
        for group in part.limits.iter().take(3) {
            self.line(&format!(
                "control group {}: {} of {} at most ({})",
                name(&group.cgroup, 40),
                rounded_size(group.largest_bytes),
                rounded_size(group.limit_bytes),
                share(group.largest_bytes, group.limit_bytes)
            ));
        }
        match machine.pressure.peak() {
            Some(peak) if peak.value > 0 => {
                self.line(&format!("memory pressure: {} of the time at most", percent(peak.value)));
            }
            _ if machine.has_pressure => self.line("memory pressure: none"),
            _ => self.line("memory pressure: not measured"),
        }
        if let Some(kills @ 1..) = machine.oom_kills {
            self.line(&format!("OOM kills on the whole host: {kills}"));
        }
    }

    fn tests(&mut self, report: &Report) {
        if report.tests.is_empty() {
            return;
        }
        let is_short = report.tests.len() <= MAX_TESTS;
        let tests: Vec<&TestReport> = match is_short {
            true => report.tests.iter().collect(),
            false => by_attention(&report.tests).into_iter().take(MAX_TESTS).collect(),
        };
        let has_verdicts = tests.iter().any(|test| test.verdict.is_some());
        let memory = |test: &TestReport| test.memory.as_ref().and_then(|memory| memory.rss_peak());
        let mut columns = Vec::new();
        if has_verdicts {
            let word = |test: &&TestReport| test.verdict.map_or(UNKNOWN.to_owned(), verdict);
            columns.push(Column::new("VERDICT", tests.iter().map(word)));
        }
        columns.push(Column::name("TEST", tests.iter().map(|test| test.name.clone())));
        columns.push(Column::new("RSS PEAK", tests.iter().map(|test| bounds(memory(test)))));
        if self.style.width >= 60 {
            let pss = |test: &&TestReport| test.memory.as_ref().and_then(|it| it.pss_peak());
            columns.push(Column::new("PSS PEAK", tests.iter().map(|it| at_least(pss(it)))));
            columns.push(Column::new("TIME", tests.iter().map(|it| nanoseconds(it.duration_ns))));
        }
        self.text.push('\n');
        let has_sign =
            columns.iter().flat_map(|column| &column.cells).any(|cell| cell.starts_with('≥'));
        let is_ascii = self.style.ascii;
        self.table(columns, |row, columns| {
            let curve = tests.get(row).and_then(|test| test.curve());
            curve.map_or(String::new(), |curve| {
                let top = curve.rss.peak().map_or(0, |point| point.value);
                sparkline(&curve.rss, (curve.begin_ms, curve.end_ms), top, columns, is_ascii)
            })
        });
        if !is_short {
            let more = report.tests.len() - tests.len();
            self.line(&format!("… and {more} more that did not want attention"));
        }
        let wrong = tests.iter().filter(|test| !test.is_success());
        let whys: Vec<String> = wrong
            .filter_map(|test| {
                let why = test.why.as_ref()?;
                Some(format!("{}: {}", name(&test.name, 40), name(why, 300)))
            })
            .collect();
        if !whys.is_empty() {
            self.text.push('\n');
        }
        whys.iter().for_each(|why| self.line(why));
        let reasons = without_upper_bound(&tests, MAX_REASONS);
        if has_sign {
            self.text.push('\n');
            self.line("≥: at least");
        }
        reasons.iter().for_each(|why| self.line(why));
    }

    fn sampling(&mut self, part: &Part) {
        self.text.push('\n');
        let (sampling, totals) = (&part.sampling, &part.sampling.totals);
        self.line(&format!(
            "{} of {} in {}, every {} ms",
            count(totals.samples, "sample"),
            count(totals.processes, "process image"),
            count(sampling.ticks, "tick"),
            sampling.interval_ms
        ));
        let losses = losses(part);
        losses.iter().for_each(|loss| self.line(&format!("lost: {loss}")));
        if losses.is_empty() {
            self.line("nothing was lost");
        }
        for note in part.manifest.notes.iter().take(MAX_LINES) {
            self.line(&format!("note: {}", printable(note)));
        }
    }

    /// Adds a table, with a curve for each row in what room is left: names have it first.
    fn table(&mut self, mut columns: Vec<Column>, curve: impl Fn(usize, usize) -> String) {
        let widest = |column: &Column| {
            column
                .cells
                .iter()
                .map(|cell| cell.width())
                .chain([column.head.width()])
                .max()
                .unwrap_or(0)
        };
        let names: usize = columns.iter().filter(|column| column.is_name).map(widest).sum();
        let others: usize =
            columns.iter().filter(|column| !column.is_name).map(|column| widest(column) + 2).sum();
        let room = self.style.width.saturating_sub(others + 2);
        // Where there is no room for a curve beside names, they have it all.
        let beside = room.saturating_sub(CURVE.0 + 2);
        let has_curve = beside >= names.min(NAME.0);
        let names = names.min(if has_curve { beside } else { room }.max(NAME.0)).min(NAME.1);
        let left = if has_curve { room.saturating_sub(names + 2).min(CURVE.1) } else { 0 };
        let rows = columns.iter().map(|column| column.cells.len()).max().unwrap_or(0);
        if left >= CURVE.0 {
            columns.push(Column::new("OVER TIME", (0..rows).map(|row| curve(row, left))));
        }
        let mut table = plain_table();
        table.set_header(columns.iter().map(|column| column.head));
        for row in 0..rows {
            table.add_row(columns.iter().map(|column| {
                let cell = column.cells.get(row).cloned().unwrap_or_default();
                if column.is_name { name(&cell, names) } else { cell }
            }));
        }
        let is_left =
            |column: &Column| column.is_name || matches!(column.head, "VERDICT" | "OVER TIME");
        align_right(&mut table, |index| columns.get(index).is_some_and(|it| !is_left(it)));
        for line in lines(&table).lines() {
            // A terminal that is narrower than any table.
            let line = clipped(line, self.style.width.max(8));
            let _ = writeln!(self.text, "{line}");
        }
    }

    /// Adds a line, folded between its words.
    fn line(&mut self, line: &str) {
        self.text.push_str(&folded(line, Some(self.style.width.max(8))));
        self.text.push('\n');
    }
}

impl Column {
    fn new(head: &'static str, cells: impl Iterator<Item = String>) -> Self {
        Self { head, cells: cells.collect(), is_name: false }
    }

    fn name(head: &'static str, cells: impl Iterator<Item = String>) -> Self {
        Self { is_name: true, ..Self::new(head, cells) }
    }
}
