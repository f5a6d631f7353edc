//! Who had how much memory when: the machine by role, the largest processes, and the attempts of tests.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io;

use memsample::Recording;
use memsample::analysis::{
    AttemptRole, GroupMemory, LargestProcess, MemorySums, TickInstant, attempt_roles,
    largest_processes, sums_between, sums_over_time, tick_instants,
};

use super::images::Images;
use super::roles::candidates;
use crate::curve::{Curve, M4, Point};

/// Roles that a stack shows by themselves: as many as can be told apart by colour. The others are one more layer.
pub const MAX_ROLES: usize = 11;
/// Processes that have a curve.
const MAX_PROCESSES: usize = 12;
/// Ticks of which a stack keeps all: an hour at ten a second.
const STACK_TICKS: usize = 40_000;
/// Spans of time of which the stack of a longer recording keeps four points each.
const STACK_BUCKETS: usize = 10_000;
/// The same of the curve of a process.
const PROCESS_BUCKETS: usize = 400;
/// The same of all attempts together, and of one at least and at most.
const ATTEMPTS_BUCKETS: usize = 40_000;
const ATTEMPT_BUCKETS: (usize, usize) = (24, 400);
/// A line ends where the next sample is more than so many tenths of an interval away: two missed ticks or more.
const GAP_TENTHS: i64 = 25;
/// The name of the layer of all other roles.
pub const OTHER: &str = "all other roles";

/// Memory over time. Sums are of resident sets: shared pages count once for each process.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// The first tick, in milliseconds since 1970.
    pub begin_ms: i64,
    /// The last tick.
    pub end_ms: i64,
    /// The layers, largest peak first; [`OTHER`] last, if there are other roles.
    pub layers: Vec<Layer>,
    /// The sum of all processes; the row has the resident set of each layer.
    pub machine: Curve<Box<[u64]>>,
    /// The tick with the largest sum; `None` where nothing was sampled.
    pub peak: Option<MachinePeak>,
    /// The largest processes, largest peak first.
    pub processes: Vec<ProcessCurve>,
    /// The attempts of tests, in the order of their begin.
    pub attempts: Vec<AttemptCurve>,
}

/// A layer of the stack: a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The role.
    pub name: String,
    /// The largest sum of its resident sets at one tick, and that tick; `None` of [`OTHER`], which is known only when
    /// all ticks have been seen.
    pub peak: Option<LayerPeak>,
    /// Its process images in the whole recording.
    pub images: u64,
}

/// The largest sum of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerPeak {
    /// The resident sets, in bytes.
    pub bytes: u64,
    /// The tick, in milliseconds since 1970.
    pub ts_ms: i64,
}

/// All processes of the machine at the tick with the largest sum of resident sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachinePeak {
    /// The tick.
    pub ts_ms: i64,
    /// The sums over all processes.
    pub sums: MemorySums,
    /// The sums of each layer.
    pub layers: Vec<MemorySums>,
}

/// A process image over time.
#[derive(Clone, Debug)]
pub struct ProcessCurve {
    /// What the table of processes says.
    pub process: LargestProcess,
    /// Its resident set.
    pub rss: Curve<()>,
}

/// An attempt of a test over time.
#[derive(Clone, Debug)]
pub struct AttemptCurve {
    /// The test.
    pub test: String,
    /// The name of the marks between which it is; `None` where there are none.
    pub mark: Option<String>,
    /// Its begin, in milliseconds since 1970.
    pub begin_ms: i64,
    /// Its end.
    pub end_ms: i64,
    /// The sum of resident sets.
    pub rss: Curve<()>,
    /// The sum of anonymous memory.
    pub anon: Curve<()>,
    /// The tick with the largest sum of resident sets; `None` where no process was sampled.
    pub peak: Option<AttemptPeak>,
}

/// The processes of an attempt at the tick with the largest sum of their resident sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptPeak {
    /// The tick.
    pub ts_ms: i64,
    /// The sums over its processes.
    pub sums: MemorySums,
    /// The sums by role, largest first.
    pub roles: Vec<(String, MemorySums)>,
}

