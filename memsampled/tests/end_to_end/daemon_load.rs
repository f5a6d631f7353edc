//! Many clients, many marks, many sessions, and clients that mean no good.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::command::wait_for;
use crate::daemon::Daemon;
use arrow_array::cast::AsArray;
use memsample::Recording;
use memsample_client::wire::{MarkKind, MarkRequest, StartRequest};
use memsample_client::{Client, ClientError};
use tempfile::tempdir;

/// Returns a size from `/proc/PID/status`, in KiB.
fn status_kib(daemon: &Daemon, key: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn open_descriptors(daemon: &Daemon) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count()
}

fn point(name: &str) -> MarkRequest {
    MarkRequest { kind: MarkKind::Point, name: name.to_owned(), ..MarkRequest::default() }
}

#[test]
fn clients_that_do_no_good_change_nothing_for_the_others() {
    let daemon = Daemon::start();
    let before = status_kib(&daemon, "VmRSS:");
    let silent: Vec<UnixStream> = (0..300).map(|_| daemon.connect()).collect();
    let mut slow: Vec<UnixStream> = (0..150).map(|_| daemon.connect()).collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // A byte at a time, of a header that never ends; a full one to those that are still served.
        scope.spawn(|| {
            let request = b"GET /healthz HTTP/1.1\r\nHost: ";
            for byte in request.iter().chain(std::iter::repeat(&b'x')) {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                slow.iter_mut().for_each(|stream| drop(stream.write(&[*byte])));
            }
        });
        // Headers without an end: the daemon closes when it has heard enough.
        let large: Vec<_> = (0..50)
            .map(|_| {
                scope.spawn(|| {
                    let mut stream = daemon.connect();
                    stream.write_all(b"GET / HTTP/1.1\r\nX: ").unwrap();
                    let chunk = vec![b'x'; 1 << 16];
                    let sent =
                        (0..1 << 14).take_while(|_| stream.write_all(&chunk).is_ok()).count();
                    let mut answer = String::new();
                    let _ = stream.read_to_string(&mut answer);
                    (sent, answer)
                })
            })
            .collect();
        // The client after them is served as if it were alone.
        let mut client = Client::connect(&daemon.socket()).unwrap();
        let session = client.start(&StartRequest::default()).unwrap();
        for _ in 0..100 {
            client.mark(&session.id, &point("served")).unwrap();
        }
        assert_eq!(client.sessions().unwrap().sessions.len(), 1);
        assert_eq!(client.stop(&session.id).unwrap().summary.dropped, 0);
        for large in large {
            let (sent, answer) = large.join().unwrap();
            assert!(sent < 1 << 14, "a header of 1 GiB was read");
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
        }
        done.store(true, Ordering::Relaxed);
    });
    let grown = status_kib(&daemon, "VmRSS:").saturating_sub(before);
    assert!(grown < 64 << 10, "500 clients made it grow by {grown} KiB");
    // Who says nothing is closed after a while.
    for mut stream in silent {
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
    }
    drop(slow);
    wait_for("the end of the connections", || {
        let metrics = daemon.get("/metrics").text();
        // One asks.
        metrics.contains("\nmemsampled_connections 1\n").then_some(())
    });
}

#[test]
fn connections_beyond_the_limit_are_refused_at_once() {
    let config = "[daemon.limits]\nconnections = 20\n";
    let daemon = Daemon::start_with(tempdir().unwrap(), config);
    wait_for("the end of the first connection", || {
        daemon.get("/metrics").text().contains("\nmemsampled_connections 1\n").then_some(())
    });
    // One on which nothing comes is closed after ten seconds: on a busy machine others have to be opened.
    let (refused, open) = wait_for("a refusal", || {
        let open: Vec<UnixStream> = (0..20).map(|_| daemon.connect()).collect();
        let opened = Instant::now();
        while opened.elapsed() < Duration::from_secs(5) {
            let answer = daemon.get("/healthz");
            if answer.status != 200 {
                return Some((answer, open));
            }
        }
        None
    });
    assert_eq!(refused.refusal(), (503, "unavailable".to_owned()));
    drop(open);
    wait_for("room", || (daemon.get("/healthz").status == 200).then_some(()));
    let metrics = daemon.get("/metrics").text();
    let counted =
        metrics.lines().find(|line| line.starts_with("memsampled_connections_refused_total "));
    assert_ne!(counted, Some("memsampled_connections_refused_total 0"));
}

#[test]
fn no_mark_is_lost() {
    let daemon = Daemon::start();
    let id = daemon.session("{}");
    let mut set = 0_usize;
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = Client::connect(&daemon.socket()).unwrap();
                    let set = (0..5000).filter(|_| match client.mark(&id, &point("x")) {
                        Ok(()) => true,
                        // It says when it cannot take more; then it does not keep it either.
                        Err(ClientError::Refused(status, _)) => {
                            assert_eq!(status.as_u16(), 429);
                            false
                        }
                        Err(error) => panic!("{error}"),
                    });
                    set.count()
                })
            })
            .collect();
        set = clients.into_iter().map(|client| client.join().unwrap()).sum();
    });
    daemon.stop(&id);
    let (recording, _) = Recording::open(&daemon.recordings().join(&id)).unwrap();
    // What the kernel kills meanwhile is marked as well.
    let kept = recording.read_table("marks", &["name"]).map(|batch| {
        batch.unwrap()["name"].as_string::<i32>().iter().filter(|name| *name == Some("x")).count()
    });
    assert_eq!(kept.sum::<usize>(), set);
    assert!(set > 10_000, "only {set} of 20000 were taken");
}

#[test]
fn sessions_leave_nothing_behind() {
    let daemon = Daemon::start();
    let mut client = Client::connect(&daemon.socket()).unwrap();
    let mut round = |sessions: usize| {
        for _ in 0..sessions {
            let session = client.start(&StartRequest::default()).unwrap();
            client.mark(&session.id, &point("x")).unwrap();
            client.stop(&session.id).unwrap();
            std::fs::remove_dir_all(daemon.recordings().join(&session.id)).unwrap();
        }
        // The threads of the pool have no descriptors, so these are exact at once.
        (open_descriptors(&daemon), status_kib(&daemon, "VmRSS:"))
    };
    let (descriptors_before, rss_before) = round(100);
    let (descriptors, rss) = round(100);
    assert_eq!(descriptors, descriptors_before);
    // What one session leaves would be there 100 times.
    assert!(rss < rss_before + (8 << 10), "{rss_before} KiB before, {rss} KiB after");
}
