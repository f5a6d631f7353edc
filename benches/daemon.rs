//! The daemon: idle, from a start to the first sample, marks, a thousand sessions, many at once, clients
//! that mean no good, the end, and the flight recorder.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark fails by panicking")]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use memsample_benches::{Table, median, memsampled};
use memsample_client::Client;
use memsample_client::wire::{DumpRequest, MarkKind, MarkRequest, Span, StartRequest};
use tempfile::{TempDir, tempdir};

const IDLE: Duration = Duration::from_secs(10);
const MARKS_PER_SECOND: u32 = 10_000;
const MARKS_FOR: Duration = Duration::from_secs(10);
const SESSIONS: usize = 1000;
/// Clients that say nothing, that send a byte now and then, and that send a header without an end.
const BAD_CLIENTS: [usize; 3] = [300, 150, 50];
const HEADER_BYTES: usize = 1 << 30;

struct Daemon {
    child: Child,
    directory: TempDir,
}

impl Daemon {
    fn start(arguments: &[&str]) -> Self {
        let directory = tempdir().unwrap();
        let mut command = memsampled().unwrap();
        command
            .current_dir(&directory)
            .args(["--socket", "s", "--recordings", "recordings"])
            .args(arguments);
        let child = command.stderr(Stdio::null()).spawn().unwrap();
        let daemon = Self { child, directory };
        while Client::connect(&daemon.socket()).is_err() {
            std::thread::yield_now();
        }
        daemon
    }

    fn socket(&self) -> std::path::PathBuf {
        self.directory.path().join("s")
    }

    fn connect(&self) -> Client {
        Client::connect(&self.socket()).unwrap()
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap()
    }

    fn rss_mib(&self) -> f64 {
        let status = self.proc("status");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    }

    /// CPU time of all threads, in nanoseconds as the scheduler counts it.
    fn cpu_ms(&self) -> f64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let of_task = |path: &Path| {
            let text = fs::read_to_string(path.join("schedstat")).unwrap_or_default();
            text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0)
        };
        tasks.map(|task| of_task(&task.unwrap().path())).sum::<f64>() / 1e6
    }

    fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn point() -> MarkRequest {
    MarkRequest { kind: MarkKind::Point, name: "test_load".to_owned(), ..MarkRequest::default() }
}

