//! The system's ssh: one connection that is made again when it is cut.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded, select};
use memsample_input::Span;
use tempfile::TempDir;

use crate::address::Address;
use crate::error::{RemoteError, here};
use crate::patience::Patience;
use crate::script::{self, BEGIN};

/// The variable with the command that is run in place of `ssh`, with arguments.
const VARIABLE: &str = "MEMSAMPLE_SSH";
/// What ssh exits with if it failed, and not the command.
const SSH_FAILED: i32 = 255;
/// The first pause before a connection is tried again; each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Maximum number of pieces that wait to be taken.
const MAX_WAITING: usize = 16;
/// Maximum length of what ssh or a script says that is kept.
const MAX_WORDS: usize = 2000;

/// How often signals came that ask to stop.
pub(crate) struct Stops {
    receiver: Receiver<i32>,
    count: Cell<u32>,
    /// When the first one came.
    first: Cell<Option<Instant>>,
}

impl Stops {
    pub(crate) fn new(receiver: Receiver<i32>) -> Self {
        Self { receiver, count: Cell::new(0), first: Cell::new(None) }
    }

    pub(crate) fn count(&self) -> u32 {
        while self.receiver.try_recv().is_ok() {
            self.add();
        }
        self.count.get()
    }

    fn add(&self) {
        self.count.set(self.count.get() + 1);
        self.first.set(self.first.get().or_else(|| Some(Instant::now())));
    }
}

/// How one call of ssh ended.
pub(crate) enum Ended {
    /// With the exit code of the script, and what it wrote to stderr.
    Exited(i32, String),
    /// The connection was not made, or was cut: what ssh says.
    Cut(String),
    /// More signals came than it outlives.
    Stopped,
}

/// What one try came to.
pub(crate) enum Tried<T> {
    Done(T),
    Cut(String),
}

pub(crate) struct Connection<'a> {
    address: &'a Address,
    command: Vec<OsString>,
    control: TempDir,
    pub(crate) stops: Stops,
    patience: Patience,
    told: &'a (dyn Fn(&str) + Sync),
    lost: Cell<Option<Instant>>,
    pause: Cell<Duration>,
}

impl<'a> Connection<'a> {
    pub(crate) fn new(
        address: &'a Address,
        patience: Patience,
        stops: Stops,
        told: &'a (dyn Fn(&str) + Sync),
    ) -> Result<Self, RemoteError> {
        let words = std::env::var(VARIABLE).ok().filter(|words| !words.trim().is_empty());
        let command = match words {
            Some(words) => {
                shlex::split(&words).filter(|words| !words.is_empty()).ok_or_else(|| {
                    RemoteError::Refused(format!("{VARIABLE} is no command line: a quote is open"))
                })?
            }
            None => vec!["ssh".to_owned()],
        };
        Ok(Self {
            address,
            command: command.into_iter().map(OsString::from).collect(),
            control: control_directory()?,
            stops,
            patience,
            told,
            lost: Cell::new(None),
            pause: Cell::new(FIRST_PAUSE),
        })
    }

