//! Directories in UTAH's format: what they mean, what is said of those that mean nothing, and one that
//! is run as it is.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crossbeam_channel::never;
use memsample_runner::run::discover;
use memsample_runner::suite::{Program, Step, Suite, SuiteError, Tree};

/// Files by their paths, and what the command prints that lists tests.
struct Files {
    files: BTreeMap<PathBuf, Vec<u8>>,
    discovered: Result<String, String>,
}

impl Files {
    fn of(files: &[(&str, &str)]) -> Self {
        let of =
            |&(path, text): &(&str, &str)| (Path::new("/s").join(path), text.as_bytes().to_vec());
        Self { files: files.iter().map(of).collect(), discovered: Ok(String::new()) }
    }
}

impl Tree for Files {
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, String> {
        Ok(self.files.get(path).cloned())
    }

    fn is_file(&self, path: &Path) -> bool {
        self.files.contains_key(path)
    }

    fn discover(&self, _: &str, cwd: &Path, _: Duration) -> Result<String, String> {
        assert!(self.files.keys().any(|file| file.starts_with(cwd)), "{}", cwd.display());
        self.discovered.clone()
    }
}

fn read(files: &Files) -> Result<Suite, SuiteError> {
    memsample_runner::suite::from_utah(Path::new("/s"), files)
}

fn names(suite: &Suite) -> Vec<&str> {
    suite.tests.iter().map(|test| test.name.as_str()).collect()
}

const TC: &str = "command: ./run\ntimeout: 60\ntype: userland\ndependencies: none\n";

#[test]
fn control_files_say_what_is_run() {
    let suite = read(&Files::of(&[
        ("ts_control", "build_cmd: make all\nts_setup: ./up\nts_cleanup: ./down\ntimeout: 90\n"),
        ("tslist.run", "- test: a\n- test: b/c\n  overrides: {timeout: 5, run_as: nobody}\n"),
        ("a/tc_control", "command: |\n  echo 1\n  echo 2\n"),
        ("b/c/tc_control", &format!("{TC}build_cmd: make\ntc_setup: ./up\ntc_cleanup: ./down\nrun_as: root\nreboot: never\n")),
    ]))
    .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((suite.name.as_str(), names(&suite)), ("s", vec!["a", "b/c"]));
    let shell = |line: &str| Program::Shell(line.to_owned());
    let step =
        |line: &str, seconds| Step { program: shell(line), timeout: Duration::from_secs(seconds) };
    let lines =
        "(cd /s && exec /bin/sh -c 'make all') || exit\n(cd /s && exec /bin/sh -c ./up) || exit";
    assert_eq!(suite.setup, Some(step(lines, 180)));
    let lines = "(cd /s && exec /bin/sh -c ./down) || failed=$?\nexit ${failed:-0}";
    assert_eq!(suite.teardown, Some(step(lines, 90)));
    let [a, c] = suite.tests.as_slice() else { panic!("{:?}", suite.tests) };
    assert_eq!((&a.program, a.timeout), (&shell("echo 1\necho 2\n"), Duration::from_secs(600)));
    assert_eq!((a.cwd.as_path(), a.run_as.as_deref(), a.network), (Path::new("/s/a"), None, true));
    assert_eq!(a.artifacts_variable.as_deref(), Some("UTAH_PROBE_DIR"));
    assert_eq!((&c.program, c.timeout), (&shell("./run"), Duration::from_secs(5)));
    assert_eq!((c.cwd.as_path(), c.run_as.as_deref()), (Path::new("/s/b/c"), Some("nobody")));
    assert_eq!(
        (&c.setup, &c.cleanup),
        (&vec![step("make", 5), step("./up", 5)], &vec![step("./down", 5)])
    );
    assert_eq!(c.tags, ["userland"]);
    assert_eq!(suite.notes, Vec::<String>::new());
}

#[test]
fn a_run_list_says_which_test_suites_and_tests() {
    let master = "- testsuites:\n  - name: one\n    fetch_method: dev\n    fetch_location: ../s/1\n    include_tests: [b]\n  - name: two\n    fetch_method: git\n    fetch_location: repo\n    exclude_tests: [b]\n";
    let suite = read(&Files::of(&[
        ("master.run", master),
        ("../s/1/tslist.run", "- test: a\n- test: b\n"),
        ("../s/1/a/tc_control", TC),
        ("../s/1/b/tc_control", TC),
        ("two/tslist.run", "- test: a\n- test: b\n"),
        ("two/a/tc_control", "command: x\ndependencies: openssh-server\n"),
        ("two/b/tc_control", "command: x\ndependencies: never told, for the test is left out\n"),
    ]))
    .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(names(&suite), ["one/b", "two/a"]);
    assert_eq!(
        suite.notes,
        [
            "test suite `two` was not fetched by git: it is run as it is in `/s/two`",
            "`dependencies` are not installed nor looked for: openssh-server",
        ]
    );
    let alone = "testsuites:\n  - name: s\n    fetch_method: bzr\n    fetch_location: lp:s\ntimeout: 7200\n";
    let suite = read(&Files::of(&[
        ("master.run", alone),
        ("tslist.run", "- test: a"),
        ("a/tc_control", TC),
    ]));
    let suite = suite.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((names(&suite), suite.timeout), (vec!["s/a"], Some(Duration::from_secs(7200))));
}

