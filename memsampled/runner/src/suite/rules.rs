//! Rules about all tests of a suite: unique names, and requirements that exist and form no circle.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use memsample_input::{Location, Problems, Source, quoted};

use super::document::{listed, meant};

/// Tests of a suite, at most: a day of tests of ten seconds each.
pub(super) const TESTS_MAX: usize = 10_000;
/// Bytes of a name: a directory is made of it, and a path has room for more.
const NAME_BYTES_MAX: usize = 256;

/// A test as the rules see it: names, and where they stand.
pub(super) struct Named {
    pub(super) source: Rc<Source>,
    pub(super) name: String,
    pub(super) location: Location,
    pub(super) requires: Vec<(String, Location)>,
}

/// Checks what concerns several tests: names are unique, requirements exist and form no circle.
pub(super) fn check(tests: &[Named], problems: &Problems) {
    let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, test) in tests.iter().enumerate() {
        if let Some(first) = by_name.get(test.name.as_str()).and_then(|first| tests.get(*first)) {
            let message = format!("a second test {}", quoted(&test.name));
            let line = first.location.line;
            let help = match first.source.path() {
                path if path == test.source.path() => format!("the first is in line {line}"),
                path => {
                    format!("the first is in line {line} of {}", quoted(&path.to_string_lossy()))
                }
            };
            problems.add(&test.source, test.location, message, Some(help));
        } else {
            by_name.insert(&test.name, index);
        }
    }
    for test in tests {
        for (name, location) in &test.requires {
            if !by_name.contains_key(name.as_str()) {
                let message = format!(
                    "test {} requires {}, which is not a test",
                    quoted(&test.name),
                    quoted(name)
                );
                let help = meant(name, by_name.keys().copied())
                    .map(|known| format!("did you mean {}?", quoted(known)));
                problems.add(&test.source, *location, message, help);
            }
        }
    }
    if let Some(circle) = circle(tests, &by_name)
        && let Some(first) = circle.first()
    {
        let names: Vec<&str> = circle.iter().map(|test| test.name.as_str()).collect();
        let shown = names.get(..8).unwrap_or(&names);
        let message = match names.as_slice() {
            [name] => format!("test {} requires itself", quoted(name)),
            _ if shown.len() < names.len() => {
                format!(
                    "{} tests require each other in a circle, {} among them",
                    names.len(),
                    listed(shown)
                )
            }
            _ => format!("tests require each other in a circle: {}", listed(shown)),
        };
        let help = "none of them could be the first to run".to_owned();
        problems.add(&first.source, first.location, message, Some(help));
    }
}

/// Describes what is wrong with the name of a test or suite, as the end of a sentence.
pub(super) fn wrong_name(name: &str) -> Option<String> {
    if name.len() > NAME_BYTES_MAX {
        let length = name.len();
        return Some(format!("must have at most {NAME_BYTES_MAX} bytes, not {length}"));
    }
    if let Some(c) = name.chars().find(|c| c.is_control()) {
        let c = c.escape_default();
        return Some(format!("must not contain the control character `{c}`"));
    }
    (name.trim().len() < name.len()).then(|| "must not begin or end with a space".to_owned())
}

/// Returns the tests of a circle of requirements, each requiring the next and the last the first.
fn circle<'a>(tests: &'a [Named], by_name: &BTreeMap<&str, usize>) -> Option<Vec<&'a Named>> {
    let required = |index: usize, at: usize| {
        let (name, _) = tests.get(index)?.requires.get(at)?;
        Some(by_name.get(name.as_str()).copied())
    };
    // A path of its own instead of recursion: ten thousand tests in a row must not overflow the stack.
    let mut done = vec![false; tests.len()];
    let mut position: HashMap<usize, usize> = HashMap::new();
    for start in 0..tests.len() {
        let mut path = vec![(start, 0)];
        position.clear();
        position.insert(start, 0);
        while let Some((index, at)) = path.last_mut() {
            if done.get(*index).copied().unwrap_or(true) {
                position.remove(index);
                path.pop();
                continue;
            }
            let Some(next) = required(*index, *at) else {
                if let Some(done) = done.get_mut(*index) {
                    *done = true;
                }
                continue;
            };
            *at += 1;
            let Some(next) = next else { continue };
            if let Some(begin) = position.get(&next) {
                let round = path.get(*begin..).unwrap_or_default();
                return Some(round.iter().filter_map(|(index, _)| tests.get(*index)).collect());
            }
            position.insert(next, path.len());
            path.push((next, 0));
        }
    }
    None
}
