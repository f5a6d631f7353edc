//! A segment beside a naive table that keeps every row.

use std::collections::BTreeMap;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMillisecondType};
use proptest::prelude::*;

use super::*;
use crate::identity::text;
use crate::metric::Metric;

/// What happens to one process in one tick.
#[derive(Clone, Debug)]
enum Event {
    Nothing,
    Row { value: u64, files: u16 },
    Absent,
    Rename(u8),
    Assign(Option<u8>),
    Describe(u8),
    EndAndBegin,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Nothing),
        3 => (any::<u64>(), 0..=Files::all().bits()).prop_map(|(value, files)| Event::Row { value, files }),
        1 => Just(Event::Absent),
        1 => any::<u8>().prop_map(Event::Rename),
        1 => any::<Option<u8>>().prop_map(Event::Assign),
        1 => any::<u8>().prop_map(Event::Describe),
        1 => Just(Event::EndAndBegin),
    ]
}

fn metrics(value: u64) -> Metrics {
    let mut metrics = Metrics::default();
    for metric in Metric::ALL {
        // Within the column's type; some metrics change and some do not.
        metrics.set(metric, (value >> (metric as u32 % 3 * 20)) >> 1);
    }
    metrics
}

/// A row as it is read back: pid, name, test, number of the description, metrics that were read.
type DenseRow = (i32, String, Option<String>, u8, Vec<Option<i64>>);

/// An image as the naive table knows it.
struct Image {
    process: u64,
    series: SeriesIndex,
    comm: Comm,
    test: Option<Arc<str>>,
    described: u8,
    metrics: Metrics,
}

fn identity(process: u64, described: u8) -> Arc<Identity> {
    let role = format!("role {described} of {process}");
    let cgroup = Some(vec![b'/', b'g', described]);
    let uid = Some(described.into());
    Arc::new(Identity { role, uid, cgroup, ..Identity::of(process, process as i32 + 100) })
}

fn dense(image: &Image, files: Files) -> DenseRow {
    let Image { process, comm, test, described, metrics, .. } = image;
    let value = |metric: Metric| {
        // A row without `statm` is that of an imported capture: none without both is handed over.
        let read = metric.is_in_every_row() || metric.is_in(files);
        read.then(|| i64::try_from(metrics.get(metric)).unwrap())
    };
    let test = test.as_ref().map(|test| test.to_string());
    let metrics = Metric::ALL.into_iter().map(value).collect();
    (*process as i32 + 100, comm.to_string(), test, *described, metrics)
}

fn read_back(segment: &Segment, first: u32) -> BTreeMap<(u64, i64), DenseRow> {
    let mut rows = BTreeMap::new();
    let mut last = None;
    for batch in segment.batches(first) {
        let ts = batch[0].as_primitive::<TimestampMillisecondType>();
        let process = batch[1].as_primitive::<Int64Type>();
        let pid = batch[2].as_primitive::<Int32Type>();
        let comm = batch[3].as_string::<i32>();
        let (role, test) = (batch[4].as_string::<i32>(), batch[5].as_string::<i32>());
        let (uid, cgroup) = (batch[6].as_primitive::<Int64Type>(), batch[7].as_string::<i32>());
        for row in 0..ts.len() {
            let key = (process.value(row) as u64, ts.value(row));
            assert!(last < Some(key), "not sorted: {key:?} behind {last:?}");
            last = Some(key);
            let metrics = Metric::ALL.into_iter().map(|metric| {
                let column = batch[8 + metric as usize].as_primitive::<Int64Type>();
                column.is_valid(row).then(|| column.value(row))
            });
            let test = test.is_valid(row).then(|| test.value(row).to_owned());
            let described = uid.value(row) as u8;
            assert_eq!(role.value(row), format!("role {described} of {}", key.0));
            assert_eq!(cgroup.value(row), text(&[b'/', b'g', described]));
            let (pid, comm) = (pid.value(row), comm.value(row).to_owned());
            rows.insert(key, (pid, comm, test, described, metrics.collect()));
        }
    }
    rows
}

proptest! {
    #[test]
    fn every_row_is_made_again(
        ticks in prop::collection::vec((0..=Files::all().bits(), prop::collection::vec(event(), 5)), 1..40),
        first in 0_u32..40,
    ) {
        let mut segment = Segment::default();
        let mut expected = BTreeMap::new();
        let mut next_process = 0;
        let mut living: Vec<Image> = Vec::new();
        for (index, (common, events)) in ticks.iter().enumerate() {
            let common = Files::from_bits_truncate(*common);
            let (tick, ts_ms) = (index as u32, 1000 + 100 * index as i64);
            segment.begin_tick(SampledTick { ts_ms, files: common });
            let mut begin = |segment: &mut Segment| {
                next_process += 1;
                let comm = Comm::new(b"first");
                let (process, metrics) = (next_process, metrics(next_process));
                let series = segment.begin(identity(process, 0), comm, None, tick, metrics);
                Image { process, series, comm, test: None, described: 0, metrics }
            };
            if index == 0 {
                living = (0..5).map(|_| begin(&mut segment)).collect();
            }
            for (event, image) in events.iter().zip(&mut living) {
                let mut files = common;
                match event {
                    Event::Nothing => {}
                    Event::Row { value, files: own } => {
                        files = Files::from_bits_truncate(*own);
                        image.metrics = metrics(*value);
                        segment.set_row(image.series, tick, &Row { files, metrics: image.metrics });
                    }
                    Event::Absent => {
                        segment.set_absent(image.series, tick);
                        continue;
                    }
                    Event::Rename(name) => {
                        image.comm = Comm::new(&[b'n', *name]);
                        segment.rename(image.series, tick, image.comm);
                    }
                    Event::Assign(test) => {
                        image.test = test.map(|test| format!("test {test}").into());
                        segment.assign(image.series, tick, image.test.clone());
                    }
                    Event::Describe(number) => {
                        image.described = *number;
                        let identity = identity(image.process, *number);
                        segment.describe(image.series, tick, identity);
                    }
                    Event::EndAndBegin => {
                        segment.end(image.series, tick);
                        *image = begin(&mut segment);
                    }
                }
                if tick >= first {
                    expected.insert((image.process, ts_ms), dense(image, files));
                }
            }
        }
        prop_assert_eq!(read_back(&segment, first), expected);
    }
}

#[test]
fn a_batch_may_end_within_a_run() {
    const TICKS: i64 = 40_000;
    let mut segment = Segment::default();
    for tick in 0..TICKS {
        segment.begin_tick(SampledTick { ts_ms: tick, files: Files::STATM });
        if tick == 0 {
            segment.begin(identity(1, 0), Comm::new(b"x"), None, 0, metrics(5));
        }
    }
    let rows: Vec<usize> = segment.batches(0).map(|columns| columns[0].len()).collect();
    assert_eq!(rows, [16 * 1024, 16 * 1024, 40_000 - 32 * 1024]);
    let keys: Vec<i64> = read_back(&segment, 0).into_keys().map(|(_, ts)| ts).collect();
    assert_eq!(keys, (0..TICKS).collect::<Vec<_>>());
}
