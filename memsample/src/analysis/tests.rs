//! What each test used. The definitions are in `docs/peaks.md`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;

use arrow_array::types::{Int32Type, Int64Type, TimestampMillisecondType as Millisecond};
use jiff::Timestamp;

use super::lives::{Lives, UpperSum, ticks};
use super::peaks::{Bound, Source, counter_error_bytes, lower, upper};
use super::sampled_images::{SampledImage, known, sampled_images};
use super::test_of_image::images_of_tests;
use super::test_spans::{Span, span_of, spans};
use crate::recording::{ImageRow, Recording, numbers};

/// Growth is told of what was sampled for this long, at least: a program that begins grows.
const MIN_GROWTH_MS: i64 = 10_000;
/// Ticks of which sums are kept at a time: half an hour at ten a second. Of those tests that run, a sum
/// of each role at each of them is kept.
const MAX_TICKS: usize = 16_384;

/// What the processes of a test used together: those that have its name in `processes.test`, or that
/// descend from the `memsample exec` that ran it.
///
/// A test that ran several times, by its marks, has one for each time.
#[derive(Clone, Debug, PartialEq)]
pub struct TestUsage {
    /// The test.
    pub test: String,
    /// The name of the mark that began it; `None` where there is none.
    pub mark: Option<String>,
    /// When it began: its mark, or else the first that was seen of its processes.
    pub begin: Timestamp,
    /// When it ended: its mark, or else the last that was seen of its processes.
    pub end: Timestamp,
    /// The peak of the sum of resident sets; `None` where nothing is known of any process.
    pub rss: Option<SumPeak>,
    /// The peak of the sum of resident anonymous memory; `None` where nothing was sampled.
    pub anon: Option<SumPeak>,
    /// The peak of the sum of proportional sets, of those that were read at the same tick; `None` where
    /// none was read.
    pub pss: Option<SumPeak>,
    /// The slope of anonymous memory by least squares, in bytes a minute; `None` where the samples span
    /// less than ten seconds.
    pub growth_bytes_per_minute: Option<i64>,
    /// By role, largest first.
    pub roles: Vec<TestRole>,
    /// Processes, of which each may be several process images.
    pub processes: u64,
    /// Of these, those that are known only by their exit record.
    pub unsampled: u64,
    /// Process images of which no upper bound is known, so that there is none of their sum.
    pub unbounded_images: u64,
    /// Rows of samples.
    pub samples: u64,
    /// Planned instants between its begin and its end at which no sweep began, or too late.
    pub gaps: u64,
    /// CPU time of all its processes in nanoseconds, as far as it was read; `None` where it was of none.
    pub cpu_ns: Option<u64>,
    /// Page faults without I/O; the same holds.
    pub minflt: Option<u64>,
    /// Page faults with I/O; the same holds.
    pub majflt: Option<u64>,
}

/// What the processes of one role used together within a test.
#[derive(Clone, Debug, PartialEq)]
pub struct TestRole {
    /// What they do.
    pub role: String,
    /// The peak of the sum of their resident sets.
    pub rss: SumPeak,
    /// How many processes that were.
    pub processes: u64,
}

/// The largest sum at one instant.
///
/// Memory that processes share counts once for each of them, but in proportional sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SumPeak {
    /// It was not smaller.
    pub lower: Bound,
    /// It was not larger; `None` where that is not known of all members.
    pub upper: Option<Bound>,
    /// The tick with the largest sum, or when the process had its peak that alone was larger.
    pub by: Timestamp,
}

/// Returns what each test used, in the order in which they began.
///
/// Memory is taken for each process image of a test, about 300 bytes.
///
/// # Errors
///
/// A table cannot be read.
pub fn test_usages(recording: &Recording) -> io::Result<Vec<TestUsage>> {
    let spans = spans(recording)?;
    let images = sampled_images(recording, images_of_tests(recording)?)?;
    let ticks = ticks(recording)?;
    let mut collected = Collected::new(&spans);
    collected.add_images(recording, images, &ticks)?;
    for ticks in ticks.chunks(MAX_TICKS) {
        collected.sum_samples(recording, ticks)?;
    }
    collected.add_exits(recording)?;
    collected.add_gaps(recording)?;
    let mut usages: Vec<TestUsage> =
        collected.runs.into_iter().map(Run::into_usage).collect::<io::Result<_>>()?;
    usages.sort_by(|a, b| (a.begin, &a.test).cmp(&(b.begin, &b.test)));
    Ok(usages)
}

