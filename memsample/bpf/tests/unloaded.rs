//! What is loaded is gone when it is dropped. In a binary of its own, since it counts the descriptors of the program.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use memsample_bpf::{Ends, Form, Refused, Walk};

/// Descriptors and mappings of BPF programs and maps that this program has.
fn kept() -> (usize, usize) {
    let descriptors = fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| {
        let link = fs::read_link(entry.unwrap().path()).ok()?;
        link.to_string_lossy().contains("anon_inode:bpf").then_some(())
    });
    let mappings = fs::read_to_string("/proc/self/maps").unwrap();
    (descriptors.count(), mappings.lines().filter(|line| line.contains("bpf-map")).count())
}

#[test]
fn nothing_is_left_after_it_is_dropped_or_refused_for_want_of_capabilities() {
    assert_eq!(kept(), (0, 0));
    // Three maps and two programs, or three and a link.
    for (form, descriptors) in [(Form::List, 5), (Form::EachTask, 7)] {
        match Walk::load_form(form, 10) {
            Ok(mut walk) => {
                assert_eq!(kept(), (descriptors, 1));
                walk.pass().unwrap();
                assert_eq!(kept(), (descriptors, 1));
                drop(walk);
            }
            Err(refused) => {
                assert!(matches!(refused, Refused::MissingCapabilities(_)), "{refused}");
            }
        }
        assert_eq!(kept(), (0, 0));
    }
    // Three maps, two programs and a link; the place of the reader is mapped by itself.
    match Ends::load() {
        Ok(mut ends) => {
            assert_eq!(kept(), (6, 2));
            ends.drain(drop);
            drop(ends);
        }
        Err(refused) => assert!(
            matches!(refused, Refused::MissingCapabilities(_) | Refused::Unsuitable { .. }),
            "{refused}"
        ),
    }
    assert_eq!(kept(), (0, 0));
}
