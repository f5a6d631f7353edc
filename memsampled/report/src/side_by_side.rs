//! The model of a comparison: what it says of each test, with the numbers of all repeats and the memory over time of
//! one attempt of each side.

use std::collections::{BTreeMap, HashMap};

use memsample::Recording;
use memsample::analysis::attempt_mark;
use memsample_compare::comparison::Compared;
use memsample_compare::{Comparison, Number, Quantity, Repeats, Run};

use crate::recorded::timeline::{AttemptCurve, Timeline};

/// Tests of which the memory over time is read: those that want attention first.
pub const MAX_TESTS: usize = 300;

/// A comparison, and what it is of.
#[derive(Clone, Debug)]
pub struct SideBySide {
    /// What it says.
    pub comparison: Comparison,
    /// The tests, what wants attention first.
    pub tests: Vec<ComparedTest>,
    /// What a reader must know, a sentence each.
    pub notes: Vec<String>,
}

/// A test on both sides.
#[derive(Clone, Debug)]
pub struct ComparedTest {
    /// The name of the suite.
    pub suite: String,
    /// The name of the test.
    pub test: String,
    /// What was compared of it, what wants attention first.
    pub quantities: Vec<ComparedQuantity>,
    /// The memory over time of an attempt of the base; `None` where no recording that can be read has it.
    pub base: Option<MedianAttempt>,
    /// The same of the head.
    pub head: Option<MedianAttempt>,
}

/// A quantity of a test, or of one of its roles.
#[derive(Clone, Debug)]
pub struct ComparedQuantity {
    /// What is said of it.
    pub compared: Compared,
    /// The numbers of the base, in the order in which they were measured.
    pub base: Vec<Number>,
    /// The same of the head.
    pub head: Vec<Number>,
}

/// The attempt with the median of a side, of an even number the lower one of the two in the middle.
#[derive(Clone, Debug)]
pub struct MedianAttempt {
    /// Its number, and which attempt it is.
    pub number: Number,
    /// Its memory over time.
    pub curve: AttemptCurve,
}

/// A side of a comparison.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Base,
    Head,
}

impl SideBySide {
    /// Makes it of a comparison and the runs that were compared. `open` opens a recording of a run by its path relative to
    /// the directory of the run; `None` where it is not there any more.
    #[must_use]
    pub fn new(
        comparison: Comparison,
        base: &[Run],
        head: &[Run],
        mut open: impl FnMut(&Run, &str) -> Option<Recording>,
    ) -> Self {
        let compared = &comparison.comparisons;
        let (of_base, of_head) = (Repeats::of(base, compared), Repeats::of(head, compared));
        let mut tests: Vec<ComparedTest> = Vec::new();
        let mut places: HashMap<(&str, &str), usize> = HashMap::new();
        for it in compared {
            let place = *places.entry((&it.suite, &it.test)).or_insert_with(|| {
                let (suite, test) = (it.suite.clone(), it.test.clone());
                tests.push(ComparedTest {
                    suite,
                    test,
                    quantities: Vec::new(),
                    base: None,
                    head: None,
                });
                tests.len() - 1
            });
            if let Some(test) = tests.get_mut(place) {
                test.quantities.push(ComparedQuantity {
                    compared: it.clone(),
                    base: of_base.get(it).to_vec(),
                    head: of_head.get(it).to_vec(),
                });
            }
        }
        let mut notes = Vec::new();
        for (side, runs) in [(Side::Base, base), (Side::Head, head)] {
            read_curves(side, runs, &mut tests, &mut open, &mut notes);
        }
        Self { comparison, tests, notes }
    }
}

impl ComparedTest {
    /// Returns what was compared of the test as a whole, the peak of resident sets before all others.
    #[must_use]
    pub fn whole(&self) -> Option<&ComparedQuantity> {
        let wholes = self.quantities.iter().filter(|it| it.compared.role.is_none());
        wholes.min_by_key(|it| it.compared.quantity)
    }

    /// Returns what is drawn over time: resident sets, or anonymous memory where that is what was compared.
    #[must_use]
    pub fn drawn(&self) -> Quantity {
        match self.whole().map(|it| it.compared.quantity) {
            Some(Quantity::AnonPeak) => Quantity::AnonPeak,
            _ => Quantity::Peak,
        }
    }

    fn numbers(&self, side: Side) -> &[Number] {
        self.whole().map_or(&[], |it| match side {
            Side::Base => &it.base,
            Side::Head => &it.head,
        })
    }
}

/// By the name of a test and the mark of an attempt: the position of the test, and the number of the attempt.
type Wanted = HashMap<(String, String), (usize, Number)>;

/// Reads the memory over time of the median attempts of a side, each recording once.
fn read_curves(
    side: Side,
    runs: &[Run],
    tests: &mut [ComparedTest],
    open: &mut impl FnMut(&Run, &str) -> Option<Recording>,
    notes: &mut Vec<String>,
) {
    let mut wanted: BTreeMap<(usize, &str), Wanted> = BTreeMap::new();
    for (place, test) in tests.iter().enumerate().take(MAX_TESTS) {
        let Some(number) = median(test.numbers(side)) else { continue };
        let Some(recording) = recording_of(runs, test, number) else { continue };
        let mark = attempt_mark(number.repetition, number.attempt);
        let of_recording = wanted.entry((number.run, recording)).or_default();
        of_recording.insert((test.test.clone(), mark), (place, number));
    }
    for ((run, name), wanted) in wanted {
        let Some(run) = runs.get(run) else { continue };
        let Some(recording) = open(run, name) else { continue };
        let key = |test: &str, mark: &Option<String>| Some((test.to_owned(), mark.clone()?));
        let curves = Timeline::attempts(&recording, |role| {
            key(&role.test, &role.mark).is_some_and(|key| wanted.contains_key(&key))
        });
        let curves = curves.unwrap_or_else(|error| {
            notes.push(format!(
                "the recording `{name}` of `{}` cannot be read, so that memory over time is missing: {error}",
                run.name
            ));
            Vec::new()
        });
        for curve in curves {
            let found = key(&curve.test, &curve.mark).and_then(|key| wanted.get(&key));
            let Some(&(place, number)) = found else { continue };
            let Some(test) = tests.get_mut(place) else { continue };
            let attempt = Some(MedianAttempt { number, curve });
            match side {
                Side::Base => test.base = attempt,
                Side::Head => test.head = attempt,
            }
        }
    }
}

/// Returns the median of some numbers, of an even number of them the lower one of the two in the middle.
fn median(numbers: &[Number]) -> Option<Number> {
    let mut sorted: Vec<&Number> = numbers.iter().collect();
    sorted.sort_by_key(|it| it.bytes.lower);
    sorted.get(sorted.len().checked_sub(1)? / 2).map(|it| **it)
}

/// Returns the recording that has an attempt of a test, as the results name it.
fn recording_of<'a>(runs: &'a [Run], test: &ComparedTest, number: Number) -> Option<&'a str> {
    let results = &runs.get(number.run)?.results;
    let of_test = results.tests.iter().find(|it| it.name == test.test)?;
    let attempt = of_test
        .attempts
        .iter()
        .find(|it| (it.repetition, it.attempt) == (number.repetition, number.attempt))?;
    attempt.ended.recording.as_deref()
}
