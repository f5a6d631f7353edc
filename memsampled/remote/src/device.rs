//! One device: what is done there, from the probe to the last file that is removed.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use memsample_input::rounded_size;

use crate::address::Address;
use crate::connection::{Connection, Ended, Tried};
use crate::error::{RemoteError, here};
use crate::fetch::Fetched;
use crate::follow::{End, Followed, Reader};
use crate::hash;
use crate::job::{Job, Returned};
use crate::payload::Payload;
use crate::probe::Probe;
use crate::script;
use crate::sent::Sent;

/// What is sent or fetched is tried as often if it arrives with another hash.
const MAX_DAMAGED: u32 = 3;
/// Random bytes in the name of our directory.
const NAME_BYTES: usize = 12;

/// A device on which there is a directory of ours.
pub(crate) struct Device<'a> {
    address: &'a Address,
    connection: Connection<'a>,
    directory: OsString,
    /// What it says of `uname -m`.
    machine: String,
}

impl<'a> Device<'a> {
    /// Looks whether the device can run it, and makes a directory there.
    pub(crate) fn probe(
        address: &'a Address,
        connection: Connection<'a>,
        payload: &Payload,
    ) -> Result<Self, RemoteError> {
        let name = OsString::from(random_name()?);
        let above = address.directory().unwrap_or_default();
        let mut output = Vec::new();
        let ended = connection.once(script::PROBE, &[above, &name], None, 0, &mut |bytes| {
            output.extend_from_slice(bytes);
        })?;
        let words = match ended {
            Ended::Exited(_, words) => words,
            Ended::Cut(words) if output.is_empty() => return Err(RemoteError::Unreachable(words)),
            // What it has made is not known.
            Ended::Cut(words) => words,
            Ended::Stopped => return Err(RemoteError::Stopped),
        };
        let probe = Probe::read(&output);
        let checked = probe.check(address, payload).map_err(|error| match error {
            RemoteError::Refused(why) if !words.is_empty() => {
                RemoteError::Refused(format!("{why} (it says: {words})"))
            }
            error => error,
        });
        let Some(directory) = probe.directory else {
            checked?;
            return Err(RemoteError::Failed(words));
        };
        let device = Self { address, connection, directory, machine: probe.machine };
        match checked {
            Ok(()) => Ok(device),
            Err(error) => Err(device.abandon(error)),
        }
    }

    /// Sends the program and the suite, and looks whether the program starts.
    pub(crate) fn send(self, payload: &Payload) -> Result<Self, RemoteError> {
        let sent = payload
            .program_for(&self.machine)
            .and_then(|program| {
                let [told, suite] =
                    [&program.sent, &payload.archive].map(|it| rounded_size(it.bytes));
                self.connection
                    .tell(&format!("sends the program ({told}) and the suite ({suite})"));
                self.send_file(&program.sent, "memsample")
            })
            .and_then(|()| self.send_file(&payload.archive, "payload.tar"))
            .and_then(|()| self.ask(script::UNPACK, &[], 0))
            .and_then(|_| self.check_version());
        match sent {
            Ok(()) => Ok(self),
            Err(error) => Err(self.abandon(error)),
        }
    }

    /// Runs it, and brings it back. What is left on the device if that fails is said.
    pub(crate) fn run(self, job: &Job, arguments: &[OsString]) -> Result<Returned, RemoteError> {
        let unfollowed = OsString::from(job.unfollowed_seconds().0.to_string());
        let mut words: Vec<&OsStr> = vec![&unfollowed, OsStr::new("run")];
        let mut out = OsString::from("--out=");
        out.push(&self.directory);
        out.push("/out");
        words.push(&out);
        words.extend(arguments.iter().map(OsString::as_os_str));
        if let Err(error) = self.ask(script::START, &words, 0) {
            // It may have been started although it was not said.
            let _ = self.ask(script::STOP, &[], 1);
            return Err(self.abandon(error));
        }
        let followed = self.follow(job).map_err(|error| self.left(error))?;
        let fetched = self.fetch(job).map_err(|error| self.left(error))?;
        let mut stdout = followed.stdout;
        stdout = replaced(&stdout, &self.out(), job.out.as_os_str().as_bytes());
        let code = match followed.end {
            Some(End::Exited(code)) => Some(code),
            _ => None,
        };
        let address = self.address;
        let told = |message: String| self.connection.tell(&message);
        if let Err(error) = self.ask(script::REMOVE, &[], 1) {
            let directory = self.directory.to_string_lossy();
            told(format!("warning: `{directory}` stays on {address}: {error}"));
        }
        Ok(Returned { code, stdout, directory: fetched })
    }

