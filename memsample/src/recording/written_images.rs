//! The process images that are being sampled while a recording is written.

use std::sync::Arc;

use crate::batch::Row;
use crate::identity::{Comm, Identity, ProcessId};
use crate::journal::ImageState;
use crate::metric::{Files, Metric, Metrics};
use crate::schema::exits::Exit;
use crate::schema::processes::{ProcessRow, Summary};
use crate::segment::{SampledTick, Segment, SeriesIndex};
use crate::slot::Slot;
use crate::slot_map::SlotMap;

/// The process images that are being sampled, by their slots.
#[derive(Default)]
pub(super) struct WrittenImages {
    images: SlotMap<WrittenImage>,
}

/// A process image whose samples are being written.
pub(super) struct WrittenImage {
    /// As it was at its first sample.
    identity: Arc<Identity>,
    /// What it is now, where that is something else.
    now: Option<Arc<Identity>>,
    parent: Option<ProcessId>,
    comm: Comm,
    test: Option<Arc<str>>,
    metrics: Metrics,
    summary: Summary,
    series: SeriesIndex,
    /// The tick from which on the summary lacks the samples.
    summed: u32,
}

impl WrittenImages {
    /// Returns how many images there are.
    pub(super) fn count(&self) -> u64 {
        self.images.len() as u64
    }

    /// Begins an image at the present tick of the segment, and returns the one that it displaces: a
    /// journal that is damaged may lack its end.
    pub(super) fn begin(
        &mut self,
        slot: Slot,
        identity: Arc<Identity>,
        parent: Option<ProcessId>,
        segment: &mut Segment,
    ) -> Option<ProcessRow> {
        let displaced = self.end(slot, segment);
        let tick = segment.tick();
        let (comm, metrics) = (identity.comm, Metrics::default());
        let series = segment.begin(Arc::clone(&identity), comm, None, tick, metrics);
        let image = WrittenImage {
            identity,
            now: None,
            parent,
            comm,
            test: None,
            metrics,
            summary: Summary::default(),
            series,
            summed: tick,
        };
        self.images.insert(slot, image);
        displaced
    }

    /// Continues with an image from an earlier segment.
    pub(super) fn resume(&mut self, state: &ImageState, segment: &mut Segment) {
        let ImageState { slot, identity, now, parent, comm, test, metrics, summary } = state;
        let is_now = Arc::clone(now.as_ref().unwrap_or(identity));
        let series = segment.begin(is_now, *comm, test.clone(), 0, *metrics);
        let image = WrittenImage {
            identity: Arc::clone(identity),
            now: now.clone(),
            parent: *parent,
            comm: *comm,
            test: test.clone(),
            metrics: *metrics,
            summary: *summary,
            series,
            summed: 0,
        };
        self.images.insert(*slot, image);
    }

    /// Ends an image before the present tick, and returns its row if it has samples.
    pub(super) fn end(&mut self, slot: Slot, segment: &mut Segment) -> Option<ProcessRow> {
        let mut image = self.images.remove(slot)?;
        let tick = segment.tick();
        image.sum_until(tick, segment.ticks());
        segment.end(image.series, tick);
        (image.summary.samples > 0).then(|| image.row(true))
    }

    pub(super) fn rename(&mut self, slot: Slot, comm: Comm, segment: &mut Segment) {
        if let Some(image) = self.images.get_mut(slot) {
            image.comm = comm;
            segment.rename(image.series, segment.tick(), comm);
        }
    }

    /// Sets what an image is from the present tick on.
    pub(super) fn describe(&mut self, slot: Slot, identity: &Arc<Identity>, segment: &mut Segment) {
        if let Some(image) = self.images.get_mut(slot) {
            segment.describe(image.series, segment.tick(), Arc::clone(identity));
            image.now = Some(Arc::clone(identity));
        }
    }

    pub(super) fn assign(&mut self, slot: Slot, test: Option<Arc<str>>, segment: &mut Segment) {
        if let Some(image) = self.images.get_mut(slot) {
            segment.assign(image.series, segment.tick(), test.clone());
            // Who has left a test was of it.
            image.test = test.or(image.test.take());
        }
    }

