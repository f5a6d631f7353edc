//! What the daemon does without a request: it closes sessions at their limits, and feeds the watchdog of systemd.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::beside::beside;
use super::state::State;

/// How often the daemon looks for sessions that have ended unasked.
const PERIOD: Duration = Duration::from_secs(1);
/// How often the daemon looks for old recordings while no session is stopped.
const RETENTION_PERIOD: Duration = Duration::from_secs(600);

/// Closes sessions that have ended unasked. Sleeps while there is none, so that an idle daemon uses no
/// CPU.
pub(super) async fn watch_sessions(state: Arc<State>) {
    loop {
        if state.sessions.all().iter().any(|session| session.is_open()) {
            tokio::time::sleep(PERIOD).await;
        } else {
            state.sessions.begun.notified().await;
        }
        let state = Arc::clone(&state);
        let _ = beside(move || state.sessions.close_ended()).await;
    }
}

/// Removes recordings that become too old.
pub(super) async fn watch_retention(state: Arc<State>) {
    loop {
        let of_retention = Arc::clone(&state);
        let _ = beside(move || {
            let removed =
                super::retention::remove_old(&of_retention.recordings, &of_retention.retention());
            of_retention.counters.removed.fetch_add(removed, Ordering::Relaxed);
        })
        .await;
        tokio::time::sleep(RETENTION_PERIOD).await;
    }
}

/// Notifies systemd that the thread that serves still runs, as often as it wants to know.
pub(super) async fn feed_watchdog() {
    let Some(timeout) = sd_notify::watchdog_enabled() else { return };
    let (alive, is_alive) = std::sync::mpsc::sync_channel::<()>(1);
    // In a thread of its own: it waits while systemd does not read, and those of the pool may all wait for
    // the disk, which must not look to systemd as if nothing works. A failure cannot be reported.
    let notify = move || {
        for () in is_alive {
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
        }
    };
    let spawned = std::thread::Builder::new().name("memsampled-dog".to_owned()).spawn(notify);
    if let Err(error) = spawned {
        tracing::error!("the watchdog is not fed: {error}");
    }
    loop {
        // One that was not taken yet says the same.
        let _ = alive.try_send(());
        tokio::time::sleep(timeout / 3).await;
    }
}
