//! What goes on: the sessions of a daemon, with curves that move where a script may run.

use maud::{Markup, html};
use memsample_client::wire::{Session, SessionState};

use super::frame::{Frame, size, text, time};
use super::lists::length;

/// The sessions of the daemon, and one of them as it goes on.
pub(crate) fn live(
    frame: &Frame<'_>,
    sessions: Option<&Vec<Session>>,
    wanted: Option<&str>,
) -> String {
    let body = html! {
        @match sessions {
            None => {
                p { "No daemon was named. To see the recordings of this machine while they go on, start this server with the socket of its daemon:" }
                pre { "memsample serve --runs STORE --daemon /run/memsampled/memsampled.sock" }
            }
            Some(sessions) if sessions.is_empty() => {
                p { "Nothing is being recorded. " code { "memsample start" } " begins a session." }
            }
            Some(sessions) => {
                (table(frame, sessions))
                @match wanted.map_or_else(|| sessions.last(), |id| sessions.iter().find(|it| it.id == id)) {
                    Some(session) => (curves(frame, session)),
                    None => { p { "The session " (text(wanted.unwrap_or_default())) " was stopped." } }
                }
            }
        }
    };
    frame.page("live", "Live", &body)
}

fn table(frame: &Frame<'_>, sessions: &[Session]) -> Markup {
    html! {
        div .scroll { table {
            thead { tr { th { "Session" } th { "State" } th { "Began" } th .n { "Lasts" } th .n { "Samples" } th .n { "Missed" } th .n { "Dropped" } th { "Largest process" } } }
            tbody { @for it in sessions {
                tr {
                    th scope="row" { a href=(frame.links.to("live", &[("session", &it.id)])) { (text(&it.id)) } }
                    td { @match it.state { SessionState::Recording => "recording", SessionState::Ended => "ended" } }
                    td .t { (time(it.started.as_millisecond())) }
                    td .n { (length(i64::try_from(it.elapsed_ms).ok().and_then(|ms| ms.checked_mul(1_000_000)))) }
                    td .n { (it.totals.samples) }
                    td .n { (it.totals.missed) }
                    td .n { (it.totals.dropped) }
                    td {
                        @match &it.largest {
                            Some(largest) => { (text(&largest.comm)) ", " (size(i64::try_from(largest.rss_bytes).ok())) }
                            None => { "-" }
                        }
                    }
                }
            } }
        } }
    }
}

/// Where the script draws.
fn curves(frame: &Frame<'_>, session: &Session) -> Markup {
    let events = frame.links.to("live/events", &[("session", &session.id)]);
    html! {
        section data-live=(events) {
            h2 { (text(&session.id)) }
            noscript { p { "Curves need a script. The table above is brought up to date every five seconds." } }
            p role="status" data-state="" {}
            div data-curves="" {}
            div .scroll data-roles="" tabindex="0" role="region" aria-label="Roles" {}
            div .scroll data-largest="" tabindex="0" role="region" aria-label="Largest processes" {}
        }
    }
}
