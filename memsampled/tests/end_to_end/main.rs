//! The programs `memsample` and `memsampled` as their users run them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "../../../memsample/tests/library/any_tables.rs"]
mod any_tables;
mod command;
mod daemon;
mod idle;
mod report_outputs;
mod running;
#[cfg(feature = "devices")]
mod ssh_device;
mod test_sums;

mod compare;
mod config;
mod daemon_api;
mod daemon_client;
mod daemon_flight;
mod daemon_load;
mod daemon_oom;
mod daemon_ownership;
mod daemon_processes;
mod daemon_sharing;
mod daemon_survival;
mod daemon_tcp;
mod damaged_recordings;
mod dashboard;
#[cfg(feature = "devices")]
mod device_connections;
#[cfg(feature = "devices")]
mod devices;
mod encodings;
mod exec;
mod exits;
mod explain;
mod faults;
mod fixture_suites;
mod forks;
mod import;
mod inherited_limits;
mod inherited_signals;
mod inherited_streams;
mod interface;
mod json_schemas;
mod leaks;
mod left_over;
mod marked_tests;
mod measured;
mod namespaces;
mod peaks;
mod record;
mod recording_names;
mod redescribed;
mod report;
mod reports;
mod run;
mod run_choices;
mod runner_attribution;
mod runner_ends;
mod runner_groups;
mod runner_memory;
mod runner_oom;
mod runner_output;
mod runner_refusals;
mod runner_roots;
mod runner_starts;
mod runner_suite;
mod runner_survival;
mod runner_verdicts;
mod rust_client;
mod share;
mod shared_maps;
mod stalls;
mod suite_utah;
mod survival;
mod sweeps;
#[cfg(feature = "top")]
mod top;
mod tracer;
mod view;