    pub(super) fn set_row(&mut self, slot: Slot, row: &Row, segment: &mut Segment) {
        let tick = segment.tick();
        if let Some(image) = self.images.get_mut(slot) {
            image.sum_until(tick, segment.ticks());
            image.metrics = row.metrics;
            image.sum_until_with(tick + 1, segment.ticks(), Some(row.files));
            segment.set_row(image.series, tick, row);
        }
    }

    /// Leaves an image out at the present tick, and returns whether there is one.
    pub(super) fn set_absent(&mut self, slot: Slot, segment: &mut Segment) -> bool {
        let tick = segment.tick();
        let Some(image) = self.images.get_mut(slot) else {
            return false;
        };
        image.sum_until(tick, segment.ticks());
        image.summed = tick + 1;
        segment.set_absent(image.series, tick);
        true
    }

    /// Notes the peak of an image whose end will be seen at the next tick.
    pub(super) fn set_exit(&mut self, exit: &Exit) {
        let mut images = self.images.values_mut();
        if let Some(image) = images.find(|image| image.identity.process == exit.process) {
            image.summary.end(exit);
        }
    }

    /// Brings all summaries up to date.
    pub(super) fn sum(&mut self, segment: &Segment) {
        let end = segment.ticks().len() as u32;
        self.images.values_mut().for_each(|image| image.sum_until(end, segment.ticks()));
    }

    /// Begins a new segment, in which every image continues.
    pub(super) fn begin_segment(&mut self, segment: &mut Segment) {
        for image in self.images.values_mut() {
            let identity = Arc::clone(image.now.as_ref().unwrap_or(&image.identity));
            let test = image.test.clone();
            image.series = segment.begin(identity, image.comm, test, 0, image.metrics);
            image.summed = 0;
        }
    }

    /// Returns the rows of the images that have samples.
    pub(super) fn rows(&self) -> impl Iterator<Item = ProcessRow> {
        self.images.values().filter(|image| image.summary.samples > 0).map(|image| image.row(false))
    }

    /// Returns what the next journal must know of the images.
    pub(super) fn states(&self) -> Vec<ImageState> {
        let state = |(slot, image): (Slot, &WrittenImage)| ImageState {
            slot,
            identity: Arc::clone(&image.identity),
            now: image.now.clone(),
            parent: image.parent,
            comm: image.comm,
            test: image.test.clone(),
            metrics: image.metrics,
            summary: image.summary,
        };
        self.images.iter().map(state).collect()
    }

    /// Returns the image with the largest resident set: its name, pid and bytes.
    pub(super) fn largest(&self) -> Option<(Comm, i32, u64)> {
        let images = self.images.values();
        let largest = images.max_by_key(|image| image.metrics.get(Metric::Rss))?;
        Some((largest.comm, largest.identity.pid, largest.metrics.get(Metric::Rss)))
    }
}

impl WrittenImage {
    /// Adds the samples before tick `end` that the summary lacks; they all have the present numbers.
    fn sum_until(&mut self, end: u32, ticks: &[SampledTick]) {
        self.sum_until_with(end, ticks, None);
    }

    fn sum_until_with(&mut self, end: u32, ticks: &[SampledTick], own_files: Option<Files>) {
        let range = self.summed as usize..end as usize;
        let Some([first, rest @ ..]) = ticks.get(range) else {
            return;
        };
        let last = rest.last().unwrap_or(first);
        let common = || rest.iter().fold(first.files, |files, tick| files | tick.files);
        let files = own_files.unwrap_or_else(common);
        self.summary.add(&self.metrics, files, rest.len() as u64 + 1, first.ts_ms, last.ts_ms);
        self.summed = end;
    }

    /// Returns what the table of processes says: the first user and control group, the last arguments and role.
    fn told_identity(&self) -> Arc<Identity> {
        let Some(now) = &self.now else { return Arc::clone(&self.identity) };
        let Identity { uid, cgroup, .. } = &*self.identity;
        Arc::new(Identity { uid: *uid, cgroup: cgroup.clone(), ..Identity::clone(now) })
    }

    fn row(&self, ended: bool) -> ProcessRow {
        ProcessRow {
            identity: self.told_identity(),
            parent: self.parent,
            comm: self.comm,
            test: self.test.clone(),
            ended,
            summary: self.summary,
        }
    }
}
