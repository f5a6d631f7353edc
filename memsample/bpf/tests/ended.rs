//! What a process had resident when it ended, held to what programs of known allocations say of themselves.
//!
//! Where the program may not be loaded because capabilities are missing, or the kernel is too old, the tests assert that
//! this is what is said.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "it says what was found")]

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::{self, available_parallelism};

use memsample_bpf::{End, Ends, Refused};

/// Returns the loaded program; nothing where the kernel does not take it, after a look at whether it says so.
fn load(room_bytes: u32) -> Option<Ends> {
    match Ends::with_room(room_bytes) {
        Ok(ends) => Some(ends),
        Err(Refused::MissingCapabilities(names)) => {
            assert!(!names.is_empty());
            None
        }
        Err(refused @ Refused::Unsuitable { .. }) => {
            assert!(refused.to_string().contains("Linux 6.16"), "{refused}");
            None
        }
        Err(refused) => panic!("{refused}"),
    }
}

struct Ending {
    program: PathBuf,
}

/// A process that ended: its pid, and what statm showed of it at its largest and at last, in pages.
struct Ended {
    pid: u32,
    most: u64,
    last: u64,
}

impl Ending {
    fn build() -> Self {
        let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("ending");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ending.c");
        let built =
            Command::new("cc").args(["-O1", "-pthread", source, "-o"]).arg(&program).status();
        assert!(built.unwrap().success());
        Self { program }
    }

    fn run(&self, how: &str, pages: u64) -> Ended {
        let child: Child = Command::new(&self.program)
            .args([how, &pages.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = child.id();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{how} {pages}: {}", output.status);
        let said = String::from_utf8(output.stdout).unwrap();
        let numbers: Vec<u64> = said.split_whitespace().map(|word| word.parse().unwrap()).collect();
        let [most, last] = numbers[..] else { panic!("{said}") };
        Ended { pid, most, last }
    }
}

fn end_of(ends: &mut Ends, pid: u32) -> End {
    let mut found = Vec::new();
    let me = std::process::id();
    ends.drain(|end| {
        assert_ne!(end.pid, me);
        found.extend((end.pid == pid).then_some(end));
    });
    assert_eq!((found.len(), ends.lost()), (1, 0));
    found[0]
}

/// By how many pages a high-water mark may be wrong: each CPU keeps less than a batch of each of three kinds.
fn unfolded_pages() -> u64 {
    let cpus = available_parallelism().unwrap().get() as u64;
    3 * cpus * 32.max(2 * cpus)
}

#[test]
fn what_was_resident_at_the_end_is_exact_and_the_peak_has_the_error_of_a_mark_only_where_memory_was_freed()
 {
    let Some(mut ends) = load(1 << 20) else { return };
    let ending = Ending::build();
    let (mut lacking, mut exact) = (0, 0);
    for how in ["keep", "threads", "free"] {
        for pages in [1, 31, 100, 1000, 5000] {
            let ended = ending.run(how, pages);
            let end = end_of(&mut ends, ended.pid);
            let said = format!("{how} {pages}: {} of {} pages, {end:?}", ended.last, ended.most);
            // Exactly what /proc showed, whichever CPU counted it.
            assert!(end.is_of_one_instant, "{said}");
            assert_eq!(end.resident_pages(), ended.last, "{said}");
            let upper = end.resident_pages().max(end.hiwater_rss_pages + unfolded_pages());
            let lower = end.resident_pages().max(end.hiwater_rss_pages);
            assert!(ended.most <= upper, "{said}");
            assert!(lower <= ended.most + unfolded_pages(), "{said}");
            lacking += u64::from(lower < ended.most);
            // Nothing was given back since it was as large, so that nothing is left to know.
            if how == "keep" && pages >= 1000 {
                assert_eq!((lower, upper), (ended.most, ended.most), "{said}");
                exact += 1;
            }
            // The largest mark of its images, and of what it was forked from.
            assert!(end.maxrss_pages + unfolded_pages() >= ended.most, "{said}");
            assert!(end.lived_ns < 600_000_000_000 && end.start_ns > 0, "{said}");
        }
    }
    println!("{exact} peaks exact, and {lacking} that a mark lacks");
}

#[test]
fn ends_for_which_there_is_no_room_are_counted() {
    const ENDS: u64 = 100;
    let Some(mut ends) = load(4096) else { return };
    let end_one = || assert!(Command::new("true").status().unwrap().success());
    (0..ENDS).for_each(|_| end_one());
    let mut received = 0;
    ends.drain(|_| received += 1);
    // A record has more than a hundred bytes.
    assert!((1..=4096 / 100).contains(&received), "{received}");
    // Only an end that comes after them shows how many there were.
    end_one();
    let mut last = None;
    ends.drain(|end| {
        received += 1;
        last = last.max(Some(end.number));
    });
    assert!(last.unwrap() >= ENDS, "{last:?}");
    assert_eq!(ends.lost(), last.unwrap() + 1 - received);
}

#[test]
fn threads_and_a_first_thread_that_ends_before_others_have_no_record_of_their_own() {
    let Some(mut ends) = load(1 << 20) else { return };
    thread::spawn(|| {}).join().unwrap();
    // The first thread ends, and the other one a moment later.
    let program = "import ctypes, threading, time\n\
        def last(): time.sleep(0.05)\n\
        threading.Thread(target=last).start()\n\
        ctypes.CDLL(None).pthread_exit(None)";
    let mut child = Command::new("python3").args(["-c", program]).spawn().unwrap();
    child.wait().unwrap();
    let end = end_of(&mut ends, child.id());
    assert!(end.resident_pages() > 500, "{end:?}");
    assert!(end.lived_ns >= 50_000_000, "{end:?}");
}
