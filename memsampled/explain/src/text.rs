//! An explanation as text for a terminal.

use memsample_input::{folded, printable, rounded_size, shortened};
use memsample_runner::results::Verdict;
use memsample_runner::results::wording::attempt_label;
use unicode_width::UnicodeWidthStr;

use crate::change::Change;
use crate::explanation::{Before, Explanation};
use crate::last_second::LargeProcess;

/// Other tests that are named.
const MAX_OTHERS: usize = 5;
/// Columns of all but the role.
const OTHER_COLUMNS: usize = 65;
/// Columns that a role has in a sentence, at most.
const MAX_ROLE: usize = 60;
/// Columns that a role has at least.
const MIN_ROLE: usize = 12;

/// Returns an explanation as text of `width` columns.
#[must_use]
pub fn text(explanation: &Explanation, width: usize) -> String {
    let mut text = String::new();
    let mut say = |line: &str| text.push_str(&folded(&format!("{line}\n"), Some(width)));
    say(&first_line(explanation));
    for why in &explanation.why {
        say(&format!("  {}", printable(why)));
    }
    if let Some(peak) = explanation.rss_peak_bytes {
        let upper = match explanation.rss_peak_bytes_upper {
            Some(upper) => format!("at most {}", rounded_size(upper)),
            None => "no upper bound is known".to_owned(),
        };
        say(&format!("peak RSS of all its processes: at least {}, {upper}", rounded_size(peak)));
    }
    if let Some(seen) = seen(explanation) {
        say(&format!("\n{seen}"));
        text.push_str(&match width < OTHER_COLUMNS + MIN_ROLE {
            true => blocks(&explanation.largest, width),
            false => table(&explanation.largest, width),
        });
        text.push_str(&folded(
            "GREW: in the ten seconds before, or since its first sample. DOUBLED IN: it had half of its RSS so long before.\n",
            Some(width),
        ));
    }
    let mut say = |line: &str| text.push_str(&folded(&format!("{line}\n"), Some(width)));
    for (index, limit) in explanation.limits.iter().enumerate() {
        let gap = if index == 0 { "\n" } else { "" };
        let (used, of) = (rounded_size(limit.used_bytes), rounded_size(limit.limit_bytes));
        match (&limit.cgroup, limit.age_ms) {
            (Some(cgroup), age) => say(&format!(
                "{gap}limit: {used} of {of} charged to the control group {} (read {:.1} s before)",
                printable(cgroup),
                age.unwrap_or(0) as f64 / 1000.0
            )),
            (None, _) => {
                say(&format!("{gap}machine: {used} of {of} could not be had without swapping"))
            }
        }
    }
    if let Some(change) = &explanation.change {
        say("\nagainst the base:");
        changes(change).iter().for_each(|line| say(&format!("  {line}")));
    }
    if !explanation.not_seen.is_empty() {
        say("\nnot seen:");
        explanation.not_seen.iter().for_each(|line| say(&format!("  {}", printable(line))));
    }
    if !explanation.others.is_empty() {
        let named = explanation.others.iter().take(MAX_OTHERS).map(|it| printable(it));
        let named: Vec<String> = named.collect();
        let more = match explanation.others.len().saturating_sub(MAX_OTHERS) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        say(&format!("\nother tests that did not pass: {}{more}; see --test", named.join(", ")));
    }
    text
}

fn first_line(explanation: &Explanation) -> String {
    let Some(test) = &explanation.test else {
        return match &explanation.suite {
            Some(_) => "the machine at that instant:".to_owned(),
            None => "why the recording ended:".to_owned(),
        };
    };
    let (repetition, attempt) = (explanation.repetition, explanation.attempt);
    let name = attempt_label(test, repetition.unwrap_or(1), attempt.unwrap_or(1));
    format!("{name} {}", explanation.outcome.map_or("", Verdict::phrase))
}

fn seen(explanation: &Explanation) -> Option<String> {
    let (at, before) = (explanation.at?, explanation.before_ms? as f64 / 1000.0);
    let (rss, processes) = (explanation.rss_bytes?, explanation.processes?);
    let what = match explanation.before {
        Before::Kill => "the kill",
        Before::End => "the end",
        Before::Instant => "that instant",
    };
    Some(format!(
        "largest in the last second before {what}: {} in {processes} process{} at {at:.3}, {before:.3} s before",
        rounded_size(rss),
        if processes == 1 { "" } else { "es" },
    ))
}

