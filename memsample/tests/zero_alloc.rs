//! A warm sweep allocates nothing. In a binary of its own, since it counts every allocation.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![expect(unsafe_code, reason = "an allocator that counts can be written in no other way")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Duration, Instant};

use memsample::{Files, Identity, Sample, Sampler, SamplerOptions, SweepBy};

struct CountingAllocator;

thread_local! {
    // Only this thread is counted: the test harness has others.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.with(|allocations| allocations.set(allocations.get() + 1));
}

// SAFETY: every method passes its arguments on to the system's allocator unchanged, whose contract is
// the same; counting touches no memory that was allocated here.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`, and the pointer came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `realloc`, and the pointer came from `System`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

/// Returns the pid that the kernel gave last.
fn last_pid() -> String {
    let loadavg = std::fs::read_to_string("/proc/loadavg").unwrap();
    loadavg.trim_end().rsplit(' ').next().unwrap().to_owned()
}

/// Sweeps until fifty times no process came or went, and checks that these sweeps allocated nothing.
///
/// A process that is new is remembered, which takes memory, even if it ends before it is sampled; and
/// other programs may start one at any time.
#[track_caller]
fn check(files: Files) {
    check_sampler(Sampler::new(SamplerOptions::default()).unwrap(), false, files);
}

#[track_caller]
fn check_sampler(mut sampler: Sampler, follows_forks: bool, files: Files) {
    // Opens what is opened at the first reading.
    sampler.sweep(files);
    let mut given = last_pid();
    // What began just before a sweep may be heard of in the next one.
    let mut given_earlier = String::new();
    let mut images_before = 0;
    let mut gave_up_before = false;
    let mut quiet = 0;
    for _ in 0..10_000 {
        let mut counts = Default::default();
        let (mut rss_bytes, mut images) = (0, 0);
        let began = Instant::now();
        let allocated = allocations(|| {
            let snapshot = sampler.sweep(files);
            counts = snapshot.counts();
            rss_bytes = snapshot.samples().map(|sample| sample.rss_bytes()).sum();
            images = images_of(snapshot.samples());
        });
        // A reading that does not come back takes a thread of its own: it waits in the kernel, or had no CPU for two seconds.
        let gave_up = counts.stuck > 0 || began.elapsed() >= Duration::from_secs(2);
        let all_came_back = !std::mem::replace(&mut gave_up_before, gave_up) && !gave_up;
        assert!(counts.processes > 0 && rss_bytes > 0, "nothing was sampled: {counts:?}");
        let given_before = std::mem::replace(&mut given, last_pid());
        let nothing_new = given == given_before && (!follows_forks || given == given_earlier);
        given_earlier = given_before;
        // An exec begins another image, whose name and arguments are remembered; and who moves into another control group or
        // takes another title is described anew.
        let same_images = std::mem::replace(&mut images_before, images) == images;
        if nothing_new && same_images && all_came_back && (counts.born, counts.gone) == (0, 0) {
            assert_eq!(allocated, 0, "{files:?}, {counts:?}");
            quiet += 1;
        }
        if quiet == 50 {
            return;
        }
    }
    panic!("in 10000 sweeps, only {quiet} found nothing new");
}

/// Returns a number that changes with the images and with what they are, apart from their numbers.
fn images_of<'a>(samples: impl Iterator<Item = Sample<'a>>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for sample in samples {
        let Identity { uid, cmdline, cgroup, role, .. } = sample.identity();
        (sample.process().0, sample.comm().as_bytes(), uid, cmdline, cgroup, role)
            .hash(&mut hasher);
    }
    hasher.finish()
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![1_u8]))), 1);
    assert_eq!(allocations(|| ()), 0);
}

#[test]
fn statm_sweeps() {
    check(Files::STATM);
}

#[test]
fn detail_sweeps() {
    check(Files::STATM | Files::DETAIL);
}

#[test]
fn sweeps_of_everything() {
    check(Files::all());
}

/// Without the capability that BPF needs, the sweeps are of `/proc`.
#[test]
fn sweeps_by_bpf() {
    for files in [Files::STATM, Files::STATM | Files::DETAIL] {
        let sampler = Sampler::new(SamplerOptions::default().sweep_by(SweepBy::Auto)).unwrap();
        if !sampler.sweeps_by_bpf() {
            assert!(sampler.sweep_note().unwrap().contains("CAP_BPF"));
        }
        check_sampler(sampler, false, files);
    }
}

#[test]
fn sweeps_that_hear_of_births() {
    let mut sampler = Sampler::new(SamplerOptions::default()).unwrap();
    let followed = sampler.follow_process_events();
    if let Err(error) = &followed {
        // Then there is nothing to hear, and sweeps look for processes: the tests above.
        assert!(error.to_string().contains("does not report forks"));
    }
    check_sampler(sampler, followed.is_ok(), Files::STATM | Files::DETAIL);
}