#[test]
fn tests_are_listed_by_a_command() {
    let mut files =
        Files::of(&[("tslist.auto", "discovery_cmd: ./list\ntest_cmd: ../run {} --name={}\n")]);
    files.discovered = Ok("suite.Case.test_one\n\n  dir/it's two \n..\n".to_owned());
    let suite = read(&files).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(names(&suite), ["suite.Case.test_one", "dir/it's two", ".."]);
    let lines: Vec<&Program> = suite.tests.iter().map(|test| &test.program).collect();
    let expected = [
        "cd ./suite.Case.test_one || exit\n../run suite.Case.test_one --name=suite.Case.test_one",
        "cd ./\"dir_it's two\" || exit\n../run \"dir/it's two\" --name=\"dir/it's two\"",
        "cd ./_.. || exit\n../run .. --name=..",
    ];
    for (line, expected) in lines.iter().zip(expected) {
        assert_eq!(**line, Program::Shell(expected.to_owned()));
    }
    for (discovered, said) in [
        (
            Err("failed (exit status: 1): no such module".to_owned()),
            "1:16: `discovery_cmd` of tslist.auto: failed (exit status: 1): no such module",
        ),
        (Ok("a\na\n".to_owned()), "a second test `a`"),
        (Ok(format!("{}\n", "x".repeat(1000))), "must have at most 256 bytes, not 1000"),
        (
            Ok("\u{1b}[2J\n".to_owned()),
            "the name `\\u{1b}[2J`, which it printed, must not contain the control character",
        ),
        (Ok(String::new()), "1:16: `discovery_cmd` of tslist.auto: listed no test"),
        (Ok("x\n".repeat(20_000)), "more than 10000 tests"),
    ] {
        files.discovered = discovered;
        let message = read(&files).unwrap_err().to_string();
        assert!(message.contains(said), "{said}: {message}");
    }
}

