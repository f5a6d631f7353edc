//! `--suspects`: runs what a comparison asks for, and nothing else.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use memsample_compare::suspects::Suspects;
use memsample_input::printable;
use memsample_runner::run::RunOptions;
use memsample_runner::suite::Suite;

/// Selects the suspects of a suite, each with its repeats, and what they require, once.
pub(super) fn select(path: &Path, suite: &Suite, options: &mut RunOptions) -> anyhow::Result<()> {
    let cannot = || format!("cannot read suspects from `{}`", path.display());
    let suspects = Suspects::read(path).with_context(cannot)?.of_suite(&suite.name);
    if suspects.is_empty() {
        let name = printable(&suite.name);
        bail!("`{}` has no suspects of suite `{name}`: nothing is to be run again", path.display());
    }
    let named = &options.selection.names;
    let mut repeats: BTreeMap<String, u32> =
        suspects.into_iter().filter(|(name, _)| named.is_empty() || named.contains(name)).collect();
    // No name would select all.
    if repeats.is_empty() {
        bail!("`{}` has none of the tests that are named", path.display());
    }
    let mut waiting: Vec<String> = repeats.keys().cloned().collect();
    while let Some(name) = waiting.pop() {
        let test = suite.tests.iter().find(|test| test.name == name);
        for required in test.map(|test| test.requires.as_slice()).unwrap_or_default() {
            if !repeats.contains_key(required) {
                repeats.insert(required.clone(), 1);
                waiting.push(required.clone());
            }
        }
    }
    // Those that the suite lacks are refused by the selection, as any other name.
    options.selection.names = repeats.keys().cloned().collect();
    options.repeats = repeats;
    Ok(())
}
