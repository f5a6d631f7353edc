//! Tests whose processes a sampler hardly sees: on a busy machine, too, what is said of them is true.
//!
//! `benches/no_false_word.py` is the same at length.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::running::{LONG, command, isolated, options, results, suite};
use memsample_runner::results::{BudgetVerdict, Outcome};
use memsample_runner::suite::{Action, Budget, Quantity, Sandbox, Test};
use tempfile::tempdir;

const MIB: u64 = 1 << 20;
const PYTHON: &str = "/usr/bin/python3";

/// What each program begins with.
const HOLD: &str = "import os, sys, time
def hold(mib, s):
    b = bytearray(mib << 20)
    for i in range(0, len(b), 4096): b[i] = 1
    time.sleep(s)
";

/// A program, and the least and the largest peak that it can have, in MiB.
const PROGRAMS: [(&str, &str, u64, u64); 4] = [
    (
        "double fork",
        "r, w = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork(): os._exit(0)
    hold(200, .4); os.write(w, b'x'); os._exit(0)
os.wait(); os.close(w); os.read(r, 1)",
        200,
        250,
    ),
    (
        "chain",
        "r, w = os.pipe()
if os.fork() == 0:
    for i in range(100):
        if os.fork(): os._exit(0)
    hold(200, .4); os.write(w, b'x'); os._exit(0)
os.wait(); os.close(w); os.read(r, 1)",
        200,
        1300,
    ),
    (
        "late exec",
        "b = bytearray(60 << 20)
for i in range(0, len(b), 4096): b[i] = 1
if os.fork() == 0:
    time.sleep(.4); os.execv('/bin/true', ['true'])
os.wait()",
        60,
        95,
    ),
    (
        "brief",
        "if os.fork() == 0:
    b = bytearray(100 << 20)
    for i in range(0, len(b), 4096): b[i] = 1
    os._exit(0)
os.wait(); time.sleep(.2)",
        100,
        130,
    ),
];

/// Loops that keep the machine busy until they are dropped.
struct BusyLoops(Vec<Child>);

impl BusyLoops {
    fn start(count: usize) -> Self {
        let start = |_| Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        Self((0..count).map(start).collect())
    }
}

