//! What a person reads of leaks.

use std::fmt::Write as _;

use memsample_input::{count, folded, printable, rounded_size, shortened};
use memsample_leaks::{Judgement, MIN_SAMPLES, Rate, RoleJudgement, Verdict};
use unicode_width::UnicodeWidthStr;

use super::found::{Found, Reached, Told, ToldSeries, is_short};

/// Columns of a text that is read elsewhere than on a terminal.
const WIDTH: usize = 120;
/// Columns of a verdict.
const VERDICT: usize = 11;
/// Between two columns.
const SPACE: usize = 2;
/// Columns that a name has at least, before the interval is left out.
const MIN_NAME: usize = 24;
/// Rows of what does not leak that are listed without `--all`.
const MAX_ROWS: usize = 40;

/// One row of the table.
struct Row<'a> {
    told: &'a Told,
    name: String,
    growth: String,
    interval: String,
}

/// Returns the table for a terminal of so many columns, if it is one; `with_all` lists everything.
pub(super) fn text(found: &Found, width: Option<usize>, with_all: bool) -> String {
    let width = width.unwrap_or(WIDTH);
    let is_leak = |it: &Told| it.of.judgement.verdict == Verdict::Leaks;
    let wants_attention =
        |it: &Told| it.of.judgement.verdict != Verdict::Steady && !is_short(&it.of.judgement);
    let mut left = MAX_ROWS;
    let mut hidden = 0;
    let mut rows: Vec<Row<'_>> = Vec::new();
    for told in found.judgements.iter().filter(|it| with_all || wants_attention(it)) {
        if !with_all && !is_leak(told) {
            if left == 0 {
                hidden += 1;
                continue;
            }
            left -= 1;
        }
        let by_hour = told.of.judgement.by_hour;
        rows.push(Row {
            told,
            name: name(&told.of),
            growth: by_hour.map_or("-".to_owned(), |rate| format!("{}/h", signed(rate.rate))),
            interval: by_hour.map_or("-".to_owned(), interval),
        });
    }
    let mut text = String::new();
    if !rows.is_empty() {
        table(&mut text, &rows, width);
    }
    let mut said = |line: String| text.push_str(&folded(&format!("{line}\n"), Some(width)));
    if hidden > 0 {
        said(format!("… and {hidden} more that do not leak: --all lists them"));
    }
    if !with_all {
        let short = found.judgements.iter().filter(|it| is_short(&it.of.judgement)).count();
        if short > 0 {
            said(format!(
                "{short} with fewer than {MIN_SAMPLES} samples: cannot tell; record for longer, or with a shorter \
                 --interval"
            ));
        }
        let steady = found.count(Verdict::Steady);
        if steady > 0 {
            said(format!("{steady} steady: --all lists them"));
        }
    }
    if found.judgements.is_empty() {
        said("no process was sampled".to_owned());
    }
    let counts = Verdict::BY_ATTENTION
        .map(|verdict| format!("{} {}", found.count(verdict), verdict.words()));
    said(counts.join(", "));
    text
}

