//! Reads files of processes on a thread of its own, and gives up on a reading that does not come back.
//!
//! Whatever touches the memory of a process, or takes a lock that its memory map is changed under, waits as long
//! as somebody holds the lock: behind a frozen file system, a server of FUSE or NFS that does not answer, a
//! debugger. The kernel has no time limit for it, and nothing but the end of the reading program interrupts it.

use std::collections::VecDeque;
use std::ffi::CStr;
use std::io::Write;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, read};

use super::{ProcessDir, ReadBuffer};
use crate::clock::Clock;
use crate::parse::parse_stat;

/// Requests at once, at most: memory for so many is taken at the start, so that no sweep takes any.
pub(crate) const MAX_AT_ONCE: usize = 16;
/// Files in one request, at most.
const MAX_FILES: usize = 4;
/// Threads that wait in the kernel, at most. Each process that cannot be read takes one.
const MAX_STUCK: usize = 16;
/// A reading is given up when it was seen waiting twice, this far apart.
const LONGEST_SLICE: Duration = Duration::from_millis(25);
/// The same while many do not come back.
const SHORTEST_SLICE: Duration = Duration::from_millis(2);
/// A reading that runs, or waits for a CPU, is given up only after this time.
const LONGEST_RUN: Duration = Duration::from_secs(2);
/// Waiting that is saved up, at most.
const SAVED_PATIENCE: Duration = Duration::from_millis(200);
/// One part in so many of the time may be spent waiting for what does not come back.
const PATIENCE_DIVISOR: u32 = 20;
/// No file has as much text: it would be a million mappings. A crafted tree must not fill the memory.
const MAX_TEXT_BYTES: usize = 1 << 30;
/// The thread calls nothing that needs more.
const STACK_BYTES: usize = 128 << 10;

/// A file of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ProcFile {
    /// One that the kernel produces in one piece.
    Piece(&'static CStr),
    /// One of any length.
    Whole(&'static CStr),
    /// Where the link `exe` points.
    Exe,
}

impl ProcFile {
    /// Returns the name of the file.
    pub(crate) fn name(self) -> &'static CStr {
        match self {
            Self::Piece(name) | Self::Whole(name) => name,
            Self::Exe => c"exe",
        }
    }
}

/// Files to read of one process, one after the other.
pub(crate) struct Request {
    directory: ProcessDir,
    answer: Answer,
}

impl Request {
    /// Asks for files of a process or thread. The caller knows it by `key`; the memory of an answer is used again.
    pub(crate) fn new(
        key: u64,
        directory: ProcessDir,
        files: &'static [ProcFile],
        mut memory: Answer,
    ) -> Self {
        memory.bytes.clear();
        let answer = Answer { key, files, pieces: Default::default(), cpu_ns: 0, ..memory };
        Self { directory, answer }
    }
}

/// What was read for a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) key: u64,
    pub(crate) files: &'static [ProcFile],
    /// The CPU time that it took, in nanoseconds.
    pub(crate) cpu_ns: u64,
    bytes: Vec<u8>,
    pieces: [Option<Result<Range<usize>, Errno>>; MAX_FILES],
}

impl Answer {
    /// Returns what the file with this number holds, or why it could not be read; `None` where the reading did
    /// not come back.
    pub(crate) fn piece(&self, number: usize) -> Option<Result<&[u8], Errno>> {
        let piece = self.pieces.get(number)?.as_ref()?;
        Some(match piece {
            Ok(range) => Ok(self.bytes.get(range.clone()).unwrap_or_default()),
            Err(errno) => Err(*errno),
        })
    }

    /// Returns the first file whose reading did not come back.
    pub(crate) fn stuck_at(&self) -> Option<ProcFile> {
        self.files.iter().zip(&self.pieces).find(|(_, piece)| piece.is_none()).map(|it| *it.0)
    }
}

/// A thread that reads, and those before it that wait in the kernel for what does not come back.
pub(crate) struct ReaderThreads {
    clock: Arc<dyn Clock>,
    serving: Option<ReaderThread>,
    stuck: Vec<Stuck>,
    patience: Patience,
    /// CPU time of threads that have ended, in nanoseconds.
    ended_cpu_ns: u64,
}