    /// Removes what is on the device after an error, and returns that.
    pub(crate) fn abandon(self, error: RemoteError) -> RemoteError {
        // The connection did not come back, and would not for this.
        if matches!(error, RemoteError::Left(_)) {
            return self.left(error);
        }
        match self.ask(script::REMOVE, &[], 1) {
            Ok(_) => error,
            Err(removal) => {
                let directory = self.directory.to_string_lossy();
                RemoteError::Left(format!("{error}; `{directory}` stays there: {removal}"))
            }
        }
    }

    /// Adds to an error what stays where, and what to do with it.
    fn left(&self, error: RemoteError) -> RemoteError {
        let directory = self.directory.to_string_lossy();
        let address = self.address;
        let stays = format!(
            "the run and its results stay on {address} in `{directory}`: results are in `out`, and `status` is there \
             once it has ended; remove the directory when you have them"
        );
        match error {
            RemoteError::Stopped => {
                RemoteError::Left(format!("given up after a second signal; {stays}"))
            }
            // It tells by its kind what is full.
            RemoteError::Here(path, error) => {
                let kind = error.kind();
                RemoteError::Here(path, std::io::Error::new(kind, format!("{error}; {stays}")))
            }
            error => RemoteError::Left(format!("{error}; {stays}")),
        }
    }

    fn ask(
        &self,
        script: &str,
        arguments: &[&OsStr],
        outlived: u32,
    ) -> Result<Vec<u8>, RemoteError> {
        let arguments = [&[self.directory.as_os_str()], arguments].concat();
        self.connection.ask(script, &arguments, outlived)
    }

    fn out(&self) -> Vec<u8> {
        [self.directory.as_bytes(), b"/out"].concat()
    }

    /// Sends a file, from where a cut connection ended.
    fn send_file(&self, sent: &Sent, name: &str) -> Result<(), RemoteError> {
        let name = OsStr::new(name);
        for _ in 0..MAX_DAMAGED {
            // It is not there yet.
            let mut there = Some(0);
            let mut output = Vec::new();
            self.connection.persist(0, || {
                let offset = match there.take() {
                    Some(offset) => offset,
                    None => number(&self.ask(script::SIZE, &[name], 0)?)?,
                };
                let mut file = File::open(&sent.path).map_err(here(&sent.path))?;
                file.seek(SeekFrom::Start(offset)).map_err(here(&sent.path))?;
                let arguments = [self.directory.as_os_str(), name];
                output.clear();
                let ended = self.connection.once(
                    script::RECEIVE,
                    &arguments,
                    Some(file),
                    0,
                    &mut |piece| {
                        output.extend_from_slice(piece);
                    },
                )?;
                match ended {
                    Ended::Exited(0, _) => Ok(Tried::Done(())),
                    ended => Connection::failed(ended),
                }
            })?;
            // What a cut connection wrote late is found by this, too.
            if first_word(&output) == sent.hash {
                return Ok(());
            }
            self.ask(script::DISCARD, &[name], 0)?;
        }
        let told = &sent.told;
        Err(RemoteError::Failed(format!(
            "{told} arrives with another hash each time: it changes here, or the connection or the device damages it"
        )))
    }

    fn check_version(&self) -> Result<(), RemoteError> {
        let version = match self.ask(script::VERSION, &[], 0) {
            Err(RemoteError::Failed(words)) => {
                return Err(RemoteError::Refused(format!(
                    "the program does not start on the device: {words}; its loader or C library is missing or older \
                     there. Pass one that is linked statically to --device-program, as `make device-programs` builds \
                     in the source tree"
                )));
            }
            version => version?,
        };
        let version = String::from_utf8_lossy(&version);
        let own = concat!("memsample ", env!("CARGO_PKG_VERSION"));
        if version.trim() != own {
            self.connection
                .tell(&format!("note: the device runs {}, and this is {own}", version.trim()));
        }
        Ok(())
    }