fn table(text: &mut String, rows: &[Row<'_>], width: usize) {
    let widest = |cell: for<'r> fn(&'r Row<'_>) -> &'r str, head: &str| {
        rows.iter().map(|row| cell(row).width()).chain([head.width()]).max().unwrap_or(0)
    };
    let growth = widest(|row| &row.growth, "GROWTH");
    let range = widest(|row| &row.interval, "INTERVAL");
    let others = VERDICT + growth + 2 * SPACE;
    let with_range = others + range + SPACE + MIN_NAME <= width;
    let others = if with_range { others + range + SPACE } else { others };
    let room = width.saturating_sub(others).max(8);
    let name = widest(|row| &row.name, "NAME").min(room);
    let line = |text: &mut String, [verdict, of, by_hour, interval]: [&str; 4]| {
        let of = shortened(of, name);
        let pad = " ".repeat(name.saturating_sub(of.width()));
        // Writing to a string cannot fail.
        let _ = write!(text, "{verdict:<VERDICT$}  {of}{pad}  {by_hour:>growth$}");
        let _ = if with_range { writeln!(text, "  {interval:>range$}") } else { writeln!(text) };
    };
    line(text, ["VERDICT", "NAME", "GROWTH", "INTERVAL"]);
    for row in rows {
        let verdict = row.told.of.judgement.verdict;
        line(text, [verdict.words(), &row.name, &row.growth, &row.interval]);
        if verdict != Verdict::Steady {
            text.push_str(&folded(&format!("  {}\n", sentence(row.told)), Some(width)));
        }
    }
}

/// Says why, and what follows.
fn sentence(told: &Told) -> String {
    let judgement = &told.of.judgement;
    let mut parts = vec![judgement.reason.clone()];
    if let (Some(rate), Some(mark)) = (judgement.by_cycle, &told.of.cycle_mark)
        && judgement.verdict == Verdict::Leaks
    {
        parts.push(format!("{} for each mark `{}`", signed(rate.rate), printable(mark)));
    }
    parts.extend(reaches(&told.reached));
    parts.join("; ")
}

/// Says when the limit is reached.
fn reaches(reached: &Reached) -> Option<String> {
    let (limit, (soonest, latest)) = reached.of.zip(reached.hours())?;
    let limit_text = format!("{} of {}", limit.limit.words(), rounded_size(limit.limit_bytes));
    if latest <= 0.0 {
        return Some(format!("it has reached {limit_text}"));
    }
    let (soonest, latest) = (hours(soonest), hours(latest));
    Some(match soonest == latest {
        true => format!("it reaches {limit_text} {soonest} after its end"),
        false => format!("it reaches {limit_text} {soonest} to {latest} after its end"),
    })
}

/// Returns the text of a single series.
pub(super) fn series(told: &ToldSeries, width: Option<usize>) -> String {
    let Judgement {
        verdict,
        reason,
        by_hour,
        by_cycle,
        samples,
        warm_up_s,
        gaps,
        longest_gap_s,
        ..
    } = &told.judgement;
    let mut lines = vec![format!("{}: {reason}", verdict.words())];
    if let Some(rate) = by_hour {
        lines.push(format!("growth: {} an hour (99 %: {})", signed(rate.rate), interval(*rate)));
    }
    if let Some(rate) = by_cycle {
        lines.push(format!("growth: {} a cycle (99 %: {})", signed(rate.rate), interval(*rate)));
    }
    lines.extend(reaches(&told.reached));
    let mut of = vec![count(*samples as u64, "sample")];
    if *warm_up_s > 0.0 {
        of.push(format!("{} at the begin left out as warm-up", hours(warm_up_s / 3600.0)));
    }
    if *gaps > 0 {
        let longest = hours(longest_gap_s / 3600.0);
        of.push(format!("{}, the longest of {longest}", count(*gaps as u64, "gap")));
    }
    if told.unmeasured > 0 {
        of.push(format!("{} without bytes", count(told.unmeasured, "row")));
    }
    lines.push(format!("from {}", of.join(", ")));
    if let Some(confidence) = told.judgement.confidence {
        lines.push(format!("confidence: {:.1} % of resamples agree", 100.0 * confidence));
    }
    folded(&(lines.join("\n") + "\n"), width)
}

/// Names what was judged: `soak [2], role cc`, `role cc`, `all roles`.
fn name(of: &RoleJudgement) -> String {
    let role = match &of.role {
        Some(role) => format!("role {role}"),
        None => "all roles".to_owned(),
    };
    let name = match (&of.test, of.attempt) {
        (None, _) => role,
        (Some(test), None | Some(1)) => format!("{test}, {role}"),
        (Some(test), Some(attempt)) => format!("{test} [{attempt}], {role}"),
    };
    printable(&name)
}

fn interval(rate: Rate) -> String {
    format!("{} to {}", signed(rate.lower), signed(rate.upper))
}

/// Formats a change of memory: `+1.5 MiB`.
fn signed(bytes: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is not negative, and saturates"
    )]
    let size = rounded_size(bytes.abs().round() as u64);
    match bytes {
        bytes if bytes.abs() < 0.5 => size,
        bytes if bytes < 0.0 => format!("-{size}"),
        _ => format!("+{size}"),
    }
}

/// Formats a length of time: `45 s`, `12 min`, `3.1 h`, `4.2 days`.
fn hours(hours: f64) -> String {
    match hours * 3600.0 {
        seconds if seconds < 120.0 => format!("{seconds:.0} s"),
        seconds if seconds < 7200.0 => format!("{:.0} min", seconds / 60.0),
        _ if hours < 48.0 => format!("{hours:.1} h"),
        _ if hours < 24.0 * 1000.0 => format!("{:.1} days", hours / 24.0),
        _ => "more than 1000 days".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_and_times_have_units() {
        let sizes = [signed(1536.0), signed(-2.0 * 1024.0 * 1024.0), signed(0.2), signed(f64::MAX)];
        assert_eq!(sizes[..3], ["+1.5 KiB", "-2.0 MiB", "0 B"]);
        let times = [0.001, 0.5, 5.0, 72.0, 1e9].map(hours);
        assert_eq!(times, ["4 s", "30 min", "5.0 h", "3.0 days", "more than 1000 days"]);
    }
}
