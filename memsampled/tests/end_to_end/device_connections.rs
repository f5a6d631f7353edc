//! `memsample run --on ssh://…`: connections that are cut, signals, and runs that nobody follows.
//!
//! Root is needed for sshd.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use memsample::Recording;
use tempfile::tempdir;

use crate::command::wait_for;
use crate::devices::{directory, end, files, outcomes};
use crate::ssh_device::{Device, Following};

/// Returns the test `slow` of a suite, which sleeps. It makes a file of its name in a directory when it has begun: the
/// device is this machine.
fn slow(seconds: &str, begun: &Path) -> String {
    let begun = begun.join("slow");
    format!("[[test]]\nname = \"slow\"\nshell = \": >{}; exec sleep {seconds}\"\n", begun.display())
}

#[test]
fn slow_a_connection_that_is_cut_ten_times_loses_no_line() {
    let device = Device::start();
    let (cwd, cuts) = (tempdir().unwrap(), tempdir().unwrap());
    let names: Vec<String> = (0..30).map(|number| format!("test{number:02}")).collect();
    // The run is at most nine tests ahead of the cuts, and so does not end before the last of them.
    let made = |cut: usize| cuts.path().join(cut.to_string());
    fs::write(made(0), "").unwrap();
    let tests = names.iter().enumerate().map(|(number, name)| {
        let cut = made(number.saturating_sub(9) / 2);
        let line = format!("sleep 0.5; until [ -e {} ]; do sleep 0.1; done", cut.display());
        format!("[[test]]\nname = \"{name}\"\nshell = \"{line}\"\n")
    });
    let suite = format!("name = \"long\"\n{}", tests.collect::<String>());
    fs::write(cwd.path().join("suite.toml"), suite).unwrap();
    let address = device.address("127.0.0.1", "device");
    let arguments = ["suite.toml", "--on", &address, "--name", "cut", "--table", "never"];
    let mut running = Following::start(&mut device.command(cwd.path(), &arguments), cwd.path());
    let told = |what: &str| running.said().matches(what).count();
    for cut in 1..=10 {
        wait_for("a test", || (told("passed ") >= 2 * cut).then_some(()));
        // A cut while it connects is the same loss, which is told once.
        wait_for("the connection", || (told("connected again") >= cut - 1).then_some(()));
        wait_for("a connection", || (device.cut() > 0).then_some(()));
        wait_for("the message", || (told("the connection is cut") >= cut).then_some(()));
        fs::write(made(cut), "").unwrap();
    }
    assert!(running.child.wait().unwrap().success(), "{}", running.said());
    let said = running.said();
    let passed = said.lines().filter(|line| line.trim_start().starts_with("passed "));
    let passed: Vec<&str> = passed.map(|line| line.split_whitespace().last().unwrap()).collect();
    assert_eq!(passed, names);
    assert_eq!(said.matches("suite long: 30 tests").count(), 1);
    assert_eq!(outcomes(&cwd.path().join("runs/cut")).len(), 30);
    let (recording, _) = Recording::open(&cwd.path().join("runs/cut/recording")).unwrap();
    let rows = |table: &str, columns: &[&str]| -> usize {
        recording.read_table(table, columns).map(|batch| batch.unwrap().num_rows()).sum()
    };
    let totals = &recording.manifest().totals;
    assert_eq!(rows("ticks", &["ts"]) as u64, totals.ticks);
    assert_eq!(rows("samples", &["ts"]) as u64, totals.samples);
    assert_eq!(totals.dropped, 0);
    // Each planned instant of the fifteen seconds is there, or counted as missed, as those beyond the last tick are.
    // A first tick that was late, by less than a period, makes the recording seem one instant shorter.
    let (first, last) = recording.first_and_last_tick().unwrap().unwrap();
    let planned = last.duration_since(first).as_millis() / 100 + 1;
    let most = i128::from(totals.ticks + totals.missed);
    assert!((i128::from(totals.ticks) - 1..=most).contains(&planned), "{planned} {totals:?}");
    assert!(planned > 150);
    device.assert_clean("device");
}

