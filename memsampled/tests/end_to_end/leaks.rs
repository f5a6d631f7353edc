//! Programs whose memory is known, judged as a user does it. Slow: a minute.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use memsample::Recording;
use memsample::analysis::{attempt_roles, sums_over_time};
use serde_json::Value;
use tempfile::tempdir;

use crate::command::{Running, memsample, shell, wait_for};
use crate::report_outputs::{check_json, check_junit, check_results};

/// Requests of 20 seconds, 100 in a second: `serve(request)` is what each program does.
const LOOP: &str = "
import gc, os, sys, time
kept = []
begin = time.monotonic()
def every(seconds, serve):
    for request in range(int(20 / seconds)):
        serve(request)
        time.sleep(max(0, begin + (request + 1) * seconds - time.monotonic()))
";

/// A name, whether it leaks, and the program.
const PROGRAMS: [(&str, bool, &str); 5] = [
    // 1 KiB a request, and ten thousand of them in a second: they come a hundred at a time. It says how many bytes
    // it has kept and when, since it is slower on a busy machine.
    (
        "keeps 1 KiB of a request",
        true,
        "
served = []
def serve(request):
    kept.extend(bytearray(1000) for _ in range(100))
    if request % 5 == 0: served.append(time.time())
every(.01, serve)
with open('served.csv', 'w') as file:
    file.write('time_s,bytes\\n')
    for number, at in enumerate(served): file.write(f'{at},{1000 * (500 * number + 100)}\\n')",
    ),
    // The same within a bound that is reached after four seconds.
    (
        "caches up to a bound",
        false,
        "every(.01, lambda request: len(kept) < 40000 and kept.extend(bytearray(1000) for _ in range(100)))",
    ),
    // Cycles, which are only freed by the collector.
    (
        "has its garbage collected",
        false,
        "
gc.set_threshold(1000, 5, 5)
class Node: pass
def serve(request):
    for _ in range(40):
        node = Node()
        node.itself = node
        node.body = bytearray(2000)
every(.01, serve)",
    ),
    // The same, and one in ten is kept.
    (
        "keeps some of its garbage",
        true,
        "
gc.set_threshold(1000, 5, 5)
class Node: pass
def serve(request):
    for number in range(40):
        node = Node()
        node.itself = node
        node.body = bytearray(2000)
        if number % 10 == 0: kept.append(node)
every(.01, serve)",
    ),
    (
        "holds what it has",
        false,
        "kept = bytearray(os.urandom(1 << 20) * 30)\nevery(.01, lambda request: bytearray(10000))",
    ),
];

/// What leaks and is above a budget too: the budget is said first, and the leak is judged all the same.
const OVER_BUDGET: usize = 3;

/// Writes a suite of these programs, each with setup and cleanup that use more than it does, and the policy by which the
/// first one is judged.
fn write_suite(path: &Path) {
    let mut suite = "name = \"soak\"\n[defaults]\nsandbox = \"none\"\n".to_owned();
    for (index, (name, _, program)) in PROGRAMS.iter().enumerate() {
        fs::write(path.join(format!("program{index}.py")), format!("{LOOP}{program}\n")).unwrap();
        let step = "{ shell = \"exec /usr/bin/python3 -S -c 'import time; a = bytes(300 << 20); time.sleep(.3)'\" }";
        let leak = if index == 0 { "" } else { "leak = {}\n" };
        let budget = match index {
            OVER_BUDGET => "{ anon_peak = \"1MiB\" }",
            _ => "{ anon_peak = \"1GiB\", action = \"warn\" }",
        };
        write!(
            suite,
            "[[test]]\nname = \"{name}\"\ncommand = [\"/usr/bin/python3\", \"-S\", \"program{index}.py\"]\n\
             setup = {step}\ncleanup = {step}\nmemory_limit = \"2GiB\"\n{leak}budget = {budget}\n"
        )
        .unwrap();
    }
    fs::write(path.join("suite.toml"), suite).unwrap();
    fs::write(path.join("policy.toml"), "[[leak]]\ntest = \"keeps 1 KiB*\"\n").unwrap();
}

