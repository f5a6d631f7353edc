//! A process whose memory map is locked, as long as a test wants.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// One thread writes a page of a file, and waits for its file system; the other asks to change the memory map, and
/// waits for the first with the lock held.
const PROGRAM: &str = "
import ctypes, mmap, os, sys, threading, time
libc = ctypes.CDLL(None)
memory = mmap.mmap(os.open(sys.argv[1], os.O_RDWR), 4096)
address = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
memory[0]
print('mapped', flush=True)
sys.stdin.readline()
writer = threading.Thread(target=libc.memset, args=(address, 1, 1))
writer.start()
while open(f'/proc/self/task/{writer.native_id}/stat').read().rsplit(') ', 1)[1][0] != 'D':
    time.sleep(0.01)
libc.mprotect(address, 4096, 1)
sys.stdin.readline()
";
/// Makes and freezes the file system, and thaws it when the test lets it, ends, or takes too long: other programs
/// of the machine, such as `ps`, wait meanwhile.
const FREEZER: &str = "
set -e
truncate -s 16M disk
mkfs.ext4 -q -F disk
mkdir mounted
mount -o loop disk mounted
end() { fsfreeze -u mounted 2>/dev/null || :; umount -l mounted; }
trap end EXIT
head -c 4096 /dev/zero > mounted/file
sync -f mounted
echo mounted
read -r _ || exit 0
fsfreeze -f mounted
echo frozen
timeout 300 head -c 1 > /dev/null || :
";
const PATIENCE: Duration = Duration::from_secs(300);

/// A file system that can be frozen, and processes that wait for it then.
pub(crate) struct Frozen {
    directory: TempDir,
    freezer: Child,
    output: BufReader<std::process::ChildStdout>,
    processes: Vec<Child>,
}

impl Frozen {
    /// Makes the file system; `None` where that cannot be done: without the rights of root, or loop devices.
    pub(crate) fn make() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mut freezer = Command::new("sh")
            .args(["-c", FREEZER])
            .current_dir(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(freezer.stdout.take().unwrap());
        let mut frozen = Self { directory, freezer, output, processes: Vec::new() };
        (frozen.line() == "mounted\n").then_some(frozen)
    }

    /// Starts a process that is not stuck yet, and returns its pid.
    pub(crate) fn start_process(&mut self) -> u32 {
        let mut process = Command::new("/usr/bin/python3")
            .args(["-S", "-c", PROGRAM])
            .arg(self.file())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "mapped\n");
        let pid = process.id();
        self.processes.push(process);
        pid
    }

    /// Freezes the file system, and waits until all processes are stuck.
    pub(crate) fn freeze(&mut self) {
        self.freezer.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        assert_eq!(self.line(), "frozen\n");
        for process in &mut self.processes {
            process.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        }
        let began = Instant::now();
        while !self.is_stuck() {
            assert!(began.elapsed() < PATIENCE, "the processes are not stuck");
            std::thread::yield_now();
        }
    }

    /// Returns whether all processes are stuck, so that what was done before was done meanwhile.
    pub(crate) fn is_stuck(&self) -> bool {
        self.processes.iter().all(|process| {
            let tasks = PathBuf::from(format!("/proc/{}/task", process.id()));
            let waiting = fs::read_dir(tasks).unwrap().filter(|task| {
                let path = task.as_ref().unwrap().path();
                state(&path).is_some_and(|state| state == 'D')
            });
            waiting.count() == 2
        })
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("mounted/file")
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
        }
        drop(self.freezer.stdin.take());
        for process in &mut self.processes {
            let _ = process.wait();
        }
        let _ = self.freezer.wait();
    }
}

/// The state of a process or thread. `stat` takes no lock.
pub(crate) fn state(task: &Path) -> Option<char> {
    let stat = fs::read_to_string(task.join("stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}
