//! What a session sees, as server-sent events, once a second.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::Event;
use futures_util::stream::{self, Stream};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::session::ActiveSession;
use memsample_client::wire::SessionState;

/// From one event to the next.
const PERIOD: Duration = Duration::from_secs(1);

struct Feed {
    session: Arc<ActiveSession>,
    ending: watch::Receiver<bool>,
    /// Made when the first event is sent.
    period: Interval,
    ended: bool,
}

/// Returns the events: `session` each second, and `ended` as the last when the session is over.
///
/// Each is made when it can be sent: a client that does not read gets none later, and costs no memory.
pub(super) fn events(
    session: Arc<ActiveSession>,
    ending: watch::Receiver<bool>,
) -> impl Stream<Item = Result<Event, Infallible>> + Send + 'static {
    let mut period = interval(PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    stream::unfold(Feed { session, ending, period, ended: false }, |mut feed| async move {
        if feed.ended {
            return None;
        }
        tokio::select! {
            _ = feed.period.tick() => {}
            _ = feed.ending.wait_for(|ending| *ending) => return None,
        }
        feed.session.touch();
        let live = feed.session.live();
        feed.ended = live.session.state == SessionState::Ended;
        let name = if feed.ended { "ended" } else { "session" };
        let text = serde_json::to_string(&live).unwrap_or_default();
        Some((Ok(Event::default().event(name).data(text)), feed))
    })
}