type Refused = (&'static [(&'static str, &'static str)], &'static [&'static str]);

/// Directories that mean nothing: their files, and what the error says.
const REFUSED: &[Refused] = &[
    (&[("readme", "")], &["/s: not a suite", "a master.run, a tslist.run or a tslist.auto"]),
    (&[("tslist.run", "")], &["the suite has no test", "- test: DIRECTORY"]),
    (&[("tslist.run", "a: b")], &["tslist.run:1:1: tslist.run must be a list, not a table"]),
    (
        &[("tslist.run", "- a\n- b")],
        &["tslist.run:1:3: the entry with number 1 of tslist.run must be a table, not a text"],
    ),
    (
        &[("tslist.run", "- tests: a")],
        &["unknown key `tests`", "did you mean `test`?", "lacks `test`"],
    ),
    (&[("tslist.run", "- test: a")], &["tslist.run:1:9: test `a` has no file `/s/a/tc_control`"]),
    (&[("tslist.run", "- test: ../a")], &["must be a directory below that of tslist.run"]),
    (&[("tslist.run", "- test: /a")], &["must be a directory below that of tslist.run"]),
    (
        &[("tslist.run", "- test: a\n- test: a"), ("a/tc_control", TC)],
        &["tslist.run:2:9: a second test `a`", "line 1"],
    ),
    (
        &[("tslist.run", "- test: a\n  overrides: {timeut: 3}"), ("a/tc_control", TC)],
        &[
            "tslist.run:2:15: unknown key `timeut` in the overrides of test `a`",
            "did you mean `timeout`?",
        ],
    ),
    (
        &[("tslist.run", "- test: a"), ("a/tc_control", "timeout: 3")],
        &["/s/a/tc_control:1:1: test `a` lacks a `command`"],
    ),
    (
        &[("tslist.run", "- test: a"), ("a/tc_control", "command: true")],
        &["/s/a/tc_control:1:10: `command` of test `a`: must be a text, not a boolean", "quotes"],
    ),
    (
        &[("tslist.run", "- test: a"), ("a/tc_control", "command: x\ntimeout: 30s")],
        &["2:10: `timeout` of test `a`: must be a whole number from 1 to 2592000, not a text"],
    ),
    (
        &[("tslist.run", "- test: a"), ("a/tc_control", "command: x\ntimeout: 0")],
        &["must be from 1 to 2592000, not 0"],
    ),
    (
        &[("tslist.run", "- test: a"), ("a/tc_control", "command: x\nreboot: always")],
        &["2:9: `reboot` of test `a`: the machine is not rebooted", "two suites"],
    ),
    (
        &[("tslist.run", "- test: a"), ("a/tc_control", "command: x\ncommand: y")],
        &["2:1: the key `command` a second time"],
    ),
    (
        &[("tslist.run", "- test: a"), ("a/tc_control", "command: 'x")],
        &["/s/a/tc_control:", "not YAML"],
    ),
    (
        &[("tslist.run", "- test: a"), ("a/tc_control", "command: a: b")],
        &["/s/a/tc_control:1:", "not YAML"],
    ),
    (
        &[("tslist.run", "- test: a"), ("a/tc_control", "command: x\n---\ncommand: y")],
        &["a second document in one file"],
    ),
    (
        &[("tslist.run", "- test: a"), ("a/tc_control", "command: x\n[a, b]: y")],
        &["2:1: a key that is not a word"],
    ),
    (
        &[("tslist.run", "- test: a"), ("a/tc_control", TC), ("ts_control", "setup: x")],
        &["ts_control:1:1: unknown key `setup` in ts_control", "did you mean `ts_setup`?"],
    ),
    (&[("tslist.auto", "discovery_cmd: ls")], &["tslist.auto lacks `test_cmd`"]),
    (
        &[("tslist.auto", "discovery_cmd: ls\ntest_cmd: ./run")],
        &["`test_cmd` of tslist.auto: is the same for every test", "`{}`"],
    ),
    (&[("master.run", "")], &["master.run:1:1: the run list must be a table, not nothing"]),
    (&[("master.run", "testsuites:")], &["the run list has no `testsuites`"]),
    (
        &[("master.run", "testsuites:\n- name: a\n  fetch_method: svn\n  fetch_location: x")],
        &["3:17: `fetch_method` of the test suite with number 1: not a method", "`bzr-export`"],
    ),
    (
        &[("master.run", "testsuites:\n- name: a\n  fetch_method: git\n  fetch_location: host:a")],
        &[
            "test suite `a` is not here, and nothing is fetched",
            "fetch `host:a` into a directory `a` beside master.run",
        ],
    ),
    (
        &[("master.run", "testsuites:\n- name: a\n  fetch_method: dev\n  fetch_location: a")],
        &["`a` has no tslist.run and no tslist.auto"],
    ),
    (
        &[("master.run", "testsuites:\n- name: ../a\n  fetch_method: git\n  fetch_location: a")],
        &["must be the name of a directory"],
    ),
    (
        &[
            (
                "master.run",
                "testsuites:\n- name: a\n  fetch_method: dev\n  fetch_location: .\n  include_tests: [b]",
            ),
            ("tslist.run", "- test: a"),
            ("a/tc_control", TC),
        ],
        &["/s/master.run:5:19: `include_tests` names `b`, which is not in tslist.run"],
    ),
    (
        &[
            (
                "master.run",
                "testsuites:\n- name: a\n  fetch_method: dev\n  fetch_location: '1'\n- name: a\n  fetch_method: dev\n  fetch_location: '2'",
            ),
            ("1/tslist.run", "- test: b"),
            ("1/b/tc_control", TC),
            ("2/tslist.run", "\n- test: b"),
            ("2/b/tc_control", TC),
        ],
        &[
            "/s/2/tslist.run:2:9: a second test `a/b`",
            "the first is in line 1 of `/s/1/tslist.run`",
        ],
    ),
    (
        &[
            ("tslist.run", "- test: a"),
            (
                "a/tc_control",
                "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\ncommand: x",
            ),
        ],
        &["more than 100000 values, those that aliases repeat included"],
    ),
    (
        &[("tslist.run", "- test: a"), ("a/tc_control", "a: &a [*a]\ncommand: x")],
        &["a/tc_control:1:"],
    ),
];

#[test]
fn what_means_nothing_is_refused_with_its_place_and_a_way_out() {
    for (files, said) in REFUSED {
        let message = match read(&Files::of(files)) {
            Ok(suite) => panic!("accepted: {files:?}\n{suite:?}"),
            Err(error) => error.to_string(),
        };
        for part in *said {
            assert!(message.contains(part), "{files:?}\nlacks {part:?}:\n{message}");
        }
    }
}

#[test]
fn nesting_is_bounded() {
    let deep = format!("command: {}", "[".repeat(5000));
    let files = [("tslist.run", "- test: a"), ("a/tc_control", deep.as_str())];
    let message = read(&Files::of(&files)).unwrap_err().to_string();
    assert!(
        message.contains("more than 32 levels deep") || message.contains("not YAML"),
        "{message}"
    );
}

/// Reads a directory as the command does.
fn load(root: &Path) -> Result<Suite, SuiteError> {
    memsample_runner::suite::load(root, &|line, cwd, timeout| {
        let launcher = Path::new(crate::running::LAUNCHER);
        let listed = discover(launcher, &never(), line, cwd, timeout);
        listed.map_err(|error| error.to_string())
    })
}

/// Copies the fixture, for its tests write into it.
fn fixture() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suites/utah/.");
    let to = directory.path().join("utah");
    let status = Command::new("cp").arg("-r").arg(from).arg(&to).status().unwrap();
    assert!(status.success());
    directory
}

#[test]
fn a_directory_runs_as_it_is() {
    let directory = fixture();
    let root = directory.path().join("utah");
    let suite = load(&root).unwrap_or_else(|error| panic!("{error}"));
    let expected = [
        ("smoke/here", "passed"),
        ("smoke/fails", "failed"),
        ("smoke/slow", "timed_out"),
        ("smoke/prepared", "passed"),
        ("listed/exits with 9.sh", "failed"),
        ("listed/good.sh", "passed"),
    ];
    assert_eq!(names(&suite), expected.map(|(name, _)| name));
    let results = crate::running::results(
        &suite,
        &crate::running::options(&directory.path().join("results")),
    );
    let words: Vec<(&str, &str)> =
        results.iter().map(|result| (result.test.test.as_str(), result.outcome.word())).collect();
    let reasons: Vec<_> = results.iter().map(|result| &result.reason).collect();
    assert_eq!(words, expected, "{reasons:?}");
    // The setup of the test suite was undone, and nothing is left of the tests.
    let left = |path: &str| fs::exists(root.join(path)).unwrap();
    assert!(!left("smoke/built") && !left("smoke/set_up") && !left("smoke/prepared/steps"));
    assert!(!left("listed/good.sh"));
}

#[test]
fn a_command_that_lists_tests_is_run_above_them_and_its_failure_is_told() {
    let directory = fixture();
    let list = directory.path().join("utah/listed/tslist.auto");
    for (command, said) in [
        ("echo bad >&2; echo 'no such module' >&2; exit 7", "exited with 7: no such module"),
        ("head -c 2000000 /dev/zero", "printed more than 1 MiB"),
        ("printf '\\377'", "printed what is not UTF-8"),
        ("kill -9 $$", "was ended by signal 9"),
    ] {
        fs::write(&list, format!("discovery_cmd: {command:?}\ntest_cmd: x {{}}\n")).unwrap();
        let message = load(&directory.path().join("utah")).unwrap_err().to_string();
        assert!(message.contains(said), "{said}: {message}");
    }
}

/// Writes a test suite whose setup makes what is listed, and whose cleanup removes it.
fn made_by_its_setup(root: &Path, setup: &str) {
    let control = format!(
        "build_cmd: echo built && mkdir cases\nts_setup: {setup}\nts_cleanup: rm -r cases && touch cleaned\n"
    );
    fs::create_dir(root).unwrap();
    fs::write(root.join("ts_control"), control).unwrap();
    let list = "discovery_cmd: ls made/cases\ntest_cmd: test -e ../cases/{}\n";
    fs::write(root.join("tslist.auto"), list).unwrap();
}

#[test]
fn a_setup_makes_what_is_listed_and_is_run_once() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("made");
    made_by_its_setup(&root, "touch cases/a cases/b");
    let suite = load(&root).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(names(&suite), ["a", "b"]);
    // `mkdir` would fail the second time.
    assert_eq!(suite.setup, None);
    assert!(suite.teardown.is_some() && !root.join("cleaned").exists());
}

#[test]
fn what_was_set_up_for_nothing_is_cleaned_up() {
    for (setup, said) in [
        (
            "echo 'no such branch' >&2; exit 3",
            "2:11: `ts_setup` of ts_control: exited with 3: no such branch",
        ),
        ("':'", "`discovery_cmd` of tslist.auto: listed no test"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("made");
        made_by_its_setup(&root, setup);
        let message = load(&root).unwrap_err().to_string();
        assert!(message.contains(said), "{message}");
        assert!(root.join("cleaned").exists() && !root.join("cases").exists());
    }
}
