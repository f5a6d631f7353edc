//! A process image within a projection, and the row it has at a tick.

use std::sync::Arc;

use super::schedule::Rate;
use super::scopes::TestName;
use crate::batch::{Batch, Change, Row};
use crate::identity::{Comm, Identity, ProcessId};
use crate::metric::{Files, Metric, Metrics};
use crate::slot::Slot;

/// What `statm` tells: if it is the same, nobody asked for more of the process.
const STATM_METRICS: [Metric; 6] =
    [Metric::Rss, Metric::Vsize, Metric::Shared, Metric::Anon, Metric::Data, Metric::Text];

/// A process image that all sweeps show, in the recording or not.
pub(super) struct ProjectedImage {
    pub(super) identity: Arc<Identity>,
    pub(super) comm: Comm,
    pub(super) metrics: Metrics,
    /// When PSS was read last, as far as the image's own rows tell; `None` where it never was.
    pub(super) pss_read_ms: Option<i64>,
    /// The sweep that said something of it last, and what was read in it.
    pub(super) sweep: u64,
    pub(super) files: Files,
    /// What was read since the last tick of the session and goes into its row: counters, and PSS.
    pub(super) since: Files,
    pub(super) touched: bool,
    /// The sweep at whose end its exit record was there.
    pub(super) exit_known_at: Option<u64>,
    pub(super) recorded: Option<Recorded>,
}

/// What the recording has of an image.
pub(super) struct Recorded {
    identity: Arc<Identity>,
    comm: Comm,
    metrics: Metrics,
    test: Option<TestName>,
    rows: u64,
}

/// Which files may stand in the rows of a tick.
pub(super) struct TickFiles {
    /// What was read of every process that is not among the changes.
    pub(super) common: Files,
    /// What may stand in the row of a process that did nothing.
    pub(super) quiet: Files,
    pub(super) detail: Rate,
}

impl ProjectedImage {
    pub(super) fn new(identity: &Arc<Identity>) -> Self {
        Self {
            identity: Arc::clone(identity),
            comm: identity.comm,
            metrics: Metrics::default(),
            pss_read_ms: None,
            sweep: 0,
            files: Files::empty(),
            since: Files::empty(),
            touched: false,
            exit_known_at: None,
            recorded: None,
        }
    }

    /// Writes the row of a tick, and what goes before it.
    ///
    /// `now` is what was read of it in the sweep of the tick; `test` and `parent` are its test, and the image of its
    /// parent where this is its first row.
    pub(super) fn write(
        &mut self,
        slot: Slot,
        now: Files,
        tick: &TickFiles,
        (test, parent): (Option<TestName>, Option<ProcessId>),
        out: &mut Batch,
    ) {
        let &TickFiles { common, quiet, detail } = tick;
        let moved = |recorded: &Recorded| {
            STATM_METRICS
                .iter()
                .any(|&metric| recorded.metrics.get(metric) != self.metrics.get(metric))
        };
        let mut wanted = quiet;
        // Who is new, and who moved, is looked at closer.
        if detail != Rate::Off
            && self.recorded.as_ref().is_none_or(|recorded| recorded.rows < 2 || moved(recorded))
        {
            wanted |= Files::DETAIL;
        }
        let files = (now | std::mem::take(&mut self.since)) & wanted;
        let recorded = match &mut self.recorded {
            Some(recorded) => {
                if recorded.comm != self.comm {
                    out.changes.push(Change::Rename(slot, self.comm));
                }
                if !Arc::ptr_eq(&recorded.identity, &self.identity)
                    && recorded.identity != self.identity
                {
                    out.changes.push(Change::Describe(slot, Arc::clone(&self.identity)));
                }
                if recorded.test != test {
                    out.changes.push(Change::Assign(slot, test.clone()));
                }
                if files != common || recorded.metrics != self.metrics {
                    let row = Row { files, metrics: self.metrics };
                    out.changes.push(Change::Row(slot, row));
                }
                recorded
            }
            none => {
                out.changes.push(Change::Begin(slot, Arc::clone(&self.identity), parent));
                if self.comm != self.identity.comm {
                    out.changes.push(Change::Rename(slot, self.comm));
                }
                if test.is_some() {
                    out.changes.push(Change::Assign(slot, test.clone()));
                }
                out.changes.push(Change::Row(slot, Row { files, metrics: self.metrics }));
                let metrics = self.metrics;
                let identity = Arc::clone(&self.identity);
                none.insert(Recorded { identity, comm: self.comm, metrics, test: None, rows: 0 })
            }
        };
        recorded.comm = self.comm;
        if !Arc::ptr_eq(&recorded.identity, &self.identity) {
            recorded.identity = Arc::clone(&self.identity);
        }
        recorded.metrics = self.metrics;
        recorded.test = test;
        recorded.rows += 1;
    }

    /// Returns what was read of it in a sweep, where `common` was read of all that the sweep does not mention.
    pub(super) fn files_at(&self, sweep: u64, common: Files) -> Files {
        if self.sweep == sweep { self.files } else { common }
    }

    /// Returns whether its first row is that of the tick of this sweep, provided that it is in the target.
    pub(super) fn begins(&self, sweep: u64, common: Files) -> bool {
        self.recorded.is_none()
            && self.exit_known_at.is_none_or(|at| at == sweep)
            && !self.files_at(sweep, common).is_empty()
    }

    /// Returns the test that the recording knows of.
    pub(super) fn test(&self) -> Option<&str> {
        self.recorded.as_ref()?.test.as_deref()
    }

    /// Returns the process image.
    pub(super) fn process(&self) -> ProcessId {
        self.identity.process
    }
}
