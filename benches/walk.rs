//! One pass over all processes by a BPF program that reads every counter, beside bare loops of `pread` on kept
//! descriptors, which are the least that reading `/proc` costs.
//!
//! The contestants take turns, so that what the machine does meanwhile meets all of them; figures are medians. Sizes of
//! the population can be given: `cargo bench --bench walk -- 300 1000`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark fails by panicking")]

use std::fs::File;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use memsample_benches::{Population, Table, cpu_seconds_of_thread, median, raise_descriptor_limit};
use memsample_bpf::Walk;
use rustix::io::pread;

const WARM_TURNS: usize = 100;
const COLD_TURNS: usize = 40;
const TICK: Duration = Duration::from_millis(100);

fn main() {
    raise_descriptor_limit().unwrap();
    println!("## walk: CPU time of one pass over all processes, by BPF and by /proc\n");
    println!(
        "Microseconds for each process; threads of the kernel count as processes for BPF, which reads them too.\n"
    );
    let sizes: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![300, 1000, 5000] } else { sizes };
    let mut table = Table::new(&[
        "processes",
        "caches",
        "BPF, all counters",
        "bare pread of statm",
        "bare pread of status and stat",
    ]);
    for processes in sizes {
        let _population = Population::top_up_to(processes).unwrap();
        let mut contest = Contest::new();
        for (name, turns, pause) in
            [("warm", WARM_TURNS, None), ("cold, 10 Hz", COLD_TURNS, Some(TICK))]
        {
            let [walk, statm, detail] = contest.run(turns, pause);
            let micros =
                |seconds: Vec<f64>, of: usize| format!("{:.2}", median(seconds) * 1e6 / of as f64);
            let (rows, files) = (contest.rows(), contest.statm.len());
            table.row([
                format!("{files} (rows: {rows})"),
                name.to_owned(),
                micros(walk, rows),
                micros(statm, files),
                micros(detail, files),
            ]);
        }
    }
    println!("{table}");
}

struct Contest {
    walk: Walk,
    statm: Vec<OwnedFd>,
    detail: Vec<OwnedFd>,
}

impl Contest {
    fn new() -> Self {
        let mut walk = Walk::load(6000).unwrap();
        let rows = walk.pass().unwrap().rows;
        let pids: Vec<u32> =
            rows.iter().filter(|row| row.has_memory()).map(|row| row.pid).collect();
        let open = |name: &str| {
            let open = |pid: &u32| File::open(format!("/proc/{pid}/{name}")).ok();
            pids.iter().filter_map(open).map(OwnedFd::from).collect::<Vec<_>>()
        };
        let (statm, mut detail) = (open("statm"), open("status"));
        detail.extend(open("stat"));
        Self { walk, statm, detail }
    }

    fn rows(&mut self) -> usize {
        self.walk.pass().unwrap().rows.len()
    }

    /// CPU seconds of each pass.
    fn run(&mut self, turns: usize, pause: Option<Duration>) -> [Vec<f64>; 3] {
        let mut figures = [const { Vec::new() }; 3];
        for _ in 0..turns {
            let Self { walk, statm, detail } = self;
            let mut passes: [&mut dyn FnMut() -> u64; 3] = [
                &mut || {
                    let pass = walk.pass().unwrap();
                    assert_eq!(pass.missed, 0);
                    pass.rows.iter().map(|row| row.resident_pages()).sum()
                },
                &mut || pread_all(statm),
                &mut || pread_all(detail),
            ];
            for (seconds, pass) in figures.iter_mut().zip(&mut passes) {
                pause.into_iter().for_each(thread::sleep);
                let before = cpu_seconds_of_thread();
                assert_ne!(std::hint::black_box(pass()), 0);
                seconds.push(cpu_seconds_of_thread() - before);
            }
        }
        figures
    }
}

/// Nothing but the system call.
fn pread_all(files: &[OwnedFd]) -> u64 {
    let mut buffer = [0; 4096];
    files.iter().map(|file| pread(file, &mut buffer, 0).unwrap_or(0) as u64).sum()
}
