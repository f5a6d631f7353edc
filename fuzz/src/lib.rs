//! What the fuzzer calls, one function for each target.
//!
//! `fuzz_targets/` gives them to libFuzzer (`make fuzz TARGET=stat`), and `tests/replay.rs` gives them
//! the corpus, without a fuzzer and on stable Rust. None may panic; most also check what they read.

pub mod recording;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use memsample::parse;
use memsample_client::wire::{self, DumpRequest, MarkRequest, Request, StartRequest};
use memsample_runner::suite::{Policy, Suite, SuiteError, Tree};

/// A target: its name, which is that of its corpus, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 23] = [
    ("statm", statm),
    ("stat", stat),
    ("status", status),
    ("smaps_rollup", smaps_rollup),
    ("smaps", smaps),
    ("meminfo", meminfo),
    ("pressure", pressure),
    ("vmstat", vmstat),
    ("cgroup", cgroup),
    ("io", io),
    ("cgroup_memory", cgroup_memory),
    ("swap", swap),
    ("exits", exits),
    ("process_events", process_events),
    ("capture", capture),
    ("bpf_ends", bpf_ends),
    ("bpf_rows", bpf_rows),
    ("journal", journal),
    ("journal_contents", journal_contents),
    ("recording", recording::recording),
    ("requests", requests),
    ("suite_toml", suite_toml),
    ("suite_utah", suite_utah),
];

/// What is read is what is printed again.
pub fn statm(bytes: &[u8]) {
    if let Ok(statm) = parse::parse_statm(bytes) {
        let parse::Statm { size, resident, shared, text, data } = statm;
        let line = format!("{} {} {} {} 0 {} 0", size.0, resident.0, shared.0, text.0, data.0);
        assert_eq!(parse::parse_statm(line.as_bytes()), Ok(statm));
    }
}

/// Reads a ring of the ends of processes that a BPF program wrote.
pub fn bpf_ends(bytes: &[u8]) {
    memsample::fuzzing::bpf_ends(bytes);
}

/// Whatever a program in the kernel wrote, a row is read as the files of a process, and its CPU time does not shrink.
pub fn bpf_rows(bytes: &[u8]) {
    memsample::fuzzing::bpf_rows(bytes);
}

/// The name is between the first and the last parenthesis, and the numbers behind it.
pub fn stat(bytes: &[u8]) {
    if let Ok(stat) = parse::parse_stat(bytes) {
        let open = bytes.iter().position(|&byte| byte == b'(').expect("a name has one");
        let close = bytes.iter().rposition(|&byte| byte == b')').expect("a name has one");
        assert_eq!(bytes.get(open + 1..close), Some(stat.comm));
        assert!(!stat.state.is_ascii_whitespace());
    }
}

/// The name is one line.
pub fn status(bytes: &[u8]) {
    if let Ok(status) = parse::parse_status(bytes) {
        assert!(!status.name.contains(&b'\n') && !status.nspid.contains(&b'\n'));
    }
}

/// The unique set is no larger than its parts.
pub fn smaps_rollup(bytes: &[u8]) {
    if let Ok(rollup) = parse::parse_smaps_rollup(bytes)
        && let Some(uss) = rollup.uss()
    {
        assert!(uss >= rollup.private_clean && uss >= rollup.private_dirty);
    }
}

/// A path is one line, and an error comes last.
pub fn smaps(bytes: &[u8]) {
    let mut mappings = parse::parse_smaps(bytes);
    while let Some(mapping) = mappings.next() {
        match mapping {
            Ok(mapping) => assert!(!mapping.path.contains(&b'\n')),
            Err(_) => assert!(mappings.next().is_none()),
        }
    }
}

/// Any bytes are read or refused.
pub fn meminfo(bytes: &[u8]) {
    if let Ok(meminfo) = parse::parse_meminfo(bytes) {
        assert!(meminfo.mem_total.is_some());
    }
}

/// Any bytes are read or refused.
pub fn pressure(bytes: &[u8]) {
    let _ = parse::parse_pressure(bytes);
}

/// Any bytes are read or refused.
pub fn vmstat(bytes: &[u8]) {
    if let Ok(vmstat) = parse::parse_vmstat(bytes) {
        assert!(vmstat.pgfault.is_some());
    }
}

/// There is one answer for each line.
pub fn cgroup(bytes: &[u8]) {
    let lines = bytes.strip_suffix(b"\n").unwrap_or(bytes).split(|&byte| byte == b'\n').count();
    let answers = parse::parse_cgroup(bytes).count();
    assert_eq!(answers, if bytes.is_empty() { 0 } else { lines });
}

/// Any bytes are read or refused.
pub fn io(bytes: &[u8]) {
    let _ = parse::parse_io(bytes);
}

/// The memory files of a control group, all from the same bytes: read or refused.
pub fn cgroup_memory(bytes: &[u8]) {
    let _ = parse::parse_cgroup_stat(bytes);
    if let Ok(stat) = parse::parse_cgroup_stat_v1(bytes) {
        assert!(stat.hierarchical_limit_bytes.is_none_or(|limit| limit < 1 << 62));
    }
    let _ = parse::parse_cgroup_events(bytes);
    let _ = parse::parse_cgroup_oom_control(bytes);
    let number = parse::parse_cgroup_number(bytes);
    if let Ok(Some(limit)) = parse::parse_cgroup_limit(bytes) {
        assert_eq!(number, Ok(limit));
    }
}

