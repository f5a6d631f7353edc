//! What else is inherited: ignored signals, limits, niceness, umask, names that are not UTF-8, and the place of PID 1.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use memsample::cgroups::{Hierarchies, OwnGroup, own_groups};
use rustix::process::{Signal, geteuid};

use crate::command::{MEMSAMPLE, shell, wait_for};
use crate::daemon::{Daemon, MEMSAMPLED};

/// A suite with a test that fails.
const SUITE: &str = "name = \"s\"\n[[test]]\nname = \"bad\"\nshell = \"exit 3\"\n";

/// A user that no other test is, so that the limit of processes counts those of this one.
const USER: &str = "54321";

/// Commands that do something of their own, and the exit code of that.
const OWN: [(&str, i32); 7] = [
    ("schema", 0),
    ("summary x", 0),
    ("peaks x", 0),
    ("view", 0),
    ("ls", 0),
    ("record --duration 100ms", 0),
    ("run suite.toml", 10),
];

/// Commands that run a command, which must end as it does without them, whatever happens to the recording.
const WRAPPERS: [&str; 4] = ["record --", "session --", "exec --", "exec --socket s --test t --"];

/// Runs a line of shell, and returns what a process that is not a shell sees of it.
fn run(directory: &Path, line: &str) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", line]).env("MEMSAMPLE", MEMSAMPLE).env("MEMSAMPLE_CONFIG", "");
    command.env("MEMSAMPLED", MEMSAMPLED).env_remove("MEMSAMPLED_CONFIG");
    command.current_dir(directory).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A directory with a recording, a suite and a daemon.
fn place() -> Daemon {
    let daemon = Daemon::start();
    let at = daemon.directory.path();
    std::fs::write(at.join("suite.toml"), SUITE).unwrap();
    assert_eq!(run(at, "$MEMSAMPLE record --name x --duration 100ms").status.code(), Some(0));
    daemon
}

/// Checks that a command, of which a limit may keep its work, does it or says in words why not.
#[track_caller]
fn ends_clearly(limit: &str, line: &str, ended: &Output, code: i32) {
    let stderr = text(&ended.stderr);
    let context = format!("{limit}; {line}: {:?} {stderr}", ended.status);
    assert_eq!(ended.status.signal(), None, "{context}");
    assert!(!stderr.contains("panicked") && !stderr.contains("memory allocation"), "{context}");
    if ended.status.code() == Some(code) {
        return;
    }
    // The program did not even begin.
    let loader = stderr.contains("error while loading shared libraries");
    assert!(
        (loader && ended.status.code() == Some(127))
            || matches!(ended.status.code(), Some(1 | 4 | 5)),
        "{context}"
    );
    assert!(loader || stderr.contains("ulimit"), "{context}");
}

/// Returns the address space that the kernel maps for a program: to the end of its last segment (ELF, 64 bits).
fn mapped_bytes(program: &str) -> u64 {
    let file = std::fs::read(program).unwrap();
    let number = |at: usize, bytes: usize| {
        let mut number = [0; 8];
        number[..bytes].copy_from_slice(&file[at..at + bytes]);
        u64::from_le_bytes(number)
    };
    let (headers, count) = (number(32, 8), number(56, 2));
    let headers = (0..count).map(|index| usize::try_from(headers + index * 56).unwrap());
    let loaded = headers.filter(|&at| number(at, 4) == 1);
    loaded.map(|at| number(at + 16, 8) + number(at + 40, 8)).max().unwrap()
}

