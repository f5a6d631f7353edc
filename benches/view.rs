//! `memsample view` beside smem: the same table of the same processes, by two programs that take turns.
//!
//! CPU is that of the whole program, from its start to its end, from `schedstat`; ratios are medians of
//! the ratios within a turn. What the two say of PSS, USS, RSS and swap is compared, too.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a benchmark fails by panicking"
)]

use std::collections::BTreeMap;
use std::io::Read;
use std::process::{Command, Stdio};

use memsample_benches::{
    Population, Table, cpu_seconds_when_ended, median, memsample, raise_descriptor_limit,
};
use serde_json::Value;

/// smem takes so long that few turns do.
const TURNS: usize = 9;

/// What is compared, by the names of memsample and of smem.
const SIZES: [(&str, &str); 4] =
    [("pss_bytes", "pss"), ("uss_bytes", "uss"), ("rss_bytes", "rss"), ("swap_bytes", "swap")];

/// The sizes of each process, by pid.
type Sizes = BTreeMap<i64, [u64; SIZES.len()]>;

fn main() {
    raise_descriptor_limit().unwrap();
    if Command::new("smem").arg("--help").output().is_err() {
        println!("## view: smem is not installed\n");
        return;
    }
    let mut table = Table::new(&[
        "processes",
        "view",
        "memsample, ms of CPU",
        "smem, ms of CPU",
        "memsample's part",
        "processes in both",
        "sums differ by",
    ]);
    for processes in [300, 1000] {
        let _population = Population::top_up_to(processes).unwrap();
        for (view, ours, theirs) in [
            ("by process", &[][..], &[][..]),
            ("by user", &["--by", "user"], &["-u"]),
            ("by mapping", &["--by", "mapping"], &["-m"]),
        ] {
            let figures = run(ours, theirs);
            let ratios = figures.iter().map(|(ours, theirs)| ours / theirs).collect();
            let millis = |values: Vec<f64>| format!("{:.1}", 1e3 * median(values));
            let (both, difference) = match view {
                "by process" => agreement(),
                _ => ("-".to_owned(), "-".to_owned()),
            };
            table.row([
                processes.to_string(),
                view.to_owned(),
                millis(figures.iter().map(|(ours, _)| *ours).collect()),
                millis(figures.iter().map(|(_, theirs)| *theirs).collect()),
                format!("1/{:.0}", 1.0 / median(ratios)),
                both,
                difference,
            ]);
        }
    }
    println!("## view: CPU of `memsample view` beside smem\n");
    println!("{table}");
}

/// Returns the CPU seconds of both programs in each turn.
fn run(ours: &[&str], theirs: &[&str]) -> Vec<(f64, f64)> {
    let cpu_seconds = |mut command: Command| {
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        cpu_seconds_when_ended(&mut child).unwrap()
    };
    let turn = |_| {
        let mut view = memsample().unwrap();
        view.arg("view").args(ours);
        let mut smem = Command::new("smem");
        smem.args(theirs);
        (cpu_seconds(view), cpu_seconds(smem))
    };
    (0..TURNS).map(turn).collect()
}

/// Returns how many processes both programs saw, and by how much the sums over these differ, at the
/// median of the turns: what begins and ends between the two shares pages with the others.
fn agreement() -> (String, String) {
    let mut seen_by_both = 0;
    let mut percents: [Vec<f64>; SIZES.len()] = Default::default();
    for _ in 0..TURNS {
        let (ours, theirs) = (sizes_of_memsample(), sizes_of_smem());
        let both: Vec<i64> = ours.keys().filter(|pid| theirs.contains_key(pid)).copied().collect();
        seen_by_both = both.len();
        let sum =
            |sizes: &Sizes, index: usize| both.iter().map(|pid| sizes[pid][index]).sum::<u64>();
        for (index, percents) in percents.iter_mut().enumerate() {
            let (ours, theirs) = (sum(&ours, index), sum(&theirs, index));
            percents.push(100.0 * ours.abs_diff(theirs) as f64 / theirs.max(1) as f64);
        }
    }
    let differences = SIZES.iter().zip(percents);
    let differences = differences.map(|((_, name), all)| format!("{name} {:.2} %", median(all)));
    (seen_by_both.to_string(), differences.collect::<Vec<_>>().join(", "))
}

fn sizes_of_memsample() -> Sizes {
    let output = memsample().unwrap().args(["view", "--json"]).output().unwrap();
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let sizes = |row: &Value| {
        let mut sizes = [0; SIZES.len()];
        for (size, (name, _)) in sizes.iter_mut().zip(SIZES) {
            *size = row[name].as_u64()?;
        }
        Some((row["pid"].as_i64()?, sizes))
    };
    rows.iter().filter_map(sizes).collect()
}

fn sizes_of_smem() -> Sizes {
    let columns = format!("pid {}", SIZES.map(|(_, name)| name).join(" "));
    let mut child =
        Command::new("smem").args(["-H", "-c", &columns]).stdout(Stdio::piped()).spawn().unwrap();
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success());
    let numbers = |line: &str| {
        let mut fields = line.split_whitespace().map(|field| field.parse::<u64>().unwrap());
        let pid = i64::try_from(fields.next().unwrap()).unwrap();
        (pid, std::array::from_fn(|_| 1024 * fields.next().unwrap()))
    };
    text.lines().map(numbers).collect()
}
