//! Peaks as text for a person, as JSON and as CSV.

use std::fmt::Write as _;

use jiff::Timestamp;
use memsample::analysis::{Bound, Composition, ProcessPeak, RolePeak};
use serde::Serialize;

use super::PeaksBy;
use crate::plain_table::{align_right, lines, plain_table};
use crate::text::cut;
use memsample_input::{printable, rounded_size};

/// Characters of a command line or a name that a person sees, with the mark of a cut.
const MAX_COMMAND_CHARS: usize = 60;

/// One row. Its keys are part of the interface: see docs/commands.md.
#[derive(Serialize)]
pub(super) struct Row {
    #[serde(flatten)]
    process: Option<Process>,
    /// `role` or `test` and the name of it.
    #[serde(flatten)]
    group: Group,
    #[serde(flatten)]
    members: Option<Members>,
    #[serde(flatten)]
    peak: Peak,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Group {
    Role(String),
    Test(String),
}

impl Group {
    fn name(&self) -> &str {
        match self {
            Self::Role(name) | Self::Test(name) => name,
        }
    }
}

#[derive(Serialize)]
struct Process {
    process: u64,
    pid: i32,
    ppid: i32,
    comm: String,
    command: Option<String>,
    samples: u64,
}

#[derive(Serialize)]
struct Members {
    images: u64,
    processes: u64,
}

#[derive(Serialize)]
struct Peak {
    lower_bytes: u64,
    lower_source: &'static str,
    upper_bytes: Option<u64>,
    upper_source: Option<&'static str>,
    by: Timestamp,
    by_ms: i64,
    sampled_at: Option<Timestamp>,
    rss_bytes: Option<u64>,
    anon_bytes: Option<u64>,
    file_bytes: Option<u64>,
    shmem_bytes: Option<u64>,
    swap_bytes: Option<u64>,
    rising_at_end: Option<bool>,
}

impl Row {
    pub(super) fn of_process(peak: ProcessPeak, started: Timestamp) -> Self {
        let ProcessPeak { lower, upper, by, composition, rising_at_end, .. } = peak;
        let process = Process {
            process: peak.process.0,
            pid: peak.pid,
            ppid: peak.ppid,
            comm: peak.comm,
            command: peak.cmdline,
            samples: peak.samples,
        };
        Self {
            process: Some(process),
            group: Group::Role(peak.role),
            members: None,
            peak: Peak::new(lower, upper, by, started, composition, rising_at_end),
        }
    }

    pub(super) fn of_role(peak: RolePeak, started: Timestamp) -> Self {
        Self::of_group(Group::Role(peak.role.clone()), peak, started)
    }

    pub(super) fn of_test(peak: RolePeak, started: Timestamp) -> Self {
        Self::of_group(Group::Test(peak.role.clone()), peak, started)
    }

