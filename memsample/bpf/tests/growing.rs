//! A process that grows on all CPUs has, in each row, at least what `/proc` showed before and at most what it shows after.
//! In a binary of its own, since nothing else of it may give memory back meanwhile.
//!
//! Where the program may not be loaded because capabilities are missing, the test asserts that this is what is said.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "it says what was compared")]

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use memsample_bpf::{Form, Refused, Walk};

/// Of all threads together.
const BYTES: usize = 256 << 20;
const THREADS: usize = 2;
/// In so many steps. All threads begin one when a pass begins, so that however seldom there is one, it meets them at work.
const STEPS: usize = 64;

/// Lets all steps be done when it is dropped: the threads are waited for, also by a test that fails.
struct AllSteps<'a>(&'a AtomicUsize);

impl Drop for AllSteps<'_> {
    fn drop(&mut self) {
        self.0.store(STEPS, Ordering::Relaxed);
    }
}

/// Anonymous and other resident pages of this program.
fn pages(statm: &File) -> (u64, u64) {
    let mut bytes = [0; 128];
    let length = statm.read_at(&mut bytes, 0).unwrap();
    let text = std::str::from_utf8(&bytes[..length]).unwrap();
    let mut fields = text.split(' ').skip(1).map(|field| field.parse::<u64>().unwrap());
    let (resident, shared) = (fields.next().unwrap(), fields.next().unwrap());
    (resident - shared, shared)
}

#[test]
fn a_growing_process_is_read_within_what_proc_shows_or_capabilities_are_missing() {
    for form in Form::ALL {
        match Walk::load_form(form, 1000) {
            Ok(walk) => is_read_within_what_proc_shows(walk),
            Err(refused) => {
                assert!(matches!(refused, Refused::MissingCapabilities(_)), "{refused}");
            }
        }
    }
}

fn is_read_within_what_proc_shows(mut walk: Walk) {
    let page = rustix::param::page_size();
    let statm = File::open("/proc/self/statm").unwrap();
    let (allowed, done) = (AtomicUsize::new(1), AtomicUsize::new(0));
    let (mut within, mut unsteady, mut moved) = (0, 0, 0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                // Zeros that nobody has touched take no memory.
                let mut memory = vec![0_u8; BYTES / THREADS];
                for (step, part) in memory.chunks_mut(BYTES / THREADS / STEPS).enumerate() {
                    while step >= allowed.load(Ordering::Relaxed) {
                        thread::yield_now();
                    }
                    for at in (0..part.len()).step_by(page) {
                        part[at] = 1;
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
                std::hint::black_box(&memory);
                // None of it is given back before all is done.
                std::mem::forget(memory);
            });
        }
        let _all = AllSteps(&allowed);
        while done.load(Ordering::Relaxed) < THREADS * STEPS {
            if done.load(Ordering::Relaxed) == THREADS * allowed.load(Ordering::Relaxed) {
                allowed.fetch_add(1, Ordering::Relaxed);
            }
            let before = pages(&statm);
            let pass = walk.pass().unwrap();
            let row = *pass.rows.iter().find(|row| row.pid == std::process::id()).unwrap();
            let after = pages(&statm);
            if !row.is_steady() {
                unsteady += 1;
                continue;
            }
            let anon = row.anon_pages;
            assert!(before.0 <= anon && anon <= after.0, "{before:?} {row:?} {after:?}");
            within += 1;
            moved += u32::from(before.0 < after.0);
        }
    });
    println!("{within} rows within, {moved} while it grew, {unsteady} unsteady");
    assert!(within > 20 && moved > 5 && unsteady < within);
}