#[test]
fn slow_limits_are_an_end_in_words() {
    let daemon = place();
    let at = daemon.directory.path();
    // Without what whoever runs the tests has left open.
    let none = "exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-";
    let files = [4, 5, 6, 8, 12, 16, 24, 32, 48].map(|count| format!("{none}; ulimit -n {count}"));
    let sizes = [1, 8, 64, 300].map(|blocks| format!("ulimit -f {blocks}"));
    // Without room for its own pages and those of its shared libraries a program is ended before its first instruction.
    let own_mib = [MEMSAMPLE, MEMSAMPLED].map(mapped_bytes).into_iter().max().unwrap() >> 20;
    let spaces = [64, 72, 80, 88, 96, 104, 128].into_iter().filter(|mib| *mib > own_mib + 8);
    let spaces: Vec<_> = spaces.map(|mib| format!("ulimit -v {}", mib * 1024)).collect();
    assert!(!spaces.is_empty());
    // From what no thread fits in to what a recording has room in.
    let data = [4, 8, 12, 20, 40, 200].map(|mib| format!("ulimit -d {}", mib * 1024));
    let stacks = [48, 64, 128, 512].map(|kib| format!("ulimit -s {kib}"));
    let limits = files.iter().chain(&sizes).chain(&spaces).chain(&data).chain(&stacks);
    for limit in limits {
        for (line, code) in OWN {
            let ended = run(at, &format!("{limit}; exec $MEMSAMPLE {line}"));
            ends_clearly(limit, line, &ended, code);
        }
        for wrapper in WRAPPERS {
            let ended = run(at, &format!("{limit}; exec $MEMSAMPLE {wrapper} sh -c 'exit 3'"));
            let context = format!("{limit}; {wrapper}: {}", text(&ended.stderr));
            assert_eq!(ended.status.code(), Some(3), "{context}");
            assert!(!context.contains("panicked"), "{context}");
        }
        let line = "--socket t --recordings of-limits";
        let ended = run(at, &format!("{limit}; exec timeout -s TERM 0.3 $MEMSAMPLED {line}"));
        // 124 is what `timeout` says of a daemon that served until then.
        ends_clearly(limit, "memsampled", &ended, 124);
    }
}

#[test]
fn slow_a_limit_of_processes_keeps_no_command_from_running_and_makes_nothing_panic() {
    if !geteuid().is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    std::fs::set_permissions(at, std::fs::Permissions::from_mode(0o777)).unwrap();
    std::fs::write(at.join("suite.toml"), SUITE).unwrap();
    let user = format!("setpriv --reuid {USER} --regid {USER} --clear-groups --bounding-set -all");
    for count in 1..=12 {
        let limited = |line: &str| run(at, &format!("{user} sh -c \"ulimit -u {count}; {line}\""));
        for wrapper in WRAPPERS {
            let ended = limited(&format!("exec $MEMSAMPLE {wrapper} sh -c 'exit 3'"));
            let context = format!("{count} {wrapper}: {}", text(&ended.stderr));
            assert_eq!(ended.status.code(), Some(3), "{context}");
            assert!(!context.contains("panicked"), "{context}");
        }
        let ended = limited("exec $MEMSAMPLE record --duration 100ms");
        ends_clearly(&format!("ulimit -u {count}"), "record", &ended, 0);
        let line = "exec timeout -s TERM 1 $MEMSAMPLED --socket t --recordings of-daemon";
        let ended = run(at, &format!("{user} prlimit --nproc={} {}", count + 1, &line[5..]));
        let stderr = text(&ended.stderr);
        assert!(!stderr.contains("panicked"), "{count}: {stderr}");
        assert_eq!(ended.status.code(), Some(124), "{count}: {stderr}");
    }
}

#[test]
fn a_command_inherits_what_it_does_without_memsample() {
    let daemon = place();
    let at = daemon.directory.path();
    let shows =
        "sh -c 'umask; nice; ulimit -a; grep -E \"^Sig(Ign|Blk)\" /proc/self/status; echo $0' a";
    let conditions = [
        "true",
        "umask 027; ulimit -c 0; ulimit -n 200; ulimit -f 100000; ulimit -s 4096",
        "trap '' HUP",
        "trap '' INT QUIT",
        "trap '' TERM USR1 USR2 XFSZ ALRM",
    ];
    for condition in conditions {
        let plain = run(at, &format!("{condition}; exec nice -n 3 {shows}"));
        assert!(plain.status.success());
        for wrapper in WRAPPERS {
            let ended =
                run(at, &format!("{condition}; exec nice -n 3 $MEMSAMPLE {wrapper} {shows}"));
            assert_eq!(text(&ended.stdout), text(&plain.stdout), "{condition}; {wrapper}");
        }
    }
}

