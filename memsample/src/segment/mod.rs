//! The samples since the last checkpoint, in memory: every process as a series of changes.
//!
//! Ticks arrive in order of time; a Parquet row group is sorted by process. Dense samples of ten
//! minutes would take hundreds of megabytes until they can be sorted, but most numbers are those of
//! the tick before. So each process keeps only its changes, as bytes, and the rows are told
//! again run by run, process after process.

#[cfg(test)]
mod columns;
mod sample_run;
mod sampled_tick;
mod series;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use columns::SampleBatches;
pub(crate) use sample_run::SampleRun;
pub(crate) use sampled_tick::SampledTick;

use std::sync::Arc;

use crate::batch::Row;
use crate::identity::{Comm, Identity};
use crate::metric::{Files, Metrics};
use series::Series;

/// Which series of the segment a process image has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SeriesIndex(u32);

/// Samples of consecutive ticks.
#[derive(Default)]
pub(crate) struct Segment {
    ticks: Vec<SampledTick>,
    series: Vec<Series>,
    /// Bytes in all series' logs.
    log_bytes: usize,
}

impl Segment {
    /// Begins a tick; what follows belongs to it.
    pub(crate) fn begin_tick(&mut self, tick: SampledTick) {
        self.ticks.push(tick);
    }

    /// Returns the index of the present tick.
    pub(crate) fn tick(&self) -> u32 {
        // Bounded by the memory of a segment, far below four billion.
        (self.ticks.len() as u32).saturating_sub(1)
    }

    pub(crate) fn ticks(&self) -> &[SampledTick] {
        &self.ticks
    }

    /// Returns about how much memory the segment takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        // A vector that grows has up to twice the capacity.
        2 * self.log_bytes
            + self.series.len() * Series::FIXED_BYTES
            + self.ticks.len() * size_of::<SampledTick>()
    }

    /// Begins a series whose first row is that of tick `first`, with these numbers until it changes.
    pub(crate) fn begin(
        &mut self,
        identity: Arc<Identity>,
        comm: Comm,
        test: Option<Arc<str>>,
        first: u32,
        metrics: Metrics,
    ) -> SeriesIndex {
        self.series.push(Series::new(identity, comm, test, first, metrics));
        SeriesIndex(self.series.len() as u32 - 1)
    }

    /// Ends a series: it has no row at tick `end` or later.
    pub(crate) fn end(&mut self, index: SeriesIndex, end: u32) {
        self.change(index, |series| series.end(end));
    }

    /// Sets the row at tick `tick`.
    pub(crate) fn set_row(&mut self, index: SeriesIndex, tick: u32, row: &Row) {
        let common = self.ticks.get(tick as usize).map_or(Files::empty(), |tick| tick.files);
        self.change(index, |series| series.set_row(tick, row, common));
    }

    /// Leaves out the row at tick `tick`.
    pub(crate) fn set_absent(&mut self, index: SeriesIndex, tick: u32) {
        self.change(index, |series| series.set_absent(tick));
    }

    /// Changes the command name from tick `tick` on.
    pub(crate) fn rename(&mut self, index: SeriesIndex, tick: u32, comm: Comm) {
        self.change(index, |series| series.rename(tick, comm));
    }

    /// Changes the user, the control group and the role from tick `tick` on.
    pub(crate) fn describe(&mut self, index: SeriesIndex, tick: u32, identity: Arc<Identity>) {
        self.change(index, |series| series.describe(tick, identity));
    }

    /// Gives the image to another test from tick `tick` on.
    pub(crate) fn assign(&mut self, index: SeriesIndex, tick: u32, test: Option<Arc<str>>) {
        self.change(index, |series| series.assign(tick, test));
    }

    fn change(&mut self, index: SeriesIndex, change: impl FnOnce(&mut Series)) {
        if let Some(series) = self.series.get_mut(index.0 as usize) {
            let before = series.log_bytes();
            change(series);
            self.log_bytes += series.log_bytes() - before;
        }
    }

    /// Passes on the rows from tick `first` on, sorted by process and time, as runs of equal ones.
    ///
    /// # Errors
    ///
    /// The first one of `each`.
    pub(crate) fn for_each_run<E>(
        &self,
        first: u32,
        mut each: impl FnMut(&SampleRun<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let end = self.ticks.len() as u32;
        for series in self.in_order() {
            for mut rows in series.equal_rows(end) {
                rows.ticks.start = rows.ticks.start.max(first);
                if !rows.ticks.is_empty() {
                    SampleRun::for_each(series, &rows, &self.ticks, &mut each)?;
                }
            }
        }
        Ok(())
    }

    /// Returns the same rows one by one, as Arrow batches: what the runs are compared with.
    #[cfg(test)]
    pub(crate) fn batches(&self, first: u32) -> SampleBatches<'_> {
        SampleBatches::new(&self.ticks, self.in_order(), first)
    }

    fn in_order(&self) -> Vec<&Series> {
        let mut order: Vec<&Series> = self.series.iter().collect();
        order.sort_unstable_by_key(|series| series.identity().process);
        order
    }
}
