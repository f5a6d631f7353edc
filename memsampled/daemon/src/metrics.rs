//! Numbers for Prometheus, in its text format 0.0.4.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use memsample::{LatestRole, Status};
use rustix::time::{ClockId, clock_gettime};

use super::peer::Peer;
use super::state::State;

/// The longest value of a label that others choose: the monitor keeps each for ever.
const MAX_LABEL_CHARACTERS: usize = 64;

/// Returns what `/metrics` answers. Sums over sessions are of those that the peer may see.
pub(super) fn text(state: &State, peer: Peer) -> String {
    let mut text = Exposition::default();
    let counters = &state.counters;
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;

    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let cpu_seconds = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
    text.counter(
        "memsampled_cpu_seconds_total",
        "CPU time of the daemon, all threads.",
        cpu_seconds,
    );
    let status = std::fs::read("/proc/self/status").unwrap_or_default();
    let status = memsample::parse::parse_status(&status).ok();
    let rss = status.and_then(|status| status.vm_rss).and_then(|rss| rss.bytes());
    if let Some(rss) = rss {
        text.gauge(
            "memsampled_resident_bytes",
            "Resident set of the daemon, from VmRSS.",
            rss as f64,
        );
    }
    if let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") {
        let open = descriptors.count() as f64;
        text.gauge("memsampled_open_descriptors", "Open descriptors of the daemon.", open);
    }
    text.gauge(
        "memsampled_uptime_seconds",
        "Since the daemon began.",
        state.started.elapsed().as_secs_f64(),
    );
    text.counter(
        "memsampled_requests_total",
        "Requests that were answered.",
        load(&counters.requests),
    );
    text.counter(
        "memsampled_requests_failed_total",
        "Requests answered with an error.",
        load(&counters.refused),
    );
    text.gauge("memsampled_connections", "Connections that are open.", load(&counters.connections));
    text.counter(
        "memsampled_connections_refused_total",
        "Connections beyond the limit.",
        load(&counters.connections_refused),
    );
    text.counter("memsampled_marks_total", "Marks that were set.", load(&counters.marks));
    text.counter(
        "memsampled_recordings_recovered_total",
        "Recordings that were recovered.",
        load(&counters.recovered),
    );
    text.counter(
        "memsampled_recordings_removed_total",
        "Recordings that were removed.",
        load(&counters.removed),
    );

    let pushes = &state.recordings.pushes;
    text.gauge(
        "memsampled_pushes_waiting",
        "Recordings that wait to be pushed into a store.",
        pushes.waiting().len() as f64,
    );
    text.counter("memsampled_pushes_total", "Recordings that were pushed.", load(&pushes.pushed));
    text.counter(
        "memsampled_pushes_given_up_total",
        "Recordings that will never be pushed: gone, damaged, or of a full queue.",
        load(&pushes.given_up),
    );

    let sessions: Vec<_> =
        state.sessions.visible(peer).iter().map(|session| session.describe()).collect();
    text.gauge(
        "memsampled_sessions",
        "Sessions that are recorded or were not stopped yet.",
        sessions.len() as f64,
    );
    type Value = fn(&memsample_client::wire::SessionTotals) -> u64;
    let totals: [(&str, &str, Value); 7] = [
        ("ticks", "Sweeps that were made and written.", |totals| totals.ticks),
        ("samples", "Samples that were written.", |totals| totals.samples),
        ("late", "Planned instants at which no sweep began in time.", |totals| totals.late),
        ("missed", "Planned instants at which none began at all.", |totals| totals.missed),
        ("dropped", "Samples that were read and not written.", |totals| totals.dropped),
        ("denied", "Readings that the kernel refused.", |totals| totals.denied),
        ("stuck", "Samples that lack a reading that did not come back.", |totals| totals.stuck),
    ];
    for (name, help, value) in totals {
        let name = format!("memsampled_session_{name}_total");
        text.family(&name, "counter", help);
        for session in &sessions {
            // The characters of an id need no escaping.
            text.labelled(&name, "session", &session.id, value(&session.totals) as f64);
        }
    }
    recorders(state, peer, &mut text);
    text.0
}