#[test]
fn the_soft_limit_of_cpu_time_ends_commands_and_not_what_records_them() {
    let daemon = place();
    // The signal, as the kernel sends it each second beyond the limit: to this program, then to the command.
    let line = "kill -s XCPU $PPID; kill -s XCPU $$; exit 3";
    for wrapper in ["record --", "session --"] {
        let line = format!("exec $MEMSAMPLE {wrapper} sh -c '{line}'");
        let ended = run(daemon.directory.path(), &line);
        assert_eq!(ended.status.code(), Some(128 + 24), "{wrapper}: {}", text(&ended.stderr));
    }
}

#[test]
fn a_test_has_the_priority_of_its_runner() {
    let directory = tempfile::tempdir().unwrap();
    // As root, sampling thread and supervisor have a higher one, and a test begins below them.
    for sandbox in ["none", "pidns"] {
        let suite = format!(
            "name = 'nice'\n[[test]]\nname = 'nice'\ncommand = ['nice']\nsandbox = '{sandbox}'\n"
        );
        std::fs::write(directory.path().join("nice.toml"), suite).unwrap();
        let line = format!(
            "nice -n 3 $MEMSAMPLE run nice.toml --out {sandbox} > /dev/null; cat {sandbox}/*/tests/*/1.1/stdout"
        );
        let ended = run(directory.path(), &line);
        assert_eq!(text(&ended.stdout), "3\n", "{ended:?}");
    }
}

#[test]
fn an_ignored_signal_stops_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    // The command stops its parent, by a signal that is ignored, and then ends as it likes.
    for (signal, wrapper) in
        [("HUP", "record --"), ("INT", "record --"), ("TERM", "record --"), ("HUP", "session --")]
    {
        let ended = shell(
            at,
            &format!(
                "trap '' {signal}; exec $MEMSAMPLE {wrapper} sh -c 'kill -s {signal} $PPID; exit 5'"
            ),
        );
        assert_eq!(ended.code, Some(5), "{signal} {wrapper}: {}", ended.stderr);
    }
    let mut recorder = Command::new("sh")
        .args(["-c", "trap '' HUP; exec $MEMSAMPLE record --name x"])
        .env("MEMSAMPLE", MEMSAMPLE)
        .env("MEMSAMPLE_CONFIG", "")
        .current_dir(at)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the recording", || at.join("recordings/x/journal").exists().then_some(()));
    let pid = rustix::process::Pid::from_child(&recorder);
    rustix::process::kill_process(pid, Signal::HUP).unwrap();
    // Were it not ignored, it would have ended by it: signals come in order of their numbers.
    let manifest = at.join("recordings/x/recording.json");
    wait_for("a flush after the signal", || {
        let ended = recorder.try_wait().unwrap();
        assert_eq!(ended, None);
        let journal = std::fs::metadata(at.join("recordings/x/journal/000000.log")).ok()?;
        (journal.len() > 20_000 && manifest.exists()).then_some(())
    });
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(recorder.wait().unwrap().code(), Some(0));
}

