//! Gives every target its corpus, without a fuzzer.

use std::fs;
use std::path::Path;

use memsample_fuzz::TARGETS;

#[test]
fn the_corpus_of_every_target_is_read_without_a_panic() {
    for (name, target) in TARGETS {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
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
