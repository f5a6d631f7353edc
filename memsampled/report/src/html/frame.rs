//! The frame of a picture: which time and which value is where.
//!
//! A picture is as wide as the page. Texts and lines are placed in per cent of the width and in pixels of the height, so
//! that they are never distorted; areas are in a picture within it, which is stretched.

/// Units of the width of what is stretched.
pub(super) const WIDTH: i64 = 10_000;
/// Units of one pixel of height.
const UNITS: i64 = 10;

/// Where times and values are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) begin_ms: i64,
    pub(super) end_ms: i64,
    /// The value at the upper edge.
    pub(super) top: u64,
    /// The height of the plot, in pixels.
    pub(super) height: i64,
}

impl Frame {
    pub(super) fn new(begin_ms: i64, end_ms: i64, top: u64, height: i64) -> Self {
        Self { begin_ms, end_ms: end_ms.max(begin_ms.saturating_add(1)), top: top.max(1), height }
    }

    /// Returns where a time is, in units of the width.
    pub(super) fn x(&self, ts_ms: i64) -> i64 {
        let since = i128::from(ts_ms) - i128::from(self.begin_ms);
        let span = i128::from(self.end_ms) - i128::from(self.begin_ms);
        let x = since * i128::from(WIDTH) / span.max(1);
        i64::try_from(x.clamp(0, WIDTH.into())).unwrap_or(0)
    }

    /// Returns where a value is, in tenths of a pixel below the upper edge.
    pub(super) fn y(&self, value: u64) -> i64 {
        let height = i128::from(self.height * UNITS);
        let above = i128::from(value.min(self.top)) * height / i128::from(self.top);
        i64::try_from(height - above).unwrap_or(0)
    }

    /// Returns the height of what is stretched, in its units.
    pub(super) fn units(&self) -> i64 {
        self.height * UNITS
    }

    /// Returns where a time is, in per cent of the width.
    pub(super) fn percent(&self, ts_ms: i64) -> String {
        percent(self.x(ts_ms))
    }

    /// Returns where a value is, in pixels below the upper edge.
    pub(super) fn pixels(&self, value: u64) -> f64 {
        self.y(value) as f64 / UNITS as f64
    }
}

/// Returns a number of units of the width in per cent.
pub(super) fn percent(x: i64) -> String {
    let hundredths = x * 10_000 / WIDTH;
    format!("{}.{:02}%", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_values_are_within_the_frame() {
        let frame = Frame::new(100, 300, 50, 20);
        assert_eq!([100, 200, 300, 999].map(|ts| frame.x(ts)), [0, 5000, 10_000, 10_000]);
        assert_eq!([0, 25, 50, 99].map(|value| frame.y(value)), [200, 100, 0, 0]);
        assert_eq!((frame.percent(150), frame.pixels(10)), ("25.00%".to_owned(), 16.0));
        // An instant is no span.
        assert_eq!(Frame::new(5, 5, 0, 10).x(5), 0);
    }
}
