//! Suite files: what they mean, and what is said of those that mean nothing.

mod refused;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use memsample_runner::suite::{
    Action, Budget, LeakRule, Policy, Program, Quantity, Sandbox, Step, Suite, SuiteError, Test,
};

use refused::REFUSED;

const PATH: &str = "/suites/nightly.toml";

fn parse(text: &str) -> Result<Suite, SuiteError> {
    memsample_runner::suite::from_toml(text.as_bytes(), Path::new(PATH))
}

fn schema() -> jsonschema::Validator {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/suite.schema.json");
    let schema =
        serde_json::from_slice(&fs::read(path).expect("the schema is there")).expect("it is JSON");
    jsonschema::draft202012::meta::validate(&schema).expect("it is a schema");
    jsonschema::validator_for(&schema).expect("it is a schema")
}

/// A test with what holds where the suite says nothing.
fn test(name: &str, command: &[&str]) -> Test {
    let words = command.iter().map(|&word| word.to_owned()).collect();
    Test::new(name, Program::Command(words), "/suites")
}

#[test]
fn what_holds_where_nothing_is_said_is_what_the_document_says() {
    let test = test("a", &["true"]);
    assert_eq!((test.timeout, test.grace), (Duration::from_secs(600), Duration::from_secs(5)));
    assert_eq!((test.repeat, test.retries, test.expect_exit.as_slice()), (1, 0, &[0][..]));
    assert!(!test.network && test.sandbox.is_none() && test.memory_limit_bytes.is_none());
    assert!(test.cpu_limit.is_none());
}

const FULL: &str = r#"
name = "nightly"
timeout = "2h"

[setup]
command = ["make", "server"]
timeout = "10m"

[teardown]
shell = "kill $(cat server.pid)"

[defaults]
cwd = "build"
env = { LANG = "C", EMPTY = "" }
timeout = "30s"
sandbox = "pidns"
tags = ["nightly"]
budget = [{ rss_peak = "1GiB", left_over = "0B" }]
leak = {}

[[test]]
name = "parser"
command = ["./parse", ""]

[[test]]
name = "net/round trip"
shell = "./trip | sort"
cwd = "/tmp"
env = { LANG = "de_DE.UTF-8" }
timeout = "1m30s"
grace = "0s"
run_as = "nobody"
sandbox = "bwrap:rootfs"
network = true
memory_limit = "64MiB"
cpu_limit = "90s"
expect_exit = [0, 77]
tags = ["nightly", "net"]
artifacts = ["logs/*.log"]
repeat = 3
retries = 2
requires = ["parser"]
setup = { shell = "mkdir logs" }

[test.leak]
role = "celery"
action = "warn"

[[test.cleanup]]
command = ["rm", "-r", "logs"]
timeout = "1s"

[[test.budget]]
rss_peak = "300MiB"
group_peak = "1GiB"
shmem_peak = "0B"
action = "warn"

[[test.budget]]
role = "celery"
anon_peak = "1.5MiB"
growth_per_minute = "100kB"
"#;