/// Every run of a test, and where its process images are.
struct Collected<'a> {
    spans: &'a HashMap<String, Vec<Span>>,
    runs: Vec<Run>,
    /// The first run of each test; those that follow stand behind it.
    first: HashMap<String, usize>,
    members: HashMap<u64, Member>,
}

/// Where an image belongs.
#[derive(Clone, Copy)]
struct Member {
    run: usize,
    role: usize,
    /// Of which process of the run: images of one process have the same.
    process: (i32, u64),
}

/// What is collected of one run of a test.
struct Run {
    test: String,
    mark: Option<String>,
    begin_ms: i64,
    end_ms: i64,
    /// Whether a mark says when it began, and when it ended.
    is_marked: (bool, bool),
    whole: Part,
    anon: Largest,
    pss: Option<Largest>,
    growth: Slope,
    roles: Vec<(String, Part)>,
    role_of: HashMap<String, usize>,
    /// Each process, and whether it has samples.
    processes: HashMap<(i32, u64), bool>,
    counters: HashMap<(i32, u64), Counters>,
    samples: u64,
    gaps: u64,
}

/// The resident sets of some processes.
#[derive(Default)]
struct Part {
    largest: Largest,
    /// The largest of the lower bounds of single members, and when that was at the latest.
    single: Option<(Bound, i64)>,
    upper: UpperSum,
    processes: HashSet<(i32, u64)>,
}

/// The largest sum, and the first tick at which it was.
#[derive(Clone, Copy, Default)]
struct Largest(Option<(u64, i64)>);

/// Sums over the processes of a run at one tick, in bytes.
#[derive(Clone, Copy, Default)]
struct Sums {
    rss: u64,
    anon: u64,
    /// Of those whose PSS was read at this tick.
    pss: Option<u64>,
}

/// What the kernel counts of a process since it began.
#[derive(Clone, Copy, Default)]
struct Counters {
    cpu_ns: u64,
    minflt: u64,
    majflt: u64,
}

impl<'a> Collected<'a> {
    fn new(spans: &'a HashMap<String, Vec<Span>>) -> Self {
        let (mut runs, mut first) = (Vec::new(), HashMap::new());
        for (test, spans) in spans {
            first.insert(test.clone(), runs.len());
            runs.extend(spans.iter().map(|span| Run::marked(test, span)));
        }
        Self { spans, runs, first, members: HashMap::new() }
    }

    fn add_images(
        &mut self,
        recording: &Recording,
        images: Vec<SampledImage>,
        ticks: &[i64],
    ) -> io::Result<()> {
        let error_bytes = counter_error_bytes(&recording.manifest().provenance.machine);
        let lives = Lives::new(recording, ticks)?;
        for image in images {
            let Some(test) = image.row.test.clone() else { continue };
            let span = self.spans.get(&test).map_or(0, |spans| span_of(spans, &image));
            let Self { runs, first, members, .. } = self;
            let first = *first.entry(test).or_insert_with_key(|test| {
                runs.push(Run::unmarked(test, &image.row));
                runs.len() - 1
            });
            let index = first + span;
            let Some(run) = runs.get_mut(index) else { continue };
            let upper = upper(&image, error_bytes);
            let (role, process) = run.add(&image, lives.of(&image), upper);
            members.insert(image.row.process, Member { run: index, role, process });
        }
        Ok(())
    }

