//! The largest processes, each as a small picture on the same scale.

use maud::{Markup, html};
use memsample_input::rounded_size;

use super::chart::text;
use super::colours;
use super::frame::{Frame, WIDTH};
use super::numbers::size;
use super::shapes::area;
use crate::recorded::timeline::ProcessCurve;
use crate::report::Part;
use crate::wording::{name, since};

/// The size of a picture, in pixels.
const SIZE: (i64, i64) = (300, 84);
/// Characters of a role.
const MAX_CHARS: usize = 38;
/// Spans of time of which points are drawn.
const BUCKETS: usize = 150;

/// Draws the largest processes.
pub(super) fn processes(part: &Part) -> Markup {
    let processes = &part.timeline.processes;
    let top = processes.iter().filter_map(|it| it.process.rss_peak_bytes).max().unwrap_or(0);
    if processes.is_empty() {
        return html! { p { "No process is known." } };
    }
    html! {
        p { "Resident sets of the largest processes, all on the same scale of " (rounded_size(top)) " and the whole time of the recording." }
        // Pictures stand in a line as words do, as many as the page has room for.
        div { @for process in processes { (small(part, process, top)) " " } }
        details {
            summary { "The same as a table" }
            table border="0" cellpadding="4" rules="rows" {
                thead { tr {
                    th scope="col" align="left" valign="bottom" { "Role" }
                    th scope="col" align="right" valign="bottom" { "PID" }
                    th scope="col" align="right" valign="bottom" { "Peak RSS" }
                    th scope="col" align="right" valign="bottom" { "Sampled" }
                    th scope="col" align="right" valign="bottom" { "Mean" }
                    th scope="col" align="right" valign="bottom" { "Largest PSS" }
                    th scope="col" align="right" valign="bottom" { "Samples" }
                } }
                tbody { @for process in processes { (row(process)) } }
            }
            p { "≥: at least; no upper bound is known. The peak is the high-water mark where the kernel told it." }
        }
    }
}

fn peak(process: &ProcessCurve) -> String {
    let sign = if process.process.is_exact { "" } else { "≥" };
    format!("{sign}{}", rounded_size(process.process.lower.bytes))
}

fn small(part: &Part, process: &ProcessCurve, top: u64) -> Markup {
    let timeline = &part.timeline;
    let (width, height) = SIZE;
    let frame = Frame::new(timeline.begin_ms, timeline.end_ms, top, height - 36);
    let curve = process.rss.thinned(timeline.begin_ms, timeline.end_ms, BUCKETS);
    let largest = curve.peak().map_or(0, |point| point.ts_ms - timeline.begin_ms);
    let role = name(&process.process.role, MAX_CHARS);
    let label = format!(
        "{role}, pid {}: peak {}, largest sample at {}",
        process.process.pid,
        peak(process),
        since(largest)
    );
    html! {
        svg role="img" aria-label=(label) width=(width) height=(height) font-family="sans-serif" font-size="12" fill="currentColor" {
            title { (label) }
            (text("0", 12.0, "start", &role))
            (text("0", 28.0, "start", &format!("pid {}, peak {}", process.process.pid, peak(process))))
            svg y="34" viewBox={ "0 0 " (WIDTH) " " (frame.units()) } preserveAspectRatio="none" width="100%" height=(frame.height) {
                path d=(area(&frame, curve.pairs())) fill=(colours::ONE) stroke="currentColor" stroke-width=".7" vector-effect="non-scaling-stroke" {}
            }
            line x1="0" x2="100%" y1=(height - 1) y2=(height - 1) stroke="currentColor" {}
        }
    }
}

fn row(process: &ProcessCurve) -> Markup {
    let it = &process.process;
    html! {
        tr itemscope data-process=(it.process.0) {
            th scope="row" align="left" { (name(&it.role, 60)) }
            td align="right" nowrap { (it.pid) }
            td align="right" nowrap {
                data value=(it.lower.bytes) itemprop="process_peak" title={ (it.lower.bytes) " bytes, " (it.lower.source.as_str()) } { (peak(process)) }
            }
            td align="right" nowrap { @match it.rss_peak_bytes { Some(bytes) => (size("process_sampled", bytes)), None => "-" } }
            td align="right" nowrap { @match it.rss_mean_bytes { Some(bytes) => (size("process_mean", bytes)), None => "-" } }
            td align="right" nowrap { @match it.pss_peak_bytes { Some(bytes) => (size("process_pss", bytes)), None => "-" } }
            td align="right" nowrap { (it.samples) }
        }
    }
}
