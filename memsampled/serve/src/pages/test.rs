//! A test over releases.

use maud::{Markup, html};
use memsample_compare::report::wording::probability;

use super::chart::chart;
use super::frame::{Frame, size, text, time};
use crate::history::History;

/// The quantities that a history can be of, and their names.
const QUANTITIES: [(&str, &str); 4] = [
    ("rss_peak", "peak of resident sets"),
    ("pss_peak", "peak of proportional sets"),
    ("anon_peak", "peak of anonymous memory"),
    ("group_peak", "peak of the control group"),
];
/// Releases whose numbers are in the table: the last ones.
const ROWS: usize = 200;

/// A test, or a role of one.
pub(crate) fn test(frame: &Frame<'_>, history: &History, roles: &[String]) -> String {
    let role = history.role.as_deref().unwrap_or("");
    let changes: Vec<u64> = history.changes.iter().map(|change| change.release_index).collect();
    let quantity =
        QUANTITIES.iter().find(|(key, _)| *key == history.quantity).map_or("", |(_, name)| name);
    let label = format!(
        "The {quantity} of {} over {} releases, {} of which changed it",
        history.test,
        history.releases.len(),
        changes.len()
    );
    let title =
        if role.is_empty() { history.test.clone() } else { format!("{} · {role}", history.test) };
    let body = html! {
        p {
            "Suite " a href=(frame.links.to("suite", &[("project", &history.project), ("suite", &history.suite)])) { (text(&history.suite)) }
            " of " (text(&history.project)) "."
        }
        form action=(frame.links.to("test", &[])) {
            input type="hidden" name="project" value=(history.project);
            input type="hidden" name="suite" value=(history.suite);
            input type="hidden" name="test" value=(history.test);
            label { "Quantity" select name="quantity" {
                @for (key, name) in QUANTITIES { option value=(key) selected[*key == *history.quantity] { (name) } }
            } }
            @if !roles.is_empty() {
                label { "Role" select name="role" {
                    option value="" selected[role.is_empty()] { "the whole test" }
                    @for name in roles { option value=(name) selected[name == role] { (text(name)) } }
                } }
            }
            button { "Show" }
        }
        @if history.points.iter().flatten().next().is_none() {
            p .note { "The " (quantity) " of it was never measured." }
        } @else {
            (chart(&history.points, &changes, &label))
            (changed(frame, history))
            (table(frame, history))
        }
    };
    frame.page("suites", &title, &body)
}

fn changed(frame: &Frame<'_>, history: &History) -> Markup {
    html! {
        h2 { "Changes" }
        @if history.changes.is_empty() {
            p { "None that lasted, by 1 % or more and with p < 0.001 at its place. From eight releases on they are looked for." }
        } @else {
            div .scroll { table {
                thead { tr { th { "Release" } th .n { "Before" } th .n { "After" } th .n { "Change" } th .n { "p" } th { "Environment" } } }
                tbody { @for change in &history.changes {
                    @let release = usize::try_from(change.release_index).ok().and_then(|index| history.releases.get(index));
                    tr {
                        th scope="row" { a href=(frame.links.to("runs", &[("project", &history.project), ("release", &change.release)])) { (text(&change.release)) } }
                        td .n { (size(i64::try_from(change.before_bytes).ok())) }
                        td .n { (size(i64::try_from(change.after_bytes).ok())) }
                        td .n { (format!("{:+.1} %", change.change_percent)) }
                        td .n { (probability(change.p)) }
                        td { (release.map_or(String::new(), |release| text(&release.different.join(", ")))) }
                    }
                } }
            } }
            p { "A change is marked, and fails nothing: " code { "memsample compare" } " decides between two releases." }
        }
    }
}

fn table(frame: &Frame<'_>, history: &History) -> Markup {
    let rows = history.releases.iter().zip(&history.points).zip(&history.runs).rev().take(ROWS);
    html! {
        h2 { "Releases" }
        div .scroll { table {
            thead { tr { th { "Release" } th { "First run" } th .n { "Median" } th .n { "Smallest" } th .n { "Largest" } th .n { "Repeats" } th { "Last run" } } }
            tbody { @for ((release, point), run) in rows {
                tr {
                    th scope="row" { (text(&release.name)) }
                    td .t { (release.started.map_or_else(|| html! { "-" }, |at| time(at.as_millisecond()))) }
                    @match point {
                        Some(point) => {
                            td .n { (size(i64::try_from(point.bytes).ok())) }
                            td .n { (size(i64::try_from(point.smallest_bytes).ok())) }
                            td .n { (size(i64::try_from(point.largest_bytes).ok())) }
                            td .n { (point.repeats) }
                        }
                        None => { td .n { "-" } td .n { "-" } td .n { "-" } td .n { "0" } }
                    }
                    td { a href=(frame.links.to("run", &[("id", run)])) { (text(run)) } }
                }
            } }
        } }
        @if history.releases.len() > ROWS { p { "The last " (ROWS) " of " (history.releases.len()) " releases." } }
        @if history.left_out > 0 { p { (history.left_out) " earlier releases are left out." } }
    }
}