#[test]
fn every_key_says_what_it_means() {
    let budget = |role: Option<&str>, quantity, limit_bytes, action| Budget {
        role: role.map(str::to_owned),
        quantity,
        limit_bytes,
        action,
    };
    let env = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    let parser = Test {
        cwd: PathBuf::from("/suites/build"),
        env: env(&[("EMPTY", ""), ("LANG", "C")]),
        timeout: Duration::from_secs(30),
        sandbox: Some(Sandbox::PidNamespace),
        tags: vec!["nightly".to_owned()],
        leak: Some(LeakRule { role: None, action: Action::Fail }),
        budgets: vec![
            budget(None, Quantity::RssPeak, 1 << 30, Action::Fail),
            budget(None, Quantity::LeftOver, 0, Action::Fail),
        ],
        ..test("parser", &["./parse", ""])
    };
    let trip = Test {
        program: Program::Shell("./trip | sort".to_owned()),
        setup: vec![Step {
            program: Program::Shell("mkdir logs".to_owned()),
            timeout: Duration::from_secs(300),
        }],
        cleanup: vec![Step {
            program: Program::Command(vec!["rm".into(), "-r".into(), "logs".into()]),
            timeout: Duration::from_secs(1),
        }],
        cwd: PathBuf::from("/tmp"),
        env: env(&[("EMPTY", ""), ("LANG", "de_DE.UTF-8")]),
        timeout: Duration::from_secs(90),
        grace: Duration::ZERO,
        run_as: Some("nobody".to_owned()),
        sandbox: Some(Sandbox::Bubblewrap { root: Some(PathBuf::from("/suites/rootfs")) }),
        network: true,
        memory_limit_bytes: Some(64 << 20),
        cpu_limit: Some(Duration::from_secs(90)),
        budgets: vec![
            // That of the defaults for the same quantity is replaced, the other holds.
            budget(None, Quantity::LeftOver, 0, Action::Fail),
            budget(None, Quantity::RssPeak, 300 << 20, Action::Warn),
            budget(None, Quantity::GroupPeak, 1 << 30, Action::Warn),
            budget(None, Quantity::ShmemPeak, 0, Action::Warn),
            budget(Some("celery"), Quantity::AnonPeak, 3 << 19, Action::Fail),
            budget(Some("celery"), Quantity::Growth, 100_000, Action::Fail),
        ],
        leak: Some(LeakRule { role: Some("celery".to_owned()), action: Action::Warn }),
        expect_exit: vec![0, 77],
        tags: vec!["nightly".to_owned(), "net".to_owned()],
        artifacts: vec!["logs/*.log".to_owned()],
        repeat: 3,
        retries: 2,
        requires: vec!["parser".to_owned()],
        ..test("net/round trip", &[])
    };
    let suite = parse(FULL).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(suite.tests, [parser, trip]);
    assert_eq!(
        suite,
        Suite {
            name: "nightly".to_owned(),
            directory: PathBuf::from("/suites"),
            setup: Some(Step {
                program: Program::Command(vec!["make".into(), "server".into()]),
                timeout: Duration::from_secs(600),
            }),
            teardown: Some(Step {
                program: Program::Shell("kill $(cat server.pid)".to_owned()),
                timeout: Duration::from_secs(300),
            }),
            is_set_up: false,
            timeout: Some(Duration::from_secs(7200)),
            tests: suite.tests.clone(),
            notes: Vec::new(),
        }
    );
}

#[test]
fn little_is_needed() {
    let suite = parse("name = 's'\n[[test]]\nname = 't'\ncommand = ['true']\n").unwrap();
    assert_eq!(suite.tests, [test("t", &["true"])]);
    assert_eq!((suite.setup, suite.teardown, suite.timeout), (None, None, None));
}

#[test]
fn what_means_nothing_is_refused_with_its_place_and_a_way_out() {
    let schema = schema();
    for (text, said, by_schema) in REFUSED {
        let error = match parse(text) {
            Ok(suite) => panic!("accepted: {text}\n{suite:?}"),
            Err(error) => error,
        };
        let message = error.to_string();
        for part in *said {
            assert!(message.contains(part), "{text}\nlacks {part:?}:\n{message}");
        }
        let problem = &error.problems()[0];
        assert!(problem.position.is_some(), "{text}: {problem:?}");
        assert_eq!(problem.file, Path::new(PATH));
        let refused =
            toml::from_str::<serde_json::Value>(text).is_ok_and(|value| !schema.is_valid(&value));
        assert_eq!(refused, *by_schema, "{text}: what the schema says");
    }
}

#[test]
fn what_is_accepted_satisfies_the_schema() {
    let minimal = "name = 's'\n[[test]]\nname = 't'\ncommand = ['true', '']\n";
    let hostile = "name='s'\n[[test]]\nname='../../etc/\\u{1b}'\nshell=':'\nsandbox='lxc:a.b'\nexpect_exit=255";
    for text in [FULL, minimal, hostile] {
        parse(text).unwrap_or_else(|error| panic!("{error}"));
        let value: serde_json::Value = toml::from_str(text).unwrap();
        let errors: Vec<String> =
            schema().iter_errors(&value).map(|error| error.to_string()).collect();
        assert_eq!(errors, Vec::<String>::new(), "{text}");
    }
}

