//! Consecutive rows of a process that differ in nothing but their instants.

use super::sampled_tick::SampledTick;
use super::series::{EqualRows, Series};
use crate::identity::{Comm, Identity};
use crate::metric::{Files, Metrics};

/// Consecutive rows of a process image that differ in nothing but their instants and in what was read.
pub(crate) struct SampleRun<'a> {
    /// The tick of each row.
    pub(crate) ticks: &'a [SampledTick],
    /// What the image was at these ticks.
    pub(crate) identity: &'a Identity,
    pub(crate) comm: Comm,
    pub(crate) test: Option<&'a str>,
    pub(crate) metrics: Metrics,
    own_files: Option<Files>,
}

impl<'a> SampleRun<'a> {
    /// Passes on the parts of rows with equal numbers in which the name, the test and the rest are equal too.
    pub(super) fn for_each<E>(
        series: &'a Series,
        rows: &EqualRows,
        ticks: &'a [SampledTick],
        mut each: impl FnMut(&SampleRun<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut tick, end) = (rows.ticks.start, rows.ticks.end);
        while tick < end {
            let (identity, identity_until) = series.identity_at(tick);
            let (comm, comm_until) = series.comm_at(tick);
            let (test, test_until) = series.test_at(tick);
            let until = end.min(identity_until).min(comm_until).min(test_until);
            let ticks = ticks.get(tick as usize..until as usize).unwrap_or_default();
            let (metrics, own_files) = (rows.metrics, rows.own_files);
            each(&SampleRun { ticks, identity, comm, test, metrics, own_files })?;
            tick = until;
        }
        Ok(())
    }

    /// Returns which files were read, and of how many rows one after the other.
    pub(crate) fn files(&self) -> impl Iterator<Item = (Files, usize)> {
        self.ticks.chunk_by(|one, next| self.own_files.is_some() || one.files == next.files).map(
            |ticks| {
                let common = ticks.first().map_or(Files::empty(), |tick| tick.files);
                (self.own_files.unwrap_or(common), ticks.len())
            },
        )
    }
}
