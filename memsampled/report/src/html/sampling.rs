//! How far the numbers of a recording can be trusted.

use maud::{Markup, html};
use memsample::ForksBy;
use memsample_input::{count, printable};

use crate::report::Part;
use crate::wording::{losses, since, utc};

/// Notes that are shown.
const MAX_NOTES: usize = 50;

/// Says how a recording was sampled, what it lacks, and what the recorder itself used.
pub(super) fn sampling(part: &Part) -> Markup {
    let sampling = &part.sampling;
    let (totals, settings) = (&sampling.totals, &part.manifest.provenance.settings);
    let losses = losses(part);
    html! {
        ul {
            li {
                (count(totals.samples, "sample")) " of " (count(totals.processes, "process image")) " in "
                (count(sampling.ticks, "tick")) ", planned every " (sampling.interval_ms) " ms, from "
                (utc(part.timeline.begin_ms)) " to " (utc(part.timeline.end_ms)) "."
            }
            @if let Some((gap_ms, after_ms)) = sampling.longest_gap {
                li { "The longest time without a sample: " (gap_ms) " ms, after " (since(after_ms - part.timeline.begin_ms)) "." }
            }
            li {
                @match settings.forks {
                    ForksBy::ProcConnector => "The kernel reported every fork and exec. ",
                    _ => "New processes were found by listing /proc: one that lived between two ticks may be missing. ",
                }
                @if settings.exits { "The kernel reported exits: peaks of processes that ended are exact, but for the error of its counters." }
                @else { "The kernel did not report exits: a peak between two samples may be missing, and a process between two ticks too." }
            }
            li {
                @match (settings.pss_budget, settings.pss_interval_ms) {
                    (Some(share), _) => { "PSS was read within " (format!("{:.0} %", share * 100.0)) " of one CPU, of the processes that changed most." }
                    (None, Some(ms)) => { "PSS was read every " (ms) " ms." }
                    (None, None) => { "PSS was not read." }
                }
            }
            @if let Some(recorder) = &part.manifest.recorder {
                li {
                    "The recorder used " (format!("{:.1} s", recorder.cpu_seconds)) " of CPU in "
                    (format!("{:.1} s", recorder.elapsed_seconds)) "; half of its sweeps took at most "
                    (recorder.sweep_us.p50) " µs, 99 % at most " (recorder.sweep_us.p99) " µs."
                }
            }
            @for loss in &losses { li { b { "Lost: " } (loss) "." } }
            @if losses.is_empty() { li { "Nothing was lost: no tick was late or missed, no sample dropped, no reading refused." } }
            @for note in part.manifest.notes.iter().take(MAX_NOTES) { li { (printable(note)) } }
        }
    }
}
