//! The bar of what reads or sends many bytes.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use memsample_inherited::Queue;

use crate::live_terminal::live_target;

/// A bar on stderr, if that is a terminal. It is gone when this is dropped.
pub(super) struct Progress {
    bar: ProgressBar,
    _stderr: Queue,
}

impl Progress {
    /// Makes a bar for so many bytes; without a number it shows how many there were.
    pub(super) fn new(what: &str, bytes: Option<u64>) -> Self {
        let stderr = Queue::of_stderr("");
        let bar = ProgressBar::with_draw_target(bytes, live_target(&stderr));
        let template = match bytes {
            Some(_) => "{msg} {bytes} of {total_bytes} {wide_bar} {bytes_per_sec}, {eta} left",
            None => "{msg} {bytes}, {bytes_per_sec}",
        };
        let style = ProgressStyle::with_template(template);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(250));
        Self { bar, _stderr: stderr }
    }

    /// So many bytes more are done.
    pub(super) fn add(&self, bytes: u64) {
        self.bar.inc(bytes);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
