//! Encoded samples beside the rows one by one.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, StringArray};
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use proptest::prelude::*;

use super::purpose::Purpose;
use super::table::RowGroups;
use crate::batch::Row;
use crate::identity::{Comm, Identity};
use crate::metric::{Files, Metric, Metrics};
use crate::schema::samples;
use crate::segment::{SampledTick, Segment};

const BATCH_ROWS: usize = 16 * 1024;

/// What happens to one process in one tick.
#[derive(Clone, Debug)]
enum Event {
    Row { value: u64, files: u16 },
    Absent,
    Rename(u8),
    Assign(Option<u8>),
    Describe(u8),
    EndAndBegin,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        5 => (any::<u64>(), 0..=Files::all().bits()).prop_map(|(value, files)| Event::Row { value, files }),
        1 => Just(Event::Absent),
        1 => any::<u8>().prop_map(Event::Rename),
        1 => any::<Option<u8>>().prop_map(Event::Assign),
        1 => any::<u8>().prop_map(Event::Describe),
        1 => Just(Event::EndAndBegin),
    ]
}

fn identity(process: u64, described: u8) -> Arc<Identity> {
    let role = format!("role {described} of {process}");
    let cgroup = (!described.is_multiple_of(3)).then(|| vec![b'/', described]);
    let uid = (!described.is_multiple_of(5)).then_some(u32::MAX - u32::from(described));
    // Differences between pids wrap.
    let pid = if process.is_multiple_of(2) { i32::MIN } else { i32::MAX - process as i32 };
    Arc::new(Identity { role, uid, cgroup, ..Identity::of(process, pid) })
}

fn metrics(value: u64) -> Metrics {
    let mut metrics = Metrics::default();
    for metric in Metric::ALL {
        metrics.set(metric, (value >> (metric as u32 % 4 * 19)) >> 1);
    }
    metrics
}

fn read(groups: &RowGroups) -> Vec<Vec<ArrayRef>> {
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder =
        ParquetRecordBatchReaderBuilder::try_new_with_options(groups.file(), options).unwrap();
    let reader = builder.with_batch_size(BATCH_ROWS).build().unwrap();
    reader.map(|batch| batch.unwrap().columns().to_vec()).collect()
}

/// Compares what is read back with the rows one by one.
fn check(segment: &Segment, first: u32) {
    for purpose in [Purpose::Settled, Purpose::Tail] {
        let mut expected: Vec<Vec<ArrayRef>> = segment.batches(first).collect();
        for columns in &mut expected {
            let ids = std::iter::repeat_n("id", columns[0].len());
            columns.insert(0, Arc::new(StringArray::from_iter_values(ids)));
        }
        let groups = RowGroups::of_samples(&samples(), "id", purpose, segment, first);
        let found = groups.unwrap().map_or_else(Vec::new, |groups| read(&groups));
        assert_eq!(found, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn encoded_runs_are_read_as_the_rows_that_they_stand_for(
        ticks in prop::collection::vec(
            (1..700_usize, 0..=Files::all().bits(), prop::collection::vec((0..4_usize, event()), 0..4)),
            1..8,
        ),
        skipped in 0..3_u32,
    ) {
        let mut segment = Segment::default();
        let mut living = Vec::new();
        let mut processes = 0;
        let mut ts_ms = 1_790_000_000_000;
        for (equal, files, events) in ticks {
            for number in 0..equal {
                ts_ms += 100;
                let files = Files::from_bits_truncate(files) | Files::STATM;
                segment.begin_tick(SampledTick { ts_ms, files });
                let tick = segment.tick();
                let mut begin = |segment: &mut Segment| {
                    processes += 1;
                    let comm = Comm::new(b"first");
                    let (identity, metrics) = (identity(processes, 0), metrics(processes));
                    (segment.begin(identity, comm, None, tick, metrics), processes)
                };
                while living.len() < 4 {
                    living.push(begin(&mut segment));
                }
                for (of, event) in events.iter().filter(|_| number == 0) {
                    let (series, process) = living[*of];
                    match event {
                        Event::Row { value, files } => {
                            let files = Files::from_bits_truncate(*files);
                            let row = Row { files, metrics: metrics(*value) };
                            segment.set_row(series, tick, &row);
                        }
                        Event::Absent => segment.set_absent(series, tick),
                        Event::Rename(name) => {
                            segment.rename(series, tick, Comm::new(&[b'n', *name]));
                        }
                        Event::Assign(test) => {
                            let test = test.map(|test| format!("test {test}").into());
                            segment.assign(series, tick, test);
                        }
                        Event::Describe(described) => {
                            segment.describe(series, tick, identity(process, *described));
                        }
                        Event::EndAndBegin => {
                            segment.end(series, tick);
                            living[*of] = begin(&mut segment);
                        }
                    }
                }
            }
        }
        check(&segment, skipped);
    }
}

#[test]
fn a_column_has_as_many_pages_as_it_needs() {
    let mut segment = Segment::default();
    let mut living = Vec::new();
    let mut random = 1_u64;
    for tick in 0..300_000_u32 {
        segment.begin_tick(SampledTick { ts_ms: i64::from(tick), files: Files::STATM });
        if tick == 0 {
            for process in 1..3 {
                let comm = Comm::new(b"x");
                let first = metrics(process);
                living.push(segment.begin(identity(process, 1), comm, None, 0, first));
            }
        }
        if tick < 40_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let files = Files::from_bits_truncate((random >> 40) as u16);
            let row = Row { files, metrics: metrics(random) };
            segment.set_row(living[0], tick, &row);
        }
    }
    check(&segment, 0);
    check(&segment, 300_000);
}