    /// Adds up the samples of some ticks.
    fn sum_samples(&mut self, recording: &Recording, ticks: &[i64]) -> io::Result<()> {
        const COLUMNS: [&str; 9] = [
            "ts",
            "process",
            "rss_bytes",
            "anon_bytes",
            "pss_bytes",
            "minflt",
            "majflt",
            "utime_ns",
            "stime_ns",
        ];
        let (Some(&first), Some(&last)) = (ticks.first(), ticks.last()) else { return Ok(()) };
        // By time, so that what is found stands in the order of time.
        let mut sums: BTreeMap<(i64, usize), Sums> = BTreeMap::new();
        let mut of_roles: HashMap<(i64, usize, usize), u64> = HashMap::new();
        for batch in recording.read_table_between("samples", &COLUMNS, first..=last) {
            let batch = batch?;
            let ts = numbers::<Millisecond>(&batch, "ts")?.values();
            let process = numbers::<Int64Type>(&batch, "process")?.values();
            let number = |name| numbers::<Int64Type>(&batch, name);
            let (rss, anon, pss) =
                (number("rss_bytes")?, number("anon_bytes")?, number("pss_bytes")?);
            let counters =
                [number("utime_ns")?, number("stime_ns")?, number("minflt")?, number("majflt")?];
            for (row, (&ts_ms, process)) in ts.iter().zip(process).enumerate() {
                let Some(&member) = self.members.get(&process.unsigned_abs()) else { continue };
                if !(first..=last).contains(&ts_ms) {
                    continue;
                }
                let rss = known(rss, row).unwrap_or(0);
                let sum = sums.entry((ts_ms, member.run)).or_default();
                sum.rss = sum.rss.saturating_add(rss);
                sum.anon = sum.anon.saturating_add(known(anon, row).unwrap_or(0));
                if let Some(pss) = known(pss, row) {
                    sum.pss = Some(sum.pss.unwrap_or(0).saturating_add(pss));
                }
                let of_role = of_roles.entry((ts_ms, member.run, member.role)).or_default();
                *of_role = of_role.saturating_add(rss);
                if let [Some(utime), Some(stime), Some(minflt), Some(majflt)] =
                    counters.map(|column| known(column, row))
                    && let Some(run) = self.runs.get_mut(member.run)
                {
                    let cpu_ns = utime.saturating_add(stime);
                    run.count(member.process, Counters { cpu_ns, minflt, majflt });
                }
            }
        }
        for ((ts_ms, run), sums) in sums {
            let Some(run) = self.runs.get_mut(run) else { continue };
            run.whole.largest.observe(sums.rss, ts_ms);
            run.anon.observe(sums.anon, ts_ms);
            if let Some(bytes) = sums.pss {
                run.pss.get_or_insert_default().observe(bytes, ts_ms);
            }
            run.growth.observe(ts_ms, sums.anon);
        }
        for ((ts_ms, run, role), bytes) in of_roles {
            let role = self.runs.get_mut(run).and_then(|run| run.roles.get_mut(role));
            if let Some((_, part)) = role {
                part.largest.observe(bytes, ts_ms);
            }
        }
        Ok(())
    }

    /// What the kernel told at the end is all that the process ever used.
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
                    && let Some(run) = self.runs.get_mut(member.run)
                {
                    let counters = Counters {
                        cpu_ns: utime.unsigned_abs().saturating_add(stime.unsigned_abs()),
                        minflt: minflt.unsigned_abs(),
                        majflt: majflt.unsigned_abs(),
                    };
                    run.count(member.process, counters);
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
                for run in &mut self.runs {
                    if (run.begin_ms..=run.end_ms).contains(ts_ms) {
                        run.gaps += u64::from(late.unsigned_abs());
                    }
                }
            }
        }
        Ok(())
    }
}

impl Run {
    fn new(test: &str, mark: Option<String>, begin_ms: i64, end_ms: i64) -> Self {
        Self {
            test: test.to_owned(),
            mark,
            begin_ms,
            end_ms,
            is_marked: (false, false),
            whole: Part::default(),
            anon: Largest::default(),
            pss: None,
            growth: Slope::default(),
            roles: Vec::new(),
            role_of: HashMap::new(),
            processes: HashMap::new(),
            counters: HashMap::new(),
            samples: 0,
            gaps: 0,
        }
    }