/// A reading that was given up.
struct Stuck {
    key: u64,
    /// Whether the kernel was seen waiting; else there was only no more time.
    was_waiting: bool,
    since: Instant,
    reader: ReaderThread,
}

impl Stuck {
    fn waits(&self) -> bool {
        self.was_waiting || self.since.elapsed() >= LONGEST_RUN
    }
}

/// How the waiting for a thread ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waited {
    AllRead,
    OutOfTime,
    /// The kernel waits for something.
    Stuck,
}

impl ReaderThreads {
    /// Starts no thread yet.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let patience = Patience { saved: SAVED_PATIENCE, at: Instant::now() };
        Self { clock, serving: None, stuck: Vec::new(), patience, ended_cpu_ns: 0 }
    }

    /// Reads what is asked for, in order, and appends an answer to each request, of which some lack what did not
    /// come back in time. That comes later, from [`late`](Self::late).
    ///
    /// Returns within about two seconds even if nothing comes back, within 50 ms where the kernel waits, and within
    /// `longest` in any case.
    pub(crate) fn read(
        &mut self,
        requests: &mut Vec<Request>,
        answers: &mut Vec<Answer>,
        longest: Option<Duration>,
    ) {
        let until = longest.and_then(|longest| Instant::now().checked_add(longest));
        while !requests.is_empty() {
            // Where none can be started now, the next call tries again.
            let _ = self.start();
            let Some(reader) = &self.serving else {
                // Too many are stuck, or no thread can be started now.
                answers.extend(requests.drain(..).map(|request| request.answer));
                return;
            };
            reader.ask(requests);
            match reader.wait_for_all(&mut self.patience, until) {
                Waited::AllRead => answers.append(&mut reader.exchange.lock().answers),
                waited => self.give_up(requests, answers, waited == Waited::Stuck),
            }
        }
    }

    /// Returns whether a reading for `key` has not come back yet.
    pub(crate) fn is_stuck(&self, key: u64) -> bool {
        self.stuck.iter().any(|stuck| stuck.key == key)
    }

    /// Returns whether a reading for `key` waits in the kernel.
    pub(crate) fn waits(&self, key: u64) -> bool {
        self.stuck.iter().any(|stuck| stuck.key == key && stuck.waits())
    }

    /// Returns how many readings have not come back and wait in the kernel.
    pub(crate) fn stuck(&self) -> usize {
        self.stuck.iter().filter(|stuck| stuck.waits()).count()
    }

    /// Returns an answer that has come after it was given up.
    pub(crate) fn late(&mut self) -> Option<Answer> {
        let index = self.stuck.iter().position(|stuck| stuck.reader.exchange.lock().is_idle())?;
        let Stuck { reader, .. } = self.stuck.swap_remove(index);
        let answer = reader.exchange.lock().answers.pop();
        if self.serving.is_none() {
            self.serving = Some(reader);
        } else {
            self.ended_cpu_ns += reader.exchange.lock().cpu_ns;
            reader.close();
        }
        answer
    }

    /// Returns the CPU time of all these threads, in nanoseconds.
    pub(crate) fn cpu_ns(&self) -> u64 {
        let stuck = self.stuck.iter().map(|stuck| &stuck.reader);
        let readers = stuck.chain(&self.serving);
        self.ended_cpu_ns + readers.map(|reader| reader.exchange.lock().cpu_ns).sum::<u64>()
    }

    /// Starts the thread, unless there is one or too many are stuck.
    ///
    /// # Errors
    ///
    /// The error of the system call: this program may have no more threads.
    pub(crate) fn start(&mut self) -> std::io::Result<()> {
        if self.serving.is_none() && self.stuck.len() < MAX_STUCK {
            self.serving = Some(ReaderThread::start(Arc::clone(&self.clock))?);
        }
        Ok(())
    }

    /// Leaves the thread to its reading, and takes back what it has not begun.
    fn give_up(
        &mut self,
        requests: &mut Vec<Request>,
        answers: &mut Vec<Answer>,
        was_waiting: bool,
    ) {
        let Some(reader) = self.serving.take() else { return };
        let mut state = reader.exchange.lock();
        answers.append(&mut state.answers);
        requests.extend(state.requests.drain(..));
        let Some(reading) = &state.reading else {
            // It came back just now.
            drop(state);
            self.serving = Some(reader);
            return;
        };
        answers.push(reading.clone());
        let key = reading.key;
        drop(state);
        self.stuck.push(Stuck { key, was_waiting, since: Instant::now(), reader });
    }
}

