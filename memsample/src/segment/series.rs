//! The samples of one process image, as a log of changes.

use std::ops::Range;
use std::sync::Arc;

use crate::batch::Row;
use crate::codec::{Decoder, put_changes, put_number};
use crate::identity::{Comm, Identity};
use crate::metric::{Files, Metrics};

/// Flags of an entry in the log.
const ABSENT: u8 = 1 << 7;
/// The files that were read follow, since they differ from those of the tick.
const OWN_FILES: u8 = 1 << 6;

/// The samples of one process image in one segment.
pub(super) struct Series {
    identity: Arc<Identity>,
    /// What the image is from a later tick on.
    described: Vec<(u32, Arc<Identity>)>,
    /// The tick of the first row.
    first: u32,
    /// The tick behind the last row; `u32::MAX` while the process is sampled.
    end: u32,
    /// The command names, each from a tick on.
    comms: Vec<(u32, Comm)>,
    /// The tests, each from a tick on; of no test before the first.
    tests: Vec<(u32, Option<Arc<str>>)>,
    /// The numbers before the first entry of the log.
    start: Box<Metrics>,
    /// The numbers after the last entry.
    last: Box<Metrics>,
    /// The tick of the last entry.
    last_tick: u32,
    /// For each change: ticks since the change before, flags, changed metrics.
    log: Vec<u8>,
}

impl Series {
    /// The memory of a series without its log.
    pub(super) const FIXED_BYTES: usize =
        size_of::<Self>() + 2 * size_of::<Metrics>() + size_of::<(u32, Comm)>();

    pub(super) fn new(
        identity: Arc<Identity>,
        comm: Comm,
        test: Option<Arc<str>>,
        first: u32,
        metrics: Metrics,
    ) -> Self {
        Self {
            identity,
            described: Vec::new(),
            first,
            end: u32::MAX,
            comms: vec![(first, comm)],
            tests: test.into_iter().map(|test| (first, Some(test))).collect(),
            start: Box::new(metrics),
            last: Box::new(metrics),
            last_tick: first,
            log: Vec::new(),
        }
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(super) fn log_bytes(&self) -> usize {
        self.log.len()
    }

    pub(super) fn end(&mut self, end: u32) {
        self.end = end.max(self.first);
    }

    pub(super) fn set_row(&mut self, tick: u32, row: &Row, common: Files) {
        self.begin_entry(tick);
        if row.files == common {
            self.log.push(0);
        } else {
            self.log.push(OWN_FILES);
            put_number(&mut self.log, row.files.bits().into());
        }
        put_changes(&mut self.log, &self.last, &row.metrics);
        *self.last = row.metrics;
    }

    pub(super) fn set_absent(&mut self, tick: u32) {
        self.begin_entry(tick);
        self.log.push(ABSENT);
    }

    pub(super) fn rename(&mut self, tick: u32, comm: Comm) {
        match self.comms.last_mut() {
            Some((from, last)) if *from == tick => *last = comm,
            _ => self.comms.push((tick, comm)),
        }
    }

    pub(super) fn assign(&mut self, tick: u32, test: Option<Arc<str>>) {
        match self.tests.last_mut() {
            Some((from, last)) if *from == tick => *last = test,
            _ => self.tests.push((tick, test)),
        }
    }

    /// Sets the user, the control group and the role from a tick on.
    pub(super) fn describe(&mut self, tick: u32, identity: Arc<Identity>) {
        match self.described.last_mut() {
            Some((from, last)) if *from == tick => *last = identity,
            _ => self.described.push((tick, identity)),
        }
    }

    fn begin_entry(&mut self, tick: u32) {
        put_number(&mut self.log, u64::from(tick.saturating_sub(self.last_tick)));
        self.last_tick = tick;
    }

    /// Returns the command name at tick `tick`, and until which tick it holds.
    pub(super) fn comm_at(&self, tick: u32) -> (Comm, u32) {
        let (comm, until) = in_effect(&self.comms, tick);
        (comm.copied().unwrap_or(Comm::new(b"")), until)
    }

    /// Returns what the image is at tick `tick`, and until which tick that holds.
    pub(super) fn identity_at(&self, tick: u32) -> (&Identity, u32) {
        let (identity, until) = in_effect(&self.described, tick);
        (identity.unwrap_or(&self.identity), until)
    }

    /// Returns the test at tick `tick`, and until which tick it holds.
    pub(super) fn test_at(&self, tick: u32) -> (Option<&str>, u32) {
        let (test, until) = in_effect(&self.tests, tick);
        (test.and_then(Option::as_deref), until)
    }

    /// Returns the runs of the series, in order of time.
    pub(super) fn equal_rows(&self, ticks: u32) -> EqualRowsIter<'_> {
        EqualRowsIter {
            log: Decoder::new(&self.log),
            metrics: *self.start,
            tick: self.first,
            entry_tick: self.first,
            end: self.end.min(ticks),
            entry: None,
        }
    }
}