#[test]
fn the_schema_has_the_keys_that_the_parser_names() {
    // The parser lists what is allowed when it meets a key that is far from all of them.
    let allowed = |text: &str| {
        let message = parse(text).unwrap_err().to_string();
        let line = message.lines().find(|line| line.contains("allowed are")).unwrap().to_owned();
        let mut keys: Vec<String> = line.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        keys.sort();
        keys
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/suite.schema.json");
    let schema: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let keys = |pointers: &[&str]| {
        let tables =
            pointers.iter().map(|pointer| schema.pointer(pointer).unwrap().as_object().unwrap());
        let mut keys: Vec<String> = tables.flat_map(|table| table.keys().cloned()).collect();
        keys.sort();
        keys
    };
    let (program, settings) = ("/$defs/program/properties", "/$defs/settings/properties");
    assert_eq!(allowed("somethingelse = 1"), keys(&["/properties"]));
    assert_eq!(allowed("[setup]\nsomethingelse = 1"), keys(&[program, "/$defs/step/properties"]));
    assert_eq!(allowed("[defaults]\nsomethingelse = 1"), keys(&[settings]));
    let test = keys(&[program, settings, "/$defs/test/properties"]);
    assert_eq!(allowed("[[test]]\nsomethingelse = 1"), test);
    let budget = keys(&["/$defs/budget/properties"]);
    assert_eq!(allowed("[defaults.budget]\nsomethingelse = 1"), budget);
    let leak = keys(&["/$defs/leak/properties"]);
    assert_eq!(allowed("[defaults.leak]\nsomethingelse = 1"), leak);
}

#[test]
fn an_error_reads_like_that_of_a_compiler() {
    let text = "name = 's'\n\n[[test]]\nname = 'leak'\nshell = './leak'\ntimout = \"30s\"\nmemory_limit = 64\n";
    let expected = "\
/suites/nightly.toml:6:1: unknown key `timout` in test `leak`
    6 | timout = \"30s\"
      | ^^^^^^
      = did you mean `timeout`?
/suites/nightly.toml:7:16: `memory_limit` of test `leak`: a unit is missing: write \"64MiB\"
    7 | memory_limit = 64
      |                ^^";
    assert_eq!(parse(text).unwrap_err().to_string(), expected);
}

#[test]
fn a_name_that_has_nothing_in_common_is_not_what_was_meant() {
    let text = "name = 's'\n[[test]]\nname = 'a'\nshell = ':'\nrequires = ['zz']\n";
    let expected = "\
/suites/nightly.toml:5:13: test `a` requires `zz`, which is not a test
    5 | requires = ['zz']
      |             ^^^^";
    assert_eq!(parse(text).unwrap_err().to_string(), expected);
}

#[test]
fn a_message_is_never_longer_than_a_screen_nor_moves_the_cursor() {
    let mut text = "name = 's'\n".to_owned();
    for index in 0..500 {
        write!(
            text,
            "[[test]]\nname = \"{}\\u001b[2J\"\nx{index} = '{}'\n",
            "é".repeat(1000),
            "\u{9b}".repeat(500)
        )
        .unwrap();
    }
    let message = parse(&text).unwrap_err().to_string();
    assert!(message.lines().count() < 100, "{message}");
    assert!(message.lines().all(|line| line.chars().count() < 320), "{message}");
    assert!(message.chars().all(|c| c == '\n' || !c.is_control()), "{message:?}");
    assert!(message.contains("must have at most 256 bytes, not 2004"), "{message}");
    assert!(message.ends_with("more"), "{message}");
}

#[test]
fn a_suite_of_ten_thousand_tests_in_a_row_is_one() {
    let suite = |count: usize, last_requires: &str| {
        let mut text = "name = 's'\n".to_owned();
        for index in 0..count {
            let required =
                if index == 0 { last_requires.to_owned() } else { format!("'t{}'", index - 1) };
            write!(text, "[[test]]\nname='t{index}'\nshell=':'\nrequires=[{required}]\n").unwrap();
        }
        text
    };
    assert_eq!(parse(&suite(10_000, "")).unwrap().tests.len(), 10_000);
    let circle = parse(&suite(10_000, "'t9999'")).unwrap_err().to_string();
    assert!(circle.contains("10000 tests require each other in a circle"), "{circle}");
    let many = parse(&suite(10_001, "")).unwrap_err().to_string();
    assert!(many.contains("has 10001 tests, more than 10000"), "{many}");
}

#[test]
fn a_file_that_is_none_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let fifo = directory.path().join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let large = vec![b'#'; (4 << 20) + 1];
    for (path, said) in [
        (directory.path().join("missing.toml"), "missing.toml: cannot be read: No such file"),
        (fifo, "fifo: not a file"),
        (PathBuf::from("/dev/zero"), "/dev/zero: not a file"),
        (write("large.toml", &large), "large.toml: larger than 4 MiB"),
        (write("latin1.toml", b"name = 's'\n# caf\xe9\n"), "latin1.toml:2:6: not UTF-8 text"),
        (write("binary.toml", b"\x7fELF\x02\x01\x01\0"), "binary.toml:1:9: not TOML"),
    ] {
        let message = memsample_runner::suite::load(&path, &|line, _, _| panic!("{line}"))
            .unwrap_err()
            .to_string();
        assert!(message.contains(said), "{said}: {message}");
    }
}

#[test]
fn a_relative_path_begins_where_the_file_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s.toml");
    fs::write(&path, "name='s'\n[[test]]\nname='t'\nshell=':'\ncwd='sub'").unwrap();
    let suite = memsample_runner::suite::load(&path, &|line, _, _| panic!("{line}")).unwrap();
    assert_eq!(suite.directory, directory.path());
    assert_eq!(suite.tests[0].cwd, directory.path().join("sub"));
    let suite =
        memsample_runner::suite::from_toml(&fs::read(&path).unwrap(), Path::new("s.toml")).unwrap();
    assert!(suite.directory.is_absolute(), "{:?}", suite.directory);
}

