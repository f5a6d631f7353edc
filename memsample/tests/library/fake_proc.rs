//! A `/proc` tree on disk, in which a test decides what every process says.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A tree with the files about the machine and, at first, no process.
pub(crate) struct FakeProc {
    directory: TempDir,
}

/// What a process says. Sizes in pages of 4096 bytes.
#[derive(Clone)]
pub(crate) struct FakeProcess {
    pub(crate) pid: i32,
    pub(crate) start: u64,
    pub(crate) comm: Vec<u8>,
    pub(crate) cmdline: Vec<u8>,
    pub(crate) rss: u64,
    pub(crate) shared: u64,
    pub(crate) size: u64,
    pub(crate) text: u64,
    pub(crate) hwm: u64,
    /// What the kernel shows as the addresses of code and stack.
    pub(crate) code: u64,
    pub(crate) stack: u64,
    pub(crate) flags: u64,
    pub(crate) state: char,
    pub(crate) threads: u64,
    pub(crate) minflt: u64,
    pub(crate) utime: u64,
    pub(crate) pss_kib: u64,
}

impl FakeProcess {
    pub(crate) fn new(pid: i32) -> Self {
        Self {
            pid,
            start: 1000,
            comm: b"fake".to_vec(),
            cmdline: b"/bin/fake\0--arg\0".to_vec(),
            rss: 100,
            shared: 40,
            size: 1000,
            text: 3,
            hwm: 120,
            code: 4096,
            stack: 0x7ffd_0000_0000,
            flags: 0x0040_0000,
            state: 'S',
            threads: 1,
            minflt: 5,
            utime: 7,
            pss_kib: 250,
        }
    }

    pub(crate) fn statm(&self) -> String {
        format!("{} {} {} {} 0 50 0\n", self.size, self.rss, self.shared, self.text)
    }

    pub(crate) fn stat(&self) -> Vec<u8> {
        let mut line = format!("{} (", self.pid).into_bytes();
        line.extend_from_slice(&self.comm);
        let Self { state, flags, minflt, utime, start, size, rss, code, stack, threads, .. } = self;
        let size = size * 4096;
        line.extend_from_slice(
            format!(
                ") {state} 1 {pid} {pid} 0 -1 {flags} {minflt} 0 2 0 {utime} 3 0 0 20 0 {threads} 0 {start} {size} {rss} \
                 18446744073709551615 {code} 8192 {stack} 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0\n",
                pid = self.pid
            )
            .as_bytes(),
        );
        line
    }

    pub(crate) fn status(&self) -> String {
        let kib = |pages: u64| pages * 4;
        format!(
            "Name:\tfake\nTgid:\t{pid}\nPid:\t{pid}\nPPid:\t1\nUid:\t1000\t1000\t1000\t1000\nVmSize:\t{} kB\n\
             VmHWM:\t{} kB\nVmRSS:\t{} kB\nRssAnon:\t{} kB\nRssFile:\t{} kB\nRssShmem:\t0 kB\nVmSwap:\t8 kB\n\
             HugetlbPages:\t2048 kB\n\
             Threads:\t1\n",
            kib(self.size),
            kib(self.hwm),
            kib(self.rss),
            kib(self.rss - self.shared),
            kib(self.shared),
            pid = self.pid
        )
    }

    pub(crate) fn smaps_rollup(&self) -> String {
        format!(
            "1000-2000 ---p 00000000 00:00 0 [rollup]\nRss: {} kB\nPss: {} kB\nPrivate_Clean: 4 kB\n\
             Private_Dirty: 96 kB\nSwapPss: 2 kB\n",
            self.rss * 4,
            self.pss_kib
        )
    }
}

impl FakeProc {
    pub(crate) fn new() -> Self {
        let tree = Self { directory: tempfile::tempdir().unwrap() };
        fs::create_dir(tree.path().join("pressure")).unwrap();
        tree.write("meminfo", b"MemTotal: 1000 kB\nMemFree: 200 kB\nMemAvailable: 500 kB\n");
        tree.write("vmstat", b"pgfault 10\npgmajfault 1\noom_kill 0\n");
        tree.write("pressure/memory", b"some avg10=0.00 avg60=0.00 avg300=0.00 total=3\n");
        tree
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file below the root.
    pub(crate) fn write(&self, path: &str, contents: &[u8]) {
        fs::write(self.path().join(path), contents).unwrap();
    }

    /// Creates a process, or changes what it says.
    pub(crate) fn set(&self, process: &FakeProcess) {
        self.set_below("", process);
    }

    /// The same for a thread of another process.
    pub(crate) fn set_thread(&self, of: i32, thread: &FakeProcess) {
        self.set_below(&format!("{of}/task"), thread);
    }

    fn set_below(&self, above: &str, process: &FakeProcess) {
        let directory = self.path().join(above).join(process.pid.to_string());
        fs::create_dir_all(&directory).unwrap();
        let write =
            |name: &str, contents: &[u8]| fs::write(directory.join(name), contents).unwrap();
        write("stat", &process.stat());
        write("statm", process.statm().as_bytes());
        write("status", process.status().as_bytes());
        write("smaps_rollup", process.smaps_rollup().as_bytes());
        write("cmdline", &process.cmdline);
        write("cgroup", b"4:memory:/test\n0::/\n");
    }

    pub(crate) fn remove(&self, pid: i32) {
        fs::remove_dir_all(self.process_path(pid)).unwrap();
    }

    pub(crate) fn process_path(&self, pid: i32) -> PathBuf {
        self.path().join(pid.to_string())
    }
}