    /// Runs a script once. It is ended if more than `outlived` signals have come.
    pub(crate) fn once(
        &self,
        script: &str,
        arguments: &[&OsStr],
        input: Option<File>,
        outlived: u32,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<Ended, RemoteError> {
        // A file, and no pipe: what stays in the background to share the connection may keep it open.
        let mut words = tempfile::tempfile().map_err(here(std::env::temp_dir()))?;
        let mut command = self.ssh();
        command.arg("--").arg(self.address.host()).arg(script::line(script, arguments));
        command.stdin(input.map_or_else(Stdio::null, Stdio::from));
        command.stdout(Stdio::piped());
        command.stderr(words.try_clone().map_err(here(std::env::temp_dir()))?);
        let program = self.command.first().cloned().unwrap_or_default();
        let mut child = command.spawn().map_err(here(program))?;
        let mut greeting = Some(Vec::new());
        let is_whole = self.take(&mut child, outlived, &mut |piece| match &mut greeting {
            None => output(piece),
            Some(before) => {
                before.extend_from_slice(piece);
                if let Some(at) = before.windows(BEGIN.len()).position(|it| it == BEGIN) {
                    let rest = before.split_off(at + BEGIN.len());
                    greeting = None;
                    output(&rest);
                }
            }
        });
        if !is_whole {
            let _ = child.kill();
        }
        let status = child.wait().map_err(here("ssh"))?;
        if !is_whole {
            return Ok(Ended::Stopped);
        }
        let mut said = Vec::new();
        let _ = words.rewind();
        let _ = words.read_to_end(&mut said);
        let said = one_line(&String::from_utf8_lossy(&said));
        Ok(match status.code() {
            None | Some(SSH_FAILED) => Ended::Cut(said),
            Some(code) => {
                self.is_there();
                Ended::Exited(code, said)
            }
        })
    }

    /// Runs a script until the connection lasts for it, and returns what it prints.
    pub(crate) fn ask(
        &self,
        script: &str,
        arguments: &[&OsStr],
        outlived: u32,
    ) -> Result<Vec<u8>, RemoteError> {
        self.persist(outlived, || {
            let mut output = Vec::new();
            let ended = self.once(script, arguments, None, outlived, &mut |bytes| {
                output.extend_from_slice(bytes);
            })?;
            match ended {
                Ended::Exited(0, _) => Ok(Tried::Done(output)),
                ended => Self::failed(ended),
            }
        })
    }

    /// Tries again after each cut, with growing pauses, for as long as the user wants.
    pub(crate) fn persist<T>(
        &self,
        outlived: u32,
        mut try_once: impl FnMut() -> Result<Tried<T>, RemoteError>,
    ) -> Result<T, RemoteError> {
        loop {
            let words = match try_once()? {
                Tried::Done(value) => return Ok(value),
                Tried::Cut(words) => words,
            };
            let now = Instant::now();
            let since = self.lost.get().unwrap_or_else(|| {
                self.lost.set(Some(now));
                self.pause.set(FIRST_PAUSE);
                let colon = if words.is_empty() { "" } else { ": " };
                let left = self.until(now).saturating_duration_since(now);
                (self.told)(&format!(
                    "note: the connection is cut{colon}{words}; connecting again for up to {}",
                    Span(left)
                ));
                now
            });
            let until = self.until(since);
            if now >= until {
                return Err(RemoteError::Left(format!(
                    "the connection did not come back within {}: {words}",
                    Span(until.saturating_duration_since(since))
                )));
            }
            let pause = self.pause.get();
            self.pause.set((pause * 2).min(LONGEST_PAUSE));
            if !self.wait(pause, outlived) {
                return Err(RemoteError::Stopped);
            }
        }
    }

    /// Returns until when a connection that was cut at an instant is tried again.
    fn until(&self, cut: Instant) -> Instant {
        let _ = self.stops.count();
        self.patience.until(cut, self.stops.first.get())
    }

    /// Tells, if the connection is cut, that a signal came and how long it is tried to pass it on.
    pub(crate) fn tell_stop(&self) {
        if let Some(cut) = self.lost.get() {
            let left = self.until(cut).saturating_duration_since(Instant::now());
            (self.told)(&format!(
                "note: the run is stopped when the device can be reached again, within {}; another signal gives up",
                Span(left)
            ));
        }
    }

    /// Turns an end that is no success into another try, or into an error.
    pub(crate) fn failed<T>(ended: Ended) -> Result<Tried<T>, RemoteError> {
        match ended {
            Ended::Cut(words) => Ok(Tried::Cut(words)),
            Ended::Stopped => Err(RemoteError::Stopped),
            Ended::Exited(code, words) if words.is_empty() => {
                Err(RemoteError::Failed(format!("a step on the device ended with {code}")))
            }
            Ended::Exited(_, words) => Err(RemoteError::Failed(words)),
        }
    }

    /// The other side has answered.
    pub(crate) fn is_there(&self) {
        if self.lost.take().is_some() {
            (self.told)("note: connected again");
        }
        self.pause.set(FIRST_PAUSE);
    }

    pub(crate) fn tell(&self, message: &str) {
        (self.told)(message);
    }

    /// Takes what ssh prints until it ends; returns whether it did so by itself.
    fn take(&self, child: &mut Child, outlived: u32, output: &mut dyn FnMut(&[u8])) -> bool {
        let Some(mut stdout) = child.stdout.take() else { return true };
        let (sender, pieces) = bounded(MAX_WAITING);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut buffer = vec![0; 1 << 16];
                while let Ok(count) = stdout.read(&mut buffer) {
                    let Some(piece) = buffer.get(..count).filter(|piece| !piece.is_empty()) else {
                        break;
                    };
                    if sender.send(piece.to_vec()).is_err() {
                        break;
                    }
                }
            });
            let is_whole = loop {
                if self.stops.count() > outlived {
                    break false;
                }
                select! {
                    recv(pieces) -> piece => match piece {
                        Ok(piece) => {
                            self.is_there();
                            output(&piece);
                        }
                        Err(_) => break true,
                    },
                    recv(self.stops.receiver) -> stop => match stop {
                        Ok(_) => self.stops.add(),
                        Err(_) => std::thread::sleep(FIRST_PAUSE),
                    },
                }
            };
            if !is_whole {
                // The thread ends with the pipe.
                let _ = child.kill();
            }
            drop(pieces);
            is_whole
        })
    }

    /// Waits; returns false if more signals have come than are outlived.
    fn wait(&self, pause: Duration, outlived: u32) -> bool {
        let end = Instant::now() + pause;
        loop {
            if self.stops.count() > outlived {
                return false;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            if self.stops.receiver.recv_timeout(left).is_ok() {
                self.stops.add();
            }
        }
    }

    fn ssh(&self) -> Command {
        let mut words = self.command.iter();
        let mut command = Command::new(words.next().map_or(OsStr::new("ssh"), |it| it));
        command.args(words).arg("-T");
        for option in [
            "BatchMode=yes",
            "ControlMaster=auto",
            "ControlPersist=10",
            "ServerAliveInterval=15",
            "ServerAliveCountMax=3",
            "ConnectTimeout=15",
            // What the user has configured for a person at a terminal.
            "ClearAllForwardings=yes",
            "ForwardAgent=no",
            "ForwardX11=no",
            "PermitLocalCommand=no",
            "RemoteCommand=none",
        ] {
            command.args(["-o", option]);
        }
        command.arg("-S").arg(self.control.path().join("c"));
        if let Some(user) = self.address.user() {
            command.args(["-l", user]);
        }
        if let Some(port) = self.address.port() {
            command.args(["-p", &port.to_string()]);
        }
        // Ctrl-C is for us: the connection is needed to bring the results back.
        command.process_group(0);
        command
    }
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        let mut command = self.ssh();
        command.args(["-O", "exit", "--", self.address.host()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // Without it the connection ends by itself, some seconds later.
        let _ = command.status();
    }
}

/// Makes the directory of the socket by which calls of ssh share a connection. Its path has to be short.
fn control_directory() -> Result<TempDir, RemoteError> {
    let usual = Path::new("/tmp");
    let above = if usual.is_dir() { usual.to_owned() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("memsample-ssh-").tempdir_in(&above).map_err(here(above))
}

/// Joins the lines of a message.
fn one_line(said: &str) -> String {
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("; ").chars().take(MAX_WORDS).collect()
}
