//! One pass over all processes: CPU time for each process, beside a bare loop of `pread` on kept
//! descriptors, the procfs crate, `ps` and, where it is installed, smem.
//!
//! The contestants take turns, so that what the machine does meanwhile meets all of them; figures are
//! medians, and ratios are medians of the ratios within a turn.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark fails by panicking")]

use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use memsample::{Files, Sampler, SamplerOptions};
use memsample_benches::{
    Population, Table, cpu_seconds_of_thread, cpu_seconds_when_ended, median,
    raise_descriptor_limit,
};
use rustix::io::pread;

/// Turns back to back, and turns with a pause before each contestant, in which the caches go cold as
/// they do between two ticks of a recording.
const WARM_TURNS: usize = 100;
const COLD_TURNS: usize = 40;
const TICK: Duration = Duration::from_millis(100);
/// Programs take so long that fewer turns do.
const PROGRAM_TURNS: usize = 15;
const SMEM_TURNS: usize = 3;

fn main() {
    raise_descriptor_limit().unwrap();
    println!("## scan: CPU time of one pass over all processes\n");
    println!(
        "Microseconds for each process; in brackets how many times what `memsample` took in the same turn.\n"
    );
    let mut table = Table::new(&[
        "processes",
        "caches",
        "memsample",
        "bare pread of the same descriptors",
        "procfs: list, statm",
        "procfs: statm of known processes",
        "ps -eo pid,rss,vsz,comm",
        "smem",
    ]);
    for processes in [300, 1000, 5000] {
        let _population = Population::top_up_to(processes).unwrap();
        let mut contest = Contest::new();
        for (name, turns, pause) in
            [("warm", WARM_TURNS, None), ("cold, 10 Hz", COLD_TURNS, Some(TICK))]
        {
            let figures = contest.run(turns, pause);
            let cell = |seconds: &[f64]| {
                if seconds.is_empty() {
                    return "not installed".to_owned();
                }
                let ratios =
                    seconds.iter().zip(&figures.memsample).map(|(theirs, ours)| theirs / ours);
                let micros = median(seconds.to_vec()) * 1e6 / contest.processes();
                format!("{micros:.2} ({:.2}x)", median(ratios.collect()))
            };
            table.row([
                processes.to_string(),
                name.to_owned(),
                cell(&figures.memsample),
                cell(&figures.pread),
                cell(&figures.procfs_list),
                cell(&figures.procfs_known),
                cell(&figures.ps),
                cell(&figures.smem),
            ]);
        }
    }
    println!("{table}");
}

/// CPU seconds of each pass.
#[derive(Default)]
struct Figures {
    memsample: Vec<f64>,
    pread: Vec<f64>,
    procfs_list: Vec<f64>,
    procfs_known: Vec<f64>,
    ps: Vec<f64>,
    smem: Vec<f64>,
}

/// What the contestants keep between two passes.
struct Contest {
    sampler: Sampler,
    statm: Vec<OwnedFd>,
    known: Vec<procfs::process::Process>,
    has_smem: bool,
}

impl Contest {
    fn new() -> Self {
        let mut sampler = Sampler::new(SamplerOptions::default()).unwrap();
        let snapshot = sampler.sweep(Files::STATM);
        let pids: Vec<i32> = snapshot.samples().map(|sample| sample.pid()).collect();
        let open = |pid: &i32| File::open(format!("/proc/{pid}/statm")).unwrap().into();
        Self {
            sampler,
            statm: pids.iter().map(open).collect(),
            known: pids.iter().map(|&pid| procfs::process::Process::new(pid).unwrap()).collect(),
            has_smem: Command::new("smem").arg("--help").stdout(Stdio::null()).status().is_ok(),
        }
    }

    fn processes(&self) -> f64 {
        self.statm.len() as f64
    }

    fn run(&mut self, turns: usize, pause: Option<Duration>) -> Figures {
        let mut figures = Figures::default();
        let wait = || pause.into_iter().for_each(thread::sleep);
        for turn in 0..turns {
            wait();
            figures.memsample.push(cpu_of(|| {
                let snapshot = self.sampler.sweep(Files::STATM);
                assert_eq!(snapshot.counts().reopened, 0);
                snapshot.samples().map(|sample| sample.rss_bytes()).sum()
            }));
            wait();
            figures.pread.push(cpu_of(|| self.pread_all()));
            wait();
            figures.procfs_known.push(cpu_of(|| {
                self.known.iter().map(|process| process.statm().unwrap().resident).sum()
            }));
            wait();
            figures.procfs_list.push(cpu_of(|| {
                let processes = procfs::process::all_processes().unwrap();
                processes.filter_map(|process| Some(process.ok()?.statm().ok()?.resident)).sum()
            }));
            if turn < PROGRAM_TURNS {
                wait();
                figures.ps.push(cpu_of_program("ps", &["-eo", "pid,rss,vsz,comm"]));
            }
            if turn < SMEM_TURNS && self.has_smem {
                wait();
                figures.smem.push(cpu_of_program("smem", &[]));
            }
        }
        figures
    }

    /// The floor: nothing but the system call, on the same files.
    fn pread_all(&self) -> u64 {
        let mut buffer = [0; 256];
        self.statm.iter().map(|statm| pread(statm, &mut buffer, 0).unwrap() as u64).sum()
    }
}

fn cpu_of(pass: impl FnOnce() -> u64) -> f64 {
    let before = cpu_seconds_of_thread();
    assert_ne!(std::hint::black_box(pass()), 0);
    cpu_seconds_of_thread() - before
}

fn cpu_of_program(program: &str, arguments: &[&str]) -> f64 {
    let mut child = Command::new(program).args(arguments).stdout(Stdio::null()).spawn().unwrap();
    cpu_seconds_when_ended(&mut child).unwrap()
}
