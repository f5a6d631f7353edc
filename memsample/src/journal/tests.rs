//! What is appended to a journal is what is read from it.

use std::fs;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::batch::{Batch, BatchTick, Change, Row};
use crate::counts::CgroupCounts;
use crate::counts::SweepCounts;
use crate::identity::{Comm, Identity, ProcessId};
use crate::metric::{Files, Metric, Metrics};
use crate::parse::{Meminfo, Pressure, Stall, Vmstat, Zram};
use crate::schema::KnownPss;
use crate::schema::Totals;
use crate::schema::cgroups::CgroupSample;
use crate::schema::marks::{Mark, MarkKind, MarkedProcess};
use crate::schema::processes::Summary;
use crate::schema::system::SystemSample;
use crate::schema::ticks::Tick;
use crate::slot::Slot;
use crate::units::{ClockTicks, Kibibytes};

/// The slots that a batch may name.
const SLOTS: u32 = 20;

fn identity() -> impl Strategy<Value = Arc<Identity>> {
    let text = || prop::collection::vec(any::<u8>(), 0..40);
    let numbers = (any::<u64>(), any::<i32>(), any::<u64>(), any::<u32>(), any::<Option<u32>>());
    (numbers, text(), prop::option::of(text()), text()).prop_map(|(numbers, comm, exe, cmdline)| {
        let (number, pid, start, exec, uid) = numbers;
        Arc::new(Identity {
            process: ProcessId(number),
            pid,
            start: ClockTicks(start),
            start_ns: start / 3,
            exec,
            ppid: pid / 2,
            uid,
            comm: Comm::new(&comm),
            cgroup: exe.clone(),
            exe,
            moved: pid % 2 == 0,
            role: crate::text(&comm),
            cmdline,
            replaced_max_rss_bytes: Some(start).filter(|start| start % 3 == 0),
            memory_map: Some(ProcessId(number)).filter(|_| start % 2 == 0),
        })
    })
}

fn metrics() -> impl Strategy<Value = Metrics> {
    any::<[u64; Metric::COUNT]>().prop_map(|values| {
        let mut metrics = Metrics::default();
        Metric::ALL
            .into_iter()
            .zip(values)
            .for_each(|(metric, value)| _ = metrics.set(metric, value));
        metrics
    })
}

fn change() -> impl Strategy<Value = Change> {
    let slot = || (0..SLOTS).prop_map(Slot);
    let files = (0..=Files::all().bits()).prop_map(Files::from_bits_truncate);
    prop_oneof![
        slot().prop_map(Change::End),
        slot().prop_map(Change::Absent),
        (slot(), any::<Option<String>>())
            .prop_map(|(slot, test)| Change::Assign(slot, test.map(Arc::from))),
        (slot(), identity(), any::<Option<u64>>()).prop_map(|(slot, identity, parent)| {
            Change::Begin(slot, identity, parent.map(ProcessId))
        }),
        (slot(), identity()).prop_map(|(slot, identity)| Change::Describe(slot, identity)),
        (slot(), any::<[u8; 9]>()).prop_map(|(slot, comm)| Change::Rename(slot, Comm::new(&comm))),
        (slot(), files, metrics())
            .prop_map(|(slot, files, metrics)| Change::Row(slot, Row { files, metrics })),
    ]
}

fn batch() -> impl Strategy<Value = Batch> {
    let tick = (
        any::<[u32; 4]>(),
        any::<[u64; 3]>(),
        any::<bool>(),
        prop::collection::vec(change(), 0..6),
    );
    let mark = ("[a-z]{0,9}", prop::option::of("\\PC{0,9}"), 0..MarkKind::ALL.len());
    (prop::collection::vec(tick, 0..5), prop::collection::vec(mark, 0..3)).prop_map(
        |(ticks, marks)| {
            let mut batch = Batch::default();
            for (
                [late, missed, dropped, gone],
                [planned_ns, began_ns, duration_us],
                sampled,
                changes,
            ) in ticks
            {
                let counts = SweepCounts { gone, ..SweepCounts::default() };
                let (ts_ms, clock_offset_us) = (planned_ns as i64, began_ns as i64);
                let tick = Tick {
                    ts_ms,
                    planned_ns,
                    began_ns,
                    duration_us,
                    counts,
                    late,
                    missed,
                    outside: dropped / 2,
                    dropped,
                    clock_offset_us,
                    exits: crate::counts::ExitCounts::default(),
                    cgroups: CgroupCounts { read: late, ..CgroupCounts::default() },
                };
                let common_files = sampled.then_some(Files::STATM);
                batch.ticks.push(BatchTick { tick, common_files, changes: changes.len() as u32 });
                batch.changes.extend(changes);
                let meminfo =
                    Meminfo { mem_total: Some(Kibibytes(planned_ns)), ..Meminfo::default() };
                let pressure =
                    Pressure { some: Stall { total_us: began_ns, ..Stall::default() }, full: None };
                let vmstat = Vmstat { oom_kill: Some(duration_us), ..Vmstat::default() };
                batch.system.push(SystemSample {
                    ts_ms,
                    meminfo: Some(meminfo).filter(|_| sampled),
                    pressure: Some(pressure),
                    vmstat: Some(vmstat).filter(|_| sampled),
                    swaps: None,
                    zram: Some(Zram { used_bytes: planned_ns, ..Zram::default() }),
                    pss: Some(KnownPss { known_bytes: began_ns, ..KnownPss::default() }),
                });
                batch.cgroups.push(CgroupSample {
                    current_bytes: Some(planned_ns).filter(|_| sampled),
                    pressure: Some(pressure),
                    ..CgroupSample::new(ts_ms, began_ns.to_le_bytes().as_slice().into(), late)
                });
            }
            for (name, test, kind) in marks {
                batch.marks.push(Mark {
                    ts_ms: -5,
                    boot_ns: 7,
                    kind: MarkKind::ALL[kind],
                    labels: test.iter().map(|test| (name.clone(), test.clone())).collect(),
                    marked: test.as_ref().map(|test| MarkedProcess {
                        pid: 7,
                        rss_bytes: Some(test.len() as u64),
                        anon_bytes: None,
                        hwm_bytes: Some(u64::MAX),
                    }),
                    name,
                    process: test.as_ref().map(|test| ProcessId(test.len() as u64)),
                    test,
                });
            }
            batch
        },
    )
}

