//! The signals that mean something to the daemon, and the end of whom it serves.

use std::io;
use std::os::fd::AsFd;

use memsample_inherited::{ArrivingSignals, is_ignored, is_init};
use rustix::process::{Signal, WaitOptions, wait};
use tokio::net::UnixStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{sleep, timeout};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    End,
    Reload,
}

/// What signals ask for, in their order.
///
/// One that was ignored when the daemon began stays so, as `nohup` wants it.
#[derive(Debug)]
pub(super) struct Signals {
    requests: UnboundedReceiver<Request>,
    /// For what else asks.
    sender: UnboundedSender<Request>,
}

impl Signals {
    /// Handles them from now on, without a thread, since there may be none. As PID 1 this also reaps what is left of
    /// processes whose parents have ended.
    pub(super) fn new() -> io::Result<Self> {
        let requests = [Signal::TERM, Signal::INT, Signal::HUP].map(Signal::as_raw);
        let wanted = requests.into_iter().filter(|&signal| !is_ignored(signal));
        let reaps = is_init();
        let mut arriving =
            ArrivingSignals::of(wanted.chain(reaps.then_some(Signal::CHILD.as_raw())))?;
        let socket = arriving.socket()?;
        socket.set_nonblocking(true)?;
        let socket = UnixStream::from_std(socket)?;
        let (sender, requests) = unbounded_channel();
        let signals = Self { requests, sender: sender.clone() };
        tokio::spawn(async move {
            // It ends when nobody asks any more.
            while !sender.is_closed() {
                // The byte of a signal may be lost, so the end of the time is no failure.
                let waited =
                    timeout(ArrivingSignals::LOOK_PAUSE, socket.readable()).await.unwrap_or(Ok(()));
                if waited.is_err() || !drain(&socket) {
                    sleep(ArrivingSignals::FAILURE_PAUSE).await;
                }
                for signal in arriving.pending() {
                    let request = match signal {
                        signal if signal == Signal::CHILD.as_raw() => continue,
                        signal if signal == Signal::HUP.as_raw() => Request::Reload,
                        _ => Request::End,
                    };
                    let _ = sender.send(request);
                }
                while reaps && matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {}
            }
        });
        Ok(signals)
    }

    /// Takes the closing of the other end of the standard input for a request to end: the kernel closes it, by whatever
    /// who has it ends.
    pub(super) fn end_with_stdin(&self) -> io::Result<()> {
        let stdin = std::os::unix::net::UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        stdin.set_nonblocking(true)?;
        let stdin = UnixStream::from_std(stdin)?;
        let sender = self.sender.clone();
        tokio::spawn(async move {
            while stdin.readable().await.is_ok() && drain(&stdin) {}
            let _ = sender.send(Request::End);
        });
        Ok(())
    }

    /// Waits for the next request, for ever if there can be none.
    pub(super) async fn next(&mut self) -> Request {
        match self.requests.recv().await {
            Some(request) => request,
            None => std::future::pending().await,
        }
    }

    /// Waits for a request to end.
    pub(super) async fn next_end(&mut self) {
        while self.next().await == Request::Reload {}
    }
}

/// Reads all bytes that are there, and returns whether that worked.
fn drain(socket: &UnixStream) -> bool {
    loop {
        match socket.try_read(&mut [0; 64]) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}