#[test]
fn slow_programs_that_leak_are_told_from_those_that_do_not() {
    let directory = tempdir().unwrap();
    let path = directory.path();
    write_suite(path);
    let arguments = [
        "run",
        "suite.toml",
        "--interval",
        "20ms",
        "--jobs",
        "5",
        "--name",
        "soak",
        "--policy",
        "policy.toml",
    ];
    let ended = memsample(path, &arguments);
    assert_eq!(ended.code, Some(10), "{}{}", ended.stdout, ended.stderr);
    let run = path.join(ended.stdout.lines().last().unwrap());
    let results = check_results(&fs::read(run.join("results.json")).unwrap());
    let junit = fs::read(run.join("junit.xml")).unwrap();
    check_junit(&junit).unwrap();
    assert!(String::from_utf8(junit).unwrap().contains("<failure type=\"leaked\""));
    let found = memsample(path, &["leaks", "soak", "--json"]);
    assert_eq!(found.code, Some(20), "{}", found.stderr);
    let found = check_json("leaks", found.stdout.as_bytes());
    let tests = results["tests"].as_array().unwrap();
    for (index, ((name, leaks, _), test)) in PROGRAMS.iter().zip(tests).enumerate() {
        let word = match index {
            OVER_BUDGET => "over_budget",
            _ if *leaks => "leaked",
            _ => "passed",
        };
        assert_eq!(
            (&test["name"], &test["outcome"]),
            (&Value::from(*name), &Value::from(word)),
            "{test:#}"
        );
        let of_role = |judgements: &Value, role: &str| {
            let mut all = judgements.as_array().unwrap().iter();
            all.find(|it| it["role"].as_str().is_some_and(|it| it.contains(role))).cloned()
        };
        // The run and the command say the same of the same rows.
        let judged = of_role(&test["leaks"], "program")
            .unwrap_or_else(|| panic!("{name}: {:#} {}", test["leaks"], test["notes"]));
        let told = found["judgements"].as_array().unwrap().iter();
        let told = Value::from(told.filter(|it| it["test"] == *name).cloned().collect::<Vec<_>>());
        let told = of_role(&told, "program").unwrap();
        assert_eq!(told["verdict"], judged["verdict"], "{told:#}");
        assert_eq!(told["verdict"] == "leaks", *leaks, "{told:#}");
        assert_eq!(told["limit"], "budget");
        if *leaks {
            let soonest = told["reached_in_hours_lower"].as_f64().unwrap();
            assert!(soonest <= told["reached_in_hours_upper"].as_f64().unwrap(), "{told:#}");
        }
    }
    // 10,000 requests in a second, 1 KiB each and what Python adds to it: 1000 bytes are 1057 with its header.
    let worst = found["judgements"].as_array().unwrap().iter().find(|it| it["role"].is_string());
    let worst = worst.unwrap();
    let rate = worst["rate_bytes_per_hour"].as_f64().unwrap();
    let served = memsample(path, &["leaks", "--series", "served.csv", "--json"]);
    let served = check_json("leaks", served.stdout.as_bytes());
    let each = 1000.0 * rate / served["rate_bytes_per_hour"].as_f64().unwrap();
    assert!((1000.0..1200.0).contains(&each), "{each} bytes for each request");
    the_series_of_a_role_is_judged_the_same(path, &run, worst);
    a_person_reads(path);
}

