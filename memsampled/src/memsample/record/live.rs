//! The live line of `memsample record`.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use memsample::Status;
use memsample_inherited::Queue;

use super::Progress;
use crate::live_terminal::live_target;
use memsample_input::{printable, rounded_size};

/// Time between two updates of the line.
pub(super) const INTERVAL: Duration = Duration::from_millis(250);

/// How long the terminal may take to clear the line at the end.
const PATIENCE: Duration = Duration::from_secs(1);

/// One line with the progress of the recording.
pub(super) struct Live {
    line: ProgressBar,
    stderr: Option<Queue>,
    duration: Option<Duration>,
}

impl Live {
    /// Makes the line, which is drawn if `progress` says so; with [`Progress::Auto`], if `auto` is true.
    pub(super) fn new(progress: Progress, auto: bool, duration: Option<Duration>) -> Self {
        let shown = match progress {
            Progress::Auto => auto,
            Progress::Always => true,
            Progress::Never => false,
        };
        // A terminal that was stopped must not stop the recording from ending.
        let stderr = shown.then(|| Queue::of_stderr(""));
        let target = stderr.as_ref().map_or_else(ProgressDrawTarget::hidden, live_target);
        let line = ProgressBar::with_draw_target(None, target);
        line.set_style(
            ProgressStyle::with_template("{wide_msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        Self { line, stderr, duration }
    }

    pub(super) fn show(&self, status: &Status) {
        let seconds = status.elapsed.as_secs_f64();
        let of = self.duration.map_or(String::new(), |duration| format!(" of {duration:?}"));
        let largest = status.largest.map_or(String::new(), |(comm, pid, rss_bytes)| {
            format!(
                ", largest {} ({pid}) {}",
                printable(&comm.to_string()),
                rounded_size(rss_bytes)
            )
        });
        let totals = &status.totals;
        let dropped = if totals.dropped > 0 {
            format!(", {} dropped", totals.dropped)
        } else {
            String::new()
        };
        self.line.set_message(format!(
            // The name is last: a narrow terminal cuts it, and not the losses.
            "{seconds:.1} s{of}, {} samples, {} late ticks{dropped}{largest}",
            totals.samples, totals.late,
        ));
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.line.finish_and_clear();
        if let Some(stderr) = self.stderr.take() {
            stderr.finish_within(PATIENCE);
        }
    }
}
