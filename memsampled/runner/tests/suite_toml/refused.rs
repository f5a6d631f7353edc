//! Suite files that are refused, with what the message says and whether the schema refuses them too.

/// The text, what the error says, and whether the schema refuses it too (it cannot compare names, nor lengths of
/// time).
pub(crate) const REFUSED: &[(&str, &[&str], bool)] = &[
    (
        "",
        &["nightly.toml:1:1: the suite lacks `name`", "the suite has no test", "write [[test]]"],
        true,
    ),
    ("name = 's'\ntest = []", &["the suite has no test"], true),
    (
        "name = 's'\n[test]\nname = 't'",
        &["`test` of the suite: must be a list of tables", "two brackets"],
        true,
    ),
    (
        "name = 's'\n[[tests]]\n",
        &["2:3: unknown key `tests` in the suite", "did you mean `test`?"],
        true,
    ),
    (
        "name = 's'\nwhatever = 1",
        &["unknown key `whatever`", "allowed are `name`, `timeout`"],
        true,
    ),
    (
        "name = 7\n[[test]]\nname='t'\nshell=':'",
        &["1:8: `name` of the suite: must be a text, not a whole number"],
        true,
    ),
    ("name = ''\n[[test]]\nname='t'\nshell=':'", &["`name` of the suite: must not be empty"], true),
    ("name = \"a\\nb\"\n[[test]]\nname='t'\nshell=':'", &["the control character `\\n`"], true),
    (
        "name = 's'\n[defaults]\ntimout = '3s'\n[[test]]\nname='t'\nshell=':'",
        &["3:1: unknown key `timout` in [defaults]", "did you mean `timeout`?"],
        true,
    ),
    (
        "name = 's'\n[defaults]\nname = 'x'\n[[test]]\nname='t'\nshell=':'",
        &["unknown key `name` in [defaults]"],
        true,
    ),
    (
        "name = 's'\n[setup]\n[[test]]\nname='t'\nshell=':'",
        &["[setup] lacks a `command` or a `shell`"],
        true,
    ),
    (
        "name = 's'\nsetup = 'make'\n[[test]]\nname='t'\nshell=':'",
        &["[setup] must be a table, not a text"],
        true,
    ),
    (
        "name = 's'\n[setup]\nshell = ':'\nenv = {}\n[[test]]\nname='t'\nshell=':'",
        &["unknown key `env` in [setup]"],
        true,
    ),
    ("name = 's'\ntest = ['t']", &["test 1 must be a table, not a text"], true),
    ("name = 's'\n[[test]]\nshell = ':'", &["the test with number 1 lacks `name`"], true),
    ("name = 's'\n[[test]]\nname = 't'", &["test `t` lacks a `command` or a `shell`"], true),
    (
        "name = 's'\n[[test]]\nname='t'\nshell=':'\ncommand=['x']",
        &["4:1: `shell` of test `t`: stands beside `command`"],
        true,
    ),
    (
        "name = 's'\n[[test]]\nname='t'\ncommand='ls -l'",
        &[
            "`command` of test `t`: must be a list of texts, not a text",
            "write command = [\"ls\", \"-l\"], or shell = \"ls -l\"",
        ],
        true,
    ),
    (
        "name = 's'\n[[test]]\nname='t'\ncommand=\"a 'b c' \\\"d\\\"\"",
        &["write command = [\"a\", \"b c\", \"d\"], or shell = \"a 'b c' \\\"d\\\"\""],
        true,
    ),
    (
        "name = 's'\n[[test]]\nname='t'\ncommand='make && ./a.out'",
        &["write shell = \"make && ./a.out\""],
        true,
    ),
    ("name = 's'\n[[test]]\nname='t'\ncommand=[]", &["must name a program"], true),
    (
        "name = 's'\n[[test]]\nname='t'\ncommand=['']",
        &["`command` of test `t`: must not be empty"],
        true,
    ),
    (
        "name = 's'\n[[test]]\nname='t'\ncommand=[1]",
        &["`command` of test `t`: must be a text, not a whole number"],
        true,
    ),
    (
        "name = 's'\n[[test]]\nname='t'\nshell=\"a\\u0000b\"",
        &["must not contain a NUL character"],
        true,
    ),
    (
        "name = 's'\n[[test]]\nname='t'\nshell=':'\ntimeout=30",
        &["5:9: `timeout` of test `t`: a unit is missing: write \"30s\""],
        true,
    ),
    (
        "name = 's'\n[[test]]\nname='t'\nshell=':'\ntimeout='30'",
        &["a unit is missing: `30ms` or `30s`?"],
        true,
    ),
    ("name = 's'\n[[test]]\nname='t'\nshell=':'\ntimeout='soon'", &["not a length of time"], true),
    (
        "name = 's'\n[[test]]\nname='t'\nshell=':'\ntimeout='0s'",
        &["must be from 1ms to 720h"],
        false,
    ),
    (
        "name = 's'\n[[test]]\nname='t'\nshell=':'\ntimeout='9999h'",
        &["must be from 1ms to 720h"],
        false,
    ),
    (
        "name = 's'\n[[test]]\nname='t'\nshell=':'\ntimeout=1.5",
        &["must be a length of time such as \"30s\", not a number with a point"],
        true,
    ),
    ("name = 's'\n[[test]]\nname='t'\nshell=':'\ncpu_limit=5", &["a unit is missing"], true),
    ("name = 's'\n[[test]]\nname='t'\nshell=':'\ncpu_limit='1ms'", &["10ms"], false),
    (
        "name = 's'\n[[test]]\nname='t'\nshell=':'\nbudget={role='cc', group_peak='1MiB'}",
        &["`group_peak`", "a control group is counted as a whole"],
        true,
    ),
    (
        "name = 's'\n[[test]]\nname='t'\nshell=':'\nbudget={role='cc', shmem_peak='1MiB'}",
        &["`shmem_peak`", "without `role`"],
        true,
    ),
    ("name = 's'\n[[test]]\nname='t'\nshell=':'\nmemory_limit=64", &["write \"64MiB\""], true),
    ("name = 's'\n[[test]]\nname='t'\nshell=':'\nmemory_limit='64M'", &["not a size"], true),
    ("name = 's'\n[[test]]\nname='t'\nshell=':'\nmemory_limit='0B'", &["must be above 0"], false),
    (
        "name = 's'\n[[test]]\nname='t'\nshell=':'\nmemory_limit='99999999TiB'",
        &["too large a size"],
        false,
    ),
    (
        "name = 's'\n[[test]]\nname='t'\nshell=':'\nsandbox='docker'",
        &["not a sandbox", "`lxc:NAME`"],
        true,
    ),
    (
        "name = 's'\n[[test]]\nname='t'\nshell=':'\nsandbox='lxc:../../etc'",
        &["not a sandbox"],
        true,
    ),
    ("name = 's'\n[[test]]\nname='t'\nshell=':'\nsandbox='lxc:'", &["not a sandbox"], true),
    (
        "name = 's'\n[[test]]\nname='t'\nshell=':'\nenv={A=1}",
        &["`A` of `env` of test `t`: must be a text", "put it in quotes"],
        true,
    ),
    (
        "name = 's'\n[[test]]\nname='t'\nshell=':'\nenv={'A=B'='c'}",
        &["not a name of a variable"],
        true,
    ),
    ("name = 's'\n[[test]]\nname='t'\nshell=':'\nenv='A=1'", &["must be a table such as"], true),
    (
        "name = 's'\n[[test]]\nname='t'\nshell=':'\nexpect_exit=256",
        &["must be from 0 to 255, not 256"],
        true,
    ),
    (
        "name = 's'\n[[test]]\nname='t'\nshell=':'\nexpect_exit=[]",
        &["must name an exit code"],
        true,
    ),
    (
        "name = 's'\n[[test]]\nname='t'\nshell=':'\nrepeat=0",
        &["`repeat` of test `t`: must be from 1 to 10000, not 0"],
        true,
    ),
    (
        "name = 's'\n[[test]]\nname='t'\nshell=':'\nrepeat=99999999999999999999",
        &["a number too large"],
        false,
    ),
    (
        "name = 's'\n[[test]]\nname='t'\nshell=':'\nretries=-1",
        &["must be from 0 to 100, not -1"],
        true,
    ),
    (
        "name = 's'\n[[test]]\nname='t'\nshell=':'\nnetwork='yes'",
        &["must be true or false, not a text"],
        true,
    ),
    (
        "name = 's'\n[[test]]\nname='t'\nshell=':'\ntags='slow'",
        &["must be a list of texts, not a text", "write [\"slow\"]"],
        true,
    ),
    (
        "name = 's'\n[[test]]\nname='t'\nshell=':'\nartifacts=['/etc/*']",
        &["leads out of `cwd`"],
        true,
    ),
    (
        "name = 's'\n[[test]]\nname='t'\nshell=':'\nartifacts=['a/../../b']",
        &["leads out of `cwd`"],
        true,
    ),
    ("name = 's'\n[[test]]\nname='t'\nshell=':'\nartifacts=['a[']", &["not a glob"], false),
    (
        "name = 's'\n[[test]]\nname='t'\nshell=':'\nbudget={}",
        &["the budget of test `t` bounds nothing", "`rss_peak`"],
        true,
    ),
    (
        "name = 's'\n[[test]]\nname='t'\nshell=':'\nleak=true",
        &["`leak` of test `t` must be a table"],
        true,
    ),
    (
        "name = 's'\n[[test]]\nname='t'\nshell=':'\nleak={action='stop'}",
        &["`action` of `leak` of test `t`: must be \"fail\" or \"warn\""],
        true,
    ),
    (
        "name = 's'\n[[test]]\nname='t'\nshell=':'\nbudget={rss='1MiB'}",
        &["unknown key `rss` in the budget of test `t`"],
        true,
    ),
    (
        "name = 's'\n[[test]]\nname='t'\nshell=':'\nbudget={rss_peak='1MiB', action='stop'}",
        &["must be \"fail\" or \"warn\""],
        true,
    ),
    (
        "name = 's'\n[[test]]\nname='t'\nshell=':'\nsetup={shell=':', run_as='x'}",
        &["unknown key `run_as` in the setup of test `t`"],
        true,
    ),
    (
        "name = 's'\n[[test]]\nname='t'\nshell=':'\n[[test]]\nname='t'\nshell=':'",
        &["6:6: a second test `t`", "the first is in line 3"],
        false,
    ),
    (
        "name = 's'\n[[test]]\nname='t'\nshell=':'\nrequires=['t']",
        &["test `t` requires itself"],
        false,
    ),
    (
        "name = 's'\n[[test]]\nname='parser'\nshell=':'\n[[test]]\nname='t'\nshell=':'\nrequires=['praser']",
        &["8:11: test `t` requires `praser`, which is not a test", "did you mean `parser`?"],
        false,
    ),
    (
        "name = 's'\n[[test]]\nname='a'\nshell=':'\nrequires=['b']\n[[test]]\nname='b'\nshell=':'\nrequires=['c']\n[[test]]\nname='c'\nshell=':'\nrequires=['b']",
        &["tests require each other in a circle: `b` and `c`"],
        false,
    ),
    ("name = 's'\n[[test]]\nname='a\\nb'\nname='t'", &["4:1: not TOML"], false),
    ("name = \"s\n", &["1:10: not TOML"], false),
    (
        "name = 's'\n[[test]]\nname=\"a\\nb\"\nshell=':'",
        &["`name` of test `a\\nb`: must not contain the control character `\\n`"],
        true,
    ),
    ("name = 's'\n[[test]]\nname=' t'\nshell=':'", &["must not begin or end with a space"], false),
];
