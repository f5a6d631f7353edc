//! A `/proc` tree that changes at random, and what must be recorded of it.

use std::collections::BTreeMap;

use memsample::Metric;

use crate::fake_proc::{FakeProc, FakeProcess};
use crate::recorded::Rows;

const PAGE: i64 = 4096;

/// The state of a small random number generator: tests must be the same each time.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        // Knuth's constants; the high bits are good enough here.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// A tree that changes at random, and what must be recorded of it.
pub(crate) struct Simulation {
    pub(crate) tree: FakeProc,
    random: Random,
    processes: BTreeMap<i32, FakeProcess>,
    next_pid: i32,
    /// Processes that have not been sampled yet: their first sample has all details.
    newborn: Vec<i32>,
    /// The resident sets as they were sampled last.
    sampled: BTreeMap<i32, u64>,
}

impl Simulation {
    pub(crate) fn new(seed: u64) -> Self {
        let mut simulation = Self {
            tree: FakeProc::new(),
            random: Random(seed),
            processes: BTreeMap::new(),
            next_pid: 10,
            newborn: Vec::new(),
            sampled: BTreeMap::new(),
        };
        (0..4).for_each(|_| simulation.begin());
        simulation
    }

    fn begin(&mut self) {
        let pid = self.next_pid;
        self.next_pid += 1;
        let process = FakeProcess { start: self.random.below(1 << 20), ..FakeProcess::new(pid) };
        self.tree.set(&process);
        self.processes.insert(pid, process);
        self.newborn.push(pid);
    }

    pub(crate) fn step(&mut self) {
        if self.random.below(4) == 0 && self.processes.len() < 10 {
            self.begin();
        }
        if self.random.below(5) == 0 && self.processes.len() > 2 {
            let index = self.random.below(self.processes.len() as u64) as usize;
            let pid = *self.processes.keys().nth(index).unwrap();
            self.processes.remove(&pid);
            self.tree.remove(pid);
            self.newborn.retain(|&newborn| newborn != pid);
        }
        let random = &mut self.random;
        for process in self.processes.values_mut() {
            if random.below(3) == 0 {
                process.rss = 50 + random.below(1000);
                process.hwm = process.hwm.max(process.rss);
                process.minflt += random.below(100);
                process.utime += random.below(3);
                process.pss_kib = random.below(1000);
                self.tree.set(process);
            }
        }
    }

    /// Returns the rows of the present tick. With `follows`, details are also read of who changed, and
    /// the kinds of memory hold where nothing did.
    pub(crate) fn expected(&mut self, ts: i64, detail: bool, follows: bool, pss: bool) -> Rows {
        let newborn = std::mem::take(&mut self.newborn);
        let now = self.processes.values().map(|process| (process.pid, process.rss)).collect();
        let before = std::mem::replace(&mut self.sampled, now);
        let row = |process: &FakeProcess| {
            let changed = before.get(&process.pid) != Some(&process.rss);
            let detail = detail || newborn.contains(&process.pid) || (follows && changed);
            let kinds = detail || follows;
            let pages = |pages: u64| Some(i64::try_from(pages).unwrap() * PAGE);
            let number = |number: u64| Some(i64::try_from(number).unwrap());
            let metrics = Metric::ALL.map(|metric| match metric {
                Metric::Rss => pages(process.rss),
                Metric::Vsize => pages(process.size),
                Metric::Shared => pages(process.shared),
                Metric::Anon => pages(process.rss - process.shared),
                Metric::Data => pages(50),
                Metric::Text => pages(3),
                Metric::File => pages(process.shared).filter(|_| kinds),
                Metric::Shmem => Some(0).filter(|_| kinds),
                Metric::Swap => Some(8 * 1024).filter(|_| kinds),
                Metric::Hwm => pages(process.hwm).filter(|_| kinds),
                Metric::Hugetlb => Some(2 << 20).filter(|_| kinds),
                Metric::Minflt => number(process.minflt).filter(|_| detail),
                Metric::Majflt => Some(2).filter(|_| detail),
                Metric::Utime => number(process.utime * 10_000_000).filter(|_| detail),
                Metric::Stime => Some(30_000_000).filter(|_| detail),
                Metric::Pss => number(process.pss_kib * 1024).filter(|_| pss),
                Metric::Uss => Some(100 * 1024).filter(|_| pss),
                Metric::SwapPss => Some(2 * 1024).filter(|_| pss),
            });
            ((ts, process.pid), ("fake".to_owned(), metrics))
        };
        self.processes.values().map(row).collect()
    }
}
