//! The sums of one attempt of a test.

use std::collections::{HashMap, HashSet};
use std::io;

use jiff::Timestamp;

use super::bound::{Bound, Source, lower};
use super::forked_memory::ForkedLife;
use super::process_family::ProcessFamily;
use super::pss_sums::PssSums;
use super::sampled_image::SampledImage;
use super::slope::Slope;
use super::test_spans::TestSpan;
use super::test_usage::{SumPeak, TestRole, TestUsage, UnboundedImage};
use super::upper_sum::{MemoryHolder, UpperSum};
use crate::recording::ImageRow;

/// The sums of one attempt of a test, while they are collected.
pub(super) struct TestAttempt {
    test: String,
    mark: Option<String>,
    pub(super) begin_ms: i64,
    pub(super) end_ms: i64,
    /// Whether there is a mark at its begin, and at its end.
    is_marked: (bool, bool),
    pub(super) whole: Part,
    pub(super) anon: Largest,
    pub(super) pss_read: Option<Largest>,
    pub(super) hugetlb_bytes: Option<u64>,
    pub(super) pss: PssSums,
    /// Its processes, until it is known which of them others may have shared memory with unseen.
    pub(super) family: ProcessFamily,
    pub(super) growth: Slope,
    pub(super) roles: Vec<(String, Part)>,
    role_of: HashMap<String, usize>,
    /// Each process, and whether it has samples.
    processes: HashMap<(i32, u64), bool>,
    counters: HashMap<(i32, u64), Counters>,
    samples: u64,
    /// The largest image without an upper bound.
    unbounded: Option<UnboundedImage>,
    pub(super) gaps: u64,
    /// Processes that may belong to it, and reports about processes that were lost meanwhile.
    pub(super) unattributed: u64,
}

/// The resident sets of some processes.
#[derive(Default)]
pub(super) struct Part {
    pub(super) largest: Largest,
    /// The largest lower bound of a single member, and the latest possible time of it.
    single: Option<(Bound, i64)>,
    upper: UpperSum,
    processes: HashSet<(i32, u64)>,
}

/// The largest sum, and the first tick at which it was.
#[derive(Clone, Copy, Default)]
pub(super) struct Largest(Option<(u64, i64)>);

/// What the kernel counts of a process since its start.
#[derive(Clone, Copy, Default)]
pub(super) struct Counters {
    pub(super) cpu_ns: u64,
    pub(super) minflt: u64,
    pub(super) majflt: u64,
}

impl TestAttempt {
    fn new(test: &str, mark: Option<String>, begin_ms: i64, end_ms: i64) -> Self {
        Self {
            test: test.to_owned(),
            mark,
            begin_ms,
            end_ms,
            is_marked: (false, false),
            whole: Part::default(),
            anon: Largest::default(),
            pss_read: None,
            hugetlb_bytes: None,
            pss: PssSums::default(),
            family: ProcessFamily::default(),
            growth: Slope::default(),
            roles: Vec::new(),
            role_of: HashMap::new(),
            processes: HashMap::new(),
            counters: HashMap::new(),
            samples: 0,
            unbounded: None,
            gaps: 0,
            unattributed: 0,
        }
    }

    pub(super) fn marked(test: &str, span: &TestSpan) -> Self {
        let end_ms = span.end.map_or(span.begin_ms, |(end_ms, _)| end_ms);
        let attempt = Self::new(test, Some(span.name.clone()), span.begin_ms, end_ms);
        Self { is_marked: (true, span.end.is_some()), ..attempt }
    }

    pub(super) fn unmarked(test: &str, first: &ImageRow) -> Self {
        Self::new(test, None, first.first_ms, first.last_ms)
    }

    /// Adds an image, and returns its role and its process. In upper bounds it counts with those of the same holder.
    /// `before` bounds the images of the same process that came right before it and were never looked at.
    pub(super) fn add(
        &mut self,
        image: &SampledImage,
        holder: MemoryHolder,
        lived: (u64, u64),
        upper: Option<Bound>,
        before: Option<((u64, u64), Bound)>,
    ) -> (usize, (i32, u64)) {
        let row = &image.row_of_member();
        if !self.is_marked.0 {
            self.begin_ms = self.begin_ms.min(row.first_ms);
        }
        if !self.is_marked.1 {
            self.end_ms = self.end_ms.max(row.last_ms);
        }
        let process = (row.pid, row.start_ns);
        *self.processes.entry(process).or_default() |= row.samples > 0;
        self.samples = self.samples.saturating_add(row.samples);
        if row.samples > 0 {
            self.pss.note_image(row.first_ms, row.last_ms);
        }
        let roles = &mut self.roles;
        let role = *self.role_of.entry(row.role.clone()).or_insert_with_key(|role| {
            roles.push((role.clone(), Part::default()));
            roles.len() - 1
        });
        if upper.is_none() || (image.unseen_before > 0 && before.is_none()) {
            let bytes = if upper.is_none() { lower(row).bytes } else { 0 };
            if self.unbounded.as_ref().is_none_or(|largest| bytes > largest.bytes) {
                self.unbounded = Some(UnboundedImage { comm: row.comm.clone(), bytes });
            }
        }
        self.whole.add(image, holder, lived, upper, before);
        if let Some((_, part)) = roles.get_mut(role) {
            part.add(image, holder, lived, upper, before);
        }
        (role, process)
    }

