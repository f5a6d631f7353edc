//! Peaks as text for a person, as JSON and as CSV.

use jiff::Timestamp;
use memsample::analysis::{
    Bound, Composition, Covers, MarkedTest, ProcessPeak, PssMissing, PssPeak, RolePeak,
};
use serde::Serialize;

use super::PeaksBy;
use crate::plain_table::Fitted;
use crate::text::{AT_LEAST, cut_command};
use memsample_input::{folded, printable, rounded_size, shortened};

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
    /// Of a test.
    #[serde(flatten)]
    coverage: Option<Coverage>,
    /// Of a test.
    #[serde(flatten)]
    pss: Option<TestPss>,
}

/// The peak of the sum of PSS, under the names that it has in results.json.
#[derive(Default, Serialize)]
struct TestPss {
    pss_peak_bytes: Option<u64>,
    pss_peak_at: Option<Timestamp>,
    pss_peak_rss_bytes: Option<u64>,
    pss_peak_covered_bytes: Option<u64>,
    pss_peak_age_ms: Option<u64>,
    pss_missing: Option<String>,
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
    images: Option<u64>,
    processes: Option<u64>,
}

/// What the row of a test is of, and what was read at its marks.
#[derive(Default, Serialize)]
struct Coverage {
    covers: &'static str,
    mark_pid: Option<i32>,
    mark: Option<String>,
    begin: Option<Timestamp>,
    end: Option<Timestamp>,
    end_marked: Option<bool>,
    sweeps: Option<u64>,
    rss_begin_bytes: Option<u64>,
    rss_end_bytes: Option<u64>,
    rss_growth_bytes: Option<i64>,
    anon_growth_bytes: Option<i64>,
}

#[derive(Serialize)]
struct Peak {
    lower_bytes: Option<u64>,
    lower_source: Option<&'static str>,
    upper_bytes: Option<u64>,
    upper_source: Option<&'static str>,
    by: Option<Timestamp>,
    by_ms: Option<i64>,
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
            peak: Peak::new(lower.zip(by), upper, started, composition, rising_at_end),
            coverage: None,
            pss: None,
        }
    }

    pub(super) fn of_role(peak: RolePeak, started: Timestamp) -> Self {
        Self::of_group(Group::Role(peak.role.clone()), peak, started)
    }

    pub(super) fn of_test(
        peak: RolePeak,
        pss: Option<Result<PssPeak, PssMissing>>,
        started: Timestamp,
    ) -> Self {
        let coverage = Coverage { covers: OWN_PROCESSES, ..Coverage::default() };
        let row = Self::of_group(Group::Test(peak.role.clone()), peak, started);
        Self { coverage: Some(coverage), pss: Some(TestPss::new(pss)), ..row }
    }

    pub(super) fn of_marked_test(test: &MarkedTest, started: Timestamp) -> Self {
        let (covers, mark_pid) = match test.covers {
            Covers::MarkedProcess(pid) => ("marked_process", Some(pid)),
            Covers::Target => ("target", None),
            _ => ("machine", None),
        };
        Self {
            process: None,
            group: Group::Test(test.test.clone()),
            members: Some(Members { images: None, processes: test.processes }),
            peak: Peak::new(test.lower.zip(test.by), None, started, test.composition, None),
            coverage: Some(Coverage {
                covers,
                mark_pid,
                mark: Some(test.mark.clone()),
                begin: Some(test.begin),
                end: Some(test.end),
                end_marked: Some(test.is_ended),
                sweeps: Some(test.sweeps),
                rss_begin_bytes: test.at_begin.map(|state| state.rss_bytes),
                rss_end_bytes: test.at_end.map(|state| state.rss_bytes),
                rss_growth_bytes: test.rss_growth_bytes(),
                anon_growth_bytes: test.anon_growth_bytes(),
            }),
            pss: Some(TestPss {
                pss_missing: Some("a mark does not say which processes it has".to_owned()),
                ..TestPss::default()
            }),
        }
    }

    /// Returns the largest resident set that is known; `None` where none is.
    pub(super) fn lower_bytes(&self) -> Option<u64> {
        self.peak.lower_bytes
    }

    /// Returns the name of a test of whose processes the PSS is not known, and why.
    pub(super) fn missing_pss(&self) -> Option<(&str, &str)> {
        // Of a test that was only marked nobody expects one.
        self.coverage.as_ref().filter(|coverage| coverage.covers == OWN_PROCESSES)?;
        Some((self.group.name(), self.pss.as_ref()?.pss_missing.as_deref()?))
    }

    fn of_group(group: Group, peak: RolePeak, started: Timestamp) -> Self {
        let RolePeak { images, processes, lower, upper, by, composition, rising_at_end, .. } = peak;
        Self {
            process: None,
            group,
            members: Some(Members { images: Some(images), processes: Some(processes) }),
            peak: Peak::new(lower.zip(by), upper, started, composition, rising_at_end),
            coverage: None,
            pss: None,
        }
    }
}