impl Timeline {
    /// Reads a recording. The samples are read once; twice where more than 48 roles may be among the largest by what the
    /// table of processes says.
    ///
    /// # Errors
    ///
    /// A table cannot be read.
    pub fn read(recording: &Recording) -> io::Result<Self> {
        let ticks = tick_instants(recording)?;
        let images = Images::read(recording)?;
        let roles = candidates(recording, &images, MAX_ROLES)?;
        let largest = largest_processes(recording, MAX_PROCESSES)?;
        let attempts = attempt_roles(recording)?;
        let mut groups = Groups::new(&images, &roles, &largest, &attempts);
        let interval_ms =
            i64::try_from(recording.manifest().provenance.settings.interval_ms).unwrap_or(i64::MAX);
        let mut sums = Sums::new(&groups, &ticks, interval_ms.max(1));
        let of_images = std::mem::take(&mut groups.of_images);
        sums_over_time(recording, &of_images, |group| sums.take(&group))?;
        Ok(sums.finish(&images, &groups, largest))
    }
}

impl Timeline {
    /// Returns the memory over time of those attempts that are wanted, without the machine around them.
    ///
    /// # Errors
    ///
    /// A table cannot be read.
    pub fn attempts(
        recording: &Recording,
        is_wanted: impl FnMut(&AttemptRole) -> bool,
    ) -> io::Result<Vec<AttemptCurve>> {
        let mut attempts = attempt_roles(recording)?;
        attempts.retain(is_wanted);
        let begin_ms = attempts.iter().map(|it| it.begin_ms).min();
        let end_ms = attempts.iter().map(|it| it.end_ms).max();
        let Some((begin_ms, end_ms)) = begin_ms.zip(end_ms) else { return Ok(Vec::new()) };
        let images = Images::default();
        let mut groups = Groups::new(&images, &[], &[], &attempts);
        let interval_ms =
            i64::try_from(recording.manifest().provenance.settings.interval_ms).unwrap_or(i64::MAX);
        let mut sums = Sums::new(&groups, &[], interval_ms.max(1));
        // Of the machine nothing is wanted.
        sums.machine = M4::new(begin_ms, end_ms, 1);
        let of_images = std::mem::take(&mut groups.of_images);
        sums_between(recording, &of_images, begin_ms..=end_ms, |group| sums.take(&group))?;
        Ok(sums.finish(&images, &groups, Vec::new()).attempts)
    }
}

/// Which numbers are added up: the candidates of the stack, then the rest of it, then processes, then the roles of
/// attempts.
struct Groups {
    /// The roles of the stack, by their positions.
    roles: Vec<usize>,
    of_images: HashMap<u64, Vec<usize>>,
    processes: usize,
    attempts: Vec<AttemptSpan>,
    /// The attempt and the name of the role of each group of an attempt.
    attempt_roles: Vec<(usize, String)>,
}

struct AttemptSpan {
    test: String,
    mark: Option<String>,
    begin_ms: i64,
    end_ms: i64,
}

impl Groups {
    fn new(
        images: &Images,
        roles: &[usize],
        largest: &[LargestProcess],
        attempts: &[AttemptRole],
    ) -> Self {
        let places: HashMap<usize, usize> =
            roles.iter().enumerate().map(|(place, role)| (*role, place)).collect();
        let other = roles.len();
        let mut of_images: HashMap<u64, Vec<usize>> = HashMap::with_capacity(images.images.len());
        for image in &images.images {
            let place = places.get(&image.role).copied().unwrap_or(other);
            of_images.entry(image.process).or_default().push(place);
        }
        for (place, process) in largest.iter().enumerate() {
            of_images.entry(process.process.0).or_default().push(other + 1 + place);
        }
        let first = other + 1 + largest.len();
        let mut spans: Vec<AttemptSpan> = Vec::new();
        let mut known: HashMap<(&str, usize), usize> = HashMap::new();
        let mut attempt_roles = Vec::with_capacity(attempts.len());
        for attempt in attempts {
            let span = *known.entry((&attempt.test, attempt.attempt)).or_insert_with(|| {
                let AttemptRole { test, mark, begin_ms, end_ms, .. } = attempt;
                let (test, mark) = (test.clone(), mark.clone());
                spans.push(AttemptSpan { test, mark, begin_ms: *begin_ms, end_ms: *end_ms });
                spans.len() - 1
            });
            for image in &attempt.images {
                of_images.entry(*image).or_default().push(first + attempt_roles.len());
            }
            attempt_roles.push((span, attempt.role.clone()));
        }
        Self {
            roles: roles.to_vec(),
            of_images,
            processes: largest.len(),
            attempts: spans,
            attempt_roles,
        }
    }
}

