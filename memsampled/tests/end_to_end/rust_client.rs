//! The example of a client in Rust, with a daemon.

#[path = "../../client/examples/mark_a_function.rs"]
#[expect(dead_code, reason = "its `main` is not called here")]
mod example;

use std::path::Path;

use crate::daemon::Daemon;
use arrow_array::cast::AsArray;
use memsample::Recording;

#[test]
fn the_example_marks_its_function_and_says_what_it_used() {
    let daemon = Daemon::start();
    let mut out = Vec::new();
    example::record(&daemon.socket(), &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "found 1270607 primes");
    assert!(lines[1].contains(" ticks, ") && lines[1].ends_with(" dropped"), "{out}");
    let bytes = lines[2].split(' ').find_map(|word| word.parse::<u64>().ok()).unwrap();
    assert!(lines[2].starts_with("peak of this process: ") && bytes > 20_000_000, "{out}");
    let (recording, _) = Recording::open(Path::new(lines[3])).unwrap();
    assert_eq!(recording.manifest().provenance.labels["language"], "rust");
    let marks: Vec<String> = recording
        .read_table("marks", &["kind", "test"])
        .flat_map(|batch| {
            let batch = batch.unwrap();
            let [kind, test] =
                ["kind", "test"].map(|column| batch[column].as_string::<i32>().clone());
            (0..batch.num_rows())
                .map(|row| format!("{} {}", kind.value(row), test.value(row)))
                .collect::<Vec<_>>()
        })
        // What the kernel kills meanwhile, and what it does not answer for, is marked as well: other tests see to both.
        .filter(|mark| mark.starts_with("begin ") || mark.starts_with("end "))
        .collect();
    assert_eq!(marks, ["begin primes_below", "end primes_below"]);
}
