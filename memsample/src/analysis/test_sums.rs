//! Adds up what each test used, attempt by attempt.

use std::collections::{HashMap, HashSet};
use std::io;

use arrow_array::Array as _;
use arrow_array::types::{Int32Type, Int64Type, TimestampMillisecondType as Millisecond};

use super::borrowed_maps::TestImages;
use super::bound::counter_error_bytes;
use super::forked_memory::forked_lives;
use super::lifetimes::{Lifetimes, ticks};
use super::pss_sums::{PssReadings, PssRow, PssSum};
use super::sampled_image::{SampledImage, sampled_images};
use super::shared_maps::{CountedOnce, SharedMaps};
use super::sweep_windows::SweepWindows;
use super::test_attempt::{Counters, TestAttempt};
use super::test_membership::images_of_tests;
use super::test_spans::{TestSpan, span_of, spans};
use super::test_usage::TestUsage;
use super::tick_series::{TickCursor, TickSeries};
use super::unattributed::add_unattributed;
use crate::columns::{known, numbers, runs, strings};
use crate::recording::{ForksBy, Recording};

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

/// Returns the same of these images, with the test that they have in their rows.
pub(super) fn usages_of(
    recording: &Recording,
    spans: &HashMap<String, Vec<TestSpan>>,
    TestImages { mut counted, borrowed }: TestImages,
) -> io::Result<Vec<TestUsage>> {
    let keys: HashSet<u64> = borrowed.iter().map(|row| row.process).collect();
    counted.extend(borrowed);
    let images = sampled_images(recording, counted)?;
    let ticks = ticks(recording)?;
    let mut collected = Collected::new(spans);
    collected.add_images(recording, images, &keys, &ticks)?;
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
    /// In the sums of attempts, and of their roles.
    counted_once: CountedOnce<(usize, Option<usize>)>,
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
    /// Whether there is a sample.
    is_sampled: bool,
    anon: u64,
    pss: PssSum,
}

/// The sums of an attempt over some ticks.
#[derive(Clone, Default)]
struct AttemptSums {
    whole: TickSeries<Sums>,
    /// Of huge pages of the reserved pool, which few processes have; `None` where it was read of none.
    hugetlb: TickSeries<Option<u64>>,
    /// The resident sets of each role; `None` where there is no sample.
    roles: Vec<TickSeries<Option<u64>>>,
}

impl AttemptSums {
    /// Tells the attempt its sums in the order of time, as the slope needs it.
    fn observed_by(&self, attempt: &mut TestAttempt, ticks: &[i64]) {
        for (ts_ms, sums) in self.whole.over(ticks).filter(|(_, sums)| sums.is_sampled) {
            attempt.whole.largest.observe(sums.pss.rss_bytes(), ts_ms);
            attempt.anon.observe(sums.anon, ts_ms);
            if let Some(bytes) = sums.pss.fresh_bytes() {
                attempt.pss_read.get_or_insert_default().observe(bytes, ts_ms);
            }
            attempt.pss.observe(sums.pss, ts_ms);
            attempt.growth.observe(ts_ms, sums.anon);
        }
        let largest = self.hugetlb.over(ticks).filter_map(|(_, bytes)| *bytes).max();
        attempt.hugetlb_bytes = attempt.hugetlb_bytes.max(largest);
        for ((_, part), series) in attempt.roles.iter_mut().zip(&self.roles) {
            for (ts_ms, bytes) in series.over(ticks) {
                bytes.iter().for_each(|&bytes| part.largest.observe(bytes, ts_ms));
            }
        }
    }
}

impl<'a> Collected<'a> {
    fn new(spans: &'a HashMap<String, Vec<TestSpan>>) -> Self {
        let (mut attempts, mut first) = (Vec::new(), HashMap::new());
        for (test, spans) in spans {
            first.insert(test.clone(), attempts.len());
            attempts.extend(spans.iter().map(|span| TestAttempt::marked(test, span)));
        }
        Self {
            spans,
            attempts,
            first,
            members: HashMap::new(),
            readings: PssReadings::default(),
            counted_once: CountedOnce::default(),
        }
    }

