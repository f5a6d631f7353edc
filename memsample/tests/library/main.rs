//! The library as a program that links it sees it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod any_tables;
mod fake_proc;
mod recorded;
mod scripted_clock;
mod simulation;
mod summed;

mod cgroups;
mod damaged_tables;
mod excerpt;
mod flight;
mod golden;
mod import;
mod known_answers;
mod known_pss;
mod parsers;
mod pss_budget;
mod recording;
mod recovery;
mod sampler_on_a_tree;
mod sampler_on_this_machine;
mod shared_sampler;
mod sweeps_by_bpf;
mod view;
