//! Automatic dumps: when memory is short, and when the kernel has killed for it.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use memsample::parse::parse_pressure;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::beside::beside;
use super::flight::{Flight, Reason};
use super::retention;
use super::state::State;
use memsample_config::{share_of, without_capability};

const PRESSURE: &str = "/proc/pressure/memory";
/// How often the count of OOM kills is read. The recorder names a victim within seconds.
const PERIOD: Duration = Duration::from_secs(1);
/// How long a flight recorder that failed stays down: the first time, and at most.
const RESTART_PAUSE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(640));

/// Makes automatic dumps, at least `gap` apart. For a reason that comes sooner, it makes the dump when `gap` is
/// over: what the reason is about is still kept then, unless `gap` is longer than what is kept.
pub(super) async fn watch(state: Arc<State>) {
    let flight = &state.flight;
    let Some(settings) = &flight.settings else { return };
    let pressed = Arc::new(Notify::new());
    if let Some(text) = &settings.pressure
        && let Err(error) = watch_pressure(flight, text, &pressed)
    {
        flight.note(format!(
            "no dump is made for memory pressure: `{PRESSURE}`: {error} (it needs Linux 5.2 with PSI; \
             on older kernels also CAP_SYS_RESOURCE)"
        ));
    }
    let mut kills = 0;
    let mut waiting: Option<Reason> = None;
    // Monotonic, so that a step of the clock changes nothing.
    let mut free = Instant::now();
    let mut restart = Restart { pause: RESTART_PAUSE.0, due: None };
    loop {
        let reason = tokio::select! {
            () = pressed.notified() => Some(Reason::Pressure),
            () = sleep(PERIOD) => None,
            () = sleep_until(free), if waiting.is_some() => None,
        };
        restart.look(&state).await;
        let now_kills = flight.status().map_or(0, |status| status.oom_kills);
        // A new recorder counts from 0.
        let killed = now_kills > kills;
        kills = now_kills;
        waiting = match (killed, reason) {
            (true, _) => Some(Reason::OomKill),
            (false, reason) => waiting.or(reason),
        };
        let Some(reason) = waiting.filter(|_| Instant::now() >= free) else { continue };
        waiting = None;
        let lock = flight.lock_dumps().await;
        let of_dump = Arc::clone(&state);
        let _ = beside(move || {
            let _lock = lock;
            of_dump.flight.dump_automatically(reason);
            let removed = retention::remove_old(&of_dump.recordings, &of_dump.retention());
            of_dump.counters.removed.fetch_add(removed, Ordering::Relaxed);
        })
        .await;
        free = Instant::now() + settings.gap;
    }
}

/// Replaces a flight recorder that failed, for lack of space for example: after a pause, which doubles each time
/// that it fails again.
struct Restart {
    pause: Duration,
    due: Option<Instant>,
}

impl Restart {
    async fn look(&mut self, state: &Arc<State>) {
        let now = Instant::now();
        match self.due {
            None if state.flight.is_down() => {
                state.flight.log_end();
                self.due = Some(now + self.pause);
                self.pause = (self.pause * 2).min(RESTART_PAUSE.1);
            }
            Some(due) if now >= due => {
                if state.flight.is_down() {
                    let state = Arc::clone(state);
                    let revive = move || state.flight.restart_after_end(&state.sessions.sampler());
                    let _ = beside(revive).await;
                }
                self.due = None;
            }
            _ => {}
        }
    }
}

/// Asks the kernel for what was configured, or else for what this daemon may ask for.
fn watch_pressure(flight: &Flight, text: &str, pressed: &Arc<Notify>) -> io::Result<()> {
    let in_force = match (trigger(text, Arc::clone(pressed)), without_capability(text)) {
        (Err(error), Some(wide)) if error.kind() == io::ErrorKind::InvalidInput => {
            trigger(&wide, Arc::clone(pressed))?;
            wide
        }
        (outcome, _) => {
            outcome?;
            text.to_owned()
        }
    };
    flight.set_pressure(in_force);
    Ok(())
}

/// Asks the kernel for an event when memory is short, and notifies `pressed` of each.
fn trigger(text: &str, pressed: Arc<Notify>) -> io::Result<()> {
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let mut file =
        OpenOptions::new().read(true).write(true).custom_flags(nonblocking).open(PRESSURE)?;
    // The kernel overwrites the last byte.
    file.write_all(format!("{text}\0").as_bytes())?;
    let (is_full, stall_us) = share_of(text);
    let mut known_us = stalled_us(is_full);
    // It ends with the daemon: there is nothing that it would have to tidy up.
    std::thread::Builder::new().name("memsampled-psi".to_owned()).spawn(move || {
        loop {
            let mut files = [PollFd::new(&file, PollFlags::PRI)];
            match poll(&mut files, None) {
                Ok(_) if files.iter().any(|file| file.revents().contains(PollFlags::PRI)) => {
                    // Without CAP_SYS_RESOURCE the kernel begins its windows at the sum of another
                    // counter (seen on Linux 6.18), and reports twice what never was.
                    let now_us = stalled_us(is_full);
                    if now_us.saturating_sub(known_us) >= stall_us {
                        pressed.notify_one();
                    }
                    known_us = now_us;
                }
                Err(Errno::INTR) => {}
                // The kernel has dropped the trigger.
                Ok(_) | Err(_) => break,
            }
        }
    })?;
    Ok(())
}

/// Returns for how long some task, or all of them, waited for memory since boot, in microseconds, from PSI.
fn stalled_us(is_full: bool) -> u64 {
    let text = std::fs::read(PRESSURE).unwrap_or_default();
    let Ok(pressure) = parse_pressure(&text) else { return 0 };
    let stall = if is_full { pressure.full } else { Some(pressure.some) };
    stall.map_or(0, |stall| stall.total_us)
}