/// Swap devices, and those of compressed memory.
pub fn swap(bytes: &[u8]) {
    if let Ok(swaps) = parse::parse_swaps(bytes) {
        assert!(swaps.devices as usize <= bytes.len());
    }
    let _ = parse::parse_zram(bytes);
}

/// Messages of the kernel about tasks that ended.
pub fn exits(bytes: &[u8]) {
    memsample::fuzzing::exits(bytes);
}

/// Messages of the kernel about processes that begin and end.
pub fn process_events(bytes: &[u8]) {
    memsample::fuzzing::process_events(bytes);
}

/// The tar of a capture, not compressed.
pub fn capture(bytes: &[u8]) {
    memsample::fuzzing::capture(bytes);
}

/// A journal as it is on disk.
pub fn journal(bytes: &[u8]) {
    let batches = memsample::fuzzing::journal(bytes);
    // Each has a head of eight bytes.
    assert!(batches <= bytes.len() / 8);
}

/// The contents of a journal's blocks, which a fuzzer would hardly get past the checksums.
pub fn journal_contents(bytes: &[u8]) {
    memsample::fuzzing::journal_contents(bytes);
}

/// Bodies of requests to the daemon: what is taken is the same when it is sent again, and within bounds.
pub fn requests(bytes: &[u8]) {
    fn again<R: Request + serde::Serialize + PartialEq + std::fmt::Debug>(request: &R) {
        let sent = serde_json::to_vec(request).expect("a request is JSON");
        assert_eq!(wire::parse::<R>(&sent).as_ref(), Ok(request));
    }
    if let Ok(start) = wire::parse::<StartRequest>(bytes) {
        assert!(start.name.as_deref().is_none_or(wire::is_name));
        assert!(start.labels.len() <= wire::limits::LABELS);
        again(&start);
    }
    if let Ok(mark) = wire::parse::<MarkRequest>(bytes) {
        assert!(!mark.name.is_empty() && mark.name.len() <= 4 * wire::limits::MARK_CHARACTERS);
        assert!(mark.labels.len() <= wire::limits::LABELS);
        again(&mark);
    }
    if let Ok(dump) = wire::parse::<DumpRequest>(bytes) {
        assert!(dump.name.as_deref().is_none_or(wire::is_name));
        again(&dump);
    }
}

/// A suite keeps the rules, and an error is a screen that says where.
pub fn suite_toml(bytes: &[u8]) {
    check_suite(memsample_runner::suite::from_toml(bytes, Path::new("/suites/fuzzed.toml")));
    if let Err(error) = Policy::from_toml(bytes, Path::new("/suites/policy.toml")) {
        check_error(&error);
    }
}

/// The bytes are the files of a directory, one after the other and parted by NUL, the last being what
/// the command prints that lists tests.
pub fn suite_utah(bytes: &[u8]) {
    const NAMES: [&str; 6] =
        ["tslist.run", "a/tc_control", "ts_control", "tslist.auto", "master.run", "listed"];
    struct Files(BTreeMap<PathBuf, Vec<u8>>);
    impl Tree for Files {
        fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, String> {
            Ok(self.0.get(path).cloned())
        }

        fn is_file(&self, path: &Path) -> bool {
            self.0.contains_key(path)
        }

        fn discover(&self, _: &str, _: &Path, _: Duration) -> Result<String, String> {
            let listed = self.0.get(Path::new("/suites/fuzzed/listed")).cloned();
            String::from_utf8(listed.unwrap_or_default()).map_err(|error| error.to_string())
        }
    }
    let files =
        NAMES.iter().zip(bytes.split(|&byte| byte == 0)).filter(|(_, file)| !file.is_empty());
    let root = Path::new("/suites/fuzzed");
    let files = Files(files.map(|(name, file)| (root.join(name), file.to_vec())).collect());
    check_suite(memsample_runner::suite::from_utah(root, &files));
}

fn check_suite(suite: Result<Suite, SuiteError>) {
    match suite {
        Ok(suite) => {
            assert!((1..=10_000).contains(&suite.tests.len()));
            let names: HashSet<&str> = suite.tests.iter().map(|test| test.name.as_str()).collect();
            assert_eq!(names.len(), suite.tests.len());
            for test in &suite.tests {
                assert!(
                    (1..=256).contains(&test.name.len()) && !test.name.contains(char::is_control)
                );
                assert!(test.cwd.is_absolute() && !test.timeout.is_zero() && test.repeat > 0);
                assert!(test.requires.iter().all(|name| names.contains(name.as_str())));
            }
        }
        Err(error) => check_error(&error),
    }
}

fn check_error(error: &SuiteError) {
    assert!(!error.problems().is_empty());
    let message = error.to_string();
    assert!(message.lines().count() <= 81, "{message}");
    assert!(message.chars().all(|c| c == '\n' || !c.is_control()), "{message:?}");
}
