//! What the runner adds to a test, and how long a thousand tests take that do nothing.
//!
//! `cargo bench --bench runner -- OLD NEW` compares programs: one suite by each in turn, so that they have the same load.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark fails by panicking")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use memsample_benches::{Table, median, memsample, raise_descriptor_limit};
use procfs::process::Process;

/// Suites of each kind that each program runs.
const ROUNDS: usize = 5;

fn main() {
    raise_descriptor_limit().unwrap();
    // What cargo adds begins with two dashes.
    let given = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let mut programs: Vec<PathBuf> = given.map(PathBuf::from).collect();
    if programs.is_empty() {
        programs.push(memsample().unwrap().get_program().into());
    }
    let bare: Vec<Cost> = (0..ROUNDS).map(|_| bare(200)).collect();
    let (bare_ms, bare_cpu_ms) = (median_of(&bare, |it| it.ms), median_of(&bare, |it| it.cpu_ms));
    let mut table = Table::new(&[
        "sandbox",
        "tests",
        "jobs",
        "program",
        "whole suite, s",
        "smallest and largest",
        "the runner adds to a test, ms",
        "CPU of a test with all that is around it, ms",
    ]);
    for (sandbox, tests, jobs) in
        [("none", 200, 1), ("pidns", 200, 1), ("bwrap", 200, 1), ("none", 1000, 2)]
    {
        let mut costs = vec![Vec::new(); programs.len()];
        for _ in 0..ROUNDS {
            for (program, costs) in programs.iter().zip(&mut costs) {
                // What a suite takes that has one test is not its tests'.
                let (one, all) =
                    (suite(program, sandbox, 1, 1), suite(program, sandbox, tests, jobs));
                let each = |all: f64, one: f64| (all - one) / f64::from(tests - 1);
                costs.push((all.ms, each(all.ms, one.ms), each(all.cpu_ms, one.cpu_ms)));
            }
        }
        for (program, costs) in programs.iter().zip(&costs) {
            let whole = || costs.iter().map(|(whole, ..)| whole / 1e3);
            // With two at once, each takes the time of two.
            let test_ms = costs.iter().map(|(_, each, _)| each * f64::from(jobs)).collect();
            table.row([
                sandbox.to_owned(),
                tests.to_string(),
                jobs.to_string(),
                program.file_name().unwrap().to_string_lossy().into_owned(),
                format!("{:.2}", median(whole().collect())),
                format!(
                    "{:.2}, {:.2}",
                    whole().fold(f64::INFINITY, f64::min),
                    whole().fold(0.0, f64::max)
                ),
                format!("{:.1}", median(test_ms) - bare_ms),
                format!("{:.1}", median(costs.iter().map(|(.., cpu_ms)| *cpu_ms).collect())),
            ]);
        }
    }
    println!(
        "## runner: tests of `true`; without a runner, one takes {bare_ms:.1} ms, {bare_cpu_ms:.1} ms of CPU\n"
    );
    println!("Medians of {ROUNDS} suites each.\n\n{table}");
}

/// What something took.
#[derive(Clone, Copy)]
struct Cost {
    ms: f64,
    /// CPU time of all processes that ended, with a resolution of 10 ms.
    cpu_ms: f64,
}

impl Cost {
    fn of(what: impl FnOnce()) -> Self {
        let (cpu_before, began) = (cpu_ms_of_children(), Instant::now());
        what();
        let ms = 1e3 * began.elapsed().as_secs_f64();
        Self { ms, cpu_ms: cpu_ms_of_children() - cpu_before }
    }
}

fn median_of(costs: &[Cost], value: impl Fn(&Cost) -> f64) -> f64 {
    median(costs.iter().map(value).collect())
}

fn cpu_ms_of_children() -> f64 {
    let stat = Process::myself().unwrap().stat().unwrap();
    (stat.cutime + stat.cstime) as f64 * 1e3 / procfs::ticks_per_second() as f64
}

/// Returns what it takes to start `true` and to wait for it.
fn bare(count: u32) -> Cost {
    let all = Cost::of(|| {
        for _ in 0..count {
            assert!(Command::new("true").status().unwrap().success());
        }
    });
    Cost { ms: all.ms / f64::from(count), cpu_ms: all.cpu_ms / f64::from(count) }
}

/// Returns what `memsample run` takes for a suite in which all tests pass.
fn suite(program: &Path, sandbox: &str, tests: u32, jobs: u32) -> Cost {
    let directory = tempfile::tempdir().unwrap();
    let mut text = "name = \"suite\"\n".to_owned();
    for number in 0..tests {
        writeln!(text, "[[test]]\nname = \"test {number}\"\ncommand = [\"true\"]").unwrap();
    }
    fs::write(directory.path().join("suite.toml"), text).unwrap();
    let mut command = Command::new(program);
    command.args(["run", "suite.toml", "--sandbox", sandbox, "--jobs", &jobs.to_string()]);
    command
        .current_dir(&directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Cost::of(|| assert!(command.status().unwrap().success()))
}
