//! In a storm of forks and execs of large and small processes, no row has the memory of another process.
//! The kernel gives the memory descriptor of what has ended to what begins next.
//!
//! Where the program may not be loaded because capabilities are missing, the test asserts that this is what is said.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "it says what was compared")]

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use memsample_bpf::{Form, Refused, Walk};

const LARGE: &str = "import os
memory = bytearray(100_000_000)
while True:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)";
const SMALL: &str = "while :; do /bin/true; done";
/// Of a large and a small process, in anonymous pages.
const LARGE_BYTES: u64 = 100_000_000;
const SMALL_BYTES: u64 = 10_000_000;
const PASSES: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(600);

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn no_row_of_a_storm_has_the_memory_of_another_process_or_capabilities_are_missing() {
    for form in Form::ALL {
        match Walk::load_form(form, 1000) {
            Ok(walk) => no_row_has_the_memory_of_another(walk),
            Err(refused) => {
                assert!(matches!(refused, Refused::MissingCapabilities(_)), "{refused}");
            }
        }
    }
}

fn no_row_has_the_memory_of_another(mut walk: Walk) {
    let storm = |program: &str, options: &[&str]| {
        Ended(Command::new(program).args(options).spawn().unwrap())
    };
    let large = storm("/usr/bin/python3", &["-S", "-c", LARGE]);
    let small = storm("sh", &["-c", SMALL]);
    let page = rustix::param::page_size() as u64;
    let (mut of_large, mut of_small, mut unsteady) = (0, 0, 0);
    let mut has_grown = false;
    let begun = Instant::now();
    for passes in 0.. {
        if passes >= PASSES && of_large > 10 && of_small > 100 {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{of_large} and {of_small} rows only");
        let pass = walk.pass().unwrap();
        let is_of = |parent: &Ended, row: &memsample_bpf::Row| {
            row.parent == parent.0.id() && row.has_memory()
        };
        for row in pass.rows {
            let bytes = row.anon_pages * page;
            has_grown |= row.pid == large.0.id() && bytes > LARGE_BYTES;
            unsteady += usize::from(!row.is_steady());
            if has_grown && is_of(&large, row) && row.is_steady() {
                assert!(bytes > LARGE_BYTES, "{row:?}");
                of_large += 1;
            }
            if is_of(&small, row) && row.is_steady() {
                assert!(bytes < SMALL_BYTES, "{row:?}");
                of_small += 1;
            }
        }
    }
    println!("{of_large} rows of large ones, {of_small} of small ones, {unsteady} unsteady");
}
