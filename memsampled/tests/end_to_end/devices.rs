//! `memsample run --on ssh://…`: runs on devices, and what is refused. Root is needed for sshd.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use memsample::Recording;
use serde_json::Value;
use tempfile::tempdir;
use walkdir::WalkDir;

use crate::command::{Ended, MEMSAMPLE, memsample, wait_for};
use crate::report_outputs::{check_junit, check_results};
use crate::ssh_device::{Device, Following, program, terminate};

const SUITE: &str = r#"
name = "demo"
[[test]]
name = "passes"
shell = "echo \"some output\"; cat data/*"
[[test]]
name = "fails"
shell = "echo broken >&2; exit 3"
"#;

pub(crate) fn end(command: &mut Command) -> Ended {
    Ended::of(command.output().unwrap())
}

/// Returns the directory of a run, which is the last line.
#[track_caller]
pub(crate) fn directory(ended: &Ended) -> PathBuf {
    PathBuf::from(ended.stdout.lines().last().unwrap_or_else(|| panic!("{}", ended.stderr)))
}

/// Returns the outcomes of a run, whose files are checked.
#[track_caller]
pub(crate) fn outcomes(directory: &Path) -> Vec<(String, String)> {
    let results = check_results(&fs::read(directory.join("results.json")).unwrap());
    check_junit(&fs::read(directory.join("junit.xml")).unwrap()).unwrap();
    let (recording, _) = Recording::open(&directory.join("recording")).unwrap();
    assert!(recording.first_and_last_tick().unwrap().is_some());
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    let tests = results["tests"].as_array().unwrap().iter();
    tests.map(|test| (word(&test["name"]), word(&test["outcome"]))).collect()
}

/// Returns the paths of all files below a directory.
pub(crate) fn files(directory: &Path) -> BTreeSet<PathBuf> {
    let entries = WalkDir::new(directory).into_iter().map(Result::unwrap);
    entries.map(|entry| entry.path().strip_prefix(directory).unwrap().to_owned()).collect()
}

/// Makes a suite whose directory and files have names that a shell or a decoder could spoil.
fn suite(cwd: &Path) -> String {
    let name = "a suite's 'dir' $HOME";
    let data = cwd.join(name).join("data");
    fs::create_dir_all(&data).unwrap();
    fs::write(cwd.join(name).join("suite.toml"), SUITE).unwrap();
    for file in [&b"two words"[..], b"not \xff UTF-8", b"-n", b"new\nline", b"*"] {
        fs::write(data.join(OsStr::from_bytes(file)), [file, b" is here\n"].concat()).unwrap();
    }
    format!("{name}/suite.toml")
}

