//! Curves over time that keep their peaks when points are left out.
//!
//! Of each bucket of time the points remain at which the value is first, last, smallest and largest (M4): a picture
//! with a column of pixels for each bucket is the same as of all points. Buckets are spans of time and not numbers of
//! points, so that a gap remains a gap.

/// A point of a curve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point<R> {
    /// The tick, in milliseconds since 1970.
    pub ts_ms: i64,
    /// The value that decides which points remain: bytes, unless said otherwise.
    pub value: u64,
    /// What else is known of the tick.
    pub row: R,
}

/// A curve: lines of points in the order of time, with a gap between two lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Curve<R> {
    /// The lines; none is empty.
    pub lines: Vec<Vec<Point<R>>>,
}

/// Makes a [`Curve`] of points in the order of time.
#[derive(Clone, Debug)]
pub struct M4<R> {
    begin_ms: i64,
    bucket_ms: i64,
    /// The index of the last bucket.
    last: i64,
    lines: Vec<Vec<Point<R>>>,
    /// Whether the next point begins a line.
    is_cut: bool,
    bucket: Option<Bucket<R>>,
}

#[derive(Clone, Debug)]
struct Bucket<R> {
    index: i64,
    first: Point<R>,
    smallest: Point<R>,
    largest: Point<R>,
    last: Point<R>,
}

impl<R: Clone> M4<R> {
    /// Returns one for points from `begin_ms` to `end_ms`, with `buckets` spans of equal length between the two.
    #[must_use]
    pub fn new(begin_ms: i64, end_ms: i64, buckets: usize) -> Self {
        let span_ms = end_ms.saturating_sub(begin_ms).saturating_add(1).max(1);
        let buckets = i64::try_from(buckets.max(1)).unwrap_or(i64::MAX);
        // Rounded up, so that there are not more buckets than were asked for.
        let bucket_ms = span_ms.saturating_add(buckets - 1) / buckets;
        let bucket_ms = bucket_ms.max(1);
        Self {
            begin_ms,
            bucket_ms,
            last: (span_ms - 1) / bucket_ms,
            lines: Vec::new(),
            is_cut: true,
            bucket: None,
        }
    }

    /// Takes the next point. One that is before the begin or after the end is in the first or the last bucket: of what
    /// outlives its span no more points remain.
    pub fn push(&mut self, point: Point<R>) {
        let index = point.ts_ms.saturating_sub(self.begin_ms).div_euclid(self.bucket_ms);
        let index = index.clamp(0, self.last);
        match &mut self.bucket {
            Some(bucket) if bucket.index == index => bucket.take(point),
            _ => {
                self.flush();
                self.bucket = Some(Bucket {
                    index,
                    first: point.clone(),
                    smallest: point.clone(),
                    largest: point.clone(),
                    last: point,
                });
            }
        }
    }

    /// Ends the line: there is a gap before the next point.
    pub fn cut(&mut self) {
        self.flush();
        self.is_cut = true;
    }

    /// Returns the curve.
    #[must_use]
    pub fn finish(mut self) -> Curve<R> {
        self.flush();
        Curve { lines: self.lines }
    }

    fn flush(&mut self) {
        let Some(bucket) = self.bucket.take() else { return };
        if self.is_cut {
            self.lines.push(Vec::new());
            self.is_cut = false;
        }
        if let Some(line) = self.lines.last_mut() {
            bucket.add_to(line);
        }
    }
}

impl<R: Clone> Bucket<R> {
    fn take(&mut self, point: Point<R>) {
        if point.value < self.smallest.value {
            self.smallest = point.clone();
        }
        if point.value > self.largest.value {
            self.largest = point.clone();
        }
        self.last = point;
    }

    /// Adds its points to a line, each once and in the order of time.
    fn add_to(self, line: &mut Vec<Point<R>>) {
        let Self { first, smallest, largest, last, .. } = self;
        let mut points = [first, smallest, largest, last];
        points.sort_by_key(|point| point.ts_ms);
        for point in points {
            if line.last().is_none_or(|before| before.ts_ms < point.ts_ms) {
                line.push(point);
            }
        }
    }
}

impl Curve<Box<[u64]>> {
    /// Returns the curve of one number of the rows.
    #[must_use]
    pub fn layer(&self, index: usize) -> Curve<()> {
        let of = |point: &Point<Box<[u64]>>| {
            let value = point.row.get(index).copied().unwrap_or(0);
            Point { ts_ms: point.ts_ms, value, row: () }
        };
        Curve { lines: self.lines.iter().map(|line| line.iter().map(of).collect()).collect() }
    }
}

impl<R: Clone> Curve<R> {
    /// Returns the largest point, of equal ones the first; `None` where there is none.
    #[must_use]
    pub fn peak(&self) -> Option<&Point<R>> {
        self.points()
            .reduce(|largest, next| if next.value > largest.value { next } else { largest })
    }

    /// Returns the times in milliseconds since `begin_ms`.
    #[must_use]
    pub fn since(&self, begin_ms: i64) -> Self {
        let shifted = |point: &Point<R>| Point { ts_ms: point.ts_ms - begin_ms, ..point.clone() };
        let lines = self.lines.iter().map(|line| line.iter().map(shifted).collect());
        Self { lines: lines.collect() }
    }

