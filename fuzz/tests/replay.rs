//! Gives every target its corpus, without a fuzzer.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use memsample_fuzz::TARGETS;

#[test]
fn the_corpus_of_every_target_is_read_without_a_panic() {
    for (name, target) in TARGETS {
        let corpus = package().join("corpus").join(name);
        let mut inputs = 0;
        for entry in
            fs::read_dir(&corpus).unwrap_or_else(|error| panic!("{}: {error}", corpus.display()))
        {
            target(&fs::read(entry.unwrap().path()).unwrap());
            inputs += 1;
        }
        assert!(inputs > 1, "{name} has no corpus");
    }
}

/// A target without a line here is one that nobody runs.
#[test]
fn every_target_has_a_program_and_every_corpus_a_target() {
    let names = |folder: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(package().join(folder)).unwrap();
        let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
        entries.map(|entry| stem(entry.unwrap().path())).collect()
    };
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(targets.len(), TARGETS.len());
    assert_eq!(names("fuzz_targets"), targets);
    assert_eq!(names("corpus"), targets);
}

#[test]
fn the_seed_of_the_journal_is_of_its_present_version() {
    let seed = fs::read(package().join("corpus/journal/seed")).unwrap();
    let batches = memsample::fuzzing::journal(&seed);
    assert!(batches >= 2, "{batches} batches: the format has changed, so run `make fuzz-seeds`");
}

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
