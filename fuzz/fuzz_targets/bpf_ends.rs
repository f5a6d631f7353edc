//! Fuzzes `memsample_fuzz::bpf_ends`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| memsample_fuzz::bpf_ends(bytes));

#[cfg(not(fuzzing))]
fn main() {
    // Built without the fuzzer only to see that it compiles; see tests/replay.rs.
}