    fn add_images(
        &mut self,
        recording: &Recording,
        mut images: Vec<SampledImage>,
        borrowed: &HashSet<u64>,
        ticks: &[i64],
    ) -> io::Result<()> {
        let error_bytes = counter_error_bytes(&recording.manifest().provenance.machine);
        let lifetimes = Lifetimes::new(recording, ticks)?;
        let windows = SweepWindows::read(recording)?;
        let parents_are_known =
            recording.manifest().provenance.settings.forks == ForksBy::ProcConnector;
        let maps = SharedMaps::read(recording)?;
        let forked = forked_lives(recording, &lifetimes, &images, borrowed, &maps, error_bytes)?;
        images.retain(|image| !borrowed.contains(&image.row.process));
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
            let before = image.unseen_upper(error_bytes).filter(|_| image.unseen_before > 0);
            let before = before.map(|upper| (lifetimes.before(&image), upper));
            let holder = lifetimes.holder(&image, &maps);
            let (role, process) = attempt.add(&image, holder, lived, upper, before);
            attempt.family.add(&image.row, lived);
            if windows.may_have_ended_in(&image) {
                readings.note_leaving(image.row.process, image.row.last_ms);
            }
            let moved = image.member.is_some_and(|member| member.samples < image.row.samples);
            let place = ImagePlace { attempt: index, role, process, moved };
            members.insert(image.row.process, place);
        }
        self.count_once(&maps);
        for life in forked {
            let Some(program) = self.members.get(&life.program) else { continue };
            let parent = life.beside.and_then(|(parent, _)| self.members.get(&parent));
            let parent = parent.filter(|parent| parent.attempt == program.attempt);
            if let Some(attempt) = self.attempts.get_mut(program.attempt) {
                attempt.add_forked(&life, parent.map(|parent| parent.role), program.role);
            }
        }
        for attempt in &mut self.attempts {
            let family = std::mem::take(&mut attempt.family);
            family.note_unsampled(&windows, parents_are_known, &mut attempt.pss);
        }
        Ok(())
    }

    /// Notes which images others count for.
    fn count_once(&mut self, maps: &SharedMaps) {
        let sums: HashMap<u64, [(usize, Option<usize>); 2]> = self
            .members
            .iter()
            // One that is of the test for a while only stands for nobody.
            .filter(|(process, place)| !place.moved && maps.map_of(**process).is_some())
            .map(|(&process, place)| {
                (process, [(place.attempt, None), (place.attempt, Some(place.role))])
            })
            .collect();
        let sums_of = |image| sums.get(&image).map_or(&[][..], <[_; 2]>::as_slice);
        self.counted_once = maps.counted_once(sums_of);
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
        let mut sums = vec![AttemptSums::default(); self.attempts.len()];
        for (sums, attempt) in sums.iter_mut().zip(&self.attempts) {
            sums.roles.resize_with(attempt.roles.len(), TickSeries::default);
        }
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
            for (process, rows) in runs(process) {
                let Some(&member) = self.members.get(&process) else { continue };
                let Some(attempt) = self.attempts.get_mut(member.attempt) else { continue };
                let Some(sums) = sums.get_mut(member.attempt) else { continue };
                let mut cursor = TickCursor::new(ticks);
                for (row, &ts_ms) in rows.clone().zip(ts.get(rows).unwrap_or_default()) {
                    // Who has moved is of the test for a while only.
                    if let (true, Some(test)) = (member.moved, test)
                        && !(test.is_valid(row) && attempt.is_of(test.value(row)))
                    {
                        continue;
                    }
                    let Some(tick) = cursor.find(ts_ms) else { continue };
                    let rss_bytes = known(rss, row).unwrap_or(0);
                    let counts = |role| {
                        !self.counted_once.leaves_out((member.attempt, role), process, ts_ms)
                    };
                    if counts(None) {
                        let Some(sum) = sums.whole.at_mut(tick) else { continue };
                        sum.is_sampled = true;
                        sum.anon = sum.anon.saturating_add(known(anon, row).unwrap_or(0));
                        let (pss_bytes, uss_bytes) = (known(pss, row), known(uss, row));
                        let of_row = PssRow { process, ts_ms, rss_bytes, pss_bytes, uss_bytes };
                        let given = self.readings.add(&mut sum.pss, &mut attempt.pss, of_row);
                        if let Some(given) = given
                            && let Ok(before) = ticks.binary_search(&given.ts_ms)
                            && let Some(before) = sums.whole.at_mut(before)
                        {
                            before.pss.add_given_back(given.bytes);
                        }
                        if let Some(bytes) = hugetlb.and_then(|hugetlb| known(hugetlb, row))
                            && let Some(sum) = sums.hugetlb.at_mut(tick)
                        {
                            *sum = Some(sum.unwrap_or(0).saturating_add(bytes));
                        }
                    }
                    let of_role = sums.roles.get_mut(member.role);
                    if counts(Some(member.role))
                        && let Some(sum) = of_role.and_then(|role| role.at_mut(tick))
                    {
                        *sum = Some(sum.unwrap_or(0).saturating_add(rss_bytes));
                    }
                    if let [Some(utime), Some(stime), Some(minflt), Some(majflt)] =
                        counters.map(|column| known(column, row))
                    {
                        let cpu_ns = utime.saturating_add(stime);
                        attempt.count(member.process, Counters { cpu_ns, minflt, majflt });
                    }
                }
            }
        }
        for (attempt, sums) in self.attempts.iter_mut().zip(sums) {
            sums.observed_by(attempt, ticks);
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
