//! The rows of the screen: processes, or groups of them, in an order.

use std::collections::HashMap;

use clap::ValueEnum;
use regex::Regex;

use crate::frame::{Frame, ProcessMemory};
use crate::row_key::{By, RowKey};
use crate::trail::{Past, Trail};

/// What the rows are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SortBy {
    /// Resident set
    Rss,
    /// Proportional set
    Pss,
    /// Unique set
    Uss,
    /// Memory in swap
    Swap,
    /// Largest resident set so far
    Peak,
    /// Growth in the last minute
    Growth,
    /// Name
    Name,
}

/// A sum of which parts may not be known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// The bytes of what is known; `None` where nothing is.
    pub known: Option<u64>,
    /// Of how many processes it is not known.
    pub unknown: usize,
}

impl Sum {
    fn add(&mut self, bytes: Option<u64>) {
        match bytes {
            Some(bytes) => self.known = Some(self.known.unwrap_or(0).saturating_add(bytes)),
            None => self.unknown += 1,
        }
    }
}

/// One row.
#[derive(Clone, Debug)]
pub struct Row {
    /// What tells it from the others.
    pub key: RowKey,
    /// The process id; `None` of a group.
    pub pid: Option<i32>,
    /// How many ancestors stand above it, in a tree.
    pub depth: usize,
    /// The number of processes.
    pub processes: usize,
    /// The user; of a group that of all its processes, or nothing.
    pub user: String,
    /// Sums over the processes.
    pub rss: u64,
    /// Likewise.
    pub pss: Sum,
    /// Likewise.
    pub uss: Sum,
    /// Likewise.
    pub swap: Sum,
    /// The age of the oldest PSS, in seconds.
    pub pss_age_s: u16,
    /// The largest resident set so far; of a group within the last minute.
    pub peak: Option<u64>,
    /// The growth of the resident set in the last minute, in bytes per minute; `None` where it is too short.
    pub growth: Option<i64>,
    /// The command, or the name of the group.
    pub name: String,
}

/// Which rows there are, and in which order.
#[derive(Clone, Debug)]
pub struct Choice {
    /// What a row stands for.
    pub by: By,
    /// What they are sorted by.
    pub sort: SortBy,
    /// Whether the order is reversed.
    pub reverse: bool,
    /// Whether children stand below their parents; of [`By::Process`] alone.
    pub tree: bool,
    /// Only processes whose command, role or control group matches.
    pub filter: Option<Regex>,
    /// A process that a filter leaves out: this program, which has the expression among its arguments.
    pub except: Option<i32>,
}

/// Returns the rows of a frame.
#[must_use]
pub fn rows(frame: &Frame, trail: &Trail, choice: &Choice) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut of_group: HashMap<&str, usize> = HashMap::new();
    for process in frame.processes.iter().filter(|process| matches(process, choice)) {
        let Some(group) = choice.by.group(process) else {
            rows.push(row_of(process));
            continue;
        };
        let index = *of_group.entry(group).or_insert_with(|| {
            rows.push(Row { name: group.to_owned(), ..empty_row(RowKey::Group(group.into())) });
            rows.len() - 1
        });
        if let Some(row) = rows.get_mut(index) {
            add(row, process);
        }
    }
    let keys: Vec<&RowKey> = rows.iter().map(|row| &row.key).collect();
    let pasts = trail.pasts(&keys);
    for (row, Past { growth, largest }) in rows.iter_mut().zip(pasts) {
        row.growth = growth.per_minute();
        row.peak = match row.key {
            RowKey::Image(_) => row.peak.max(largest),
            RowKey::Group(_) => largest.max(Some(row.rss)),
        };
    }
    sort(&mut rows, choice);
    match choice.tree && choice.by == By::Process {
        true => as_tree(rows, frame),
        false => rows,
    }
}

fn matches(process: &ProcessMemory, choice: &Choice) -> bool {
    let Some(filter) = &choice.filter else { return true };
    let facts = &process.facts;
    if choice.except == Some(facts.pid) {
        return false;
    }
    let texts = [Some(&facts.command), Some(&facts.comm), Some(&facts.role)];
    let groups = [facts.cgroup.as_ref(), facts.test.as_ref()];
    texts.into_iter().chain(groups).flatten().any(|text| filter.is_match(text))
}

