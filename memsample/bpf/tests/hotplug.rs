//! A CPU is taken offline and comes back while processes are read whose pages it counted in part.
//!
//! It changes the machine for everybody, so it is done only where the variable says so; else, and without the right to do
//! it, the test looks at what it rests on: that each CPU that can be there is counted, offline or not.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "it says what was done")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use memsample_bpf::{Ends, Form, Refused, Walk};

/// With this variable set, the second CPU is taken offline for half a second.
const ALLOWED: &str = "MEMSAMPLE_TEST_CPU_OFFLINE";
const SWITCH: &str = "/sys/devices/system/cpu/cpu1/online";
const OFFLINE: Duration = Duration::from_millis(500);

/// The second CPU, which comes back whatever happens.
struct Offline;

impl Offline {
    fn begin() -> Self {
        let offline = Self;
        fs::write(SWITCH, "0").unwrap();
        offline
    }
}

impl Drop for Offline {
    fn drop(&mut self) {
        fs::write(SWITCH, "1").unwrap();
    }
}

struct Resting {
    child: Child,
    pages: u64,
}

impl Drop for Resting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Begins processes at rest, each with pages that two CPUs have counted, and some that they have not added up.
fn at_rest() -> Vec<Resting> {
    let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("resting");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ending.c");
    let built = Command::new("cc").args(["-O1", "-pthread", source, "-o"]).arg(&program).status();
    assert!(built.unwrap().success());
    (1..=12)
        .map(|number| {
            let mut child = Command::new(&program)
                .args(["wait", &(number * 13).to_string()])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut said = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
            let pages = said.split_whitespace().last().unwrap().parse().unwrap();
            Resting { child, pages }
        })
        .collect()
}

/// Holds the rows of one pass to what the processes said of themselves and what `/proc` shows, and returns how many rows
/// were of one instant.
fn compare(walk: &mut Walk, resting: &[Resting]) -> usize {
    let rows = walk.pass().unwrap().rows;
    let mut compared = 0;
    for Resting { child, pages } in resting {
        let of_pid: Vec<_> = rows.iter().filter(|row| row.pid == child.id()).collect();
        assert_eq!(of_pid.len(), 1);
        if !of_pid[0].is_steady() {
            continue;
        }
        compared += 1;
        let statm = fs::read_to_string(format!("/proc/{}/statm", child.id())).unwrap();
        let shown: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
        assert_eq!((of_pid[0].resident_pages(), shown), (*pages, *pages));
    }
    compared
}

#[test]
fn pages_that_a_cpu_counted_are_there_when_it_is_offline() {
    let resting = at_rest();
    for form in Form::ALL {
        let mut walk = match Walk::load_form(form, 1000) {
            Ok(walk) => walk,
            Err(refused) => {
                assert!(matches!(refused, Refused::MissingCapabilities(_)), "{refused}");
                return;
            }
        };
        let mut ends = Ends::load().ok();
        assert_eq!(compare(&mut walk, &resting), resting.len());
        if std::env::var_os(ALLOWED).is_none() || fs::metadata(SWITCH).is_err() {
            continue;
        }
        let mut passes = [0; 2];
        {
            let _offline = Offline::begin();
            let begun = Instant::now();
            while begun.elapsed() < OFFLINE {
                passes[0] += compare(&mut walk, &resting);
                passes[1] += 1;
            }
            // Programs that are loaded meanwhile know the CPU too, as it can come back.
            let mut loaded_meanwhile = Walk::load_form(form, 1000).unwrap();
            assert!(compare(&mut loaded_meanwhile, &resting) > 0);
            walk = loaded_meanwhile;
            let mut child = Command::new("true").spawn().unwrap();
            child.wait().unwrap();
            if let Some(ends) = &mut ends {
                let mut found = 0;
                ends.drain(|end| found += usize::from(end.pid == child.id()));
                assert_eq!(found, 1);
            }
        }
        // The same program, and what the CPU counts anew.
        let back = at_rest();
        assert_eq!(compare(&mut walk, &back), back.len());
        println!("{form:?}: {} rows in {} passes without the second CPU", passes[0], passes[1]);
    }
}
