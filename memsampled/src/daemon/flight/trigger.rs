//! Dumps that are made by themselves: when memory is short, and when the kernel has killed for it.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::super::{log, retention};
use super::settings::without_capability;
use super::{Flight, Reason, daemon_peer};
use crate::api::DumpRequest;
use crate::daemon::state::State;

const PRESSURE: &str = "/proc/pressure/memory";
/// How often it is looked whether the kernel has killed. A kill is named within seconds of it.
const PERIOD: Duration = Duration::from_secs(1);

/// Makes dumps when there is a reason, with a time between them. A reason that comes too early is
/// followed when that time is over: by then what it was about is still kept, unless the time is set
/// longer than what is kept.
pub(in crate::daemon) async fn watch(state: Arc<State>) {
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
    loop {
        let reason = tokio::select! {
            () = pressed.notified() => Some(Reason::Pressure),
            () = sleep(PERIOD) => None,
            () = sleep_until(free), if waiting.is_some() => None,
        };
        let now_kills = flight.status().map_or(0, |status| status.oom_kills);
        // It may have begun anew.
        let killed = now_kills > kills;
        kills = now_kills;
        waiting = match (killed, reason) {
            (true, _) => Some(Reason::OomKill),
            (false, reason) => waiting.or(reason),
        };
        let Some(reason) = waiting.filter(|_| Instant::now() >= free) else { continue };
        waiting = None;
        let _turn = flight.turn().await;
        let of_dump = Arc::clone(&state);
        let _ = tokio::task::spawn_blocking(move || {
            let request = DumpRequest::default();
            match of_dump.flight.dump(daemon_peer(), &request, reason) {
                Ok(_) => {
                    let removed = retention::remove_old(&of_dump.runs, &of_dump.retention());
                    of_dump.counters.removed.fetch_add(removed, Ordering::Relaxed);
                }
                Err(failure) => log::warning(format_args!("no dump: {}", failure.message)),
            }
        })
        .await;
        free = Instant::now() + settings.gap;
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

/// Asks the kernel to tell when memory is short, and tells `pressed` each time.
fn trigger(text: &str, pressed: Arc<Notify>) -> io::Result<()> {
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let mut file =
        OpenOptions::new().read(true).write(true).custom_flags(nonblocking).open(PRESSURE)?;
    // The kernel overwrites the last byte.
    file.write_all(format!("{text}\0").as_bytes())?;
    // It ends with the daemon: there is nothing that it would have to tidy up.
    std::thread::Builder::new().name("memsampled-psi".to_owned()).spawn(move || {
        loop {
            let mut files = [PollFd::new(&file, PollFlags::PRI)];
            match poll(&mut files, None) {
                Ok(_) if files.iter().any(|file| file.revents().contains(PollFlags::PRI)) => {
                    pressed.notify_one();
                }
                Err(Errno::INTR) => {}
                // The kernel has dropped the trigger.
                Ok(_) | Err(_) => break,
            }
        }
    })?;
    Ok(())
}