/// What the recording says of a role, as a file.
#[track_caller]
fn the_series_of_a_role_is_judged_the_same(path: &Path, run: &Path, told: &Value) {
    let (recording, _) = Recording::open(&run.join("recording")).unwrap();
    let roles = attempt_roles(&recording).unwrap();
    let is_it = |role: &&memsample::analysis::AttemptRole| {
        told["test"] == role.test && told["role"] == role.role
    };
    let role = roles.iter().find(is_it).unwrap();
    let groups = role.images.iter().map(|image| (*image, vec![0])).collect();
    let mut csv = "time_s,bytes\n".to_owned();
    sums_over_time(&recording, &groups, |it| {
        let bytes = it.sums.anon_bytes + it.sums.swap_bytes;
        writeln!(csv, "{},{bytes}", it.ts_ms as f64 / 1000.0).unwrap();
    })
    .unwrap();
    fs::write(path.join("role.csv"), csv).unwrap();
    let ended = memsample(path, &["leaks", "--series", "role.csv", "--json", "--limit", "100GiB"]);
    assert_eq!(ended.code, Some(20), "{}", ended.stderr);
    let series = check_json("leaks", ended.stdout.as_bytes());
    assert_eq!(series["verdict"], told["verdict"]);
    let (one, other) = (&series["rate_bytes_per_hour"], &told["rate_bytes_per_hour"]);
    assert!((one.as_f64().unwrap() / other.as_f64().unwrap() - 1.0).abs() < 0.02, "{one} {other}");
}

#[track_caller]
fn a_person_reads(path: &Path) {
    let ended = memsample(path, &["leaks", "soak"]);
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert!(lines[0].starts_with("VERDICT"), "{}", ended.stdout);
    assert!(lines[1].starts_with("leaks        keeps 1 KiB of a request, "), "{}", ended.stdout);
    assert!(ended.stdout.contains("it reaches its budget of 1.0 GiB "), "{}", ended.stdout);
    let last = lines.last().unwrap();
    assert!(last.contains(" leaks, ") && last.ends_with(" steady"), "{}", ended.stdout);
    let all = memsample(path, &["leaks", "soak", "--all"]).stdout;
    assert!(all.contains("\nsteady       holds what it has, "), "{all}");
    // Of the whole recording, every role of the machine is judged.
    let whole = memsample(path, &["leaks", "soak", "--whole", "--all", "--json"]);
    let whole = check_json("leaks", whole.stdout.as_bytes());
    assert!(whole["judgements"].as_array().unwrap().iter().all(|it| it["test"].is_null()));
}

#[test]
fn slow_marks_that_repeat_count_cycles() {
    let directory = tempdir().unwrap();
    let path = directory.path();
    let program = "
import os, subprocess, time
kept = []
for request in range(20):
    subprocess.run([os.environ['MEMSAMPLE'], 'mark', 'point', 'request', '--test', 'soak'], check=True, stdout=subprocess.DEVNULL)
    for _ in range(25):
        kept.append(bytearray(40000))
        time.sleep(.01)
";
    fs::write(path.join("soak.py"), program).unwrap();
    let line = "$MEMSAMPLE session --socket $PWD/socket --interval 10ms --name cycles -- \
         $MEMSAMPLE exec --test soak -- /usr/bin/python3 -S soak.py";
    let ended = shell(path, line);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let ended = memsample(path, &["leaks", "cycles", "--json"]);
    let found = check_json("leaks", ended.stdout.as_bytes());
    let mut judgements = found["judgements"].as_array().unwrap().iter();
    let judged =
        judgements.find(|it| it["role"] == "soak.py").unwrap_or_else(|| panic!("{found:#}"));
    assert_eq!((&judged["test"], &judged["cycle_mark"]), (&"soak".into(), &"request".into()));
    assert_eq!(judged["verdict"], "leaks", "{judged:#}");
    // A million bytes for each request, and what Python and malloc add to it.
    let rate = judged["rate_bytes_per_cycle"].as_f64().unwrap();
    assert!((0.97e6..1.06e6).contains(&rate), "{judged:#}");
    let ended = memsample(path, &["leaks", "cycles"]);
    assert!(ended.stdout.contains(" for each mark `request`"), "{}", ended.stdout);
}