/// Returns which of some values, each from a tick on, holds at tick `tick`, and until which tick.
fn in_effect<T>(values: &[(u32, T)], tick: u32) -> (Option<&T>, u32) {
    let later = values.partition_point(|&(from, _)| from <= tick);
    let value = later.checked_sub(1).and_then(|index| values.get(index));
    let until = values.get(later).map_or(u32::MAX, |&(from, _)| from);
    (value.map(|(_, value)| value), until)
}

/// The rows of a process at consecutive ticks, all with the same numbers.
pub(super) struct EqualRows {
    pub(super) ticks: Range<u32>,
    /// What was read; `None` for what was read of every process at each of these ticks.
    pub(super) own_files: Option<Files>,
    pub(super) metrics: Metrics,
}

pub(super) struct EqualRowsIter<'a> {
    log: Decoder<'a>,
    metrics: Metrics,
    /// The next tick to return.
    tick: u32,
    /// The tick of the entry read last.
    entry_tick: u32,
    end: u32,
    /// The flags of an entry that was read and not yet returned.
    entry: Option<(u32, u8)>,
}

impl EqualRowsIter<'_> {
    /// Reads the tick and flags of the next entry, but not its numbers, which come into effect later.
    fn peek(&mut self) -> Option<(u32, u8)> {
        if self.entry.is_none() && !self.log.is_empty() {
            let tick = self.entry_tick.saturating_add(self.log.number_u32()?);
            self.entry_tick = tick;
            self.entry = Some((tick, self.log.byte()?));
        }
        self.entry
    }
}

