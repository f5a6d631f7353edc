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

use memsample::{Files, Sampler, SamplerOptions, SweepBy};
use memsample_benches::{Population, Table, cpu_seconds_of_thread, median, raise_descriptor_limit};
use memsample_bpf::{Form, Walk};
use rustix::io::pread;

const WARM_TURNS: usize = 100;
const COLD_TURNS: usize = 40;
const TICK: Duration = Duration::from_millis(100);

fn main() {
    raise_descriptor_limit().unwrap();
    println!("## walk: CPU time of one pass over all processes, by BPF and by /proc\n");
    println!(
        "Microseconds for each process with memory. BPF reads all counters of all processes; \
         sweeps of the sampler find new processes and apply what was read besides.\n"
    );
    let sizes: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![300, 1000, 5000] } else { sizes };
    let mut table = Table::new(&[
        "processes",
        "caches",
        "BPF, all counters",
        "the same, iter/task",
        "sweep by BPF, with details",
        "pread of statm",
        "sweep of statm",
        "pread of status, stat",
        "sweep with details",
    ]);
    for processes in sizes {
        let _population = Population::top_up_to(processes).unwrap();
        let mut contest = Contest::new();
        for (name, turns, pause) in
            [("warm", WARM_TURNS, None), ("cold, 10 Hz", COLD_TURNS, Some(TICK))]
        {
            let figures = contest.run(turns, pause);
            let of = contest.statm.len();
            let micros = |seconds: Vec<f64>| format!("{:.2}", median(seconds) * 1e6 / of as f64);
            let [walk, each_task, by_bpf, statm, by_statm, detail, by_detail] = figures.map(micros);
            let name = name.to_owned();
            table.row([
                of.to_string(),
                name,
                walk,
                each_task,
                by_bpf,
                statm,
                by_statm,
                detail,
                by_detail,
            ]);
        }
    }
    println!("{table}");
}

struct Contest {
    walk: Walk,
    each_task: Walk,
    by_bpf: Sampler,
    by_proc: Sampler,
    statm: Vec<OwnedFd>,
    detail: Vec<OwnedFd>,
}

impl Contest {
    fn new() -> Self {
        let mut walk = Walk::load_form(Form::List, 6000).unwrap();
        let each_task = Walk::load_form(Form::EachTask, 6000).unwrap();
        let rows = walk.pass().unwrap().rows;
        let pids: Vec<u32> =
            rows.iter().filter(|row| row.has_memory()).map(|row| row.pid).collect();
        let open = |name: &str| {
            let open = |pid: &u32| File::open(format!("/proc/{pid}/{name}")).ok();
            pids.iter().filter_map(open).map(OwnedFd::from).collect::<Vec<_>>()
        };
        let (statm, mut detail) = (open("statm"), open("status"));
        detail.extend(open("stat"));
        let sampler = |way| Sampler::new(SamplerOptions::default().sweep_by(way)).unwrap();
        let (by_bpf, by_proc) = (sampler(SweepBy::Bpf), sampler(SweepBy::Proc));
        Self { walk, each_task, by_bpf, by_proc, statm, detail }
    }

    /// CPU seconds of each pass.
    fn run(&mut self, turns: usize, pause: Option<Duration>) -> [Vec<f64>; 7] {
        let mut figures = [const { Vec::new() }; 7];
        for _ in 0..turns {
            let Self { walk, each_task, by_bpf, by_proc, statm, detail } = self;
            let by_proc = std::cell::RefCell::new(by_proc);
            let mut passes: [&mut dyn FnMut() -> u64; 7] = [
                &mut || resident_pages(walk),
                &mut || resident_pages(each_task),
                &mut || sweep(by_bpf, Files::STATM | Files::DETAIL),
                &mut || pread_all(statm),
                &mut || sweep(&mut by_proc.borrow_mut(), Files::STATM),
                &mut || pread_all(detail),
                &mut || sweep(&mut by_proc.borrow_mut(), Files::STATM | Files::DETAIL),
            ];
            for (seconds, pass) in figures.iter_mut().zip(&mut passes) {
                pause.into_iter().for_each(thread::sleep);
                let before = cpu_seconds_of_thread();
                assert_ne!(std::hint::black_box(pass()), 0);
                seconds.push(cpu_seconds_of_thread() - before);
            }
        }
        assert!(self.by_bpf.sweeps_by_bpf());
        figures
    }
}

fn sweep(sampler: &mut Sampler, files: Files) -> u64 {
    sampler.sweep(files).samples().map(|sample| sample.rss_bytes()).sum()
}

fn resident_pages(walk: &mut Walk) -> u64 {
    let pass = walk.pass().unwrap();
    assert_eq!(pass.missed, 0);
    pass.rows.iter().map(|row| row.resident_pages()).sum()
}

/// Nothing but the system call.
fn pread_all(files: &[OwnedFd]) -> u64 {
    let mut buffer = [0; 4096];
    files.iter().map(|file| pread(file, &mut buffer, 0).unwrap_or(0) as u64).sum()
}