#[test]
fn a_recording_that_is_short_or_goes_on_or_is_damaged_says_so() {
    let directory = tempdir().unwrap();
    let path = directory.path();
    let ended =
        memsample(path, &["record", "--name", "one", "--duration", "1ms", "--interval", "1s"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let ended = memsample(path, &["leaks", "one"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("with fewer than 240 samples: cannot tell"), "{}", ended.stdout);
    let ended = memsample(path, &["leaks", "one", "--json"]);
    let found = check_json("leaks", ended.stdout.as_bytes());
    assert_eq!(found["outcome"], "none");
    assert!(
        found["judgements"].as_array().unwrap().iter().all(|it| it["verdict"] == "cannot_tell")
    );

    let running = Running::start(path, &["record", "--name", "goes-on"]);
    let link = path.join("recordings/goes-on/recording.json");
    wait_for("the recording", || link.exists().then_some(()));
    let ended = memsample(path, &["leaks", "goes-on"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("still being written"), "{}", ended.stderr);
    running.signal("TERM");
    running.wait();

    let one = fs::canonicalize(path.join("recordings/one")).unwrap();
    let samples = one.read_dir().unwrap().map(|it| it.unwrap().path());
    let samples: Vec<_> = samples
        .filter(|it| it.file_name().unwrap().to_str().unwrap().starts_with("samples"))
        .collect();
    fs::write(&samples[0], "PAR1 and no more").unwrap();
    let ended = memsample(path, &["leaks", "one"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert!(ended.stderr.contains("is damaged"), "{}", ended.stderr);
    for absent in ["absent", "/dev/null", "."] {
        let ended = memsample(path, &["leaks", absent]);
        assert_eq!(ended.code, Some(1), "{absent}: {}", ended.stderr);
        assert!(ended.stderr.contains("is not a recording"), "{absent}: {}", ended.stderr);
    }
    assert_eq!(memsample(path, &["leaks", "one", "--series", "x.csv"]).code, Some(2));
    assert_eq!(memsample(path, &["leaks", "--limit", "5"]).code, Some(2));
}

#[test]
fn files_that_are_no_series_say_why() {
    let directory = tempdir().unwrap();
    let path = directory.path();
    let files: [(&str, &[u8], &str); 5] = [
        ("empty.csv", b"", "`empty.csv` is no series: the file is empty"),
        ("text.csv", b"time_s,bytes\n1,2\n2,much\n", "line 3: bytes is not a number: \"much\""),
        ("nan.csv", b"time_s,bytes\n1,NaN\n", "line 2: a number is infinite or not a number"),
        ("unsorted.csv", b"time_s,bytes\n2,1\n1,1\n", "line 3: the time is not later"),
        ("semicolons.csv", b"time_s;bytes\n2;1\n", "separated by commas"),
    ];
    for (name, bytes, message) in files {
        fs::write(path.join(name), bytes).unwrap();
        let ended = memsample(path, &["leaks", "--series", name, "--json"]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{name}");
        assert!(ended.stderr.contains(message), "{name}: {}", ended.stderr);
    }
    for (name, message) in [
        (".", "cannot be read: Is a directory"),
        ("absent.csv", "cannot open `absent.csv`"),
        ("/dev/zero", "a line is longer than 64 KiB"),
    ] {
        let ended = memsample(path, &["leaks", "--series", name]);
        assert_eq!(ended.code, Some(1), "{name}");
        assert!(ended.stderr.contains(message), "{name}: {}", ended.stderr);
    }
    // A pipe is read, with a byte order mark and gaps.
    let line = "{ printf '\\357\\273\\277time_s,bytes\\r\\n'; \
         seq 500 | awk '{ print $1 \",\" ($1 > 200 && $1 < 220 ? \"\" : 1e6 * $1) \"\\r\" }'; } | \
         $MEMSAMPLE leaks --series - --limit 1GiB";
    let ended = shell(path, line);
    assert_eq!(ended.code, Some(20), "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.starts_with("leaks: it grows all the time"), "{}", ended.stdout);
    assert!(ended.stdout.contains("19 rows without bytes"), "{}", ended.stdout);
    assert!(ended.stdout.contains("it reaches the limit of 1.0 GiB"), "{}", ended.stdout);
}