#[test]
fn slow_a_connection_that_is_cut_while_results_come_back_loses_no_byte() {
    let (cwd, tools) = (tempdir().unwrap(), tempdir().unwrap());
    // What packs the results there: each connection brings a sixth of them, and goes on when the cuts are over.
    let (tail, over) = (tools.path().join("tail"), tools.path().join("over"));
    let script = format!(
        "#!/bin/sh\nPATH=${{PATH#*:}}\n[ \"$1 $#\" = '-c 2' ] || exec tail \"$@\"\n\
         tail \"$@\" | {{ head -c 10000000; until [ -e {} ]; do sleep 0.1; done; cat; }}\n",
        over.display()
    );
    fs::write(&tail, script).unwrap();
    fs::set_permissions(&tail, Permissions::from_mode(0o755)).unwrap();
    let path = tools.path().display();
    let force = format!("ForceCommand PATH={path}:$PATH exec sh -c \"$SSH_ORIGINAL_COMMAND\"");
    let device = Device::start_with(&force, "true");
    let suite = "name = \"large\"\n[[test]]\nname = \"a\"\nshell = \"head -c 60000000 /dev/urandom >x; \
                 sha256sum <x >&2; cat x\"\n";
    fs::write(cwd.path().join("suite.toml"), suite).unwrap();
    let address = device.address("127.0.0.1", "device");
    let running = device
        .command(cwd.path(), &["suite.toml", "--on", &address, "--name", "large"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let archive_bytes = || {
        let runs = fs::read_dir(cwd.path().join("runs")).ok()?.flatten();
        let archives = runs.filter_map(|run| fs::metadata(run.path().join("run.tar")).ok());
        archives.map(|archive| archive.len()).next()
    };
    let mut cuts = 0;
    for part in 0..3_u64 {
        wait_for("the archive", || (archive_bytes()? > part * 8_000_000).then_some(()));
        cuts += device.cut();
    }
    assert!(cuts > 0);
    fs::write(&over, "").unwrap();
    let output = running.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("connected again"), "{stderr}");
    let test = cwd.path().join("runs/large/tests/0001-a/1.1");
    let hash =
        Command::new("sha256sum").stdin(File::open(test.join("stdout")).unwrap()).output().unwrap();
    assert_eq!(hash.stdout, fs::read(test.join("stderr")).unwrap());
    device.assert_clean("device");
}

#[test]
fn a_signal_ends_the_tests_there_and_the_results_come_back() {
    let device = Device::start();
    let cwd = tempdir().unwrap();
    let suite = "name = \"long\"\n[[test]]\nname = \"quick\"\ncommand = [\"true\"]\n";
    let suite = format!("{suite}{}", slow("600", cwd.path()));
    fs::write(cwd.path().join("suite.toml"), suite).unwrap();
    let address = device.address("127.0.0.1", "device");
    let arguments = ["suite.toml", "--on", &address, "--name", "stopped"];
    let mut running = Following::start(&mut device.command(cwd.path(), &arguments), cwd.path());
    wait_for("the first test", || running.said().contains("quick").then_some(()));
    wait_for("the second test", || cwd.path().join("slow").exists().then_some(()));
    running.terminate();
    assert_eq!(running.child.wait().unwrap().code(), Some(11), "{}", running.said());
    let found = outcomes(&cwd.path().join("runs/stopped"));
    assert_eq!(found[0], ("quick".to_owned(), "passed".to_owned()));
    assert_eq!(found[1], ("slow".to_owned(), "aborted".to_owned()));
    device.assert_clean("device");
}

/// The directory from which it was started is removed, too: what is needed of it is on the device.
#[test]
fn a_signal_reaches_a_device_that_cannot_be_reached_just_then() {
    let device = Device::start();
    let (cwd, sent) = (tempdir().unwrap(), tempdir().unwrap());
    let suite = format!("name = \"long\"\n{}", slow("600", cwd.path()));
    fs::write(sent.path().join("suite.toml"), suite).unwrap();
    // The real ssh, behind a switch.
    let (ssh, off) = (cwd.path().join("ssh"), cwd.path().join("off"));
    let script = format!(
        "#!/bin/sh\n[ ! -e {} ] || {{ echo no route >&2; exit 255; }}\nexec ssh -F {} \"$@\"\n",
        off.display(),
        device.path("config").display()
    );
    fs::write(&ssh, script).unwrap();
    fs::set_permissions(&ssh, Permissions::from_mode(0o755)).unwrap();
    let runs = cwd.path().join("runs");
    let address = device.address("127.0.0.1", "device");
    let mut command =
        device.command(sent.path(), &["suite.toml", "--on", &address, "--name", "stopped"]);
    command
        .args(["--reconnect-for", "1ms", "--stop-for", "1m", "--out", runs.to_str().unwrap()])
        .env("MEMSAMPLE_SSH", &ssh);
    let mut running = Following::start(&mut command, cwd.path());
    wait_for("the run", || running.said().contains("suite long").then_some(()));
    wait_for("its test", || cwd.path().join("slow").exists().then_some(()));
    drop(sent);
    fs::write(&off, "").unwrap();
    running.terminate();
    wait_for("the cut", || running.said().contains("no route; connecting again").then_some(()));
    assert_eq!(running.child.try_wait().unwrap(), None, "{}", running.said());
    fs::remove_file(&off).unwrap();
    assert_eq!(running.child.wait().unwrap().code(), Some(11), "{}", running.said());
    assert_eq!(outcomes(&runs.join("stopped")), [("slow".to_owned(), "aborted".to_owned())]);
    device.assert_clean("device");
}

#[test]
fn a_run_that_nobody_follows_any_more_ends_by_itself() {
    let device = Device::start();
    let cwd = tempdir().unwrap();
    let suite = format!("name = \"long\"\n{}", slow("600", cwd.path()));
    fs::write(cwd.path().join("suite.toml"), suite).unwrap();
    let address = device.address("127.0.0.1", "device");
    let arguments = ["suite.toml", "--on", &address, "--reconnect-for", "1s"];
    let refused = end(device.command(cwd.path(), &arguments).args(["--unfollowed-for", "1s"]));
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("must be longer than --reconnect-for 1s"),
        "{}",
        refused.stderr
    );
    let temporary = tempdir().unwrap();
    let mut command = device.command(cwd.path(), &arguments);
    command.args(["--unfollowed-for", "8s"]).env("TMPDIR", temporary.path());
    let mut running = Following::start(&mut command, cwd.path());
    wait_for("the run", || running.said().contains("suite long").then_some(()));
    wait_for("its test", || cwd.path().join("slow").exists().then_some(()));
    running.child.kill().unwrap();
    running.child.wait().unwrap();
    assert_eq!(files(temporary.path()), BTreeSet::from([PathBuf::new()]), "what was sent");
    device.cut();
    let there = fs::read_dir(device.path("device")).unwrap().next().unwrap().unwrap().path();
    wait_for("its end", || {
        fs::read_to_string(there.join("status")).ok().filter(|it| it == "011\n")
    });
    let told = fs::read_to_string(there.join("stderr")).unwrap();
    assert!(told.contains("note: nobody has followed this run for 8 s: it is ended\n"), "{told}");
    let run = fs::read_dir(there.join("out")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(outcomes(&run), [("slow".to_owned(), "aborted".to_owned())]);
    fs::remove_dir_all(&there).unwrap();
    device.assert_clean("device");
}

/// It is followed by several calls, one after the other.
#[test]
fn a_run_that_is_followed_goes_on_for_longer_than_one_may_that_is_not() {
    let device = Device::start();
    let cwd = tempdir().unwrap();
    let suite = format!("name = \"long\"\n{}", slow("15", cwd.path()));
    fs::write(cwd.path().join("suite.toml"), suite).unwrap();
    let address = device.address("127.0.0.1", "device");
    let arguments = ["suite.toml", "--on", &address, "--name", "followed"];
    let ended = end(device.command(cwd.path(), &arguments).args([
        "--reconnect-for",
        "1s",
        "--unfollowed-for",
        "12s",
    ]));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!ended.stderr.contains("the connection is cut"), "{}", ended.stderr);
    assert_eq!(ended.stderr.matches("suite long").count(), 1, "{}", ended.stderr);
    assert_eq!(outcomes(&directory(&ended)), [("slow".to_owned(), "passed".to_owned())]);
    device.assert_clean("device");
}
