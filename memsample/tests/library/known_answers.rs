//! Samples of programs of which it is known what they have: before and after they take it.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use memsample::{Files, Metric, Sampler, SamplerOptions};

const MIB: i64 = 1 << 20;
/// The interpreter itself takes some pages between the two looks.
const TOLERANCE: i64 = MIB;
/// Others of the machine begin or cease to map the same interpreter and libraries, which is shared then
/// with more or with fewer.
const SHARING_TOLERANCE: i64 = 8 * MIB;

/// What each program begins with. `say` prints the pids that matter, and waits to be told to go on.
const PREAMBLE: &str = "import mmap, os, sys, tempfile
def mapped(mib, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, file=-1):
    memory = mmap.mmap(file, mib << 20, flags=flags)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    return memory
def write(memory, pages):
    for page in range(pages): memory[page << 12] = page & 127 | 1
def read(memory):
    return sum(memory[at] for at in range(0, len(memory), 4096))
def say(*pids):
    print(*pids, flush=True)
    sys.stdin.readline()
# Children that do their part when they are told to, and say when they are done.
children = []
def child(part):
    go, told = os.pipe()
    done, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(go, 1)
        kept = part()
        os.write(tell, b'x')
        while True: os.read(go, 1)
    children.append((pid, told, done))
def each_child():
    for _, told, done in children:
        os.write(told, b'x')
        os.read(done, 1)
def pids():
    return [os.getpid()] + [pid for pid, *_ in children]
";

/// By how much the metrics of a process grew, in MiB.
type Growth = &'static [(Metric, i64)];

