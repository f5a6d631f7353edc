//! How numbers and names are put into words, alike in HTML, Markdown and text.

use std::time::Duration;

use jiff::Timestamp;
use memsample::MarkKind;
use memsample_input::{count, printable, rounded_size};
use memsample_runner::results::wording::{bounded, duration, no_upper_bound};
use memsample_runner::results::{BoundedBytes, Results, Verdict};
use unicode_width::UnicodeWidthChar;

use crate::recorded::marks::RecordedEvent;
use crate::report::{Part, TestReport};

/// What stands for what is not known.
pub(crate) const UNKNOWN: &str = "-";

/// Formats bounds; `-` where nothing was measured.
pub(crate) fn bounds(bytes: Option<BoundedBytes>) -> String {
    bytes.map_or_else(|| UNKNOWN.to_owned(), bounded)
}

/// Formats the lower of two bounds, where there is no room for both: `≥` stands before what may have been more.
pub(crate) fn at_least(bytes: Option<BoundedBytes>) -> String {
    bounds(bytes.map(|known| BoundedBytes {
        upper: known.upper.filter(|&upper| rounded_size(upper) == rounded_size(known.lower)),
        ..known
    }))
}

/// Formats a length of time in nanoseconds; `-` where it is not known.
pub(crate) fn nanoseconds(ns: Option<u64>) -> String {
    ns.map_or_else(|| UNKNOWN.to_owned(), |ns| duration(Duration::from_nanos(ns)))
}

/// Formats a time since the begin of a recording: `0.8 s`, `12 min 30 s`, `2 h 5 min`.
pub(crate) fn since(ms: i64) -> String {
    let sign = if ms <= -50 { "-" } else { "" };
    // Rounded to a tenth, in which short times are.
    let ms = (ms.unsigned_abs() + 50) / 100 * 100;
    let seconds = ms / 1000;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let text = match seconds {
        0..60 if ms.is_multiple_of(1000) => format!("{seconds} s"),
        0..60 => format!("{:.1} s", ms as f64 / 1000.0),
        60..3600 => match seconds % 60 {
            0 => format!("{minutes} min"),
            rest => format!("{minutes} min {rest} s"),
        },
        _ => match minutes {
            0 => format!("{hours} h"),
            minutes => format!("{hours} h {minutes} min"),
        },
    };
    format!("{sign}{text}")
}

/// Formats an instant in UTC: `2026-11-28 17:30:00.1 UTC`.
pub(crate) fn utc(ms: i64) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(at) => {
            let tenths = ms.rem_euclid(1000) / 100;
            format!("{}.{tenths} UTC", at.strftime("%Y-%m-%d %H:%M:%S"))
        }
        Err(_) => UNKNOWN.to_owned(),
    }
}

/// Formats a share in 1/10000: `12.3 %`.
pub(crate) fn percent(of_ten_thousand: u64) -> String {
    format!("{}.{} %", of_ten_thousand / 100, of_ten_thousand % 100 / 10)
}

/// Formats a share of two numbers: `12 %`.
pub(crate) fn share(part: u64, whole: u64) -> String {
    let percent = (u128::from(part) * 100).checked_div(u128::from(whole));
    percent.map_or_else(|| UNKNOWN.to_owned(), |percent| format!("{percent} %"))
}

/// Returns the word of a verdict for people.
pub(crate) fn verdict(verdict: Verdict) -> String {
    verdict.word().replace('_', " ")
}

/// Counts the verdicts of a run: `1 failed, 2 passed`.
pub(crate) fn counts(results: &Results) -> String {
    let count = |verdict: Verdict| {
        let count = results.counts.get(&verdict).copied().filter(|&count| count > 0)?;
        Some(format!("{count} {}", self::verdict(verdict)))
    };
    let counts: Vec<String> = Verdict::BY_ATTENTION.into_iter().filter_map(count).collect();
    if counts.is_empty() { "no test".to_owned() } else { counts.join(", ") }
}

/// Returns a name on one line, of `columns` at most; what is cut out is in its middle.
pub(crate) fn name(text: &str, columns: usize) -> String {
    // What is far too long is not escaped as a whole.
    let text = printable(&text.chars().take(4 * columns).collect::<String>());
    let width = |char: char| char.width().unwrap_or(0);
    if text.chars().map(width).sum::<usize>() <= columns {
        return text;
    }
    let kept = columns.saturating_sub(1);
    let first = |chars: &mut dyn Iterator<Item = char>, columns: usize| {
        let mut used = 0;
        let fits = |char: &char| {
            used += width(*char);
            used <= columns
        };
        chars.take_while(fits).collect::<String>()
    };
    let end = first(&mut text.chars().rev(), kept - kept / 2);
    let end: String = end.chars().rev().collect();
    format!("{}…{end}", first(&mut text.chars(), kept / 2))
}