    /// Adds what a process may have owned between its fork and its first exec: beside its parent, where that is in this
    /// attempt, in its role.
    pub(super) fn add_forked(&mut self, life: &ForkedLife, parent: Option<usize>, role: usize) {
        let beside = life.beside.filter(|_| parent.is_some()).map(|(_, bound)| bound);
        let of_role = self.roles.get_mut(parent.unwrap_or(role)).map(|(_, part)| part);
        for part in of_role.into_iter().chain([&mut self.whole]) {
            let holder = MemoryHolder::Process(life.process);
            part.upper.add(holder, life.lived_ns, beside.or(life.upper));
        }
    }

    /// Returns whether it is an attempt of this test.
    pub(super) fn is_of(&self, test: &str) -> bool {
        self.test == test
    }

    pub(super) fn count(&mut self, process: (i32, u64), counters: Counters) {
        let known = self.counters.entry(process).or_default();
        // Counters never decrease.
        known.cpu_ns = known.cpu_ns.max(counters.cpu_ns);
        known.minflt = known.minflt.max(counters.minflt);
        known.majflt = known.majflt.max(counters.majflt);
    }

    pub(super) fn into_usage(mut self) -> io::Result<TestUsage> {
        if self.unattributed > 0 {
            let roles = self.roles.iter_mut().map(|(_, part)| part);
            roles.chain([&mut self.whole]).for_each(|part| part.upper.lack_members());
        }
        let total = |of: fn(&Counters) -> u64| {
            let sum = self.counters.values().map(of).fold(0, u64::saturating_add);
            (!self.counters.is_empty()).then_some(sum)
        };
        let counts = (total(|it| it.cpu_ns), total(|it| it.minflt), total(|it| it.majflt));
        let unbounded_images = self.whole.upper.unbounded();
        let rss = self.whole.into_peak()?;
        // A part of a resident set has its upper bound.
        let part = |largest: Largest| -> io::Result<Option<SumPeak>> {
            let Some((bytes, ts_ms)) = largest.0 else { return Ok(None) };
            let lower = Bound { bytes, source: Source::Sampled };
            let upper = rss
                .and_then(|rss| rss.upper)
                .map(|upper| Bound { bytes: upper.bytes.max(bytes), source: upper.source });
            Ok(Some(SumPeak { lower, upper, by: instant(ts_ms)? }))
        };
        let rss_peak_bytes = rss.map_or(0, |rss| rss.lower.bytes);
        let pss = self.pss.peak(rss_peak_bytes, rss.and_then(|rss| rss.upper))?;
        let pss_missing = self.pss.missing(self.samples, rss_peak_bytes);
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
            pss,
            pss_missing,
            pss_read: self.pss_read.map_or(Ok(None), part)?,
            pss_read_rss_bytes: self.pss.read_rss_bytes(),
            hugetlb_bytes: self.hugetlb_bytes,
            growth_bytes_per_minute: self.growth.bytes_per_minute(),
            roles,
            processes: self.processes.len() as u64,
            unsampled: self.processes.values().filter(|&&sampled| !sampled).count() as u64,
            unbounded_images,
            unbounded_image: self.unbounded,
            unattributed: self.unattributed,
            samples: self.samples,
            gaps: self.gaps,
            cpu_ns: counts.0,
            minflt: counts.1,
            majflt: counts.2,
        })
    }
}

impl Part {
    fn add(
        &mut self,
        image: &SampledImage,
        holder: MemoryHolder,
        lived: (u64, u64),
        upper: Option<Bound>,
        before: Option<((u64, u64), Bound)>,
    ) {
        let lower = lower(&image.row_of_member());
        if self.single.is_none_or(|(largest, _)| lower.bytes > largest.bytes) {
            self.single = Some((lower, image.exit_ms.unwrap_or(image.row.last_ms)));
        }
        let process = (image.row.pid, image.row.start_ns);
        self.upper.add(holder, lived, upper);
        match before {
            Some((lived, upper)) => {
                self.upper.add(MemoryHolder::Process(process), lived, Some(upper));
            }
            None => self.upper.add_unseen(image.unseen_before),
        }
        self.processes.insert(process);
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
    pub(super) fn observe(&mut self, bytes: u64, ts_ms: i64) {
        let is_larger =
            |(largest, first_ms)| bytes > largest || (bytes == largest && ts_ms < first_ms);
        if self.0.is_none_or(is_larger) {
            self.0 = Some((bytes, ts_ms));
        }
    }
}

fn instant(ts_ms: i64) -> io::Result<Timestamp> {
    Timestamp::from_millisecond(ts_ms).map_err(io::Error::other)
}
