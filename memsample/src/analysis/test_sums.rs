//! Adds up what each test used, attempt by attempt.

use std::collections::{BTreeMap, HashMap};
use std::io;

use arrow_array::Array as _;
use arrow_array::types::{Int32Type, Int64Type, TimestampMillisecondType as Millisecond};

use super::bound::counter_error_bytes;
use super::lifetimes::{Lifetimes, ticks};
use super::pss_sums::{PssReadings, PssRow, PssSum};
use super::sampled_image::{SampledImage, sampled_images};
use super::sweep_windows::SweepWindows;
use super::test_attempt::{Counters, TestAttempt};
use super::test_membership::images_of_tests;
use super::test_spans::{TestSpan, span_of, spans};
use super::test_usage::TestUsage;
use super::unattributed::add_unattributed;
use crate::columns::{known, numbers, strings};
use crate::recording::{ForksBy, ImageRow, Recording};

/// Ticks whose sums are kept at a time: half an hour at ten per second. There is a sum for each role of each
/// running test at each of them.
const MAX_TICKS: usize = 16_384;

/// Returns what each attempt of each test used, in the order of their begin.
///
/// Needs about 300 bytes of memory for each process image of a test.
///
/// # Errors
///
/// A table cannot be read.
pub fn test_usages(recording: &Recording) -> io::Result<Vec<TestUsage>> {
    usages_of(recording, &spans(recording)?, images_of_tests(recording)?)
}

/// Returns the same of the images that `rows` have, with the test that they have there.
pub(super) fn usages_of(
    recording: &Recording,
    spans: &HashMap<String, Vec<TestSpan>>,
    rows: Vec<ImageRow>,
) -> io::Result<Vec<TestUsage>> {
    let images = sampled_images(recording, rows)?;
    let ticks = ticks(recording)?;
    let mut collected = Collected::new(spans);
    collected.add_images(recording, images, &ticks)?;
    for ticks in ticks.chunks(MAX_TICKS) {
        collected.sum_samples(recording, ticks)?;
    }
    collected.add_exits(recording)?;
    collected.add_gaps(recording)?;
    add_unattributed(recording, &mut collected.attempts)?;
    let mut usages: Vec<TestUsage> =
        collected.attempts.into_iter().map(TestAttempt::into_usage).collect::<io::Result<_>>()?;
    usages.sort_by(|a, b| (a.begin, &a.test).cmp(&(b.begin, &b.test)));
    Ok(usages)
}

/// Every attempt of a test, and where its process images are.
struct Collected<'a> {
    spans: &'a HashMap<String, Vec<TestSpan>>,
    attempts: Vec<TestAttempt>,
    /// The first attempt of each test; the others follow it.
    first: HashMap<String, usize>,
    members: HashMap<u64, ImagePlace>,
    readings: PssReadings,
}

/// The attempt, role and process to which an image belongs.
#[derive(Clone, Copy)]
struct ImagePlace {
    attempt: usize,
    role: usize,
    /// The process of the attempt: all images of one process have the same.
    process: (i32, u64),
    /// Whether it is of the test only at those ticks at which its samples say so.
    moved: bool,
}

/// Sums over the processes of an attempt at one tick, in bytes.
#[derive(Clone, Copy, Default)]
struct Sums {
    rss: u64,
    anon: u64,
    /// `None` where it was read of none.
    hugetlb: Option<u64>,
    pss: PssSum,
}

impl<'a> Collected<'a> {
    fn new(spans: &'a HashMap<String, Vec<TestSpan>>) -> Self {
        let (mut attempts, mut first) = (Vec::new(), HashMap::new());
        for (test, spans) in spans {
            first.insert(test.clone(), attempts.len());
            attempts.extend(spans.iter().map(|span| TestAttempt::marked(test, span)));
        }
        Self { spans, attempts, first, members: HashMap::new(), readings: PssReadings::default() }
    }