impl TestPss {
    fn new(pss: Option<Result<PssPeak, PssMissing>>) -> Self {
        match pss {
            Some(Ok(pss)) => Self {
                pss_peak_bytes: Some(pss.bytes),
                pss_peak_at: Some(pss.at),
                pss_peak_rss_bytes: Some(pss.rss_bytes),
                pss_peak_covered_bytes: Some(pss.covered_bytes),
                pss_peak_age_ms: Some(pss.age_ms),
                pss_missing: None,
            },
            Some(Err(reason)) => Self { pss_missing: Some(reason.to_string()), ..Self::default() },
            None => Self::default(),
        }
    }
}

impl Coverage {
    /// Returns whose memory it is, for a person.
    fn text(&self) -> String {
        match (self.mark_pid, self.covers) {
            (Some(pid), _) => format!("pid {pid}"),
            (None, OWN_PROCESSES) => "processes".to_owned(),
            (None, covers) => covers.to_owned(),
        }
    }
}

impl Peak {
    fn new(
        lower: Option<(Bound, Timestamp)>,
        upper: Option<Bound>,
        started: Timestamp,
        composition: Option<Composition>,
        rising_at_end: Option<bool>,
    ) -> Self {
        Self {
            lower_bytes: lower.map(|(lower, _)| lower.bytes),
            lower_source: lower.map(|(lower, _)| lower.source.as_str()),
            upper_bytes: upper.map(|upper| upper.bytes),
            upper_source: upper.map(|upper| upper.source.as_str()),
            by: lower.map(|(_, by)| by),
            by_ms: lower
                .map(|(_, by)| by.as_millisecond().saturating_sub(started.as_millisecond())),
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

/// The word for a test whose processes are known: it is a row of them.
const OWN_PROCESSES: &str = "own_processes";

const COVERAGE_NAMES: [&str; 11] = [
    "covers",
    "mark_pid",
    "mark",
    "begin",
    "end",
    "end_marked",
    "sweeps",
    "rss_begin_bytes",
    "rss_end_bytes",
    "rss_growth_bytes",
    "anon_growth_bytes",
];

const PSS_NAMES: [&str; 6] = [
    "pss_peak_bytes",
    "pss_peak_at",
    "pss_peak_rss_bytes",
    "pss_peak_covered_bytes",
    "pss_peak_age_ms",
    "pss_missing",
];

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
    let coverage_names: &[&str] = if by == PeaksBy::Test { &COVERAGE_NAMES } else { &[] };
    let pss_names: &[&str] = if by == PeaksBy::Test { &PSS_NAMES } else { &[] };
    writer.write_record(names.iter().chain(&PEAK_NAMES).chain(coverage_names).chain(pss_names))?;
    for Row { process, group, members, peak, coverage, pss } in rows {
        let group = group.name();
        match (process, members) {
            (Some(process), _) => writer.serialize((process, group, peak))?,
            (None, Some(members)) => match coverage {
                Some(coverage) => writer.serialize((group, members, peak, coverage, pss))?,
                None => writer.serialize((group, members, peak))?,
            },
            (None, None) => {}
        }
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

/// Columns that are left out where the terminal has no room for them.
const SPARE: [&str; 9] =
    ["SHMEM", "SWAP", "FILE", "ANON", "IMAGES", "AT PEAK", "END", "SAMPLED", "AT"];

/// Returns the rows as a table within so many columns, if there is a width.
pub(super) fn text(
    rows: &[Row],
    by: PeaksBy,
    error_bytes: Option<u64>,
    width: Option<usize>,
) -> String {
    let parts = ["PEAK RSS", "AT", "SAMPLED", "ANON", "FILE", "SHMEM", "SWAP"];
    let coverages = || rows.iter().filter_map(|row| row.coverage.as_ref());
    // Only where they say something.
    let covers_differ = coverages().any(|coverage| coverage.covers != OWN_PROCESSES);
    let has_growth = coverages().any(|coverage| coverage.rss_growth_bytes.is_some());
    let growth: &[&str] = if has_growth { &["GROWTH"] } else { &[] };
    let covers: &[&str] = if covers_differ { &["COVERS"] } else { &[] };
    let (before, name): (&[&str], &str) = match by {
        PeaksBy::Process => (&["PID"], "COMMAND"),
        PeaksBy::Role => (&["IMAGES", "AT PEAK"], "ROLE"),
        PeaksBy::Test => (&["IMAGES", "AT PEAK"], "TEST"),
    };
    let pss: &[&str] = if by == PeaksBy::Test { &["PEAK PSS"] } else { &[] };
    let last_parts = pss.iter().chain(growth).chain([&"END"]).chain(covers);
    let heads = before.iter().chain(&parts).chain(last_parts).chain([&name]).copied();
    let cells = |row: &Row| {
        let Peak {
            rss_bytes, anon_bytes, file_bytes, shmem_bytes, swap_bytes, rising_at_end, ..
        } = row.peak;
        let mut cells = match (&row.process, &row.members) {
            (Some(process), _) => vec![process.pid.to_string()],
            (None, Some(members)) => [members.images, members.processes]
                .map(|count| count.map_or("-".to_owned(), |count| count.to_string()))
                .into(),
            (None, None) => Vec::new(),
        };
        cells.push(range(&row.peak, error_bytes));
        cells.push(row.peak.by_ms.map_or("-".to_owned(), since_start));
        let sizes = [rss_bytes, anon_bytes, file_bytes, shmem_bytes, swap_bytes];
        cells.extend(sizes.map(|size| size.map_or("-".to_owned(), rounded_size)));
        if by == PeaksBy::Test {
            let bytes = row.pss.as_ref().and_then(|pss| pss.pss_peak_bytes);
            cells.push(bytes.map_or("-".to_owned(), rounded_size));
        }
        if has_growth {
            let growth = row.coverage.as_ref().and_then(|coverage| coverage.rss_growth_bytes);
            cells.push(growth.map_or("-".to_owned(), signed_size));
        }
        let end = match rising_at_end {
            Some(true) => "rising",
            Some(false) => "",
            None => "-",
        };
        cells.push(end.to_owned());
        if covers_differ {
            cells.push(row.coverage.as_ref().map_or_else(String::new, Coverage::text));
        }
        let name = match &row.process {
            Some(process) => process.command.as_deref().unwrap_or(&process.comm),
            None => row.group.name(),
        };
        cells.push(printable(name).to_string());
        cells
    };
    let table = Fitted {
        heads: heads.collect(),
        rows: rows.iter().map(cells).collect(),
        name,
        spare: &SPARE,
        // What tells a command from others is at its begin.
        shorten: if by == PeaksBy::Process { cut_command } else { shortened },
    };
    let (mut text, left_out) = table.lines(width);
    let mut under = Vec::new();
    if !left_out.is_empty() {
        let left_out = left_out.join(", ");
        under.push(format!("Left out in this terminal: {left_out}. A pipe gets them, and --csv."));
    }
    if rows.iter().any(|row| row.peak.lower_bytes.is_some() && row.peak.upper_bytes.is_none()) {
        under.push(AT_LEAST.to_owned());
    }
    if has_growth {
        under.push(
            "GROWTH: of the marked process alone, from mark to mark, without what it started"
                .to_owned(),
        );
    }
    under.push(match error_bytes {
        Some(bytes_kept) => format!(
            "A high-water mark may be up to {} too low: the CPUs of that machine count pages in batches.",
            rounded_size(bytes_kept)
        ),
        None => "The error of a high-water mark is not known for that machine, so there are no upper bounds."
            .to_owned(),
    });
    text.push('\n');
    for line in under {
        text.push_str(&folded(&(line + "\n"), width));
    }
    text
}

/// Returns a peak as `412.0 MiB` where it is known to within the error of the kernel's counters, else as
/// `380.1 MiB to 412.0 MiB` or `≥380.1 MiB`.
fn range(peak: &Peak, error_bytes: Option<u64>) -> String {
    let Some(lower_bytes) = peak.lower_bytes else { return "-".to_owned() };
    let lower = rounded_size(lower_bytes);
    match peak.upper_bytes {
        Some(upper) if upper.saturating_sub(lower_bytes) <= error_bytes.unwrap_or(0) => lower,
        Some(upper) => format!("{lower} to {}", rounded_size(upper)),
        None => format!("≥{lower}"),
    }
}

/// Returns a difference with its sign.
fn signed_size(bytes: i64) -> String {
    let sign = if bytes < 0 { '-' } else { '+' };
    format!("{sign}{}", rounded_size(bytes.unsigned_abs()))
}

fn since_start(ms: i64) -> String {
    format!("{:.1} s", ms as f64 / 1000.0)
}