fn table(largest: &[LargeProcess], width: usize) -> String {
    let room = width.saturating_sub(OTHER_COLUMNS).max(MIN_ROLE);
    let roles: Vec<String> =
        largest.iter().map(|it| shortened(&printable(&it.role), room)).collect();
    let widest = roles.iter().map(|role| role.width()).max().unwrap_or(0).max(4);
    let mut text = format!(
        "ROLE{}  {:>7} {:>10} {:>10} {:>10} {:>11} {:>10}\n",
        " ".repeat(widest - 4),
        "PID",
        "RSS",
        "ANON",
        "SWAP",
        "GREW",
        "DOUBLED IN"
    );
    for (it, role) in largest.iter().zip(&roles) {
        let pid = pid(it).unwrap_or_else(|| "-".to_owned());
        text.push_str(&format!(
            "{role}{}  {pid:>7} {:>10} {:>10} {:>10} {:>11} {:>10}\n",
            " ".repeat(widest - role.width()),
            rounded_size(it.rss_bytes),
            rounded_size(it.anon_bytes),
            rounded_size(it.swap_bytes),
            grown(it),
            doubled(it).unwrap_or_else(|| "-".to_owned()),
        ));
    }
    text
}

/// Says the same in a sentence for each process, where a table does not fit.
fn blocks(largest: &[LargeProcess], width: usize) -> String {
    let sentence = |it: &LargeProcess| {
        let pid = pid(it).map_or(String::new(), |pid| format!(" ({pid})"));
        let doubled = doubled(it).map_or(String::new(), |time| format!(", doubled in {time}"));
        let sentence = format!(
            "{}{pid}: RSS {}, anonymous {}, in swap {}, grew {}{doubled}\n",
            shortened(&printable(&it.role), MAX_ROLE),
            rounded_size(it.rss_bytes),
            rounded_size(it.anon_bytes),
            rounded_size(it.swap_bytes),
            grown(it),
        );
        folded(&sentence, Some(width))
    };
    largest.iter().map(sentence).collect()
}

fn pid(it: &LargeProcess) -> Option<String> {
    (it.pid != 0).then(|| it.pid.to_string())
}

fn grown(it: &LargeProcess) -> String {
    let sign = if it.grown_bytes < 0 { "-" } else { "+" };
    format!("{sign}{}", rounded_size(it.grown_bytes.unsigned_abs()))
}

fn doubled(it: &LargeProcess) -> Option<String> {
    it.doubled_in_ms.map(|ms| format!("{:.1} s", ms as f64 / 1000.0))
}

fn changes(change: &Change) -> Vec<String> {
    let Some(outcome) = change.base_outcome else {
        return vec!["it has no such test".to_owned()];
    };
    let mut lines = vec![format!("there it {}", outcome.phrase())];
    let size = |bytes: Option<u64>| bytes.map_or("not measured".to_owned(), rounded_size);
    let sure = match change.bounds_differ {
        Some(true) => "their bounds do not overlap",
        Some(false) => "their bounds overlap: it may be one of sampling",
        None => "without an upper bound it cannot be told whether it is one of sampling",
    };
    lines.push(format!(
        "peak RSS at least {} there, {} here; {sure}; `memsample compare` tells changes from noise",
        size(change.base_rss_peak_bytes),
        size(change.rss_peak_bytes)
    ));
    for role in &change.roles {
        let (there, here) = (size(role.base_rss_peak_bytes), size(role.rss_peak_bytes));
        lines.push(format!("{}: {there} there, {here} here", printable(&role.role)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let process = LargeProcess {
            process: 1,
            pid: 4_194_304,
            role: "a long role 日本 ".repeat(1000),
            rss_bytes: (1024 << 20) - 1,
            anon_bytes: (1024 << 20) - 1,
            swap_bytes: 0,
            grown_bytes: -((1000 << 20) - 1),
            doubled_in_ms: Some(86_400_000),
        };
        let narrow = blocks(&[LargeProcess { role: "cc1".to_owned(), ..process.clone() }], 20);
        assert!(narrow.lines().all(|line| line.width() <= 20), "{narrow}");
        assert_eq!(
            narrow.replace("\n ", ""),
            "cc1 (4194304): RSS 1024.0 MiB, anonymous 1024.0 MiB, in swap 0 B, grew -1000.0 MiB, doubled in 86400.0 s\n"
        );
        let table = table(&[process], 80);
        assert_eq!(table.lines().count(), 2);
        assert!(table.lines().all(|line| line.width() <= 80), "{table}");
    }
}