/// Sets so many marks and returns how long the answer took, in microseconds: the median, and at 99 %.
fn mark_latencies(client: &mut Client, session: &str, count: usize) -> (f64, f64) {
    let mut latencies: Vec<f64> = (0..count)
        .map(|_| {
            let began = Instant::now();
            client.mark(session, &point()).unwrap();
            began.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    latencies.sort_by(f64::total_cmp);
    let p99 = latencies.get(latencies.len() * 99 / 100).copied().unwrap();
    (median(latencies), p99)
}

fn main() {
    println!("## daemon\n");
    let mut table = Table::new(&["what", "measured"]);
    let mut row = |what: &str, measured: String| table.row([what.to_owned(), measured]);

    let daemon = Daemon::start(&[]);
    // Until it has looked at what is there, and ended the threads for that.
    std::thread::sleep(IDLE);
    let before_ms = daemon.cpu_ms();
    std::thread::sleep(IDLE);
    let used_ms = daemon.cpu_ms() - before_ms;
    row("idle, CPU", format!("{used_ms:.2} ms in {} s", IDLE.as_secs()));
    row("idle, resident", format!("{:.1} MiB", daemon.rss_mib()));

    let mut client = daemon.connect();
    let session = client.start(&StartRequest::default()).unwrap().id;
    let alone = mark_latencies(&mut client, &session, 1000);
    let done = AtomicBool::new(false);
    let (silent, slow, large) = BAD_CLIENTS.into();
    let connect = || UnixStream::connect(daemon.socket()).unwrap();
    let silent: Vec<UnixStream> = (0..silent).map(|_| connect()).collect();
    let mut slow: Vec<UnixStream> = (0..slow).map(|_| connect()).collect();
    let (among, refused) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                slow.iter_mut().for_each(|stream| drop(stream.write(b"x")));
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        let large: Vec<_> = (0..large)
            .map(|_| {
                scope.spawn(|| {
                    let mut stream = connect();
                    let _ = stream.write_all(b"GET / HTTP/1.1\r\nX: ");
                    let chunk = vec![b'x'; 1 << 16];
                    let chunks = HEADER_BYTES / chunk.len();
                    let sent = (0..chunks).take_while(|_| stream.write_all(&chunk).is_ok()).count();
                    let _ = stream.read_to_string(&mut String::new());
                    sent < chunks
                })
            })
            .collect();
        let among = mark_latencies(&mut client, &session, 1000);
        let refused = large.into_iter().filter_map(|client| client.join().ok()).filter(|cut| *cut);
        let refused = refused.count();
        done.store(true, Ordering::Relaxed);
        (among, refused)
    });
    drop((silent, slow));
    client.stop(&session).unwrap();
    row(
        "a mark of the client after 500 that mean no good",
        format!(
            "{:.0} us at the median, {:.0} us at 99 % (alone {:.0} and {:.0}); {refused} of {} headers of 1 GiB cut off",
            among.0,
            among.1,
            alone.0,
            alone.1,
            BAD_CLIENTS.into_iter().next_back().unwrap_or(0)
        ),
    );

    let mut starts = Vec::new();
    let mut firsts = Vec::new();
    for _ in 0..20 {
        let request = StartRequest {
            interval: Some(Span(Duration::from_millis(1))),
            ..StartRequest::default()
        };
        let asked_ns = boot_ns();
        let began = Instant::now();
        let session = client.start(&request).unwrap();
        starts.push(began.elapsed().as_secs_f64() * 1e3);
        // It is over only after its first sweep.
        std::thread::sleep(Duration::from_millis(200));
        let run = client.stop(&session.id).unwrap().recording;
        let (recording, _) = memsample::Recording::open(run.as_ref()).unwrap();
        let first = (recording.read_table("ticks", &["began_ns"]))
            .filter_map(|batch| first_int64(&batch.unwrap()))
            .next()
            .unwrap();
        firsts.push((first - asked_ns) as f64 / 1e6);
    }
    row("a session is started", format!("{:.1} ms at the median", median(starts)));
    row("from the request to the first sweep", format!("{:.1} ms at the median", median(firsts)));

    let session = client.start(&StartRequest::default()).unwrap();
    let (p50, p99) = mark_latencies(&mut client, &session.id, 5000);
    row("a mark is acknowledged", format!("{p50:.0} us at the median, {p99:.0} us at 99 %"));
    client.stop(&session.id).unwrap();

    let session = client.start(&StartRequest::default()).unwrap();
    let wanted = MARKS_PER_SECOND * u32::try_from(MARKS_FOR.as_secs()).unwrap();
    let began = Instant::now();
    let mut refused = 0;
    for number in 0..wanted {
        let due = MARKS_FOR.mul_f64(f64::from(number) / f64::from(wanted));
        if let Some(early) = due.checked_sub(began.elapsed()) {
            std::thread::sleep(early);
        }
        refused += u32::from(client.mark(&session.id, &point()).is_err());
    }
    let took = began.elapsed().as_secs_f64();
    let stopped = client.stop(&session.id).unwrap();
    let (recording, _) = memsample::Recording::open(stopped.recording.as_ref()).unwrap();
    let kept: usize =
        recording.read_table("marks", &["ts"]).map(|batch| batch.unwrap().num_rows()).sum();
    let late = 100.0 * stopped.summary.late as f64 / stopped.summary.ticks as f64;
    row(
        &format!("{MARKS_PER_SECOND} marks a second"),
        format!(
            "{wanted} in {took:.2} s, {refused} refused, {kept} kept, {late:.2} % of {} ticks late",
            stopped.summary.ticks
        ),
    );

    drop(client);
    let mut held = vec![(daemon.rss_mib(), daemon.descriptors())];
    for _ in 0..2 {
        let mut client = daemon.connect();
        for _ in 0..SESSIONS {
            let session = client.start(&StartRequest::default()).unwrap();
            client.stop(&session.id).unwrap();
        }
        drop(client);
        // The pool of threads ends its idle ones after two seconds.
        std::thread::sleep(Duration::from_secs(3));
        held.push((daemon.rss_mib(), daemon.descriptors()));
    }
    let held: Vec<String> =
        held.iter().map(|(mib, descriptors)| format!("{mib:.1} MiB and {descriptors}")).collect();
    row(
        &format!("{SESSIONS} sessions, one after the other"),
        format!("{} descriptors before, after them, and after as many more", held.join(", ")),
    );

    let mut daemon = daemon;
    let mut client = daemon.connect();
    for _ in 0..10 {
        client.start(&StartRequest::default()).unwrap();
    }
    std::thread::sleep(IDLE);
    let began = Instant::now();
    let pid = rustix::process::Pid::from_child(&daemon.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    daemon.child.wait().unwrap();
    row(
        "SIGTERM with ten recordings that go on",
        format!("all closed and ended after {:.0} ms", began.elapsed().as_secs_f64() * 1e3),
    );
    drop(daemon);

    // How much more many sessions cost than one, ten times a second each.
    let daemon = Daemon::start(&[]);
    let mut client = daemon.connect();
    let mut sessions = Vec::new();
    for count in [1, 10, 32] {
        while sessions.len() < count {
            sessions.push(client.start(&StartRequest::default()).unwrap().id);
        }
        // The files are brought up to date after 1, 3, 7 and 15 seconds.
        std::thread::sleep(IDLE);
        let before_ms = daemon.cpu_ms();
        std::thread::sleep(IDLE);
        let used_ms = daemon.cpu_ms() - before_ms;
        // The connection was closed meanwhile.
        client = daemon.connect();
        row(
            &format!("{count} sessions at once"),
            format!(
                "{used_ms:.0} ms of CPU in {} s, {:.1} MiB, {} descriptors",
                IDLE.as_secs(),
                daemon.rss_mib(),
                daemon.descriptors()
            ),
        );
    }
    drop(daemon);

    let daemon = Daemon::start(&["--flight-recorder", "10s"]);
    std::thread::sleep(IDLE + IDLE);
    let before_ms = daemon.cpu_ms();
    std::thread::sleep(IDLE);
    let used_ms = daemon.cpu_ms() - before_ms;
    let mut client = daemon.connect();
    let kept = client.health().unwrap().flight_recorder.unwrap();
    row(
        "a flight recorder of 10 s",
        format!(
            "{used_ms:.0} ms of CPU in {} s, {:.1} MiB, {} KiB on disk",
            IDLE.as_secs(),
            daemon.rss_mib(),
            kept.kept_bytes >> 10
        ),
    );
    let began = Instant::now();
    let dump = client.dump(&DumpRequest::default()).unwrap();
    row(
        "a dump of it",
        format!(
            "{:.2} s with {} samples, of which up to 0.6 s wait for the last of them",
            began.elapsed().as_secs_f64(),
            dump.summary.samples
        ),
    );
    println!("{table}");
}

fn boot_ns() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

fn first_int64(batch: &arrow::array::RecordBatch) -> Option<i64> {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;
    batch.column(0).as_primitive::<Int64Type>().values().first().copied()
}