#[test]
fn a_policy_holds_for_the_tests_that_it_names() {
    let text = r#"
[[budget]]
test = "net/*"
rss_peak = "300MiB"
action = "warn"

[[budget]]
test_regex = "^(a|b)$"
role = "celery"
pss_peak = "1GiB"

[[budget]]
left_over = "0B"

[[leak]]
test = "soak*"
role = "server"
action = "warn"

[[leak]]
"#;
    let policy = Policy::from_toml(text.as_bytes(), Path::new("p.toml")).unwrap();
    let holds = |name: &str| -> Vec<Quantity> {
        let budgets = policy.budgets.iter();
        let of = budgets.filter(|of| of.tests.as_ref().is_none_or(|tests| tests.is_match(name)));
        of.map(|of| of.budget.quantity).collect()
    };
    assert_eq!(holds("net/a/b"), [Quantity::RssPeak, Quantity::LeftOver]);
    assert_eq!(holds("xnet/a"), [Quantity::LeftOver]);
    assert_eq!(holds("b"), [Quantity::PssPeak, Quantity::LeftOver]);
    assert_eq!(policy.budgets[0].budget.action, Action::Warn);
    let leaks = &policy.leaks;
    assert!(leaks[0].tests.as_ref().unwrap().is_match("soak 1") && leaks[1].tests.is_none());
    assert_eq!(
        (leaks[0].rule.role.as_deref(), leaks[0].rule.action),
        (Some("server"), Action::Warn)
    );
    assert_eq!(leaks[1].rule.action, Action::Fail);
    for (text, said) in [
        ("", "the policy has no budget and no leak"),
        ("[[leak]]\nrss_peak = '1B'", "the leak with number 1"),
        ("[[budget]]\ntest = 'x'", "the budget with number 1 bounds nothing"),
        ("[[budget]]\ntest = 'x'\ntest_regex = 'x'\nrss_peak = '1B'", "stands beside `test`"),
        (
            "[[budget]]\ntest_regex = '('\nrss_peak = '1B'",
            "2:14: `test_regex` of the budget with number 1: not a pattern: unclosed group",
        ),
        ("[[budgets]]\nrss_peak = '1B'", "did you mean `budget`?"),
    ] {
        let error =
            Policy::from_toml(text.as_bytes(), Path::new("p.toml")).unwrap_err().to_string();
        assert!(error.contains(said), "{said}: {error}");
    }
}

#[test]
fn the_documentation_is_a_suite_and_a_policy() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/suite.md");
    let text = fs::read_to_string(path).unwrap();
    let blocks: Vec<&str> =
        text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let [suite, policy, leak] = blocks.as_slice() else { panic!("{} blocks", blocks.len()) };
    let value: serde_json::Value = toml::from_str(suite).unwrap();
    assert!(schema().is_valid(&value));
    let suite = parse(suite).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((suite.tests.len(), suite.tests[1].budgets.len()), (2, 2));
    let leak = parse(leak).unwrap_or_else(|error| panic!("{error}"));
    assert!(leak.tests[0].leak.is_some());
    let policy = Policy::from_toml(policy.as_bytes(), Path::new("p.toml"));
    let policy = policy.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((policy.budgets.len(), policy.leaks.len()), (2, 1));
    // Every key of the schema is explained.
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/suite.schema.json");
    let schema: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    for table in ["program", "settings", "test", "budget", "leak"] {
        let keys = schema.pointer(&format!("/$defs/{table}/properties")).unwrap();
        for key in keys.as_object().unwrap().keys() {
            assert!(text.contains(&format!("`{key}`")), "{key}");
        }
    }
}

#[test]
fn slow_a_suite_of_two_hundred_thousand_variables_is_read_in_linear_time() {
    // On one line too, whose columns are counted. In quadratic time it would take hours.
    for separator in [", ", "\nenv."] {
        let mut text =
            String::from("name = \"s\"\n[[test]]\nname = \"a\"\ncommand = [\"true\"]\nenv");
        text.push_str(if separator == ", " { " = { " } else { "." });
        for variable in 0..200_000 {
            if variable > 0 {
                text.push_str(separator);
            }
            write!(text, "V{variable} = \"1\"").expect("it fits");
        }
        text.push_str(if separator == ", " { " }\n" } else { "\n" });
        let suite = parse(&text).expect("it is a suite");
        assert_eq!(suite.tests.first().map(|test| test.env.len()), Some(200_000));
    }
}