    fn marked(test: &str, span: &Span) -> Self {
        let end_ms = span.end.map_or(span.begin_ms, |(end_ms, _)| end_ms);
        let run = Self::new(test, Some(span.name.clone()), span.begin_ms, end_ms);
        Self { is_marked: (true, span.end.is_some()), ..run }
    }

    fn unmarked(test: &str, first: &ImageRow) -> Self {
        Self::new(test, None, first.first_ms, first.last_ms)
    }

    /// Adds an image, and returns its role and its process.
    fn add(
        &mut self,
        image: &SampledImage,
        lived: (u64, u64),
        upper: Option<Bound>,
    ) -> (usize, (i32, u64)) {
        let row = &image.row;
        if !self.is_marked.0 {
            self.begin_ms = self.begin_ms.min(row.first_ms);
        }
        if !self.is_marked.1 {
            self.end_ms = self.end_ms.max(row.last_ms);
        }
        let process = (row.pid, row.start_ns);
        *self.processes.entry(process).or_default() |= row.samples > 0;
        self.samples += row.samples;
        let roles = &mut self.roles;
        let role = *self.role_of.entry(row.role.clone()).or_insert_with_key(|role| {
            roles.push((role.clone(), Part::default()));
            roles.len() - 1
        });
        self.whole.add(image, lived, upper);
        if let Some((_, part)) = roles.get_mut(role) {
            part.add(image, lived, upper);
        }
        (role, process)
    }

    fn count(&mut self, process: (i32, u64), counters: Counters) {
        let known = self.counters.entry(process).or_default();
        // What was counted later is not less.
        known.cpu_ns = known.cpu_ns.max(counters.cpu_ns);
        known.minflt = known.minflt.max(counters.minflt);
        known.majflt = known.majflt.max(counters.majflt);
    }

    fn into_usage(self) -> io::Result<TestUsage> {
        let total = |of: fn(&Counters) -> u64| {
            let sum = self.counters.values().map(of).fold(0, u64::saturating_add);
            (!self.counters.is_empty()).then_some(sum)
        };
        let counts = (total(|it| it.cpu_ns), total(|it| it.minflt), total(|it| it.majflt));
        let unbounded_images = self.whole.upper.unbounded();
        let rss = self.whole.into_peak()?;
        // A part of a resident set is not larger than the whole.
        let part = |largest: Largest| -> io::Result<Option<SumPeak>> {
            let Some((bytes, ts_ms)) = largest.0 else { return Ok(None) };
            let lower = Bound { bytes, source: Source::Sampled };
            let upper = rss
                .and_then(|rss| rss.upper)
                .map(|upper| Bound { bytes: upper.bytes.max(bytes), source: upper.source });
            Ok(Some(SumPeak { lower, upper, by: instant(ts_ms)? }))
        };
        let mut roles = Vec::new();
        for (role, part) in self.roles {
            let processes = part.processes.len() as u64;
            if let Some(rss) = part.into_peak()? {
                roles.push(TestRole { role, rss, processes });
            }
        }
        roles.sort_by(|a, b| (b.rss.lower.bytes, &a.role).cmp(&(a.rss.lower.bytes, &b.role)));
        Ok(TestUsage {
            test: self.test,
            mark: self.mark,
            begin: instant(self.begin_ms)?,
            end: instant(self.end_ms.max(self.begin_ms))?,
            rss,
            anon: part(self.anon)?,
            pss: self.pss.map_or(Ok(None), part)?,
            growth_bytes_per_minute: self.growth.bytes_per_minute(),
            roles,
            processes: self.processes.len() as u64,
            unsampled: self.processes.values().filter(|&&sampled| !sampled).count() as u64,
            unbounded_images,
            samples: self.samples,
            gaps: self.gaps,
            cpu_ns: counts.0,
            minflt: counts.1,
            majflt: counts.2,
        })
    }
}