#[test]
fn names_and_arguments_need_not_be_utf8() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().join(OsStr::from_bytes(b"d\xff"));
    std::fs::create_dir(&at).unwrap();
    let argument = OsStr::from_bytes(b"a\xfe\xffz");
    for wrapper in WRAPPERS {
        let ended = Command::new(MEMSAMPLE)
            .args(wrapper.split(' '))
            .args(["printf", "%s"])
            .arg(argument)
            .env("MEMSAMPLE_CONFIG", "")
            .current_dir(&at)
            .output()
            .unwrap();
        let context = format!("{wrapper}: {}", text(&ended.stderr));
        assert_eq!(ended.status.code(), Some(0), "{context}");
        assert_eq!(ended.stdout, argument.as_bytes(), "{context}");
    }
    let absent =
        Command::new(MEMSAMPLE).args(["record", "--"]).arg(argument).current_dir(&at).output();
    assert_eq!(absent.unwrap().status.code(), Some(127));
    // The socket of the session, in a directory of that name, reaches the command.
    let line = "exec $MEMSAMPLE session --socket $PWD/s -- $MEMSAMPLE status";
    let mut daemon = Command::new(MEMSAMPLED)
        .args(["--socket", "s", "--recordings", "r"])
        .env_remove("MEMSAMPLED_CONFIG")
        .current_dir(&at)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the daemon", || {
        run(&at, "$MEMSAMPLE status --socket s").status.success().then_some(())
    });
    let ended = run(&at, line);
    assert_eq!(ended.status.code(), Some(0), "{}", text(&ended.stderr));
    let ended =
        run(&at, "eval \"$($MEMSAMPLE start --socket s --env)\"; cd /; exec $MEMSAMPLE stop");
    assert_eq!(ended.status.code(), Some(0), "{}", text(&ended.stderr));
    let pid = rustix::process::Pid::from_child(&daemon);
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(daemon.wait().unwrap().code(), Some(0));
    let names = b"$MEMSAMPLE record --out o\xfd --name x --duration 100ms >&2 && $MEMSAMPLE summary o\xfd/x";
    let ended = Command::new("sh")
        .arg("-c")
        .arg(OsStr::from_bytes(names))
        .env("MEMSAMPLE", MEMSAMPLE)
        .env("MEMSAMPLE_CONFIG", "")
        .current_dir(&at)
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", text(&ended.stderr));
    std::fs::write(at.join("suite.toml"), SUITE).unwrap();
    let ended = run(&at, "exec $MEMSAMPLE run");
    assert_eq!(ended.status.code(), Some(10), "{}", text(&ended.stderr));
    assert!(text(&ended.stderr).contains("exit code 3"), "{}", text(&ended.stderr));
}

/// A program that makes orphans and waits until there is no zombie; its exit code says whether it came to that.
const ORPHANS: &str = "i=0; while [ $i -lt 9 ]; do sh -c 'sleep 0.01 & exit' & wait; i=$((i+1)); done; i=0; \
                       while grep -qs '^State:.Z' /proc/[0-9]*/status; do i=$((i+1)); [ $i -gt 300 ] && exit 1; \
                       sleep 0.02; done; exit 7";

#[test]
fn as_pid_1_orphans_are_reaped_and_signals_arrive() {
    if !geteuid().is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    std::fs::write(at.join("orphans.sh"), ORPHANS).unwrap();
    let namespace = "exec unshare --pid --fork --mount-proc --kill-child";
    for wrapper in ["record --", "session --", "exec --test t --"] {
        let ended = run(at, &format!("{namespace} $MEMSAMPLE {wrapper} sh orphans.sh"));
        assert_eq!(ended.status.code(), Some(7), "{wrapper}: {}", text(&ended.stderr));
    }
    let suite = "name = \"s\"\n[[test]]\nname = \"t\"\nsandbox = \"none\"\nshell = '''\n";
    std::fs::write(
        at.join("suite.toml"),
        format!("{suite}{}'''\n", ORPHANS.replace("exit 7", "exit 0")),
    )
    .unwrap();
    let ended = run(at, &format!("{namespace} $MEMSAMPLE run suite.toml"));
    assert_eq!(ended.status.code(), Some(0), "{}", text(&ended.stderr));
    // A signal for PID 1 is one for the recording, which is closed.
    let line = "$MEMSAMPLE record --name x & until [ -e recordings/x/journal ]; do sleep 0.02; done; kill -s TERM 1; \
                while :; do sleep 1; done";
    let ended = run(at, &format!("{namespace} $MEMSAMPLE record --name y -- sh -c '{line}'"));
    assert_eq!(ended.status.code(), Some(128 + 15), "{}", text(&ended.stderr));
    // The daemon is given orphans by the shell that becomes it.
    let served = format!(
        "{namespace} sh -c 'sleep 0.1 & sleep 0.2 & exec $MEMSAMPLED --socket s --recordings r'"
    );
    let mut daemon = Command::new("sh")
        .args(["-c", &served])
        .env("MEMSAMPLED", MEMSAMPLED)
        .env_remove("MEMSAMPLED_CONFIG")
        .current_dir(at)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the daemon", || {
        run(at, "$MEMSAMPLE status --socket s").status.success().then_some(())
    });
    let of = |pid: u32| {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        children.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<u32>>()
    };
    wait_for("the end of the orphans", || {
        let init = of(daemon.id());
        (init.len() == 1 && of(init[0]).is_empty()).then_some(())
    });
    let init = i32::try_from(of(daemon.id())[0]).unwrap();
    let init = rustix::process::Pid::from_raw(init).unwrap();
    rustix::process::kill_process(init, Signal::TERM).unwrap();
    assert_eq!(daemon.wait().unwrap().code(), Some(0));
}

