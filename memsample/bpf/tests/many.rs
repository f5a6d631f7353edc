//! Tens of thousands of processes have rows, in several slices, and the rows are equal to what `/proc` shows.
//! In a binary of its own, since every process that other tests begin would have to find room too.
//!
//! Where the program may not be loaded because capabilities are missing, the test asserts that this is what is said.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use memsample_bpf::{Form, Refused, Row, Walk};
use procfs::process::Process;

/// With this variable another number of processes is made than what a gate has the time for.
const PROCESSES: &str = "MEMSAMPLE_TEST_PROCESSES";
/// More than five slices of the usual size have.
const MANY: usize = 12_000;

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Builds the program whose processes are small.
fn small_program() -> PathBuf {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sleepers.c");
    let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("sleepers");
    let built =
        Command::new("cc").args(["-O1", "-static", "-o"]).arg(&program).arg(source).output();
    let built = built.unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    program
}

#[test]
fn tens_of_thousands_have_rows_that_are_equal_to_proc_or_capabilities_are_missing() {
    let mut walk = match Walk::load_form(Form::List, 1000) {
        Ok(walk) => walk,
        Err(refused) => {
            assert!(matches!(refused, Refused::MissingCapabilities(_)), "{refused}");
            return;
        }
    };
    let wanted = std::env::var(PROCESSES).ok().and_then(|number| number.parse().ok());
    let wanted: usize = wanted.unwrap_or(MANY);
    let mut sleepers = Command::new(small_program());
    sleepers.arg(wanted.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut sleepers = Ended(sleepers.spawn().unwrap());
    sleepers.0.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let parent = sleepers.0.id();
    let children = |rows: &[Row]| rows.iter().filter(|row| row.parent == parent).count();
    let pass = walk.pass().unwrap();
    let met = pass.rows.len() + pass.missed as usize;
    // There is room for 2,000, and what has none is counted.
    assert!(pass.missed as usize + 2000 >= wanted && met > wanted, "{} missed", pass.missed);
    assert!(walk.grow().unwrap());
    let pass = walk.pass().unwrap();
    let (missed, slices) = (pass.missed, pass.slices);
    assert!(missed == 0 && slices as usize > wanted / 2500, "{missed} missed, {slices} slices");
    assert_eq!(children(walk.rows()), wanted);
    let before: HashMap<u32, Row> = walk.rows().iter().map(|row| (row.pid, *row)).collect();
    assert_eq!(before.len(), walk.rows().len());
    let shown: Vec<_> = before
        .values()
        .filter(|row| row.parent == parent)
        .filter_map(|row| {
            let process = Process::new(row.pid as i32).ok()?;
            Some((row.pid, process.statm().ok()?, process.stat().ok()?))
        })
        .collect();
    assert_eq!(shown.len(), wanted);
    walk.pass().unwrap();
    let after: HashMap<u32, Row> = walk.rows().iter().map(|row| (row.pid, *row)).collect();
    let mut compared = 0;
    for (pid, statm, stat) in shown {
        let row = &after[&pid];
        let tick_ns = 1_000_000_000 / procfs::ticks_per_second();
        assert_eq!(row.start_ns / tick_ns, stat.starttime);
        if !row.is_at_rest_since(&before[&pid]) {
            continue;
        }
        compared += 1;
        let by_bpf = (row.total_vm_pages, row.resident_pages(), row.file_pages + row.shmem_pages);
        assert_eq!(by_bpf, (statm.size, statm.resident, statm.shared), "{row:?}");
        assert_eq!((row.minor_faults, row.major_faults), (stat.minflt, stat.majflt), "{row:?}");
    }
    println!("{compared} of {wanted} compared in {slices} slices, 0 differ");
    assert!(compared > wanted / 10 * 9, "{compared} rested");
    sleepers.0.stdin.take();
    let _ = sleepers.0.wait();
}