#[track_caller]
fn check_as_here(device: &Device) {
    let cwd = tempdir().unwrap();
    let suite = suite(cwd.path());
    let address = device.address("127.0.0.1", "device");
    let there =
        end(&mut device.command(cwd.path(), &[&suite, "--on", &address, "--name", "there"]));
    let here = memsample(cwd.path(), &["run", &suite, "--sandbox", "none", "--name", "here"]);
    assert_eq!(there.code, here.code, "{}", there.stderr);
    assert_eq!(there.code, Some(10));
    let (there_in, here_in) = (directory(&there), cwd.path().join("runs/here"));
    assert_eq!(there_in, cwd.path().join("runs/there"));
    assert_eq!(outcomes(&there_in), outcomes(&here_in));
    assert_eq!(files(&there_in), files(&here_in));
    for stream in ["tests/0001-passes/1.1/stdout", "tests/0002-fails/1.1/stderr"] {
        assert_eq!(
            fs::read(there_in.join(stream)).unwrap(),
            fs::read(here_in.join(stream)).unwrap()
        );
    }
    // The paths are those of this machine.
    let junit = |directory: &Path| fs::read_to_string(directory.join("junit.xml")).unwrap();
    assert!(junit(&there_in).contains("[[ATTACHMENT|runs/there/tests/0002-fails/1.1/stderr]]"));
    assert!(junit(&here_in).contains("[[ATTACHMENT|runs/here/tests/0002-fails/1.1/stderr]]"));
    // Nothing hidden is left here either.
    let runs: Vec<_> = fs::read_dir(cwd.path().join("runs")).unwrap().collect();
    assert_eq!(runs.len(), 2);
    let lines = |text: &str| {
        let lines = text.lines().filter(|line| line.contains("passes") || line.contains("fails"));
        lines.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(lines(&there.stderr), lines(&here.stderr));
    device.assert_clean("device");
}

#[test]
fn a_run_on_a_device_is_as_one_here() {
    check_as_here(&Device::start());
}

#[test]
fn a_device_needs_no_more_than_busybox() {
    let tools = tempdir().unwrap();
    let find = Command::new("sh").args(["-c", "command -v busybox"]).output().unwrap().stdout;
    let busybox = String::from_utf8(find).unwrap();
    let applets = Command::new(busybox.trim()).arg("--list").output().unwrap().stdout;
    for applet in String::from_utf8(applets).unwrap().lines() {
        std::os::unix::fs::symlink(busybox.trim(), tools.path().join(applet)).unwrap();
    }
    let tools = tools.path().display();
    let force = format!("ForceCommand PATH={tools} exec sh -c \"$SSH_ORIGINAL_COMMAND\"");
    check_as_here(&Device::start_with(&force, "true"));
}

#[test]
fn what_a_login_prints_is_no_answer() {
    let force =
        "ForceCommand echo Welcome to the P 1; echo X 0; exec sh -c \"$SSH_ORIGINAL_COMMAND\"";
    check_as_here(&Device::start_with(force, "true"));
}

#[test]
fn a_disk_that_fills_there_is_told_and_what_was_written_comes_back() {
    let mount = "mkdir \"$1/small\"; mount -t tmpfs -o size=100m none \"$1/small\"";
    let device = Device::start_with("", mount);
    let cwd = tempdir().unwrap();
    let suite = "name = \"full\"\n[[test]]\nname = \"a\"\nshell = \"echo before\"\n\
                 [[test]]\nname = \"b\"\nshell = \"cat /dev/zero >../../fill; sleep 3\"\n";
    fs::write(cwd.path().join("suite.toml"), suite).unwrap();
    let address = device.address("127.0.0.1", "device/small");
    let ended =
        end(&mut device.command(cwd.path(), &["suite.toml", "--on", &address, "--name", "full"]));
    assert_eq!(ended.code, Some(4), "{}{}", ended.stdout, ended.stderr);
    let output = cwd.path().join("runs/full/tests/0001-a/1.1/stdout");
    assert_eq!(fs::read_to_string(output).unwrap(), "before\n");
    fs::remove_dir(device.path("device/small")).unwrap();
    device.assert_clean("device");
}

#[test]
fn what_is_no_suite_is_told_before_anything_is_sent() {
    let device = Device::start();
    let cwd = tempdir().unwrap();
    fs::write(cwd.path().join("notes.md"), "A test is a test.\n").unwrap();
    fs::write(cwd.path().join("beside"), vec![0; 1 << 20]).unwrap();
    let address = device.address("127.0.0.1", "device");
    let ended = end(&mut device.command(cwd.path(), &["notes.md", "--on", &address]));
    assert_eq!(ended.code, Some(12), "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stderr.starts_with("error: notes.md:1:3: not TOML"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("sends"), "{}", ended.stderr);
    device.assert_clean("device");
}

#[test]
fn a_second_signal_gives_up_and_says_what_stays() {
    let device = Device::start();
    let cwd = tempdir().unwrap();
    // The device is this machine.
    let begun = cwd.path().join("begun");
    let suite = format!(
        "name = \"stubborn\"\n[[test]]\nname = \"a\"\ngrace = \"50s\"\n\
         shell = \"trap '' TERM; : >{}; sleep 600\"\n",
        begun.display()
    );
    fs::write(cwd.path().join("suite.toml"), suite).unwrap();
    let address = device.address("127.0.0.1", "device");
    let mut running = Following::start(
        &mut device.command(cwd.path(), &["suite.toml", "--on", &address]),
        cwd.path(),
    );
    wait_for("the run", || running.said().contains("suite stubborn").then_some(()));
    wait_for("its test", || begun.exists().then_some(()));
    running.terminate();
    wait_for("the first", || running.said().contains("is being stopped").then_some(()));
    running.terminate();
    assert_eq!(running.child.wait().unwrap().code(), Some(1), "{}", running.said());
    let ours = fs::read_dir(device.path("device")).unwrap().next().unwrap().unwrap().path();
    let said = running.said();
    assert!(said.contains("second signal"), "{said}");
    assert!(said.contains(ours.to_str().unwrap()), "{said}");
    // It goes on there, and can be ended there.
    assert!(!ours.join("status").exists());
    terminate(fs::read_to_string(ours.join("pid")).unwrap().trim());
    wait_for("its end", || ours.join("status").exists().then_some(()));
    assert!(ours.join("out").read_dir().unwrap().next().is_some());
    fs::remove_dir_all(ours).unwrap();
    device.assert_clean("device");
}

#[test]
fn what_a_device_cannot_do_is_refused_before_anything_is_run() {
    let mounts = "mkdir \"$1/small\" \"$1/noexec\" \"$1/readonly\"; \
                  mount -t tmpfs -o size=1m none \"$1/small\"; \
                  mount -t tmpfs -o noexec none \"$1/noexec\"; \
                  mount -t tmpfs -o ro none \"$1/readonly\"";
    let device = Device::start_with("", mounts);
    let stranger = device.path("config-stranger");
    let config = fs::read_to_string(device.path("config")).unwrap();
    fs::write(&stranger, config.replace("/user", "/stranger")).unwrap();
    let unknown = device.path("config-unknown");
    fs::write(&unknown, config.replace("/known", "/none")).unwrap();
    let usual = device.path("config");
    let cwd = tempdir().unwrap();
    fs::write(cwd.path().join("suite.toml"), SUITE).unwrap();
    let there = |directory: &str| device.address("127.0.0.1", directory);
    let cases = [
        (&usual, there("device/small"), "no room on the device"),
        (&usual, there("device/noexec"), "cannot execute a file in"),
        (&usual, there("device/readonly"), "Read-only file system"),
        (&usual, there("device/none"), "cannot enter"),
        (&stranger, there("device"), "Permission denied"),
        (&unknown, there("device"), "Host key verification failed"),
        (&usual, "ssh://127.0.0.1:1/tmp".to_owned(), "Connection refused"),
    ];
    for (config, address, reason) in cases {
        let ssh = format!("ssh -F {}", config.display());
        let mut command = device.command(cwd.path(), &["suite.toml", "--on", &address]);
        let ended = end(command.env("MEMSAMPLE_SSH", ssh));
        assert_eq!(ended.code, Some(1), "{address}: {}", ended.stderr);
        assert!(ended.stderr.contains(reason), "{address}: {}", ended.stderr);
        assert!(!ended.stderr.contains("suite demo"), "{}", ended.stderr);
        assert_eq!(ended.stdout, "");
    }
    for directory in ["small", "noexec", "readonly"] {
        fs::remove_dir(device.path("device").join(directory)).unwrap();
    }
    device.assert_clean("device");
}

#[test]
fn a_device_of_another_architecture_or_without_rights_is_refused() {
    let tools = tempdir().unwrap();
    let uname = tools.path().join("uname");
    fs::write(&uname, "#!/bin/sh\ncase $1 in -m) echo sparc64v9;; *) echo Linux;; esac\n").unwrap();
    fs::set_permissions(&uname, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = tools.path().display();
    let other = if cfg!(target_arch = "aarch64") { "x86_64" } else { "aarch64" };
    let text = fs::read_to_string(&uname).unwrap().replace("sparc64v9", other);
    fs::write(&uname, text).unwrap();
    let lying = format!("ForceCommand PATH={path}:$PATH exec sh -c \"$SSH_ORIGINAL_COMMAND\"");
    let nobody = "ForceCommand exec setpriv --reuid 65534 --regid 65534 --clear-groups sh -c \"$SSH_ORIGINAL_COMMAND\"";
    let reason = format!("the device is {other}, and the program to send is for");
    for (force, reason) in [(lying.as_str(), reason.as_str()), (nobody, "Permission denied")] {
        let device = Device::start_with(force, "chmod 711 \"$1/..\"");
        let cwd = tempdir().unwrap();
        fs::write(cwd.path().join("suite.toml"), SUITE).unwrap();
        let address = device.address("127.0.0.1", "device");
        let ended = end(&mut device.command(cwd.path(), &["suite.toml", "--on", &address]));
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains(reason), "{}", ended.stderr);
        device.assert_clean("device");
    }
}

/// As `make install` and `make install-device-programs` place them.
#[test]
fn a_device_gets_the_installed_program_of_its_architecture() {
    let device = Device::start();
    let root = tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::create_dir_all(at("bin")).unwrap();
    fs::create_dir_all(at("lib/memsample/devices")).unwrap();
    fs::hard_link(MEMSAMPLE, at("bin/memsample"))
        .or_else(|_| fs::copy(MEMSAMPLE, at("bin/memsample")).map(drop))
        .unwrap();
    let machine = rustix::system::uname().machine().to_str().unwrap().to_owned();
    let installed = at(&format!("lib/memsample/devices/memsample-{machine}"));
    fs::copy(program(), &installed).unwrap();
    // What is for another machine, and what is no program at all.
    let mut other = vec![0; 64];
    other[..6].copy_from_slice(b"\x7fELF\x02\x01");
    other[18] = 22;
    fs::write(at("lib/memsample/devices/memsample-s390x"), other).unwrap();
    let suite =
        "name = \"which\"\n[[test]]\nname = \"a\"\nshell = \"sha256sum <../../memsample\"\n";
    fs::create_dir(at("suite")).unwrap();
    fs::write(at("suite/suite.toml"), suite).unwrap();
    let address = device.address("127.0.0.1", "device");
    let run = |name: &str| {
        let ended = end(Command::new(at("bin/memsample"))
            .args([
                "run",
                "suite/suite.toml",
                "--sandbox",
                "none",
                "--on",
                &address,
                "--name",
                name,
            ])
            .env("MEMSAMPLE_CONFIG", "")
            .env("MEMSAMPLE_SSH", format!("ssh -F {}", device.path("config").display()))
            .current_dir(root.path()));
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        fs::read(at(&format!("runs/{name}/tests/0001-a/1.1/stdout"))).unwrap()
    };
    let hash = |path: &Path| {
        let file = File::open(path).unwrap();
        Command::new("sha256sum").stdin(file).output().unwrap().stdout
    };
    assert_eq!(run("installed"), hash(&installed));
    fs::remove_file(&installed).unwrap();
    assert_eq!(run("own"), hash(Path::new(MEMSAMPLE)));
    device.assert_clean("device");
}

#[test]
fn a_program_that_does_not_start_there_is_told() {
    let device = Device::start();
    let cwd = tempdir().unwrap();
    fs::write(cwd.path().join("suite.toml"), SUITE).unwrap();
    // Another loader, as on a device with another C library.
    let mut bytes = fs::read(program()).unwrap();
    let loader = b"/ld-linux";
    let at = bytes.windows(loader.len()).position(|window| window == loader).unwrap();
    bytes[at + 1..at + 3].copy_from_slice(b"no");
    let other = cwd.path().join("other");
    fs::write(&other, bytes).unwrap();
    let address = device.address("127.0.0.1", "device");
    let ended = end(Command::new(crate::command::MEMSAMPLE)
        .args(["run", "suite.toml", "--on", &address, "--device-program"])
        .arg(&other)
        .env("MEMSAMPLE_CONFIG", "")
        .env("MEMSAMPLE_SSH", format!("ssh -F {}", device.path("config").display()))
        .current_dir(cwd.path()));
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    for words in ["does not start on the device", "--device-program", "make device-programs"] {
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
    device.assert_clean("device");
}

#[test]
fn several_devices_run_it_at_once_or_none() {
    let device = Device::start();
    for directory in ["one", "two"] {
        fs::create_dir(device.path(directory)).unwrap();
    }
    let cwd = tempdir().unwrap();
    let suite = "name = \"pair\"\n[[test]]\nname = \"a\"\nshell = \"case $PWD in */two/*) exit 1;; esac\"\n";
    fs::write(cwd.path().join("suite.toml"), suite).unwrap();
    let (one, two) = (device.address("127.0.0.1", "one"), device.address("localhost", "two"));
    let ended = end(&mut device.command(cwd.path(), &["suite.toml", "--on", &one, "--on", &two]));
    assert_eq!(ended.code, Some(10), "{}", ended.stderr);
    for line in ended.stdout.lines().chain(ended.stderr.lines()) {
        assert!(line.starts_with("127.0.0.1: ") || line.starts_with("localhost: "), "{line}");
    }
    let mut runs: Vec<PathBuf> =
        fs::read_dir(cwd.path().join("runs")).unwrap().map(|it| it.unwrap().path()).collect();
    runs.sort();
    let found: Vec<(bool, String)> = runs
        .iter()
        .map(|run| (run.to_str().unwrap().ends_with("-127.0.0.1"), outcomes(run)[0].1.clone()))
        .collect();
    assert_eq!(found.len(), 2);
    assert!(found.contains(&(true, "passed".to_owned())), "{found:?}");
    assert!(found.contains(&(false, "failed".to_owned())), "{found:?}");
    let absent = device.address("localhost", "none");
    let ended =
        end(&mut device.command(cwd.path(), &["suite.toml", "--on", &one, "--on", &absent]));
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("localhost: error: cannot enter"), "{}", ended.stderr);
    assert!(ended.stderr.contains("127.0.0.1: error: not run"), "{}", ended.stderr);
    assert_eq!(fs::read_dir(cwd.path().join("runs")).unwrap().count(), 2);
    device.assert_clean("one");
    device.assert_clean("two");
}
