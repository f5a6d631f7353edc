//! What PSS explains of the mapped memory: how much is known, how old it is, and what is missing.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::fake_proc::{FakeProc, FakeProcess};
use crate::recorded::{batches, int64};
use crate::scripted_clock::ScriptedClock;
use memsample::parse::parse_meminfo;
use memsample::{Files, Metric, Rate, Recorder, RecorderOptions, Sampler, SamplerOptions};

const KIB: i64 = 1024;

#[test]
fn every_second_says_what_is_known_and_how_old_it_is() {
    let tree = FakeProc::new();
    tree.write("meminfo", b"MemTotal: 9000 kB\nAnonPages: 600 kB\nMapped: 400 kB\n");
    let process = |pid, pss_kib| FakeProcess { pss_kib, ..FakeProcess::new(pid) };
    tree.set(&process(7, 300));
    tree.set(&process(8, 100));
    let directory = tempfile::tempdir().unwrap();
    let root = tree.path().to_owned();
    let clock = ScriptedClock::new(move |tick, _| match tick {
        // After 0.5 s one begins, of which the PSS is read after 2 s.
        1 => tree.set(&process(9, 200)),
        // After 2.5 s one ends, and after 3.5 s another begins a program that says nothing of it.
        5 => tree.remove(8),
        7 => {
            tree.set(&FakeProcess { stack: 0x7ffe_0000_0000, ..process(9, 200) });
            std::fs::remove_file(tree.process_path(9).join("smaps_rollup")).unwrap();
        }
        _ => {}
    });
    let sampler = SamplerOptions::default().proc_root(root).clock(clock.shared());
    let options = RecorderOptions::new()
        .interval(Duration::from_millis(500))
        .duration(Duration::from_secs(5))
        .detail(Rate::EveryTick)
        .pss(Rate::Every(Duration::from_secs(2)))
        .sampler(sampler);
    let recorder = Recorder::start(&directory.path().join("run"), options).unwrap();
    let recording = clock.run(recorder);

    let mut rows = Vec::new();
    for batch in batches(&recording, "system") {
        for row in 0..batch.num_rows() {
            let value = |name: &str| int64(&batch, name, row);
            if let Some(bytes) = value("pss_known_bytes") {
                let counts =
                    ["pss_known_processes", "pss_unknown_processes"].map(|it| value(it).unwrap());
                let rss = value("pss_unknown_rss_bytes").unwrap();
                let ages = [value("pss_oldest_ms"), value("pss_mean_age_ms")];
                rows.push((bytes / KIB, counts, rss / KIB, ages));
            }
        }
    }
    let aged = |ms| [Some(ms), Some(ms)];
    let expected = [
        (400, [2, 0], 0, aged(0)),
        (400, [2, 1], 400, aged(1000)),
        (600, [3, 0], 0, aged(0)),
        (500, [2, 0], 0, aged(1000)),
        (300, [1, 1], 400, aged(0)),
    ];
    assert_eq!(rows, expected);
    let (known, meminfo) = recording.last_known_pss().unwrap().unwrap();
    assert_eq!(known.explains(&meminfo), Some(0.3));
}

/// Memory that only this process has.
struct Allocator(Child);

impl Allocator {
    const BYTES: u64 = 64 << 20;

    fn start() -> Self {
        let program =
            format!("import sys; a = b'x' * {}; print(flush=True); sys.stdin.read()", Self::BYTES);
        let mut child = Command::new("python3")
            .args(["-c", &program])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Read::read_exact(&mut child.stdout.take().unwrap(), &mut [0]).unwrap();
        Self(child)
    }
}

impl Drop for Allocator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn on_this_machine_the_sum_holds_what_a_process_is_known_to_have() {
    let allocator = Allocator::start();
    let mut sampler = Sampler::new(SamplerOptions::default()).unwrap();
    let snapshot = sampler.sweep(Files::SMAPS_ROLLUP);
    let known = snapshot.known_pss().unwrap();
    let sum: u64 = snapshot.samples().filter_map(|sample| sample.get(Metric::Pss)).sum();
    assert_eq!(known.known_bytes, sum);
    let read = snapshot.samples().filter(|sample| sample.get(Metric::Pss).is_some()).count();
    assert_eq!(known.known_processes as usize, read);
    assert_eq!(known.known_processes + known.unknown_processes, snapshot.counts().processes);
    let pid = allocator.0.id() as i32;
    let own = snapshot.samples().find(|sample| sample.pid() == pid).unwrap();
    let pss = own.get(Metric::Pss).unwrap();
    // The interpreter itself is 10 MiB, in part shared.
    assert!((Allocator::BYTES..Allocator::BYTES + (32 << 20)).contains(&pss), "{pss}");
    // The kernel maps no less than that.
    let meminfo = parse_meminfo(&std::fs::read("/proc/meminfo").unwrap()).unwrap();
    assert!(meminfo.mapped_bytes().unwrap() > Allocator::BYTES);
    assert!(known.explains(&meminfo).unwrap() > 0.0);
}
