//! What the samples of a process image come to within a span.

use arrow_array::{
    Array, ArrayRef, BooleanArray, Int64Array, StringArray, TimestampMillisecondArray,
};
use std::sync::Arc;

/// A process image within a span.
#[derive(Clone, Debug, Default)]
pub(super) struct CutImage {
    /// Whether it has a sample before the span.
    pub(super) began_before: bool,
    /// Whether its end was seen within the span.
    pub(super) ended: bool,
    /// Whether its exit record is within the span.
    pub(super) has_exit: bool,
    /// The first high-water mark of one that began before: it may have been reached before the span.
    first_hwm: Option<i64>,
    pub(super) samples: i64,
    first_ms: i64,
    last_ms: i64,
    rss_sum: i128,
    rss: Option<(i64, i64)>,
    pss: Option<i64>,
    uss: Option<i64>,
    swap: Option<i64>,
    hwm: Option<i64>,
    /// Command name, role and test at the last sample.
    last_names: [Option<Arc<str>>; 3],
}

/// What one sample has of the columns that the table of processes sums up.
#[derive(Clone, Copy)]
pub(super) struct SampledNumbers {
    pub(super) ts_ms: i64,
    pub(super) rss: Option<i64>,
    pub(super) pss: Option<i64>,
    pub(super) uss: Option<i64>,
    pub(super) swap: Option<i64>,
}

impl CutImage {
    /// One that began before the span.
    pub(super) fn begun_before() -> Self {
        Self { began_before: true, ..Self::default() }
    }

    /// Returns whether anything of it is in the span.
    pub(super) fn is_in(&self) -> bool {
        self.samples > 0 || self.has_exit
    }

    /// Adds a sample, which is behind those before.
    pub(super) fn add(&mut self, sample: &SampledNumbers) {
        let SampledNumbers { ts_ms, rss, pss, uss, swap } = *sample;
        if self.samples == 0 {
            self.first_ms = ts_ms;
        }
        self.samples += 1;
        self.last_ms = ts_ms;
        if let Some(rss) = rss {
            self.rss_sum += i128::from(rss);
            if self.rss.is_none_or(|(largest, _)| rss > largest) {
                self.rss = Some((rss, ts_ms));
            }
        }
        // `None` is smaller than any number.
        self.pss = self.pss.max(pss);
        self.uss = self.uss.max(uss);
        self.swap = self.swap.max(swap);
    }

    /// Returns a high-water mark if it was reached within the span, which is only known of one that began in it, or that
    /// has a smaller mark in it.
    pub(super) fn reached(&mut self, hwm: Option<i64>) -> Option<i64> {
        let hwm = hwm?;
        if self.began_before {
            let first = *self.first_hwm.get_or_insert(hwm);
            if hwm <= first {
                return None;
            }
        }
        self.hwm = self.hwm.max(Some(hwm));
        Some(hwm)
    }

    /// Takes the names of the last sample.
    pub(super) fn set_names(&mut self, names: [Option<&str>; 3]) {
        for (last, name) in self.last_names.iter_mut().zip(names) {
            if last.as_deref() != name {
                *last = name.map(Arc::from);
            }
        }
    }

    /// Returns whether the exit record tells of the span alone.
    fn keeps_exit_hwm(&self) -> bool {
        self.ended && !self.began_before
    }
}

/// The columns of `processes` that a cut changes.
pub(super) struct CutColumns<'a> {
    pub(super) images: Vec<&'a CutImage>,
}

impl CutColumns<'_> {
    /// Returns numbers; `before` has those of the whole recording, which stay where an image has no samples.
    pub(super) fn numbers(&self, name: &str, before: &Int64Array) -> ArrayRef {
        let values = self.images.iter().enumerate().map(|(row, image)| {
            let whole = before.is_valid(row).then(|| before.value(row));
            match name {
                "samples" => Some(image.samples),
                "rss_max_bytes" => image.rss.map(|(bytes, _)| bytes),
                "rss_mean_bytes" => {
                    let mean = image.rss_sum.checked_div(i128::from(image.samples));
                    mean.and_then(|mean| i64::try_from(mean).ok())
                }
                "pss_max_bytes" => image.pss,
                "uss_max_bytes" => image.uss,
                "swap_max_bytes" => image.swap,
                "hwm_max_bytes" => image.hwm,
                "exit_hwm_bytes" | "exit_past_hwm_bytes" => {
                    whole.filter(|_| image.keeps_exit_hwm())
                }
                // It is of the time before the image, of which a cut may have a part.
                "replaced_max_rss_bytes" => None,
                _ => whole,
            }
        });
        Arc::new(values.collect::<Int64Array>())
    }

    /// Returns instants, in the same way.
    pub(super) fn instants(&self, name: &str, before: &TimestampMillisecondArray) -> ArrayRef {
        let values = self.images.iter().enumerate().map(|(row, image)| {
            let whole = before.is_valid(row).then(|| before.value(row));
            match name {
                "rss_max_ts" => image.rss.map(|(_, ts_ms)| ts_ms),
                "first_ts" if image.samples > 0 => Some(image.first_ms),
                "last_ts" if image.samples > 0 => Some(image.last_ms),
                _ => whole,
            }
        });
        Arc::new(values.collect::<TimestampMillisecondArray>().with_timezone("UTC"))
    }

    /// Returns whether each was seen to end.
    pub(super) fn ended(&self) -> ArrayRef {
        Arc::new(self.images.iter().map(|image| Some(image.ended)).collect::<BooleanArray>())
    }

    /// Returns command names, roles or tests: those of the last sample of what goes on behind the span.
    pub(super) fn names(&self, index: usize, before: &StringArray) -> ArrayRef {
        let values = self.images.iter().enumerate().map(|(row, image)| {
            let whole = before.is_valid(row).then(|| before.value(row));
            match image.ended || image.samples == 0 {
                true => whole,
                false => image.last_names.get(index).and_then(|name| name.as_deref()),
            }
        });
        Arc::new(values.collect::<StringArray>())
    }
}
