//! What each test of a run, or each role of a recording, used at most.

use std::io;

use memsample::Recording;
use memsample::analysis::{recording_roles, role_peaks};
use memsample_runner::results::{AttemptResults, BoundedBytes, Results, Spread};

/// A quantity of memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// The peak of resident sets: shared pages count once for each process.
    RssPeak,
    /// The peak of proportional sets.
    PssPeak,
    /// The peak of anonymous memory.
    AnonPeak,
    /// The peak of the control group, page cache included.
    GroupPeak,
}

impl Measure {
    /// All, in the order in which they are written.
    pub const ALL: [Self; 4] = [Self::RssPeak, Self::PssPeak, Self::AnonPeak, Self::GroupPeak];

    /// Returns the word for it, as `results.json` has it: `rss_peak`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::RssPeak => "rss_peak",
            Self::PssPeak => "pss_peak",
            Self::AnonPeak => "anon_peak",
            Self::GroupPeak => "group_peak",
        }
    }

    /// Describes it in a line.
    #[must_use]
    pub fn help(self) -> &'static str {
        match self {
            Self::RssPeak => "Peak of the resident sets of all processes together",
            Self::PssPeak => "Peak of the proportional sets of all processes together",
            Self::AnonPeak => "Peak of the resident anonymous memory of all processes together",
            Self::GroupPeak => "Peak of the memory charged to the control group",
        }
    }

    /// Returns what an attempt used; `None` where it was not measured.
    #[must_use]
    pub fn of(self, attempt: &AttemptResults) -> Option<BoundedBytes> {
        let memory = attempt.ended.memory.as_ref();
        match self {
            Self::RssPeak => memory?.rss_peak(),
            Self::PssPeak => memory?.pss_peak(),
            Self::AnonPeak => memory?.anon_peak(),
            Self::GroupPeak => attempt.ended.group.as_ref()?.group_peak(),
        }
    }
}

/// What a test, or a role, used at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// The test; of a recording, the role.
    pub subject: String,
    /// What was measured.
    pub measure: Measure,
    /// The lower bound of the peak, in bytes; of several repetitions the median, of an even number the lower one of the
    /// two in the middle.
    pub bytes: u64,
    /// The lower bound, in bytes; of several repetitions the smallest.
    pub bytes_lower: u64,
    /// The upper bound, in bytes; of several repetitions the largest. `None` where nothing bounds one of them.
    pub bytes_upper: Option<u64>,
}

/// The figures of a run or of a recording.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// The suite; `None` of a recording.
    pub suite: Option<String>,
    /// Test by test, or role by role, in the order of the suite, or the largest role first.
    pub figures: Vec<Figure>,
    /// Tests without any figure, because no repetition came to its end, or nothing was measured of those that did.
    pub without: Vec<String>,
    /// Roles of a recording that are not in the figures, because others are larger.
    pub left_out: usize,
    /// Repetitions of other tests that are not in the figures, because they did not come to their end: what is cut
    /// short uses less.
    pub cut_short: u64,
}

impl Figures {
    /// Returns whether there is nothing to be told.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.figures.is_empty()
    }
}

/// Returns the figures of a run, of the last attempt of each repetition that came to its end.
#[must_use]
pub fn figures_of_run(results: &Results) -> Figures {
    let mut all = Figures { suite: Some(results.suite.clone()), ..Figures::default() };
    for test in &results.tests {
        let last = test.last_attempts();
        let ended: Vec<&AttemptResults> =
            last.iter().copied().filter(|attempt| attempt.ended.came_to_its_end()).collect();
        let before = all.figures.len();
        for measure in Measure::ALL {
            let bytes: Vec<BoundedBytes> =
                ended.iter().filter_map(|attempt| measure.of(attempt)).collect();
            all.figures.extend(Figure::of(&test.name, measure, &bytes));
        }
        match all.figures.len() == before {
            true => all.without.push(test.name.clone()),
            false => all.cut_short += (last.len() - ended.len()) as u64,
        }
    }
    all
}

/// Returns the peaks of the `top` largest roles of a recording.
///
/// # Errors
///
/// A table cannot be read.
pub fn figures_of_recording(recording: &Recording, top: usize) -> io::Result<Figures> {
    let peaks = role_peaks(recording, top, |_| true)?;
    // A role of which nothing is known has no figure.
    let figures = peaks.into_iter().filter_map(|peak| {
        let lower = peak.lower?;
        Some(Figure {
            subject: peak.role,
            measure: Measure::RssPeak,
            bytes: lower.bytes,
            bytes_lower: lower.bytes,
            bytes_upper: peak.upper.map(|upper| upper.bytes),
        })
    });
    let figures: Vec<Figure> = figures.collect();
    let left_out = recording_roles(recording)?.len().saturating_sub(figures.len());
    Ok(Figures { figures, left_out, ..Figures::default() })
}

impl Figure {
    /// Returns what all repetitions say together; `None` where there is none.
    fn of(subject: &str, measure: Measure, bytes: &[BoundedBytes]) -> Option<Self> {
        let lower = Spread::of(bytes.iter().map(|bytes| bytes.lower).collect())?;
        let uppers: Option<Vec<u64>> = bytes.iter().map(|bytes| bytes.upper).collect();
        Some(Self {
            subject: subject.to_owned(),
            measure,
            bytes: lower.median,
            bytes_lower: lower.min,
            bytes_upper: uppers.and_then(|uppers| uppers.into_iter().max()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_of_repetitions_is_their_median_within_all_bounds() {
        let bytes = |lower, upper| BoundedBytes { lower, upper };
        let of = |all: &[BoundedBytes]| {
            let figure = Figure::of("t", Measure::RssPeak, all)?;
            Some((figure.bytes, figure.bytes_lower, figure.bytes_upper))
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[bytes(5, Some(6))]), Some((5, 5, Some(6))));
        assert_eq!(
            of(&[bytes(9, Some(9)), bytes(1, Some(12)), bytes(5, None)]),
            Some((5, 1, None))
        );
        assert_eq!(of(&[bytes(9, Some(9)), bytes(1, Some(12))]), Some((1, 1, Some(12))));
    }
}