/// A control group with a limit of processes and threads, below that of this program; removed when dropped.
struct LimitedGroup(PathBuf);

impl LimitedGroup {
    /// `None` where the pids controller is not there, or not ours.
    fn new() -> Option<Self> {
        let hierarchies = Hierarchies::mounted();
        let own = own_groups();
        let of_pids = |group: &&OwnGroup| group.controllers.iter().any(|it| it == "pids");
        let group = own.iter().find(of_pids).or_else(|| own.iter().find(|group| group.is_v2()))?;
        let parent = hierarchies.of_group(group)?.own_directory(group.path.as_ref())?;
        let path = parent.join(format!("memsample-test-pids-{}", std::process::id()));
        std::fs::create_dir(&path).ok()?;
        let limited = Self(path);
        limited.0.join("pids.max").exists().then_some(limited)
    }

    fn limit(&self, count: &str) {
        std::fs::write(self.0.join("pids.max"), count).unwrap();
    }

    fn count(&self) -> String {
        std::fs::read_to_string(self.0.join("pids.current")).unwrap().trim().to_owned()
    }
}

impl Drop for LimitedGroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn a_signal_ends_what_may_have_no_other_thread() {
    let Some(group) = LimitedGroup::new() else { return };
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    std::fs::write(
        at.join("slow.toml"),
        "name = \"s\"\n[[test]]\nname = \"slow\"\nshell = \": >ready; sleep 60\"\n",
    )
    .unwrap();
    // What it does, how one sees that it does it, and its exit code after SIGTERM.
    for (line, ready, code) in [
        ("exec $MEMSAMPLE record --name x", "recordings/x/recording.json", 0),
        ("exec $MEMSAMPLE record -- sh -c ': >ready; exec sleep 60'", "ready", 143),
        ("exec $MEMSAMPLE run slow.toml", "ready", 11),
        ("exec $MEMSAMPLED --socket t --recordings of-daemon", "t", 0),
    ] {
        group.limit("max");
        let _ = std::fs::remove_file(at.join("ready"));
        let procs = group.0.join("cgroup.procs").display().to_string();
        let mut command = Command::new("sh");
        command.args(["-c", &format!("echo 0 >{procs}; {line}")]).current_dir(at);
        command
            .env("MEMSAMPLE", MEMSAMPLE)
            .env("MEMSAMPLED", MEMSAMPLED)
            .env("MEMSAMPLE_CONFIG", "");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        wait_for(line, || at.join(ready).exists().then_some(()));
        if line.contains("MEMSAMPLED") {
            // It waits for a daemon that is starting, and gives it something to close.
            assert!(run(at, "exec $MEMSAMPLE start --socket t").status.success());
        }
        // All that there may be, and less by those that end now.
        group.limit(&group.count());
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM)
            .unwrap();
        let ended = child.wait_with_output().unwrap();
        let stderr = text(&ended.stderr);
        assert!(!stderr.contains("panicked"), "{line}: {stderr}");
        assert_eq!(ended.status.code(), Some(code), "{line}: {stderr}");
        wait_for("an empty group", || (group.count() == "0").then_some(()));
    }
}

#[test]
fn a_path_in_a_message_does_nothing_to_the_terminal() {
    let directory = tempfile::tempdir().unwrap();
    let name = "red\u{1b}[31m\u{7}";
    std::fs::create_dir(directory.path().join(name)).unwrap();
    std::fs::write(directory.path().join(name).join("recording.json"), "{").unwrap();
    for command in
        ["summary", "recover", "peaks", "view --at 1s", "compare --base red* --head", "ls"]
    {
        let ended = run(directory.path(), &format!("exec $MEMSAMPLE {command} red*"));
        let told = text(&ended.stderr) + &text(&ended.stdout);
        assert!(!told.contains(['\u{1b}', '\u{7}']), "{command}: {told:?}");
        assert!(command == "ls" || told.contains("red\\u{1b}[31m"), "{command}: {told}");
    }
}