    /// Returns the times and values of each line.
    pub fn pairs(&self) -> impl Iterator<Item = impl Iterator<Item = (i64, u64)>> {
        self.lines.iter().map(|line| line.iter().map(|point| (point.ts_ms, point.value)))
    }

    /// Returns all points, in the order of time.
    pub fn points(&self) -> impl Iterator<Item = &Point<R>> {
        self.lines.iter().flatten()
    }

    /// Returns the curve with the points that remain of `buckets` spans of time.
    #[must_use]
    pub fn thinned(&self, begin_ms: i64, end_ms: i64, buckets: usize) -> Self {
        let mut thinned = M4::new(begin_ms, end_ms, buckets);
        for line in &self.lines {
            line.iter().cloned().for_each(|point| thinned.push(point));
            thinned.cut();
        }
        thinned.finish()
    }

    /// Returns the largest value of each of `columns` spans of equal length; `None` where a span has no point.
    #[must_use]
    pub fn largest_by_column(
        &self,
        begin_ms: i64,
        end_ms: i64,
        columns: usize,
    ) -> Vec<Option<u64>> {
        let span_ms = u64::try_from(end_ms.saturating_sub(begin_ms)).unwrap_or(0).max(1);
        let mut largest = vec![None; columns];
        for point in self.points() {
            let since_ms = u64::try_from(point.ts_ms.saturating_sub(begin_ms)).unwrap_or(0);
            let column = u128::from(since_ms) * columns as u128 / u128::from(span_ms);
            let column =
                usize::try_from(column).unwrap_or(usize::MAX).min(columns.saturating_sub(1));
            if let Some(value) = largest.get_mut(column) {
                *value = (*value).max(Some(point.value));
            }
        }
        largest
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn curve(points: &[(i64, u64)], buckets: usize) -> Curve<()> {
        let end_ms = points.last().map_or(0, |(ts_ms, _)| *ts_ms);
        let mut m4 = M4::new(0, end_ms, buckets);
        for &(ts_ms, value) in points {
            m4.push(Point { ts_ms, value, row: () });
        }
        m4.finish()
    }

    proptest! {
        #[test]
        fn of_each_bucket_the_extremes_remain(
            steps in prop::collection::vec((1_i64..300, 0_u64..50), 1..400),
            buckets in 1_usize..40,
        ) {
            let mut at = 0;
            let points: Vec<(i64, u64)> = steps.iter().map(|&(step, value)| { at += step; (at, value) }).collect();
            let kept = curve(&points, buckets);
            let of = |kept: &[(i64, u64)], bucket: i64, width: i64| {
                let inside: Vec<(i64, u64)> =
                    kept.iter().copied().filter(|(ts, _)| ts.div_euclid(width) == bucket).collect();
                let values = || inside.iter().map(|(_, value)| *value);
                (inside.first().copied(), inside.last().copied(), values().min(), values().max())
            };
            let width = M4::<()>::new(0, at, buckets).bucket_ms;
            let kept: Vec<(i64, u64)> = kept.points().map(|point| (point.ts_ms, point.value)).collect();
            for bucket in 0..=at.div_euclid(width) {
                prop_assert_eq!(of(&kept, bucket, width), of(&points, bucket, width));
            }
            prop_assert!(kept.windows(2).all(|pair| pair[0].0 < pair[1].0));
            prop_assert!(kept.len() <= 4 * buckets + 4, "{} of {} buckets", kept.len(), buckets);
        }

        #[test]
        fn thinning_keeps_the_peak(values in prop::collection::vec(0_u64..1000, 1..300), buckets in 1_usize..20) {
            let points: Vec<(i64, u64)> = values.iter().enumerate().map(|(at, value)| (at as i64, *value)).collect();
            let whole = curve(&points, 100);
            let thinned = whole.thinned(0, points.len() as i64, buckets);
            prop_assert_eq!(thinned.peak().map(|point| point.value), values.iter().max().copied());
        }
    }

    #[test]
    fn what_outlives_its_span_has_no_more_points() {
        let mut m4 = M4::new(0, 100, 2);
        for ts_ms in -500..1000 {
            m4.push(Point { ts_ms, value: ts_ms.unsigned_abs() % 700, row: () });
        }
        let curve = m4.finish();
        assert!(curve.points().count() <= 8, "{curve:?}");
        assert_eq!(curve.peak().map(|point| point.value), Some(699));
    }

    #[test]
    fn a_gap_remains_a_gap() {
        let mut m4 = M4::new(0, 100, 2);
        for (ts_ms, value) in [(0, 1), (10, 9), (20, 1)] {
            m4.push(Point { ts_ms, value, row: () });
        }
        m4.cut();
        m4.cut();
        m4.push(Point { ts_ms: 30, value: 4, row: () });
        let curve = m4.finish();
        let shape: Vec<usize> = curve.lines.iter().map(Vec::len).collect();
        assert_eq!((shape, curve.peak().unwrap().value), (vec![3, 1], 9));
        assert_eq!(curve.largest_by_column(0, 40, 4), [Some(1), Some(9), Some(1), Some(4)]);
        assert_eq!(M4::<()>::new(0, 0, 3).finish().peak(), None);
    }
}
