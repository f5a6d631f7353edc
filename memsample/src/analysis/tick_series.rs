//! Values of consecutive ticks, and which tick a sample is of.

/// A value for each tick from the first to the last that was asked for; it takes no memory for the ticks around them.
/// Ticks are given by their position among those that are added up.
#[derive(Clone, Default)]
pub(super) struct TickSeries<T> {
    first: usize,
    values: Vec<T>,
}

impl<T: Clone + Default> TickSeries<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Returns the value of a tick between the first and the last one.
    pub(super) fn at(&self, tick: usize) -> Option<&T> {
        self.values.get(tick.checked_sub(self.first)?)
    }

    /// Returns the value of a tick to change it. Ticks between this one and those that there were have the default.
    pub(super) fn at_mut(&mut self, tick: usize) -> Option<&mut T> {
        if self.values.is_empty() {
            self.first = tick;
        }
        if let Some(before @ 1..) = self.first.checked_sub(tick) {
            self.values.splice(0..0, std::iter::repeat_n(T::default(), before));
            self.first = tick;
        }
        let index = tick - self.first;
        if index >= self.values.len() {
            self.values.resize(index + 1, T::default());
        }
        self.values.get_mut(index)
    }

    /// Returns the values from the first to the last tick, with the times of the ticks: `ticks` has those of all.
    pub(super) fn over(&self, ticks: &[i64]) -> impl Iterator<Item = (i64, &T)> {
        ticks.iter().skip(self.first).copied().zip(&self.values)
    }
}

/// Finds the ticks of the samples of one process, which are in the order of time and have few ticks between them.
pub(super) struct TickCursor<'a> {
    /// The times of all ticks, ascending.
    ticks: &'a [i64],
    /// The tick of the next sample, as is to be expected.
    next: usize,
}

impl<'a> TickCursor<'a> {
    pub(super) fn new(ticks: &'a [i64]) -> Self {
        Self { ticks, next: 0 }
    }

    /// Returns the position of the tick at a time; `None` where there is none.
    pub(super) fn find(&mut self, ts_ms: i64) -> Option<usize> {
        let tick = match self.ticks.get(self.next) {
            Some(&next) if next == ts_ms => self.next,
            _ => self.ticks.binary_search(&ts_ms).ok()?,
        };
        self.next = tick + 1;
        Some(tick)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_come_in_any_order() {
        let mut series = TickSeries::<u64>::default();
        assert!(series.is_empty());
        for (tick, value) in [(7, 70), (9, 90), (5, 50)] {
            *series.at_mut(tick).unwrap() = value;
        }
        let times: Vec<i64> = (0..20).map(|tick| tick * 100).collect();
        let all: Vec<(i64, u64)> = series.over(&times).map(|(ms, value)| (ms, *value)).collect();
        assert_eq!(all, [(500, 50), (600, 0), (700, 70), (800, 0), (900, 90)]);
        assert_eq!((series.at(4), series.at(8), series.at(10)), (None, Some(&0), None));
    }

    #[test]
    fn a_sample_is_of_the_tick_at_its_time() {
        let mut cursor = TickCursor::new(&[10, 20, 30, 50]);
        let found = [20, 30, 40, 50, 10, 60].map(|ms| cursor.find(ms));
        assert_eq!(found, [Some(1), Some(2), None, Some(3), Some(0), None]);
    }
}