/// An opening in which every slot that a batch may name is taken.
fn opening() -> impl Strategy<Value = Opening> {
    let image = (identity(), metrics(), any::<u128>());
    let images = prop::collection::vec(image, SLOTS as usize);
    (any::<[u64; 2]>(), images).prop_map(|([checkpoint, samples], images)| {
        let images = (0..).zip(images).map(|(slot, (identity, metrics, rss_sum))| {
            let summary = Summary { rss_sum, samples: 3, pss_peak: Some(4), ..Summary::default() };
            let test = Some(Arc::from("a test")).filter(|_| slot % 2 == 0);
            let parent = Some(identity.process).filter(|_| slot % 3 == 0);
            let (slot, comm) = (Slot(slot), identity.comm);
            let now = Some(Arc::clone(&identity)).filter(|_| slot.0 % 5 == 0);
            ImageState { slot, comm, identity, now, parent, test, metrics, summary }
        });
        let totals = Totals { samples, ..Totals::default() };
        Opening { checkpoint, totals, images: images.collect() }
    })
}

type Parts<'a> =
    (&'a [BatchTick], &'a [Change], &'a [SystemSample], &'a [CgroupSample], &'a [Mark]);

fn parts(batch: &Batch) -> Parts<'_> {
    (&batch.ticks, &batch.changes, &batch.system, &batch.cgroups, &batch.marks)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn batches_come_back(opening in opening(), batches in prop::collection::vec(batch(), 0..6)) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let mut writer = JournalWriter::create(fs::File::create_new(&path).unwrap(), &opening).unwrap();
        batches.iter().for_each(|batch| writer.append(batch).unwrap());
        let file = fs::read(&path).unwrap();
        let (read, mut reader) = JournalReader::open(&*file).unwrap();
        prop_assert_eq!(read, opening);
        for batch in &batches {
            let mut read = Batch::default();
            prop_assert!(reader.next(&mut read).unwrap());
            prop_assert_eq!(parts(&read), parts(batch));
        }
        prop_assert!(!reader.next(&mut Batch::default()).unwrap());
        prop_assert!(!reader.is_torn());
    }

    #[test]
    fn a_changed_byte_is_noticed(opening in opening(), batches in prop::collection::vec(batch(), 3), at: prop::sample::Index, flip in 1_u8..) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let mut writer = JournalWriter::create(fs::File::create_new(&path).unwrap(), &opening).unwrap();
        batches.iter().for_each(|batch| writer.append(batch).unwrap());
        let mut file = fs::read(&path).unwrap();
        let at = at.index(file.len());
        file[at] ^= flip;
        let Ok((_, mut reader)) = JournalReader::open(&*file) else { return Ok(()) };
        // What is read is what was written, up to the damage.
        for batch in &batches {
            let mut read = Batch::default();
            if !reader.next(&mut read).unwrap() {
                break;
            }
            prop_assert_eq!(parts(&read), parts(batch));
        }
        let end = !reader.next(&mut Batch::default()).unwrap();
        prop_assert!(end && reader.is_torn());
    }

    #[test]
    fn any_bytes_are_refused_or_read(bytes: Vec<u8>) {
        let file = [MAGIC, &bytes].concat();
        if let Ok((_, mut reader)) = JournalReader::open(&*file) {
            while reader.next(&mut Batch::default()).unwrap() {}
        }
    }
}