/// Runs a program that says its pids before and after, and compares the growth of each, in the order
/// in which it says them.
#[track_caller]
fn check(program: &str, expected: &[Growth]) {
    let mut helper = Command::new("/usr/bin/python3")
        .args(["-c", &format!("{PREAMBLE}{program}\nimport signal\nfor pid, *_ in children: os.kill(pid, signal.SIGKILL)")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(helper.stdout.take().unwrap()).lines();
    let mut sampler = Sampler::new(SamplerOptions::default()).unwrap();
    let mut look = || {
        let line = lines.next().unwrap().unwrap();
        let pids: Vec<i32> = line.split(' ').map(|pid| pid.parse().unwrap()).collect();
        let snapshot = sampler.sweep(Files::all());
        let by_pid: HashMap<i32, Vec<Option<i64>>> = snapshot
            .samples()
            .filter(|sample| pids.contains(&sample.pid()))
            .map(|sample| {
                let value = |metric| sample.get(metric).and_then(|value| i64::try_from(value).ok());
                (sample.pid(), Metric::ALL.map(value).to_vec())
            })
            .collect();
        let looked = pids.iter().map(|pid| by_pid[pid].clone()).collect::<Vec<_>>();
        helper.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        looked
    };
    let (before, after) = (look(), look());
    helper.wait().unwrap();
    assert_eq!((before.len(), after.len()), (expected.len(), expected.len()));
    for (index, ((before, after), growth)) in before.iter().zip(&after).zip(expected).enumerate() {
        for &(metric, mib) in *growth {
            let grown = after[metric as usize].unwrap() - before[metric as usize].unwrap();
            let off = grown - mib * MIB;
            let tolerance = match metric {
                Metric::Pss | Metric::Uss => SHARING_TOLERANCE,
                _ => TOLERANCE,
            };
            assert!(off.abs() <= tolerance, "process {index}, {}: {grown}", metric.name());
        }
        // The parts of a row are one reading.
        let part = |metric: Metric| after[metric as usize].unwrap();
        let parts = part(Metric::Anon) + part(Metric::File) + part(Metric::Shmem);
        assert_eq!(parts, part(Metric::Rss));
        assert!(part(Metric::Uss) <= part(Metric::Pss));
    }
}

#[test]
fn anonymous_memory_is_its_own() {
    check(
        "say(os.getpid()); memory = mapped(64); write(memory, 64 << 8); say(os.getpid())",
        &[&[
            (Metric::Anon, 64),
            (Metric::File, 0),
            (Metric::Shmem, 0),
            (Metric::Rss, 64),
            (Metric::Pss, 64),
            (Metric::Uss, 64),
        ]],
    );
}

#[test]
fn memory_that_is_only_reserved_is_not_resident() {
    check(
        "say(os.getpid()); memory = mapped(64); say(os.getpid())",
        &[&[(Metric::Vsize, 64), (Metric::Rss, 0), (Metric::Pss, 0)]],
    );
}

#[test]
fn a_mapped_file_is_file_memory() {
    // A file of /var/tmp is on a disk; one of a tmpfs would be shared memory.
    check(
        "file = tempfile.TemporaryFile(dir='/var/tmp'); file.write(b'x' * (32 << 20)); file.flush()
os.fsync(file.fileno())
say(os.getpid()); memory = mapped(32, mmap.MAP_SHARED, file.fileno()); read(memory); say(os.getpid())",
        &[&[(Metric::File, 32), (Metric::Anon, 0), (Metric::Shmem, 0), (Metric::Pss, 32)]],
    );
}

#[test]
fn shared_memory_is_divided_by_who_maps_it() {
    // Not RSS, of which the rest is the interpreter's code: a child maps that when it first runs it.
    const EACH: Growth =
        &[(Metric::Shmem, 128), (Metric::Anon, 0), (Metric::Pss, 32), (Metric::Uss, 0)];
    check(
        "memory = mapped(128, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)
for _ in range(3): child(lambda: read(memory))
say(*pids()); write(memory, 128 << 8); each_child(); say(*pids())",
        &[EACH, EACH, EACH, EACH],
    );
}

#[test]
fn what_is_forked_is_shared_until_it_is_written() {
    // Half of what both had is now twice there.
    check(
        "memory = mapped(128); write(memory, 128 << 8)
child(lambda: write(memory, 64 << 8))
say(*pids()); each_child(); say(*pids())",
        &[
            &[(Metric::Anon, 0), (Metric::Pss, 32), (Metric::Uss, 64)],
            &[(Metric::Anon, 0), (Metric::Pss, 32), (Metric::Uss, 64)],
        ],
    );
}

#[test]
fn memory_in_swap_is_not_resident() {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap();
    let free_kib = meminfo.lines().find_map(|line| line.strip_prefix("SwapFree:")).unwrap();
    let free_kib: i64 = free_kib.trim().trim_end_matches(" kB").parse().unwrap();
    // Where there is no swap, all stays where it is.
    let out = if free_kib > 64 << 10 { 32 } else { 0 };
    let expected: Growth = if out > 0 {
        &[(Metric::Swap, 32), (Metric::SwapPss, 32), (Metric::Rss, -32), (Metric::Anon, -32)]
    } else {
        &[(Metric::Swap, 0), (Metric::SwapPss, 0), (Metric::Rss, 0), (Metric::Anon, 0)]
    };
    // MADV_PAGEOUT, which the module has a name for only from Python 3.14 on.
    check(
        "memory = mapped(32); write(memory, 32 << 8); say(os.getpid()); memory.madvise(21); say(os.getpid())",
        &[expected],
    );
}

/// Huge pages of the pool that a test adds, and gives back. A page has 2 MiB.
struct ReservedPages {
    before: u64,
}

const POOL: &str = "/proc/sys/vm/nr_hugepages";

impl ReservedPages {
    /// Returns `None` where the machine does not let us, as without root, or has no such memory in one piece.
    fn add(pages: u64) -> Option<Self> {
        let read = || -> Option<u64> { std::fs::read_to_string(POOL).ok()?.trim().parse().ok() };
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap();
        meminfo.lines().find(|line| line.split_whitespace().eq(["Hugepagesize:", "2048", "kB"]))?;
        let before = read()?;
        std::fs::write(POOL, (before + pages).to_string()).ok()?;
        let reserved = Self { before };
        (read()? >= before + pages).then_some(reserved)
    }
}

impl Drop for ReservedPages {
    fn drop(&mut self) {
        let _ = std::fs::write(POOL, self.before.to_string());
    }
}

#[test]
fn huge_pages_of_the_pool_are_no_resident_set() {
    let Some(_reserved) = ReservedPages::add(8) else { return };
    // MAP_HUGETLB, which the module has no name for. Only what is written to is there.
    check(
        "memory = mmap.mmap(-1, 16 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)
say(os.getpid()); write(memory, 12 << 8); say(os.getpid())",
        &[&[(Metric::Hugetlb, 12), (Metric::Rss, 0), (Metric::Anon, 0), (Metric::Pss, 0)]],
    );
}