/// Describes an event in a sentence.
pub(crate) fn event(event: &RecordedEvent) -> String {
    let what = match event.kind {
        MarkKind::OomKill => "OOM kill: ",
        MarkKind::Suspend => "suspended: ",
        MarkKind::ClockStep => "the clock was set: ",
        MarkKind::Stuck => "locked: ",
        _ => "",
    };
    let mut text = format!("{what}{}", name(&event.name, 300));
    for (key, value) in &event.labels {
        text.push_str(&format!("; {}: {}", name(key, 40), name(value, 200)));
    }
    if let Some(test) = &event.test {
        text.push_str(&format!(" (test {})", name(test, 100)));
    }
    text
}

/// Says what a recording lacks, a sentence each; none where it lacks nothing that bears on the numbers.
pub(crate) fn losses(part: &Part) -> Vec<String> {
    let totals = &part.sampling.totals;
    let mut losses = Vec::new();
    let mut add = |number: u64, thing: &str, meaning: &str| {
        if number > 0 {
            losses.push(format!("{}: {meaning}", count(number, thing)));
        }
    };
    add(totals.missed, "missed tick", "nothing was sampled at these planned instants");
    add(totals.late.saturating_sub(totals.missed), "late tick", "their sweep began too late");
    add(totals.dropped, "dropped sample", "sums at these ticks are too small");
    add(totals.denied, "denied reading", "the kernel refused to open the file");
    add(totals.unreadable, "unreadable file", "what they hold is not known");
    add(
        totals.events_lost,
        "lost event",
        "the kernel could not keep it, and a listing made up for it",
    );
    add(totals.exits_lost, "lost exit record", "peaks of these processes are lower bounds");
    add(
        totals.unseen,
        "unseen process",
        "it lived between two ticks, and nothing else is known of it",
    );
    add(totals.pss_skipped, "reading of PSS left out", "the process is too large for it");
    add(totals.stuck, "stuck sample", "a lock of the process was held");
    losses
}

/// Says of some tests why their sums have no upper bound, a sentence each, and how many more there are.
pub(crate) fn without_upper_bound(tests: &[&TestReport], most: usize) -> Vec<String> {
    let of = |test: &&TestReport| {
        let reasons = test.memory.as_ref().map(no_upper_bound).unwrap_or_default();
        let name = name(&test.name, 40);
        reasons.into_iter().map(move |reason| format!("{name}: {reason}"))
    };
    let mut said: Vec<String> = tests.iter().flat_map(of).collect();
    let more = said.len().saturating_sub(most);
    if more > 0 {
        said.truncate(most);
        said.push(format!("… and {more} more such reasons, which the report in HTML has"));
    }
    said
}

/// Returns the tests that did not succeed, and then the largest of the others.
pub(crate) fn by_attention(tests: &[TestReport]) -> Vec<&TestReport> {
    let rank = |test: &TestReport| {
        let attention = test.verdict.and_then(|verdict| {
            Verdict::BY_ATTENTION.into_iter().position(|other| other == verdict)
        });
        let attention =
            if test.is_success() { usize::MAX } else { attention.unwrap_or(usize::MAX) };
        (attention, std::cmp::Reverse(test.rss_peak_bytes()))
    };
    let mut sorted: Vec<&TestReport> = tests.iter().collect();
    sorted.sort_by_key(|test| rank(test));
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let texts = [0, 800, 5020, 60_000, 750_000, 7_200_000, 7_500_000, -100, -20].map(since);
        let expected =
            ["0 s", "0.8 s", "5 s", "1 min", "12 min 30 s", "2 h", "2 h 5 min", "-0.1 s", "0 s"];
        assert_eq!(texts, expected);
        assert_eq!(utc(1_764_351_000_123), "2025-11-28 17:30:00.1 UTC");
    }

    #[test]
    fn a_long_name_keeps_both_ends() {
        assert_eq!(name("abcdefgh", 5), "ab…gh");
        assert_eq!(name("a\nb", 9), "a\\nb");
        assert_eq!(name(&"x".repeat(10_000), 21).chars().count(), 21);
    }
}