fn empty_row(key: RowKey) -> Row {
    Row {
        key,
        pid: None,
        depth: 0,
        processes: 0,
        user: String::new(),
        rss: 0,
        pss: Sum::default(),
        uss: Sum::default(),
        swap: Sum::default(),
        pss_age_s: 0,
        peak: None,
        growth: None,
        name: String::new(),
    }
}

fn row_of(process: &ProcessMemory) -> Row {
    let facts = &process.facts;
    let mut row = Row {
        pid: Some(facts.pid),
        name: facts.command.clone(),
        ..empty_row(RowKey::Image(process.image))
    };
    add(&mut row, process);
    row.peak = process.peak.bytes();
    row
}

fn add(row: &mut Row, process: &ProcessMemory) {
    if row.processes == 0 {
        row.user.clone_from(&process.facts.user);
    } else if row.user != process.facts.user {
        row.user.clear();
    }
    row.processes += 1;
    row.rss = row.rss.saturating_add(process.rss.bytes().unwrap_or(0));
    row.pss.add(process.pss.bytes());
    row.uss.add(process.uss.bytes());
    row.swap.add(process.swap.bytes());
    row.pss_age_s = row.pss_age_s.max(process.pss_age_s);
}

/// Sorts the largest first, names from A to Z, and what is not known last.
fn sort(rows: &mut [Row], choice: &Choice) {
    let size = |row: &Row| -> Option<i128> {
        match choice.sort {
            SortBy::Rss => Some(i128::from(row.rss)),
            SortBy::Pss => row.pss.known.map(i128::from),
            SortBy::Uss => row.uss.known.map(i128::from),
            SortBy::Swap => row.swap.known.map(i128::from),
            SortBy::Peak => row.peak.map(i128::from),
            SortBy::Growth => row.growth.map(i128::from),
            SortBy::Name => None,
        }
    };
    match choice.sort {
        SortBy::Name => rows.sort_by(|a, b| a.name.cmp(&b.name).then(a.pid.cmp(&b.pid))),
        _ => rows.sort_by(|a, b| {
            let known = size(b).is_some().cmp(&size(a).is_some());
            known.then(size(b).cmp(&size(a))).then(b.rss.cmp(&a.rss)).then(a.pid.cmp(&b.pid))
        }),
    }
    if choice.reverse {
        rows.reverse();
    }
}

/// Puts children below their parents, in the order in which they are.
fn as_tree(rows: Vec<Row>, frame: &Frame) -> Vec<Row> {
    let pids: HashMap<i32, usize> =
        rows.iter().enumerate().filter_map(|(index, row)| Some((row.pid?, index))).collect();
    let parent_of = |row: &Row| -> Option<usize> {
        let RowKey::Image(image) = row.key else { return None };
        let ppid = frame.process(image)?.facts.ppid?;
        pids.get(&ppid).copied().filter(|_| Some(ppid) != row.pid)
    };
    let parents: Vec<Option<usize>> = rows.iter().map(parent_of).collect();
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); rows.len()];
    let mut open: Vec<(usize, usize)> = Vec::new();
    for (index, parent) in parents.iter().enumerate() {
        match parent.and_then(|parent| children.get_mut(parent)) {
            Some(siblings) => siblings.push(index),
            None => open.push((index, 0)),
        }
    }
    open.reverse();
    let mut rows: Vec<Option<Row>> = rows.into_iter().map(Some).collect();
    let mut tree = Vec::with_capacity(rows.len());
    let mut take = |index: usize, depth: usize, tree: &mut Vec<Row>| {
        let row = rows.get_mut(index).and_then(Option::take);
        tree.extend(row.map(|row| Row { depth, ..row }));
    };
    while let Some((index, depth)) = open.pop() {
        take(index, depth, &mut tree);
        let below = children.get(index).map_or(&[][..], Vec::as_slice);
        open.extend(below.iter().rev().map(|&child| (child, depth + 1)));
    }
    // Parents that name each other, of different instants, stand for themselves.
    (0..parents.len()).for_each(|index| take(index, 0, &mut tree));
    tree
}