/// Collects sums, tick by tick.
struct Sums {
    gap_ms: i64,
    begin_ms: i64,
    end_ms: i64,
    tick_ms: Option<i64>,
    /// The sums of the stack at the present tick.
    stack: Vec<MemorySums>,
    largest: Vec<LayerPeak>,
    machine: M4<Box<[u64]>>,
    machine_ms: Option<i64>,
    peak: Option<MachinePeak>,
    processes: Vec<Line>,
    attempts: Vec<AttemptSums>,
    /// Of each group of an attempt: the attempt, and the position of its role there.
    places: Vec<(usize, usize)>,
    /// The attempts that have a sample at the present tick.
    touched: Vec<usize>,
}

/// A curve of one number, and when it last had a point.
struct Line {
    curve: M4<()>,
    last_ms: Option<i64>,
}

struct AttemptSums {
    rss: Line,
    anon: Line,
    is_touched: bool,
    names: Vec<String>,
    roles: Vec<MemorySums>,
    peak: Option<(i64, MemorySums, Vec<MemorySums>)>,
}

impl Line {
    fn new(begin_ms: i64, end_ms: i64, buckets: usize) -> Self {
        Self { curve: M4::new(begin_ms, end_ms, buckets), last_ms: None }
    }

    fn push(&mut self, ts_ms: i64, value: u64, gap_ms: i64) {
        if self.last_ms.is_some_and(|last_ms| ts_ms - last_ms > gap_ms) {
            self.curve.cut();
        }
        self.last_ms = Some(ts_ms);
        self.curve.push(Point { ts_ms, value, row: () });
    }
}

impl Sums {
    fn new(groups: &Groups, ticks: &[TickInstant], interval_ms: i64) -> Self {
        let begin_ms = ticks.first().map_or(0, |tick| tick.ts_ms);
        let end_ms = ticks.last().map_or(0, |tick| tick.ts_ms);
        let (fewest, most) = ATTEMPT_BUCKETS;
        let buckets = (ATTEMPTS_BUCKETS / groups.attempts.len().max(1)).clamp(fewest, most);
        let line = |span: &AttemptSpan| Line::new(span.begin_ms, span.end_ms, buckets);
        let mut attempts: Vec<AttemptSums> = groups
            .attempts
            .iter()
            .map(|span| AttemptSums {
                rss: line(span),
                anon: line(span),
                is_touched: false,
                names: Vec::new(),
                roles: Vec::new(),
                peak: None,
            })
            .collect();
        let mut places = Vec::with_capacity(groups.attempt_roles.len());
        for (attempt, name) in &groups.attempt_roles {
            let Some(sums) = attempts.get_mut(*attempt) else { continue };
            places.push((*attempt, sums.names.len()));
            sums.names.push(name.clone());
            sums.roles.push(MemorySums::default());
        }
        let stack = groups.roles.len() + 1;
        Self {
            gap_ms: interval_ms.saturating_mul(GAP_TENTHS) / 10,
            begin_ms,
            end_ms,
            tick_ms: None,
            stack: vec![MemorySums::default(); stack],
            largest: vec![LayerPeak::default(); stack],
            machine: stack_curve(ticks, begin_ms, end_ms),
            machine_ms: None,
            peak: None,
            processes: (0..groups.processes)
                .map(|_| Line::new(begin_ms, end_ms, PROCESS_BUCKETS))
                .collect(),
            attempts,
            places,
            touched: Vec::new(),
        }
    }

