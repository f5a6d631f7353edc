//! What two runs must have in common for a difference between them to be one of the program.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use memsample_input::rounded_size;
use memsample_runner::results::{Origin, Results};
use serde::{Deserialize, Serialize};

/// A part of the environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The release of the kernel.
    Kernel,
    /// The number of CPUs on which tests may run.
    Cpus,
    /// The memory of the machine, to 2 %: the kernel reserves a little more or less at each boot.
    Memory,
    /// The size of a page.
    PageSize,
    /// When the kernel uses huge pages for anonymous memory.
    HugePages,
    /// The sampling interval.
    Interval,
}

/// How much less memory is still the same, as a share.
const MEMORY_TOLERANCE: f64 = 0.02;

impl Part {
    /// All parts.
    pub const ALL: [Self; 6] =
        [Self::Kernel, Self::Cpus, Self::Memory, Self::PageSize, Self::HugePages, Self::Interval];

    /// Returns the word for it, as `--allow-different` takes it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Cpus => "cpus",
            Self::Memory => "memory",
            Self::PageSize => "page-size",
            Self::HugePages => "huge-pages",
            Self::Interval => "interval",
        }
    }

    /// Returns it as a person reads it; `None` where the results do not say.
    fn of(self, origin: &Origin) -> Option<String> {
        match self {
            Self::Kernel => origin.kernel.clone(),
            Self::Cpus => origin.cpus.map(|cpus| cpus.to_string()),
            Self::Memory => origin.memory_bytes.map(rounded_size),
            Self::PageSize => origin.page_bytes.map(rounded_size),
            // A kernel without them says nothing, and neither do results that are older: the interval tells these.
            Self::HugePages => {
                origin.huge_pages.clone().or_else(|| origin.interval_ns.map(|_| "none".to_owned()))
            }
            Self::Interval => origin.interval_ns.map(|ns| format!("{} ms", ns as f64 / 1e6)),
        }
    }

    /// Returns whether runs have it in common, so far as they say it.
    fn is_common(self, origins: &[&Origin]) -> bool {
        if self == Self::Memory {
            let known = origins.iter().filter_map(|origin| origin.memory_bytes);
            let largest = known.clone().max().unwrap_or(0);
            // If the smallest is near enough to it, all are to each other.
            return known.min().is_none_or(|smallest| {
                largest.abs_diff(smallest) as f64 <= MEMORY_TOLERANCE * largest as f64
            });
        }
        let mut known = origins.iter().filter_map(|origin| self.of(origin));
        known.next().is_none_or(|first| known.all(|other| other == first))
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = Self::ALL.into_iter().map(Self::word).collect();
        let part = Self::ALL.into_iter().find(|part| part.word() == text);
        part.ok_or_else(|| format!("there are {}", words.join(", ")))
    }
}

/// A part of the environment that is not the same in all runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Which part.
    pub part: Part,
    /// What it is in the base: each value once, for people.
    pub base: Vec<String>,
    /// What it is in the head.
    pub head: Vec<String>,
}

impl Difference {
    /// Returns what became of it from an earlier release to a later one, for people.
    #[must_use]
    pub fn over_time(&self) -> String {
        let side = |values: &[String]| match values {
            [] => "not known".to_owned(),
            values => values.join(" and "),
        };
        format!("{}: {} before, now {}", self.part, side(&self.base), side(&self.head))
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |values: &[String]| match values {
            [] => "not known".to_owned(),
            values => values.join(" and "),
        };
        write!(
            f,
            "{}: {} in the base, {} in the head",
            self.part,
            side(&self.base),
            side(&self.head)
        )
    }
}

/// Returns the parts that are not the same in all runs, and those that some run does not say.
pub(crate) fn compare(base: &[&Results], head: &[&Results]) -> (Vec<Difference>, Vec<Part>) {
    let all: Vec<&Origin> = base.iter().chain(head).map(|results| &results.origin).collect();
    let mut different = Vec::new();
    let mut unknown = Vec::new();
    for part in Part::ALL {
        if all.iter().any(|origin| part.of(origin).is_none()) {
            unknown.push(part);
        }
        if part.is_common(&all) {
            continue;
        }
        let values = |side: &[&Results]| {
            let values = side.iter().filter_map(|results| part.of(&results.origin));
            values.collect::<BTreeSet<_>>().into_iter().collect()
        };
        different.push(Difference { part, base: values(base), head: values(head) });
    }
    (different, unknown)
}
