//! Messages on the error stream that nobody waits for.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::locale::shown;
use super::streams::write_whole;

/// Bytes that wait for their reader, at most; more are left out, and counted.
const MAX_BYTES: usize = 4 << 20;

/// Writes to the error stream in a thread of its own, so that a terminal that was stopped, or a log that nobody reads,
/// stops no run and no daemon. Where there can be no other thread, it writes at once.
///
/// Dropping it waits until everything has been written.
pub struct Queue {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    has_thread: bool,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    lost_bytes: u64,
    is_writing: bool,
    is_closed: bool,
}

impl Queue {
    /// Makes a queue, and its thread. `prefix` begins the message that something was left out.
    #[must_use]
    pub fn of_stderr(prefix: &'static str) -> Self {
        let shared = Arc::new(Shared { has_thread: true, ..Shared::default() });
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("memsample-stderr".to_owned());
        match thread.spawn(move || of_thread.write_until_closed(prefix)) {
            Ok(thread) => Self { shared, thread: Some(thread) },
            Err(_) => Self { shared: Arc::default(), thread: None },
        }
    }

    /// Returns a writer, of which there may be many.
    #[must_use]
    pub fn writer(&self) -> QueueWriter {
        QueueWriter { shared: Arc::clone(&self.shared), line: Vec::new() }
    }

    /// Waits until everything has been written, but not longer than `patience`, and takes no more.
    pub fn finish_within(mut self, patience: Duration) {
        let state = self.shared.close();
        let is_open = |state: &mut State| state.is_writing || !state.waiting.is_empty();
        drop(self.shared.changed.wait_timeout_while(state, patience, is_open));
        // It ends with the program.
        self.thread = None;
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        drop(self.shared.close());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) -> MutexGuard<'_, State> {
        let mut state = self.state();
        state.is_closed = true;
        self.changed.notify_all();
        state
    }

    fn write_until_closed(&self, prefix: &str) {
        let mut state = self.state();
        loop {
            if state.waiting.is_empty() {
                if state.is_closed {
                    return;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let mut bytes = std::mem::take(&mut state.waiting);
            if state.lost_bytes > 0 {
                let lost = std::mem::take(&mut state.lost_bytes);
                let text = format!(
                    "{prefix}{lost} bytes of messages are left out here: their reader was too slow\n"
                );
                bytes.extend(text.into_bytes());
            }
            state.is_writing = true;
            drop(state);
            // Nobody is left to tell if this fails.
            let _ = write_whole(io::stderr().as_fd(), &bytes);
            state = self.state();
            state.is_writing = false;
            self.changed.notify_all();
        }
    }

    fn push(&self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let mut state = self.state();
        if !self.has_thread || state.is_closed {
            drop(state);
            let _ = write_whole(io::stderr().as_fd(), bytes);
        } else if state.waiting.len() + bytes.len() > MAX_BYTES {
            state.lost_bytes += bytes.len() as u64;
        } else {
            state.waiting.extend_from_slice(bytes);
            self.changed.notify_all();
        }
    }
}

/// Writes into a [`Queue`]: whole lines, or what there is when it is flushed. Where the locale is not UTF-8, text is in
/// ASCII.
pub struct QueueWriter {
    shared: Arc<Shared>,
    line: Vec<u8>,
}

impl Clone for QueueWriter {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), line: Vec::new() }
    }
}

impl std::fmt::Debug for QueueWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueueWriter").finish_non_exhaustive()
    }
}

impl Write for QueueWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        if bytes.ends_with(b"\n") {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match std::str::from_utf8(&self.line) {
            Ok(text) => self.shared.push(shown(text).as_bytes()),
            // Bytes that are no text are none of our messages.
            Err(_) => self.shared.push(&self.line),
        }
        self.line.clear();
        Ok(())
    }
}