    fn take(&mut self, group: &GroupMemory) {
        if self.tick_ms != Some(group.ts_ms) {
            self.end_tick();
            self.tick_ms = Some(group.ts_ms);
        }
        if let Some(sums) = self.stack.get_mut(group.group) {
            *sums = group.sums;
            return;
        }
        let index = group.group - self.stack.len();
        if let Some(line) = self.processes.get_mut(index) {
            line.push(group.ts_ms, group.sums.rss_bytes, self.gap_ms);
            return;
        }
        let place = self.places.get(index - self.processes.len()).copied();
        let Some((attempt, role)) = place else { return };
        let Some(sums) = self.attempts.get_mut(attempt) else { return };
        if !sums.is_touched {
            sums.is_touched = true;
            self.touched.push(attempt);
        }
        if let Some(role) = sums.roles.get_mut(role) {
            *role = group.sums;
        }
    }

    fn end_tick(&mut self) {
        let Some(ts_ms) = self.tick_ms.take() else { return };
        let sums = total(&self.stack);
        for (largest, sums) in self.largest.iter_mut().zip(&self.stack) {
            if sums.rss_bytes > largest.bytes {
                *largest = LayerPeak { bytes: sums.rss_bytes, ts_ms };
            }
        }
        if self.machine_ms.is_some_and(|last_ms| ts_ms - last_ms > self.gap_ms) {
            self.machine.cut();
        }
        self.machine_ms = Some(ts_ms);
        let row = self.stack.iter().map(|sums| sums.rss_bytes).collect();
        self.machine.push(Point { ts_ms, value: sums.rss_bytes, row });
        if self.peak.as_ref().is_none_or(|peak| sums.rss_bytes > peak.sums.rss_bytes) {
            self.peak = Some(MachinePeak { ts_ms, sums, layers: self.stack.clone() });
        }
        self.stack.fill(MemorySums::default());
        for attempt in self.touched.drain(..) {
            if let Some(attempt) = self.attempts.get_mut(attempt) {
                attempt.end_tick(ts_ms, self.gap_ms);
            }
        }
    }

    fn finish(
        mut self,
        images: &Images,
        groups: &Groups,
        largest: Vec<LargestProcess>,
    ) -> Timeline {
        self.end_tick();
        let order = Order::new(&self.largest);
        let mut counts = vec![0_u64; self.largest.len()];
        let places: HashMap<usize, usize> =
            groups.roles.iter().enumerate().map(|(place, role)| (*role, place)).collect();
        for image in &images.images {
            let place = places.get(&image.role).copied().unwrap_or(groups.roles.len());
            if let Some(count) = counts.get_mut(place) {
                *count += 1;
            }
        }
        let curve = self.machine.finish();
        let lines = curve.lines.into_iter().map(|line| {
            let of = |point: Point<Box<[u64]>>| {
                let row = order.sums(&point.row, |sum, bytes| *sum += bytes);
                Point { row: row.into(), ts_ms: point.ts_ms, value: point.value }
            };
            line.into_iter().map(of).collect()
        });
        let machine: Curve<Box<[u64]>> = Curve { lines: lines.collect() };
        let layers = order.layers(&self.largest, &counts, |place| {
            let role = groups.roles.get(place).and_then(|role| images.roles.get(*role));
            role.cloned().unwrap_or_default()
        });
        let peak = self.peak.map(|peak| MachinePeak {
            layers: order
                .sums(&peak.layers, |sum: &mut MemorySums, sums| *sum = total(&[*sum, *sums])),
            ..peak
        });
        let processes = largest
            .into_iter()
            .zip(self.processes)
            .map(|(process, line)| ProcessCurve { process, rss: line.curve.finish() });
        let attempts = groups.attempts.iter().zip(self.attempts);
        let mut attempts: Vec<AttemptCurve> =
            attempts.map(|(span, sums)| sums.into_curve(span)).collect();
        attempts.sort_by(|a, b| (a.begin_ms, &a.test).cmp(&(b.begin_ms, &b.test)));
        Timeline {
            begin_ms: self.begin_ms,
            end_ms: self.end_ms,
            layers,
            machine,
            peak,
            processes: processes.collect(),
            attempts,
        }
    }
}