    fn add_images(
        &mut self,
        recording: &Recording,
        images: Vec<SampledImage>,
        ticks: &[i64],
    ) -> io::Result<()> {
        let error_bytes = counter_error_bytes(&recording.manifest().provenance.machine);
        let lifetimes = Lifetimes::new(recording, ticks)?;
        let windows = SweepWindows::read(recording)?;
        let parents_are_known =
            recording.manifest().provenance.settings.forks == ForksBy::ProcConnector;
        for image in images {
            let Some(test) = image.row.test.clone() else { continue };
            let span = self.spans.get(&test).map_or(0, |spans| span_of(spans, &image));
            let Self { attempts, first, members, readings, .. } = self;
            let first = *first.entry(test).or_insert_with_key(|test| {
                attempts.push(TestAttempt::unmarked(test, &image.row));
                attempts.len() - 1
            });
            let index = first + span;
            let Some(attempt) = attempts.get_mut(index) else { continue };
            let upper = image.upper(error_bytes);
            let lived = lifetimes.of(&image);
            let before = image.reaped_upper(error_bytes).filter(|_| image.unseen_before > 0);
            let before = before.map(|upper| (lifetimes.before(&image), upper));
            let (role, process) = attempt.add(&image, lived, upper, before);
            attempt.family.add(&image.row, lived);
            if windows.may_have_ended_in(&image) {
                readings.note_leaving(image.row.process, image.row.last_ms);
            }
            let moved = image.member.is_some_and(|member| member.samples < image.row.samples);
            let place = ImagePlace { attempt: index, role, process, moved };
            members.insert(image.row.process, place);
        }
        for attempt in &mut self.attempts {
            let family = std::mem::take(&mut attempt.family);
            family.note_unsampled(&windows, parents_are_known, &mut attempt.pss);
        }
        Ok(())
    }

    /// Adds up the samples of some ticks.
    fn sum_samples(&mut self, recording: &Recording, ticks: &[i64]) -> io::Result<()> {
        const COLUMNS: [&str; 12] = [
            "test",
            "ts",
            "process",
            "rss_bytes",
            "anon_bytes",
            "pss_bytes",
            "uss_bytes",
            "minflt",
            "majflt",
            "utime_ns",
            "stime_ns",
            "hugetlb_bytes",
        ];
        let (Some(&first), Some(&last)) = (ticks.first(), ticks.last()) else { return Ok(()) };
        // Ordered by time, as the slope needs it.
        let mut sums: BTreeMap<(i64, usize), Sums> = BTreeMap::new();
        let mut of_roles: HashMap<(i64, usize, usize), u64> = HashMap::new();
        for batch in recording.read_table_between("samples", &COLUMNS, first..=last) {
            let batch = batch?;
            let ts = numbers::<Millisecond>(&batch, "ts")?.values();
            let process = numbers::<Int64Type>(&batch, "process")?.values();
            let number = |name| numbers::<Int64Type>(&batch, name);
            let (rss, anon, pss) =
                (number("rss_bytes")?, number("anon_bytes")?, number("pss_bytes")?);
            let uss = number("uss_bytes")?;
            let test = strings(&batch, "test").ok();
            // A recording of an older version has no such column.
            let hugetlb = number("hugetlb_bytes").ok();
            let counters =
                [number("utime_ns")?, number("stime_ns")?, number("minflt")?, number("majflt")?];
            for (row, (&ts_ms, process)) in ts.iter().zip(process).enumerate() {
                let Some(&member) = self.members.get(&process.unsigned_abs()) else { continue };
                if !(first..=last).contains(&ts_ms) {
                    continue;
                }
                // Who has moved is of the test for a while only.
                if let (true, Some(test)) = (member.moved, test)
                    && !self
                        .attempts
                        .get(member.attempt)
                        .is_some_and(|attempt| test.is_valid(row) && attempt.is_of(test.value(row)))
                {
                    continue;
                }
                let rss = known(rss, row).unwrap_or(0);
                let sum = sums.entry((ts_ms, member.attempt)).or_default();
                sum.rss = sum.rss.saturating_add(rss);
                sum.anon = sum.anon.saturating_add(known(anon, row).unwrap_or(0));
                if let Some(bytes) = hugetlb.and_then(|hugetlb| known(hugetlb, row)) {
                    sum.hugetlb = Some(sum.hugetlb.unwrap_or(0).saturating_add(bytes));
                }
                if let Some(attempt) = self.attempts.get_mut(member.attempt) {
                    let (process, pss_bytes) = (process.unsigned_abs(), known(pss, row));
                    let uss_bytes = known(uss, row);
                    let row = PssRow { process, ts_ms, rss_bytes: rss, pss_bytes, uss_bytes };
                    if let Some(given) = self.readings.add(&mut sum.pss, &mut attempt.pss, row)
                        && let Some(before) = sums.get_mut(&(given.ts_ms, member.attempt))
                    {
                        before.pss.add_given_back(given.bytes);
                    }
                }
                let of_role = of_roles.entry((ts_ms, member.attempt, member.role)).or_default();
                *of_role = of_role.saturating_add(rss);
                if let [Some(utime), Some(stime), Some(minflt), Some(majflt)] =
                    counters.map(|column| known(column, row))
                    && let Some(attempt) = self.attempts.get_mut(member.attempt)
                {
                    let cpu_ns = utime.saturating_add(stime);
                    attempt.count(member.process, Counters { cpu_ns, minflt, majflt });
                }
            }
        }
        for ((ts_ms, attempt), sums) in sums {
            let Some(attempt) = self.attempts.get_mut(attempt) else { continue };
            attempt.whole.largest.observe(sums.rss, ts_ms);
            attempt.anon.observe(sums.anon, ts_ms);
            if let Some(bytes) = sums.pss.fresh_bytes() {
                attempt.pss_read.get_or_insert_default().observe(bytes, ts_ms);
            }
            attempt.pss.observe(sums.pss, ts_ms);
            attempt.hugetlb_bytes = attempt.hugetlb_bytes.max(sums.hugetlb);
            attempt.growth.observe(ts_ms, sums.anon);
        }
        for ((ts_ms, attempt, role), bytes) in of_roles {
            let role =
                self.attempts.get_mut(attempt).and_then(|attempt| attempt.roles.get_mut(role));
            if let Some((_, part)) = role {
                part.largest.observe(bytes, ts_ms);
            }
        }
        Ok(())
    }

