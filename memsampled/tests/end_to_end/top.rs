//! `memsample top` on a terminal: what it shows, what keys do, and how it leaves the terminal.

use std::fs::File;
use std::io::{PipeWriter, Read, Write, pipe};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use crate::command::{Running, memsample, recordings, wait_for, wait_for_recorded};
use crate::daemon::Daemon;
use crate::idle::Idle;
use crate::tracer::Tracer;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMillisecondType};
use jiff::SignedDuration;
use memsample::Recording;
use memsample::analysis::tick_instants;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tempfile::tempdir;

const HELD_MIB: usize = 96;

/// `memsample top` on a terminal of its own.
struct Terminal {
    child: Child,
    keys: File,
    output: Receiver<Vec<u8>>,
    /// Reads while the other end of a pipe is open.
    reader: (JoinHandle<()>, PipeWriter),
    screen: vt100::Parser,
}

impl Terminal {
    fn start(directory: &Path, (rows, columns): (u16, u16), arguments: &[&str]) -> Self {
        // No other program is to hold an end of it.
        let keys = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&keys).unwrap();
        unlockpt(&keys).unwrap();
        let name = ptsname(&keys, Vec::new()).unwrap().into_string().unwrap();
        let end = File::options()
            .read(true)
            .write(true)
            .custom_flags(OFlags::NOCTTY.bits().cast_signed())
            .open(name)
            .unwrap();
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&end, size).unwrap();
        let stream = || Stdio::from(end.try_clone().unwrap());
        let child = Command::new(env!("CARGO_BIN_EXE_memsample"))
            .arg("top")
            .args(arguments)
            .current_dir(directory)
            .env("LC_ALL", "C.UTF-8")
            .env("TERM", "xterm")
            .stdin(stream())
            .stdout(stream())
            .stderr(stream())
            .spawn()
            .unwrap();
        let keys = File::from(keys);
        let mut output_end = keys.try_clone().unwrap();
        let (stop, go_on) = pipe().unwrap();
        let (sender, output) = channel();
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            loop {
                let mut looks =
                    [PollFd::new(&output_end, PollFlags::IN), PollFd::new(&stop, PollFlags::IN)];
                poll(&mut looks, None).unwrap();
                if !looks[1].revents().is_empty() {
                    return;
                }
                let Ok(read @ 1..) = output_end.read(&mut bytes) else { return };
                if sender.send(bytes[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            keys,
            output,
            reader: (reader, go_on),
            screen: vt100::Parser::new(rows.try_into().unwrap(), columns.try_into().unwrap(), 0),
        }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Returns the screen as it is now.
    fn text(&mut self) -> String {
        while let Ok(bytes) = self.output.try_recv() {
            self.screen.process(&bytes);
        }
        self.screen.screen().contents()
    }

    /// Waits for a screen that has what is wanted.
    #[track_caller]
    fn wait_for(&mut self, what: &str) -> String {
        let mut last = String::new();
        wait_for(&format!("`{what}` on the screen"), || {
            last = self.text();
            last.contains(what).then(|| last.clone())
        })
    }

    /// Closes the terminal, which is nobody's controlling one: no signal comes.
    fn go_away(self) -> Child {
        let Self { child, reader: (reader, go_on), .. } = self;
        drop(go_on);
        reader.join().unwrap();
        child
    }

    /// Waits for the end, and returns its code and whether the terminal is as it was.
    fn end(mut self) -> (Option<i32>, bool) {
        let code = self.child.wait().unwrap().code();
        // Until nobody holds the other end: what it wrote last may not have been read yet.
        while let Ok(bytes) = self.output.recv() {
            self.screen.process(&bytes);
        }
        let screen = self.screen.screen();
        (code, !screen.alternate_screen() && !screen.hide_cursor())
    }
}

/// A test of the only session of a daemon: `sleep 1000` by `memsample exec`.
struct Test(Child);

impl Test {
    fn start(socket: &str, name: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_memsample"));
        command.args(["exec", "--socket", socket, "--test", name, "--", "sleep", "1000"]);
        // What it starts is killed with it.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Test {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.0.wait();
    }
}

/// Returns the sizes in MiB in the line of a process.
#[track_caller]
fn sizes(screen: &str, pid: i64) -> Vec<f64> {
    let is_its = |line: &&str| line.split_whitespace().next() == Some(&pid.to_string());
    let line = screen.lines().find(is_its).unwrap_or_else(|| panic!("{pid} in\n{screen}"));
    let words: Vec<&str> = line.split_whitespace().collect();
    let pairs = words.windows(2).filter(|pair| pair[1] == "MiB");
    pairs.filter_map(|pair| pair[0].trim_start_matches('≥').parse().ok()).collect()
}

#[test]
fn the_largest_process_is_on_top_with_what_it_holds() {
    let directory = tempdir().unwrap();
    let holder = Idle::start(HELD_MIB, "held-for-top");
    let pid = holder.pid();
    let mut top = Terminal::start(directory.path(), (24, 120), &["--filter", "held-for-top"]);
    top.wait_for(&pid.to_string());
    let screen = top.wait_for("own cost");
    assert!(screen.contains("this machine") && screen.contains(" live "), "{screen}");
    let rss = sizes(&screen, pid)[0];
    assert!((HELD_MIB as f64..HELD_MIB as f64 + 30.0).contains(&rss), "{screen}");
    // Another order of rows, another kind of rows.
    top.press("b");
    top.wait_for("ROLE");
    top.press("bbb");
    top.wait_for("by user");
    top.press("?");
    top.wait_for("PgUp");
    top.press("x");
    top.press("/held-for-nobody\r");
    top.wait_for("filter held-for-top");
    top.press("/");
    top.wait_for("Esc: leave");
    top.press("[\r");
    top.wait_for("no regular expression");
    top.press("\u{3}");
    assert_eq!(top.end(), (Some(0), true));
}

#[test]
fn one_steps_back_in_time_while_it_samples_on() {
    let directory = tempdir().unwrap();
    let holder = Idle::start(HELD_MIB, "gone-for-top");
    let pid = holder.pid().to_string();
    let arguments = ["--filter", "gone-for-top", "--interval", "50ms"];
    let mut top = Terminal::start(directory.path(), (24, 100), &arguments);
    top.wait_for(&pid);
    drop(holder);
    wait_for("its end on the screen", || (!top.text().contains(&pid)).then_some(()));
    // The first instant had it.
    top.press("0");
    let screen = top.wait_for(&pid);
    assert!(screen.contains("s ago") || screen.contains("paused"), "{screen}");
    top.press("$");
    wait_for("the newest instant", || {
        let screen = top.text();
        (!screen.contains(&pid) && screen.contains("live")).then_some(())
    });
    top.press("q");
    assert_eq!(top.end(), (Some(0), true));
}

/// Returns the time of each tick of a recording since the first one, in milliseconds, and the first of them by which the
/// PSS of a process had been read.
fn ticks_and_first_pss(recording: &Recording, pid: i64) -> (Vec<i64>, Option<usize>) {
    let ticks = tick_instants(recording).unwrap();
    let mut read_ms: Option<i64> = None;
    for batch in recording.read_table("samples", &["ts", "pid", "pss_bytes"]) {
        let batch = batch.unwrap();
        let ts = batch["ts"].as_primitive::<TimestampMillisecondType>();
        let pids = batch["pid"].as_primitive::<Int32Type>();
        let pss = batch["pss_bytes"].as_primitive::<Int64Type>();
        for ((ts, of), pss) in ts.iter().zip(pids).zip(pss) {
            if of.map(i64::from) == Some(pid) && pss.is_some() {
                read_ms = read_ms.min(ts).or(ts);
            }
        }
    }
    let first = read_ms.and_then(|read_ms| ticks.iter().position(|tick| tick.ts_ms >= read_ms));
    (ticks.iter().map(|tick| tick.ts_ms - ticks[0].ts_ms).collect(), first)
}

#[test]
fn a_recording_is_replayed() {
    let directory = tempdir().unwrap();
    let holder = Idle::start(HELD_MIB, "recorded-for-top");
    let pid = holder.pid().to_string();
    let arguments = ["record", "--name", "it", "--pss-interval", "every"];
    let recorder = Running::start(directory.path(), &arguments);
    wait_for_recorded("PSS and ticks", &directory.path().join("recordings/it"), |recording| {
        let (ticks, first_pss) = ticks_and_first_pss(recording, holder.pid());
        (ticks.len() >= first_pss?.max(1) + 5).then_some(())
    });
    recorder.signal("INT");
    let ended = recorder.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let recording = recordings(directory.path()).remove(0);
    let (opened, _) = Recording::open(&recording).unwrap();
    let (ticks, first_pss) = ticks_and_first_pss(&opened, holder.pid());
    drop(holder);
    let label = |tick: usize| {
        format!(" at {:.1} s", SignedDuration::from_millis(ticks[tick]).as_secs_f64())
    };
    let shown = first_pss.unwrap().max(1);
    let last = ticks.len() - 1;
    let name = recording.to_str().unwrap();
    let at = format!("{}ms", ticks[shown]);
    let arguments = [name, "--at", &at, "--filter", "recorded-for-top"];
    let mut top = Terminal::start(directory.path(), (24, 120), &arguments);
    let screen = top.wait_for(&pid);
    assert!(screen.contains(&label(shown)) && screen.contains("paused"), "{screen}");
    assert!(sizes(&screen, pid.parse().unwrap()).len() >= 3, "PSS and USS are known:\n{screen}");
    top.press("\u{1b}[D");
    top.wait_for(&label(shown - 1));
    top.press("$");
    top.wait_for(&label(last));
    top.press("0");
    top.wait_for(&label(0));
    // It is played to its end.
    top.press(" ");
    top.wait_for(&label(last));
    top.press("q");
    assert_eq!(top.end(), (Some(0), true));

    let ended = memsample(directory.path(), &["top", name, "--at", "5s"]);
    assert_eq!(ended.code, Some(1), "no terminal");
}

#[test]
fn a_session_of_the_daemon_is_shown_with_its_tests() {
    let daemon = Daemon::start();
    let socket = daemon.socket();
    let socket = socket.to_str().unwrap();
    let session = daemon.session(r#"{"name": "shown", "interval": "50ms", "pss_budget": 0.5}"#);
    let _test = Test::start(socket, "the shown test");
    let arguments = ["--session", "--socket", socket, "--interval", "50ms", "--by", "test"];
    let mut top = Terminal::start(daemon.directory.path(), (24, 120), &arguments);
    let screen = top.wait_for("the shown test");
    assert!(screen.contains("session shown-"), "{screen}");
    top.press("bbb");
    top.wait_for("by process");
    top.press("/the shown test\r");
    // PSS is read by the daemon alone.
    wait_for("RSS, PSS and USS of the test's process", || {
        let screen = top.text();
        let line = screen.lines().find(|line| line.contains("sleep 1000"))?.to_owned();
        (line.matches(" KiB").count() + line.matches(" MiB").count() >= 3).then_some(())
    });
    daemon.stop(&session);
    let screen = top.wait_for("ended; its recording is");
    assert!(screen.contains("sleep 1000"), "the last instant is still there:\n{screen}");
    top.press("q");
    assert_eq!(top.end(), (Some(0), true));

    let mut top = Terminal::start(daemon.directory.path(), (24, 120), &arguments);
    top.wait_for("no session is recording");
    assert_eq!(top.end().0, Some(1));
}

#[test]
fn any_terminal_will_do_and_none_is_said() {
    let directory = tempdir().unwrap();
    for size in [(24, 20), (3, 200), (1, 1), (50, 300)] {
        let mut top = Terminal::start(directory.path(), size, &["--interval", "50ms"]);
        wait_for("an output", || (!top.text().trim().is_empty()).then_some(()));
        top.press("t\u{1b}[6~\u{1b}[F");
        top.press("q");
        assert_eq!(top.end(), (Some(0), true), "{size:?}");
    }
    let mut top = Terminal::start(directory.path(), (24, 80), &[]);
    top.wait_for("own cost");
    let pid = rustix::process::Pid::from_child(&top.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(top.end(), (Some(0), true));

    let ended = memsample(directory.path(), &["top"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("memsample view"), "{}", ended.stderr);
}

#[test]
fn a_terminal_that_goes_away_ends_it_at_any_time() {
    let directory = tempdir().unwrap();
    for is_between_looks in [true, false] {
        let mut top = Terminal::start(directory.path(), (24, 80), &["--interval", "50ms"]);
        top.wait_for("own cost");
        let pid = top.child.id().to_string();
        // Its own look at the terminal is by ppoll, and that of what reads keys by another call.
        let _tracer = is_between_looks.then(|| {
            let hold_up = ["-e", "inject=poll,epoll_wait,epoll_pwait:delay_enter=300000"];
            let tracer = Tracer::attach(&pid, &hold_up);
            wait_for("the second look", || {
                let call = std::fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap();
                let call = call.split(' ').next()?.parse::<i64>().ok()?;
                [libc::SYS_poll, libc::SYS_epoll_wait, libc::SYS_epoll_pwait]
                    .contains(&call)
                    .then_some(())
            });
            tracer
        });
        let mut child = top.go_away();
        let ended = wait_for("its end without a terminal", || child.try_wait().unwrap());
        assert_eq!(ended.code(), Some(0), "{ended}");
    }
}
