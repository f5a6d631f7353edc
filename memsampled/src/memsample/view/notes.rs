//! What a view lacks, in words.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use memsample::Sampler;
use memsample::view::{Column, ColumnKind, Note, View};

use memsample_input::count;

const LARGE_GIB: u64 = Sampler::MAX_ROLLUP_RSS_BYTES >> 30;

/// Pids that a note shows, at most.
const SHOWN_PIDS: usize = 5;

/// Explains the order of rows of which some lack a PSS.
pub(super) const DEFAULT_ORDER: &str =
    "sorted by PSS; rows whose PSS is not known of every process are sorted by RSS";

/// Returns the text of a note; `recording` is the path of the recording that is shown, if any.
pub(super) fn text(note: &Note, recording: Option<&Path>) -> String {
    match note {
        Note::Instant { ts, first, last } => format!(
            "`{}` at {ts:.3}: {:.1} s after its first tick, in a recording of {:.1} s",
            recording.unwrap_or(Path::new("")).display(),
            seconds(ts, first),
            seconds(last, first),
        ),
        Note::Dropped(samples) => {
            format!("{samples} samples of this tick are missing: the recorder dropped them")
        }
        Note::CarriedForward { oldest_pss_ms } => format!(
            "PSS, USS and details that were not read at this tick are those of their last reading; the oldest PSS was \
             read {:.1} s before. Use --exact to leave them out",
            *oldest_pss_ms as f64 / 1000.0
        ),
        Note::PssReadAt { nearest, first } => format!(
            "PSS was not read at this tick; the nearest tick with PSS is at {:.1} s: use --at {nearest:.3}",
            seconds(nearest, first)
        ),
        Note::FilesDenied(files) => {
            let remedy = match rustix::process::geteuid().is_root() {
                true => "",
                false => "; root can read those of other users",
            };
            format!(
                "the kernel denied access to {} of processes{remedy}",
                count((*files).into(), "file")
            )
        }
        Note::FilesUnreadable(files) => {
            format!("{} of processes could not be read", count((*files).into(), "file"))
        }
        Note::Stuck(pids) => {
            let shown: Vec<String> = pids.iter().take(SHOWN_PIDS).map(i32::to_string).collect();
            let more = match pids.len().saturating_sub(SHOWN_PIDS) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!(
                "{} cannot be read for as long as a lock is held, such as by a thread that waits for a frozen file \
                 system; some of its columns are empty: pid {}{more}",
                count(pids.len() as u64, "process"),
                shown.join(", ")
            )
        }
        Note::RollupsSkipped(processes) => format!(
            "PSS and USS of {} with more than {LARGE_GIB} GiB were not read, which would block a process while \
             the kernel counts",
            count((*processes).into(), "process")
        ),
        Note::MappingsUnreadable { processes, of } => format!(
            "the mappings of {processes} of {of} processes could not be read: the sums do not include them"
        ),
        Note::MappingsSkipped(processes) => format!(
            "the mappings of {} with more than {LARGE_GIB} GiB were not read",
            count(*processes as u64, "process")
        ),
        Note::HidePid(note) => note.clone(),
        Note::NoMatch => "no process matches".to_owned(),
        // The library may learn of more.
        note => format!("{note:?}"),
    }
}

/// Describes which of the printed sizes are not known of all processes.
pub(super) fn unknown(view: &View, chosen: &[Column], shows_sums: bool) -> Vec<String> {
    let mut columns: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for column in chosen.iter().filter(|column| column.kind == ColumnKind::Size) {
        let unknown = view.table.unknown(column);
        if unknown > 0 {
            columns.entry(unknown).or_default().push(column.title());
        }
    }
    let all = view.processes as u64;
    let note = |(unknown, columns): (u64, Vec<String>)| {
        let columns = columns.join(", ");
        let mark = match shows_sums && unknown < all {
            true => "; sums without them are marked with ≥",
            false => "",
        };
        format!("unknown for {unknown} of {all} processes: {columns}{mark}")
    };
    columns.into_iter().filter(|_| all > 0).map(note).collect()
}

fn seconds(of: &Timestamp, first: &Timestamp) -> f64 {
    of.duration_since(*first).as_secs_f64()
}
