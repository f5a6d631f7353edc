//! The machines of the lab: workers, queues, and what runs on them.

use std::time::Duration;

use maud::{Markup, html};
use memsample_runner::results::wording::duration;

use super::frame::{Frame, size, text, time};
use crate::fleet::{Fleet, Job, Queue, Running, Worker};

/// What the fleet does; `None` where none is known.
pub(crate) fn fleet(frame: &Frame<'_>, fleet: Option<&Fleet>) -> String {
    let shown = html! {
        @match fleet {
            None => {
                p { "No fleet is known. " code { "memsample-fleet" } " runs suites on many machines; to see them here, keep a file up to date and name it:" }
                pre { "memsample-fleet board /run/fleet.json &\nmemsample serve --runs STORE --fleet /run/fleet.json" }
            }
            Some(fleet) => {
                @if let Some(age) = fleet.stale() {
                    p .note role="alert" {
                        "This is not what is now: it was written "
                        @if age.is_negative() { "in the future: clocks differ." } @else { (duration(age.unsigned_abs())) " ago." }
                    }
                }
                p { "As of " (time(fleet.at.as_millisecond())) "." }
                (workers(&fleet.workers))
                (queues(&fleet.queues))
                (running(&fleet.running))
                (jobs(&fleet.jobs))
            }
        }
    };
    // The script brings it up to date.
    frame.page("fleet", "Fleet", &html! { div data-refresh="5" { (shown) } })
}

fn workers(workers: &[Worker]) -> Markup {
    html! {
        h2 { "Workers" }
        @if workers.is_empty() { p { "No worker was ever heard of." } } @else {
            div .scroll { table {
                thead { tr { th { "Worker" } th { "State" } th { "Runs" } th { "Labels" } th .n { "Heard of" } th .n { "Free" } th { "Version" } } }
                tbody { @for it in workers {
                    tr {
                        th scope="row" { (text(&it.worker)) }
                        td { @if matches!(it.state.as_str(), "gone" | "aside") { span .bad { (text(&it.state)) } } @else { (text(&it.state)) } }
                        td { (it.run_id.as_deref().map_or_else(|| "-".to_owned(), text)) }
                        td { (labels(&it.labels)) }
                        td .n { (seconds(it.seen_s)) " ago" }
                        td .n { (size(it.free_bytes)) }
                        td { (text(it.memsample_version.as_deref().unwrap_or("-"))) }
                    }
                } }
            } }
            // In a column of the table they would be cut off.
            @for (worker, note) in workers.iter().filter_map(|it| Some((&it.worker, it.note.as_deref()?))) {
                p .note { (text(worker)) ": " (text(note)) }
            }
        }
    }
}

fn queues(queues: &[Queue]) -> Markup {
    html! {
        h2 { "Queues" }
        @if queues.is_empty() { p { "Nothing waits." } } @else {
            div .scroll { table {
                thead { tr { th { "Labels" } th .n { "Waiting" } th .n { "Running" } th .n { "Workers" } } }
                tbody { @for it in queues {
                    tr {
                        th scope="row" { (labels(&it.labels)) }
                        td .n { (it.waiting) }
                        td .n { (it.running) }
                        td .n { @if it.workers == 0 { span .bad { "none" } } @else { (it.workers) } }
                    }
                } }
            } }
        }
    }
}

fn running(runs: &[Running]) -> Markup {
    html! {
        h2 { "Running" }
        @if runs.is_empty() { p { "Nothing runs." } } @else {
            div .scroll { table {
                thead { tr { th { "Run" } th { "Suite" } th { "Worker" } th .n { "Tests" } th .n { "For" } th .n { "Attempt" } } }
                tbody { @for it in runs {
                    tr {
                        th scope="row" { (text(&it.run_id)) }
                        td { (text(&it.suite)) }
                        td { (text(&it.worker)) }
                        td .n { (it.tests_ended) @if let Some(tests) = it.tests { " of " (tests) } }
                        td .n { (seconds(it.duration_s)) }
                        td .n { (it.attempt) }
                    }
                } }
            } }
        }
    }
}

fn jobs(jobs: &[Job]) -> Markup {
    html! {
        h2 { "Jobs" }
        @if jobs.is_empty() { p { "There is none yet: " code { "memsample-fleet submit SUITE" } } } @else {
            div .scroll { table {
                thead { tr { th { "Job" } th { "Suite" } th { "On" } th { "Runs" } th .n { "Age" } } }
                tbody { @for it in jobs {
                    tr {
                        th scope="row" { (text(&it.job_id)) }
                        td { (text(&it.suite)) }
                        td { (labels(&it.labels)) }
                        td { (text(&it.state)) }
                        td .n { (seconds(it.age_s)) }
                    }
                } }
            } }
        }
    }
}

fn labels(labels: &[String]) -> String {
    if labels.is_empty() { "any".to_owned() } else { text(&labels.join(" ")) }
}

/// A length of time, to the second.
fn seconds(seconds: f64) -> String {
    match seconds.max(0.0).round() {
        short if short < 100.0 => format!("{short:.0} s"),
        long => Duration::try_from_secs_f64(long).map_or_else(|_| "-".to_owned(), duration),
    }
}
