//! What the results of a run say of its attempts: when their programs ran, and how much memory they may have.

use std::collections::HashMap;
use std::path::Path;

use memsample::analysis::attempt_mark;
use memsample_inherited::tell;
use memsample_input::printable;
use memsample_leaks::{Judged, RoleJudgement};
use memsample_runner::results::{EndResults, FILE, Results};
use memsample_runner::suite::Quantity;
use serde::Serialize;

/// What bounds the memory of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Limit {
    /// In bytes.
    pub(super) limit_bytes: u64,
    /// Whose it is.
    pub(super) limit: LimitKind,
}

/// Whose a limit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum LimitKind {
    /// `memory_limit` of the test.
    MemoryLimit,
    /// A budget of the test.
    Budget,
    /// `--limit`.
    Option,
}

impl LimitKind {
    /// Returns the end of a sentence.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::MemoryLimit => "its memory limit",
            Self::Budget => "its budget",
            Self::Option => "the limit",
        }
    }
}

/// The attempts of a run, by test and the name of the mark that began them.
#[derive(Default)]
pub(super) struct Attempts(HashMap<(String, String), EndResults>);

impl Attempts {
    /// Reads them from the directory of a run. Where there are no results, as of a run that goes on, nothing is known; of
    /// results that cannot be read a note says so.
    pub(super) fn read(run: &Path) -> Self {
        let path = run.join(FILE);
        if !path.is_file() {
            return Self::default();
        }
        let results = match Results::read(&path) {
            Ok(results) => results,
            Err(error) => {
                let path = printable(&path.display().to_string());
                tell(format!(
                    "note: the limits of the tests are not known, and neither is when their setup ended: cannot read \
                     `{path}`: {error}"
                ));
                return Self::default();
            }
        };
        let attempts = results.tests.into_iter().flat_map(|test| {
            let name = test.name;
            test.attempts.into_iter().map(move |it| {
                let mark = attempt_mark(it.repetition, it.attempt);
                ((name.clone(), mark), it.ended)
            })
        });
        Self(attempts.collect())
    }

    /// Returns what to judge.
    pub(super) fn judged(&self, is_whole: bool) -> Judged {
        let programs = self.0.iter().filter_map(|(key, ended)| {
            let begin_ms = ended.started?.as_millisecond();
            let duration_ms = i64::try_from(ended.duration_ns?.div_ceil(1_000_000)).ok()?;
            Some((key.clone(), (begin_ms, begin_ms.saturating_add(duration_ms))))
        });
        Judged { is_whole, programs: programs.collect() }
    }

    /// Returns the smallest limit of what was judged.
    pub(super) fn limit(&self, judged: &RoleJudgement) -> Option<Limit> {
        let ended = self.0.get(&(judged.test.clone()?, judged.mark.clone()?))?;
        let own = ended.memory_limit_bytes;
        let own = own.map(|limit_bytes| Limit { limit_bytes, limit: LimitKind::MemoryLimit });
        let budgets = ended.budgets.iter().map(|result| &result.budget).filter(|budget| {
            let is_of = budget.role.is_none() || budget.role == judged.role;
            is_of
                && matches!(
                    budget.quantity,
                    Quantity::RssPeak | Quantity::AnonPeak | Quantity::GroupPeak
                )
        });
        let budgets = budgets
            .map(|budget| Limit { limit_bytes: budget.limit_bytes, limit: LimitKind::Budget });
        own.into_iter().chain(budgets).min()
    }
}