    fn of_group(group: Group, peak: RolePeak, started: Timestamp) -> Self {
        let RolePeak { images, processes, lower, upper, by, composition, rising_at_end, .. } = peak;
        Self {
            process: None,
            group,
            members: Some(Members { images, processes }),
            peak: Peak::new(lower, upper, by, started, composition, rising_at_end),
        }
    }
}

impl Peak {
    fn new(
        lower: Bound,
        upper: Option<Bound>,
        by: Timestamp,
        started: Timestamp,
        composition: Option<Composition>,
        rising_at_end: Option<bool>,
    ) -> Self {
        Self {
            lower_bytes: lower.bytes,
            lower_source: lower.source.as_str(),
            upper_bytes: upper.map(|upper| upper.bytes),
            upper_source: upper.map(|upper| upper.source.as_str()),
            by,
            by_ms: by.as_millisecond().saturating_sub(started.as_millisecond()),
            sampled_at: composition.map(|composition| composition.ts),
            rss_bytes: composition.map(|composition| composition.rss_bytes),
            anon_bytes: composition.and_then(|composition| composition.anon_bytes),
            file_bytes: composition.and_then(|composition| composition.file_bytes),
            shmem_bytes: composition.and_then(|composition| composition.shmem_bytes),
            swap_bytes: composition.and_then(|composition| composition.swap_bytes),
            rising_at_end,
        }
    }
}

const PEAK_NAMES: [&str; 13] = [
    "lower_bytes",
    "lower_source",
    "upper_bytes",
    "upper_source",
    "by",
    "by_ms",
    "sampled_at",
    "rss_bytes",
    "anon_bytes",
    "file_bytes",
    "shmem_bytes",
    "swap_bytes",
    "rising_at_end",
];

/// Returns the rows as CSV, with a header. What is unknown is empty.
pub(super) fn csv(rows: &[Row], by: PeaksBy) -> anyhow::Result<String> {
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    let names: &[&str] = match by {
        PeaksBy::Process => &["process", "pid", "ppid", "comm", "command", "samples", "role"],
        PeaksBy::Role => &["role", "images", "processes"],
        PeaksBy::Test => &["test", "images", "processes"],
    };
    writer.write_record(names.iter().chain(&PEAK_NAMES))?;
    for Row { process, group, members, peak } in rows {
        let group = group.name();
        match (process, members) {
            (Some(process), _) => writer.serialize((process, group, peak))?,
            (None, Some(members)) => writer.serialize((group, members, peak))?,
            (None, None) => {}
        }
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

/// Returns the rows as a table.
pub(super) fn text(rows: &[Row], by: PeaksBy, error_bytes: Option<u64>) -> String {
    let mut table = plain_table();
    let parts = ["PEAK RSS", "AT", "SAMPLED", "ANON", "FILE", "SHMEM", "SWAP", "END"];
    let (before, after): (&[&str], &str) = match by {
        PeaksBy::Process => (&["PID"], "COMMAND"),
        PeaksBy::Role => (&["IMAGES", "AT PEAK"], "ROLE"),
        PeaksBy::Test => (&["IMAGES", "AT PEAK"], "TEST"),
    };
    table.set_header(before.iter().chain(&parts).chain([&after]));
    for row in rows {
        let Peak {
            rss_bytes, anon_bytes, file_bytes, shmem_bytes, swap_bytes, rising_at_end, ..
        } = row.peak;
        let mut cells = match (&row.process, &row.members) {
            (Some(process), _) => vec![process.pid.to_string()],
            (None, Some(members)) => {
                vec![members.images.to_string(), members.processes.to_string()]
            }
            (None, None) => Vec::new(),
        };
        cells.push(range(&row.peak, error_bytes));
        cells.push(since_start(row.peak.by_ms));
        let sizes = [rss_bytes, anon_bytes, file_bytes, shmem_bytes, swap_bytes];
        cells.extend(sizes.map(|size| size.map_or("-".to_owned(), rounded_size)));
        cells.push(if rising_at_end == Some(true) { "rising" } else { "" }.to_owned());
        let name = match &row.process {
            Some(process) => process.command.as_deref().unwrap_or(&process.comm),
            None => row.group.name(),
        };
        cells.push(printable(&cut(name, MAX_COMMAND_CHARS)));
        table.add_row(cells);
    }
    let last = table.column_count().saturating_sub(1);
    align_right(&mut table, |column| column < last);
    let mut text = lines(&table);
    // Writing to a string cannot fail.
    let _ = match error_bytes {
        Some(bytes_kept) => writeln!(
            text,
            "\nA high-water mark may be up to {} too low: the CPUs of that machine count pages in batches.",
            rounded_size(bytes_kept)
        ),
        None => writeln!(
            text,
            "\nThe error of a high-water mark is not known for that machine, so there are no upper bounds."
        ),
    };
    text
}

/// Returns a peak as `412.0 MiB` where it is known to within the error of the kernel's counters, else as
/// `380.1 MiB to 412.0 MiB` or `at least 380.1 MiB`.
fn range(peak: &Peak, error_bytes: Option<u64>) -> String {
    let lower = rounded_size(peak.lower_bytes);
    match peak.upper_bytes {
        Some(upper) if upper.saturating_sub(peak.lower_bytes) <= error_bytes.unwrap_or(0) => lower,
        Some(upper) => format!("{lower} to {}", rounded_size(upper)),
        None => format!("at least {lower}"),
    }
}

fn since_start(ms: i64) -> String {
    format!("{:.1} s", ms as f64 / 1000.0)
}
