//! How sessions reach the sampling thread.

use std::sync::{Arc, Weak};

use crossbeam_channel::Sender;

use super::control::{Control, Wake};
use super::manifest::SamplerFacts;
use super::options::RecorderOptions;
use super::sweeps::{SessionMessage, SessionNumber};
use crate::clock::Now;
use crate::events::{ProcessEvents, ProcessExits};
use crate::recording::SweepsFrom;

/// The sampling thread, as those see it who begin sessions.
pub(super) struct SamplingThread {
    pub(super) joins: Sender<Join>,
    pub(super) wake: Arc<Wake>,
    /// Dead if the thread panicked.
    pub(super) alive: Weak<()>,
    pub(super) start: Now,
    pub(super) facts: SamplerFacts,
    pub(super) next_session: u64,
    /// Whether the kernel reports exits and forks, or why not; `None` before a session asked for them.
    pub(super) kernel_events: Option<KernelEvents>,
    /// Sessions that have not ended hold a clone each.
    pub(super) sessions: Arc<()>,
}

/// Whether the kernel reports exits, and forks and execs, or why not.
pub(super) struct KernelEvents {
    pub(super) exits: Result<(), String>,
    /// Why BPF does not say what processes had when they ended, where it reads processes.
    pub(super) exact_exits: Result<(), String>,
    pub(super) forks: Result<(), String>,
}

/// A session that begins.
pub(super) struct Join {
    pub(super) number: SessionNumber,
    pub(super) control: Arc<Control>,
    pub(super) queue: Sender<SessionMessage>,
    pub(super) options: RecorderOptions,
    /// The source of exit records, if this session is the first that wants them.
    pub(super) exits: Option<ProcessExits>,
    /// The same for the source of forks and execs.
    pub(super) events: Option<ProcessEvents>,
}

impl SamplingThread {
    /// Asks the kernel to report forks, execs and exits, if a session wants that and none did so far.
    pub(super) fn open_kernel_events(
        &mut self,
        options: &RecorderOptions,
    ) -> (Option<ProcessExits>, Option<ProcessEvents>) {
        if !options.events || !self.facts.sees_own_namespace || self.kernel_events.is_some() {
            return (None, None);
        }
        let (mut exits, events) = (ProcessExits::open(), ProcessEvents::open());
        let exact_exits = match &mut exits {
            Ok(exits) if matches!(self.facts.sweeps, SweepsFrom::Bpf) => exits.use_bpf(),
            _ => Ok(()),
        };
        self.kernel_events = Some(KernelEvents {
            exits: exits.as_ref().map(|_| ()).map_err(String::clone),
            exact_exits,
            forks: events.as_ref().map(|_| ()).map_err(String::clone),
        });
        (exits.ok(), events.ok())
    }
}