impl Drop for BusyLoops {
    fn drop(&mut self) {
        for child in &mut self.0 {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

fn python(name: &str, program: &str) -> Test {
    command(name, &[PYTHON, "-S", "-c", &format!("{HOLD}{program}")])
}

#[test]
fn slow_no_word_is_false_beside_busy_loops() {
    let directory = tempdir().unwrap();
    let tests = PROGRAMS.iter().flat_map(|&(name, program, least, most)| {
        (0..3).map(move |attempt| {
            // It is exceeded if half of the least is the limit, and kept with what is above the most.
            let budget = |limit_mib: u64| Budget {
                role: None,
                quantity: Quantity::RssPeak,
                limit_bytes: limit_mib * MIB,
                action: Action::Warn,
            };
            let test = python(&format!("{name} {attempt}"), program);
            Test { budgets: vec![budget(least / 2), budget(most)], ..test }
        })
    });
    let suite = suite(tests.collect());
    let mut options = options(directory.path());
    // Who holds memory says so before it ends, and beside the loops it takes a while until all of that is freed.
    options.settle = LONG;
    let loops = BusyLoops::start(4);
    let results = results(&suite, &options);
    drop(loops);
    for result in results {
        assert_eq!(result.outcome, Outcome::Passed, "{result:#?}");
        let (.., least, most) =
            *PROGRAMS.iter().find(|(name, ..)| result.test.test.starts_with(name)).unwrap();
        let verdicts: Vec<_> = result.budgets.iter().map(|budget| budget.verdict).collect();
        assert_ne!(verdicts[0], BudgetVerdict::Kept, "{result:#?}");
        assert_ne!(verdicts[1], BudgetVerdict::Exceeded, "{result:#?}");
        let peak = result.memory.as_ref().unwrap().rss_peak().unwrap();
        assert!(peak.lower <= most * MIB, "{result:#?}");
        assert!(peak.upper.is_none_or(|upper| upper >= least * MIB), "{result:#?}");
    }
}

/// How the kernel tells less: without the right to exit records, and in another user namespace, without forks too.
const WITHOUT_RIGHTS: [&str; 2] =
    ["setpriv --bounding-set=-net_admin --inh-caps=-net_admin", "unshare --user --map-root-user"];

#[test]
fn slow_without_exit_records_a_background_is_of_its_test_and_nothing_is_kept_for_certain() {
    let directory = tempdir().unwrap();
    let write = |name: &str, text: String| {
        std::fs::write(directory.path().join(name), text).unwrap();
    };
    // On a busy machine it takes its time until it holds anything.
    write("hold.py", format!("{HOLD}hold(200, 1.5); open(sys.argv[1], 'w')\n"));
    let (_, double_fork, ..) = PROGRAMS[0];
    write("fork.py", format!("{HOLD}{}\n", double_fork.replace(".4", "1.5")));
    let mut text = "name = 'rights'\n".to_owned();
    for sandbox in ["none", "pidns"] {
        let common =
            format!("sandbox = '{sandbox}'\nrepeat = 2\nbudget = {{ rss_peak = '50MiB' }}");
        text += &format!(
            "[[test]]\nname = 'background {sandbox}'\nshell = '({PYTHON} -S hold.py $$.end &); while [ ! -e $$.end ]; do sleep .1; done; rm $$.end'\n{common}\n\
             [[test]]\nname = 'fork {sandbox}'\ncommand = ['{PYTHON}', '-S', 'fork.py']\n{common}\n"
        );
    }
    write("suite.toml", text);
    for (number, without) in WITHOUT_RIGHTS.into_iter().enumerate() {
        let line = format!("{without} $MEMSAMPLE run suite.toml --out {number}");
        let ended = crate::command::shell(directory.path(), &line);
        let mut runs = std::fs::read_dir(directory.path().join(number.to_string())).unwrap();
        let run = runs.next().unwrap_or_else(|| panic!("{}", ended.stderr)).unwrap();
        let results = std::fs::read(run.path().join("results.json")).unwrap();
        let results: serde_json::Value = serde_json::from_slice(&results).unwrap();
        let tests = results["tests"].as_array().unwrap();
        let attempts = tests.iter().flat_map(|test| test["attempts"].as_array().unwrap());
        assert_eq!(attempts.clone().count(), 8, "{without}: {results:#}");
        for attempt in attempts {
            let memory = &attempt["memory"];
            assert!(memory["rss_peak_bytes"].as_u64() > Some(200 * MIB), "{without}: {attempt:#}");
            // Of a process that lives between two ticks nothing is known.
            assert!(memory["rss_peak_bytes_upper"].is_null(), "{without}: {attempt:#}");
            assert_eq!(attempt["budgets"][0]["verdict"], "exceeded", "{without}: {attempt:#}");
        }
    }
}

#[test]
fn who_joins_the_control_group_of_a_test_is_of_it_though_another_forked_it() {
    let memory = std::path::Path::new("/sys/fs/cgroup/memory");
    if !memory.join("memory.limit_in_bytes").exists() || !rustix::process::geteuid().is_root() {
        return;
    }
    let directory = tempdir().unwrap();
    let (group, joined) = (directory.path().join("group"), directory.path().join("joined"));
    // It tells its group, and stays until somebody has been there.
    let program = format!(
        "own = [line.split(':')[2] for line in open('/proc/self/cgroup') if ':memory:' in line][0]
with open('{group}.part', 'w') as file: file.write(own.strip())
os.rename('{group}.part', '{group}')
while not os.path.exists('{joined}'): time.sleep(.01)
time.sleep(.3)",
        group = group.display(),
        joined = joined.display(),
    );
    let joins = {
        let (group, joined) = (group.clone(), joined.clone());
        std::thread::spawn(move || {
            let until = Instant::now() + Duration::from_secs(60);
            while !group.exists() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(5));
            }
            let path = std::fs::read_to_string(&group).unwrap();
            // Forked here, and no descendant of the test.
            let line = format!(
                "echo $$ > /sys/fs/cgroup/memory{path}/cgroup.procs; exec {PYTHON} -S -c \"$1\""
            );
            let program = format!("{HOLD}hold(100, .5)");
            let status = Command::new("sh").args(["-c", &line, "sh", &program]).status().unwrap();
            std::fs::write(&joined, "").unwrap();
            status
        })
    };
    // With a budget, it has a recording of its own.
    let budget = Budget {
        role: None,
        quantity: Quantity::RssPeak,
        limit_bytes: 50 * MIB,
        action: Action::Warn,
    };
    let test = Test { budgets: vec![budget], ..python("joined", &program) };
    let suite = suite(vec![isolated(test, Sandbox::None)]);
    let results = results(&suite, &options(directory.path()));
    assert!(joins.join().unwrap().success());
    let [result] = &*results else { panic!("{results:#?}") };
    assert_eq!(result.budgets[0].verdict, BudgetVerdict::Exceeded, "{result:#?}");
    assert!(result.memory.as_ref().unwrap().rss_peak().unwrap().lower > 100 * MIB, "{result:#?}");
}

#[test]
fn what_lives_on_after_its_first_thread_is_left_over_and_ends() {
    let directory = tempdir().unwrap();
    // The system call ends the calling thread alone.
    let program = "import ctypes, threading
if os.fork(): time.sleep(.5); os._exit(0)
os.setsid()
threading.Thread(target=time.sleep, args=(1000,)).start()
ctypes.CDLL(None).syscall(60, 0)";
    let tests = [Sandbox::PidNamespace, Sandbox::None]
        .map(|sandbox| isolated(python(&format!("{sandbox:?}"), program), sandbox));
    let began = Instant::now();
    let results = results(&suite(tests.into()), &options(directory.path()));
    assert!(began.elapsed() < Duration::from_secs(60));
    for result in results {
        assert_eq!(result.outcome, Outcome::LeftOver, "{result:#?}");
        let [left] = &*result.left_over_processes else { panic!("{result:#?}") };
        assert!(left.rss_bytes > Some(MIB), "{result:#?}");
        let status = std::fs::read_to_string(format!("/proc/{}/comm", left.pid));
        assert!(status.is_err(), "{result:#?}");
        assert!(result.notes.is_empty(), "{result:#?}");
    }
}