/// A thread that reads.
struct ReaderThread {
    exchange: Arc<Exchange>,
    thread: Option<JoinHandle<()>>,
}

impl ReaderThread {
    fn start(clock: Arc<dyn Clock>) -> std::io::Result<Self> {
        let state = ExchangeState {
            requests: VecDeque::with_capacity(MAX_AT_ONCE),
            answers: Vec::with_capacity(MAX_AT_ONCE),
            ..ExchangeState::default()
        };
        let exchange = Arc::new(Exchange { state: Mutex::new(state), changed: Condvar::new() });
        let shared = Arc::clone(&exchange);
        let thread = std::thread::Builder::new()
            .name("memsample-proc".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || shared.serve(&*clock))?;
        Ok(Self { exchange, thread: Some(thread) })
    }

    fn ask(&self, requests: &mut Vec<Request>) {
        self.exchange.lock().requests.extend(requests.drain(..));
        self.exchange.changed.notify_one();
    }

    /// Waits until all is read, or until it is known that this will take too long.
    fn wait_for_all(&self, patience: &mut Patience, until: Option<Instant>) -> Waited {
        let mut progress = 0;
        let mut progressed = None;
        let mut seen_waiting = false;
        let mut state = self.exchange.lock();
        while !state.is_idle() {
            let now = Instant::now();
            let left = until.map_or(Duration::MAX, |until| until.saturating_duration_since(now));
            let slice = patience.slice(now).min(left.max(SHORTEST_SLICE));
            let waited = self.exchange.changed.wait_timeout(state, slice);
            let (locked, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = locked;
            if !timeout.timed_out() || state.is_idle() {
                continue;
            }
            if state.progress != progress || progressed.is_none() {
                (progress, progressed, seen_waiting) = (state.progress, Some(now), false);
            }
            let tid = state.tid;
            drop(state);
            let waits = is_waiting(tid);
            if waits {
                patience.pay(slice);
            }
            if waits && (seen_waiting || left <= slice) {
                return Waited::Stuck;
            }
            let ran = progressed.map_or(Duration::ZERO, |at| at.elapsed());
            if left <= slice || ran >= LONGEST_RUN {
                return Waited::OutOfTime;
            }
            seen_waiting = waits;
            state = self.exchange.lock();
        }
        Waited::AllRead
    }

    /// Lets the thread end when it has no more to read, without waiting for that.
    fn close(mut self) {
        self.thread = None;
    }
}

impl Drop for ReaderThread {
    fn drop(&mut self) {
        let mut state = self.exchange.lock();
        state.closed = true;
        let is_idle = state.is_idle();
        drop(state);
        self.exchange.changed.notify_one();
        if let Some(thread) = self.thread.take().filter(|_| is_idle) {
            let _ = thread.join();
        }
    }
}

/// What a reader thread and its caller hand to each other.
struct Exchange {
    state: Mutex<ExchangeState>,
    changed: Condvar,
}

#[derive(Default)]
struct ExchangeState {
    requests: VecDeque<Request>,
    /// What is being read, as far as it has come.
    reading: Option<Answer>,
    answers: Vec<Answer>,
    /// Grows with each piece that has come.
    progress: u64,
    /// CPU time of the thread, as of the last answer.
    cpu_ns: u64,
    tid: Option<rustix::thread::Pid>,
    closed: bool,
}

impl ExchangeState {
    fn is_idle(&self) -> bool {
        self.requests.is_empty() && self.reading.is_none()
    }
}

impl Exchange {
    fn lock(&self) -> MutexGuard<'_, ExchangeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what is asked for until there will be no more.
    fn serve(&self, clock: &dyn Clock) {
        let mut buffer = ReadBuffer::new();
        let mut state = self.lock();
        state.tid = Some(rustix::thread::gettid());
        loop {
            let Some(Request { directory, answer }) = state.requests.pop_front() else {
                if state.closed {
                    return;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let files = answer.files;
            state.reading = Some(answer);
            drop(state);
            let before_ns = clock.thread_cpu_ns();
            for (number, &file) in files.iter().enumerate() {
                self.read(&mut buffer, &directory, number, file);
            }
            drop(directory);
            let after_ns = clock.thread_cpu_ns();
            state = self.lock();
            state.cpu_ns = after_ns;
            if let Some(mut answer) = state.reading.take() {
                answer.cpu_ns = after_ns.saturating_sub(before_ns);
                state.answers.push(answer);
            }
            if state.requests.is_empty() {
                self.changed.notify_one();
            }
        }
    }

    /// Reads a file into the present answer.
    fn read(&self, buffer: &mut ReadBuffer, directory: &ProcessDir, number: usize, file: ProcFile) {
        let outcome = match file {
            ProcFile::Exe => directory.read_exe(buffer).map(|bytes| self.append(bytes)),
            ProcFile::Piece(name) => {
                directory.open_file(name).and_then(|file| Ok(self.append(buffer.read_piece(file)?)))
            }
            ProcFile::Whole(name) => directory.open_file(name).and_then(|file| {
                let mut range = self.append(b"");
                while range.len() < MAX_TEXT_BYTES {
                    let length = read(&file, buffer.whole())?;
                    let Some(bytes) = buffer.whole().get(..length).filter(|it| !it.is_empty())
                    else {
                        break;
                    };
                    range.end = self.append(bytes).end;
                }
                Ok(range)
            }),
        };
        let mut state = self.lock();
        state.progress += 1;
        if let Some(answer) = &mut state.reading
            && let Some(piece) = answer.pieces.get_mut(number)
        {
            *piece = Some(outcome);
        }
    }

    /// Appends to the present answer, and returns where that is.
    fn append(&self, bytes: &[u8]) -> Range<usize> {
        let mut state = self.lock();
        state.progress += 1;
        let Some(answer) = &mut state.reading else { return 0..0 };
        let start = answer.bytes.len();
        answer.bytes.extend_from_slice(bytes);
        start..answer.bytes.len()
    }
}

/// How long it may be waited for what does not come back: long for the first one, shorter the more there are.
struct Patience {
    saved: Duration,
    at: Instant,
}

impl Patience {
    /// Returns how long to wait before looking whether the thread waits.
    fn slice(&mut self, now: Instant) -> Duration {
        let gained = now.saturating_duration_since(self.at) / PATIENCE_DIVISOR;
        self.saved = (self.saved + gained).min(SAVED_PATIENCE);
        self.at = now;
        (self.saved / 4).clamp(SHORTEST_SLICE, LONGEST_SLICE)
    }

    fn pay(&mut self, waited: Duration) {
        self.saved = self.saved.saturating_sub(waited);
    }
}

/// Returns whether a thread of this program waits for something, other than for a CPU. Where that cannot be
/// known, it is taken to wait.
fn is_waiting(tid: Option<rustix::thread::Pid>) -> bool {
    // Not even begun: it waits for a CPU.
    let Some(tid) = tid else { return false };
    state_of_thread(tid).is_none_or(|state| state != b'R')
}

/// Reads the state of a thread of this program, without allocating.
fn state_of_thread(tid: rustix::thread::Pid) -> Option<u8> {
    let (mut path, mut stat) = ([0; 64], [0; 512]);
    let mut free = &mut path[..];
    write!(free, "/proc/self/task/{}/stat", tid.as_raw_nonzero()).ok()?;
    let free = free.len();
    let path = path.get(..path.len() - free)?;
    let file = openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let length = read(file, &mut stat).ok()?;
    parse_stat(stat.get(..length)?).ok().map(|stat| stat.state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::proc::ProcRoot;

    const FIFO: &[ProcFile] =
        &[ProcFile::Piece(c"first"), ProcFile::Whole(c"fifo"), ProcFile::Piece(c"first")];
    const PLAIN: &[ProcFile] = &[ProcFile::Piece(c"first")];

    /// A directory of a process with a file whose reading does not come back until somebody writes to it.
    struct Tree {
        directory: tempfile::TempDir,
        root: ProcRoot,
    }

    impl Tree {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let process = directory.path().join("7");
            std::fs::create_dir(&process).unwrap();
            std::fs::write(process.join("first"), "one").unwrap();
            let fifo = process.join("fifo");
            let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
            rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, mode).unwrap();
            let root = ProcRoot::open(directory.path()).unwrap();
            Self { directory, root }
        }

        fn request(&self, key: u64, files: &'static [ProcFile]) -> Request {
            Request::new(key, self.root.open_process(7).unwrap(), files, Answer::default())
        }

        /// Ends the readings that wait, if there are any.
        fn release(&self) {
            let fifo = self.directory.path().join("7/fifo");
            if let Ok(fifo) = openat(CWD, &fifo, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty()) {
                let _ = rustix::io::write(fifo, b"two");
            }
        }
    }

    fn late(readers: &mut ReaderThreads) -> Answer {
        let began = Instant::now();
        loop {
            if let Some(answer) = readers.late() {
                return answer;
            }
            assert!(began.elapsed() < Duration::from_secs(30), "it does not come back");
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_does_not_come_back_keeps_nobody_else_waiting_and_comes_later() {
        let tree = Tree::new();
        let mut readers = ReaderThreads::new(SystemClock::shared());
        let mut requests =
            vec![tree.request(1, PLAIN), tree.request(2, FIFO), tree.request(3, PLAIN)];
        let mut answers = Vec::new();
        readers.read(&mut requests, &mut answers, None);
        let keys: Vec<u64> = answers.iter().map(|answer| answer.key).collect();
        assert_eq!(keys, [1, 2, 3]);
        for answer in &answers {
            assert_eq!(answer.piece(0), Some(Ok(&b"one"[..])));
        }
        assert_eq!(answers[1].piece(1), None);
        assert_eq!(answers[1].stuck_at().map(ProcFile::name), Some(c"fifo"));
        assert!(answers[0].stuck_at().is_none() && answers[2].stuck_at().is_none());
        assert!(readers.is_stuck(2) && !readers.is_stuck(1) && readers.stuck() == 1);
        assert!(readers.late().is_none());
        tree.release();
        let answer = late(&mut readers);
        assert_eq!((answer.key, answer.piece(1)), (2, Some(Ok(&b"two"[..]))));
        assert_eq!((answer.piece(2), readers.stuck()), (Some(Ok(&b"one"[..])), 0));
    }

    #[test]
    fn so_many_threads_wait_and_no_more() {
        let tree = Tree::new();
        let mut readers = ReaderThreads::new(SystemClock::shared());
        let began = Instant::now();
        let mut answers = Vec::new();
        let count = 2 * MAX_STUCK as u64;
        for key in 0..count {
            readers.read(&mut vec![tree.request(key, FIFO)], &mut answers, None);
        }
        assert_eq!((answers.len() as u64, readers.stuck()), (count, MAX_STUCK));
        // Patience does not last for all of them.
        let waited = began.elapsed();
        assert!(waited < Duration::from_secs(10), "{waited:?}");
        assert!(answers.iter().all(|answer| answer.stuck_at().is_some()));
        // Nobody reads any more, also not what would come back at once.
        answers.clear();
        readers.read(&mut vec![tree.request(99, PLAIN)], &mut answers, None);
        assert_eq!(answers[0].piece(0), None);
        while readers.stuck() > 0 {
            tree.release();
            while readers.late().is_some() {}
        }
        answers.clear();
        readers.read(&mut vec![tree.request(99, PLAIN)], &mut answers, None);
        assert_eq!(answers[0].piece(0), Some(Ok(&b"one"[..])));
    }
}