    /// Counts the exit records: what the kernel reports at the exit is all that the process ever used.
    fn add_exits(&mut self, recording: &Recording) -> io::Result<()> {
        let columns = ["process", "utime_ns", "stime_ns", "minflt", "majflt"];
        for batch in recording.read_table("exits", &columns) {
            let batch = batch?;
            let column = |name| Ok::<_, io::Error>(numbers::<Int64Type>(&batch, name)?.values());
            let (utime, stime) = (column("utime_ns")?, column("stime_ns")?);
            let (minflt, majflt) = (column("minflt")?, column("majflt")?);
            let times = utime.iter().zip(stime).zip(minflt.iter().zip(majflt));
            for (process, ((utime, stime), (minflt, majflt))) in
                column("process")?.iter().zip(times)
            {
                if let Some(&member) = self.members.get(&process.unsigned_abs())
                    && let Some(attempt) = self.attempts.get_mut(member.attempt)
                {
                    let counters = Counters {
                        cpu_ns: utime.unsigned_abs().saturating_add(stime.unsigned_abs()),
                        minflt: minflt.unsigned_abs(),
                        majflt: majflt.unsigned_abs(),
                    };
                    attempt.count(member.process, counters);
                }
            }
        }
        Ok(())
    }

    fn add_gaps(&mut self, recording: &Recording) -> io::Result<()> {
        for batch in recording.read_table("ticks", &["ts", "late"]) {
            let batch = batch?;
            let ts = numbers::<Millisecond>(&batch, "ts")?.values();
            let late = numbers::<Int32Type>(&batch, "late")?.values();
            for (ts_ms, &late) in ts.iter().zip(late).filter(|&(_, &late)| late != 0) {
                for attempt in &mut self.attempts {
                    if (attempt.begin_ms..=attempt.end_ms).contains(ts_ms) {
                        attempt.gaps += u64::from(late.unsigned_abs());
                    }
                }
            }
        }
        Ok(())
    }
}