impl AttemptSums {
    fn end_tick(&mut self, ts_ms: i64, gap_ms: i64) {
        self.is_touched = false;
        let sums = total(&self.roles);
        self.rss.push(ts_ms, sums.rss_bytes, gap_ms);
        self.anon.push(ts_ms, sums.anon_bytes, gap_ms);
        if self.peak.as_ref().is_none_or(|(_, peak, _)| sums.rss_bytes > peak.rss_bytes) {
            self.peak = Some((ts_ms, sums, self.roles.clone()));
        }
        self.roles.fill(MemorySums::default());
    }

    fn into_curve(self, span: &AttemptSpan) -> AttemptCurve {
        let names = self.names;
        AttemptCurve {
            test: span.test.clone(),
            mark: span.mark.clone(),
            begin_ms: span.begin_ms,
            end_ms: span.end_ms,
            rss: self.rss.curve.finish(),
            anon: self.anon.curve.finish(),
            peak: self.peak.map(|(ts_ms, sums, roles)| {
                let mut roles: Vec<(String, MemorySums)> =
                    names.into_iter().zip(roles).filter(|(_, sums)| sums.processes > 0).collect();
                roles.sort_by(|a, b| {
                    (Reverse(a.1.rss_bytes), &a.0).cmp(&(Reverse(b.1.rss_bytes), &b.0))
                });
                AttemptPeak { ts_ms, sums, roles }
            }),
        }
    }
}

/// Which groups of the stack are its layers, largest peak first; the rest are one more.
struct Order {
    shown: Vec<usize>,
    rest: Vec<usize>,
}

impl Order {
    fn new(largest: &[LayerPeak]) -> Self {
        // The last group is what is no candidate.
        let other = largest.len().saturating_sub(1);
        let bytes = |place: &usize| largest.get(*place).map_or(0, |largest| largest.bytes);
        let mut places: Vec<usize> = (0..other).collect();
        places.sort_by_key(|place| Reverse(bytes(place)));
        let sampled = places.iter().take_while(|place| bytes(place) > 0).count();
        let mut rest = places.split_off(sampled.min(MAX_ROLES));
        rest.push(other);
        Self { shown: places, rest }
    }

    /// Returns the sums of the layers from those of the groups.
    fn sums<T: Default + Clone>(&self, groups: &[T], add: impl Fn(&mut T, &T)) -> Vec<T> {
        let shown = self.shown.iter().filter_map(|place| groups.get(*place).cloned());
        let mut rest = T::default();
        self.rest.iter().filter_map(|place| groups.get(*place)).for_each(|it| add(&mut rest, it));
        shown.chain([rest]).collect()
    }

    fn layers(
        &self,
        largest: &[LayerPeak],
        counts: &[u64],
        name: impl Fn(usize) -> String,
    ) -> Vec<Layer> {
        let count = |place: &usize| counts.get(*place).copied().unwrap_or(0);
        let shown = self.shown.iter().map(|place| Layer {
            name: name(*place),
            peak: largest.get(*place).copied(),
            images: count(place),
        });
        let images = self.rest.iter().map(count).sum();
        shown.chain([Layer { name: OTHER.to_owned(), peak: None, images }]).collect()
    }
}

/// Returns what keeps every tick, or of a long recording the extremes of each span of time.
fn stack_curve(ticks: &[TickInstant], begin_ms: i64, end_ms: i64) -> M4<Box<[u64]>> {
    let is_short = ticks.len() <= STACK_TICKS;
    // Then a bucket is a millisecond.
    let buckets = if is_short { usize::MAX } else { STACK_BUCKETS };
    M4::new(begin_ms, end_ms, buckets)
}

fn total(sums: &[MemorySums]) -> MemorySums {
    let mut total = MemorySums::default();
    sums.iter().for_each(|sums| total += *sums);
    total
}