/// The status of running recorders, and the largest roles where they are wanted.
fn recorders(state: &State, peer: Peer, text: &mut Exposition) {
    let roles = state.options().metrics_roles;
    let gauges: Vec<_> = (state.sessions.visible(peer).iter())
        .filter_map(|session| Some((session.id().to_owned(), session.gauge(roles)?)))
        .collect();
    type Value = fn(&Status) -> f64;
    let families: [(&str, &str, &str, Value); 3] = [
        (
            "memsampled_session_queue_depth",
            "gauge",
            "Pieces of at most half a second that wait to be written, of 32.",
            |status| status.queued as f64,
        ),
        (
            "memsampled_session_sweep_seconds_total",
            "counter",
            "How long the sweeps of the session took; a sweep for several counts for each.",
            |status| status.sweeping.as_secs_f64(),
        ),
        (
            "memsampled_session_oom_kills_total",
            "counter",
            "Processes that the OOM killer killed.",
            |status| status.oom_kills as f64,
        ),
    ];
    for (name, kind, help, value) in families {
        text.family(name, kind, help);
        for (session, (status, _)) in &gauges {
            text.labelled(name, "session", session, value(status));
        }
    }
    if let Some(health) = state.flight.health() {
        let running = f64::from(u8::from(state.flight.problem().is_none()));
        text.gauge(
            "memsampled_flight_running",
            "1 while the flight recorder keeps what is.",
            running,
        );
        let count = |count: u64| count as f64;
        text.counter(
            "memsampled_flight_dumps_refused_total",
            "Dumps that were not made, since those that are kept fill what they may.",
            count(health.dumps_refused),
        );
        text.counter(
            "memsampled_flight_restarts_total",
            "How often the flight recorder failed and began again.",
            count(health.restarts),
        );
    }
    if let Some(status) = state.flight.status() {
        let (kept, bytes) = state.flight.kept();
        let dumps = state.flight.dumps.load(Ordering::Relaxed) as f64;
        let depth = status.queued as f64;
        text.gauge("memsampled_flight_kept_seconds", "What is kept.", kept.as_secs_f64());
        text.gauge("memsampled_flight_kept_bytes", "The same on disk.", bytes as f64);
        text.gauge("memsampled_flight_queue_depth", "Pieces that wait to be written.", depth);
        text.counter("memsampled_flight_dumps_total", "Dumps that were made.", dumps);
    }
    if roles == 0 {
        return;
    }
    type OfRole = fn(&LatestRole) -> u64;
    let families: [(&str, &str, OfRole); 3] = [
        (
            "memsampled_role_resident_bytes",
            "Sum of the resident sets of a role; shared pages count for each process.",
            |role| role.rss_bytes,
        ),
        ("memsampled_role_anonymous_bytes", "Anonymous memory of a role.", |role| role.anon_bytes),
        ("memsampled_role_processes", "Processes of a role.", |role| role.processes as u64),
    ];
    for (name, help, value) in families {
        text.family(name, "gauge", help);
        for (session, (_, roles)) in &gauges {
            for role in roles {
                let _ = writeln!(
                    text.0,
                    "{name}{{session=\"{session}\",role=\"{}\"}} {}",
                    label_value(&role.role),
                    value(role)
                );
            }
        }
    }
}

/// Returns a text as the value of a label: escaped, and cut where it is long.
fn label_value(text: &str) -> String {
    let mut value = String::new();
    for (index, character) in text.chars().enumerate() {
        match character {
            _ if index == MAX_LABEL_CHARACTERS => {
                value.push('…');
                break;
            }
            '\\' | '"' => value.extend(['\\', character]),
            '\n' => value.push_str("\\n"),
            character => value.push(character),
        }
    }
    value
}

#[derive(Default)]
struct Exposition(String);

impl Exposition {
    fn counter(&mut self, name: &str, help: &str, value: f64) {
        self.family(name, "counter", help);
        self.sample(name, value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.family(name, "gauge", help);
        self.sample(name, value);
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, value: f64) {
        let _ = writeln!(self.0, "{name} {value}");
    }

    fn labelled(&mut self, name: &str, label: &str, label_value: &str, value: f64) {
        let _ = writeln!(self.0, "{name}{{{label}=\"{label_value}\"}} {value}");
    }
}
