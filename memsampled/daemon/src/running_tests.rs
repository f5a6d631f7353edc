//! The tests of a session that run, and which of its processes are theirs.

use std::collections::HashMap;

use memsample::analysis::EXEC_MARK;
use memsample_client::wire::{MarkKind, ProcessList};

/// Running tests that are kept: more than a machine has CPUs for.
const MAX_TESTS: usize = 256;

/// The tests of a session whose `begin` was marked and whose `end` was not yet.
#[derive(Debug, Default)]
pub(super) struct RunningTests(Vec<RunningTest>);

#[derive(Debug)]
struct RunningTest {
    name: String,
    mark: String,
    /// The `memsample exec` that runs it, whose descendants are its processes.
    exec: Option<i32>,
}

impl RunningTests {
    /// Takes a mark of a test.
    pub(super) fn take(&mut self, kind: MarkKind, mark: &str, test: &str) {
        match kind {
            MarkKind::Begin if self.0.len() < MAX_TESTS => self.0.push(RunningTest {
                name: test.to_owned(),
                mark: mark.to_owned(),
                exec: mark.strip_prefix(EXEC_MARK).and_then(|pid| pid.parse().ok()),
            }),
            MarkKind::End => {
                let tests = || self.0.iter().enumerate().filter(|(_, it)| it.name == test);
                let of_mark = tests().find(|(_, it)| it.mark == mark);
                if let Some((index, _)) = of_mark.or_else(|| tests().next()) {
                    self.0.remove(index);
                }
            }
            MarkKind::Begin | MarkKind::Point => {}
        }
    }

    /// Returns their names, in the order of their beginnings.
    pub(super) fn names(&self) -> Vec<String> {
        self.0.iter().map(|test| test.name.clone()).collect()
    }

    /// Gives the descendants of each `memsample exec` its test, where the recording knows none: those of the nearest one.
    /// A process whose ancestors are not all in the list has none.
    pub(super) fn assign(&self, list: &mut ProcessList) {
        let tests: HashMap<i32, &str> =
            self.0.iter().filter_map(|test| Some((test.exec?, test.name.as_str()))).collect();
        if tests.is_empty() {
            return;
        }
        let parents: HashMap<i32, i32> =
            list.processes.iter().map(|it| (it.pid, it.ppid)).collect();
        for process in list.processes.iter_mut().filter(|process| process.test.is_none()) {
            let mut ancestor = process.ppid;
            // A pid that was given again can make a circle of parents.
            for _ in 0..parents.len() {
                if let Some(test) = tests.get(&ancestor) {
                    process.test = Some((*test).to_owned());
                    break;
                }
                match parents.get(&ancestor) {
                    Some(&parent) if parent != 0 => ancestor = parent,
                    _ => break,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use memsample_client::wire::ListedProcess;

    use super::*;

    fn process(pid: i32, ppid: i32) -> ListedProcess {
        let json = serde_json::json!({
            "process": pid, "pid": pid, "ppid": ppid, "uid": null, "comm": "", "cmdline": "", "role": "", "cgroup": null,
            "test": null, "rss_bytes": 0, "anon_bytes": 0, "swap_bytes": null, "hwm_bytes": null, "pss_bytes": null,
            "uss_bytes": null, "pss_ts": null,
        });
        serde_json::from_value(json).unwrap()
    }

    fn assigned(tests: &RunningTests, parents: &[(i32, i32)]) -> Vec<Option<String>> {
        let processes = parents.iter().map(|&(pid, ppid)| process(pid, ppid)).collect();
        let mut list = ProcessList { ts: None, processes };
        tests.assign(&mut list);
        list.processes.into_iter().map(|it| it.test).collect()
    }

    #[test]
    fn descendants_of_the_nearest_exec_are_of_its_test() {
        let mut tests = RunningTests::default();
        tests.take(MarkKind::Begin, "exec 10", "outer");
        tests.take(MarkKind::Begin, "exec 12", "inner");
        tests.take(MarkKind::Begin, "a step", "elsewhere");
        let parents =
            [(1, 0), (10, 1), (11, 10), (12, 11), (13, 12), (20, 1), (30, 29), (40, 41), (41, 40)];
        let (outer, inner) = (Some("outer".to_owned()), Some("inner".to_owned()));
        let expected = [None, None, outer.clone(), outer.clone(), inner, None, None, None, None];
        assert_eq!(assigned(&tests, &parents), expected);
        tests.take(MarkKind::End, "exec 12", "inner");
        assert_eq!(tests.names(), ["outer", "elsewhere"]);
        assert_eq!(assigned(&tests, &parents)[4], outer);
    }

    #[test]
    fn the_mark_that_ends_is_the_one_that_began() {
        let mut tests = RunningTests::default();
        tests.take(MarkKind::Begin, "exec 10", "twice");
        tests.take(MarkKind::Begin, "exec 20", "twice");
        tests.take(MarkKind::End, "exec 20", "twice");
        assert_eq!(assigned(&tests, &[(11, 10), (21, 20)]), [Some("twice".to_owned()), None]);
        tests.take(MarkKind::End, "by another name", "twice");
        tests.take(MarkKind::End, "exec 10", "twice");
        assert!(tests.names().is_empty());
    }
}
