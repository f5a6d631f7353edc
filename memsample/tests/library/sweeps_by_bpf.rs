//! Sweeps by BPF between two sweeps of `/proc`: no process is missed, none is there twice, and no value lies outside.
//!
//! Where BPF may not be used for want of capabilities, all three are of `/proc`, and the same holds.

use std::collections::HashMap;
use std::process::{Child, Command};

use memsample::{Files, Metric, Sampler, SamplerOptions, SweepBy};

const FILES: Files = Files::STATM.union(Files::DETAIL);
/// They never shrink. Left out are CPU times, of which `/proc` may show less of one kind than a row had that it does not
/// know of, and the high-water mark, which the kernel notes without the parts of all CPUs, so that it may fall.
const COUNTERS: [Metric; 2] = [Metric::Minflt, Metric::Majflt];
/// They do not grow without a fault, but for what a child touches that vfork began with the memory of its parent: until its
/// exec, its faults are its own and the pages those of its parent. What is mapped and not resident may come and go.
const SIZES: [Metric; 6] =
    [Metric::Rss, Metric::Shared, Metric::Anon, Metric::File, Metric::Shmem, Metric::Swap];
const SWEEPS: usize = 100;
/// What such a child touches, at most.
const SPAWNING_BYTES: u64 = 64 << 10;
/// With this variable, so many sweeps instead.
const SWEEPS_VARIABLE: &str = "MEMSAMPLE_TEST_SWEEPS";

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The values of each process, by what identifies it.
type Rows = HashMap<(i32, u64), HashMap<&'static str, u64>>;

fn sweep(sampler: &mut Sampler) -> Rows {
    let mut rows = Rows::new();
    for sample in sampler.sweep(FILES).samples() {
        let identity = sample.identity();
        let metrics = COUNTERS.into_iter().chain(SIZES);
        let values = metrics.filter_map(|metric| Some((metric.name(), sample.get(metric)?)));
        let earlier = rows.insert((sample.pid(), identity.start_ns), values.collect());
        assert!(earlier.is_none(), "{} is there twice", sample.pid());
    }
    rows
}

/// Whether a row differs by some pages and by no fault.
fn is_spawning(row: &HashMap<&str, u64>, before: &HashMap<&str, u64>) -> bool {
    let difference = |metric: Metric| row[metric.name()].abs_diff(before[metric.name()]);
    COUNTERS.into_iter().all(|metric| difference(metric) == 0)
        && SIZES.into_iter().all(|metric| difference(metric) <= SPAWNING_BYTES)
}

#[test]
fn rows_by_bpf_lie_between_those_of_proc_before_and_after() {
    let sampler = |way| Sampler::new(SamplerOptions::default().sweep_by(way)).unwrap();
    let (mut proc, mut bpf) = (sampler(SweepBy::Proc), sampler(SweepBy::Auto));
    if !bpf.sweeps_by_bpf() {
        assert!(bpf.sweep_note().unwrap().contains("CAP_BPF"));
    }
    let storm = "while :; do /bin/true; x=$(echo a | cat); done";
    let _storm = Ended(Command::new("sh").args(["-c", storm]).spawn().unwrap());
    let (mut compared, mut moved, mut spawning) = (0, 0, 0);
    let wanted = std::env::var(SWEEPS_VARIABLE).ok().and_then(|number| number.parse().ok());
    let sweeps: usize = wanted.unwrap_or(SWEEPS);
    for _ in 0..sweeps {
        let before = sweep(&mut proc);
        let between = sweep(&mut bpf);
        let after = sweep(&mut proc);
        for (key, before) in &before {
            let Some(after) = after.get(key) else { continue };
            let row = between.get(key).unwrap_or_else(|| panic!("{key:?} is missing"));
            let of =
                |values: &HashMap<&str, u64>, metric: Metric| values.get(metric.name()).copied();
            for metric in COUNTERS {
                let [from, value, to] = [before, row, after].map(|values| of(values, metric));
                assert!(
                    from <= value && value <= to,
                    "{key:?} {metric:?}: {from:?} {value:?} {to:?}"
                );
            }
            let has_moved = before != after;
            moved += usize::from(has_moved);
            if !has_moved {
                compared += 1;
                let is_spawning = row != before && is_spawning(row, before);
                spawning += usize::from(is_spawning);
                assert!(is_spawning || row == before, "{key:?} {row:?} {before:?}");
            }
        }
    }
    println!("{compared} rows equal, but for {spawning} that spawned; {moved} moved");
    assert!(compared > sweeps && spawning * 100 <= compared, "{spawning} of {compared}");
    assert!(bpf.sweeps_by_bpf() || bpf.sweep_note().unwrap().contains("CAP_BPF"));
}

/// The form for older kernels, in a program of its own that is told to use it.
#[test]
fn rows_by_the_iterator_over_tasks_do_so_too() {
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.env("MEMSAMPLE_TEST_BPF_FORM", "each-task");
    let test = "sweeps_by_bpf::rows_by_bpf_lie_between_those_of_proc_before_and_after";
    let output = again.args(["--exact", test, "--nocapture"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{output:?}");
}
