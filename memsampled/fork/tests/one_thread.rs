//! Forks of a process with one thread, and why one with two is refused.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking")]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::channel;

use memsample_fork::{Streams, fork, fork_beside, fork_in_namespaces, fork_into};
use rustix::io::{Errno, FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::process::{Pid, WaitOptions, getpid, getppid, waitpid};

/// Each of them, with its name.
const TESTS: [(&str, fn()); 8] = [
    (
        "a child has its streams and ends with its code",
        a_child_has_its_streams_and_ends_with_its_code,
    ),
    ("a child keeps what an exec keeps", a_child_keeps_what_an_exec_keeps),
    (
        "the other end is closed when the parent closes it",
        the_other_end_is_closed_when_the_parent_closes_it,
    ),
    ("a child beside has the same parent", a_child_beside_has_the_same_parent),
    ("a child begins in a group or is refused", a_child_begins_in_a_group_or_is_refused),
    ("a child is the first of its namespace", a_child_is_the_first_of_its_namespace),
    ("a child that panics ends as a program does", a_child_that_panics_ends_as_a_program_does),
    ("a second thread is refused", a_second_thread_is_refused),
];

fn main() {
    for (name, test) in TESTS {
        test();
        println!("{name}: ok");
    }
}

fn exit_code(pid: Pid) -> Option<i32> {
    waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap().1.exit_status()
}

fn read(stream: UnixStream) -> String {
    let mut text = String::new();
    (&stream).read_to_string(&mut text).unwrap();
    text
}

fn a_child_has_its_streams_and_ends_with_its_code() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let fd = Some(theirs.as_fd());
    let streams = Streams { stdin: fd, stdout: fd, stderr: fd };
    // What it executes has them too.
    let line = "cat; echo out; echo error >&2; exit 7";
    let pid = fork(streams, || {
        let code = Command::new("sh").args(["-c", line]).status().unwrap().code();
        u8::try_from(code.unwrap()).unwrap()
    });
    let pid = pid.unwrap();
    drop(theirs);
    (&ours).write_all(b"in\n").unwrap();
    ours.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(read(ours), "in\nout\nerror\n");
    assert_eq!(exit_code(pid), Some(7));
}

fn a_child_keeps_what_an_exec_keeps() {
    let (kept, closed) = (File::open("/proc/self/stat").unwrap(), File::open("/").unwrap());
    fcntl_setfd(&kept, FdFlags::empty()).unwrap();
    let target = |number: i32| std::fs::read_link(format!("/proc/self/fd/{number}")).unwrap();
    let (of_kept, of_closed) = (kept.as_raw_fd(), closed.as_raw_fd());
    let before = target(of_kept);
    let pid = fork(Streams::default(), || {
        assert_eq!(target(of_kept), before);
        // Its number is taken, and by nothing that matters.
        assert_eq!(target(of_closed).to_str(), Some("/dev/null"));
        assert_eq!(fcntl_getfd(&closed).unwrap(), FdFlags::CLOEXEC);
        0
    });
    assert_eq!(exit_code(pid.unwrap()), Some(0));
    assert_eq!(target(of_closed).to_str(), Some("/"));
}

fn the_other_end_is_closed_when_the_parent_closes_it() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let streams = Streams { stdin: Some(theirs.as_fd()), ..Streams::default() };
    let pid = fork(streams, || {
        // It would wait for ever for what it could write itself.
        u8::try_from(std::io::stdin().read_to_end(&mut Vec::new()).unwrap()).unwrap()
    });
    drop(ours);
    assert_eq!(exit_code(pid.unwrap()), Some(0));
}

fn a_child_beside_has_the_same_parent() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let own = getpid();
    let streams = Streams { stdout: Some(theirs.as_fd()), ..Streams::default() };
    let starter = fork(streams, || {
        let beside = fork_beside(Streams::default(), || {
            assert_eq!(getppid(), Some(own));
            5
        });
        print!("{}", beside.unwrap().as_raw_nonzero());
        std::io::stdout().flush().unwrap();
        // It is not its child.
        u8::from(waitpid(None, WaitOptions::empty()).err() != Some(Errno::CHILD))
    });
    drop(theirs);
    let beside = read(ours).parse().ok().and_then(Pid::from_raw);
    assert_eq!(exit_code(beside.unwrap()), Some(5));
    assert_eq!(exit_code(starter.unwrap()), Some(0));
}

fn a_child_begins_in_a_group_or_is_refused() {
    let no_group = File::open("/").unwrap();
    fork_into(no_group.as_fd(), Streams::default(), || 0).unwrap_err();
    // Nobody was forked.
    assert_eq!(waitpid(None, WaitOptions::NOHANG).err(), Some(Errno::CHILD));
    // Not every machine has version 2, and not every user may make a group.
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let mut targets = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let target = fields.next()?;
        (fields.next()? == "cgroup2").then_some(target)
    });
    let Some(target) = targets.next() else { return };
    let name = format!("memsample-fork-{}", getpid().as_raw_nonzero());
    let path = Path::new(target).join(&name);
    if std::fs::create_dir(&path).is_err() {
        return;
    }
    let group = File::open(&path).unwrap();
    let pid = fork_into(group.as_fd(), Streams::default(), || {
        let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        u8::from(!groups.lines().any(|line| line.starts_with("0:") && line.ends_with(&name)))
    });
    let code = pid.map(exit_code);
    std::fs::remove_dir(&path).unwrap();
    assert_eq!(code.unwrap(), Some(0));
}

fn a_child_is_the_first_of_its_namespace() {
    let namespaces = || {
        ["pid", "mnt", "ipc", "net"]
            .map(|name| std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap())
    };
    let of_parent = namespaces();
    let pid = fork_in_namespaces(Streams::default(), || {
        // `/proc` is still that of the parent.
        let differ = namespaces()
            .iter()
            .zip(&of_parent)
            .map(|(own, theirs)| own != theirs)
            .collect::<Vec<_>>();
        u8::from(getpid().as_raw_nonzero().get() != 1 || differ != [true, true, true, false])
    });
    match pid {
        Ok(pid) => assert_eq!(exit_code(pid), Some(0)),
        // Who has no rights has no namespaces.
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied),
    }
}

fn a_child_that_panics_ends_as_a_program_does() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let streams = Streams { stderr: Some(theirs.as_fd()), ..Streams::default() };
    let pid = fork(streams, || panic!("a reason"));
    drop(theirs);
    let words = read(ours);
    assert!(words.contains("a reason"), "{words}");
    assert_eq!(exit_code(pid.unwrap()), Some(101));
}

fn a_second_thread_is_refused() {
    let (sender, end) = channel::<()>();
    let second = std::thread::spawn(move || end.recv());
    let root = File::open("/").unwrap();
    for refused in [
        fork(Streams::default(), || 0),
        fork_beside(Streams::default(), || 0),
        fork_into(root.as_fd(), Streams::default(), || 0),
        fork_in_namespaces(Streams::default(), || 0),
    ] {
        let why = refused.unwrap_err().to_string();
        assert!(why.contains("more than one thread"), "{why}");
    }
    // Nobody was forked.
    assert_eq!(waitpid(None, WaitOptions::NOHANG).err(), Some(Errno::CHILD));
    drop(sender);
    let _ = second.join();
}
