//! Circles: modules that take something from each other, directly or through others.

use std::collections::{BTreeMap, BTreeSet};

use crate::imports::Imports;
use crate::modules::ModulePath;

/// Returns the modules of each circle, by Tarjan's algorithm.
pub(crate) fn circles(imports: &Imports) -> Vec<Vec<ModulePath>> {
    let mut edges: BTreeMap<&ModulePath, BTreeSet<&ModulePath>> = BTreeMap::new();
    for (from, to) in imports.keys() {
        edges.entry(from).or_default().insert(to);
        edges.entry(to).or_default();
    }
    let mut search =
        Search { edges: &edges, visits: BTreeMap::new(), stack: Vec::new(), found: Vec::new() };
    for module in edges.keys() {
        if !search.visits.contains_key(module) {
            search.visit(module);
        }
    }
    search.found
}

struct Search<'a> {
    edges: &'a BTreeMap<&'a ModulePath, BTreeSet<&'a ModulePath>>,
    /// For each module that was visited: its number, and the smallest that it reaches; `None` once its
    /// circle is known.
    visits: BTreeMap<&'a ModulePath, Option<(usize, usize)>>,
    stack: Vec<&'a ModulePath>,
    found: Vec<Vec<ModulePath>>,
}

impl<'a> Search<'a> {
    fn visit(&mut self, module: &'a ModulePath) -> usize {
        let number = self.visits.len();
        self.visits.insert(module, Some((number, number)));
        self.stack.push(module);
        let mut lowest = number;
        for next in &self.edges[module] {
            lowest = match self.visits.get(next) {
                None => lowest.min(self.visit(next)),
                Some(Some((of_next, _))) => lowest.min(*of_next),
                Some(None) => lowest,
            };
        }
        if lowest == number {
            let start = self.stack.iter().position(|other| *other == module).unwrap();
            let circle = self.stack.split_off(start);
            for member in &circle {
                self.visits.insert(member, None);
            }
            if circle.len() > 1 {
                self.found.push(circle.into_iter().cloned().collect());
            }
        }
        lowest
    }
}