impl Part {
    fn add(&mut self, image: &SampledImage, lived: (u64, u64), upper: Option<Bound>) {
        let lower = lower(&image.row);
        if self.single.is_none_or(|(largest, _)| lower.bytes > largest.bytes) {
            self.single = Some((lower, image.exit_ms.unwrap_or(image.row.last_ms)));
        }
        self.upper.add(lived, upper);
        self.processes.insert((image.row.pid, image.row.start_ns));
    }

    fn into_peak(self) -> io::Result<Option<SumPeak>> {
        let summed = self.largest.0;
        let (lower, by_ms) = match (summed, self.single) {
            (Some((bytes, ts_ms)), single)
                if single.is_none_or(|(single, _)| bytes >= single.bytes) =>
            {
                (Bound { bytes, source: Source::Sampled }, ts_ms)
            }
            (_, Some((single, by_ms))) => (single, by_ms),
            (_, None) => return Ok(None),
        };
        let upper = self.upper.largest(lower.bytes);
        Ok(Some(SumPeak { lower, upper, by: instant(by_ms)? }))
    }
}

impl Largest {
    fn observe(&mut self, bytes: u64, ts_ms: i64) {
        let is_larger =
            |(largest, first_ms)| bytes > largest || (bytes == largest && ts_ms < first_ms);
        if self.0.is_none_or(is_larger) {
            self.0 = Some((bytes, ts_ms));
        }
    }
}

/// A line through points, by least squares, of which each is seen once.
#[derive(Clone, Copy, Debug, Default)]
struct Slope {
    first_ms: Option<i64>,
    last_ms: i64,
    count: f64,
    mean_minutes: f64,
    mean_bytes: f64,
    /// Sums of products of what each is off the mean.
    covariance: f64,
    variance: f64,
}

impl Slope {
    fn observe(&mut self, ts_ms: i64, bytes: u64) {
        let first_ms = *self.first_ms.get_or_insert(ts_ms);
        self.last_ms = ts_ms;
        let (minutes, bytes) = ((ts_ms - first_ms) as f64 / 60_000.0, bytes as f64);
        self.count += 1.0;
        let off = minutes - self.mean_minutes;
        self.mean_minutes += off / self.count;
        self.mean_bytes += (bytes - self.mean_bytes) / self.count;
        self.covariance += off * (bytes - self.mean_bytes);
        self.variance += off * (minutes - self.mean_minutes);
    }

    fn bytes_per_minute(self) -> Option<i64> {
        let spanned_ms = self.last_ms.saturating_sub(self.first_ms?);
        // What is too large for the integer becomes the largest one.
        (spanned_ms >= MIN_GROWTH_MS).then(|| (self.covariance / self.variance).round() as i64)
    }
}

fn instant(ts_ms: i64) -> io::Result<Timestamp> {
    Timestamp::from_millisecond(ts_ms).map_err(io::Error::other)
}

#[cfg(test)]
mod slope {
    use super::*;

    #[track_caller]
    fn check(points: impl IntoIterator<Item = (i64, u64)>, slope: Option<i64>) {
        let mut line = Slope::default();
        points.into_iter().for_each(|(ts_ms, bytes)| line.observe(ts_ms, bytes));
        assert_eq!(line.bytes_per_minute(), slope);
    }

    #[test]
    fn a_slope_is_that_of_the_line_through_the_points() {
        let start = 1_700_000_000_000;
        let every = |count: i64, bytes: fn(u64) -> u64| {
            (0..count).map(move |index| (start + index * 1000, bytes(index.unsigned_abs())))
        };
        check([], None);
        check(every(10, |index| index << 20), None);
        check(every(61, |index| (1 << 30) + (index << 20)), Some(60 << 20));
        check(every(61, |index| (1 << 30) - (index << 20)), Some(-(60 << 20)));
        check(every(61, |_| 5), Some(0));
        // Up and down: what is even at both ends has no slope.
        check(every(61, |index| (index % 2) << 30), Some(0));
    }
}