impl Iterator for EqualRowsIter<'_> {
    type Item = EqualRows;

    fn next(&mut self) -> Option<EqualRows> {
        loop {
            if self.tick >= self.end {
                return None;
            }
            let first = self.tick;
            match self.peek() {
                Some((tick, flags)) if tick <= first => {
                    self.entry = None;
                    self.tick = first + 1;
                    if flags & ABSENT != 0 {
                        continue;
                    }
                    let own_files = match flags & OWN_FILES {
                        0 => None,
                        _ => Some(Files::from_bits_truncate(self.log.number()? as u16)),
                    };
                    self.log.changes(&mut self.metrics)?;
                    if own_files.is_none() {
                        // The ticks until the next entry are like this one.
                        self.tick = self
                            .peek()
                            .map_or(self.end, |(tick, _)| tick.clamp(first + 1, self.end));
                    }
                    return Some(EqualRows {
                        ticks: first..self.tick,
                        own_files,
                        metrics: self.metrics,
                    });
                }
                entry => {
                    self.tick = entry.map_or(self.end, |(tick, _)| tick.min(self.end));
                    return Some(EqualRows {
                        ticks: first..self.tick,
                        own_files: None,
                        metrics: self.metrics,
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Metric;

    fn identity() -> Arc<Identity> {
        Arc::new(Identity::of(1, 10))
    }

    fn metrics(rss: u64) -> Metrics {
        let mut metrics = Metrics::default();
        metrics.set(Metric::Rss, rss);
        metrics
    }

    fn row(rss: u64, files: Files) -> Row {
        Row { files, metrics: metrics(rss) }
    }

    /// Returns the resident set and whether the files are the series' own, tick by tick.
    fn expand(series: &Series, ticks: u32) -> Vec<(u32, u64, Option<Files>)> {
        series
            .equal_rows(ticks)
            .flat_map(|run| {
                run.ticks.map(move |tick| (tick, run.metrics.get(Metric::Rss), run.own_files))
            })
            .collect()
    }

    #[test]
    fn rows_between_changes_are_made_again() {
        let mut series = Series::new(identity(), Comm::new(b"x"), None, 2, metrics(0));
        series.set_row(2, &row(5, Files::STATM), Files::STATM);
        series.set_row(5, &row(7, Files::all()), Files::STATM);
        series.set_absent(7);
        series.set_row(8, &row(7, Files::STATM), Files::STATM);
        series.end(10);
        let expected = [
            (2, 5, None),
            (3, 5, None),
            (4, 5, None),
            (5, 7, Some(Files::all())),
            (6, 7, None),
            (8, 7, None),
            (9, 7, None),
        ];
        assert_eq!(expand(&series, 100), expected);
        assert_eq!(expand(&series, 4), &expected[..2]);
        assert_eq!(expand(&series, 2), []);
    }

    #[test]
    fn a_series_that_goes_on_from_before_needs_no_entry() {
        let series = Series::new(identity(), Comm::new(b"x"), None, 0, metrics(9));
        assert_eq!(expand(&series, 3), [(0, 9, None), (1, 9, None), (2, 9, None)]);
    }

    #[test]
    fn absent_at_the_first_and_the_last_tick() {
        let mut series = Series::new(identity(), Comm::new(b"x"), None, 0, metrics(9));
        series.set_absent(0);
        series.set_absent(1);
        series.set_absent(3);
        assert_eq!(expand(&series, 4), [(2, 9, None)]);
    }

    #[test]
    fn names_hold_from_their_tick_on() {
        let mut series = Series::new(identity(), Comm::new(b"sh"), None, 3, metrics(9));
        series.rename(3, Comm::new(b"bash"));
        series.rename(8, Comm::new(b"zsh"));
        assert_eq!(series.comm_at(3), (Comm::new(b"bash"), 8));
        assert_eq!(series.comm_at(9), (Comm::new(b"zsh"), u32::MAX));
    }

    #[test]
    fn users_and_groups_hold_from_their_tick_on() {
        let mut series = Series::new(identity(), Comm::new(b"sh"), None, 3, metrics(9));
        let of_user = |uid| Arc::new(Identity { uid: Some(uid), ..Identity::of(1, 10) });
        series.describe(5, of_user(0));
        series.describe(8, of_user(1));
        series.describe(8, of_user(2));
        let uid_at = |tick| {
            let (identity, until) = series.identity_at(tick);
            (identity.uid, until)
        };
        assert_eq!([uid_at(3), uid_at(5)], [(None, 5), (Some(0), 8)]);
        assert_eq!(uid_at(9), (Some(2), u32::MAX));
    }

    #[test]
    fn tests_hold_from_their_tick_on() {
        let mut series = Series::new(identity(), Comm::new(b"sh"), None, 3, metrics(9));
        series.assign(5, Some("a".into()));
        series.assign(8, Some("b".into()));
        series.assign(8, None);
        assert_eq!(series.test_at(3), (None, 5));
        assert_eq!(series.test_at(5), (Some("a"), 8));
        assert_eq!(series.test_at(9), (None, u32::MAX));
    }
}