    /// Follows the run to its end. The first signal ends its tests, a second one this.
    fn follow(&self, job: &Job) -> Result<Followed, RemoteError> {
        let mut followed = Followed::default();
        let out = job.out.as_os_str().as_bytes();
        let there = self.out();
        let mut line = |bytes: &[u8]| {
            self.connection.tell(&String::from_utf8_lossy(&replaced(bytes, &there, out)))
        };
        let mut is_stopped = false;
        let at_most = OsString::from(job.unfollowed_seconds().1.to_string());
        let mut calls = 0_u64;
        while followed.end.is_none() {
            let outlived = u32::from(is_stopped);
            let tried = self.connection.persist(outlived, || {
                let offsets = [followed.stdout.len() as u64, followed.stderr_bytes];
                let [stdout, stderr] = offsets.map(|offset| OsString::from(offset.to_string()));
                calls += 1;
                let call = OsString::from(calls.to_string());
                let arguments = [self.directory.as_os_str(), &stdout, &stderr, &at_most, &call];
                let mut reader = Reader::default();
                let ended = self.connection.once(
                    script::FOLLOW,
                    &arguments,
                    None,
                    outlived,
                    &mut |bytes| {
                        reader.take(bytes, &mut followed, &mut line);
                    },
                )?;
                match ended {
                    _ if followed.end.is_some() => Ok(Tried::Done(())),
                    Ended::Exited(0, _) if reader.is_to_be_renewed => Ok(Tried::Done(())),
                    Ended::Exited(..) => Ok(Tried::Cut("it stopped telling".to_owned())),
                    ended => Connection::failed(ended),
                }
            });
            match tried {
                Err(RemoteError::Stopped) if !is_stopped => {
                    is_stopped = true;
                    if self.connection.stops.count() > 1 {
                        return Err(RemoteError::Stopped);
                    }
                    self.connection.tell_stop();
                    self.ask(script::STOP, &[], 1)?;
                    self.connection.tell("note: the run is being stopped; another signal gives up");
                }
                tried => tried?,
            }
        }
        followed.finish(&mut line);
        if followed.end == Some(End::Gone) {
            self.connection.tell(
                "error: the run has ended without an exit code: the device was restarted, or the run was killed",
            );
        }
        Ok(followed)
    }

    /// Brings the directory of the run here; `None` if it made none.
    fn fetch(&self, job: &Job) -> Result<Option<PathBuf>, RemoteError> {
        // A signal that has ended the run is one; one that came since is told of.
        let outlived = 1;
        let packed = self.ask(script::PACK, &[], outlived)?;
        let packed = String::from_utf8_lossy(&packed).trim().to_owned();
        if packed == "none" {
            return Ok(None);
        }
        let strange =
            || RemoteError::Failed(format!("the device does not say what it packs: {packed}"));
        let (hash, bytes) = packed.split_once(' ').ok_or_else(strange)?;
        let bytes: u64 = bytes.parse().map_err(|_| strange())?;
        let fetched = Fetched::new(&job.out)?;
        let path = fetched.archive();
        for _ in 0..MAX_DAMAGED {
            self.fetch_file(&path, bytes, outlived)?;
            if hash::of_file(&path).map_err(here(&path))?.0 == hash {
                return fetched.unpack(&self.out()).map(Some);
            }
            std::fs::remove_file(&path).map_err(here(&path))?;
        }
        Err(RemoteError::Failed(
            "the run arrives with another hash each time: it changes there, or the connection damages it".to_owned(),
        ))
    }

    fn fetch_file(&self, path: &PathBuf, bytes: u64, outlived: u32) -> Result<(), RemoteError> {
        let mut file =
            OpenOptions::new().append(true).create(true).open(path).map_err(here(path))?;
        self.connection.persist(outlived, || {
            let have = file.metadata().map_err(here(path))?.len();
            if have >= bytes {
                return Ok(Tried::Done(()));
            }
            let offset = OsString::from(have.to_string());
            let arguments = [self.directory.as_os_str(), &offset];
            let mut written = Ok(());
            let ended =
                self.connection.once(script::FETCH, &arguments, None, outlived, &mut |piece| {
                    if written.is_ok() {
                        written = file.write_all(piece);
                    }
                })?;
            written.map_err(here(path))?;
            match ended {
                Ended::Exited(0, _) => Ok(Tried::Done(())),
                ended => Connection::failed(ended),
            }
        })
    }
}

fn first_word(output: &[u8]) -> String {
    String::from_utf8_lossy(output).split_whitespace().next().unwrap_or_default().to_owned()
}

fn number(output: &[u8]) -> Result<u64, RemoteError> {
    let word = first_word(output);
    word.parse()
        .map_err(|_| RemoteError::Failed(format!("the device says `{word}` in place of a size")))
}

/// Returns the bytes with each `from` as `to`.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut result = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, others)) = rest.split_first() {
        if let (false, Some(behind)) = (from.is_empty(), rest.strip_prefix(from)) {
            result.extend_from_slice(to);
            rest = behind;
        } else {
            result.push(first);
            rest = others;
        }
    }
    result
}

/// Returns a name that nobody has and nobody guesses. It is chosen here, so that to make it again does no harm.
fn random_name() -> Result<String, RemoteError> {
    let source = "/dev/urandom";
    let mut bytes = [0; NAME_BYTES];
    File::open(source).and_then(|mut it| it.read_exact(&mut bytes)).map_err(here(source))?;
    Ok(bytes.iter().fold("memsample-".to_owned(), |mut name, byte| {
        let _ = write!(name, "{byte:02x}");
        name
    }))
}
