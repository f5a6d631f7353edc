//! Frames of a session of the daemon.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use jiff::Timestamp;
use memsample_client::wire::{ListedProcess, SessionState};
use memsample_client::{Client, ClientError};
use memsample_inherited::patience;
use memsample_input::printable;
use memsample_top::{
    Amount, Feed, Frame, ProcessFacts, ProcessMemory, memory_of_this_machine, user_name,
};

use crate::control::{chosen, connect_to};

/// How long the screen may stand still for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks the daemon for the processes of a session.
pub(super) struct SessionFeed {
    client: Client,
    socket: PathBuf,
    id: String,
    /// The directory of its recording.
    recording: String,
    /// The tick that was shown last.
    shown: Option<Timestamp>,
    /// What each process of the last frame is, and the largest resident set that was seen of it, in bytes.
    known: HashMap<u64, (Arc<ProcessFacts>, u64)>,
    /// Why there are no more frames.
    ended: Option<&'static str>,
}

impl SessionFeed {
    /// Finds the session: the named one, or the only one that is recording.
    pub(super) fn new(socket: Option<PathBuf>, named: Option<String>) -> anyhow::Result<Self> {
        let (client, socket) = connect_to(socket.as_deref())?;
        let mut client = client.timeout(patience(PATIENCE));
        let id = chosen(&mut client, named)?;
        let session = client.session(&id)?;
        if session.state == SessionState::Ended {
            bail!(
                "the session `{id}` has ended: `memsample top {}` replays it",
                printable(&session.recording)
            );
        }
        Ok(Self {
            client,
            socket,
            id,
            recording: session.recording,
            shown: None,
            known: HashMap::new(),
            ended: None,
        })
    }

    fn frame(&mut self, at: Timestamp, listed: Vec<ListedProcess>) -> Frame {
        let mut known = HashMap::with_capacity(listed.len());
        let mut processes = Vec::with_capacity(listed.len());
        for it in listed {
            let (before, seen) = self.known.remove(&it.process).unzip();
            let peak = it.rss_bytes.max(it.hwm_bytes.unwrap_or(0)).max(seen.unwrap_or(0));
            let (image, rss, swap) = (it.process, Amount::of(it.rss_bytes), it.swap_bytes.into());
            let (pss, uss) = (it.pss_bytes.into(), it.uss_bytes.into());
            let age = it.pss_ts.map_or(0, |read| at.duration_since(read).as_secs());
            // Most are the same at each tick, and all frames share them.
            let now = facts_of(it);
            let before = before.filter(|before| **before == now);
            let now = before.unwrap_or_else(|| Arc::new(now));
            known.insert(image, (Arc::clone(&now), peak));
            processes.push(ProcessMemory {
                image,
                facts: now,
                rss,
                pss,
                uss,
                pss_age_s: u16::try_from(age.max(0)).unwrap_or(u16::MAX),
                swap,
                peak: Amount::of(peak),
            });
        }
        self.known = known;
        processes.sort_unstable_by_key(|process| process.image);
        Frame { at, processes, machine: memory_of_this_machine() }
    }
}

impl Feed for SessionFeed {
    fn next(&mut self) -> Option<Frame> {
        if self.ended.is_some() {
            return None;
        }
        let list = match self.client.processes(&self.id) {
            Ok(list) => list,
            Err(ClientError::Refused(..)) => {
                self.ended = Some("ended");
                return None;
            }
            // The daemon was started again, or is busy: the next one asks again.
            Err(_) => {
                match Client::connect(&self.socket) {
                    Ok(client) => self.client = client.timeout(patience(PATIENCE)),
                    Err(_) => self.ended = Some("the daemon is gone"),
                }
                return None;
            }
        };
        let Some(at) = list.ts else {
            // Before the first tick there is none either.
            let is_ended =
                self.client.session(&self.id).is_ok_and(|it| it.state == SessionState::Ended);
            self.ended = is_ended.then_some("ended");
            return None;
        };
        if self.shown.replace(at) == Some(at) {
            return None;
        }
        Some(self.frame(at, list.processes))
    }

    fn title(&self) -> String {
        let id = printable(&self.id);
        match self.ended {
            None => format!("session {id} of memsampled"),
            Some(why) => {
                format!("session {id}: {why}; its recording is {}", printable(&self.recording))
            }
        }
    }
}

fn facts_of(it: ListedProcess) -> ProcessFacts {
    ProcessFacts {
        pid: it.pid,
        ppid: Some(it.ppid),
        user: it.uid.map_or_else(|| "-".to_owned(), user_name),
        command: if it.cmdline.is_empty() { format!("[{}]", it.comm) } else { it.cmdline },
        comm: it.comm,
        role: it.role,
        cgroup: it.cgroup,
        test: it.test,
    }
}
